"""How alike terms, and the proteins that carry them, are by what GO says.

Terms of one aspect are compared by the most informative ancestor that they share (a term counts as
an ancestor of itself here; ancestors of other aspects, which part_of leads to, do not count):

``resnik``
    Its information content, in bits (Resnik 1995).
``lin``
    Twice that, divided by the information contents of both terms; 0 to 1 (Lin 1998).

Proteins are compared by best-match average (Pesquita et al. 2008): each term of one protein with
the closest of the other, the mean over its terms; and the mean of that and the same from the other
side, so that both proteins weigh alike however many terms they have.

Legend: G terms, T terms of a list, M pairs, A annotations, N proteins.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from protclip_core.errors import UsageError
from protclip_core.ontology import graph
from protclip_core.ontology.annotations import Annotations
from protclip_core.ontology.ontology import Ontology

__all__ = ["MEASURES", "SemanticSimilarity", "terms_of_aspect"]

MEASURES = ("lin", "resnik")
#: Pairs of a term and an ancestor, or of two terms, that are looked at together.
_MOST = 2_000_000

Numbers = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]


class SemanticSimilarity:
    """Compares terms and proteins.

    Parameters
    ----------
    ontology
        The terms and their ancestors.
    content
        Information content ``(G,)``, from `Annotations.information_content`. Terms without one
        (infinite, no protein carries them) cannot be compared.
    measure
        One of `MEASURES`.

    Raises
    ------
    UsageError
        An unknown measure, or contents of another ontology.
    """

    def __init__(self, ontology: Ontology, content: Doubles, measure: str = "lin") -> None:
        if measure not in MEASURES:
            raise UsageError(
                f"measure {measure!r} is not known",
                code="usage.unknown_value",
                hint=f"use {', '.join(MEASURES)}",
            )
        if content.shape != (len(ontology),):
            raise UsageError(
                f"{content.shape} contents for {len(ontology):,} terms", code="usage.shape_mismatch"
            )
        self.ontology, self.content, self.measure = ontology, content, measure

    def terms(self, left: npt.ArrayLike, right: npt.ArrayLike) -> Doubles:
        """Compare the terms of two lists, place by place.

        Parameters
        ----------
        left, right
            Numbers of terms, ``(M,)`` each.

        Returns
        -------
        numpy.ndarray
            Shape ``(M,)``. Terms of different aspects have 0, as have two that share the root
            alone; a term has 1 with itself by Lin, unless all proteins carry it: then 0.

        Raises
        ------
        UsageError
            Lists of different length, or a term without an information content.
        """
        one, other = graph.as_numbers(left), graph.as_numbers(right)
        if one.shape != other.shape:
            raise UsageError(
                f"{len(one):,} terms cannot be paired with {len(other):,}",
                code="usage.shape_mismatch",
            )
        self._check_known(one, other)
        # Each pair once, whichever term comes first: lists of proteins repeat few of them often.
        size = len(self.ontology)
        keys, places = np.unique(
            np.minimum(one, other) * size + np.maximum(one, other), return_inverse=True
        )
        found: Doubles = self._compare(keys // size, keys % size)[places]
        return found

    def _check_known(self, *lists: Numbers) -> None:
        for terms in lists:
            unknown = terms[~np.isfinite(self.content[terms])]
            if len(unknown):
                raise UsageError(
                    f"no information content of {self.ontology.ids[unknown[0]]}",
                    code="usage.no_content",
                    hint="take contents from annotations that have these terms",
                )

    def _compare(self, one: Numbers, other: Numbers) -> Doubles:
        """Compare distinct pairs."""
        shared = np.zeros(len(one))
        lines = _Lines(self.ontology, np.union1d(one, other))
        for some in _runs(lines.sizes(one)):
            shared[some] = lines.most_shared(one[some], other[some], self.content)
        if self.measure == "resnik":
            return shared
        total = self.content[one] + self.content[other]
        return np.divide(2 * shared, total, out=np.zeros_like(shared), where=total > 0)

    def proteins(self, annotations: Annotations, pairs: npt.ArrayLike) -> Doubles:
        """Compare proteins by best-match average.

        Parameters
        ----------
        annotations
            Of one aspect and without ancestors, see `terms_of_aspect`: terms that follow from
            others would pull every protein towards every other.
        pairs
            Places of proteins in them, ``(M, 2)``.

        Returns
        -------
        numpy.ndarray
            Shape ``(M,)``; NaN where a protein of a pair has no term.
        """
        one, other = np.asarray(pairs, np.int64).reshape(-1, 2).T
        counts = np.diff(annotations.offsets)
        found = np.full(len(one), np.nan)
        good = np.flatnonzero((counts[one] > 0) & (counts[other] > 0))
        size = len(self.ontology)
        keys = np.zeros(0, np.int64)
        for some in _runs(counts[one[good]] * counts[other[good]]):
            rows = good[some]
            keys = np.union1d(keys, _TermPairs(annotations, one[rows], other[rows]).keys(size))
        # Terms are compared once for all proteins: there are far fewer pairs of them.
        scores = self.terms(keys // size, keys % size)
        for some in _runs(counts[one[good]] * counts[other[good]]):
            rows = good[some]
            crossed = _TermPairs(annotations, one[rows], other[rows])
            each = scores[np.searchsorted(keys, crossed.keys(size))]
            found[rows] = (crossed.best(each, 0) + crossed.best(each, 1)) / 2
        return found


def terms_of_aspect(annotations: Annotations, ontology: Ontology, aspect: int) -> Annotations:
    """Return the most specific terms of each protein in one aspect, without its root.

    Parameters
    ----------
    annotations
        Propagated or not.
    ontology
        The one that they are of.
    aspect
        Place in ``ontology.aspect_names``.

    Returns
    -------
    Annotations
        Of the same proteins in the same order; some may have no term.
    """
    proteins = np.repeat(np.arange(len(annotations)), np.diff(annotations.offsets))
    kept = (ontology.aspects[annotations.terms] == aspect) & ~np.isin(
        annotations.terms, ontology.roots
    )
    proteins, terms = proteins[kept], annotations.terms[kept]
    size = len(ontology)
    own = proteins * size + terms
    general = np.zeros(len(own), bool)
    for some in _runs(np.diff(ontology.closure[0])[terms]):
        places, above = graph.expand(ontology.closure, terms[some])
        general |= np.isin(own, proteins[some][places] * size + above)
    counts = np.bincount(proteins[~general], minlength=len(annotations))
    return Annotations(
        protein_ids=annotations.protein_ids,
        offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        terms=terms[~general].astype(np.int32),
        release=annotations.release,
        provenance=annotations.provenance,
    )


class _Lines:
    """Some terms with their ancestors of the same aspect, as rows and as sets of bits."""

    def __init__(self, ontology: Ontology, terms: Numbers) -> None:
        self._terms = terms
        places, above = graph.expand(ontology.closure, terms)
        places = np.concatenate([np.arange(len(terms)), places])
        above = np.concatenate([terms, above])
        same = ontology.aspects[above] == ontology.aspects[terms[places]]
        self._rows = graph.compress(places[same], above[same], len(terms))
        # Only terms that are an ancestor of one of these need a bit.
        names = np.unique(above[same])
        self._bit = np.zeros(len(ontology), np.int64)
        self._bit[names] = np.arange(len(names))
        self._sets = np.zeros((len(terms), len(names) // 8 + 1), np.uint8)
        bits = self._bit[above[same]]
        np.bitwise_or.at(self._sets, (places[same], bits >> 3), (1 << (bits & 7)).astype(np.uint8))

    def sizes(self, terms: Numbers) -> Numbers:
        """Return how many ancestors each term has, itself one of them."""
        found: Numbers = np.diff(self._rows[0])[np.searchsorted(self._terms, terms)]
        return found

    def most_shared(self, one: Numbers, other: Numbers, content: Doubles) -> Doubles:
        """Return the greatest content of an ancestor of both terms, ``(M,)``; 0 without one."""
        rows = np.searchsorted(self._terms, one)
        places, above = graph.expand(self._rows, rows)
        bits = self._bit[above]
        sets = self._sets[np.searchsorted(self._terms, other)[places], bits >> 3]
        values = np.where((sets >> (bits & 7).astype(np.uint8)) & 1, content[above], 0.0)
        sizes = np.diff(self._rows[0])[rows]
        found: Doubles = np.maximum.reduceat(values, np.cumsum(sizes) - sizes)
        return found


class _TermPairs:
    """Each term of one protein with each of the other, for some pairs of proteins.

    Pairs of terms stand in the order of the pairs of proteins, then of the terms of the first.
    """

    def __init__(self, annotations: Annotations, one: Numbers, other: Numbers) -> None:
        starts, counts = annotations.offsets[:-1], np.diff(annotations.offsets)
        self._counts = counts[one], counts[other]
        sizes = counts[one] * counts[other]
        self._pair = np.repeat(np.arange(len(one)), sizes)
        within = np.arange(len(self._pair)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        width = counts[other][self._pair]
        self._within = within // width, within % width
        self._terms = tuple(
            annotations.terms[starts[side][self._pair] + place].astype(np.int64)
            for side, place in zip((one, other), self._within, strict=True)
        )

    def keys(self, size: int) -> Numbers:
        """Name each pair of terms, the same whichever comes first."""
        one, other = self._terms
        found: Numbers = np.minimum(one, other) * size + np.maximum(one, other)
        return found

    def best(self, scores: Doubles, side: int) -> Doubles:
        """Return for each pair of proteins the mean best score of the terms of one side."""
        counts = self._counts[side]
        starts = np.cumsum(counts) - counts
        best = np.zeros(int(counts.sum()))
        np.maximum.at(best, starts[self._pair] + self._within[side], scores)
        found: Doubles = np.add.reduceat(best, starts) / counts
        return found


def _runs(sizes: Numbers) -> Iterator[slice]:
    """Split items into runs of about `_MOST` parts, at least one item each."""
    ends = np.cumsum(sizes)
    start = 0
    while start < len(sizes):
        before = int(ends[start - 1]) if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + _MOST, side="right")))
        yield slice(start, stop)
        start = stop
