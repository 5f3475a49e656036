"""``protclip search``: proteins by words or by likeness, and texts for proteins."""

from __future__ import annotations

from protclip_cli.output import Results, begun
from protclip_cli.terminal import Terminal
from protclip_core.tasks.search.request import SearchRequest

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


def search(terminal: Terminal, request: SearchRequest, results: Results) -> None:
    """Search a store: proteins by words or likeness, texts by protein."""
    from protclip_core.tasks.search.task import search as run

    read = (request.store, request.query_file, request.against, *request.like)
    to = results.target(*read)
    with_texts = request.against is not None
    hits = run(request, terminal.progress(to.screen if with_texts else None))
    name = "text_id" if with_texts else "protein_id"
    columns = ["query", "rank", name, "cosine", *(["text"] if with_texts else [])]
    to.write(begun(hits), columns, **{name: "id"})
