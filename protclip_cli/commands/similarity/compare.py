"""``protclip similarity``: how alike proteins are, as pairs, as a matrix, as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TextIO

from protclip_cli.boundary import EXIT_PARTIAL, say
from protclip_cli.output import (
    Output,
    Value,
    begun,
    check_picture,
    defined,
    is_plain_tsv,
    one_cell,
    target,
    write_rows,
    write_tsv_line,
)
from protclip_cli.terminal import Terminal, end_partial
from protclip_core.errors import UsageError
from protclip_core.options import INPUT, OUTPUT, Opt, Overwrite
from protclip_core.records import printable
from protclip_core.tasks.similarity.request import SimilarityRequest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import numpy as np

    from protclip_core.tasks.similarity.task import Partners, Similarity

COLUMNS = ("protein_a", "protein_b", "similarity")
EPILOG = """\
Columns: protein_a protein_b similarity; with --pairs also reason, which says why a pair
has no similarity.

Examples:
  protclip similarity x.h5 --top-k 5                five partners of each protein
  protclip similarity x.h5 --pairs pairs.tsv        one answer per line
  protclip similarity x.fa --format matrix --plot x.png > x.tsv
  protclip similarity x.h5 --against y.h5 --metric manhattan
  cat x.fa | protclip similarity --min-similarity 0.8
    protein_a  protein_b  similarity
    P69905     P68871     0.8731"""


def similarity(
    terminal: Terminal,
    request: SimilarityRequest,
    *,
    pairs: Annotated[
        str | None,
        Opt(
            "Only these pairs, two names a line, in their order; '-': standard input.",
            metavar="FILE",
            panel=INPUT,
        ),
    ] = None,
    plot: Annotated[
        Path | None,
        Opt("Clustered heat map: .png, .svg or .pdf.", "--plot", metavar="FILE", panel=OUTPUT),
    ] = None,
    format: Annotated[
        Literal["auto", "table", "tsv", "csv", "jsonl", "json", "matrix"],
        Opt(
            "auto: by the suffix of -o, else a table on a terminal and TSV elsewhere. matrix: all "
            "pairs, a row and a column per protein.",
            panel=OUTPUT,
        ),
    ] = "auto",
    output: Output = None,
    overwrite: Overwrite = False,
) -> None:
    """Compare proteins with each other by their vectors."""
    from protclip_core.tasks.similarity.task import Similarity

    is_matrix = format == "matrix"
    _check(request, pairs, is_matrix=is_matrix, is_drawn=plot is not None)
    if pairs == "-" and "-" in (*request.inputs, request.against):
        raise UsageError("standard input (-) can be read only once", code="usage.stdin_twice")
    read = (*request.inputs, request.against, pairs, request.model)
    form = "tsv" if is_matrix else format
    to = target(output, form, overwrite=overwrite, inputs=read)
    if plot is not None:
        check_picture(plot, overwrite=overwrite, inputs=read, other=to.path)
    with Similarity(request, terminal.progress(to.screen)) as comparison:
        if plot is not None:
            _draw(comparison, plot)
        if is_matrix:
            matrix = begun(comparison.matrix_rows())
            with to.open() as out:
                _write_matrix(comparison, matrix, out)
        elif pairs is not None:
            rows = begun(_answer_rows(comparison, pairs))
            failed = 0

            def counted() -> Iterator[dict[str, Value]]:
                nonlocal failed
                for row in rows:
                    failed += bool(row["reason"])
                    yield row

            with to.open() as out:
                write_rows(counted(), [*COLUMNS, "reason"], to.form, out)
            if failed:
                say(f"warning: {failed:,} pair{'s have' if failed > 1 else ' has'} no similarity")
                raise SystemExit(EXIT_PARTIAL)
        else:
            found = begun(comparison.partners())
            with to.open() as out:
                _write_partners(comparison, found, to.form, out)
        end_partial(comparison.num_failures, comparison.first_failures)


def _check(
    request: SimilarityRequest, pairs: str | None, *, is_matrix: bool, is_drawn: bool
) -> None:
    """Refuse options that contradict each other."""
    narrowed = request.min_similarity is not None or request.top_k is not None
    if is_matrix and (narrowed or pairs is not None):
        raise UsageError(
            "a matrix has all pairs",
            code="usage.conflicting_options",
            hint="drop --min-similarity, --top-k and --pairs, or --format matrix",
        )
    if pairs is not None and (narrowed or is_drawn):
        raise UsageError(
            "listed pairs are all answered",
            code="usage.conflicting_options",
            hint="drop --min-similarity, --top-k and --plot, or --pairs",
        )


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


def _write_partners(
    comparison: Similarity, found: Iterable[Partners], form: str, out: TextIO
) -> None:
    if not is_plain_tsv(form, out):
        write_rows(_partner_rows(comparison, found), COLUMNS, form, out)
        return
    # As `write_rows` would, a protein at a time: there can be many millions of lines.
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


def _write_matrix(comparison: Similarity, blocks: Iterable[np.ndarray], out: TextIO) -> None:
    """Write a header of ids, then a line a protein; cells without a similarity are empty."""
    write_tsv_line(out, ["protein_id", *comparison.right.ids])
    names = iter(comparison.left.ids)
    for block in blocks:
        for scores in block.tolist():
            write_tsv_line(out, [next(names), *map(defined, scores)])


def _answer_rows(comparison: Similarity, listed: str) -> Iterator[dict[str, Value]]:
    from protclip_core.io.pairs.table import read_pairs

    def is_known(name: str) -> bool:
        return not isinstance(comparison.left.find(name), str)

    for one in comparison.answers(read_pairs(listed, is_known)):
        yield {
            "protein_a": one.protein_a,
            "protein_b": one.protein_b,
            "similarity": one.similarity,
            "reason": one.reason,
        }
