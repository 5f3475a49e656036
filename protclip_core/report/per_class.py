"""What a head gets right and wrong of each class or label.

Legend: N rows, C classes or labels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from protclip_core.heads import Targets
from protclip_core.heads.targets import CLASSES

__all__ = ["ClassFigure", "confusion", "figures_per_class"]


@dataclass(frozen=True)
class ClassFigure:
    """One figure of one class or label.

    Attributes
    ----------
    label
        Its name: the right one.
    metric
        ``precision``, ``recall``, ``f1``, ``support`` (rows that have it), or ``confusion``.
    value
        NaN where it is not defined: the precision of what is never predicted.
    predicted
        Of ``confusion``, the class that these rows were predicted to have; else empty.
    """

    label: str
    metric: str
    value: float
    predicted: str = ""


def figures_per_class(truth: Targets, said: np.ndarray) -> Iterator[ClassFigure]:
    """Give the figures of each class, then the rows of the confusion matrix that are not 0.

    Parameters
    ----------
    truth
        The right classes or labels.
    said
        Probabilities ``(N, C)``. The highest is the class that is predicted, the first of
        equals; a label is predicted from 0.5 on, and labels have no confusion matrix.
    """
    right = truth.yes()
    predicted = _chosen(truth, said) if truth.task == CLASSES else said >= 0.5
    both, support, listed = (right & predicted).sum(0), right.sum(0), predicted.sum(0)
    with np.errstate(invalid="ignore"):
        table = (both / listed, both / support, 2 * both / (support + listed), support)
    for column, name in enumerate(truth.names):
        for metric, values in zip(("precision", "recall", "f1", "support"), table, strict=True):
            yield ClassFigure(name, metric, float(values[column]))
    if truth.task == CLASSES:
        counts = confusion(truth, said)
        for row, column in np.argwhere(counts).tolist():
            names = truth.names[row], truth.names[column]
            yield ClassFigure(names[0], "confusion", float(counts[row, column]), names[1])


def confusion(truth: Targets, said: np.ndarray) -> np.ndarray:
    """Count the rows of each class ``(C, C)`` by the class that is predicted, along a line.

    Parameters
    ----------
    truth, said
        Classes and their probabilities, as in `figures_per_class`.
    """
    return truth.yes().astype(np.int64).T @ _chosen(truth, said).astype(np.int64)


def _chosen(truth: Targets, said: np.ndarray) -> np.ndarray:
    """Mark the class that is predicted ``(N, C)``."""
    return said.argmax(1)[:, None] == np.arange(len(truth.names))
