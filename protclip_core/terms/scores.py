"""Proteins against all terms of a GO index: cosines, log odds, and who is above a threshold.

All of 42,000 terms go through one matrix product; only what may come above the threshold is looked
at further. Its cosines are then computed anew, each pair by itself, so that a score depends on the
protein and the term alone, not on the other proteins of a block.

Legend: N proteins, G terms, P joint width, E pairs of a protein and a term that are looked at, k
terms asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from protclip_core.errors import UsageError
from protclip_core.ontology import graph
from protclip_core.terms.calibration import AspectCalibration
from protclip_core.terms.index import GoIndex

__all__ = ["BLOCK_PROTEINS", "GoScorer", "Scored"]

#: Proteins of one matrix product; 128 rows of 42,000 values are 21 MB.
BLOCK_PROTEINS = 128
#: What a float32 product may be off by; candidates are taken with this margin.
_MARGIN = 1e-4
#: Pairs of a term and an ancestor that are expanded at once.
_MOST_PAIRS = 2_000_000
_MOST_VALUES = 1 << 22
_GROUP = 16
_NONE = np.zeros(0, dtype=np.int64)


@dataclass(frozen=True, eq=False)
class Scored:
    """Pairs of a protein and a term, by protein, then by number of the term.

    Of each pair that is ``chosen`` all ancestors of the term but the roots are there as well.

    Attributes
    ----------
    rows, terms
        Place of the protein in its block and number of the term; ``(E,)``.
    cosines
        Of protein and term themselves, ``(E,)`` float32.
    log_odds
        Calibrated and propagated, ``(E,)`` float64; NaN without a calibration.
    chosen
        Whether the pair is requested, or only an ancestor of one that is; ``(E,)`` bool.
    """

    rows: np.ndarray
    terms: np.ndarray
    cosines: np.ndarray
    log_odds: np.ndarray
    chosen: np.ndarray


class GoScorer:
    """Compares unit vectors of proteins with the terms of an index.

    Parameters
    ----------
    index
        The terms; about ``4 G P`` bytes are taken for their vectors.
    """

    def __init__(self, index: GoIndex) -> None:
        self.index, self.ontology = index, index.ontology
        self.is_calibrated = index.calibration is not None
        self._vectors = index.unit_vectors()
        self._num_aspects = len(self.ontology.aspect_names)
        self._columns = [
            np.flatnonzero(self.ontology.aspects == a) for a in range(self._num_aspects)
        ]
        self._is_root = np.zeros(len(index), dtype=bool)
        self._is_root[self.ontology.roots] = True

    def cosines(self, vectors: np.ndarray) -> np.ndarray:
        """Return all cosines of unit vectors ``(N, P)``: ``(N, G)`` float32."""
        if vectors.ndim != 2 or vectors.shape[1] != self.index.joint_dim:
            raise UsageError(
                f"vectors of shape {vectors.shape} do not fit a GO index of width "
                f"{self.index.joint_dim}",
                code="usage.shape_mismatch",
            )
        found: np.ndarray = vectors.astype(np.float32, copy=False) @ self._vectors.T
        return found

    def all_log_odds(self, vectors: np.ndarray) -> np.ndarray:
        """Return the calibrated and propagated log odds of all pairs, ``(N, G)`` float32.

        This is for fitting and measuring; `above` and `best` are quicker.
        """
        slope, bias = self._line
        any_odds, shift = self._gate(vectors)
        found = self.cosines(vectors) * slope + bias + shift[:, None].astype(np.float32)
        for columns, one in zip(self._columns, self._aspects):
            found[:, columns] = one.correct(found[:, columns])
        return self.ontology.propagate_scores(_both(found, any_odds[:, None]))

    def above(self, vectors: np.ndarray, least: float) -> Scored:
        """Return the pairs whose propagated log odds are at least ``least``; roots are left out.

        Parameters
        ----------
        vectors
            Unit vectors ``(N, P)``; a block of them.
        least
            Log odds; all pairs found are ``chosen``.
        """
        return self._propagated(vectors, self._candidates(vectors, least), least)

    def best(self, vectors: np.ndarray, k: int, aspects: Sequence[int]) -> Scored:
        """Return the k best terms of each aspect: by propagated log odds, else by cosine.

        Parameters
        ----------
        vectors
            Unit vectors ``(N, P)``; a block of them.
        k
            Terms of each aspect. At equal log odds the greater cosine, then the first id counts.
        aspects
            Places in ``aspect_names`` of those that are requested.
        """
        if not self.is_calibrated:
            return self._best_cosines(vectors, k, aspects)
        slope, bias = self._line
        scores = self.cosines(vectors)
        scores *= slope
        scores += bias
        any_odds, shift = self._gate(vectors)
        scores += shift[:, None].astype(np.float32)
        scores[:, self._is_root] = -np.inf
        parts = [scores[:, columns] for columns in self._columns]
        # At least k terms end above the k-th value before propagation.
        least = np.full(len(vectors), np.inf)
        for aspect in aspects:
            if len(columns := self._columns[aspect]):
                last = _kth(parts[aspect], k) - _MARGIN * (1 + slope[columns].max())
                reached = _both(self._aspects[aspect].correct(last), any_odds)
                least = np.minimum(least, reached)
        # A term of any aspect may lift one of these.
        near, own = [_NONE], [_NONE]
        for part, columns, one in zip(parts, self._columns, self._aspects):
            wanted = one.uncorrect(_without(least, any_odds)) - _MARGIN
            rows, places = _where(part >= wanted[:, None])
            near.append(rows)
            own.append(columns[places])
        every = self._propagated(vectors, _by_row(near, own), least)
        return replace(every, chosen=self.first(every, every.log_odds, k, aspects))

    @cached_property
    def _aspects(self) -> tuple[AspectCalibration, ...]:
        calibration = self.index.calibration
        if calibration is None:
            return (AspectCalibration(),) * self._num_aspects
        return calibration.aspects

    @cached_property
    def _line(self) -> tuple[np.ndarray, np.ndarray]:
        """Slope and bias of the log odds of each term, ``(G,)`` float32 each."""
        aspects = self.ontology.aspects
        slope = np.array([one.slope for one in self._aspects])[aspects] * self.index.go_scale
        weight = np.array([one.prior_weight for one in self._aspects])[aspects]
        bias = np.array([one.offset for one in self._aspects])[aspects]
        bias = bias + weight * self.index.filled_prior
        if self.index.lines is not None and self.is_calibrated:
            slope, bias = slope * self.index.lines[0], bias + self.index.lines[1]
        return slope.astype(np.float32), bias.astype(np.float32)

    def _gate(self, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the log odds that a protein has any term, and what they add to those of each.

        ``(N,)`` float64 each: infinity and 0 without a gate. Each protein counts by itself.
        """
        if self.index.gate is None or not self.is_calibrated:
            return np.full(len(vectors), np.inf), np.zeros(len(vectors))
        gate = self.index.gate.astype(np.float64)
        odds = np.einsum("ij,j->i", vectors.astype(np.float64), gate[:-2]) + gate[-2]
        return odds, gate[-1] * odds

    def own_log_odds(self, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the log odds of all pairs before the monotone step, and the part of the cosine.

        ``(N, G)`` float64 each; this is for fitting.
        """
        slope, bias = self._line
        cosines = self.cosines(vectors).astype(np.float64) * slope
        return cosines + bias + self._gate(vectors)[1][:, None], cosines

    def _candidates(self, vectors: np.ndarray, least: float) -> tuple[np.ndarray, np.ndarray]:
        """Return rows and terms of pairs that may reach ``least`` by themselves."""
        slope, bias = self._line
        any_odds, shift = self._gate(vectors)
        if self.index.gate is not None:  # what is needed differs by protein: the least of it
            some = any_odds[any_odds > least]
            if not len(some):
                return _NONE, _NONE
            least = float(_without(np.array(least), some.max()))
        needed = np.array([float(one.uncorrect(np.array(least))) for one in self._aspects])
        wanted = needed[self.ontology.aspects] - bias - shift.max(initial=0.0)
        steep = slope > 0
        cut = wanted / np.where(steep, slope, 1.0) - _MARGIN
        # Where the cosine has no say, all proteins are above or none is.
        cut[~steep] = np.where(wanted[~steep] <= _MARGIN, -2.0, np.inf)
        cut[self._is_root] = np.inf
        places = np.flatnonzero(self.cosines(vectors) >= cut.astype(np.float32))
        return np.divmod(places, len(self.index))

    def _propagated(
        self, vectors: np.ndarray, pairs: tuple[np.ndarray, np.ndarray], least: float | np.ndarray
    ) -> Scored:
        """Give candidates and their ancestors the highest log odds of any below them."""
        rows, terms = pairs
        slope, bias = self._line
        own = (
            slope[terms] * self.pair_cosines(vectors, rows, terms).astype(np.float64) + bias[terms]
        )
        any_odds, shift = self._gate(vectors)
        own += shift[rows]
        for aspect, one in enumerate(self._aspects):
            inside = self.ontology.aspects[terms] == aspect
            own[inside] = one.correct(own[inside])
        own = _both(own, any_odds[rows])
        kept = own >= (least if isinstance(least, float) else least[rows])
        rows, terms, own = rows[kept], terms[kept], own[kept]
        found = [self._lift(rows[a:b], terms[a:b], own[a:b]) for a, b in self._pieces(rows, terms)]
        keys = np.concatenate([*(keys for keys, _ in found), np.zeros(0, np.int64)])
        odds = np.concatenate([*(odds for _, odds in found), np.zeros(0)])
        rows, terms = np.divmod(keys, len(self.index))
        inside = ~self._is_root[terms]
        rows, terms, odds = rows[inside], terms[inside], odds[inside]
        cosines = self.pair_cosines(vectors, rows, terms)
        return Scored(rows, terms, cosines, odds, np.ones(len(rows), dtype=bool))

    def _lift(
        self, rows: np.ndarray, terms: np.ndarray, odds: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return each pair and pair of an ancestor once, as a number, with its highest value."""
        places, above = graph.expand(self.ontology.closure, terms)
        size = len(self.index)
        keys = np.concatenate([rows * size + terms, rows[places] * size + above])
        values = np.concatenate([odds, odds[places]])
        order = np.lexsort((values, keys))
        keys, values = keys[order], values[order]
        last = np.diff(keys, append=-1) != 0
        return keys[last], values[last]

    def _pieces(self, rows: np.ndarray, terms: np.ndarray) -> Iterator[tuple[int, int]]:
        """Split pairs between proteins, so that few of their ancestors are expanded at once."""
        if not len(rows):
            return
        counts = np.diff(self.ontology.closure[0])[terms] + 1
        total = np.cumsum(counts)
        starts = np.flatnonzero(np.diff(rows, prepend=-1)).tolist()
        first = 0
        for start, stop in zip(starts, [*starts[1:], len(rows)]):
            before = total[first - 1] if first else 0
            if start > first and total[stop - 1] - before > _MOST_PAIRS:
                yield first, start
                first = start
        yield first, len(rows)

    def pair_cosines(self, vectors: np.ndarray, rows: np.ndarray, terms: np.ndarray) -> np.ndarray:
        """Return the cosine of each pair, ``(E,)`` float32, computed by itself.

        Parameters
        ----------
        vectors
            Unit vectors ``(N, P)``.
        rows, terms
            Protein and term of each pair, ``(E,)``.
        """
        vectors = np.ascontiguousarray(vectors, dtype=np.float32)
        found = np.empty(len(rows), np.float32)
        step = max(1, _MOST_VALUES // self.index.joint_dim)
        for start in range(0, len(rows), step):
            part = slice(start, start + step)
            np.einsum("ij,ij->i", vectors[rows[part]], self._vectors[terms[part]], out=found[part])
        return found

    def _best_cosines(self, vectors: np.ndarray, k: int, aspects: Sequence[int]) -> Scored:
        """Return the k terms of each aspect of the highest cosine, and their ancestors."""
        cosines = self.cosines(vectors)
        near, own = [_NONE], [_NONE]
        for aspect in aspects:
            columns = self._columns[aspect]
            columns = columns[~self._is_root[columns]]
            if len(columns):
                part = cosines[:, columns]
                rows, places = _where(part >= (_kth(part, k) - _MARGIN)[:, None])
                near.append(rows)
                own.append(columns[places])
        rows, terms = _by_row(near, own)
        values = self.pair_cosines(vectors, rows, terms)
        nothing = np.full(len(rows), np.nan)
        found = Scored(rows, terms, values, nothing, np.ones(len(rows), dtype=bool))
        best = self.first(found, found.cosines, k, aspects)
        keys, _ = self._lift(rows[best], terms[best], nothing[best])
        chosen = np.isin(keys, rows[best] * len(self.index) + terms[best])
        rows, terms = np.divmod(keys, len(self.index))
        kept = ~self._is_root[terms]
        rows, terms, chosen = rows[kept], terms[kept], chosen[kept]
        values = self.pair_cosines(vectors, rows, terms)
        return Scored(rows, terms, values, np.full(len(rows), np.nan), chosen)

    def first(
        self, scored: Scored, values: np.ndarray, k: int, aspects: Sequence[int]
    ) -> np.ndarray:
        """Tell which pairs are among the first k of their protein and aspect, ``(E,)`` bool.

        Parameters
        ----------
        scored
            Pairs, by protein.
        values
            By which they are ordered, ``(E,)``; at equal ones as `best` does.
        k, aspects
            As of `best`.
        """
        aspect = self.ontology.aspects[scored.terms].astype(np.int64)
        group = scored.rows * self._num_aspects + aspect
        order = np.lexsort((self._order[scored.terms], -scored.cosines, -values, group))
        sorted_group = group[order]
        starts = np.flatnonzero(np.diff(sorted_group, prepend=-1))
        sizes = np.diff(starts, append=len(order))
        found = np.zeros(len(order), dtype=bool)
        found[order] = np.arange(len(order)) - np.repeat(starts, sizes) < k
        return found & np.isin(aspect, np.asarray(aspects))

    @cached_property
    def _order(self) -> np.ndarray:
        """Place of each term in the order of ids, ``(G,)``."""
        order = np.argsort(np.array(self.ontology.ids))
        places = np.empty(len(order), dtype=np.int64)
        places[order] = np.arange(len(order))
        return places


def _both(odds: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the log odds of two things that are each as likely as told; any shape.

    With p and q for the two, ``log(p q / (1 - p q))``; `others` of infinity change nothing.
    """
    if np.isposinf(others).all():
        return odds
    # 1 - pq = (1 - p) + p (1 - q): both terms as shares of p q.
    found: np.ndarray = -np.logaddexp(np.logaddexp(-odds, -others), -odds - others)
    return found.astype(odds.dtype)


def _without(odds: np.ndarray, others: np.ndarray | float) -> np.ndarray:
    """Undo `_both`: what the first has to be; infinity where it cannot be enough."""
    if np.isposinf(others).all():
        return odds
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        share = 1 / (1 + np.exp(-odds)) / (1 / (1 + np.exp(-np.asarray(others))))
        found = np.log(share) - np.log1p(-np.minimum(share, 1.0))
    return np.where(share < 1, found, np.inf)


def _kth(values: np.ndarray, k: int) -> np.ndarray:
    """Return a bound that at least k values of each row reach; minus infinity for fewer values.

    Where there are many values, that is the k-th largest of the highest of every sixteen: a
    little below the k-th largest of all, and found in a fraction of the time.
    """
    if k >= values.shape[1]:
        return np.full(len(values), -np.inf)
    groups = values.shape[1] // _GROUP
    if groups >= 4 * k:
        whole = values[:, : groups * _GROUP].reshape(len(values), _GROUP, groups)
        values = whole.max(axis=1)
    place = values.shape[1] - k
    return np.partition(values, place, axis=1)[:, place].astype(np.float64)


def _where(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return rows and columns of what is true; in a third of the time of ``numpy.nonzero``."""
    return np.divmod(np.flatnonzero(mask), max(mask.shape[1], 1))


def _by_row(rows: list[np.ndarray], terms: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Join pairs, the proteins in order."""
    joined = np.concatenate(rows)
    order = np.argsort(joined, kind="stable")
    return joined[order], np.concatenate(terms)[order]
