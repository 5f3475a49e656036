"""A linear head as one matrix product: scaler, weights and calibration folded together.

Both the standardisation before a linear model and the calibration behind it are linear in what
goes in, so all three make one matrix. Folded in float64 and stored as float32, it gives the
probabilities of the head to within `TOLERANCE` at a fraction of the time.

Legend: N vectors, F numbers of a vector, C classes or labels, K columns of the product.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from protclip_core.errors import ModelError
from protclip_core.heads.calibration import HeadCalibration

__all__ = ["TOLERANCE", "LinearForm", "fold"]

#: Most that a probability of the folded form is off from that of the head (a value: relative to
#: the spread of values), as long as log odds are within 30 of 0.
TOLERANCE = 1e-4

_BINARY, _SOFTMAX, _LABELS, _VALUE = _LINKS = ("binary", "softmax", "labels", "value")


@dataclass(frozen=True, eq=False)
class LinearForm:
    """Scores ``vectors @ weights + offsets``, and what makes probabilities of them.

    Attributes
    ----------
    weights, offsets
        Shapes ``(F, K)`` and ``(K,)``, float32. K is 1 for two classes (log odds of the second)
        and for a value, else C.
    link
        ``"binary"``, ``"softmax"``, ``"labels"`` (a sigmoid each) or ``"value"`` (nothing).
    """

    weights: np.ndarray
    offsets: np.ndarray
    link: str

    def scores(self, vectors: np.ndarray) -> np.ndarray:
        """Give the scores ``(N, K)`` float32 of vectors ``(N, F)``, computed in float32.

        Raises
        ------
        ModelError
            A score that is not finite: NaN, infinity or a huge number went in. Vectors of zeros
            are not looked for here.
        """
        with np.errstate(over="ignore", invalid="ignore"):  # told below, as an error
            found: np.ndarray = np.asarray(vectors, np.float32) @ self.weights
            found += self.offsets
        if not np.isfinite(found).all():
            bad = int((~np.isfinite(found)).any(1).argmax()) + 1
            raise ModelError(
                f"vector {bad} holds NaN, infinity or a number beyond float32",
                hint="embed it again; no prediction is made from it",
            )
        return found

    def link_scores(self, scores: np.ndarray) -> np.ndarray:
        """Make float32 probabilities ``(N, C)`` of scores, or values ``(N,)``."""
        if self.link == _VALUE:
            return scores[:, 0]
        if self.link == _SOFTMAX:
            raised = np.exp(scores - scores.max(axis=1, keepdims=True, initial=-np.inf))
            soft: np.ndarray = raised / raised.sum(axis=1, keepdims=True)
            return soft
        found: np.ndarray = 0.5 * (np.tanh(0.5 * scores) + 1)
        return np.concatenate([1 - found, found], axis=1) if self.link == _BINARY else found

    def to_plain(self) -> dict[str, Any]:
        """Give plain data, for a card."""
        weights, offsets = self.weights.tolist(), self.offsets.tolist()
        return {"weights": weights, "offsets": offsets, "link": self.link}

    @classmethod
    def of_plain(cls, content: Mapping[str, Any], width: int) -> LinearForm:
        """Read plain data of vectors of a width back.

        Raises
        ------
        KeyError, TypeError, ValueError
            What Python raises on bad data.
        """
        weights = np.array(content["weights"], np.float32)
        offsets = np.array(content["offsets"], np.float32)
        if weights.shape != (width, len(offsets)) or content["link"] not in _LINKS:
            raise ValueError(f"weights of shape {weights.shape} for {width} numbers")
        return cls(weights, offsets, str(content["link"]))

    def predict(self, vectors: np.ndarray) -> np.ndarray:
        """Give probabilities ``(N, C)`` or values ``(N,)``, float32; errors as `scores`."""
        return self.link_scores(self.scores(vectors))


def fold(estimator: Any, calibration: HeadCalibration | None) -> LinearForm | None:  # noqa: ANN401
    """Fold a fitted estimator and its calibration; ``None`` where it is not linear.

    Parameters
    ----------
    estimator
        `LogisticRegression`, `OneVsRestClassifier` of such, or `Ridge`; alone, or behind
        `StandardScaler` in a pipeline.
    calibration
        Of the head, if any.
    """
    from sklearn.pipeline import Pipeline

    steps = [step for _name, step in estimator.steps] if isinstance(estimator, Pipeline) else []
    *before, model = steps or [estimator]
    found = _scores_of(model)
    if found is None:
        return None
    weights, offsets, link = found
    for step in reversed(before):
        affine = _affine_of(step)
        if affine is None:
            return None
        mean, scale = affine
        weights = weights / scale[:, None]
        offsets = offsets - mean @ weights
    if calibration is not None:
        slopes, own = np.array(calibration.slopes), np.array(calibration.offsets)
        weights, offsets = weights * slopes, offsets * slopes
        offsets = offsets + (own[1:] - own[:1] if link == _BINARY else own)
    return LinearForm(weights.astype(np.float32), offsets.astype(np.float32), link)


def _scores_of(model: Any) -> tuple[np.ndarray, np.ndarray, str] | None:  # noqa: ANN401
    """Give weights ``(F, K)``, offsets ``(K,)`` and link of a fitted linear model."""
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.multiclass import OneVsRestClassifier

    if isinstance(model, LogisticRegression):
        binary = len(model.classes_) == 2
        if not binary and model.solver == "liblinear":
            return None  # one against the rest, which is no softmax
        link = _BINARY if binary else _SOFTMAX
        return np.asarray(model.coef_, np.float64).T, np.asarray(model.intercept_, np.float64), link
    if isinstance(model, OneVsRestClassifier) and model.multilabel_:
        parts = [_scores_of(part) for part in model.estimators_]
        if any(part is None or part[2] != _BINARY for part in parts):
            return None
        kept = [part for part in parts if part is not None]
        weights = np.concatenate([part[0] for part in kept], axis=1)
        return weights, np.concatenate([part[1] for part in kept]), _LABELS
    if isinstance(model, Ridge) and model.coef_.ndim == 1:
        offset = np.atleast_1d(np.asarray(model.intercept_, np.float64))
        return np.asarray(model.coef_, np.float64)[:, None], offset, _VALUE
    return None


def _affine_of(step: Any) -> tuple[np.ndarray, np.ndarray] | None:  # noqa: ANN401
    """Give mean and scale ``(F,)`` of a fitted scaler."""
    from sklearn.preprocessing import StandardScaler

    if not isinstance(step, StandardScaler):
        return None
    width = step.n_features_in_
    mean = np.asarray(step.mean_, np.float64) if step.with_mean else np.zeros(width)
    scale = np.asarray(step.scale_, np.float64) if step.with_std else np.ones(width)
    return mean, scale
