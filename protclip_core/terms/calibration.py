"""From a cosine to a probability: what a calibration is, and how good it is.

The log odds that a protein has a term, before anything is known of other terms, are ``slope *
go_scale * cosine + prior_weight * log_prior + offset``, a logistic regression for each aspect. A
protein that has a term has its ancestors too, so a term takes the highest of its own log odds and
those of its descendants; a maximum of many is too high, which a second, monotone step corrects. As
that step keeps the order, it may be taken before the maximum: then no term is above an ancestor,
whatever the aspects of the two.

Legend: K knots.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from protclip_core.errors import ModelError, UsageError
from protclip_core.io.json_fields import one_line

__all__ = [
    "MOST_KNOTS",
    "AspectCalibration",
    "Calibration",
]

MOST_KNOTS = 64


@dataclass(frozen=True)
class AspectCalibration:
    """The calibration of one aspect.

    Attributes
    ----------
    slope, prior_weight, offset
        Of the logistic regression; the first two are not negative.
    knots
        Pairs of log odds, before and after the monotone step, both rising. Between two knots the
        step is linear, beyond the outermost ones it is a shift; without knots it does nothing.
    proteins
        Proteins that it was fitted on.
    """

    slope: float = 1.0
    prior_weight: float = 0.0
    offset: float = 0.0
    knots: tuple[tuple[float, float], ...] = ()
    proteins: int = 0

    def __post_init__(self) -> None:
        numbers = [self.slope, self.prior_weight, self.offset, *np.ravel(self.knots)]
        rising = all(a < c and b < d for (a, b), (c, d) in zip(self.knots, self.knots[1:]))
        if not all(math.isfinite(number) for number in numbers):
            raise UsageError("a calibration holds NaN or infinity", code="usage.bad_calibration")
        if self.slope < 0 or self.prior_weight < 0 or not rising or len(self.knots) > MOST_KNOTS:
            raise UsageError(
                f"a calibration would not keep the order of scores: {self}",
                code="usage.bad_calibration",
            )

    def correct(self, log_odds: np.ndarray) -> np.ndarray:
        """Apply the monotone step; any shape, float64."""
        return _broken_line(log_odds, [a for a, _ in self.knots], [b for _, b in self.knots])

    def uncorrect(self, log_odds: np.ndarray) -> np.ndarray:
        """Undo `correct`; any shape, float64."""
        return _broken_line(log_odds, [b for _, b in self.knots], [a for a, _ in self.knots])

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "slope": self.slope,
            "prior_weight": self.prior_weight,
            "offset": self.offset,
            "knots": [list(knot) for knot in self.knots],
            "proteins": self.proteins,
        }

    @classmethod
    def from_dict(cls, content: Any, where: str) -> AspectCalibration:
        """Read what `to_dict` gave.

        Raises
        ------
        ModelError
            Anything else.
        """
        names = {"slope", "prior_weight", "offset", "knots", "proteins"}
        try:
            if set(content) != names or len(content["knots"]) > MOST_KNOTS:
                raise ValueError("other fields than a calibration has")
            return cls(
                slope=_number(content["slope"]),
                prior_weight=_number(content["prior_weight"]),
                offset=_number(content["offset"]),
                knots=tuple((_number(a), _number(b)) for a, b in content["knots"]),
                proteins=int(_number(content["proteins"])),
            )
        except (ValueError, TypeError, OverflowError, UsageError) as error:
            raise ModelError(
                f"holds no calibration ({one_line(str(error), 80)})",
                code="model.bad_calibration",
                where=where,
                hint="make the GO index again",
            ) from error


@dataclass(frozen=True)
class Calibration:
    """The calibrations of all aspects, and the model that they are of.

    Attributes
    ----------
    aspects
        In the order of the ontology's ``aspect_names``.
    weights_sha256
        Hash of the weights of that model; a calibration says nothing of another.
    """

    aspects: tuple[AspectCalibration, ...]
    weights_sha256: str


def _broken_line(values: np.ndarray, sources: Sequence[float], targets: Sequence[float]) -> Any:
    """Follow straight lines between points, and lines of slope 1 beyond them."""
    values = np.asarray(values, dtype=np.float64)
    if not sources:
        return values
    inside = np.interp(values, sources, targets)
    below = np.minimum(values - sources[0], 0.0)
    above = np.maximum(values - sources[-1], 0.0)
    return inside + below + above


def _number(value: Any) -> float:
    if type(value) not in (int, float):
        raise ValueError(f"{value!r} is not a number")
    return float(value)
