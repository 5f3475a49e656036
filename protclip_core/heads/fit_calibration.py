"""Fit the calibration of a head on what it said of rows that it was not fitted on.

Legend: N rows, C classes or labels.
"""

from __future__ import annotations

import numpy as np

from protclip_core.heads.calibration import LEAST, HeadCalibration, log_odds, softmax
from protclip_core.heads.targets import LABELS, Targets
from protclip_core.measure.calibration import calibration_error

__all__ = ["cross_fitted", "expected_error", "fit_calibration", "log_loss", "told_and_right"]

#: A slope below this would level all that a head says; it is kept, and the ranking with it.
_LEAST_SLOPE = 0.1


def fit_calibration(said: np.ndarray, targets: Targets) -> HeadCalibration:
    """Fit slope and offsets by maximum likelihood.

    A slope is drawn towards 1 and an offset towards 0 with the weight of one row, so that few
    rows, or none of a label, do not lead to infinity.

    Parameters
    ----------
    said
        Probabilities ``(N, C)`` of held-out rows.
    targets
        Classes or labels of these rows.
    """
    if targets.task != LABELS:
        slope, offsets = _fit_softmax(np.log(np.clip(said, LEAST, 1.0)), targets.yes())
        return HeadCalibration((slope,), tuple(offsets.tolist()))
    slopes, offsets_of = [], []
    odds = log_odds(said)
    for column, yes in zip(odds.T, targets.yes().T, strict=True):
        # A label is a choice between two classes whose scores are 0 and the log odds.
        scores = np.stack([np.zeros_like(column), column], axis=1)
        slope, pair = _fit_softmax(scores, np.stack([~yes, yes], axis=1))
        slopes.append(slope)
        offsets_of.append(float(pair[1] - pair[0]))
    return HeadCalibration(tuple(slopes), tuple(offsets_of))


def cross_fitted(said: np.ndarray, targets: Targets, parts: np.ndarray) -> np.ndarray:
    """Calibrate each part of the rows with what the other parts give ``(N, C)``.

    What is measured on the result is measured on rows that neither head nor calibration has seen.

    Parameters
    ----------
    said, targets
        As in `fit_calibration`.
    parts
        Number of the part of each row ``(N,)``, at least two.
    """
    found = np.empty(said.shape)
    for part in np.unique(parts):
        own = parts == part
        calibration = fit_calibration(said[~own], targets.take(~own))
        found[own] = calibration.apply(said[own], multilabel=targets.task == LABELS)
    return found


def log_loss(said: np.ndarray, targets: Targets) -> float:
    """Return the mean negative logarithm of what was said of the right answers."""
    yes = targets.yes()
    chances = np.clip(said, LEAST, 1.0)
    if targets.task != LABELS:
        return float(-np.log(chances[yes]).mean())
    no = np.clip(1.0 - said, LEAST, 1.0)
    return float(-np.where(yes, np.log(chances), np.log(no)).mean())


def expected_error(said: np.ndarray, targets: Targets) -> float:
    """Return the expected calibration error, 15 bins of equal width (Guo et al., ICML 2017)."""
    return calibration_error(*told_and_right(targets, said), least=0.0)


def told_and_right(truth: Targets, said: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Give the probabilities that a calibration is about, and whether they came true.

    Of two classes those of the second, of more those of the best one, of labels those of all.
    """
    if truth.task == LABELS:
        return said.ravel(), truth.yes().ravel()
    if len(truth.names) == 2:
        return said[:, 1], truth.table == 1
    return said.max(1), said.argmax(1) == truth.table


def _fit_softmax(scores: np.ndarray, yes: np.ndarray) -> tuple[float, np.ndarray]:
    """Fit ``softmax(slope * scores + offsets)`` to what is right ``(N, C)``."""
    from scipy.optimize import minimize

    count, columns = scores.shape
    rows = max(count, 1)
    right = yes.astype(np.float64)
    of_right, of_each = float((scores * right).sum()), right.sum(0)

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        slope, offsets = parameters[0], parameters[1:]
        raised = slope * scores + offsets
        chances = softmax(raised) if count else raised
        top = raised.max(axis=1, initial=-np.inf)
        total = np.log(np.exp(raised - top[:, None]).sum(1)) + top
        value = total.sum() - slope * of_right - offsets @ of_each
        value += 0.5 * ((slope - 1) ** 2 + offsets @ offsets)
        by_slope = (chances * scores).sum() - of_right + slope - 1
        by_offsets = chances.sum(0) - of_each + offsets
        return value / rows, np.concatenate([[by_slope], by_offsets]) / rows

    start = np.zeros(columns + 1)
    start[0] = 1.0
    bounds = [(_LEAST_SLOPE, None), *[(None, None)] * columns]
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds)
    return float(found.x[0]), found.x[1:]
