"""``protclip annotate``: proteins in, GO terms out."""

from __future__ import annotations

import io
from contextlib import contextmanager
from enum import StrEnum
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from protclip_cli.boundary import EXIT_PARTIAL, say
from protclip_cli.commands.embed import OnError
from protclip_cli.go_formats import (
    COLUMNS,
    term_rows,
    write_cafa,
    write_gaf_rows,
    write_topgo,
)
from protclip_cli.options import Format, GlobalOptions, inputs_or_pipe
from protclip_cli.output import stdout, write_rows
from protclip_cli.progress import make_progress
from protclip_core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import TextIO

    from protclip_core.tasks.annotate import AnnotateReport, Annotation, ProteinTerms

EPILOG = (
    "Columns: protein_id term name aspect cosine probability rank go_release. A probability is "
    "that of being annotated with a term; it is empty where the model has no calibration.\n\n"
    "Examples:\n\n"
    "  cat x.fa | protclip annotate --go            of probability 0.3 or more\n\n"
    "  protclip annotate --go x.h5 --aspect MF --top-k 3\n\n"
    "  protclip annotate --go x.fa --fdr 0.1 --specific --format gaf -o x.gaf"
)


class AnnotationFormat(StrEnum):
    """Form of the result."""

    AUTO = "auto"
    TABLE = "table"
    TSV = "tsv"
    JSONL = "jsonl"
    GAF = "gaf"
    CAFA = "cafa"
    TOPGO = "topgo"


def annotate(
    context: typer.Context,
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="INPUT...",
            help="FASTA files, plain or compressed, or a store; '-' or nothing and a pipe: stdin.",
            show_default=False,
        ),
    ] = None,
    *,
    go: Annotated[bool, typer.Option("--go", help="Annotate with terms of the Gene Ontology.")] = (
        False
    ),
    aspect: Annotated[
        str, typer.Option(help="Of MF (function), BP (process), CC (place); commas between.")
    ] = "MF,BP,CC",
    top_k: Annotated[
        int | None,
        typer.Option(
            "--top-k", metavar="K", help="Terms of each aspect at most; alone: the K best."
        ),
    ] = None,
    min_probability: Annotated[
        float | None,
        typer.Option(help="Least probability of what is listed.", show_default="0.3"),
    ] = None,
    fdr: Annotated[
        float | None,
        typer.Option(
            help="List so many of this input that at most this share is expected to be wrong.",
        ),
    ] = None,
    propagate: Annotated[
        bool, typer.Option("--propagate", help="With each term all its ancestors.")
    ] = False,
    specific: Annotated[
        bool, typer.Option("--specific", help="Only terms without a listed descendant.")
    ] = False,
    slim: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="The closest terms of a GO slim (OBO, or ids) instead."),
    ] = None,
    form: Annotated[
        AnnotationFormat,
        typer.Option("--format", help="auto: table on a terminal, TSV elsewhere."),
    ] = AnnotationFormat.AUTO,
    output: Annotated[
        str | None,
        typer.Option("-o", "--output", help="File; default standard output.", show_default=False),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")] = False,
    model: Annotated[
        str | None,
        typer.Option(
            help="Name or path of a model.", show_default="the store's own, else protclip-mini"
        ),
    ] = None,
    go_index: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="GO index of protclip data go build.", show_default="the model's"
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    workers: Annotated[
        int | None, typer.Option(min=1, help="CPU workers.", show_default="one a core")
    ] = None,
    on_error: Annotated[
        OnError, typer.Option(help="Bad records: list nothing, or leave them out and name them.")
    ] = OnError.FAIL,
) -> None:
    """Annotate proteins with GO terms, by comparing them with what the terms say."""
    from protclip_core.tasks.annotate import AnnotateRequest, Annotation

    options: GlobalOptions = context.obj
    if not go:
        raise UsageError("nothing to annotate with", hint="add --go")
    request = AnnotateRequest(
        inputs=inputs_or_pipe(inputs),
        model=model,
        go_index=go_index,
        aspects=tuple(name.strip().upper() for name in aspect.split(",") if name.strip()),
        top_k=top_k,
        min_probability=min_probability,
        fdr=fdr,
        propagate=propagate,
        specific=specific,
        slim=slim,
        device=device,
        workers=workers,
        on_error=on_error.value,
    )
    path = None if output in (None, "-") else Path(str(output))
    if path is not None:
        _check_output(request.inputs, path, overwrite=overwrite)
    with Annotation(request) as annotation, _opened(path) as out:
        _write(annotation, form, out, options)
    if not options.quiet:
        _say_summary(annotation)
    _end_partial(annotation.report)


def _check_output(inputs: tuple[str, ...], path: Path, *, overwrite: bool) -> None:
    from protclip_core.io.atomic import check_writable_target
    from protclip_core.tasks.embed_input import refuse_input_as_output

    check_writable_target(path)
    refuse_input_as_output(inputs, path)
    if path.exists() and not overwrite:
        hint = "choose another -o, or replace it with --overwrite"
        raise UsageError("is there already", where=str(path), hint=hint)


@contextmanager
def _opened(path: Path | None) -> Iterator[TextIO]:
    """Give standard output, or a file that appears when all is written."""
    if path is None:
        yield stdout()
        return
    from protclip_core.io.atomic import open_atomic

    with open_atomic(path) as file:
        text = io.TextIOWrapper(
            file, encoding="utf-8", errors="surrogateescape", newline="\n", write_through=True
        )
        yield text
        text.flush()
        text.detach()


def _write(
    annotation: Annotation, form: AnnotationFormat, out: TextIO, options: GlobalOptions
) -> None:
    # A bar and rows on one terminal would overwrite each other.
    progress = make_progress(quiet=options.quiet or out.isatty())
    proteins = _begun(annotation.proteins(progress))
    ontology = annotation.index.ontology
    if form is AnnotationFormat.GAF:
        write_gaf_rows(proteins, annotation, out)
    elif form is AnnotationFormat.CAFA:
        write_cafa(proteins, ontology, out)
    elif form is AnnotationFormat.TOPGO:
        write_topgo(proteins, ontology, out)
    else:
        is_table = form is AnnotationFormat.TABLE or (
            form is AnnotationFormat.AUTO and out.isatty()
        )
        # The release is the same in each row, and a terminal is narrow; the last line says it.
        columns = COLUMNS[:-1] if is_table else COLUMNS
        write_rows(term_rows(proteins, ontology), columns, Format(form.value), out)


def _begun(proteins: Iterator[ProteinTerms]) -> Iterable[ProteinTerms]:
    """Wait for the first protein: an error before it shall not leave a header behind."""
    first = list(islice(proteins, 1))
    return chain(first, proteins)


def _say_summary(annotation: Annotation) -> None:
    report = annotation.report
    say(
        f"{report.terms:,} terms of {report.with_terms:,} of {report.proteins:,} proteins "
        f"({annotation.rule}; GO release {annotation.index.release})"
    )


def _end_partial(report: AnnotateReport) -> None:
    """Name what could not be annotated, if anything, and end with the code for it."""
    if report.num_failures == 0:
        return
    for failure in report.first_failures:
        say(f"warning: {failure.where}: {failure.reason}")
    count = report.num_failures
    say(f"warning: {count:,} record{'s' if count > 1 else ''} left out")
    raise typer.Exit(EXIT_PARTIAL)
