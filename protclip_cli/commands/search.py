"""``protclip search``: proteins by words or by likeness, and texts for proteins."""

from __future__ import annotations

from typing import TYPE_CHECKING

from protclip_cli.output import Format, Output, Value, begun, target, write_rows
from protclip_cli.terminal import Terminal
from protclip_core.options import Overwrite
from protclip_core.tasks.search.request import SearchRequest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from protclip_core.tasks.search.task import Hit

EPILOG = """\
Examples:
  protclip search x.h5 --query-file terms.tsv    id<TAB>text, or text
  protclip search x.h5 --like P69905 --top-k 5   proteins like this one
  cat y.fa | protclip search x.h5 --like -       proteins like these
  protclip search x.h5 --texts terms.tsv         texts for each protein
  protclip search x.h5 "oxygen transport" --top-k 2
    query             rank  protein_id  cosine
    oxygen transport  1     P69905      0.4712
    oxygen transport  2     P68871      0.4655"""


def search(
    terminal: Terminal,
    request: SearchRequest,
    *,
    format: Format = "auto",
    output: Output = None,
    overwrite: Overwrite = False,
) -> None:
    """Search a store: proteins by words or likeness, texts by protein."""
    from protclip_core.tasks.search.task import search as run

    read = (request.store, request.query_file, request.against, *request.like)
    to = target(output, format, overwrite=overwrite, inputs=read)
    with_texts = request.against is not None
    hits = run(request, terminal.progress(to.screen if with_texts else None))
    name = "text_id" if with_texts else "protein_id"
    columns = ["query", "rank", name, "cosine", *(["text"] if with_texts else [])]
    rows = _rows(begun(hits), name)
    with to.open() as out:
        write_rows(rows, columns, to.form, out)


def _rows(hits: Iterator[Hit], name: str) -> Iterator[dict[str, Value]]:
    for hit in hits:
        yield {
            "query": hit.query,
            "rank": hit.rank,
            name: hit.id,
            "cosine": hit.cosine,
            "text": hit.text,
        }
