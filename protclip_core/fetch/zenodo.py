"""What Zenodo answers about a record: its files, each with an md5, and its licence."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct, field

from protclip_core.io.json_fields import Bytes, Text, one_line, read_as

__all__ = ["RecordFile", "ZenodoRecord", "read_record"]


class _Links(Struct, frozen=True):
    address: Text = field(name="self")


class RecordFile(Struct, frozen=True, kw_only=True):
    """A file of a record, in the form of the API since 2024 or of the one of 2023."""

    checksum: Annotated[str, Meta(pattern=r"\A(md5:)?[0-9a-fA-F]{32}\Z")]
    key: Text | None = None
    links: _Links | None = None
    own_size: Bytes | None = field(name="size", default=None)
    filename: Text | None = None
    filesize: Bytes | None = None

    def __post_init__(self) -> None:
        if self.key is None and self.filename is None:
            raise ValueError("key is missing")
        if self.key is not None and self.links is None:
            raise ValueError("links is missing")

    @property
    def name(self) -> str:
        """File name."""
        return self.key or self.filename or ""

    @property
    def md5(self) -> str:
        """In lower-case hexadecimal."""
        return self.checksum.rpartition(":")[2].lower()

    @property
    def size(self) -> int | None:
        """Bytes, where they are stated."""
        return self.own_size if self.key else self.filesize


class _Id(Struct, frozen=True):
    id: str | None = None


class _Metadata(Struct, frozen=True):
    license: str | _Id | None = None
    rights: list[_Id] | None = None


class ZenodoRecord(Struct, frozen=True):
    """A record."""

    files: list[RecordFile]
    id: int | str | None = None
    metadata: _Metadata | None = None

    def url(self, file: RecordFile) -> str:
        """Return the address of one of its files."""
        if file.links is not None:
            return file.links.address
        return f"https://zenodo.org/records/{self.id}/files/{file.name}?download=1"

    @property
    def license(self) -> str | None:
        """The licence that it states, in one line."""
        stated = None if self.metadata is None else self.metadata.license
        if stated is None and self.metadata is not None:
            stated = next(iter(self.metadata.rights or ()), None)
        return one_line((stated.id if isinstance(stated, _Id) else stated) or "") or None


def read_record(record: Any, where: str) -> ZenodoRecord:
    """Read what ``zenodo.org/api/records/NUMBER`` answers.

    Parameters
    ----------
    record
        The JSON.
    where
        Its URL, for messages.

    Raises
    ------
    ModelError
        ``model.bad_field``: a field is missing or of another kind.
    """
    return read_as(ZenodoRecord, record, "Zenodo record", where)
