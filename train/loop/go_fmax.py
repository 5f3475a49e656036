"""Fmax of GO annotation, aspect by aspect.

Legend: N proteins, C terms.
"""

from __future__ import annotations

import numpy as np

from protclip_core.measure.fmax import fmax
from train.data.go_terms import ASPECTS, GoTerms

__all__ = ["aspect_fmax"]


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
