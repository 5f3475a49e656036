"""What a head is to learn: one class, several labels, or a value of each protein.

Legend: N rows, C classes or labels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import numpy.typing as npt

from protclip_core.errors import InputError, UsageError

__all__ = ["CLASSES", "LABELS", "TASKS", "VALUES", "Targets"]

CLASSES, LABELS, VALUES = TASKS = ("classes", "labels", "values")


@dataclass(frozen=True, eq=False)
class Targets:
    """The right answers; make them with one of the class methods.

    Attributes
    ----------
    task
        ``"classes"``: exactly one of them is right; ``"labels"``: each is a yes or no of its own;
        ``"values"``: a number (regression).
    names
        Of the C classes or labels, or of the value.
    table
        Numbers of the classes ``(N,)`` int64; bool ``(N, C)``; or values ``(N,)`` float64.

    Examples
    --------
    >>> from protclip_core import Targets
    >>> Targets.of_labels([["membrane"], ["nucleus", "cytosol"], []]).names
    ('cytosol', 'membrane', 'nucleus')
    """

    task: str
    names: tuple[str, ...]
    table: npt.NDArray[np.generic]

    @classmethod
    def of_classes(cls, given: Sequence[str], names: Sequence[str] | None = None) -> Self:
        """Take the class of each row; ``names`` are all there are, default those given, sorted.

        Raises
        ------
        InputError
            A class that is not among ``names``.
        """
        own = tuple(sorted(set(given))) if names is None else tuple(names)
        place = {name: number for number, name in enumerate(own)}
        if unknown := [name for name in given if name not in place]:
            raise InputError(
                f"class {unknown[0]!r} is not known",
                code="input.unknown_label",
                hint=f"known: {_some(own)}",
            )
        return cls(CLASSES, own, np.array([place[name] for name in given], np.int64))

    @classmethod
    def of_labels(cls, given: Sequence[Sequence[str]], names: Sequence[str] | None = None) -> Self:
        """Take all labels of each row; a row may have none.

        Raises
        ------
        InputError
            A label that is not among ``names``.
        """
        own = tuple(sorted({n for row in given for n in row})) if names is None else tuple(names)
        place = {name: number for number, name in enumerate(own)}
        table = np.zeros((len(given), len(own)), bool)
        for row, labels in enumerate(given):
            for label in labels:
                if label not in place:
                    raise InputError(
                        f"label {label!r} is not known",
                        code="input.unknown_label",
                        hint=f"known: {_some(own)}",
                    )
                table[row, place[label]] = True
        return cls(LABELS, own, table)

    @classmethod
    def of_table(cls, table: npt.NDArray[np.bool_], names: Sequence[str]) -> Self:
        """Take labels as yes and no ``(N, C)``."""
        if table.ndim != 2 or table.shape[1] != len(names):
            raise UsageError(
                f"a table of shape {table.shape} for {len(names)} labels",
                code="usage.shape_mismatch",
            )
        return cls(LABELS, tuple(names), np.asarray(table, bool))

    @classmethod
    def of_values(
        cls, values: Sequence[float] | npt.NDArray[np.generic], name: str = "value"
    ) -> Self:
        """Take a number of each row.

        Raises
        ------
        InputError
            One that is not finite.
        """
        table = np.asarray(values, np.float64)
        if not np.isfinite(table).all():
            bad = int((~np.isfinite(table)).argmax()) + 1
            raise InputError(f"value {bad} is not a finite number", code="input.not_finite")
        return cls(VALUES, (name,), table)

    def __len__(self) -> int:
        return len(self.table)

    def take(self, rows: npt.NDArray[np.integer] | slice) -> Self:
        """Give those of some rows; names stay as they are."""
        return replace(self, table=self.table[rows])

    def counts(self) -> npt.NDArray[np.integer]:
        """Count the rows of each class or label ``(C,)``; of values, all of them ``(1,)``."""
        if self.task == CLASSES:
            return np.bincount(self.table, minlength=len(self.names))
        return self.table.sum(0) if self.task == LABELS else np.array([len(self)])

    def yes(self) -> npt.NDArray[np.bool_]:
        """Give classes or labels as yes and no ``(N, C)``."""
        if self.task == LABELS:
            return self.table.astype(bool, copy=False)
        found: npt.NDArray[np.bool_] = self.table[:, None] == np.arange(len(self.names))
        return found

    def sha256(self, keys: Sequence[str]) -> str:
        """Hash the answers with what names their rows, whatever the order of rows.

        Parameters
        ----------
        keys
            Name of each row: an id, or the hash of a sequence.
        """
        if self.task == VALUES:
            said = [repr(float(value)) for value in self.table]
        else:
            said = [";".join(np.array(self.names)[row]) for row in self.yes()]
        lines = sorted(f"{key}\t{text}\n" for key, text in zip(keys, said, strict=True))
        return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
