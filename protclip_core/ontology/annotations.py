"""Which proteins carry which GO terms.

Legend: N proteins, G terms of the ontology, A annotations (pairs of the two).
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from protclip_core.errors import InputError
from protclip_core.ontology import graph
from protclip_core.ontology.ontology import Ontology

__all__ = ["Annotations", "PairCollector", "Provenance"]

#: Pairs that a propagation expands at once: some hundred MB at GO's 20 ancestors a term.
_BLOCK_PAIRS = 500_000


@dataclass(frozen=True)
class Provenance:
    """Where annotations come from, and what became of each line.

    Attributes
    ----------
    source, format
        Name of the file; ``GAF 2.2`` or ``TSV``.
    lines
        Annotation lines, all of them. Lines are taken, negated, of other evidence, obsolete,
        unknown or bad; the numbers of these add up to it.
    taken
        Lines whose annotation is there; several may say the same.
    negated
        Lines with the qualifier NOT, left out, by protein and term.
    other_evidence
        Lines left out for their evidence code, by code.
    resolved
        Ids that stand for another term, and how often: alternative and replaced ones.
    obsolete, unknown
        Ids without an active term, left out, and how often.
    bad_lines, bad
        Lines that were passed over, and places and faults of the first 1,000.
    release
        GO release that the file states, where it does.
    """

    source: str = ""
    format: str = ""
    lines: int = 0
    taken: int = 0
    negated: tuple[tuple[str, str], ...] = ()
    other_evidence: Mapping[str, int] = field(default_factory=dict)
    resolved: Mapping[str, int] = field(default_factory=dict)
    obsolete: Mapping[str, int] = field(default_factory=dict)
    unknown: Mapping[str, int] = field(default_factory=dict)
    bad_lines: int = 0
    bad: tuple[str, ...] = ()
    release: str | None = None


@dataclass(frozen=True, eq=False)
class Annotations:
    """Terms of proteins, in compressed rows.

    Attributes
    ----------
    protein_ids
        Each once, in the order in which they were met.
    offsets, terms
        Terms of protein ``n``: ``terms[offsets[n]:offsets[n + 1]]``, sorted, each once;
        ``(N + 1,)`` int64 and ``(A,)`` int32.
    release
        GO release of the ontology whose numbers these are.
    provenance
        Where they come from.
    is_propagated
        All ancestors are there.
    """

    protein_ids: tuple[str, ...]
    offsets: np.ndarray
    terms: np.ndarray
    release: str | None = None
    provenance: Provenance = field(default_factory=Provenance)
    is_propagated: bool = False

    @classmethod
    def from_terms(
        cls, terms: Mapping[str, Iterable[int]], ontology: Ontology, provenance: Provenance
    ) -> Annotations:
        """Make annotations of the numbers of each protein's terms."""
        pairs = PairCollector()
        for protein, numbers in terms.items():
            pairs.protein(protein)
            for number in numbers:
                pairs.add(protein, int(number))
        return pairs.annotations(ontology, provenance)

    def __len__(self) -> int:
        return len(self.protein_ids)

    @cached_property
    def index(self) -> dict[str, int]:
        """Protein id to its place."""
        return {id: number for number, id in enumerate(self.protein_ids)}

    def of(self, protein: str) -> np.ndarray:
        """Return the terms of a protein, sorted, int32; none where it is not there."""
        if (place := self.index.get(protein)) is None:
            return self.terms[:0]
        return self.terms[self.offsets[place] : self.offsets[place + 1]]

    def items(self) -> Iterator[tuple[str, np.ndarray]]:
        """Give each protein with its terms."""
        for place, protein in enumerate(self.protein_ids):
            yield protein, self.terms[self.offsets[place] : self.offsets[place + 1]]

    def propagated(self, ontology: Ontology, *, roots: bool = True) -> Annotations:
        """Return the annotations with all ancestors.

        Parameters
        ----------
        ontology
            The one that the numbers are of.
        roots
            Keep the roots of the aspects. Without them a protein that carries no other term
            stays, with no term at all.
        """
        self._check(ontology)
        dropped = np.zeros(len(ontology), dtype=bool)
        if not roots:
            dropped[ontology.roots] = True
        counts, pieces = np.zeros(len(self), dtype=np.int64), [self.terms[:0]]
        for rows in self._blocks():
            own = self.terms[self.offsets[rows.start] : self.offsets[rows.stop]]
            sizes = np.diff(self.offsets[rows.start : rows.stop + 1])
            proteins = np.repeat(np.arange(rows.start, rows.stop), sizes)
            places, above = graph.expand(ontology.closure, own)
            sources, targets = graph.unique_pairs(
                np.concatenate([proteins, proteins[places]]),
                np.concatenate([own, above]),
                len(ontology),
            )
            kept = ~dropped[targets]
            counts += np.bincount(sources[kept], minlength=len(self))
            pieces.append(targets[kept])
        offsets = np.concatenate([[0], np.cumsum(counts)])
        return replace(self, offsets=offsets, terms=np.concatenate(pieces), is_propagated=roots)

    def counts(self, ontology: Ontology) -> np.ndarray:
        """Return the number of proteins that carry each term as it stands, ``(G,)`` int64."""
        self._check(ontology)
        return np.bincount(self.terms, minlength=len(ontology))

    def proteins_by_aspect(self, ontology: Ontology) -> np.ndarray:
        """Return the number of proteins with a term of each aspect, ``(3,)`` int64 for GO."""
        self._check(ontology)
        proteins = np.repeat(np.arange(len(self)), np.diff(self.offsets))
        aspects = ontology.aspects[self.terms]
        size = len(ontology.aspect_names)
        pairs = np.unique(proteins * size + aspects)
        return np.bincount(pairs % size, minlength=size)

    def information_content(self, ontology: Ontology, unseen: float = np.inf) -> np.ndarray:
        """Return how much each term says: ``-log2`` of the share of proteins that carry it.

        The share is among the proteins with a term of the same aspect, all propagated; the root
        of an aspect has 0, and a term never less than its ancestors of the same aspect.

        Parameters
        ----------
        ontology
            The one that the numbers are of; its relations say what is propagated.
        unseen
            Value of terms that no protein carries, for which the logarithm has none.

        Returns
        -------
        numpy.ndarray
            Shape ``(G,)``, float64, bits.
        """
        whole = self if self.is_propagated else self.propagated(ontology)
        counts = whole.counts(ontology)
        totals = whole.proteins_by_aspect(ontology)[ontology.aspects]
        result = np.full(len(ontology), unseen, dtype=np.float64)
        seen = counts > 0
        # Written so that a share of one gives 0 and not -0.
        result[seen] = np.log2(totals[seen] / counts[seen])
        return result

    def _blocks(self) -> Iterator[slice]:
        """Split the proteins into runs of about `_BLOCK_PAIRS` annotations."""
        start = 0
        while start < len(self):
            most = self.offsets[start] + _BLOCK_PAIRS
            stop = int(np.searchsorted(self.offsets, most, side="right")) - 1
            stop = min(max(stop, start + 1), len(self))
            yield slice(start, stop)
            start = stop

    def _check(self, ontology: Ontology) -> None:
        """Refuse an ontology that these numbers cannot be of."""
        if self.release != ontology.release or (
            len(self.terms) and self.terms.max() >= len(ontology)
        ):
            raise InputError(
                f"annotations of GO release {self.release or 'unknown'} do not fit "
                f"release {ontology.release or 'unknown'}",
                code="input.other_release",
                where=self.provenance.source or None,
                hint="read them again with this ontology",
            )


