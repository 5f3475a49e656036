"""Reading the records of Zenodo, which state an md5 for each file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["RecordFile", "license_of", "read_record"]


@dataclass(frozen=True, kw_only=True)
class RecordFile:
    """A file of a record: its address, the md5 that the record states, its size if it does."""

    url: str
    md5: str
    size: int | None


def read_record(doi: str, record: Any) -> dict[str, RecordFile]:
    """Return the files of a record by name.

    pooch knows the forms in which Zenodo's records come; it is not asked to fetch them, for it
    follows any redirect, tries once, and takes an error page for a record.

    Parameters
    ----------
    doi
        DOI of the record.
    record
        What ``zenodo.org/api/records/NUMBER`` answers.

    Raises
    ------
    ValueError, KeyError, TypeError or AttributeError
        It has no form that a record has.
    """
    import pooch

    class Record(pooch.downloaders.ZenodoRepository):
        """A record that was fetched already."""

        api_response = record

    class Registry:
        """What pooch fills: file name to ``md5:…``."""

        def __init__(self) -> None:
            self.registry: dict[str, str] = {}

    number = doi.rpartition(".")[2]
    repository = Record(doi, f"https://zenodo.org/records/{number}")
    registry = Registry()
    repository.populate_registry(registry)
    sizes = {
        f.get("key") or f.get("filename"): f.get("size") or f.get("filesize")
        for f in record["files"]
    }
    files = {}
    for name, checksum in registry.registry.items():
        kind, _, value = checksum.rpartition(":")
        if kind not in ("", "md5") or not re.fullmatch(r"[0-9a-fA-F]{32}", value):
            raise ValueError(f"{checksum[:60]!r} is no md5")
        size = sizes.get(name)
        files[name] = RecordFile(
            url=str(repository.download_url(name)),
            md5=value.lower(),
            size=None if size is None else int(size),
        )
    return files


def license_of(record: Any) -> str | None:
    """Return the licence of a Zenodo record, whose form has changed over the years."""
    metadata = record.get("metadata") or {}
    stated = metadata.get("license") or next(iter(metadata.get("rights") or ()), None)
    if isinstance(stated, Mapping):
        stated = stated.get("id")
    return str(stated) if stated else None
