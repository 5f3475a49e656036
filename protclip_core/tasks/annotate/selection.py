"""From scored pairs to the terms that are listed for each protein.

Legend: E pairs of a protein and a term, C terms of one protein.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import repeat

import numpy as np

from protclip_core.errors import UsageError
from protclip_core.measure.calibration import sigmoid
from protclip_core.ontology import graph
from protclip_core.ontology.ontology import Ontology
from protclip_core.ontology.slims import SlimMap
from protclip_core.ontology.taxa import Organism
from protclip_core.tasks.annotate.organisms import Organisms, PossibleTerms
from protclip_core.tasks.annotate.report import AnnotateReport
from protclip_core.tasks.annotate.transfer import Support, Transfer
from protclip_core.terms.combine import Supported
from protclip_core.terms.reliability import Reliability
from protclip_core.terms.scores import Scored

__all__ = ["PredictedTerm", "ProteinTerms", "Selection", "likeliest_below"]


@dataclass(frozen=True, slots=True)
class PredictedTerm:
    """One term of a protein.

    Attributes
    ----------
    term
        Number in the ontology.
    cosine
        Of protein and term themselves, to four digits.
    probability
        Calibrated, to four digits; None where the model has no calibration.
    rank
        Place among the terms that are listed for the protein in this aspect, from 1.
    support
        What supports it; None without transfer.
    reliability
        How often terms as likely as this one were right, for proteins as near to known ones, to
        four digits; None where it was not asked for, or there is no probability.
    """

    term: int
    cosine: float
    probability: float | None
    rank: int
    support: Support | None = None
    reliability: float | None = None


@dataclass(frozen=True, slots=True)
class ProteinTerms:
    """A protein with its terms of one vocabulary, by aspect, the best first; there may be none.

    Attributes
    ----------
    protein_id, terms
        The protein, and its terms.
    vocabulary
        Place in `Annotation.vocabularies`.
    organism
        What is known of its organism, with GO.
    """

    protein_id: str
    terms: list[PredictedTerm]
    vocabulary: int = 0
    organism: Organism = Organism()


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What is listed of what was found.

    Attributes
    ----------
    ontology
        The terms.
    aspects
        Places in ``aspect_names`` of the aspects to list.
    least
        Least log odds of each aspect, ``(3,)`` for GO; None where the best are asked for,
        whatever they are, and nothing else.
    top_k
        Terms of each aspect at most; None for all.
    propagate
        List all ancestors of what is listed as well, but no roots.
    specific
        List only terms without a listed descendant of their aspect.
    slim
        List the closest terms of a slim instead.
    vocabulary
        Place among the vocabularies of the request.
    transfer
        Tells what speaks for pairs that are `Supported`; None where none are.
    organisms
        Of the proteins: what they do not have is not listed for them.
    reliability
        How sure terms are for a protein, for GO; None where that is not asked for.
    report
        Counts what is not listed for that reason.
    """

    ontology: Ontology
    aspects: tuple[int, ...]
    least: np.ndarray | None
    top_k: int | None = None
    propagate: bool = False
    specific: bool = False
    slim: SlimMap | None = None
    vocabulary: int = 0
    transfer: Transfer | None = None
    organisms: Organisms | None = None
    reliability: Reliability | None = None
    report: AnnotateReport | None = None

    def __post_init__(self) -> None:
        if self.propagate + self.specific + (self.slim is not None) > 1:
            raise UsageError(
                "--propagate, --specific and --slim contradict each other",
                code="usage.conflicting_options",
                hint="keep one",
            )

    def of(
        self, ids: Sequence[str], scored: Scored, near: np.ndarray | None = None
    ) -> Iterator[ProteinTerms]:
        """Yield the proteins of a block with their terms, all of them and in their order.

        Parameters
        ----------
        ids
            Proteins of the block.
        scored
            From `GoScorer.above` or `GoScorer.best`.
        near
            How near each protein is to known ones, ``(N,)``; for ``reliability``.
        """
        organisms = [Organism()] * len(ids)
        impossible = np.zeros(len(scored.rows), dtype=bool)
        if self.organisms is not None and self._possible is not None:
            self.organisms.look(ids)
            organisms = [self.organisms[id] for id in ids]
            impossible, odds = self._possible.of(organisms, scored)
            scored = replace(scored, log_odds=odds)
        order, ranks = self._listed(scored, impossible)
        terms = [
            PredictedTerm(term, cosine, _or_none(chance), rank, support, _or_none(sure))
            for term, cosine, chance, rank, support, sure in zip(
                scored.terms[order].tolist(),
                _digits(scored.cosines[order]),
                _digits(sigmoid(scored.log_odds[order])),
                ranks.tolist(),
                self._supports(ids, scored, order),
                self._sure(scored, order, near),
            )
        ]
        starts = np.searchsorted(scored.rows[order], np.arange(len(ids) + 1)).tolist()
        for protein, organism, start, stop in zip(ids, organisms, starts, starts[1:]):
            yield ProteinTerms(protein, terms[start:stop], self.vocabulary, organism)

    def _sure(self, scored: Scored, order: np.ndarray, near: np.ndarray | None) -> list[float]:
        """Tell how sure pairs are for their proteins; NaN where that is not asked for."""
        if self.reliability is None or near is None:
            return [np.nan] * len(order)
        aspects = self.ontology.aspects[scored.terms[order]].astype(np.int64)
        rows = scored.rows[order]
        return _digits(self.reliability.of(scored.log_odds[order], aspects, near[rows]))

    def _supports(
        self, ids: Sequence[str], scored: Scored, order: np.ndarray
    ) -> Iterable[Support | None]:
        if self.transfer is None or not isinstance(scored, Supported):
            return repeat(None)
        return [self.transfer.support(ids, scored, place) for place in order.tolist()]

    def _listed(self, scored: Scored, impossible: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return places of the pairs that are listed, in their order, and their ranks."""
        aspect = self.ontology.aspects[scored.terms].astype(np.int64)
        asked = np.isin(aspect, self.aspects)
        listed = scored.chosen & asked
        if self.least is not None:
            listed &= scored.log_odds >= self.least[aspect]
        # By protein and aspect, the likeliest first, then the nearest, then by id.
        group = scored.rows * len(self.ontology.aspect_names) + aspect
        odds = np.where(np.isnan(scored.log_odds), 0.0, scored.log_odds)
        order = np.lexsort((self._id_order[scored.terms], -scored.cosines, -odds, group))
        lost = self._first(listed, order, group) & impossible
        if self.report is not None and lost.any():
            self.report.impossible += int(lost.sum())
            self.report.with_impossible += len(np.unique(scored.rows[lost]))
        listed = self._first(listed & ~impossible, order, group)
        shown = order[(self._reduced(scored, listed) & asked)[order]]
        return shown, _ranks(group[shown])

    def _first(self, listed: np.ndarray, order: np.ndarray, group: np.ndarray) -> np.ndarray:
        """Return the first `top_k` of each group of what is listed."""
        if self.top_k is None:
            return listed
        kept, first = order[listed[order]], listed.copy()
        first[kept[_ranks(group[kept]) > self.top_k]] = False
        return first

    def _reduced(self, scored: Scored, listed: np.ndarray) -> np.ndarray:
        """Apply what the user wants to see of a list."""
        if not (self.specific or self.propagate or self.slim is not None):
            return listed
        rows, terms = scored.rows[listed], scored.terms[listed]
        table = self.ontology.closure
        if self.slim is not None:
            table = self.slim.offsets, self.slim.targets
        places, others = graph.expand(table, terms)
        if self.specific:
            aspects = self.ontology.aspects
            same = aspects[terms[places]] == aspects[others]
            places, others = places[same], others[same]
        found = np.isin(
            scored.rows * len(self.ontology) + scored.terms,
            rows[places] * len(self.ontology) + others,
        )
        if self.specific:
            return listed & ~found
        return found if self.slim is not None else listed | found

    @cached_property
    def _possible(self) -> PossibleTerms | None:
        return PossibleTerms(self.ontology) if self.ontology.is_go else None

    @cached_property
    def _id_order(self) -> np.ndarray:
        """Place of each term in the order of ids, ``(G,)``."""
        return np.argsort(np.argsort(np.array(self.ontology.ids)))


def likeliest_below(ontology: Ontology, scored: Scored, chances: np.ndarray) -> np.ndarray:
    """Return for each pair the likeliest of a more specific term of its aspect and protein.

    Parameters
    ----------
    ontology
        The terms.
    scored
        Pairs by protein, then by term.
    chances
        Their probabilities, ``(E,)``.

    Returns
    -------
    numpy.ndarray
        ``(E,)`` float64; 0 where there is no more specific pair.
    """
    places, above = graph.expand(ontology.closure, scored.terms)
    inside = ontology.aspects[scored.terms[places]] == ontology.aspects[above]
    places, above = places[inside], above[inside]
    keys = scored.rows * len(ontology) + scored.terms
    wanted = scored.rows[places] * len(ontology) + above
    targets = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    there = keys[targets] == wanted  # roots are no pairs
    found = np.zeros(len(keys))
    np.maximum.at(found, targets[there], chances[places[there]])
    return found


def _ranks(groups: np.ndarray) -> np.ndarray:
    """Count the members of each group from 1; groups lie together."""
    starts = np.flatnonzero(np.diff(groups, prepend=-1))
    sizes = np.diff(starts, append=len(groups))
    return np.arange(1, len(groups) + 1) - np.repeat(starts, sizes)


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else value


def _digits(values: np.ndarray) -> list[float]:
    """Return numbers to four significant digits."""
    return [float(f"{value:.4g}") for value in values.tolist()]