class PairCollector:
    """Pairs of protein and term as they come, any number of times, in any order."""

    def __init__(self) -> None:
        self._places: dict[str, int] = {}
        self._proteins = array("i")
        self._terms = array("i")
        self._limit = 1 << 23

    def protein(self, id: str) -> int:
        """Return the place of a protein, a new one if need be."""
        return self._places.setdefault(id, len(self._places))

    def add(self, protein: str, term: int) -> None:
        """Take a pair."""
        self._proteins.append(self.protein(protein))
        self._terms.append(term)
        if len(self._terms) > self._limit:
            # Files repeat a pair for each reference; memory follows the distinct ones.
            proteins, terms = self._distinct()
            self._proteins = array("i", proteins.astype(np.int32).tobytes())
            self._terms = array("i", terms.tobytes())
            self._limit = max(self._limit, 2 * len(terms))

    def annotations(self, ontology: Ontology, provenance: Provenance) -> Annotations:
        """Return what was taken."""
        proteins, terms = self._distinct()
        counts = np.bincount(proteins, minlength=len(self._places))
        return Annotations(
            protein_ids=tuple(self._places),
            offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            terms=terms,
            release=ontology.release,
            provenance=provenance,
        )

    def _distinct(self) -> tuple[np.ndarray, np.ndarray]:
        terms = np.array(self._terms, dtype=np.int32)
        width = int(terms.max(initial=0)) + 1
        return graph.unique_pairs(np.array(self._proteins, dtype=np.int64), terms, width)


def shown_ids(counts: Counter[str]) -> str:
    """Return up to five ids for a message."""
    ids = [id for id, _ in counts.most_common(5)]
    return ", ".join(ids) + (" …" if len(counts) > 5 else "")
