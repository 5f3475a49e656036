"""Rank correlation of similarities of pairs, with intervals that know that pairs share proteins.

Pairs of one protein are not independent: an interval over pairs would be far too narrow. Here
proteins are drawn with replacement, and a pair counts as often as both of its proteins were drawn
together (the bootstrap of nodes; Snijders and Borgatti 1999).

Legend: M pairs, N proteins, b resamples of a block.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from protclip_core.errors import UsageError
from protclip_core.measure.metrics import Estimate, Metric, measure

__all__ = ["rank_correlations"]

Doubles = npt.NDArray[np.float64]


def rank_correlations(
    reference: npt.ArrayLike,
    methods: Mapping[str, npt.ArrayLike],
    pairs: npt.ArrayLike,
    *,
    resamples: int = 200,
) -> dict[str, Estimate]:
    """Correlate several methods with one reference by Spearman's rho.

    Parameters
    ----------
    reference
        What pairs are like, ``(M,)``; ties have their mean rank.
    methods
        What methods say, ``(M,)`` each, by name.
    pairs
        Proteins of each pair, ``(M, 2)``, as any numbers.
    resamples
        Draws of proteins; 0 for no intervals. All methods are measured on the same draws.

    Returns
    -------
    dict
        In the order of the methods; NaN where one of the two does not vary.

    Raises
    ------
    UsageError
        Values that are not finite, or shapes that do not fit.
    """
    rows = np.asarray(pairs, np.int64).reshape(-1, 2)
    truth = _Ranks(reference, len(rows))
    proteins, places = np.unique(rows, return_inverse=True)
    one, other = places.reshape(-1, 2).T

    def metric(ranks: _Ranks) -> Metric:
        def correlation(weights: np.ndarray) -> np.ndarray:
            return np.array([_correlate(truth, ranks, w[one] * w[other]) for w in weights])

        return correlation

    metrics = {name: metric(_Ranks(values, len(rows))) for name, values in methods.items()}
    return measure(metrics, len(proteins), resamples)


class _Ranks:
    """Values that are ranked again and again with other weights; sorted once."""

    def __init__(self, values: npt.ArrayLike, count: int) -> None:
        known = np.asarray(values, np.float64)
        if known.shape != (count,):
            raise UsageError(
                f"values of shape {known.shape} for {count:,} pairs", code="usage.shape_mismatch"
            )
        if not np.isfinite(known).all():
            raise UsageError(
                "a value of a pair is not finite",
                code="usage.not_finite",
                hint="leave the pair out",
            )
        _, self._group = np.unique(known, return_inverse=True)

    def weighted(self, weights: Doubles) -> Doubles:
        """Return the mean rank of each value among ``weights`` copies of all; ``(M,)``."""
        sizes = np.bincount(self._group, weights)
        middle = np.cumsum(sizes) - sizes / 2
        found: Doubles = middle[self._group]
        return found


def _correlate(one: _Ranks, other: _Ranks, weights: Doubles) -> float:
    """Return the weighted correlation of two rankings; NaN where one does not vary."""
    total = weights.sum()
    if total == 0:
        return float("nan")
    a, b = one.weighted(weights), other.weighted(weights)
    a, b = a - weights @ a / total, b - weights @ b / total
    below = np.sqrt((weights @ (a * a)) * (weights @ (b * b)))
    return float(weights @ (a * b) / below) if below > 0 else float("nan")
