"""``protclip similarity evaluate``: how similarities of vectors agree with those by GO."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from protclip_cli.boundary import EXIT_PARTIAL, say
from protclip_cli.options import (
    DeviceOption,
    Format,
    FormatOption,
    GlobalOptions,
    ModelOption,
    OnError,
    PairOnErrorOption,
    ResamplesOption,
    SeedOption,
    Space,
    WorkersOption,
)
from protclip_cli.output import Value, begun, defined, write_rows
from protclip_cli.progress import make_progress

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from protclip_core.tasks.similarity.evaluate import Agreement

COLUMNS = (
    "reference",
    "aspect",
    "method",
    "pairs",
    "proteins",
    "spearman",
    "low",
    "high",
)
EPILOG = (
    "Columns: reference aspect method pairs proteins spearman low high; the last two are a 95 % "
    "interval over proteins, which is wider than one over pairs. Methods that need no model: "
    "composition (cosine of the shares of residues), length (how little lengths differ).\n\n"
    "Examples:\n\n"
    "  protclip similarity evaluate x.fa similarities.csv\n\n"
    "  protclip similarity evaluate x.fa --annotations goa.gaf --go go-basic.obo\n\n"
    "  protclip similarity evaluate x.h5 --sequences x.fa --annotations goa.gaf --go go.obo "
    "--evidence experimental"
)


class Measure(StrEnum):
    """How two terms are compared."""

    LIN = "lin"
    RESNIK = "resnik"


def evaluate(
    context: typer.Context,
    proteins: Annotated[
        str, typer.Argument(metavar="INPUT", help="A store, or a FASTA file; '-': stdin.")
    ],
    table: Annotated[
        str | None,
        typer.Argument(
            metavar="[TABLE]",
            help="Two proteins and their similarities a line; each column of numbers is one "
            "reference.",
            show_default=False,
        ),
    ] = None,
    *,
    annotations: Annotated[
        str | None,
        typer.Option(
            metavar="GAF",
            help="Compare by annotations instead: GAF, or protein and term a line.",
            show_default=False,
        ),
    ] = None,
    go: Annotated[
        str | None,
        typer.Option(metavar="OBO", help="The release of GO for them.", show_default=False),
    ] = None,
    evidence: Annotated[
        str | None,
        typer.Option(
            help="Codes of a GAF, or experimental and the like; commas between.",
            show_default="all but ND",
        ),
    ] = None,
    measure: Annotated[Measure, typer.Option(help="Of two terms.")] = Measure.LIN,
    listed: Annotated[
        str | None,
        typer.Option(
            "--pairs",
            metavar="FILE",
            help="Only these pairs, two names a line.",
            show_default=False,
        ),
    ] = None,
    sample: Annotated[
        int, typer.Option(help="Without --pairs: all pairs of so many proteins an aspect.")
    ] = 400,
    sequences: Annotated[
        str | None,
        typer.Option(
            metavar="FASTA", help="Of a store, for the method composition.", show_default=False
        ),
    ] = None,
    space: Annotated[
        Space | None, typer.Option(help="Only this one.", show_default="all that there are")
    ] = None,
    resamples: ResamplesOption = 200,
    seed: SeedOption = 0,
    form: FormatOption = Format.AUTO,
    model: ModelOption = None,
    device: DeviceOption = "auto",
    workers: WorkersOption = None,
    on_error: PairOnErrorOption = OnError.FAIL,
) -> None:
    """Correlate similarities with those of a table, or with those that GO gives."""
    from protclip_core.tasks.similarity.evaluate import EvaluateReport, EvaluateRequest
    from protclip_core.tasks.similarity.evaluate import evaluate as run

    options: GlobalOptions = context.obj
    request = EvaluateRequest(
        inputs=(proteins,),
        table=table,
        annotations=annotations,
        go=go,
        evidence=None if evidence is None else tuple(e.strip() for e in evidence.split(",")),
        measure=measure.value,
        pairs=listed,
        sample=sample,
        sequences=sequences,
        space=space.value if space else None,
        resamples=resamples,
        seed=seed,
        model=model,
        device=device,
        workers=workers,
        on_error=on_error.value,
    )
    report = EvaluateReport()
    found = run(request, report, make_progress(quiet=options.quiet))
    write_rows(_rows(begun(found)), COLUMNS, form)
    if report.num_failures:
        for line in report.first_failures:
            say(f"warning: {line}")
        count = report.num_failures
        say(f"warning: {count:,} pair{'s' if count > 1 else ''} or proteins left out")
        raise typer.Exit(EXIT_PARTIAL)


def _rows(found: Iterable[Agreement]) -> Iterator[dict[str, Value]]:
    for one in found:
        yield {
            "reference": one.reference,
            "aspect": one.aspect,
            "method": one.method,
            "pairs": one.pairs,
            "proteins": one.proteins,
            "spearman": defined(one.spearman),
            "low": defined(one.low),
            "high": defined(one.high),
        }
