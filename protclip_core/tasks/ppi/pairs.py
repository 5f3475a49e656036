"""A list of pairs as a set: each unordered pair once, with its label or its types.

Legend: M pairs, N proteins, T types.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from protclip_core.errors import InputError
from protclip_core.heads.targets import CLASSES, Targets
from protclip_core.io.pairs.lists import SPLITS, STRING_TYPES, PairBlock, label_of, read_pair_blocks
from protclip_core.io.streams import source_name
from protclip_core.records import Failure, printable

__all__ = ["INTERACTION", "PairCounts", "PairSet", "codes_of", "read_pair_set", "targets_of"]

_log = logging.getLogger(__name__)
#: Classes of a head that says whether two proteins interact; the second is the one of interest.
INTERACTION = ("no interaction", "interaction")
_KEPT_FAILURES = 5
Rows = npt.NDArray[np.int64]


@dataclass(kw_only=True)
class PairCounts:
    """What a list holds.

    Attributes
    ----------
    rows
        Lines of pairs.
    repeated, reversed
        Lines that name an earlier pair in the same order, and in the other one.
    self_pairs
        Pairs of a protein with itself; they are kept.
    contradictory
        Pairs that are said to interact and not to, or to be in two splits; all their lines are
        left out.
    num_failures, first_failures
        Lines that are left out, and the first five.
    """

    rows: int = 0
    repeated: int = 0
    reversed: int = 0
    self_pairs: int = 0
    contradictory: int = 0
    num_failures: int = 0
    first_failures: list[Failure] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class PairSet:
    """Pairs, each once.

    Attributes
    ----------
    name
        Of the file.
    proteins
        Names of the N proteins, in the order in which they first come.
    a, b
        Numbers of the proteins of each pair ``(M,)``, in the order of its first line.
    labels
        Whether they interact ``(M,)`` bool; None where the list does not say.
    types
        Of each pair ``(M, T)`` bool; None where the list has none.
    type_names
        Of the T types.
    splits
        Number in `protclip_core.io.pairs.lists.SPLITS` ``(M,)``, or None.
    counts
        Other columns of the list.
    """

    name: str
    proteins: list[str]
    a: Rows
    b: Rows
    labels: npt.NDArray[np.bool_] | None = None
    types: npt.NDArray[np.bool_] | None = None
    type_names: tuple[str, ...] = ()
    splits: Rows | None = None
    counts: PairCounts = field(default_factory=PairCounts)

    def __len__(self) -> int:
        return len(self.a)

    def codes(self) -> Rows:
        """Give each unordered pair a number ``(M,)``."""
        return codes_of(self.a, self.b, len(self.proteins))

    def take(self, rows: npt.ArrayLike) -> Self:
        """Give some of the pairs; the proteins stay as they are."""
        chosen = np.asarray(rows)
        return replace(
            self,
            a=self.a[chosen],
            b=self.b[chosen],
            labels=None if self.labels is None else self.labels[chosen],
            types=None if self.types is None else self.types[chosen],
            splits=None if self.splits is None else self.splits[chosen],
        )

    def part(self, split: str) -> Self:
        """Give the pairs of a split."""
        assert self.splits is not None
        return self.take(np.flatnonzero(self.splits == SPLITS.index(split)))


def codes_of(a: npt.ArrayLike, b: npt.ArrayLike, count: int) -> Rows:
    """Give numbers to unordered pairs of proteins of which there are ``count``."""
    one, other = np.asarray(a, np.int64), np.asarray(b, np.int64)
    return np.asarray(np.minimum(one, other) * count + np.maximum(one, other))


def targets_of(part: PairSet, names: tuple[str, ...]) -> Targets:
    """Give the right answers of pairs; for no names of types, whether they interact."""
    if not names:
        labels = np.ones(len(part), bool) if part.labels is None else part.labels
        return Targets(CLASSES, INTERACTION, labels.astype(np.int64))
    table = np.zeros((len(part), len(names)), bool)
    for column, name in enumerate(names):
        if part.types is not None and name in part.type_names:
            table[:, column] = part.types[:, part.type_names.index(name)]
    return Targets.of_table(table, names)


def read_pair_set(
    path: str | Path,
    find: Callable[[str], int | str] | None = None,
    *,
    labels: bool = True,
    names: list[str] | None = None,
    least_score: float | None = None,
) -> PairSet:
    """Read a list of pairs into memory.

    Parameters
    ----------
    path
        File, or ``-``; see `protclip_core.io.pairs.lists`.
    find
        Gives the number of a protein by its name, or says why there is none. Default: all names
        are taken.
    labels
        Whether labels, types and splits are looked at.
    names
        Names of the proteins that ``find`` numbers.
    least_score
        As in `protclip_core.io.pairs.lists.read_pair_blocks`.

    Raises
    ------
    InputError
        No list, or no pair remains: the first reasons are told.
    """
    reader = _Reader(source_name(path), find, labels)
    known = None if names is None else set(names)
    is_known = None if known is None else known.__contains__
    for block in read_pair_blocks(path, is_known=is_known, least_score=least_score):
        reader.add(block)
    return reader.result(names)


class _Reader:
    def __init__(self, name: str, find: Callable[[str], int | str] | None, labels: bool) -> None:  # noqa: FBT001
        self.name, self._find, self._wants_labels = name, find, labels
        self.counts = PairCounts()
        self._numbers: dict[str, int] = {}
        self._seen: dict[tuple[int, int], int] = {}
        self._a: list[int] = []
        self._b: list[int] = []
        self._labels: list[int] = []
        self._types: list[set[str]] = []
        self._splits: list[str] = []
        self._lines: list[list[int]] = []
        self._bad: dict[int, str] = {}
        self._has = dict.fromkeys(("labels", "types", "splits"), False)

    def add(self, block: PairBlock) -> None:
        """Take some lines."""
        labels, types, splits = block.labels, block.types, block.splits
        for place, line in enumerate(block.lines):
            self.counts.rows += 1
            fault = block.faults.get(place, "")
            found = self._pair(block.a[place], block.b[place]) if not fault else None
            if isinstance(found, str):
                fault = found
            label = 1
            if self._wants_labels and labels is not None and not fault:
                told = label_of(labels[place])
                fault = "" if told is not None else self._no_label(labels[place])
                label = told or 0
            if fault or not isinstance(found, tuple):
                self._fail(line, fault)
                continue
            of_types = types[place] if types is not None else ()
            self._put(found, label, of_types, splits[place] if splits is not None else "", line)
        self._has["labels"] |= labels is not None
        self._has["types"] |= types is not None
        self._has["splits"] |= splits is not None

    @staticmethod
    def _no_label(cell: str) -> str:
        return f"label {printable(cell)!r} is neither 1 nor 0" if cell else "has no label"

    def _pair(self, a: str, b: str) -> tuple[int, int] | str:
        found = []
        for name in (a, b):
            if self._find is None:
                found.append(self._numbers.setdefault(name, len(self._numbers)))
                continue
            number = self._numbers.get(name)
            if number is None:
                told = self._find(name)
                if isinstance(told, str):
                    return told
                number = self._numbers[name] = told
            found.append(number)
        return found[0], found[1]

    def _put(
        self, pair: tuple[int, int], label: int, types: tuple[str, ...], split: str, line: int
    ) -> None:
        key = pair if pair[0] <= pair[1] else (pair[1], pair[0])
        place = self._seen.setdefault(key, len(self._a))
        if place == len(self._a):
            self._a.append(pair[0])
            self._b.append(pair[1])
            self._labels.append(label)
            self._types.append(set(types))
            self._splits.append(split)
            self._lines.append([line])
            self.counts.self_pairs += pair[0] == pair[1]
            return
        self._lines[place].append(line)
        if pair == (self._a[place], self._b[place]):
            self.counts.repeated += 1
        else:
            self.counts.reversed += 1
        self._types[place] |= set(types)
        earlier = self._lines[place][0]
        if label != self._labels[place]:
            self._bad.setdefault(
                place, f"label {label} contradicts {self._labels[place]} of line {earlier}"
            )
        if split != self._splits[place]:
            self._bad.setdefault(
                place, f"is in split {split!r}, in line {earlier} in {self._splits[place]!r}"
            )

    def _fail(self, line: int, reason: str) -> None:
        self.counts.num_failures += 1
        if len(self.counts.first_failures) < _KEPT_FAILURES:
            self.counts.first_failures.append(
                Failure(self.name, line, "", reason, code="record.bad_pair")
            )

    def result(self, names: list[str] | None) -> PairSet:
        """Give the set."""
        for place, reason in sorted(self._bad.items()):
            self.counts.contradictory += 1
            for line in self._lines[place]:
                self._fail(line, reason if line == self._lines[place][-1] else "is contradicted")
        kept = [place for place in range(len(self._a)) if place not in self._bad]
        if not kept:
            told = [f"{f.source}:line {f.number}: {f.reason}" for f in self.counts.first_failures]
            raise InputError(
                f"none of its {self.counts.rows:,} pairs can be used",
                code="input.no_pairs",
                where=self.name,
                details=told,
            )
        every = [self._types[place] for place in kept]
        found = set[str]().union(*every)
        type_names = (*(t for t in STRING_TYPES if t in found), *sorted(found - {*STRING_TYPES}))
        has = self._has if self._wants_labels else dict.fromkeys(self._has, False)
        chosen = np.array(kept, np.int64)
        return PairSet(
            self.name,
            names if names is not None else list(self._numbers),
            np.array(self._a, np.int64)[chosen],
            np.array(self._b, np.int64)[chosen],
            np.array(self._labels, bool)[chosen] if has["labels"] else None,
            np.array([[t in own for t in type_names] for own in every], bool)
            if has["types"] and type_names
            else None,
            type_names,
            np.array([SPLITS.index(self._splits[p] or "unused") for p in kept], np.int64)
            if has["splits"]
            else None,
            self.counts,
        )
