"""The request of ``protclip search``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from protclip_core import options as opts
from protclip_core.options import Opt, opt

__all__ = ["SearchRequest"]


@dataclass(frozen=True, kw_only=True)
class SearchRequest:
    """What to look for, and where; the `Opt` of a field says what it is.

    Examples
    --------
    >>> from pathlib import Path
    >>> from protclip_core import SearchRequest
    >>> SearchRequest(store=Path("x.h5"), texts=("zinc transporter",)).top_k
    10
    """

    store: Annotated[Path, Opt("A store that embed wrote.", metavar="STORE", argument=True)]
    texts: tuple[str, ...] = opt((), "What to look for, in words.", metavar="TEXT", argument=True)
    query_file: str | None = opt(
        None,
        "More texts, one a line: 'id<TAB>text', or just the text; '-': standard input.",
        metavar="FILE",
    )
    like: tuple[str, ...] = opt(
        (),
        "Find proteins like this one of the store, or like those in a FASTA or structure file; "
        "repeatable.",
        metavar="ID|FASTA",
    )
    against: str | None = opt(
        None,
        "Find texts from this file for each protein of STORE (or of --like).",
        "--texts",
        metavar="FILE",
    )
    top_k: int = opt(10, "List at most this many hits per query.", metavar="K")
    min_cosine: float | None = opt(None, "List only hits with at least this cosine.", shown="")
    exclude_self: bool | None = opt(
        None,
        "Whether a protein may find its own id.",
        "--exclude-self/--include-self",
        shown="exclude where --like names an id",
    )
    space: opts.Space | None = opt(
        None,
        "Where --like compares: the joint space with texts, or the encoder's.",
        shown="joint if the model takes texts",
    )
    model: str | None = opt(
        None,
        "Name or path of the model that made the store.",
        panel=opts.COMPUTE,
        shown="the name in the store",
    )
    device: opts.Device = "auto"
    modality: opts.Modality = "auto"
    backend: Literal["auto", "exact", "faiss"] = opt(
        "auto",
        "exact finds all hits; faiss (an extra) may miss some and writes STORE.faiss once; "
        "auto is exact below a million proteins or without that index.",
        panel=opts.COMPUTE,
    )
