"""Metrics of predictions, each with an interval from resampled rows (bootstrap).

A resample is a weight for each row: how often it was drawn. Every metric takes the weights of all
resamples at once and sorts once, where scikit-learn would sort and check a thousand times; tests
hold the figures against scikit-learn's. The resamples of a number of rows are always the same, so
that models measured on the same rows meet the same luck.

Legend: N rows, C classes or labels, B resamples, G groups of tied rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from protclip_core.errors import UsageError
from protclip_core.measure.fmax import weighted_fmax

__all__ = [
    "RESAMPLES",
    "Estimate",
    "measure",
    "measure_classes",
    "measure_labels",
    "measure_values",
]

RESAMPLES = 1000
_LEVEL = 0.95
_SEED = 0
#: Weights that are held at once.
_BLOCK = 4_000_000

#: Weights ``(B, N)`` in, figures ``(B,)`` out; NaN where a resample does not allow one.
Metric = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Estimate:
    """A figure and its interval.

    Attributes
    ----------
    value
        On all rows; NaN where it is not defined, such as an area with one class.
    low, high
        The 2.5th and the 97.5th percentile of the resamples.
    """

    value: float
    low: float
    high: float


def measure_classes(
    truth: np.ndarray,
    said: np.ndarray,
    *,
    positive: int | None = None,
    resamples: int = RESAMPLES,
) -> dict[str, Estimate]:
    """Measure probabilities where exactly one class is right.

    Parameters
    ----------
    truth
        Number of the right class ``(N,)``.
    said
        Probabilities ``(N, C)``; the highest is the class that is predicted, the first of equals.
    positive
        Class whose ``auroc`` and ``aupr`` are given; default: their means over all classes that
        have rows and are not all there is.
    resamples
        0: no intervals, which are then NaN.

    Returns
    -------
    dict
        ``accuracy``, ``macro_f1`` (mean over classes that are there or predicted), ``mcc``
        (Gorodkin 2004, of several classes; 0 where undefined), ``auroc``, ``aupr`` (average
        precision).

    Raises
    ------
    UsageError
        Shapes that do not fit, or no rows.
    """
    count = said.shape[1] if said.ndim == 2 else 0
    if truth.shape != said.shape[:1] or not count or not len(truth):
        raise UsageError(
            f"truth of shape {truth.shape} for what was said of shape {said.shape}",
            code="usage.shape_mismatch",
        )
    predicted = said.argmax(1)
    cells = truth * count + predicted
    columns = range(count) if positive is None else (positive,)
    areas = [_areas(truth == column, said[:, column]) for column in columns]

    def confusion(weights: np.ndarray) -> np.ndarray:
        table = np.stack([np.bincount(cells, w, minlength=count * count) for w in weights])
        return table.reshape(-1, count, count)

    metrics: dict[str, Metric] = {
        "accuracy": lambda w: w @ (truth == predicted) / w.sum(1),
        "macro_f1": lambda w: _macro_f1(confusion(w)),
        "mcc": lambda w: _mcc(confusion(w)),
        "auroc": lambda w: _mean([area(w)[0] for area in areas]),
        "aupr": lambda w: _mean([area(w)[1] for area in areas]),
    }
    return measure(metrics, len(truth), resamples)


def measure_labels(
    truth: np.ndarray, said: np.ndarray, *, resamples: int = RESAMPLES
) -> dict[str, Estimate]:
    """Measure probabilities of labels that are each a yes or no of its own.

    Parameters
    ----------
    truth, said
        Bool and probabilities, ``(N, C)``.
    resamples
        As in `measure_classes`.

    Returns
    -------
    dict
        ``fmax`` (see `protclip_core.measure.fmax`, over the rows with a label), ``micro_f1``
        (at 0.5), ``auroc`` and ``aupr`` (means over labels that have both a yes and a no).

    Raises
    ------
    UsageError
        Shapes that do not fit, or no rows.
    """
    if truth.shape != said.shape or truth.ndim != 2 or not truth.size:
        raise UsageError(
            f"truth of shape {truth.shape} for what was said of shape {said.shape}",
            code="usage.shape_mismatch",
        )
    areas = [_areas(yes, column) for yes, column in zip(truth.T, said.T, strict=True)]
    chosen = said >= 0.5
    right, wrong = (chosen & truth).sum(1), (chosen ^ truth).sum(1)
    metrics: dict[str, Metric] = {
        "fmax": weighted_fmax(said, truth),
        "micro_f1": lambda w: _ratio(2 * (w @ right), 2 * (w @ right) + w @ wrong, empty=0.0),
        "auroc": lambda w: _mean([area(w)[0] for area in areas]),
        "aupr": lambda w: _mean([area(w)[1] for area in areas]),
    }
    return measure(metrics, len(truth), resamples)


def measure_values(
    truth: np.ndarray, said: np.ndarray, *, resamples: int = RESAMPLES
) -> dict[str, Estimate]:
    """Measure predicted values ``(N,)``.

    Returns
    -------
    dict
        ``spearman`` (ties take their mean rank; NaN where either side is all the same), ``r2``
        (share of the variance explained; below 0 where the mean does better), ``mae``.

    Raises
    ------
    UsageError
        Shapes that do not fit, or no rows.
    """
    if truth.shape != said.shape or truth.ndim != 1 or not truth.size:
        raise UsageError(
            f"truth of shape {truth.shape} for what was said of shape {said.shape}",
            code="usage.shape_mismatch",
        )
    of_truth, of_said = _ranks(truth), _ranks(said)
    squares, misses = (truth - said) ** 2, np.abs(truth - said)
    centred = truth - truth.mean()  # fewer digits are lost

    def r2(weights: np.ndarray) -> np.ndarray:
        total = weights.sum(1)
        spread = weights @ centred**2 - (weights @ centred) ** 2 / total
        return 1 - _ratio(weights @ squares, spread)

    metrics: dict[str, Metric] = {
        "spearman": lambda w: _correlation(w, of_truth(w), of_said(w)),
        "r2": r2,
        "mae": lambda w: w @ misses / w.sum(1),
    }
    return measure(metrics, len(truth), resamples)


def measure(metrics: Mapping[str, Metric], rows: int, resamples: int) -> dict[str, Estimate]:
    """Compute metrics on all rows and on resamples; the same for the same number of rows."""
    whole = {name: metric(np.ones((1, rows)))[0] for name, metric in metrics.items()}
    parts: dict[str, list[np.ndarray]] = {name: [] for name in metrics}
    for weights in _resampled(rows, resamples):
        for name, metric in metrics.items():
            parts[name].append(metric(weights))
    return {
        name: Estimate(float(whole[name]), *_interval(np.concatenate(parts[name] or [np.empty(0)])))
        for name in metrics
    }


def _resampled(rows: int, resamples: int) -> Iterator[np.ndarray]:
    """Yield weights ``(b, N)`` float64 of B resamples, some at a time."""
    rng = np.random.default_rng(_SEED)
    step = max(1, _BLOCK // rows)
    for start in range(0, resamples, step):
        drawn = rng.integers(0, rows, (min(step, resamples - start), rows))
        yield np.stack([np.bincount(one, minlength=rows) for one in drawn]).astype(np.float64)


def _interval(figures: np.ndarray) -> tuple[float, float]:
    known = figures[np.isfinite(figures)]
    if not len(known):
        return float("nan"), float("nan")
    low, high = np.quantile(known, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return float(low), float(high)


def _ratio(above: np.ndarray, below: np.ndarray, empty: float = np.nan) -> np.ndarray:
    return np.divide(above, below, out=np.full(np.shape(below), empty), where=below > 0)


def _mean(figures: list[np.ndarray]) -> np.ndarray:
    """Take the mean ``(B,)`` over those that are numbers; NaN where none is."""
    table = np.stack(figures)
    known = np.isfinite(table)
    return _ratio(np.where(known, table, 0).sum(0), known.sum(0).astype(float))


def _macro_f1(confusion: np.ndarray) -> np.ndarray:
    right = np.diagonal(confusion, axis1=1, axis2=2)
    f1 = _ratio(2 * right, confusion.sum(1) + confusion.sum(2))
    return _mean(list(f1.T))


def _mcc(confusion: np.ndarray) -> np.ndarray:
    total = confusion.sum((1, 2))
    right = np.trace(confusion, axis1=1, axis2=2)
    predicted, actual = confusion.sum(1), confusion.sum(2)
    above = right * total - (predicted * actual).sum(1)
    spread = (total**2 - (predicted**2).sum(1)) * (total**2 - (actual**2).sum(1))
    return _ratio(above, np.sqrt(np.maximum(spread, 0)), empty=0.0)


def _ties(said: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Give the order of rows from low to high, and where in it each group of equals ends."""
    order = np.argsort(said, kind="stable")
    ordered = said[order]
    ends = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))
    return order, ends


