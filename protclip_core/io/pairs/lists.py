r"""Lists of pairs of proteins that may say whether, and how, the two interact.

How columns are divided, and which ones are the proteins, is told by
`protclip_core.io.pairs.columns`; of a list with a header further columns are known by name:

``label``
    Whether the two interact: 1 or 0 (``true``, ``yes``, ``+`` and their contraries).
``types`` (or ``mode``, ``interaction_type``)
    How they do, several with ``;`` or ``,`` between; a pair may also take a line for each, as in
    the actions of STRING. Or a column for each of the seven types of STRING, with 1 or 0.
``split``
    ``train``, ``valid``, ``test``, or ``unused``.

Without a header the first two columns are the proteins, and a third one is the label (the format
of D-SCRIPT). A line never spoils the others: what is wrong with it stands in its place.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from protclip_core.io.pairs.columns import PairColumns, no_pair, open_pairs
from protclip_core.io.streams import source_name
from protclip_core.io.text_rows import is_decoded, made_visible
from protclip_core.records import printable

__all__ = ["SPLITS", "STRING_TYPES", "PairBlock", "label_of", "read_pair_blocks"]

#: Types of interaction in STRING's table of actions.
STRING_TYPES = (
    "reaction",
    "binding",
    "ptmod",
    "activation",
    "inhibition",
    "catalysis",
    "expression",
)
SPLITS = ("train", "valid", "test", "unused")
_SPLIT_NAMES = {**{name: name for name in SPLITS}, "val": "valid", "validation": "valid"}
_LABELS = {
    **dict.fromkeys(("1", "1.0", "true", "yes", "y", "+", "positive"), 1),
    **dict.fromkeys(("0", "0.0", "false", "no", "n", "-", "negative"), 0),
}
_TYPE_COLUMNS = ("types", "type", "mode", "interaction_type", "interaction_types")
_ROWS = 16_384


@dataclass(frozen=True, slots=True, eq=False)
class PairBlock:
    """Some lines of a list.

    Attributes
    ----------
    source
        Name of the file for messages.
    lines
        Their numbers in the file.
    a, b
        Names of both proteins; empty where a line has none.
    labels
        Cells as they stand, or None where the list has no such column.
    types
        Names of types of each line, or None.
    splits
        Of `SPLITS`, empty where a cell is; or None.
    faults
        What is wrong, by place in the block.
    """

    source: str
    lines: list[int] = field(default_factory=list)
    a: list[str] = field(default_factory=list)
    b: list[str] = field(default_factory=list)
    labels: list[str] | None = None
    types: list[tuple[str, ...]] | None = None
    splits: list[str] | None = None
    faults: dict[int, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.lines)


def read_pair_blocks(
    path: str | Path,
    rows: int = _ROWS,
    *,
    names_only: bool = False,
    is_known: Callable[[str], bool] | None = None,
) -> Iterator[PairBlock]:
    """Give the lines of a list, some at a time and in its order.

    Parameters
    ----------
    path
        File, plain or compressed, or ``-``. Blank lines and those that start with ``#`` are
        passed over; LF and CRLF end lines.
    rows
        Lines of a block.
    names_only
        Whether labels, types and splits are passed over.
    is_known
        Tells names of proteins: a first line that looks like a header, of two names that are
        known, is a pair.

    Raises
    ------
    InputError
        The file is missing, damaged, of another kind, or lists nothing.
    """
    name = source_name(path)
    with open_pairs(path, "a list of pairs", is_known) as (columns, lines):
        reader = _Reader(columns, names_only=names_only)
        block = reader.block(name)
        for number, text in lines:
            reader.add(block, number, text)
            if len(block) == rows:
                yield block
                block = reader.block(name)
    if len(block):
        yield block


def label_of(cell: str) -> int | None:
    """Read 0 or 1, None where a cell says neither."""
    return _LABELS.get(cell.strip().lower())


class _Reader:
    """Which column is what."""

    def __init__(self, columns: PairColumns, *, names_only: bool) -> None:
        self._columns = columns
        names = [] if names_only else [cell.lower() for cell in columns.header or ()]
        self._label = _place(names, ("label", "labels", "interaction", "interacts"))
        self._types = _place(names, _TYPE_COLUMNS)
        self._split = _place(names, ("split", "part"))
        self._each = [(t, names.index(t)) for t in STRING_TYPES if t in names]
        if columns.header is None and not names_only and columns.width > 2:
            self._label = 2
        extra = self._each or (self._label, self._types, self._split) != (None, None, None)
        self._is_plain = not extra and columns.places == (0, 1) and columns.divider == "\t"

    def block(self, name: str) -> PairBlock:
        """Make an empty block with the columns that there are."""
        return PairBlock(
            name,
            labels=[] if self._label is not None else None,
            types=[] if self._types is not None or self._each else None,
            splits=[] if self._split is not None else None,
        )

    def add(self, block: PairBlock, number: int, text: str) -> None:
        """Append a line."""
        if self._is_plain and text.isascii():  # most lines of long lists
            a, _, rest = text.partition("\t")
            b = rest.partition("\t")[0].strip()
            if b and (a := a.strip()):
                block.a.append(a)
                block.b.append(b)
                block.lines.append(number)
                return
        fault = ""
        if not is_decoded(text):
            text = made_visible(text)
            fault = "is not UTF-8"
        cells = self._columns.cells(text)
        a, b = self._columns.names(cells)
        if not (a and b):
            fault = no_pair(text)
        if block.labels is not None:
            block.labels.append(_cell(cells, self._label))
        if block.types is not None:
            block.types.append(self._types_of(cells))
        if block.splits is not None:
            told = _cell(cells, self._split).lower()
            block.splits.append(_SPLIT_NAMES.get(told, ""))
            if told not in _SPLIT_NAMES:
                fault = fault or f"split {printable(told)!r} is none of {', '.join(SPLITS)}"
        if fault:
            block.faults[len(block)] = fault
        block.a.append(a)
        block.b.append(b)
        block.lines.append(number)

    def _types_of(self, cells: list[str]) -> tuple[str, ...]:
        if self._types is None:
            return tuple(t for t, place in self._each if label_of(_cell(cells, place)) == 1)
        parts = re.split(r"[;,|]", _cell(cells, self._types))
        return tuple(part.strip().lower() for part in parts if part.strip())


def _place(names: Sequence[str], wanted: Sequence[str]) -> int | None:
    return next((names.index(name) for name in wanted if name in names), None)


def _cell(cells: list[str], place: int | None) -> str:
    return cells[place] if place is not None and place < len(cells) else ""
