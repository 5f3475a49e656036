"""``protclip annotate``: proteins in, terms of GO and other vocabularies out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from protclip_cli.commands.annotate.explaining import EXPLAIN_COLUMNS, Explaining
from protclip_cli.commands.annotate.formats import (
    COLUMNS,
    TRANSFER_COLUMNS,
    term_rows,
    write_cafa,
    write_gaf_rows,
    write_topgo,
)
from protclip_cli.output import Output, begun, rows_form, target, write_rows
from protclip_cli.terminal import Terminal, end_partial
from protclip_core.errors import UsageError
from protclip_core.options import OUTPUT, Opt, Overwrite
from protclip_core.records import counted
from protclip_core.tasks.annotate.request import AnnotateRequest

if TYPE_CHECKING:
    from typing import TextIO

    from protclip_core.tasks.annotate.task import Annotation

EPILOG = """\
Columns: protein_id term name aspect cosine probability rank go_release. The probability
is the chance of being annotated with a term, for a protein that has any annotation in its
aspect (--ec: for any protein); it is empty where the model has no calibration. It holds
on average: --reliability says how often such a term was right for proteins as close to
known ones as this one. --explain adds residues (from 1) and the cosine without them.

Examples:
  cat x.fa | protclip annotate --ec --location --keywords
  protclip annotate x.fa --label 'zinc transporter' --label 'heat shock protein'
  protclip annotate --go x.fa --homology sprot.fa.gz --annotations goa.gaf.gz
  protclip annotate --go x.fa --explain --plot x.png
  protclip annotate --go x.fa --fdr 0.1 --specific --format gaf -o x.gaf
  protclip annotate --go x.h5 --aspect MF --top-k 1
    protein_id  term        name             aspect  cosine  probability  rank
    P69905      GO:0005344  oxygen carrier…  MF      0.52    0.71         1"""
#: Forms in which other GO tools read GO terms, with their suffixes.
GO_FORMS = {".gaf": "gaf"}


def annotate(
    terminal: Terminal,
    request: AnnotateRequest,
    *,
    explain: Annotated[
        bool, Opt("Name the residues that each term comes from.", panel=OUTPUT)
    ] = False,
    plot: Annotated[
        Path | None,
        Opt(
            "Draw these residues for one protein: .png, .svg or .pdf.",
            metavar="FILE",
            panel=OUTPUT,
            old=("--explain-plot",),
        ),
    ] = None,
    protein: Annotated[
        str | None, Opt("The protein to draw.", metavar="ID", panel=OUTPUT, shown="the only one")
    ] = None,
    format: Annotated[
        Literal["auto", "table", "tsv", "csv", "jsonl", "json", "gaf", "cafa", "topgo"],
        Opt(
            "auto: by the suffix of -o, else a table on a terminal and TSV elsewhere. gaf, cafa "
            "and topgo: GO terms for other tools.",
            panel=OUTPUT,
        ),
    ] = "auto",
    output: Output = None,
    overwrite: Overwrite = False,
) -> None:
    """Annotate proteins with GO terms, EC numbers, locations, keywords or your own phrases."""
    from protclip_core.tasks.annotate.task import Annotation

    if not (request.vocabularies or request.vocabulary_files or request.labels):
        raise UsageError(
            "nothing to annotate with",
            code="usage.no_vocabulary",
            hint="add --go, --ec, --location, --keywords, --vocab or --label",
        )
    side = (request.annotations, request.homology, request.slim, request.go_index)
    read = (*request.inputs, *side, request.neighbours, *request.vocabulary_files)
    to = target(output, format, overwrite=overwrite, inputs=read, more=GO_FORMS)
    is_go_form = to.form in ("gaf", "cafa", "topgo")
    own = request.vocabulary_files or request.labels
    if is_go_form and (own or request.vocabularies != ("go",)):
        hint = "choose --go and no other vocabulary, or another format"
        message = f"--format {to.form} is for GO only"
        raise UsageError(message, code="usage.conflicting_options", hint=hint)
    explaining = Explaining(explain, plot, protein)
    explaining.check(read, to.path, overwrite=overwrite, is_go_form=is_go_form)
    request = replace(request, explain=explaining.is_asked)
    with Annotation(request) as annotation, to.open() as out:
        _write(annotation, to.form, out, terminal, explaining)
    _tell_summary(annotation, terminal)
    end_partial(annotation.report.num_failures, annotation.report.first_failures)


def _write(
    annotation: Annotation, form: str, out: TextIO, terminal: Terminal, explaining: Explaining
) -> None:
    progress = terminal.progress(out)
    found = annotation.proteins(progress)
    if explaining.is_asked:
        found = explaining.proteins(annotation, progress)
    proteins = begun(found)
    ontologies = [vocabulary.index.ontology for vocabulary in annotation.vocabularies]
    if form == "gaf":
        write_gaf_rows(proteins, annotation, out)
    elif form == "cafa":
        calibrated = annotation.index.calibration is not None
        write_cafa(proteins, ontologies[0], out, calibrated=calibrated)
    elif form == "topgo":
        write_topgo(proteins, ontologies[0], out)
    else:
        # The release is the same in each row, and a terminal is narrow; the last line says it.
        columns: tuple[str, ...] = COLUMNS[:-1] if rows_form(form, out) == "table" else COLUMNS
        rows = explaining.add_to(term_rows(proteins, ontologies))
        columns += ("reliability",) if annotation.reliability is not None else ()
        columns += TRANSFER_COLUMNS if annotation.transfer is not None else ()
        columns += EXPLAIN_COLUMNS if explaining.columns else ()
        write_rows(rows, columns, form, out)
    explaining.draw(annotation)


def _tell_summary(annotation: Annotation, terminal: Terminal) -> None:
    report = annotation.report
    for line in annotation.transfer.provenance if annotation.transfer is not None else ():
        terminal.tell(line)
    ontology = annotation.index.ontology
    release = f"; GO release {annotation.index.release}" if ontology.is_go else ""
    terminal.tell(
        f"{counted(report.terms, 'term')} of {report.with_terms:,} of "
        f"{counted(report.proteins, 'protein')} "
        f"({annotation.rule}{release})"
    )
