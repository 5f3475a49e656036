"""Reading the records of Zenodo, which state an md5 for each file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from protclip_core.errors import ModelError
from protclip_core.io.json_fields import Fields, one_line

__all__ = ["RecordFile", "license_of", "read_record"]

_WHAT = "record that can be read"
_MD5 = r"(md5:)?[0-9a-fA-F]{32}"


@dataclass(frozen=True, kw_only=True)
class RecordFile:
    """A file of a record: its address, the md5 that the record states, its size if it does."""

    url: str
    md5: str
    size: int | None


def read_record(doi: str, record: Any, where: str) -> dict[str, RecordFile]:
    """Return the files of a record by name.

    pooch knows the forms in which Zenodo's records come; it is not asked to fetch them, for it
    follows any redirect, tries once, and takes an error page for a record.

    Parameters
    ----------
    doi
        DOI of the record.
    record
        What ``zenodo.org/api/records/NUMBER`` answers.
    where
        Its URL, for messages.

    Raises
    ------
    ModelError
        It has no form that a record has; names the field.
    """
    import pooch

    class Record(pooch.downloaders.ZenodoRepository):
        """A record that was fetched already."""

        api_response = record

    class Registry:
        """What pooch fills: file name to ``md5:…``."""

        def __init__(self) -> None:
            self.registry: dict[str, str] = {}

    # Looked at before: pooch takes whatever stands there.
    sizes = dict(_name_and_size(one) for one in Fields(record, _WHAT, where).objects("files"))
    number = doi.rpartition(".")[2]
    repository = Record(doi, f"https://zenodo.org/records/{number}")
    registry = Registry()
    try:
        repository.populate_registry(registry)
        urls = {name: str(repository.download_url(name)) for name in registry.registry}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        reason = one_line(f"{type(error).__name__} {error}", 100)
        raise ModelError(f"is no {_WHAT} ({reason})", where=where) from None
    return {
        name: RecordFile(
            url=urls[name], md5=checksum.rpartition(":")[2].lower(), size=sizes.get(name)
        )
        for name, checksum in registry.registry.items()
    }


def _name_and_size(one: Fields) -> tuple[str, int | None]:
    """Check a file of a record, in the form of today's API or of the one before it."""
    one.text("checksum", _MD5)
    if one.has("key"):
        one.object("links").text("self")
        return one.text("key"), one.size_or_none("size")
    return one.text("filename"), one.size_or_none("filesize")


def license_of(record: Any, where: str) -> str | None:
    """Return the licence of a Zenodo record, whose form has changed over the years.

    Raises
    ------
    ModelError
        It stands there as something that is no licence.
    """
    fields = Fields(record, _WHAT, where)
    if not fields.has("metadata"):
        return None
    metadata = fields.object("metadata")
    if not metadata.has("license"):
        rights = metadata.objects("rights") if metadata.has("rights") else []
        stated = rights[0].text_or_none("id") if rights else None
    elif isinstance(record["metadata"]["license"], str):
        stated = record["metadata"]["license"]
    else:
        stated = metadata.object("license").text_or_none("id")
    return one_line(stated or "") or None
