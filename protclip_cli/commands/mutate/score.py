"""``protclip mutate``: what variants do to proteins, every row answered."""

from __future__ import annotations

import re
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from protclip_cli.boundary import EXIT_PARTIAL, say
from protclip_cli.commands.mutate.formats import MutateFormat, write_scores
from protclip_cli.options import (
    FORMAT,
    DeviceOption,
    GlobalOptions,
    OverwritePictureOption,
    WorkersOption,
    inputs_or_pipe,
)
from protclip_cli.output import stdout
from protclip_cli.output_file import refuse_existing
from protclip_cli.progress import make_progress
from protclip_core.errors import UsageError

if TYPE_CHECKING:
    from protclip_core.tasks.mutate.task import Mutation

EPILOG = (
    "Columns: protein_id variant score percentile effect flags reason. A low score is "
    "harmful. It is a sum of log ratios, so below 0 the model finds the variant less likely than "
    "the wild type; with a prior, which is added to it, 0 means nothing. The percentile is among "
    "all single substitutions of the protein. effect is empty as long as "
    "no model has a calibration.\n\n"
    "Variants: A42G, p.Ala42Gly, A42G:L50P, NP_000537.3:p.Arg175His, deletions, insertions; as "
    "TSV or CSV (columns protein_id variant), a list, JSON Lines, or a VCF of VEP or SnpEff.\n\n"
    "Examples:\n\n"
    "  protclip mutate wt.fa --variants variants.tsv\n\n"
    "  protclip mutate --variants v.tsv < wt.fasta\n\n"
    "  protclip mutate wt.fa --scan --region 100-180 --plot heat.png\n\n"
    "  protclip mutate wt.fa --variants v.tsv --model esm2-8m --model esm2-35m"
)


class MethodName(StrEnum):
    """How variants are scored."""

    MASKED = "masked-marginals"
    WILD_TYPE = "wt-marginals"
    PSEUDO = "pll"
    JOINT = "joint"
    SHIFT = "embedding-shift"


class PercentileName(StrEnum):
    """Among what a score is placed."""

    AUTO = "auto"
    SCAN = "scan"
    WILD_TYPE = "wt"
    NONE = "none"


class PriorName(StrEnum):
    """What is added for each substitution whatever the protein."""

    AUTO = "auto"
    BLOSUM62 = "blosum62"
    NONE = "none"


def mutate(
    context: typer.Context,
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PROTEINS...",
            help="FASTA files, plain or compressed; '-' or nothing and a pipe: stdin. Not needed "
            "where the variants bring their wild type.",
            show_default=False,
        ),
    ] = None,
    *,
    variants: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Variants to score; '-': stdin.", show_default=False),
    ] = None,
    scan: Annotated[
        bool, typer.Option("--scan", help="Score all single substitutions instead.")
    ] = False,
    region: Annotated[
        str | None,
        typer.Option(metavar="A-B", help="Of a scan: from and to position.", show_default=False),
    ] = None,
    method: Annotated[
        MethodName,
        typer.Option(
            help="masked-marginals: a forward pass a position. wt-marginals: one a protein. "
            "joint: positions of a variant masked together. pll: for insertions and deletions "
            "too, a pass a residue. embedding-shift: how far the protein's vector moves."
        ),
    ] = MethodName.MASKED,
    toward: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            help="With embedding-shift: also how much nearer it comes to a text.",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="Name or path of a model; repeated: mean of their standardised scores, and each.",
            show_default="protclip-mini",
        ),
    ] = None,
    prior: Annotated[
        PriorName,
        typer.Option(
            help="Add BLOSUM62 and hydropathy to each substitution; auto: for models of k-mers, "
            "whose own probabilities are weak."
        ),
    ] = PriorName.AUTO,
    percentile: Annotated[
        PercentileName,
        typer.Option(
            help="auto: among a scan of the protein where that is cheap, else of its "
            "wild-type marginals (flag wt-percentile)."
        ),
    ] = PercentileName.AUTO,
    offset: Annotated[
        int, typer.Option(help="Position in the variants minus position in the sequence.")
    ] = 0,
    form: Annotated[MutateFormat, FORMAT] = MutateFormat.AUTO,
    plot: Annotated[
        Path | None,
        typer.Option(
            metavar="PNG", help="Of a scan of one protein: a heat map.", show_default=False
        ),
    ] = None,
    overwrite: OverwritePictureOption = False,
    variant_column: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Column of the variants.", show_default="told"),
    ] = None,
    protein_column: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Column of the proteins.", show_default="told"),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Fail, with code 3, if any row cannot be scored.")
    ] = False,
    device: DeviceOption = "auto",
    workers: WorkersOption = None,
) -> None:
    """Score protein variants with a language model, or scan a protein."""
    from protclip_core.tasks.mutate.job import MutateRequest
    from protclip_core.tasks.mutate.scores import Method, Percentile
    from protclip_core.tasks.mutate.task import Mutation

    options: GlobalOptions = context.obj
    if plot is not None:
        read = (*(inputs or ("-",)), variants, *(model or ()))
        _check_plot(plot, method, read, scan=scan, overwrite=overwrite)
    request = MutateRequest(
        inputs=_inputs(inputs, variants),
        variants=variants,
        scan=scan,
        region=_region(region),
        offset=offset,
        method=Method(method.value),
        percentile=Percentile(percentile.value),
        prior=prior.value,
        toward=toward,
        device=device,
        workers=workers,
        strict=strict,
        variant_column=variant_column,
        protein_column=protein_column,
        **({"models": tuple(model)} if model else {}),
    )
    mutation = Mutation(request)
    if plot is not None and len(mutation.proteins) != 1:
        raise UsageError(
            f"--plot draws one protein, there are {len(mutation.proteins):,}",
            hint="give a FASTA file of one",
        )
    progress = make_progress(quiet=options.quiet)
    rows = list(mutation.scored(progress, None if options.quiet else say))
    if plot is not None:  # before the rows, whose reader may go away
        _draw(mutation, plot)
    names = mutation.models if len(mutation.models) > 1 else []
    write_scores(rows, form, stdout(), models=names, toward=toward is not None)
    _end(mutation, quiet=options.quiet)


