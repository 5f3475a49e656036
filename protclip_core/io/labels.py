"""Tables of labels: a protein and its label a line, and if wanted the part of the data it is in.

The header names ``protein_id`` and ``label`` and, if wanted, a column of splits and one of groups;
other columns are passed over. Tabs, commas or semicolons divide columns, as the header does; cells
may be quoted. A protein may have several labels, in lines of its own or with ``;`` between them,
or one column of 0 and 1 for each label in the place of ``label``.
"""

from __future__ import annotations

import csv
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

from protclip_core.errors import InputError
from protclip_core.io.streams import open_input, source_name
from protclip_core.io.text_rows import is_decoded, lines_of, refuse_foreign
from protclip_core.records import printable

__all__ = ["SPLITS", "LabelTable", "Labelled", "read_labels"]

SPLITS = ("train", "valid", "test")
_SPLIT_NAMES = {
    **{name: name for name in SPLITS},
    "validation": "valid",
    "val": "valid",
    "training": "train",
    "testing": "test",
}
#: Headings that may stand for ``split``, where the cells say train or test.
_SPLIT_HEADINGS = ("set", "partition", "fold", "subset")
_DIVIDERS = "\t,;"
_YES = {"1": True, "1.0": True, "0": False, "0.0": False}
_WANTED = "a table of labels"
_HINT = "begin with the line protein_id<TAB>label, and go on with such lines"


@dataclass(slots=True)
class Labelled:
    """A protein of a table.

    Attributes
    ----------
    labels
        Each once, as they come; empty where the table has an empty cell.
    split
        Of `SPLITS`; empty where the table has none.
    place
        Number of its first line.
    group
        Of proteins that belong together; empty where the table has none.
    """

    labels: list[str]
    split: str
    place: int
    group: str = ""


@dataclass(frozen=True)
class LabelTable:
    """What a table holds.

    Attributes
    ----------
    name
        Of the file.
    proteins
        By name, in the order in which they first come.
    repeats
        Lines that say again what an earlier one said.
    split_column, group_column
        Headings of the columns that were read as such; empty where there is none.
    passed_over
        Columns that look like a split and cannot be one.
    is_wide
        Whether each label has a column of 0 and 1.
    """

    name: str
    proteins: dict[str, Labelled] = field(default_factory=dict)
    repeats: int = 0
    split_column: str = ""
    group_column: str = ""
    passed_over: tuple[str, ...] = ()
    is_wide: bool = False

    @property
    def has_splits(self) -> bool:
        """Whether every protein has a split; `read_labels` lets all have one, or none."""
        return any(protein.split for protein in self.proteins.values())

    def likely_separator(self) -> str:
        """Give ``,`` or ``|`` where more than half of the labels hold one; else nothing."""
        labels = [label for protein in self.proteins.values() for label in protein.labels]
        for mark in ",|":
            if 2 * sum(mark in label for label in labels) > len(labels):
                return mark
        return ""


@dataclass(frozen=True)
class _Row:
    number: int
    where: str
    cells: list[str]


def read_labels(
    path: str | Path, *, separator: str = ";", group_column: str | None = None
) -> LabelTable:
    """Read a table of labels.

    Parameters
    ----------
    path
        File, plain or compressed, or ``-``.
    separator
        Between the labels of a cell.
    group_column
        Heading of the column of groups; default ``group``, if there is one.

    Raises
    ------
    InputError
        The file is missing, damaged, of another kind or empty; a line without a protein, with
        fewer columns than the header, not in UTF-8, or with a split that is not known; a protein
        in two splits or groups, or some proteins with a split and some without.
    """
    name = source_name(path)
    with open_input(path) as stream, closing(lines_of(stream, name)) as lines:
        number, first = next(lines, (0, ""))
        divider = next((mark for mark in _DIVIDERS if mark in first), "\t")
        rows = [
            _Row(number, f"{name}:line {number}", _cells(text, divider, f"{name}:line {number}"))
            for number, text in lines
        ]
    header = _cells(first, divider, f"{name}:line {number}") if number else []
    if number:
        columns = _Columns(header, first, name, rows, group_column)
        most = max(columns.all)
        for row in rows:
            if len(row.cells) <= most:
                raise InputError(
                    f"{len(row.cells)} columns, at least {most + 1} are needed",
                    code="input.missing_column",
                    where=row.where,
                    hint="divide columns as the first line does",
                )
    if not rows:
        raise InputError("lists no protein", code="input.empty", where=name, hint=_HINT)
    proteins: dict[str, Labelled] = {}
    repeats = sum(
        not _add(proteins, row, columns.read(row, separator), columns.split_heading) for row in rows
    )
    table = LabelTable(
        name,
        proteins,
        repeats,
        columns.split_heading,
        columns.group_heading,
        columns.passed_over,
        columns.is_wide,
    )
    _check_splits(table)
    return table


