"""Tables of pairs of proteins: names in two columns, and what else a table says of each pair.

The first line says how columns are divided: by tabs where it has one, else by ``;`` or ``,``,
else by blanks. It is a header if its cells are names of columns (``protein_a protein_b``,
``Uniprot ID1;Uniprot ID2``, ``protein1,protein2``, …); without one, the first two columns are the
proteins.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from protclip_core.errors import InputError
from protclip_core.io.streams import open_input, source_name
from protclip_core.io.text_rows import lines_of, made_visible, refuse_foreign
from protclip_core.records import printable

__all__ = ["ListedPair", "PairTable", "read_pair_table", "read_pairs"]

#: Names of columns of proteins, without case, blanks, dots, dashes and underscores.
_COLUMN = re.compile(
    r"(?:uniprot|protein|prot|entity|gene|query|target)(?:id|ac|accession)?[ab12]?|id[ab12]"
)
_PLAIN = re.compile(r"[\s_.-]+")
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class ListedPair:
    """Two names as a list has them.

    Attributes
    ----------
    protein_a, protein_b
        Names; empty where the line has none.
    fault
        What is wrong with the line; empty where nothing is.
    """

    protein_a: str
    protein_b: str
    fault: str = ""


@dataclass(frozen=True, eq=False)
class PairTable:
    """Pairs and numbers.

    Attributes
    ----------
    name
        Of the file.
    pairs
        Names of both proteins, line by line.
    columns
        Values ``(M,)`` float64 of each column of numbers, by its name; NaN where a cell is empty.
    """

    name: str
    pairs: list[tuple[str, str]]
    columns: dict[str, npt.NDArray[np.float64]]


def read_pairs(
    path: str | Path, is_known: Callable[[str], bool] | None = None
) -> Iterator[ListedPair]:
    """Give the pairs of a list one by one, in its order; memory does not grow with it.

    Parameters
    ----------
    path
        File, plain or compressed, or ``-``. Further columns are passed over, as are blank lines
        and those that start with ``#``.
    is_known
        Tells names of proteins: a first line that looks like a header, of two names that are
        known, is a pair.

    Yields
    ------
    ListedPair
        One for each line; one that does not name two proteins says so.

    Raises
    ------
    InputError
        The file is missing, damaged, of another kind, or lists nothing.
    """
    name = source_name(path)
    reader: _Reader | None = None
    listed = False
    for number, text in _lines(path, name):
        if reader is None:
            reader = _Reader(text, is_known)
            if reader.header is not None:
                continue
        listed = True
        yield reader.pair(text, number)
    if not listed:
        raise InputError("lists no pairs", where=name, hint="give two names a line")


def read_pair_table(path: str | Path) -> PairTable:
    """Read a table of pairs with numbers, such as one of similarities by GO.

    Parameters
    ----------
    path
        File, plain or compressed, or ``-``. A column counts if all of its cells are numbers or
        empty; without a header it is named ``column 3`` and the like.

    Raises
    ------
    InputError
        The file is missing, damaged or of another kind; has no pairs, no column of numbers, or
        lines without two names (the first five and the count).
    """
    name = source_name(path)
    reader: _Reader | None = None
    pairs: list[tuple[str, str]] = []
    rows: list[list[str]] = []
    faults: list[str] = []
    for number, text in _lines(path, name):
        if reader is None:
            reader = _Reader(text)
            if reader.header is not None:
                continue
        pair = reader.pair(text, number)
        if pair.fault:
            faults.append(f"{name}:{pair.fault}")
        else:
            pairs.append((pair.protein_a, pair.protein_b))
            rows.append(reader.cells(text))
    if faults:
        raise InputError(
            f"{len(faults):,} of {len(faults) + len(pairs):,} lines name no pair",
            where=name,
            hint="give two names a line",
            details=faults[:_SHOWN],
        )
    if reader is None or not pairs:
        raise InputError("lists no pairs", where=name, hint="give two names a line")
    columns = _numbers(rows, reader)
    if not columns:
        raise InputError(
            "has no column of numbers beside the two of proteins",
            where=name,
            hint="give a similarity in a third column",
        )
    return PairTable(name, pairs, columns)


class _Reader:
    """Knows how the columns of a table are divided, from its first line."""

    def __init__(self, first: str, is_known: Callable[[str], bool] | None = None) -> None:
        self._divider = next((mark for mark in "\t;," if mark in first), None)
        cells = self.cells(first)
        named = [place for place, cell in enumerate(cells) if _names_protein(cell)]
        is_header = len(named) > 1
        if is_header and is_known is not None:
            is_header = not all(is_known(cells[place]) for place in named[:2])
        self.header = cells if is_header else None
        self.places = (named[0], named[1]) if is_header else (0, 1)

    def cells(self, text: str) -> list[str]:
        """Split a line."""
        return [made_visible(cell.strip()) for cell in text.split(self._divider)]

    def pair(self, text: str, number: int) -> ListedPair:
        """Return the pair of a line."""
        cells = self.cells(text)
        first, second = (cells[place] if place < len(cells) else "" for place in self.places)
        if first and second:
            return ListedPair(first, second)
        shown = printable(text.strip())
        return ListedPair(first, second, f"line {number} names no two proteins: {shown!r}")


def _names_protein(cell: str) -> bool:
    plain = _PLAIN.sub("", cell.lower())
    return bool(_COLUMN.fullmatch(plain))


def _lines(path: str | Path, name: str) -> Iterator[tuple[int, str]]:
    """Give the lines that are not blank and no comments, numbered; refuse files of other kinds."""
    with open_input(path) as stream:
        first = True
        for number, text in lines_of(stream, name):
            if first:
                refuse_foreign(text, name, "a table of pairs")
            first = False
            if not text.startswith("#"):
                yield number, text


def _numbers(rows: list[list[str]], reader: _Reader) -> dict[str, npt.NDArray[np.float64]]:
    width = max(len(row) for row in rows)
    found: dict[str, npt.NDArray[np.float64]] = {}
    for place in range(width):
        if place in reader.places:
            continue
        cells = [row[place] if place < len(row) else "" for row in rows]
        try:
            values = np.array([float(cell) if cell else np.nan for cell in cells])
        except ValueError:
            continue
        if np.isfinite(values).any():
            header = reader.header or []
            title = header[place] if place < len(header) and header[place] else ""
            found[title or f"column {place + 1}"] = values
    return found
