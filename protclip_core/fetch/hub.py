"""Reading what a hub answers about a repository: its commit, its files, its licence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from protclip_core.io.json_fields import Fields, one_line

__all__ = ["HubFile", "HubRepository", "read_repository"]

_HEX = r"[0-9a-fA-F]{%d}"
_LICENSE = "license:"


@dataclass(frozen=True, kw_only=True)
class HubFile:
    """A file of a repository: large ones have a sha256, the others the hash of their git blob."""

    size: int | None
    sha256: str | None = None
    git_sha1: str | None = None


@dataclass(frozen=True, kw_only=True)
class HubRepository:
    """A repository at one commit: its files by name, and the licence that it states."""

    commit: str
    files: dict[str, HubFile]
    license: str | None


def read_repository(answer: Any, where: str) -> HubRepository:
    """Read the answer to ``/api/models/OWNER/REPO/revision/REVISION?blobs=true``.

    Parameters
    ----------
    answer
        The JSON.
    where
        The URL, for messages.

    Raises
    ------
    ModelError
        A field is missing or of another kind than hubs give; names it.
    """
    fields = Fields(answer, "answer of a hub", where)
    files = {one.text("rfilename"): _file(one) for one in fields.objects("siblings")}
    stated = (tag for tag in fields.texts("tags") if tag.startswith(_LICENSE))
    license = one_line(next(stated, "").removeprefix(_LICENSE))
    return HubRepository(commit=fields.text("sha"), files=files, license=license or None)


def _file(one: Fields) -> HubFile:
    if one.has("lfs"):
        large = one.object("lfs")
        sha256 = large.text("sha256", _HEX % 64)
        return HubFile(size=large.size_or_none("size"), sha256=sha256.lower())
    blob = one.text_or_none("blobId", _HEX % 40)
    return HubFile(size=one.size_or_none("size"), git_sha1=blob)