def _inputs(inputs: list[str] | None, variants: str | None) -> tuple[str, ...]:
    """Return the FASTA files; standard input where there are none and they are needed."""
    if inputs and "-" in inputs and variants == "-":
        raise UsageError("standard input (-) can be read once only", hint="give one as a file")
    if inputs:
        return inputs_or_pipe(inputs)
    if variants is None:
        return inputs_or_pipe(None)
    if variants == "-":
        return ()
    from protclip_core.tasks.mutate.input import carries_sequences

    return () if carries_sequences(variants) else inputs_or_pipe(None)


def _region(text: str | None) -> tuple[int, int] | None:
    """Read ``100-180``, or one position."""
    if text is None:
        return None
    found = re.fullmatch(r"(-?[0-9]{1,9})(?:-(-?[0-9]{1,9}))?", text.strip(), re.ASCII)
    if found is None:
        raise UsageError(f"--region {text!r} is no range", hint="write it as 100-180")
    first = int(found[1])
    last = int(found[2]) if found[2] else first
    if last < first:
        raise UsageError(f"--region {text!r} ends before it begins", hint="write it as 100-180")
    return first, last


def _check_plot(
    path: Path,
    method: MethodName,
    read: tuple[str | None, ...],
    *,
    scan: bool,
    overwrite: bool,
) -> None:
    from protclip_core.io.atomic import check_writable_target
    from protclip_core.io.outputs import check_outputs

    if not scan:
        raise UsageError("--plot is for scans", hint="add --scan")
    if method in (MethodName.PSEUDO, MethodName.SHIFT):  # told before hours of passes, not after
        raise UsageError(f"--method {method} draws no heat map", hint="use masked-marginals")
    if path.suffix.lower() != ".png":
        raise UsageError("--plot draws PNG", where=str(path), hint="use a name in .png")
    check_outputs(read, (path,), hint="choose another --plot")
    check_writable_target(path)
    refuse_existing(path, overwrite=overwrite, other="name")


def _draw(mutation: Mutation, path: Path) -> None:
    from protclip_core.io.atomic import open_atomic
    from protclip_core.tasks.mutate.plot import heat_map

    request = mutation.request
    (id,) = mutation.proteins.sequences
    if id not in mutation.scans:
        raise UsageError(
            f"--method {request.method} draws no heat map", hint="use masked-marginals"
        )
    title = f"{id}: {request.method}, {' + '.join(mutation.models)}{mutation.prior_words}"
    picture = heat_map(
        title,
        mutation.proteins.sequences[id],
        mutation.scans[id],
        offset=request.offset,
        region=request.region,
    )
    with open_atomic(path) as file:
        file.write(picture)


def _end(mutation: Mutation, *, quiet: bool) -> None:
    """Sum up, and end with the code for rows without a score."""
    report = mutation.report
    if not quiet:
        sys.stdout.flush()
        say(
            f"{report.scored:,} of {report.rows:,} variants scored by "
            f"{mutation.request.method} of {' + '.join(mutation.models)}; no effect classes: "
            "no calibration"
        )
    if not report.unscored:
        return
    for reason in report.first_reasons:
        say(f"warning: {reason}")
    count = report.unscored
    say(f"warning: {count:,} variant{'s' if count > 1 else ''} not scored, see column reason")
    raise typer.Exit(EXIT_PARTIAL)
