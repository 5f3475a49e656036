"""Tables of labels: a protein and its label a line, and if wanted the part of the data it is in.

``protein_id label [split]``, divided by tabs, with this header; other columns are passed over. A
protein may have several labels, in lines of its own or with ``;`` between them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from protclip_core.errors import InputError
from protclip_core.io.streams import open_input, source_name
from protclip_core.io.text_rows import is_decoded, lines_of, refuse_foreign
from protclip_core.records import printable

__all__ = ["SPLITS", "LabelTable", "Labelled", "read_labels"]

SPLITS = ("train", "valid", "test")
_SPLIT_NAMES = {**{name: name for name in SPLITS}, "validation": "valid", "val": "valid"}
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
    """

    labels: list[str]
    split: str
    place: int


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
    """

    name: str
    proteins: dict[str, Labelled] = field(default_factory=dict)
    repeats: int = 0

    @property
    def has_splits(self) -> bool:
        """Whether every protein has a split; `read_labels` lets all have one, or none."""
        return any(protein.split for protein in self.proteins.values())


def read_labels(path: str | Path) -> LabelTable:
    """Read a table of labels.

    Parameters
    ----------
    path
        File, plain or compressed, or ``-``.

    Raises
    ------
    InputError
        The file is missing, damaged, of another kind or empty; a line without a protein, with
        fewer columns than the header, not in UTF-8, or with a split that is not known; a protein
        in two splits, or some proteins with a split and some without.
    """
    name = source_name(path)
    proteins: dict[str, Labelled] = {}
    columns: tuple[int, int, int] | None = None
    repeats = 0
    with open_input(path) as stream:
        for number, text in lines_of(stream, name):
            where = f"{name}:line {number}"
            if not is_decoded(text):
                raise InputError(
                    "is not UTF-8",
                    code="input.bad_encoding",
                    where=where,
                    hint="save the file as UTF-8",
                )
            cells = [cell.strip() for cell in text.split("\t")]
            if columns is None:
                columns = _columns(text, cells, name)
                continue
            if len(cells) <= max(columns):
                raise InputError(
                    f"{len(cells)} columns, at least {max(columns) + 1} are needed",
                    code="input.missing_column",
                    where=where,
                    hint="divide columns by tabs",
                )
            id, label, split = (cells[c] if c >= 0 else "" for c in columns)
            repeats += not _add(proteins, id, label, split, (number, where))
    if not proteins:
        raise InputError("lists no protein", code="input.empty", where=name, hint=_HINT)
    table = LabelTable(name, proteins, repeats)
    _check_splits(table)
    return table


def _columns(text: str, cells: list[str], name: str) -> tuple[int, int, int]:
    """Find protein, label and split (-1: none) in the header."""
    names = [cell.lower() for cell in cells]
    if "protein_id" not in names or "label" not in names:
        refuse_foreign(text, name, _WANTED)
        missing = "protein_id" if "protein_id" not in names else "label"
        raise InputError(
            f"its first line names no column {missing!r}: '{printable(text)}'",
            code="input.missing_column",
            where=name,
            hint=_HINT,
        )
    split = names.index("split") if "split" in names else -1
    return names.index("protein_id"), names.index("label"), split


def _add(
    proteins: dict[str, Labelled], id: str, label: str, split: str, place: tuple[int, str]
) -> bool:
    """Take a line; tell whether it says anything new."""
    number, where = place
    if not id:
        raise InputError("names no protein", code="input.no_id", where=where)
    known = _SPLIT_NAMES.get(split.lower(), "") if split else ""
    if split and not known:
        raise InputError(
            f"split {printable(split)!r} is not known",
            code="input.unknown_split",
            where=where,
            hint="use train, valid or test",
        )
    labels = [part.strip() for part in label.split(";") if part.strip()]
    if id not in proteins:
        proteins[id] = Labelled(list(dict.fromkeys(labels)), known, number)
        return True
    earlier = proteins[id]
    if earlier.split != known:
        raise InputError(
            f"{printable(id)} is in split {known or 'none'!r}, in line {earlier.place} in "
            f"{earlier.split or 'none'!r}",
            code="input.two_splits",
            where=where,
            hint="a protein is in one split",
        )
    new = [part for part in dict.fromkeys(labels) if part not in earlier.labels]
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
