"""``protclip search``: proteins by words or by likeness, and texts for proteins."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from protclip_cli.options import DeviceOption, Format, FormatOption, GlobalOptions, Space
from protclip_cli.output import Value, begun, stdout, write_rows
from protclip_cli.progress import make_progress

if TYPE_CHECKING:
    from collections.abc import Iterator

    from protclip_core.tasks.search.task import Hit

EPILOG = (
    "Examples:\n\n"
    '  protclip search x.h5 "ATP-binding cassette transporter"\n\n'
    "  protclip search x.h5 --query-file terms.tsv    id<TAB>text, or text\n\n"
    "  protclip search x.h5 --like P69905 --top-k 5   proteins like this one\n\n"
    "  cat y.fa | protclip search x.h5 --like -       proteins like these\n\n"
    "  protclip search x.h5 --texts terms.tsv         texts for each protein"
)


class Backend(StrEnum):
    """How the nearest are found."""

    AUTO = "auto"
    EXACT = "exact"
    FAISS = "faiss"


def search(
    context: typer.Context,
    store: Annotated[Path, typer.Argument(metavar="STORE", help="A store that embed wrote.")],
    texts: Annotated[
        list[str] | None,
        typer.Argument(metavar="TEXT", help="What to look for, in words.", show_default=False),
    ] = None,
    *,
    query_file: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="More texts, one a line, 'id<TAB>text' or the text alone; '-': stdin.",
            show_default=False,
        ),
    ] = None,
    like: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ID|FASTA",
            help="Find proteins like this one of the store, or like those of a file; repeatable.",
            show_default=False,
        ),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(
            "--texts",
            metavar="FILE",
            help="Find texts, of this file, for each protein of STORE (or of --like).",
            show_default=False,
        ),
    ] = None,
    top_k: Annotated[int, typer.Option(help="Hits of a query at most.")] = 10,
    min_cosine: Annotated[
        float | None, typer.Option(help="Only hits of at least this cosine.", show_default=False)
    ] = None,
    exclude_self: Annotated[
        bool | None,
        typer.Option(
            "--exclude-self/--include-self",
            help="Whether a protein finds its own id. Default: not if --like names an id.",
            show_default=False,
        ),
    ] = None,
    space: Annotated[
        Space | None,
        typer.Option(
            help="Where --like compares: the space of the texts, or the encoder's. Default: joint "
            "if the store's model takes texts.",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="The model that made the store, by name or path. Default: the name in the store.",
            show_default=False,
        ),
    ] = None,
    device: DeviceOption = "auto",
    backend: Annotated[
        Backend,
        typer.Option(
            help="exact finds all; faiss (an extra) may miss some, and makes STORE.faiss once; "
            "auto is exact below a million proteins or without such an index."
        ),
    ] = Backend.AUTO,
    form: FormatOption = Format.AUTO,
) -> None:
    """Search a store: proteins by words or likeness, texts by protein."""
    from protclip_core.tasks.search.task import SearchRequest
    from protclip_core.tasks.search.task import search as run

    options: GlobalOptions = context.obj
    request = SearchRequest(
        store=store,
        texts=tuple(texts or ()),
        query_file=query_file,
        like=tuple(like or ()),
        against=against,
        top_k=top_k,
        min_cosine=min_cosine,
        exclude_self=exclude_self,
        space=space.value if space else None,
        model=model,
        device=device,
        backend=backend.value,
    )
    # A bar and rows on one terminal would overwrite each other.
    quiet = options.quiet or (against is not None and stdout().isatty())
    hits = run(request, make_progress(quiet=quiet))
    name = "text_id" if against is not None else "protein_id"
    columns = ["query", "rank", name, "cosine", *(["text"] if against is not None else [])]
    write_rows(_rows(begun(hits), name), columns, form)


def _rows(hits: Iterator[Hit], name: str) -> Iterator[dict[str, Value]]:
    for hit in hits:
        yield {
            "query": hit.query,
            "rank": hit.rank,
            name: hit.id,
            "cosine": hit.cosine,
            "text": hit.text,
        }
