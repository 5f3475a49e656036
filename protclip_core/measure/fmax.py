"""Fmax, protein-centric, with every score as a threshold.

As in CAFA (Radivojac et al. 2013): at a threshold, precision is the mean over the proteins with a
prediction, recall the mean over all proteins; Fmax is the best harmonic mean of the two. A protein
without a true label is left out.

Legend: N proteins, C labels, B sets of weights, E predictions that change precision or recall,
T thresholds.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from protclip_core.errors import UsageError

__all__ = ["fmax", "weighted_fmax"]

#: Numbers that are held at once.
_BLOCK = 4_000_000


def fmax(scores: np.ndarray, truth: np.ndarray) -> float:
    """Return the greatest F over all thresholds.

    Parameters
    ----------
    scores
        Shape ``(N, C)``, float; at a threshold t, those of t or more are predicted. Minus infinity
        is never predicted; a NaN is refused.
    truth
        Shape ``(N, C)``, bool; a protein without a true label is left out.

    Returns
    -------
    float
        In [0, 1]; 0 where nothing is ever predicted right, NaN where no protein has a true label.

    Raises
    ------
    UsageError
        Shapes that differ, or a NaN.

    Examples
    --------
    >>> fmax(np.array([[0.9, 0.2], [0.8, 0.7]]), np.array([[True, False], [False, True]]))
    0.8571428571428571
    """
    return float(weighted_fmax(scores, truth)(np.ones((1, len(scores))))[0])


def weighted_fmax(scores: np.ndarray, truth: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Make a function from weights of the proteins ``(B, N)`` to Fmax ``(B,)``.

    Parameters and errors are those of `fmax`. A weight is how often a protein counts, as in a
    resample; Fmax is NaN where the proteins with a true label weigh nothing.
    """
    if scores.shape != truth.shape or scores.ndim != 2:
        raise UsageError(
            f"need two (N, C) tables, got {scores.shape} and {truth.shape}",
            code="usage.shape_mismatch",
        )
    if np.isnan(scores).any():
        raise UsageError("a score is NaN", code="usage.not_finite")
    kept = np.flatnonzero(truth.any(axis=1))
    rows, gains, starts = _events(scores[kept], truth[kept])

    def best(weights: np.ndarray) -> np.ndarray:
        step = max(1, _BLOCK // max(len(rows), 1))
        blocks = [weights[start : start + step, kept] for start in range(0, len(weights), step)]
        return np.concatenate([_best(block, rows, gains, starts) for block in blocks])

    return best


def _events(
    scores: np.ndarray, truth: np.ndarray
) -> tuple[np.ndarray, list[np.ndarray], np.ndarray]:
    """List what each prediction adds when the threshold falls to its score, from the top.

    Only a right prediction can make F greater, so the thresholds are the scores of those, and
    what is predicted in between counts at the next one.

    Returns
    -------
    tuple
        Row of each event ``(E,)``; what it adds to the row's precision, recall and number of
        predicted rows, each ``(E,)``; the first event of each threshold ``(T,)``.
    """
    number, count = scores.shape
    order = np.argsort(-scores, axis=1, kind="stable")
    ranked = np.take_along_axis(scores, order, axis=1)
    right = np.cumsum(np.take_along_axis(truth, order, axis=1), axis=1, dtype=np.float64)
    first = np.zeros(scores.shape)
    first[:, :1] = 1
    precision = right / np.arange(1, count + 1)
    recall = right / right[:, -1:] if count else right
    gains = [np.diff(table, axis=1, prepend=0.0) for table in (precision, recall)] + [first]
    changes = (gains[0] != 0) | (gains[1] != 0) | (first != 0)
    some = np.flatnonzero(changes & (ranked > -np.inf))
    values = ranked.ravel()[some]
    place = np.argsort(-values, kind="stable")
    some, values = some[place], values[place]
    wanted = np.unique(values[gains[1].ravel()[some] > 0])[::-1]
    ends = np.searchsorted(-values, -wanted, side="right")
    some = some[: ends[-1] if len(ends) else 0]
    starts = np.concatenate([[0], ends[:-1]]).astype(np.intp)
    return some // max(count, 1), [table.ravel()[some] for table in gains], starts


def _best(
    weights: np.ndarray, rows: np.ndarray, gains: list[np.ndarray], starts: np.ndarray
) -> np.ndarray:
    """Return Fmax ``(B,)`` of weights ``(B, N)`` of the rows that have a true label."""
    total = weights.sum(axis=1)
    if not len(rows):
        return np.where(total > 0, 0.0, np.nan)
    drawn = np.ascontiguousarray(weights.T)[rows]
    precision, recall, predicted = (
        np.cumsum(np.add.reduceat(drawn * gain[:, None], starts, axis=0), axis=0) for gain in gains
    )
    p = _ratio(precision, predicted)
    r = _ratio(recall, np.broadcast_to(total, recall.shape))
    best: np.ndarray = _ratio(2 * p * r, p + r).max(axis=0)
    return np.where(total > 0, best, np.nan)


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return np.divide(above, below, out=np.zeros(np.shape(below)), where=below > 0)
