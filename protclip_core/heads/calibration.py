"""From what a head says to a probability that holds on proteins it has not seen.

Where exactly one class is right, the probabilities p become those that are proportional to
``p ** slope * exp(offset of the class)`` (vector scaling with one slope; Guo et al., ICML 2017).
Where each label is a question of its own, its log odds become ``slope * log odds + offset``, with
a slope and an offset of its own (Platt scaling). A slope is never negative, so a label ranks
proteins as before; offsets take back the shift that class weights have made.

Legend: N vectors, C classes or labels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from protclip_core.measure.calibration import sigmoid

__all__ = ["LEAST", "HeadCalibration", "log_odds", "softmax"]

#: Probabilities nearer to 0 or 1 than this are taken for this.
LEAST = 1e-15
#: No fit gives slopes or offsets beyond this.
MOST = 1e6


@dataclass(frozen=True)
class HeadCalibration:
    """A calibration; see the module.

    Attributes
    ----------
    slopes
        One where one class is right, else one of each label; more than 0.
    offsets
        One of each class or label.
    """

    slopes: tuple[float, ...]
    offsets: tuple[float, ...]

    def __post_init__(self) -> None:
        numbers = [*self.slopes, *self.offsets]
        if not all(abs(number) <= MOST for number in numbers):  # false for NaN as well
            raise ValueError("a calibration with a number out of range")
        if not self.offsets or len(self.slopes) not in (1, len(self.offsets)):
            raise ValueError(f"{len(self.slopes)} slopes for {len(self.offsets)} offsets")
        if min(self.slopes) <= 0:
            raise ValueError(f"a slope of {min(self.slopes)}")

    @classmethod
    def of_plain(cls, content: Mapping[str, Any]) -> HeadCalibration:
        """Read it from the plain data of a card; raises what Python raises on bad data."""
        return cls(tuple(map(float, content["slopes"])), tuple(map(float, content["offsets"])))

    def apply(self, probabilities: np.ndarray, *, multilabel: bool) -> np.ndarray:
        """Give calibrated probabilities ``(N, C)``, float64, of those of an estimator.

        Raises
        ------
        ValueError
            Another number of columns than offsets.
        """
        if probabilities.shape[1] != len(self.offsets):
            raise ValueError(f"{probabilities.shape[1]} columns, {len(self.offsets)} offsets")
        slopes, offsets = np.array(self.slopes), np.array(self.offsets)
        if multilabel:
            return sigmoid(slopes * log_odds(probabilities) + offsets)
        return softmax(slopes * np.log(np.clip(probabilities, LEAST, 1.0)) + offsets)


def log_odds(probabilities: np.ndarray) -> np.ndarray:
    """Return log odds, float64, finite for 0 and 1 too."""
    clipped = np.clip(np.asarray(probabilities, np.float64), LEAST, 1 - LEAST)
    found: np.ndarray = np.log(clipped) - np.log1p(-clipped)
    return found


def softmax(scores: np.ndarray) -> np.ndarray:
    """Return the probabilities of scores ``(N, C)``, row by row; never overflows."""
    raised = np.exp(scores - scores.max(axis=1, keepdims=True))
    found: np.ndarray = raised / raised.sum(axis=1, keepdims=True)
    return found
