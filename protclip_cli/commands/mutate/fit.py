"""``protclip mutate fit`` and ``protclip mutate predict``: heads on measured variants."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from protclip_cli.boundary import EXIT_PARTIAL, say
from protclip_cli.head_options import HeadOption
from protclip_cli.options import (
    RESAMPLES,
    DeviceOption,
    Format,
    FormatOption,
    GlobalOptions,
    HeadOutputOption,
    OverwriteOption,
    ResamplesOption,
    SeedOption,
    ThreadsOption,
    WorkersOption,
    command_line,
)
from protclip_cli.output import Value, defined, stdout, write_rows
from protclip_cli.progress import make_progress

if TYPE_CHECKING:
    from protclip_core.tasks.mutate.fit import FitReport, SplitScore
    from protclip_core.tasks.mutate.predict import FitnessRow

FIT_COLUMNS = ("split", "predictor", "spearman", "low", "high", "train", "test")
PREDICT_COLUMNS = ("protein_id", "variant", "predicted_fitness", "flags", "reason")

FIT_EPILOG = (
    "ASSAY is a table with a column of variants (mutant, variant, ...) and one of measured values "
    "(DMS_score, fitness, score, ...). Rows printed: Spearman with its 95 % interval on held-out "
    "variants of the head, of a ridge on one-hot substitutions, and of the zero-shot score, in "
    "splits at random, by position, and from few mutations to many. The head that is written is "
    "fitted on all variants.\n\n"
    "Examples:\n\n"
    "  protclip mutate fit assay.csv --fasta wt.fa -o fitness.head\n\n"
    "  protclip mutate fit assay.csv --fasta wt.fa --embeddings mutants.h5 -o fitness.head"
)
PREDICT_EPILOG = (
    "Columns: protein_id variant predicted_fitness flags reason, a row for each row of VARIANTS "
    "and in its order. Flags: new-position: no variant there was measured; zero-shot: for such the "
    "zero-shot score ranked better when the head was fitted, so it is given in the assay's units."
    "\n\n"
    "Example:\n\n"
    "  protclip mutate predict variants.tsv --head fitness.head"
)


class KindName(StrEnum):
    """Which head."""

    AUTO = "auto"
    RIDGE = "ridge"
    GP = "gp"


class ZeroShotName(StrEnum):
    """How the zero-shot score is made."""

    MASKED = "masked-marginals"
    WILD_TYPE = "wt-marginals"


EmbeddingsOption = Annotated[
    str | None,
    typer.Option(
        "--embeddings",
        metavar="STORE",
        help="Vectors of the mutants, whose ids are the variants.",
        show_default=False,
    ),
]
VariantColumnOption = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Column of the variants.", show_default="told"),
]


def fit(
    context: typer.Context,
    assay: Annotated[
        str, typer.Argument(metavar="ASSAY", help="Table of measured variants; '-': stdin.")
    ],
    *,
    output: HeadOutputOption,
    fasta: Annotated[
        str | None,
        typer.Option(
            "--fasta",
            metavar="FASTA",
            help="The wild type; without it no zero-shot score is among what the head sees.",
            show_default=False,
        ),
    ] = None,
    embeddings: EmbeddingsOption = None,
    kind: Annotated[
        KindName,
        typer.Option("--kind", help="auto: a Gaussian process up to 1,500 variants, ridge beyond."),
    ] = KindName.AUTO,
    score_column: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Column of measured values.", show_default="told"),
    ] = None,
    variant_column: VariantColumnOption = None,
    offset: Annotated[
        int, typer.Option(help="Position in the variants minus position in the sequence.")
    ] = 0,
    max_rows: Annotated[
        int, typer.Option(help="Of more variants so many are drawn; the rest is not used.")
    ] = 5000,
    model: Annotated[
        str | None,
        typer.Option(help="Of the zero-shot score.", show_default="protclip-mini"),
    ] = None,
    method: Annotated[
        ZeroShotName, typer.Option(help="Of the zero-shot score, as in protclip mutate.")
    ] = ZeroShotName.MASKED,
    seed: SeedOption = 0,
    threads: ThreadsOption = 1,
    resamples: ResamplesOption = RESAMPLES,
    overwrite: OverwriteOption = False,
    form: FormatOption = Format.AUTO,
    device: DeviceOption = "auto",
    workers: WorkersOption = None,
) -> None:
    """Fit a head to measured variants of one protein, and measure it."""
    from protclip_core.models.info import DEFAULT_MODEL
    from protclip_core.tasks.mutate.fit import FitRequest
    from protclip_core.tasks.mutate.fit import fit as run

    options: GlobalOptions = context.obj
    request = FitRequest(
        assay=assay,
        output=output,
        fasta=fasta,
        embeddings=embeddings,
        kind=kind.value,
        score_column=score_column,
        variant_column=variant_column,
        offset=offset,
        max_rows=max_rows,
        model=model or DEFAULT_MODEL,
        method=method.value,
        device=device,
        workers=workers,
        resamples=resamples,
        seed=seed,
        threads=threads,
        overwrite=overwrite,
        command=command_line(),
    )
    report = run(request, make_progress(quiet=options.quiet))
    write_rows(_score_rows(report.scores), FIT_COLUMNS, form)
    if not options.quiet:
        _say_fit(report, output)
    _end(report.left_out, report.first_reasons, "left out")


def predict(
    context: typer.Context,
    variants: Annotated[
        str, typer.Argument(metavar="VARIANTS", help="Variants, in any form; '-': stdin.")
    ],
    *,
    head: HeadOption,
    fasta: Annotated[
        str | None,
        typer.Option(
            "--fasta",
            metavar="FASTA",
            help="The wild type, to name it and to see that it is the head's.",
            show_default=False,
        ),
    ] = None,
    embeddings: EmbeddingsOption = None,
    offset: Annotated[
        int | None,
        typer.Option(
            help="Position in the variants minus position in the sequence.",
            show_default="the head's",
        ),
    ] = None,
    variant_column: VariantColumnOption = None,
    model: Annotated[
        str | None,
        typer.Option(help="Where the head's model lies, if not by its name.", show_default="told"),
    ] = None,
    form: FormatOption = Format.AUTO,
    device: DeviceOption = "auto",
    workers: WorkersOption = None,
) -> None:
    """Predict the effects of variants with a fitted head."""
    from protclip_core.tasks.mutate.predict import Fitness, PredictRequest

    options: GlobalOptions = context.obj
    fitness = Fitness(
        PredictRequest(
            variants=variants,
            head=head,
            fasta=fasta,
            embeddings=embeddings,
            offset=offset,
            model=model,
            variant_column=variant_column,
            device=device,
            workers=workers,
        )
    )
    rows = fitness.predictions(make_progress(quiet=options.quiet or stdout().isatty()))
    write_rows(_fitness_rows(rows), PREDICT_COLUMNS, form)
    if not options.quiet:
        sys.stdout.flush()
        say(f"{fitness.rows - fitness.unpredicted:,} of {fitness.rows:,} variants predicted")
    _end(fitness.unpredicted, fitness.first_reasons, "not predicted, see column reason")


def _score_rows(scores: Iterable[SplitScore]) -> Iterator[dict[str, Value]]:
    for score in scores:
        yield {
            "split": score.split,
            "predictor": score.predictor,
            "spearman": defined(score.spearman.value),
            "low": defined(score.spearman.low),
            "high": defined(score.spearman.high),
            "train": score.train,
            "test": score.test,
        }


def _fitness_rows(rows: Iterable[FitnessRow]) -> Iterator[dict[str, Value]]:
    for row in rows:
        yield {
            "protein_id": row.protein_id,
            "variant": row.variant,
            "predicted_fitness": row.fitness,
            "flags": ",".join(row.flags),
            "reason": row.reason,
        }


def _say_fit(report: FitReport, output: Path) -> None:
    sys.stdout.flush()
    fitted = report.card.fit
    chosen = ", ".join(f"{name} {value:g}" for name, value in fitted["parameters"].items())
    say(f"{output}: {fitted['kind']} head of {report.variants:,} variants ({chosen})")
    if fitted["new_positions"] == "line":
        say(
            "at positions that were not measured the zero-shot score ranks better than the head: "
            "there predictions are it, in units of the assay"
        )


def _end(count: int, reasons: Iterable[str], what: str) -> None:
    """Name rows without an answer, if any, and end with the code for it."""
    if not count:
        return
    for reason in reasons:
        say(f"warning: {reason}")
    say(f"warning: {count:,} variant{'s' if count > 1 else ''} {what}")
    raise typer.Exit(EXIT_PARTIAL)
