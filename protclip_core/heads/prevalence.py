"""Probabilities where a class is rarer, or more frequent, than where a head was calibrated.

A head that was fitted on balanced pairs says 0.9 of a pair that, among all pairs of a proteome,
interacts once in a hundred times. If what the head sees of a class is alike in both places, and
only its share differs, the odds are multiplied by the ratio of the odds of both shares (Saerens et
al., Neural Computation 2002).

Legend: N rows, C classes or labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from protclip_core.errors import UsageError

__all__ = ["PRECISIONS", "Threshold", "at_prevalence", "classes_at_prevalence", "thresholds"]

#: Precisions that `thresholds` looks for.
PRECISIONS = (0.5, 0.8, 0.9, 0.95, 0.99)


def at_prevalence(said: ArrayLike, fitted: ArrayLike, wanted: ArrayLike) -> NDArray[np.floating]:
    """Correct the probabilities of a class, or of each label, to another share.

    Parameters
    ----------
    said
        Probabilities, any shape; float32 stays float32, and NaN stays NaN.
    fitted, wanted
        Share of the class where the head was calibrated, and where it is used: between 0 and 1,
        one number or one for each column.

    Raises
    ------
    UsageError
        A share that is not between 0 and 1.

    Examples
    --------
    >>> float(at_prevalence(0.9, fitted=0.5, wanted=0.1).round(3))
    0.5
    """
    given = np.asarray(said)
    given = given if given.dtype == np.float32 else given.astype(np.float64)
    before, after = _shares(fitted), _shares(wanted)
    ratio = (after * (1 - before) / (before * (1 - after))).astype(given.dtype)
    found: NDArray[np.floating] = given * ratio / (given * ratio + (1 - given))
    return found


def classes_at_prevalence(
    said: NDArray[np.floating], fitted: ArrayLike, wanted: ArrayLike
) -> NDArray[np.floating]:
    """Correct the probabilities ``(N, C)`` of classes of which one is right.

    Parameters
    ----------
    said
        Rows sum to 1.
    fitted, wanted
        Shares of all classes ``(C,)``; ``wanted`` is divided by its sum.

    Raises
    ------
    UsageError
        Another number of shares, or one that is not between 0 and 1.
    """
    after = np.asarray(wanted, np.float64)
    if after.shape != said.shape[1:] or not after.sum() > 0:
        raise UsageError(
            f"{after.size} shares for {said.shape[1]} classes", code="usage.bad_prevalence"
        )
    raised = said * _shares(after / after.sum()) / _shares(fitted)
    found: NDArray[np.floating] = raised / raised.sum(axis=1, keepdims=True)
    return found


def _shares(given: ArrayLike) -> NDArray[np.float64]:
    found = np.asarray(given, np.float64)
    if not ((found > 0) & (found < 1)).all():
        bad = found.ravel()[~((found > 0) & (found < 1)).ravel()][0]
        raise UsageError(
            f"prevalence {bad:g} is not between 0 and 1",
            code="usage.bad_prevalence",
            hint="give the share of the class where the head is used, such as 0.001",
        )
    return found


class Threshold(NamedTuple):
    """The least probability at which a precision is reached."""

    precision: float
    threshold: float
    recall: float


def thresholds(
    yes: NDArray[np.bool_],
    said: NDArray[np.floating],
    *,
    precisions: Sequence[float] = PRECISIONS,
    prevalence: float | None = None,
) -> list[Threshold]:
    """Find the thresholds at which what is listed has at least a precision.

    Parameters
    ----------
    yes, said
        Whether each row has the label, and its probability ``(N,)``; NaN rows are left out.
    precisions
        To look for; those that no threshold reaches are left out of the result.
    prevalence
        Share of the label where the threshold is used; default: that of the rows. The share of
        each kind of row above a threshold is taken to be the same there.

    Returns
    -------
    list of Threshold
        In the order of ``precisions``; equal probabilities are listed together.
    """
    known = np.isfinite(said)
    yes, said = yes[known], said[known]
    if not yes.any() or yes.all():
        return []
    order = np.argsort(-said, kind="stable")
    right = np.cumsum(yes[order]) / yes.sum()
    wrong = np.cumsum(~yes[order]) / (~yes).sum()
    share = float(yes.mean()) if prevalence is None else float(_shares(prevalence))
    precision = right * share / (right * share + wrong * (1 - share))
    last = np.append(np.diff(said[order]) < 0, True)  # of equal probabilities
    found = []
    for wanted in precisions:
        places = np.flatnonzero(last & (precision >= wanted))
        if len(places):
            at = places[-1]
            found.append(Threshold(wanted, float(said[order[at]]), float(right[at])))
    return found
