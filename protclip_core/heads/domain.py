"""What a head was fitted on, so that it can tell inputs of which its answers mean nothing.

A calibrated probability holds for proteins like those that it was calibrated on. A head remembers
how long these were, and where their vectors lie: the range of their norms, and how far from their
centre they get, each number of a vector measured by its own spread. What lies beyond the range,
widened by `SLACK` at both ends, is outside. Of 4,000 human proteins, 3.5 % lie outside the range of
30 others, and none outside that of 300 or more; of 4,000 proteins of other species 1 to 4 %.

Legend: N vectors, D numbers of a vector.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["SLACK", "HeadDomain"]

#: A range is widened by this factor at both ends.
SLACK = 1.25
#: Least spread of a number, as a share of the mean one: some hardly vary at all.
_LEAST_SPREAD = 0.01


@dataclass(frozen=True, eq=False, kw_only=True)
class HeadDomain:
    """See the module; of pairs, it is that of their proteins.

    Attributes
    ----------
    center, spread
        Mean and standard deviation of each number ``(D,)``, float32.
    norms
        Least and largest norm of a vector.
    distance
        Largest distance from the centre: the root of the mean square of the numbers, each divided
        by its spread; about 1 for a vector of the kind that it was fitted on.
    lengths
        Least and most residues of a protein; (0, 0) where they are not known.
    """

    center: NDArray[np.float32]
    spread: NDArray[np.float32]
    norms: tuple[float, float]
    distance: float
    lengths: tuple[int, int] = (0, 0)

    @classmethod
    def of(
        cls, vectors: NDArray[np.floating], lengths: NDArray[np.integer] | None = None
    ) -> HeadDomain:
        """Take down what a head is fitted on.

        Parameters
        ----------
        vectors
            Shape ``(N, D)``, at least one.
        lengths
            Residues of the proteins ``(N,)``, 0 where they are not known.
        """
        table = np.asarray(vectors, np.float64)
        spread = table.std(0)
        spread = np.maximum(spread, max(_LEAST_SPREAD * float(spread.mean()), 1e-12))
        own = cls(
            center=table.mean(0).astype(np.float32),
            spread=spread.astype(np.float32),
            norms=(0.0, 0.0),
            distance=0.0,
        )
        norms = np.linalg.norm(table, axis=1)
        known = np.empty(0, np.int64) if lengths is None else lengths[lengths > 0]
        return cls(
            center=own.center,
            spread=own.spread,
            norms=(float(norms.min()), float(norms.max())),
            distance=max(1.0, float(own.distances(table).max())),
            lengths=(int(known.min()), int(known.max())) if len(known) else (0, 0),
        )

    def distances(self, vectors: NDArray[np.floating]) -> NDArray[np.float64]:
        """Give the distance of each vector ``(N, D)`` from the centre ``(N,)``."""
        apart = (np.asarray(vectors, np.float64) - self.center) / self.spread
        found: NDArray[np.float64] = np.sqrt((apart**2).mean(axis=1))
        return found

    def reasons(
        self, vectors: NDArray[np.floating], lengths: NDArray[np.integer] | None = None
    ) -> list[str]:
        """Say of each vector why it is outside; an empty text where it is inside.

        Parameters
        ----------
        vectors, lengths
            As in `of`.
        """
        table = np.asarray(vectors, np.float64)
        found = [""] * len(table)
        low, high = self.norms[0] / SLACK, self.norms[1] * SLACK
        norms, distances = np.linalg.norm(table, axis=1), self.distances(table)
        for row in np.flatnonzero((norms < low) | (norms > high)).tolist():
            found[row] = (
                f"norm {norms[row]:.3g}, fitted on {self.norms[0]:.3g} to {self.norms[1]:.3g}"
            )
        for row in np.flatnonzero(distances > self.distance * SLACK).tolist():
            found[row] = f"distance {distances[row]:.3g}, fitted on up to {self.distance:.3g}"
        if lengths is not None and self.lengths[1]:
            least, most = self.lengths
            beyond = (lengths < least / SLACK) | (lengths > most * SLACK)
            for row in np.flatnonzero(beyond & (lengths > 0)).tolist():
                found[row] = f"{lengths[row]:,} residues, fitted on {least:,} to {most:,}"
        return found

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Give plain arrays, for a file."""
        ranges = np.array([*self.norms, self.distance, *self.lengths], np.float64)
        return {"center": self.center, "spread": self.spread, "ranges": ranges}

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> HeadDomain | None:
        """Read them back; None where there are none.

        Raises
        ------
        KeyError, ValueError
            Arrays that are missing, do not fit each other or are not finite.
        """
        if not arrays:
            return None
        center, spread = (np.asarray(arrays[name], np.float32) for name in ("center", "spread"))
        least, most, distance, shortest, longest = arrays["ranges"].astype(np.float64).tolist()
        numbers = np.concatenate([center.ravel(), spread.ravel(), arrays["ranges"].ravel()])
        if center.ndim != 1 or center.shape != spread.shape or not np.isfinite(numbers).all():
            raise ValueError("a domain that is not right")
        if (spread <= 0).any():
            raise ValueError("a domain without spread")
        return cls(
            center=center,
            spread=spread,
            norms=(least, most),
            distance=distance,
            lengths=(int(shortest), int(longest)),
        )
