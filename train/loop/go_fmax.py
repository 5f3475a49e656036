"""Fmax of GO annotation, protein-centric, with every score as a threshold.

As in CAFA (Radivojac et al. 2013): at a threshold, precision is the mean over the proteins with a
prediction, recall the mean over all proteins; Fmax is the best harmonic mean of the two.

Legend: N proteins, C terms.
"""

from __future__ import annotations

import numpy as np

from train.data.go_terms import ASPECTS, GoTerms

__all__ = ["aspect_fmax", "fmax"]


def fmax(scores: np.ndarray, truth: np.ndarray) -> float:
    """Return the greatest F over all thresholds.

    Parameters
    ----------
    scores
        Shape ``(N, C)``, float; at a threshold t, those of t or more are predicted. Minus infinity
        is never predicted; a NaN is refused.
    truth
        Shape ``(N, C)``, bool; a protein without a true term is left out.

    Returns
    -------
    float
        In [0, 1]; 0 where nothing is ever predicted right, NaN where no protein has a true term.

    Raises
    ------
    ValueError
        Shapes that differ, or a NaN.
    """
    if scores.shape != truth.shape or scores.ndim != 2:
        msg = f"need two (N, C) tables, got {scores.shape} and {truth.shape}"
        raise ValueError(msg)
    if np.isnan(scores).any():
        msg = "a score is NaN"
        raise ValueError(msg)
    kept = truth.any(axis=1)
    scores, truth = scores[kept], truth[kept]
    number = len(scores)
    if not number:
        return float("nan")
    # What each prediction adds when the threshold falls to its score: to the sum of precisions,
    # to the sum of recalls, and to the number of proteins with a prediction.
    order = np.argsort(-scores, axis=1, kind="stable")
    ranked = np.take_along_axis(scores, order, axis=1)
    right = np.cumsum(np.take_along_axis(truth, order, axis=1), axis=1, dtype=np.float64)
    precision = right / np.arange(1, scores.shape[1] + 1)
    recall = right / truth.sum(axis=1, keepdims=True)
    first = np.zeros(scores.shape, dtype=np.float64)
    first[:, 0] = 1
    gains = [np.diff(table, axis=1, prepend=0.0) for table in (precision, recall)]
    values = ranked.ravel()
    place = np.argsort(-values, kind="stable")
    place = place[np.isfinite(values[place]) | (values[place] > 0)]
    if not len(place):
        return 0.0
    precision_sum, recall_sum, predicted = (
        np.cumsum(table.ravel()[place]) for table in (*gains, first)
    )
    # Equal scores come together: only the last of them is a threshold.
    last = np.append(np.diff(values[place]) != 0, True)  # noqa: FBT003
    p, r = precision_sum[last] / predicted[last], recall_sum[last] / number
    both = p + r
    return float(np.max(np.where(both > 0, 2 * p * r / np.where(both > 0, both, 1.0), 0.0)))


def aspect_fmax(
    scores: np.ndarray, columns: np.ndarray, annotations: list[np.ndarray], terms: GoTerms
) -> dict[str, float]:
    """Return Fmax of each aspect, over its terms without the root.

    Parameters
    ----------
    scores
        Shape ``(N, C)``, propagated.
    columns
        Terms of the columns, ``(C,)``.
    annotations
        True terms of each protein, propagated, without roots. Those that are no column count as
        not found.

    Returns
    -------
    dict
        ``MF``, ``BP``, ``CC`` to Fmax over the proteins that are annotated there; NaN for none.
    """
    found = {}
    for aspect, name in enumerate(ASPECTS):
        own = [terms_[terms.aspects[terms_] == aspect] for terms_ in annotations]
        rows = [row for row, terms_ in enumerate(own) if len(terms_)]
        inside = columns[terms.aspects[columns] == aspect]
        beyond = np.setdiff1d(np.concatenate([own[row] for row in rows] or [inside]), inside)
        every = np.concatenate([inside, beyond])
        place = np.full(len(terms), -1)
        place[every] = np.arange(len(every))
        truth = np.zeros((len(rows), len(every)), dtype=bool)
        for number, row in enumerate(rows):
            truth[number, place[own[row]]] = True
        table = np.full(truth.shape, -np.inf, dtype=np.float32)
        table[:, : len(inside)] = scores[rows][:, terms.aspects[columns] == aspect]
        found[name] = fmax(table, truth) if rows else float("nan")
    return found
