"""Similarities of pairs of vectors: of listed pairs, or of all pairs of two blocks.

``cosine``
    From -1 to 1.
``manhattan``
    ``1 - |a - b| / (|a| + |b|)``, where ``|x|`` is the sum of absolute values: the Manhattan
    similarity of PROBE (Unsal et al. 2022, Nature Machine Intelligence 4, semantic similarity
    inference), from 0 to 1. The vectors are taken as they are, not at unit length.

Blocks go through one matrix product (cosines) or one loop in C (Manhattan) in float64, and results
are rounded to float32. Where the rounding would be decided by what such a sum may be off by, the
pair is computed again by itself. So a score depends on its two vectors alone: it is the same for a
listed pair as in a matrix, for any size of blocks, and for both orders of the two.

Legend: M pairs, n and m vectors of two blocks, P width.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from protclip_core.errors import UsageError

__all__ = ["METRICS", "Block", "block_scores", "pair_scores"]

METRICS = ("cosine", "manhattan")
_ROUNDING = float(np.finfo(np.float64).eps)
#: Pairs that are computed again together.
_AGAIN = 4096

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Block:
    """Vectors ready to be compared; make one with `Block.of`.

    Attributes
    ----------
    values
        Shape ``(n, P)`` float64; of unit length for cosines.
    sizes
        Sums of absolute values ``(n,)``; of use for Manhattan similarities only.
    """

    values: Doubles
    sizes: Doubles

    @classmethod
    def of(cls, vectors: npt.ArrayLike, metric: str) -> Block:
        """Make a block of vectors ``(n, P)``.

        A vector of zeros has no direction; its cosines are NaN. Values that are not finite give
        NaN with either metric.

        Raises
        ------
        UsageError
            An unknown metric, or no array of two dimensions.
        """
        if metric not in METRICS:
            raise UsageError(
                f"metric {metric!r} is not known",
                code="usage.unknown_value",
                hint=f"use {', '.join(METRICS)}",
            )
        values = np.array(vectors, np.float64, order="C")
        if values.ndim != 2:
            raise UsageError(
                f"vectors of shape {values.shape}",
                code="usage.shape_mismatch",
                hint="give an array of (n, P)",
            )
        values[~np.isfinite(values).all(axis=1)] = np.nan
        if metric == "cosine":
            lengths = np.sqrt(np.einsum("ij,ij->i", values, values))
            lengths[lengths == 0] = np.nan
            return cls(values / lengths[:, None], np.ones(len(values)))
        return cls(values, np.abs(values).sum(axis=1))

    def __len__(self) -> int:
        return len(self.values)

    def take(self, rows: npt.NDArray[np.int64]) -> Block:
        """Return some of the vectors, in the order requested."""
        return Block(self.values[rows], self.sizes[rows])


def pair_scores(left: Block, right: Block, metric: str) -> Floats:
    """Compare each vector of ``left`` with the one of ``right`` at its place.

    Returns
    -------
    numpy.ndarray
        Shape ``(M,)``, float32.

    Raises
    ------
    UsageError
        The blocks do not have the same shape.
    """
    if left.values.shape != right.values.shape:
        raise UsageError(
            f"{left.values.shape} and {right.values.shape} are not pairs of vectors",
            code="usage.shape_mismatch",
        )
    return _exact(left, right, metric).astype(np.float32)


def block_scores(left: Block, right: Block, metric: str) -> Floats:
    """Compare all vectors of one block with all of another.

    Returns
    -------
    numpy.ndarray
        Shape ``(n, m)``, float32.

    Raises
    ------
    UsageError
        The blocks do not have the same width.
    """
    width = left.values.shape[1]
    if right.values.shape[1] != width:
        raise UsageError(
            f"vectors of {width} and of {right.values.shape[1]} numbers",
            code="usage.shape_mismatch",
        )
    if metric == "cosine":
        found = np.clip(left.values @ right.values.T, -1.0, 1.0)
    else:
        from scipy.spatial.distance import cdist

        distances = cdist(left.values, right.values, "cityblock")
        found = _manhattan(distances, left.sizes[:, None] + right.sizes[None, :])
    # An upper bound of what a sum of P products, each at most 1, is off by, with room.
    tolerance = 4 * (width + 8) * _ROUNDING
    result = (found + tolerance).astype(np.float32)
    unsure = np.argwhere(result != (found - tolerance).astype(np.float32))
    unsure = unsure[~np.isnan(found[unsure[:, 0], unsure[:, 1]])]
    for start in range(0, len(unsure), _AGAIN):
        rows, columns = unsure[start : start + _AGAIN].T
        result[rows, columns] = pair_scores(left.take(rows), right.take(columns), metric)
    return result


def _exact(left: Block, right: Block, metric: str) -> Doubles:
    """Compute each pair by itself, ``(M,)``."""
    if metric == "cosine":
        products = np.einsum("ij,ij->i", left.values, right.values)
        return np.clip(products, -1.0, 1.0)
    distances = np.abs(left.values - right.values).sum(axis=1)
    return _manhattan(distances, left.sizes + right.sizes)


def _manhattan(distances: Doubles, sizes: Doubles) -> Doubles:
    """Turn distances into similarities; two vectors of zeros are alike."""
    shares = np.divide(distances, sizes, out=np.zeros_like(distances), where=sizes != 0)
    found: Doubles = np.clip(1.0 - shares, 0.0, 1.0)
    return found