def _cells(text: str, divider: str, where: str) -> list[str]:
    if not is_decoded(text):
        raise InputError(
            "is not UTF-8", code="input.bad_encoding", where=where, hint="save the file as UTF-8"
        )
    cells = text.split(divider)
    if '"' in text:
        with suppress(csv.Error):  # a quotation mark that stands for itself
            cells = next(csv.reader([text], delimiter=divider, strict=True))
    return [cell.strip() for cell in cells]


class _Columns:
    """Where protein, label, split and group stand; -1: nowhere."""

    def __init__(
        self, header: list[str], first: str, name: str, rows: list[_Row], group: str | None
    ) -> None:
        self._header = header
        names = [cell.lower() for cell in header]
        self.wide = () if "label" in names else self._wide(names, rows)
        if "protein_id" not in names or ("label" not in names and not self.wide):
            refuse_foreign(first, name, _WANTED)
            missing = "protein_id" if "protein_id" not in names else "label"
            raise InputError(
                f"its first line names no column {missing!r}: '{printable(first)}'",
                code="input.missing_column",
                where=name,
                hint=_HINT,
            )
        self.protein = names.index("protein_id")
        self.label = names.index("label") if not self.wide else -1
        self.group = self._group(names, name, group)
        self.split, self.passed_over = self._split(names, rows)
        self.split_heading = header[self.split] if self.split >= 0 else ""
        self.group_heading = header[self.group] if self.group >= 0 else ""
        self.is_wide = bool(self.wide)
        self.all = (self.protein, self.label, self.group, self.split, *self.wide)

    def _wide(self, names: list[str], rows: list[_Row]) -> tuple[int, ...]:
        """Find two or more columns of 0 and 1 alone."""
        taken = {"protein_id", "split", "group", *_SPLIT_HEADINGS}
        found = tuple(
            place
            for place, heading in enumerate(names)
            if heading
            and heading not in taken
            and all(len(row.cells) > place and row.cells[place] in _YES for row in rows)
        )
        return found if len(found) > 1 and rows else ()

    def _group(self, names: list[str], name: str, asked: str | None) -> int:
        wanted = "group" if asked is None else asked.lower()
        if wanted in names:
            return names.index(wanted)
        if asked is None:
            return -1
        raise InputError(
            f"has no column {printable(asked)!r}",
            code="input.missing_column",
            where=name,
            hint=f"its columns: {', '.join(map(printable, self._header))}",
        )

    def _split(self, names: list[str], rows: list[_Row]) -> tuple[int, tuple[str, ...]]:
        if "split" in names:
            return names.index("split"), ()
        places = [
            names.index(heading)
            for heading in _SPLIT_HEADINGS
            if heading in names and names.index(heading) not in (self.group, self.label)
        ]
        for place in places:
            said = {row.cells[place].lower() for row in rows if len(row.cells) > place}
            if said and said <= _SPLIT_NAMES.keys():
                return place, ()
        return -1, tuple(self._header[place] for place in places)

    def read(self, row: _Row, separator: str) -> tuple[str, list[str], str, str]:
        """Give protein, labels, split and group of a line."""
        id, label, split, group = (
            row.cells[place] if place >= 0 else ""
            for place in (self.protein, self.label, self.split, self.group)
        )
        if self.wide:
            labels = [self._header[place] for place in self.wide if _YES[row.cells[place]]]
        else:
            labels = [part.strip() for part in label.split(separator) if part.strip()]
        return id, list(dict.fromkeys(labels)), split, group


def _add(
    proteins: dict[str, Labelled],
    row: _Row,
    said: tuple[str, list[str], str, str],
    split_heading: str,
) -> bool:
    """Take a line; tell whether it says anything new."""
    id, labels, split, group = said
    if not id:
        raise InputError("names no protein", code="input.no_id", where=row.where)
    known = _SPLIT_NAMES.get(split.lower(), "") if split else ""
    if split and not known:
        raise InputError(
            f"{split_heading} {printable(split)!r} is not known",
            code="input.unknown_split",
            where=row.where,
            hint="use train, valid or test",
        )
    if id not in proteins:
        proteins[id] = Labelled(labels, known, row.number, group)
        return True
    earlier = proteins[id]
    pairs = (("split", known, earlier.split), ("group", group, earlier.group))
    for what, now, before in pairs:
        if now != before:
            raise InputError(
                f"{printable(id)} is in {what} {printable(now or 'none')!r}, in line "
                f"{earlier.place} in {printable(before or 'none')!r}",
                code="input.two_splits",
                where=row.where,
                hint=f"a protein is in one {what}",
            )
    new = [part for part in labels if part not in earlier.labels]
    earlier.labels += new
    return bool(new)


def _check_splits(table: LabelTable) -> None:
    lacking = [p for p in table.proteins.values() if not p.split]
    if table.has_splits and lacking:
        raise InputError(
            f"has no split, as {len(lacking):,} of {len(table.proteins):,} proteins",
            code="input.no_split",
            where=f"{table.name}:line {lacking[0].place}",
            hint="give all a split, or none",
        )
