"""Log odds and probabilities, and how often what was said came true.

Legend: C values.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

__all__ = [
    "LEAST_PROBABILITY",
    "sigmoid",
    "logit",
    "Reliability",
    "reliability",
    "calibration_error",
]

#: Below this, probabilities are neither looked at when a calibration is fitted nor asked for.
LEAST_PROBABILITY = 0.01


def sigmoid(values: np.ndarray) -> np.ndarray:
    """Return the probability of log odds; never overflows, float64."""
    half = 0.5 * np.asarray(values, dtype=np.float64)
    found: np.ndarray = 0.5 * (np.tanh(half) + 1.0)
    return found


def logit(probability: float) -> float:
    """Return the log odds of a probability; minus and plus infinity for 0 and 1."""
    if probability <= 0 or probability >= 1:
        return math.copysign(math.inf, probability - 0.5)
    return math.log(probability) - math.log1p(-probability)


@dataclass(frozen=True, eq=False)
class Reliability:
    """How often what was said came true, bin by bin; bins without a pair are left out.

    Attributes
    ----------
    said, true, counts
        Mean probability, share of right pairs and number of pairs; ``(B,)`` each.
    """

    said: np.ndarray
    true: np.ndarray
    counts: np.ndarray


def reliability(
    probabilities: np.ndarray,
    right: np.ndarray,
    *,
    bins: int = 15,
    least: float = LEAST_PROBABILITY,
) -> Reliability:
    """Sort pairs of protein and term into bins of equal width over [0, 1].

    Parameters
    ----------
    probabilities, right
        Of each pair, ``(C,)`` float and bool; those below ``least`` are left out.
    bins
        Their number.
    """
    kept = probabilities >= least
    values = np.asarray(probabilities[kept], dtype=np.float64)
    place = np.minimum((values * bins).astype(np.int64), bins - 1)
    counts = np.bincount(place, minlength=bins)
    some = counts > 0
    said = np.bincount(place, weights=values, minlength=bins)[some] / counts[some]
    true = np.bincount(place, weights=right[kept], minlength=bins)[some] / counts[some]
    return Reliability(said, true, counts[some])


def calibration_error(
    probabilities: np.ndarray,
    right: np.ndarray,
    *,
    bins: int = 15,
    least: float = LEAST_PROBABILITY,
) -> float:
    """Return the expected calibration error (Guo et al., ICML 2017).

    That is the mean over pairs of the distance between what was said and what came true in the
    bin of the pair. Bins are of equal width, see `reliability`; NaN where there is no pair.
    """
    found = reliability(probabilities, right, bins=bins, least=least)
    if not len(found.counts):
        return math.nan
    return float(np.average(np.abs(found.said - found.true), weights=found.counts))
