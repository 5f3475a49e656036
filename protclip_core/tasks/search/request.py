"""The request of ``protclip search``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from protclip_core.options import COMPUTE, INPUT, Device, Opt, Space

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
    texts: Annotated[
        tuple[str, ...], Opt("What to look for, in words.", metavar="TEXT", argument=True)
    ] = ()
    query_file: Annotated[
        str | None,
        Opt(
            "More texts, one a line: 'id<TAB>text', or just the text; '-': standard input.",
            metavar="FILE",
            panel=INPUT,
        ),
    ] = None
    like: Annotated[
        tuple[str, ...],
        Opt(
            "Find proteins like this one of the store, or like those in a file; repeatable.",
            metavar="ID|FASTA",
            panel=INPUT,
        ),
    ] = ()
    against: Annotated[
        str | None,
        Opt(
            "Find texts from this file for each protein of STORE (or of --like).",
            "--texts",
            metavar="FILE",
            panel=INPUT,
        ),
    ] = None
    top_k: Annotated[int, Opt("List at most this many hits per query.", metavar="K")] = 10
    min_cosine: Annotated[
        float | None, Opt("List only hits with at least this cosine.", default="")
    ] = None
    exclude_self: Annotated[
        bool | None,
        Opt(
            "Whether a protein may find its own id.",
            "--exclude-self/--include-self",
            default="exclude where --like names an id",
        ),
    ] = None
    space: Annotated[
        Space | None,
        Opt(
            "Where --like compares: the joint space with texts, or the encoder's.",
            default="joint if the model takes texts",
        ),
    ] = None
    model: Annotated[
        str | None,
        Opt(
            "Name or path of the model that made the store.",
            panel=COMPUTE,
            default="the name in the store",
        ),
    ] = None
    device: Device = "auto"
    backend: Annotated[
        Literal["auto", "exact", "faiss"],
        Opt(
            "exact finds all hits; faiss (an extra) may miss some and writes STORE.faiss once; "
            "auto is exact below a million proteins or without that index.",
            panel=COMPUTE,
        ),
    ] = "auto"
