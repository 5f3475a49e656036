"""Score pairs of unit vectors with a head: listed ones, or all of two blocks.

A linear head on the parts of a recipe (`protclip_core.heads.pair_features`) falls apart: its sum
and squares belong to one protein each, its product and cosine are a matrix product of two blocks,
and its absolute difference is a sum of weighted distances along single numbers. So all pairs are
scored without the features of any of them.

The sums are computed in whole numbers that float64 holds exactly: vectors and weights are rounded
to a grid that is fine enough for more digits than float32 has, and coarse enough that no sum, of
whatever order, leaves the 53 bits. A score therefore depends on its two vectors and the head alone:
it is the same to the last digit in both orders, listed or in a block, whatever else is scored and
by however many threads. (Of unit vectors, sums are bounded by the inequality of Cauchy and
Schwarz.)

Other heads get the features, in blocks.

Legend: n and m vectors or pairs, D width of a vector, K columns of scores, C classes or labels.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from protclip_core.heads.head import Head
from protclip_core.heads.pair_features import (
    embedding_input,
    pair_features,
    parts_of,
    recipe_of,
)

__all__ = ["PairScorer"]

Doubles = npt.NDArray[np.float64]
Floats = npt.NDArray[np.float32]
#: Parts that belong to one protein each.
_OWN = ("sum", "squares")
#: Bits of the grids: of both factors of a product, of both of what is one protein's, and of a
#: difference, of which D (2^16 at most) are added.
_FACTOR, _VECTOR, _WEIGHT, _DIFFERENCE = 25, 25, 25, 42
#: Pairs, and numbers of features, that are looked at together.
_PAIRS, _NUMBERS = 128, 1 << 22
#: Bytes of vectors on their grids that are kept for further lists.
_KEPT_BYTES = 1 << 29


class _Column(NamedTuple):
    """What one column of scores needs."""

    own: dict[str, tuple[Doubles, float]]  # part: whole weights (D), what one of them is worth
    factor: Doubles  # (D), what a number of a vector becomes a factor by
    signs: Doubles  # (D), of the products
    of_product: float
    distance: Doubles | None  # (D), as factor
    distance_signs: Doubles | None
    of_distance: float


class _Ready(NamedTuple):
    """Vectors of some proteins on the grids of one column."""

    own: Doubles  # (n)
    signed: Doubles  # (n, D), factors with the signs of the products
    factors: Doubles  # (n, D)
    distances: Doubles | None  # (n, D)
    distance_sums: Doubles | None  # (n), with signs


class PairScorer:
    """Probabilities of pairs.

    Parameters
    ----------
    head
        A head for pairs.
    where
        Name of its file, for messages.

    Raises
    ------
    ModelError
        A head for single proteins, or a recipe that is not known.

    Examples
    --------
    >>> from importlib.resources import files
    >>> from protclip_core import PairScorer, load_head, load_model
    >>> bundle = files("protclip_core") / "bundled/protclip-mini"
    >>> scorer = PairScorer(load_head(str(bundle / "ppi.head")))
    >>> vectors = load_model(device="cpu").embed_proteins(["MKTAYIAKQR", "MSLLTEVETY"])
    >>> scorer.listed(vectors, [0], [1]).shape
    (1, 1)
    """

    def __init__(self, head: Head, where: str = "head") -> None:
        self.head = head
        self.labels = head.card.labels
        self.recipe = recipe_of(head.card.input, where)
        self.dim = embedding_input(head.card.input, where).width
        linear = head.linear
        self.columns: list[_Column] | None = None
        if linear is not None and linear.link in ("binary", "labels"):
            self._offsets = linear.arrays["offsets"].astype(np.float64)
            self.columns = [self._column(w) for w in linear.arrays["weights"].T.astype(np.float64)]
        self.binary = not head.card.multilabel
        self._kept: tuple[Floats, list[_Ready]] | None = None

    @property
    def is_linear(self) -> bool:
        """Whether pairs are scored without their features."""
        return self.columns is not None

    @property
    def answers(self) -> int:
        """Columns of what is answered: 1 for two classes, else one a label."""
        return 1 if self.binary else len(self.labels)

    def keep(self, vectors: Floats) -> None:
        """Get vectors ``(n, D)`` ready for many calls of `listed` with the same array.

        Nothing is done where they would take too much memory, or where features are needed.
        """
        if self.columns is not None and 24 * vectors.size * len(self.columns) <= _KEPT_BYTES:
            self._kept = (vectors, [_prepare(column, vectors) for column in self.columns])

    def listed(self, vectors: Floats, a: npt.ArrayLike, b: npt.ArrayLike) -> Floats:
        """Score pairs of rows.

        Parameters
        ----------
        vectors
            Unit vectors ``(n, D)``.
        a, b
            Rows of both partners ``(m,)``.

        Returns
        -------
        numpy.ndarray
            ``(m, answers)`` float32: the probability of the second class, or of each label.
        """
        first, second = np.asarray(a, np.int64), np.asarray(b, np.int64)
        if not len(first):
            return np.empty((0, self.answers), np.float32)
        if self.columns is None:
            return self._from_features(vectors, first, second)
        if self._kept is not None and self._kept[0] is vectors:
            prepared = self._kept[1]
        else:
            needed, places = np.unique(np.concatenate([first, second]), return_inverse=True)
            first, second = places[: len(first)], places[len(first) :]
            prepared = [_prepare(column, vectors[needed]) for column in self.columns]
        scores = np.empty((len(first), len(self.columns)))
        for number, (column, ready) in enumerate(zip(self.columns, prepared, strict=True)):
            scores[:, number] = _score_listed(column, ready, first, second)
        return self._link(scores)

    def block(self, one: Floats, other: Floats) -> Floats:
        """Score all pairs of two blocks of unit vectors ``(n, D)`` and ``(m, D)``.

        Returns
        -------
        numpy.ndarray
            ``(n, m, answers)`` float32, as `listed`.
        """
        shape = (len(one), len(other))
        if self.columns is None:
            both = np.concatenate([one, other])
            rows = np.repeat(np.arange(len(one)), len(other))
            columns = np.tile(np.arange(len(other)), len(one)) + len(one)
            return self._from_features(both, rows, columns).reshape(*shape, self.answers)
        scores = np.empty((*shape, len(self.columns)))
        for number, column in enumerate(self.columns):
            scores[..., number] = _score_block(
                column, _prepare(column, one), _prepare(column, other)
            )
        return self._link(scores)

    def _from_features(
        self, vectors: Floats, a: npt.NDArray[np.integer], b: npt.NDArray[np.integer]
    ) -> Floats:
        # Both orders of a pair go through the same row: an estimator may round rows of a table
        # differently by their place.
        low, high = np.minimum(a, b), np.maximum(a, b)
        pairs, places = np.unique(low * len(vectors) + high, return_inverse=True)
        low, high = np.divmod(pairs, len(vectors))
        found = np.empty((len(pairs), self.answers), np.float32)
        step = max(1, _NUMBERS // self.head.card.input.width)
        for start in range(0, len(pairs), step):
            rows = slice(start, start + step)
            features = pair_features(vectors[low[rows]], vectors[high[rows]], self.recipe)
            said = self.head.predict_proba(features)
            found[rows] = said[:, 1:] if self.binary else said
        return found[places]

    def _link(self, scores: Doubles) -> Floats:
        scores += self._offsets
        np.clip(scores, -700, 700, out=scores)
        np.negative(scores, out=scores)
        np.exp(scores, out=scores)
        scores += 1
        return np.reciprocal(scores, out=scores).astype(np.float32)

    def _column(self, weights: Doubles) -> _Column:
        parts = {part: weights[at] for part, at in parts_of(self.recipe, self.dim).items()}
        product = parts["product"] + parts["cosine"]  # a cosine is a product of unit vectors
        own = {name: _whole(weights) for name, weights in parts.items() if name in _OWN}
        most = float(np.abs(product).max())
        factor = np.sqrt(np.abs(product) / most) * 2.0**_FACTOR if most else np.zeros(self.dim)
        distance, signs, worth = None, None, 0.0
        if "difference" in parts:
            largest = float(np.abs(parts["difference"]).max())
            signs = np.sign(parts["difference"])
            grid = 2.0 ** (_DIFFERENCE - np.ceil(np.log2(self.dim) / 2))
            distance = np.abs(parts["difference"]) / (largest or 1.0) * grid
            worth = largest / grid
        return _Column(
            own, factor, np.sign(product), most * 4.0**-_FACTOR, distance, signs, float(worth)
        )


def _whole(weights: Doubles) -> tuple[Doubles, float]:
    length = float(np.linalg.norm(weights)) or 1.0
    return np.rint(weights / length * 2.0**_WEIGHT), length * 2.0 ** -(_WEIGHT + _VECTOR)


def _prepare(column: _Column, vectors: Floats) -> _Ready:
    exact = vectors.astype(np.float64)
    own = np.zeros(len(exact))
    for part, (weights, worth) in column.own.items():
        values = exact if part == "sum" else exact * exact
        own += (np.rint(values * 2.0**_VECTOR) @ weights) * worth
    factors = np.rint(exact * column.factor)
    distances = sums = None
    if column.distance is not None:
        distances = np.rint(exact * column.distance)
        sums = distances @ column.distance_signs
    return _Ready(own, factors * column.signs, factors, distances, sums)


def _score_listed(
    column: _Column, ready: _Ready, a: npt.NDArray[np.integer], b: npt.NDArray[np.integer]
) -> Doubles:
    scores: Doubles = ready.own[a] + ready.own[b]
    one, other = np.empty((2, min(_PAIRS, len(a)), ready.factors.shape[1]))
    for start in range(0, len(a), _PAIRS):
        rows = slice(start, start + _PAIRS)
        first, second, found = a[rows], b[rows], scores[rows]
        x, y = one[: len(first)], other[: len(first)]
        np.take(ready.signed, first, axis=0, out=x, mode="clip")
        np.take(ready.factors, second, axis=0, out=y, mode="clip")
        found += np.einsum("ij,ij->i", x, y) * column.of_product
        if ready.distances is not None:
            assert ready.distance_sums is not None
            assert column.distance_signs is not None
            np.take(ready.distances, first, axis=0, out=x, mode="clip")
            np.take(ready.distances, second, axis=0, out=y, mode="clip")
            # |x - y| is twice the larger one without both.
            np.maximum(x, y, out=x)
            apart = 2 * (x @ column.distance_signs)
            apart -= ready.distance_sums[first] + ready.distance_sums[second]
            found += apart * column.of_distance
    return scores


def _score_block(column: _Column, one: _Ready, other: _Ready) -> Doubles:
    products = one.signed @ other.factors.T
    products *= column.of_product
    scores: Doubles = (one.own[:, None] + other.own[None, :]) + products
    if one.distances is not None and other.distances is not None:
        from scipy.spatial.distance import cdist

        assert column.distance_signs is not None
        total = np.zeros(scores.shape)
        for sign in (1.0, -1.0):
            chosen = column.distance_signs == sign
            if chosen.any():
                near, far = one.distances[:, chosen], other.distances[:, chosen]
                total += sign * cdist(near, far, "cityblock")
        total *= column.of_distance
        scores += total
    return scores
