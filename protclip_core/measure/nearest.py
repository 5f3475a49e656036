"""The nearest of any number of vectors, exactly: blocks in, the best k of each query out.

Each block goes through one matrix product in float32. What could be among the best k, give or take
what such a product may be off by, is computed again one by one in float64, and ranked by that,
rounded to float32. So a score, and with it the order of the hits, depends on the query and the
vector alone: not on the size of the blocks, not on the other queries. Vectors of equal score are
in the order of their rows.

Memory holds one block and the best k of each query, however many vectors come.

Legend: Q queries, N vectors, n vectors of a block, P width, k neighbours requested.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from protclip_core.errors import InputError, UsageError

__all__ = ["METRICS", "Nearest", "Neighbours", "block_rows", "nearest", "usable_rows"]

METRICS = ("cosine", "inner")

_BLOCK_BYTES = 8 << 20  # of vectors: large enough for the product, small enough for the caches
_QUERY_CHUNK = 1024  # queries of one product
_CANDIDATE_CHUNK = 2048  # rows that are computed again together
_ROUNDING = float(np.finfo(np.float32).eps) / 2
_LOWEST = np.finfo(np.float32).min  # any score of a usable vector is at least this
# Sums of squares outside of this range have lost digits, or are 0 or infinite without need.
_SMALL_SQUARE, _LARGE_SQUARE = 1e-30, 1e30

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Neighbours:
    """The nearest vectors of each query, best first.

    Attributes
    ----------
    rows
        Row numbers ``(Q, k)`` int64; -1 where there are fewer than k.
    scores
        Cosines or inner products ``(Q, k)`` float32; NaN where there are fewer than k.
    left_out
        Vectors that are zero or not finite, so have no cosine.
    first_left_out
        Row of the first of them; -1 where there is none.
    """

    rows: Rows
    scores: Floats
    left_out: int = 0
    first_left_out: int = -1


def nearest(
    queries: npt.ArrayLike,
    vectors: Floats | Iterable[Floats],
    k: int,
    *,
    metric: str = "cosine",
    min_score: float | None = None,
    exclude: npt.ArrayLike | None = None,
) -> Neighbours:
    """Find the k nearest vectors of each query.

    Parameters
    ----------
    queries
        Shape ``(Q, P)``; of any length other than 0 for cosines.
    vectors
        An array ``(N, P)``, in memory or mapped from a file, or its blocks ``(n, P)`` in order.
        Vectors with a value that is not finite are left out and counted, for cosines those of
        zeros as well.
    k
        At least 1; may be more than N.
    metric
        ``"cosine"`` or ``"inner"`` (product).
    min_score
        Only vectors of at least this score.
    exclude
        For each query the row that is not to be found ``(Q,)``, such as its own; -1 for none.

    Raises
    ------
    UsageError
        k below 1, an unknown metric, or shapes that do not fit.
    InputError
        A query that is not finite or, for cosines, zero; by its number from 1.
    """
    search = Nearest(queries, k, metric=metric, min_score=min_score, exclude=exclude)
    for block in _blocks(vectors):
        search.add(block)
    return search.result()


class Nearest:
    """A search that is given its blocks one by one; parameters and errors as of `nearest`."""

    def __init__(
        self,
        queries: npt.ArrayLike,
        k: int,
        *,
        metric: str = "cosine",
        min_score: float | None = None,
        exclude: npt.ArrayLike | None = None,
    ) -> None:
        if k < 1:
            raise UsageError(
                f"{k} nearest cannot be found", code="usage.bad_value", hint="ask for 1 or more"
            )
        if metric not in METRICS:
            raise UsageError(
                f"metric {metric!r} is not known",
                code="usage.unknown_value",
                hint="use cosine or inner",
            )
        if min_score is not None and not np.isfinite(min_score):
            raise UsageError(
                f"{min_score} is not a lowest score", code="usage.bad_value", hint="give a number"
            )
        self._cosine = metric == "cosine"
        self._min_score = min_score
        self._exact = self._read_queries(queries)
        self._queries = self._exact.astype(np.float32)
        count = len(self._exact)
        self._exclude = np.full(count, -1) if exclude is None else np.asarray(exclude, np.int64)
        if self._exclude.shape != (count,):
            raise UsageError(
                f"{self._exclude.shape} rows to exclude for {count} queries",
                code="usage.shape_mismatch",
            )
        # Of a product in float32, and of a length: an upper bound (Higham 2002, section 3.1).
        width = self._exact.shape[1]
        self._rounding = 2 * (width + 8) * _ROUNDING * np.linalg.norm(self._exact, axis=1)
        self._rows = np.full((count, k), -1, np.int64)
        self._scores = np.full((count, k), -np.inf, np.float32)
        self._seen = self._left_out = 0
        self._first_left_out = -1

    def _read_queries(self, queries: npt.ArrayLike) -> Doubles:
        """Return the queries ``(Q, P)`` in float64, of unit length for cosines."""
        exact = np.array(queries, np.float64)
        if exact.ndim != 2:
            raise UsageError(
                f"queries of shape {exact.shape}",
                code="usage.shape_mismatch",
                hint="give an array of (Q, P)",
            )
        lengths = np.linalg.norm(exact, axis=1)
        bad = np.flatnonzero(~np.isfinite(lengths) | (self._cosine & (lengths == 0)))
        if len(bad):
            raise InputError(
                "is zero or not finite", code="input.no_usable_vector", where=f"query {bad[0] + 1}"
            )
        return exact / lengths[:, None] if self._cosine else exact

    def add(self, block: npt.ArrayLike) -> None:
        """Take the next n vectors ``(n, P)``; their rows follow those taken before."""
        values = np.asarray(block, np.float32)
        if values.ndim != 2 or values.shape[1] != self._queries.shape[1]:
            raise UsageError(
                f"vectors of shape {values.shape} for queries of {self._queries.shape[1]} numbers",
                code="usage.shape_mismatch",
            )
        if not len(values):
            return
        values, squares, usable = self._prepare(values)
        bad = np.flatnonzero(~usable)
        if len(bad) and not self._left_out:
            self._first_left_out = self._seen + int(bad[0])
        self._left_out += len(bad)
        with np.errstate(under="ignore", over="ignore"):
            for start in range(0, len(self._queries), _QUERY_CHUNK):
                chosen = slice(start, start + _QUERY_CHUNK)
                scores = values @ self._queries[chosen].T
                if self._cosine:
                    scores *= (1 / np.sqrt(squares))[:, None]
                scores[bad] = -np.inf
                self._take(values, scores, chosen, float(np.sqrt(squares.max())))
        self._seen += len(values)

    def _prepare(self, values: Floats) -> tuple[Floats, Floats, npt.NDArray[np.bool_]]:
        """Return vectors fit for a product, their squared lengths, and which of them count.

        For cosines, those of extreme length come back at unit length; what does not count
        becomes a vector of ones, so that it raises no warnings on its way.
        """
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            squares = np.einsum("ij,ij->i", values, values)
        odd = np.flatnonzero(~((squares > _SMALL_SQUARE) & (squares < _LARGE_SQUARE)))
        usable = np.ones(len(values), bool)
        if len(odd):
            values = values.copy()
            exact = values[odd].astype(np.float64)
            lengths = np.linalg.norm(exact, axis=1)
            usable[odd] = np.isfinite(lengths) & (not self._cosine or lengths > 0)
            if self._cosine:
                good = usable[odd]
                values[odd[good]] = exact[good] / lengths[good, None]
            values[~usable] = 1.0
            with np.errstate(over="ignore", under="ignore"):
                squares[odd] = np.einsum("ij,ij->i", values[odd], values[odd])
        return values, squares, usable

    def _take(self, values: Floats, scores: Floats, chosen: slice, longest: float) -> None:
        """Keep what of a block is among the best k; ``scores`` are rounded, ``(n, Q)``."""
        best, rounding = self._scores[chosen], self._rounding[chosen]
        if not self._cosine:
            rounding = rounding * longest
        unwanted = self._exclude[chosen] - self._seen
        here = np.flatnonzero((unwanted >= 0) & (unwanted < len(scores)))
        scores[unwanted[here], here] = -np.inf
        floor = best[:, -1] - rounding
        k, fresh = best.shape[1], np.flatnonzero(best[:, -1] == -np.inf)
        if len(fresh) and len(scores) > k:
            # No k-th best yet to measure against: the block's own.
            own = np.partition(scores[:, fresh].T, len(scores) - k, axis=1)[:, len(scores) - k]
            floor[fresh] = own - 2 * rounding[fresh]
        lowest = _LOWEST if self._min_score is None else self._min_score - rounding
        floor = np.maximum(floor, lowest).astype(np.float32)
        # Rounded down, since rounding to float32 may have gone up.
        floor = np.maximum(np.nextafter(floor, np.float32(-np.inf)), _LOWEST)
        found = np.flatnonzero(scores >= floor)
        if len(found):
            rows, queries = np.divmod(found, scores.shape[1])
            queries += chosen.start
            self._merge(queries, rows + self._seen, self._score(values, rows, queries))

    def _score(self, values: Floats, rows: Rows, queries: Rows) -> Floats:
        """Score pairs of a vector and a query, each by itself."""
        found = np.empty(len(rows), np.float32)
        for start in range(0, len(rows), _CANDIDATE_CHUNK):
            some = slice(start, start + _CANDIDATE_CHUNK)
            exact = values[rows[some]].astype(np.float64)
            products = np.einsum("ij,ij->i", exact, self._exact[queries[some]])
            if self._cosine:
                products /= np.sqrt(np.einsum("ij,ij->i", exact, exact))
                products = np.clip(products, -1.0, 1.0)
            found[some] = products
        return found

    def _merge(self, queries: Rows, rows: Rows, scores: Floats) -> None:
        """Put pairs among the best k of their queries; the others are not touched or sorted."""
        if self._min_score is not None:
            good = scores >= np.float32(self._min_score)
            queries, rows, scores = queries[good], rows[good], scores[good]
        concerned = np.unique(queries)
        k = self._rows.shape[1]
        held = self._rows[concerned]
        queries = np.concatenate([np.repeat(concerned, k)[held.ravel() >= 0], queries])
        scores = np.concatenate([self._scores[concerned][held >= 0], scores])
        rows = np.concatenate([held[held >= 0], rows])
        order = np.lexsort((rows, -scores, queries))
        queries, rows, scores = queries[order], rows[order], scores[order]
        rank = np.arange(len(queries)) - np.searchsorted(queries, queries)
        kept = rank < k
        self._rows[queries[kept], rank[kept]] = rows[kept]
        self._scores[queries[kept], rank[kept]] = scores[kept]

    def result(self) -> Neighbours:
        """Return the nearest of all that was added so far."""
        scores = np.where(self._rows >= 0, self._scores, np.float32(np.nan))
        return Neighbours(self._rows.copy(), scores, self._left_out, self._first_left_out)


def block_rows(dim: int) -> int:
    """Return how many vectors of this width make a good block."""
    return max(256, _BLOCK_BYTES // (4 * max(1, dim)))


def usable_rows(vectors: npt.NDArray[np.floating]) -> npt.NDArray[np.bool_]:
    """Tell which vectors ``(n, P)`` have a direction: all finite and not all zero."""
    usable: npt.NDArray[np.bool_] = np.isfinite(vectors).all(axis=1) & vectors.any(axis=1)
    return usable


def _blocks(vectors: Floats | Iterable[Floats]) -> Iterator[Floats]:
    if not isinstance(vectors, np.ndarray):
        yield from vectors
        return
    if vectors.ndim != 2:
        raise UsageError(
            f"vectors of shape {vectors.shape}",
            code="usage.shape_mismatch",
            hint="give an array of (N, P)",
        )
    size = block_rows(vectors.shape[1])
    for start in range(0, len(vectors), size):
        yield vectors[start : start + size]
