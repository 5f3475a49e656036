r"""Lists of pairs of proteins that may say whether, and how, the two interact.

How columns are divided, and which ones are the proteins, is worked out by
`protclip_core.io.pairs.columns`; of a list with a header further columns are known by name:

``label`` (or ``class``, ``interaction``, …)
    Whether the two interact: 1 or 0 (``true``, ``yes``, ``+`` and their contraries). Without it
    the one further column of 1 and 0 is the label, whatever it is called, which a warning says;
    several such columns are passed over with a warning.
``combined_score`` (or ``score``)
    How sure it is; see ``least_score``.
``types`` (or ``mode``, ``interaction_type``)
    How they do, several with ``;`` or ``,`` between; a pair may also take a line for each, as in
    the actions of STRING. Or a column for each of the seven types of STRING, with 1 or 0.
``split``
    ``train``, ``valid``, ``test``, or ``unused``.

Without a header the first two columns are the proteins, and a third one is the label (the format
of D-SCRIPT), the type (the actions of STRING), or a score where it is another number than 1 and 0
(the links of STRING, where the last column is the combined score).

A line never spoils the others: what is wrong with it stands in its place.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path

from protclip_core.errors import InputError
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
_LABEL_COLUMNS = (
    "label",
    "labels",
    "interaction",
    "interacts",
    "class",
    "target",
    "is_interaction",
)
_SCORES = ("combined_score", "combined score", "score")
_DETAILED = 10  # columns of STRING's detailed links
_BINARY = re.compile(r"[01](?:\.0)?")
_TYPE_COLUMNS = ("types", "type", "mode", "interaction_type", "interaction_types")
_ROWS = 16_384
#: Lines by which a column without a known name is judged, columns of a table where it is, and
#: names that are shown.
_LOOKED_AT, _MOST_COLUMNS, _SHOWN = 1000, 1000, 5

_log = logging.getLogger(__name__)


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
    least_score: float | None = None,
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
        known, is a pair. Of a table that names each protein in several columns, the first name
        that is known is taken.
    least_score
        Leave out pairs of a lower score, such as 700 of STRING's combined score. Without it all
        pairs with scores are interactions.

    Raises
    ------
    InputError
        The file is missing, damaged, of another kind, or lists nothing; or ``least_score`` for a
        list without scores (``input.no_scores``).
    """
    name = source_name(path)
    with open_pairs(path, "a list of pairs", is_known) as (columns, lines):
        first = list(islice(lines, _LOOKED_AT))
        told = [columns.cells(text) for _number, text in first]
        reader = _Reader(columns, told, name, names_only=names_only, least_score=least_score)
        block = reader.block(name)
        for number, text in chain(first, lines):
            reader.add(block, number, text)
            if len(block) == rows:
                yield block
                block = reader.block(name)
        reader.tell(name)
    if len(block):
        yield block


def label_of(cell: str) -> int | None:
    """Read 0 or 1, None where a cell says neither."""
    return _LABELS.get(cell.strip().lower())


class _Reader:
    """Which column is what."""

    def __init__(
        self,
        columns: PairColumns,
        first: list[list[str]],
        name: str,
        *,
        names_only: bool,
        least_score: float | None,
    ) -> None:
        self._columns, self._least, self._low = columns, least_score, 0
        names = [cell.lower() for cell in columns.header or ()]
        self._score = _place(names, _SCORES)
        self._label = self._types = self._split = None
        self._each: list[tuple[str, int]] = []
        if columns.form is None and columns.header is None:
            self._guess(first[0] if first else [], name)
        elif columns.form is None:
            self._label = _place(names, _LABEL_COLUMNS)
            self._types = _place(names, _TYPE_COLUMNS)
            self._split = _place(names, ("split", "part"))
            self._each = [(t, names.index(t)) for t in STRING_TYPES if t in names]
            if self._label is None and not self._each and not names_only:
                self._label = self._unnamed_label(first, name)
        if names_only:
            self._label = self._types = self._split = None
            self._each = []
        if least_score is not None and self._score is None and columns.form is None:
            raise InputError(
                "has no column of scores",
                code="input.no_scores",
                where=name,
                hint="name the column combined_score or score in a header",
            )
        extra = self._each or (self._label, self._types, self._split) != (None, None, None)
        self._is_plain = not extra and columns.places == (0, 1) and columns.divider == "\t"
        self._is_plain &= columns.form is None and least_score is None

    def _unnamed_label(self, first: list[list[str]], name: str) -> int | None:
        """Find the one column of 1 and 0 among those that no other use is known of."""
        columns = self._columns
        header = columns.header or []
        used = {*columns.places, self._types, self._split, self._score}
        if len(header) > _MOST_COLUMNS:  # a table of something else
            return None
        others = [place for place in range(len(header)) if place not in used]
        values = {place: {_cell(row, place) for row in first} - {""} for place in others}
        binary = [p for p in others if values[p] and all(map(_BINARY.fullmatch, values[p]))]
        # A column of 0 alone marks something else, unless it is all that is there.
        likely = [p for p in binary if len(others) == 1 or values[p] & {"1", "1.0"}]
        found = [f"'{printable(header[place])}'" for place in (likely or binary)[:_SHOWN]]
        shown = ", ".join(found) + ", …" * (len(likely or binary) > _SHOWN)
        if len(likely) == 1:
            _log.warning("%s: column %s is taken as the label", name, shown)
            return likely[0]
        if binary:
            _log.warning(
                "%s: %s: 1 and 0 that are not looked at, and all pairs are interactions; name the "
                "column that says whether two interact 'label'",
                name,
                shown,
            )
        return None

    def _guess(self, cells: list[str], name: str) -> None:
        """Tell by the first line what the further columns of a list without a header are."""
        numbers = [_number(cell) for cell in cells]
        if len(cells) > 2 and cells[2].lower() in STRING_TYPES:
            self._types = 2
            self._score = len(cells) - 1 if numbers[-1] is not None else None
        elif len(cells) >= _DETAILED and all(cell.isdecimal() for cell in cells[2:]):
            self._score = len(cells) - 1  # the last of STRING's links, detailed
        elif len(cells) > 2 and numbers[2] is not None and label_of(cells[2]) is None:
            self._score = 2
        elif len(cells) > 2:
            self._label = 2
        if self._score is not None and self._least is None:
            _log.warning(
                "%s: column %d holds scores, which are not looked at: all pairs are interactions",
                name,
                self._score + 1,
            )

    def tell(self, name: str) -> None:
        """Say how many pairs were left out for their scores."""
        if self._low:
            _log.warning(
                "%s: %s pairs with a score below %g are left out",
                name,
                f"{self._low:,}",
                self._least,
            )

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
        if self._is_plain and text.isascii() and '"' not in text:  # most lines of long lists
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
        if self._least is not None and not fault:
            form = self._columns.form
            said = form.score(cells) if form is not None else _cell(cells, self._score)
            score = _number(said)
            if score is None:
                fault = f"score {printable(said)!r} is not a number" if said else "has no score"
            elif score < self._least:
                self._low += 1
                return
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


def _number(cell: str) -> float | None:
    try:
        number = float(cell)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _place(names: Sequence[str], wanted: Sequence[str]) -> int | None:
    return next((names.index(name) for name in wanted if name in names), None)


def _cell(cells: list[str], place: int | None) -> str:
    return cells[place] if place is not None and place < len(cells) else ""
