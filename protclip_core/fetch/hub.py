"""What a Hugging Face hub answers about a repository: its commit, its files, its licence."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct, field

from protclip_core.io.json_fields import Bytes, Text, one_line, read_as

__all__ = ["HubFile", "HubRepository", "read_repository"]

_LICENSE = "license:"


class _Large(Struct, frozen=True):
    """What git-lfs knows about a large file."""

    sha256: Annotated[str, Meta(pattern=r"\A[0-9a-fA-F]{64}\Z")]
    size: Bytes | None = None


class HubFile(Struct, frozen=True, kw_only=True):
    """A file of a repository: large ones have a sha256, the others the hash of their git blob."""

    name: Text = field(name="rfilename")
    blob: Annotated[str, Meta(pattern=r"\A[0-9a-fA-F]{40}\Z")] | None = field(
        name="blobId", default=None
    )
    own_size: Bytes | None = field(name="size", default=None)
    lfs: _Large | None = None

    @property
    def size(self) -> int | None:
        """Bytes, where they are stated."""
        return self.lfs.size if self.lfs else self.own_size

    @property
    def sha256(self) -> str | None:
        """Of a large file."""
        return self.lfs.sha256.lower() if self.lfs else None

    @property
    def git_sha1(self) -> str | None:
        """Of any other file. The blob of a large one is its pointer."""
        return None if self.lfs else self.blob


class HubRepository(Struct, frozen=True):
    """A repository at one commit."""

    commit: Text = field(name="sha")
    siblings: list[HubFile]
    tags: list[str] | None = None

    @property
    def files(self) -> dict[str, HubFile]:
        """Its files by name."""
        return {file.name: file for file in self.siblings}

    @property
    def license(self) -> str | None:
        """The licence that it states, in one line."""
        stated = (tag for tag in self.tags or () if tag.startswith(_LICENSE))
        return one_line(next(stated, "").removeprefix(_LICENSE)) or None


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
        ``model.bad_field``: a field is missing or of another kind than hubs give.
    """
    return read_as(HubRepository, answer, "answer of a hub", where)
