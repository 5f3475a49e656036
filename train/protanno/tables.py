"""One row of a UniProt table export, and one object of JSON Lines."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from protclip_core.errors import InputError
from protclip_core.records import printable
from train.protanno.entries import LEVELS, PROPERTIES, RawEntry
from train.protanno.records import BrokenRecord, check_level, check_sequence, go_ids

__all__ = ["Table", "is_header", "parse_json"]

#: Columns as the website names them, by what they are read for; case does not matter.
_COLUMNS = {
    "accession": ("Entry", "Accession"),
    "sequence": ("Sequence",),
    "name": ("Protein names", "Protein name"),
    "function": ("Function [CC]",),
    "location": ("Subcellular location [CC]",),
    "similarity": ("Sequence similarities", "Protein families"),
    "existence": ("Protein existence",),
    "go": ("Gene Ontology IDs", "Gene Ontology (GO)"),
    "reviewed": ("Reviewed", "Status"),
    "organism": ("Organism",),
    "split": ("Split",),
}
_TOPICS = {
    field: re.compile(rf"(?:^|[;.\s]\s*){topic}:\s+")
    for field, topic in (
        ("function", "FUNCTION"),
        ("location", "SUBCELLULAR LOCATION"),
        ("similarity", "SIMILARITY"),
    )
}
_GO = re.compile(r"GO:\d{7}")


def is_header(line: bytes) -> bool:
    """Tell whether a line is the header of a UniProt table."""
    names = {name.strip().lower() for name in line.split(b"\t")}
    return len(names) > 1 and bool({b"entry", b"accession"} & names)


class Table:
    """The columns of a table.

    Parameters
    ----------
    header
        First line.
    source
        Name for messages.

    Raises
    ------
    InputError
        It has no sequences, or a column twice.
    """

    def __init__(self, header: bytes, source: str) -> None:
        names = header.decode("utf-8", errors="replace").rstrip("\r\n").split("\t")
        self._names = [name.strip().lower() for name in names]
        self._place: dict[str, tuple[int, str]] = {}
        for what, known in _COLUMNS.items():
            found = next((name for name in known if name.lower() in self._names), None)
            if found is None:
                continue
            if self._names.count(found.lower()) > 1:
                raise InputError(
                    f"has two columns {printable(found)!r}",
                    code="input.duplicate_column",
                    where=source,
                )
            self._place[what] = self._names.index(found.lower()), found
        if "sequence" not in self._place:
            raise InputError(
                "has no column 'Sequence'",
                code="input.missing_column",
                where=source,
                hint="export the table again with that column",
            )
        self.notes = [
            f"has no column {_COLUMNS[what][0]!r}"
            for what in (*PROPERTIES, "existence")
            if what not in self._place
        ]

    def parse(self, data: bytes) -> RawEntry:
        """Take a row apart; an empty cell is an absent value.

        Raises
        ------
        BrokenRecord
            Too many or too few cells, or a value that is none of its column's.
        """
        try:
            cells = data.decode("utf-8").rstrip("\r\n").split("\t")
        except UnicodeDecodeError as error:
            raise BrokenRecord("it is not UTF-8") from error
        if len(cells) != len(self._names):
            raise BrokenRecord(f"it has {len(cells)} cells, the header {len(self._names)}")
        row = {what: cells[place].strip() for what, (place, _) in self._place.items()}
        if not row["accession"]:
            raise BrokenRecord("it has no accession")
        reviewed = row.get("reviewed", "").lower()
        return RawEntry(
            accession=row["accession"],
            sequence=check_sequence(row["sequence"]),
            texts={field: blocks for field in PROPERTIES if (blocks := self._blocks(row, field))},
            existence=_level(row.get("existence", "")),
            go=go_ids(_GO.findall(row.get("go", ""))),
            reviewed=reviewed == "reviewed" if reviewed in ("reviewed", "unreviewed") else None,
            organism=row.get("organism", ""),
            split=row.get("split", ""),
        )

    def _blocks(self, row: Mapping[str, str], field: str) -> tuple[str, ...]:
        text = row.get(field, "")
        if field in _TOPICS:
            blocks = tuple(filter(None, (b.strip() for b in _TOPICS[field].split(text))))
            if self._place.get(field, (0, ""))[1] == "Protein families":
                return tuple(f"Belongs to the {block}" for block in blocks)
            return blocks
        return (text,) if text else ()


def _level(text: str) -> int | None:
    """Read a level as a number, or as UniProt words it."""
    plain = text.lower().partition(":")[0].strip() if text[:1].isdigit() else text.lower()
    if not plain:
        return None
    if plain in LEVELS:
        return LEVELS.index(plain) + 1
    return check_level(int(plain) if plain.isascii() and plain.isdigit() else text)


def parse_json(data: bytes) -> RawEntry:
    """Read an object with ``accession`` and ``sequence``, and optionally other fields.

    Those are ``name``, ``function``, ``location``, ``similarity``, ``organism`` and ``split``
    (strings), ``pe`` (1 to 5), ``go`` (a list of ids) and ``reviewed`` (true or false); any
    others are passed over.

    Raises
    ------
    BrokenRecord
        It is not such an object.
    """
    try:
        values: Any = json.loads(data)
    except ValueError as error:
        raise BrokenRecord(f"it is not a JSON object on one line ({error})") from error
    if not isinstance(values, dict):
        raise BrokenRecord("it is not a JSON object")
    for field in ("accession", "sequence"):
        if not isinstance(values.get(field), str) or not values[field]:
            raise BrokenRecord(f"it has no {field!r}")
    texts = {field: (text,) for field in PROPERTIES if (text := _string(values, field))}
    go = values.get("go") or ()
    if not isinstance(go, list | tuple):
        raise BrokenRecord("its 'go' is not a list")
    reviewed = values.get("reviewed")
    return RawEntry(
        accession=values["accession"],
        sequence=check_sequence(values["sequence"]),
        texts=texts,
        existence=check_level(values.get("pe")),
        go=go_ids(go),
        reviewed=reviewed if isinstance(reviewed, bool) else None,
        organism=_string(values, "organism"),
        split=_string(values, "split"),
    )


def _string(values: Mapping[str, Any], field: str) -> str:
    value = values.get(field)
    if value is not None and not isinstance(value, str):
        raise BrokenRecord(f"its {field!r} is not text")
    return value or ""
