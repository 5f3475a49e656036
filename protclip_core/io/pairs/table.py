"""Tables of pairs of proteins: names in two columns, and what else a table says of each pair.

How columns are divided, and which ones are the proteins, is worked out by
`protclip_core.io.pairs.columns`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from protclip_core.errors import InputError
from protclip_core.io.pairs.columns import PairColumns, no_pair, open_pairs
from protclip_core.io.streams import source_name
from protclip_core.io.text_rows import made_visible

__all__ = ["ListedPair", "PairTable", "read_pair_table", "read_pairs"]

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
    with open_pairs(path, "a table of pairs", is_known) as (columns, lines):
        for number, text in lines:
            yield _pair(columns, columns.cells(made_visible(text)), number, text)


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
    pairs: list[tuple[str, str]] = []
    rows: list[list[str]] = []
    faults: list[str] = []
    with open_pairs(path, "a table of pairs") as (columns, lines):
        for number, text in lines:
            cells = columns.cells(made_visible(text))
            pair = _pair(columns, cells, number, text)
            if pair.fault:
                faults.append(f"{name}:{pair.fault}")
            else:
                pairs.append((pair.protein_a, pair.protein_b))
                rows.append(cells)
    if faults:
        raise InputError(
            f"{len(faults):,} of {len(faults) + len(pairs):,} lines name no pair",
            code="input.bad_lines",
            where=name,
            hint="give two names a line",
            details=faults[:_SHOWN],
        )
    numbers = _numbers(rows, columns)
    if not numbers:
        raise InputError(
            "has no column of numbers besides the two protein columns",
            code="input.no_scores",
            where=name,
            hint="give a similarity in a third column",
        )
    return PairTable(name, pairs, numbers)


def _pair(columns: PairColumns, cells: list[str], number: int, text: str) -> ListedPair:
    a, b = columns.names(cells)
    return ListedPair(a, b, "" if a and b else f"line {number} {no_pair(text)}")


def _numbers(rows: list[list[str]], columns: PairColumns) -> dict[str, npt.NDArray[np.float64]]:
    width = max(len(row) for row in rows)
    found: dict[str, npt.NDArray[np.float64]] = {}
    for place in range(width):
        if place in columns.places:
            continue
        cells = [row[place] if place < len(row) else "" for row in rows]
        try:
            values = np.array([float(cell) if cell else np.nan for cell in cells])
        except ValueError:
            continue
        if np.isfinite(values).any():
            header = columns.header or []
            title = made_visible(header[place]) if place < len(header) else ""
            found[title or f"column {place + 1}"] = values
    return found
