"""``protclip similarity``: how alike proteins are, as pairs, as a matrix, as a picture."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from protclip_cli.boundary import EXIT_PARTIAL, say
from protclip_cli.left_out import end_partial
from protclip_cli.options import (
    FORMAT,
    DeviceOption,
    Format,
    GlobalOptions,
    InputsArgument,
    ModelOption,
    OnError,
    OverwritePictureOption,
    PairOnErrorOption,
    Space,
    WorkersOption,
    inputs_or_pipe,
)
from protclip_cli.output import (
    Value,
    begun,
    defined,
    one_cell,
    stdout,
    write_rows,
    write_tsv_line,
)
from protclip_cli.output_file import refuse_existing
from protclip_cli.progress import make_progress
from protclip_core.errors import UsageError
from protclip_core.records import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from protclip_core.tasks.similarity.task import Answer, Partners, Similarity

COLUMNS = ("protein_a", "protein_b", "similarity")
EPILOG = (
    "Columns: protein_a protein_b similarity; with --pairs also reason, which says why a pair has "
    "no similarity.\n\n"
    "'protclip similarity evaluate' compares with similarities by GO.\n\n"
    "Examples:\n\n"
    "  cat x.fa | protclip similarity --min 0.8          each pair once, if it is alike\n\n"
    "  protclip similarity x.h5 --top-k 5                five partners of each protein\n\n"
    "  protclip similarity x.h5 --pairs pairs.tsv        an answer a line\n\n"
    "  protclip similarity x.fa --format matrix --plot x.png > x.tsv\n\n"
    "  protclip similarity x.h5 --against y.h5 --metric manhattan"
)


class Metric(StrEnum):
    """How two vectors are compared."""

    COSINE = "cosine"
    MANHATTAN = "manhattan"


class SimilarityFormat(StrEnum):
    """Form of the result."""

    AUTO = "auto"
    TABLE = "table"
    TSV = "tsv"
    JSONL = "jsonl"
    MATRIX = "matrix"


def similarity(
    context: typer.Context,
    inputs: InputsArgument = None,
    *,
    listed: Annotated[
        str | None,
        typer.Option(
            "--pairs",
            metavar="FILE",
            help="Only these pairs, two names a line, in their order; '-': stdin.",
            show_default=False,
        ),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="STORE|FASTA",
            help="Compare each protein of INPUT with each of these.",
            show_default=False,
        ),
    ] = None,
    metric: Annotated[
        Metric,
        typer.Option(help="manhattan: 1 - |a - b| / (|a| + |b|), sums of absolute values."),
    ] = Metric.COSINE,
    space: Annotated[
        Space | None,
        typer.Option(
            help="The space of the texts, or the encoder's. Default: joint if the model takes "
            "texts.",
            show_default=False,
        ),
    ] = None,
    least: Annotated[
        float | None,
        typer.Option("--min", help="Only pairs of at least this similarity.", show_default=False),
    ] = None,
    top_k: Annotated[
        int | None,
        typer.Option(
            "--top-k",
            metavar="K",
            help="The K best partners of each protein, best first.",
            show_default=False,
        ),
    ] = None,
    form: Annotated[SimilarityFormat, FORMAT] = SimilarityFormat.AUTO,
    plot: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Draw a clustered heat map as well; .png, .svg or .pdf.",
            show_default=False,
        ),
    ] = None,
    overwrite: OverwritePictureOption = False,
    model: ModelOption = None,
    device: DeviceOption = "auto",
    workers: WorkersOption = None,
    on_error: PairOnErrorOption = OnError.FAIL,
) -> None:
    """Compare proteins with each other by their vectors."""
    from protclip_core.tasks.similarity.task import Similarity, SimilarityRequest

    options: GlobalOptions = context.obj
    is_matrix = form is SimilarityFormat.MATRIX
    narrowed = least is not None or top_k is not None
    _check(listed, is_matrix=is_matrix, narrowed=narrowed, plot=plot)
    request = SimilarityRequest(
        inputs=inputs_or_pipe(inputs),
        against=against,
        metric=metric.value,
        space=space.value if space else None,
        least=least,
        top_k=top_k,
        model=model,
        device=device,
        workers=workers,
        on_error=on_error.value,
    )
    if listed == "-" and "-" in (*request.inputs, against):
        raise UsageError("standard input (-) can be read once only")
    if plot is not None:
        read = (*request.inputs, against, model)
        _check_picture(plot, read, overwrite=overwrite)
    # A bar and rows on one terminal would overwrite each other.
    progress = make_progress(quiet=options.quiet or stdout().isatty())
    with Similarity(request, progress) as comparison:
        if plot is not None:
            _draw(comparison, plot)
        if is_matrix:
            _write_matrix(comparison)
        elif listed is not None:
            _write_answers(comparison, listed, Format(form.value))
        else:
            _write_partners(comparison, Format(form.value))
        end_partial(comparison.num_failures, comparison.first_failures)


def _check(listed: str | None, *, is_matrix: bool, narrowed: bool, plot: Path | None) -> None:
    """Refuse options that contradict each other."""
    if is_matrix and (narrowed or listed is not None):
        raise UsageError(
            "a matrix has all pairs", hint="drop --min, --top-k and --pairs, or --format matrix"
        )
    if listed is not None and (narrowed or plot is not None):
        raise UsageError(
            "listed pairs are all answered", hint="drop --min, --top-k and --plot, or --pairs"
        )


def _check_picture(path: Path, read: tuple[str | None, ...], *, overwrite: bool) -> None:
    from protclip_core.io.atomic import check_writable_target
    from protclip_core.io.outputs import check_outputs
    from protclip_core.report.figures import plot_form

    plot_form(path)
    check_outputs(read, (path,), hint="choose another --plot")
    check_writable_target(path)
    refuse_existing(path, overwrite=overwrite, other="name")


def _draw(comparison: Similarity, path: Path) -> None:
    from protclip_core.tasks.similarity.plot import check_drawable, save_heat_map

    left, right = comparison.left, comparison.right
    check_drawable(max(len(left), len(right)), path)
    caption = f"{comparison.space} space"
    if model := comparison.left.source.spec.model:
        caption += f" of {printable(model)}"
    save_heat_map(
        path,
        comparison.matrix(),
        (left.ids, right.ids),
        metric=comparison.request.metric,
        symmetric=comparison.is_symmetric,
        caption=caption,
    )
    say(f"{path}: {len(left):,} x {len(right):,} proteins")


def _write_partners(comparison: Similarity, form: Format) -> None:
    found = begun(comparison.partners())
    out = stdout()
    if form is Format.TSV or (form is Format.AUTO and not out.isatty()):
        _write_lines(comparison, found)
    else:
        write_rows(_partner_rows(comparison, found), COLUMNS, form)


def _write_lines(comparison: Similarity, found: Iterable[Partners]) -> None:
    """Write TSV, as `write_rows` would, a protein at a time: there can be many millions of lines.

    On a terminal, where names are made harmless, that function is good enough.
    """
    out = stdout()
    if out.isatty():
        write_rows(_partner_rows(comparison, found), COLUMNS, Format.TSV)
        return
    names = [one_cell(id) for id in comparison.right.ids]
    out.write("\t".join(COLUMNS) + "\n")
    for one in found:
        start = one_cell(comparison.left.ids[one.row])
        others = zip(one.columns.tolist(), one.scores.tolist(), strict=True)
        out.write("".join([f"{start}\t{names[c]}\t{score:.9g}\n" for c, score in others]))


def _partner_rows(comparison: Similarity, found: Iterable[Partners]) -> Iterator[dict[str, Value]]:
    left, right = comparison.left.ids, comparison.right.ids
    for one in found:
        for column, score in zip(one.columns.tolist(), one.scores.tolist(), strict=True):
            yield {"protein_a": left[one.row], "protein_b": right[column], "similarity": score}


def _write_matrix(comparison: Similarity) -> None:
    """Write a header of ids, then a line a protein; cells without a similarity are empty."""
    rows = begun(comparison.matrix_rows())
    out = stdout()
    write_tsv_line(out, ["protein_id", *comparison.right.ids])
    names = iter(comparison.left.ids)
    for some in rows:
        for scores in some.tolist():
            write_tsv_line(out, [next(names), *map(defined, scores)])


def _write_answers(comparison: Similarity, listed: str, form: Format) -> None:
    from protclip_core.io.pairs.table import read_pairs

    failed = 0

    def rows() -> Iterator[dict[str, Value]]:
        nonlocal failed
        for one in answers:
            failed += bool(one.reason)
            yield _answer_row(one)

    def is_known(name: str) -> bool:
        return not isinstance(comparison.left.find(name), str)

    answers = begun(comparison.answers(read_pairs(listed, is_known)))
    write_rows(rows(), [*COLUMNS, "reason"], form)
    if failed:
        say(f"warning: {failed:,} pair{'s have' if failed > 1 else ' has'} no similarity")
        raise typer.Exit(EXIT_PARTIAL)


def _answer_row(one: Answer) -> dict[str, Value]:
    return {
        "protein_a": one.protein_a,
        "protein_b": one.protein_b,
        "similarity": one.similarity,
        "reason": one.reason,
    }
