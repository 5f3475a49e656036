"""``protclip annotate``: proteins in, terms of GO and other vocabularies out."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from protclip_cli.boundary import say
from protclip_cli.commands.annotate.explaining import EXPLAIN_COLUMNS, Explaining
from protclip_cli.commands.annotate.formats import (
    COLUMNS,
    TRANSFER_COLUMNS,
    term_rows,
    write_cafa,
    write_gaf_rows,
    write_topgo,
)
from protclip_cli.left_out import end_partial
from protclip_cli.options import (
    FORMAT,
    DeviceOption,
    Format,
    GlobalOptions,
    InputsArgument,
    ModelOption,
    OnError,
    OnErrorOption,
    OutputOption,
    OverwriteOption,
    WorkersOption,
    inputs_or_pipe,
)
from protclip_cli.output import begun, write_rows
from protclip_cli.output_file import checked_output, open_output
from protclip_cli.progress import make_progress
from protclip_core.errors import UsageError

if TYPE_CHECKING:
    from typing import TextIO

    from protclip_core.tasks.annotate.request import TransferRequest
    from protclip_core.tasks.annotate.task import Annotation

EPILOG = (
    "Columns: protein_id term name aspect cosine probability rank go_release. A probability is "
    "that of being annotated with a term, for a protein that has any of its aspect (--ec: for any "
    "protein); it is empty where the model has no calibration. --explain adds residues (from 1) "
    "and the cosine without them.\n\n"
    "Examples:\n\n"
    "  cat x.fa | protclip annotate --go            of probability 0.3 or more\n\n"
    "  cat x.fa | protclip annotate --ec --location --keywords\n\n"
    "  protclip annotate x.fa --label 'zinc transporter' --label 'heat shock protein'\n\n"
    "  protclip annotate --go x.h5 --aspect MF --top-k 3\n\n"
    "  protclip annotate --go x.fa --homology sprot.fa.gz --annotations goa.gaf.gz\n\n"
    "  protclip annotate --go x.fa --explain --explain-plot x.png\n\n"
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


#: Forms in which other tools of GO read terms of GO.
GO_FORMATS = (AnnotationFormat.GAF, AnnotationFormat.CAFA, AnnotationFormat.TOPGO)


def annotate(
    context: typer.Context,
    inputs: InputsArgument = None,
    *,
    go: Annotated[bool, typer.Option("--go", help="Annotate with terms of the Gene Ontology.")] = (
        False
    ),
    ec: Annotated[bool, typer.Option("--ec", help="With enzyme numbers and their classes.")] = (
        False
    ),
    location: Annotated[
        bool, typer.Option("--location", help="With subcellular locations.")
    ] = False,
    keywords: Annotated[bool, typer.Option("--keywords", help="With keywords of UniProt.")] = False,
    vocab: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE",
            help="With phrases of yours, or 'id<TAB>phrase', one a line; may be repeated.",
            show_default=False,
        ),
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(help="With this phrase; may be repeated.", show_default=False),
    ] = None,
    aspect: Annotated[
        str | None,
        typer.Option(
            help="Of GO: MF (function), BP (process), CC (place); commas between.",
            show_default="MF,BP,CC",
        ),
    ] = None,
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
        bool,
        typer.Option("--specific", help="Only terms without a listed descendant of their aspect."),
    ] = False,
    slim: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="The closest terms of a GO slim (OBO, or ids) instead."),
    ] = None,
    annotations: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="GO terms of known proteins (GAF, or protein<TAB>term) to learn from as well.",
            show_default=False,
        ),
    ] = None,
    neighbours: Annotated[
        Path | None,
        typer.Option(
            metavar="STORE",
            help="Learn from the nearest of these vectors, of the same model.",
            show_default=False,
        ),
    ] = None,
    homology: Annotated[
        str | None,
        typer.Option(
            metavar="FASTA",
            help="Learn from the most similar of these sequences; needs diamond or mmseqs.",
            show_default=False,
        ),
    ] = None,
    aligner: Annotated[
        str | None,
        typer.Option(help="diamond or mmseqs.", show_default="auto: which is there"),
    ] = None,
    exclude_self: Annotated[
        bool,
        typer.Option("--exclude-self", help="Learn nothing from a protein of the same id."),
    ] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Name the residues that each term comes from.")
    ] = False,
    explain_plot: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Draw them for one protein: .png, .svg or .pdf.",
            show_default=False,
        ),
    ] = None,
    protein: Annotated[
        str | None,
        typer.Option(metavar="ID", help="The protein to draw.", show_default="the only one"),
    ] = None,
    form: Annotated[AnnotationFormat, FORMAT] = AnnotationFormat.AUTO,
    output: OutputOption = None,
    overwrite: OverwriteOption = False,
    model: ModelOption = None,
    go_index: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="GO index of protclip data go build.", show_default="the model's"
        ),
    ] = None,
    device: DeviceOption = "auto",
    workers: WorkersOption = None,
    on_error: OnErrorOption = OnError.FAIL,
) -> None:
    """Annotate proteins with terms of GO and others, by comparing them with what they say."""
    from protclip_core.tasks.annotate.request import AnnotateRequest
    from protclip_core.tasks.annotate.task import Annotation

    options: GlobalOptions = context.obj
    chosen = {"go": go, "ec": ec, "location": location, "keywords": keywords}
    vocabularies = tuple(name for name, asked in chosen.items() if asked)
    if not (vocabularies or vocab or label):
        hint = "add --go, --ec, --location, --keywords, --vocab or --label"
        raise UsageError("nothing to annotate with", hint=hint)
    if form in GO_FORMATS and (vocab or label or vocabularies != ("go",)):
        hint = "ask for --go alone, or another format"
        raise UsageError(f"--format {form.value} is for GO alone", hint=hint)
    explaining = Explaining(explain, explain_plot, protein)
    request = AnnotateRequest(
        inputs=inputs_or_pipe(inputs),
        vocabularies=vocabularies,
        vocabulary_files=tuple(vocab or ()),
        labels=tuple(label or ()),
        model=model,
        go_index=go_index,
        aspects=_aspects(aspect),
        top_k=top_k,
        min_probability=min_probability,
        fdr=fdr,
        propagate=propagate,
        specific=specific,
        slim=slim,
        transfer=_transfer(annotations, neighbours, homology, aligner, exclude_self=exclude_self),
        explain=explaining.is_asked,
        device=device,
        workers=workers,
        on_error=on_error.value,
    )
    side = (annotations, homology, slim, go_index, neighbours, *(vocab or ()))
    read = (*request.inputs, *(str(one) for one in side if one is not None))
    explaining.check(read, overwrite=overwrite, is_go_format=form in GO_FORMATS)
    path = checked_output(output, overwrite=overwrite, inputs=read)
    explaining.refuse_table(path)
    with Annotation(request) as annotation, open_output(path) as out:
        _write(annotation, form, out, options, explaining)
    if not options.quiet:
        _say_summary(annotation)
    end_partial(annotation.report.num_failures, annotation.report.first_failures)


def _transfer(
    annotations: str | None,
    neighbours: Path | None,
    homology: str | None,
    aligner: str | None,
    *,
    exclude_self: bool,
) -> TransferRequest | None:
    """Return where relatives are looked for; None where they are not asked for."""
    from protclip_core.tasks.annotate.request import TransferRequest

    if annotations is None:
        asked = {
            "--neighbours": neighbours is not None,
            "--homology": homology is not None,
            "--aligner": aligner is not None,
            "--exclude-self": exclude_self,
        }
        for name, given in asked.items():
            if given:
                raise UsageError(
                    f"{name} is for learning from known proteins",
                    hint="say what is known of them with --annotations, or drop it",
                )
        return None
    if aligner is not None and homology is None:
        raise UsageError("--aligner is for --homology", hint="add it, or drop --aligner")
    return TransferRequest(
        annotations=annotations,
        neighbours=neighbours,
        homology=homology,
        aligner=aligner or "auto",
        exclude_self=exclude_self,
    )


def _aspects(text: str | None) -> tuple[str, ...] | None:
    if text is None:
        return None
    return tuple(name.strip().upper() for name in text.split(",") if name.strip())


def _write(
    annotation: Annotation,
    form: AnnotationFormat,
    out: TextIO,
    options: GlobalOptions,
    explaining: Explaining,
) -> None:
    # A bar and rows on one terminal would overwrite each other.
    progress = make_progress(quiet=options.quiet or out.isatty())
    found = annotation.proteins(progress)
    if explaining.is_asked:
        found = explaining.proteins(annotation, progress)
    proteins = begun(found)
    ontologies = [vocabulary.index.ontology for vocabulary in annotation.vocabularies]
    if form is AnnotationFormat.GAF:
        write_gaf_rows(proteins, annotation, out)
    elif form is AnnotationFormat.CAFA:
        write_cafa(proteins, ontologies[0], out)
    elif form is AnnotationFormat.TOPGO:
        write_topgo(proteins, ontologies[0], out)
    else:
        is_table = form is AnnotationFormat.TABLE or (
            form is AnnotationFormat.AUTO and out.isatty()
        )
        # The release is the same in each row, and a terminal is narrow; the last line says it.
        columns: tuple[str, ...] = COLUMNS[:-1] if is_table else COLUMNS
        rows = explaining.add_to(term_rows(proteins, ontologies))
        columns += TRANSFER_COLUMNS if annotation.transfer is not None else ()
        columns += EXPLAIN_COLUMNS if explaining.columns else ()
        write_rows(rows, columns, Format(form.value), out)
    explaining.draw(annotation)


def _say_summary(annotation: Annotation) -> None:
    report = annotation.report
    for line in annotation.transfer.provenance if annotation.transfer is not None else ():
        say(line)
    ontology = annotation.index.ontology
    release = f"; GO release {annotation.index.release}" if ontology.is_go else ""
    say(
        f"{report.terms:,} terms of {report.with_terms:,} of {report.proteins:,} proteins "
        f"({annotation.rule}{release})"
    )
