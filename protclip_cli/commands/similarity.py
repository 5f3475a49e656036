"""``protclip similarity``: how alike proteins are, as pairs, as a matrix, as a picture."""

from __future__ import annotations

from enum import StrEnum
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from protclip_cli.boundary import EXIT_PARTIAL, say
from protclip_cli.commands.embed import OnError
from protclip_cli.commands.search import Space
from protclip_cli.options import Format, GlobalOptions, inputs_or_pipe
from protclip_cli.output import Value, stdout, write_rows, write_tsv_line
from protclip_cli.progress import make_progress
from protclip_core.errors import UsageError
from protclip_core.records import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from protclip_core.tasks.similarity import Answer, Partners, Similarity

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
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="INPUT...",
            help="A store, or FASTA files; '-' or nothing and a pipe: standard input.",
            show_default=False,
        ),
    ] = None,
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
    form: Annotated[
        SimilarityFormat,
        typer.Option("--format", help="auto: table on a terminal, TSV elsewhere."),
    ] = SimilarityFormat.AUTO,
    plot: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Draw a clustered heat map as well; .png, .svg or .pdf.",
            show_default=False,
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a picture that is there.")
    ] = False,
    model: Annotated[
        str | None,
        typer.Option(
            help="Name or path of a model.", show_default="the store's own, else protclip-mini"
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    workers: Annotated[
        int | None, typer.Option(min=1, help="CPU workers.", show_default="one a core")
    ] = None,
    on_error: Annotated[
        OnError, typer.Option(help="Bad records: compare nothing, or leave them out.")
    ] = OnError.FAIL,
) -> None:
    """Compare proteins with each other by their vectors."""
    from protclip_core.tasks.similarity import Similarity, SimilarityRequest

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
        _check_picture(plot, overwrite=overwrite)
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
        _end_partial(comparison)


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


def _check_picture(path: Path, *, overwrite: bool) -> None:
    from protclip_core.io.atomic import check_writable_target
    from protclip_core.tasks.annotate_plot import plot_form

    plot_form(path)
    check_writable_target(path)
    if path.exists() and not overwrite:
        hint = "choose another name, or replace it with --overwrite"
        raise UsageError("is there already", where=str(path), hint=hint)


def _draw(comparison: Similarity, path: Path) -> None:
    from protclip_core.tasks.similarity_plot import check_drawable, save_heat_map

    left, right = comparison.left, comparison.right
    check_drawable(max(len(left), len(right)), path)
    caption = f"{comparison.space} space"
    if (model := comparison.left.embedded.get("model")) is not None:
        caption += f" of {printable(Path(str(model)).name)}"
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
    found = comparison.partners()
    # An error before the first pair shall not leave a header behind.
    begun = chain(list(islice(found, 1)), found)
    out = stdout()
    if form is Format.TSV or (form is Format.AUTO and not out.isatty()):
        _write_lines(comparison, begun)
    else:
        write_rows(_partner_rows(comparison, begun), COLUMNS, form)


def _write_lines(comparison: Similarity, found: Iterable[Partners]) -> None:
    """Write TSV, as `write_rows` would, a protein at a time: there can be many millions of lines.

    On a terminal, where names are made harmless, that function is good enough.
    """
    out = stdout()
    if out.isatty():
        write_rows(_partner_rows(comparison, found), COLUMNS, Format.TSV)
        return
    from protclip_cli.output import one_cell

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
    rows = comparison.matrix_rows()
    begun = chain(list(islice(rows, 1)), rows)
    out = stdout()
    write_tsv_line(out, ["protein_id", *comparison.right.ids])
    names = iter(comparison.left.ids)
    for some in begun:
        for scores in some.tolist():
            # NaN is the one value that is not itself.
            write_tsv_line(out, [next(names), *(s if s == s else None for s in scores)])  # noqa: PLR0124


def _write_answers(comparison: Similarity, listed: str, form: Format) -> None:
    from protclip_core.io.pair_table import read_pairs

    failed = 0

    def rows() -> Iterator[dict[str, Value]]:
        nonlocal failed
        for one in begun:
            failed += bool(one.reason)
            yield _answer_row(one)

    def is_known(name: str) -> bool:
        return not isinstance(comparison.left.find(name), str)

    answers = comparison.answers(read_pairs(listed, is_known))
    begun = chain(list(islice(answers, 1)), answers)
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


def _end_partial(comparison: Similarity) -> None:
    """Name what was not compared, if anything, and end with the code for it."""
    if comparison.num_failures == 0:
        return
    for failure in comparison.first_failures:
        say(f"warning: {failure.where}: {failure.reason}")
    count = comparison.num_failures
    say(f"warning: {count:,} record{'s' if count > 1 else ''} left out")
    raise typer.Exit(EXIT_PARTIAL)
