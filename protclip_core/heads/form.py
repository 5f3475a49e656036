"""A fitted head as plain arrays, and what it says of vectors; NumPy is all that this takes.

There are four kinds:

========  ==================================================================================
linear    ``weights (F, K)``, ``offsets (K)``
mlp       ``weights0``, ``offsets0``, ``weights1``, ...: layers with ReLU between them
gp        a Gaussian process with an RBF kernel: ``rows (M, F)``, ``weights (M)``, and
          ``numbers``: length scale, factor and mean of the values
trees     ``start (T)``: root of each tree; ``column (T)``: the score it adds to; for each node
          ``feature``, ``threshold``, ``left``, ``right`` (of a leaf: itself) and ``value``;
          ``offsets (K)``
========  ==================================================================================

With ``mean`` and ``scale`` ``(F)`` among the arrays, vectors are standardised first. Nothing
here trusts the arrays: sizes and indices are checked once, when the form is made.

Legend: N vectors, F numbers of a vector, K scores, C classes or labels, T trees.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from protclip_core.heads.calibration import HeadCalibration, softmax
from protclip_core.measure.calibration import sigmoid

__all__ = ["BINARY", "KINDS", "LABELS", "LINKS", "SOFTMAX", "VALUE", "HeadForm"]

Doubles = NDArray[np.float64]
Arrays = Mapping[str, NDArray[Any]]

BINARY, SOFTMAX, LABELS, VALUE = LINKS = ("binary", "softmax", "labels", "value")
KINDS = ("linear", "mlp", "gp", "trees")
_LINEAR = ("weights", "offsets")
_NODE = ("feature", "threshold", "left", "right", "value")
#: Nodes that are looked at together, and numbers of a kernel.
_BLOCK = 1 << 20


@dataclass(frozen=True, eq=False)
class HeadForm:
    """A head that predicts.

    Attributes
    ----------
    kind
        Of `KINDS`.
    link
        What makes answers of scores: ``"binary"`` (log odds of the second of two classes),
        ``"softmax"``, ``"labels"`` (a sigmoid each) or ``"value"`` (nothing).
    width
        Numbers of a vector, F.
    arrays
        See the module.

    Raises
    ------
    ValueError
        Arrays that are missing, do not fit each other, are not finite or point outside.
    """

    kind: str
    link: str
    width: int
    arrays: Arrays

    def __post_init__(self) -> None:
        if self.kind not in KINDS or self.link not in LINKS:
            raise ValueError(f"kind {self.kind!r} with link {self.link!r}")
        for name, array in self.arrays.items():
            wanted = "iu" if name in ("start", "column", "feature", "left", "right") else "f"
            if array.dtype.kind not in wanted:
                raise ValueError(f"array {name} is of type {array.dtype}")
            if name != "threshold" and not np.isfinite(array).all():
                raise ValueError(f"array {name} holds NaN or infinity")
        try:
            if {"mean", "scale"} & self.arrays.keys():
                _shapes(self.arrays, mean=(self.width,), scale=(self.width,))
                if not self.arrays["scale"].all():
                    raise ValueError("a scale of 0")
            scores = _CHECKS[self.kind](self.arrays, self.width)
        except KeyError as error:
            raise ValueError(f"array {error.args[0]} is missing") from error
        if scores < 1 or (self.link in (BINARY, VALUE) and scores > 1):
            raise ValueError(f"{scores} scores with link {self.link!r}")

    @property
    def answers(self) -> int:
        """Columns of what `predict` gives, C; 1 for a value."""
        if self.kind == "gp":
            return 1
        last = "offsets" if self.kind != "mlp" else f"offsets{_layers(self.arrays) - 1}"
        return 2 if self.link == BINARY else len(self.arrays[last])

    def predict(self, vectors: Doubles) -> Doubles:
        """Give probabilities ``(N, C)``, or values ``(N,)``, of finite vectors ``(N, F)``."""
        with np.errstate(over="ignore", invalid="ignore"):  # huge input: the caller looks
            if "mean" in self.arrays:
                vectors = (vectors - self.arrays["mean"]) / self.arrays["scale"]
            scores = _SCORES[self.kind](self.arrays, vectors)
            if self.link == VALUE:
                return scores[:, 0]
            if self.link == SOFTMAX:
                return softmax(scores)
            yes = sigmoid(scores)
        return np.concatenate([1 - yes, yes], axis=1) if self.link == BINARY else yes

    def folded(self, calibration: HeadCalibration | None) -> Self | None:
        """Give standardisation, weights and calibration as one product; None if not linear.

        All three are linear in what goes in. Folded in float64 and stored as float32, the
        probabilities are those of the head to within 1e-4 where log odds are within 30 of 0.
        """
        if self.kind != "linear":
            return None
        doubles = {name: array.astype(np.float64) for name, array in self.arrays.items()}
        weights, offsets = doubles["weights"], doubles["offsets"]
        if "mean" in doubles:
            weights = weights / doubles["scale"][:, None]
            offsets = offsets - doubles["mean"] @ weights
        if calibration is not None:
            slopes, own = np.array(calibration.slopes), np.array(calibration.offsets)
            weights, offsets = weights * slopes, offsets * slopes
            offsets = offsets + (own[1:] - own[:1] if self.link == BINARY else own)
        arrays = {"weights": weights.astype(np.float32), "offsets": offsets.astype(np.float32)}
        return type(self)(self.kind, self.link, self.width, arrays)

    def to_plain(self) -> dict[str, Any]:
        """Give plain data of a linear form, for a card."""
        return {"link": self.link, **{name: self.arrays[name].tolist() for name in _LINEAR}}

    @classmethod
    def of_plain(cls, content: Mapping[str, Any], width: int) -> Self:
        """Read plain data of a linear form back; raises what Python raises on bad data."""
        arrays = {name: np.array(content[name], np.float32) for name in _LINEAR}
        return cls("linear", str(content["link"]), width, arrays)


def _shapes(arrays: Arrays, **wanted: tuple[int, ...]) -> None:
    for name, shape in wanted.items():
        if arrays[name].shape != shape:
            raise ValueError(f"array {name} has shape {arrays[name].shape}, not {shape}")


def _check_linear(arrays: Arrays, width: int) -> int:
    count = arrays["offsets"].size
    _shapes(arrays, weights=(width, count), offsets=(count,))
    return count


def _linear(arrays: Arrays, vectors: Doubles) -> Doubles:
    found: Doubles = vectors @ arrays["weights"] + arrays["offsets"]
    return found


def _layers(arrays: Arrays) -> int:
    return sum(name.startswith("weights") for name in arrays)


def _check_mlp(arrays: Arrays, width: int) -> int:
    for layer in range(max(1, _layers(arrays))):
        size = arrays[f"offsets{layer}"].size
        _shapes(arrays, **{f"weights{layer}": (width, size), f"offsets{layer}": (size,)})
        width = size
    return width


def _mlp(arrays: Arrays, vectors: Doubles) -> Doubles:
    last = _layers(arrays) - 1
    for layer in range(last + 1):
        vectors = vectors @ arrays[f"weights{layer}"] + arrays[f"offsets{layer}"]
        if layer < last:
            vectors = np.maximum(vectors, 0)
    return vectors


def _check_gp(arrays: Arrays, width: int) -> int:
    count = arrays["weights"].size
    _shapes(arrays, rows=(count, width), weights=(count,), numbers=(3,))
    if arrays["numbers"][0] <= 0:
        raise ValueError("a length scale that is not positive")
    return 1


def _gp(arrays: Arrays, vectors: Doubles) -> Doubles:
    length, factor, mean = arrays["numbers"].astype(np.float64)
    rows = arrays["rows"].astype(np.float64) / length
    found = np.empty((len(vectors), 1))
    step = max(1, _BLOCK // max(1, len(rows)))
    for start in range(0, len(vectors), step):
        part = vectors[start : start + step] / length
        squares = (part**2).sum(1)[:, None] + (rows**2).sum(1) - 2 * part @ rows.T
        kernel = np.exp(-0.5 * np.maximum(squares, 0))
        found[start : start + step, 0] = factor * (kernel @ arrays["weights"]) + mean
    return found


def _check_trees(arrays: Arrays, width: int) -> int:
    trees, nodes, count = arrays["start"].size, arrays["value"].size, arrays["offsets"].size
    _shapes(arrays, start=(trees,), column=(trees,), offsets=(count,))
    _shapes(arrays, **dict.fromkeys(_NODE, (nodes,)))
    left, right, own = arrays["left"], arrays["right"], np.arange(nodes)
    inner = (left != own) | (right != own)
    for child in (left, right):
        # Children come after their parent, so every walk ends.
        if ((child <= own) | (child >= nodes))[inner].any():
            raise ValueError("a tree points to nodes that it does not have")
    for name, most in (("feature", width), ("start", nodes), ("column", count)):
        if ((arrays[name] < 0) | (arrays[name] >= most)).any():
            raise ValueError(f"a tree has a {name} outside 0 to {most - 1}")
    if np.isnan(arrays["threshold"]).any():
        raise ValueError("a tree has a threshold that is NaN")
    return count


def _trees(arrays: Arrays, vectors: Doubles) -> Doubles:
    feature, threshold, left, right, value = (arrays[name] for name in _NODE)
    found = np.tile(arrays["offsets"].astype(np.float64), (len(vectors), 1))
    step = max(1, _BLOCK // max(1, len(arrays["start"])))
    for start in range(0, len(vectors), step):
        part = vectors[start : start + step]
        rows = np.arange(len(part))[:, None]
        at, moved = np.tile(arrays["start"], (len(part), 1)), True
        while moved:
            goes_left = part[rows, feature[at]] <= threshold[at]
            then = np.where(goes_left, left[at], right[at])
            at, moved = then, bool((then != at).any())
        for column in range(found.shape[1]):
            own = value[at[:, arrays["column"] == column]]
            found[start : start + step, column] += own.sum(axis=1)
    return found


_CHECKS = {"linear": _check_linear, "mlp": _check_mlp, "gp": _check_gp, "trees": _check_trees}
_SCORES = {"linear": _linear, "mlp": _mlp, "gp": _gp, "trees": _trees}