def _areas(yes: np.ndarray, said: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Make a function that gives both areas, ``(2, B)``: under ROC, and average precision."""
    order, ends = _ties(said)
    ordered = yes[order]

    def areas(weights: np.ndarray) -> np.ndarray:
        drawn = weights[:, order]
        up_to = np.cumsum(drawn * ordered, axis=1)[:, ends]
        down_to = np.cumsum(drawn * ~ordered, axis=1)[:, ends]
        ups, downs = np.diff(up_to, prepend=0), np.diff(down_to, prepend=0)
        up, down = up_to[:, -1], down_to[:, -1]
        ranked = (ups * (down_to - downs / 2)).sum(1)
        # From the top: all of a group and above it are taken together.
        taken = up[:, None] - up_to + ups
        precision = _ratio(taken, taken + down[:, None] - down_to + downs, empty=0.0)
        both = (up > 0) & (down > 0)
        roc = np.where(both, _ratio(ranked, up * down), np.nan)
        average = np.where(both, _ratio((ups * precision).sum(1), up), np.nan)
        return np.stack([roc, average])

    return areas


def _ranks(values: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Make a function that gives the mean rank ``(B, N)`` of each row among what was drawn."""
    order, ends = _ties(values)
    group = np.empty(len(values), np.int64)
    group[order] = np.repeat(np.arange(len(ends)), np.diff(ends, prepend=-1))

    def ranks(weights: np.ndarray) -> np.ndarray:
        up_to = np.cumsum(weights[:, order], axis=1)[:, ends]
        own = np.diff(up_to, prepend=0)
        mean: np.ndarray = up_to - (own - 1) / 2
        return mean[:, group]

    return ranks


def _correlation(weights: np.ndarray, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    total = weights.sum(1, keepdims=True)
    one = one - (weights * one).sum(1, keepdims=True) / total
    other = other - (weights * other).sum(1, keepdims=True) / total
    spread = (weights * one**2).sum(1) * (weights * other**2).sum(1)
    return _ratio((weights * one * other).sum(1), np.sqrt(spread))
