"""The organisms of the proteins that are annotated: from their headers, or as the user says.

Legend: E pairs of a protein and a term, G terms.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from protclip_core.io.fasta import read_fasta
from protclip_core.io.structures import holds_structures
from protclip_core.ontology import graph
from protclip_core.ontology.ontology import Ontology
from protclip_core.ontology.taxa import Organism, general_terms, impossible_terms, organism_of
from protclip_core.records import Failure, ProteinRecord
from protclip_core.terms.scores import Scored
from protclip_core.vectors.source import is_store

__all__ = ["Organisms", "PossibleTerms"]


class Organisms:
    """What is known of the organism of each protein; headers are read along with the proteins.

    Parameters
    ----------
    inputs
        FASTA files that can be read twice; stores and structures do not hold headers.
    taxon
        Of proteins whose header does not say it.
    """

    def __init__(self, inputs: Sequence[str], taxon: int | None = None) -> None:
        self._other = Organism.of(taxon)
        self._inputs = [path for path in inputs if not (is_store(path) or holds_structures(path))]
        self._records = self._read()
        self._told: dict[str, Organism] = {}

    def look(self, ids: Sequence[str]) -> None:
        """Read on until the headers of some proteins are known, and forget those before.

        Blocks are asked for in the order of the files; for any other the files are read again
        from their beginning.

        Raises
        ------
        InputError
            A file that is not FASTA.
        """
        wanted = {id for id in ids if id not in self._told}
        if not wanted:
            return
        self._told = {}
        wanted = set(ids)
        for _ in range(2):  # what is not behind this place may be before it
            for record in self._records:
                if record.id in wanted:
                    wanted.discard(record.id)
                    self._told[record.id] = organism_of(record.description)
                    if not wanted:
                        return
            self._records = self._read()
        self._told |= dict.fromkeys(wanted, Organism())

    def __getitem__(self, id: str) -> Organism:
        """Return what is known; of a header without a number, the number is the user's."""
        self.look([id])
        told = self._told[id]
        if told == Organism() or (told.taxon is None and self._other.taxon is not None):
            return self._other
        return told

    def _read(self) -> Iterator[ProteinRecord]:
        for path in self._inputs:
            yield from read_fasta(path, on_failure=_pass_over)


class PossibleTerms:
    """Which terms of an ontology are possible for organisms; made once for each of these."""

    def __init__(self, ontology: Ontology) -> None:
        self._ontology = ontology
        self._known: dict[Organism, tuple[np.ndarray, np.ndarray]] = {}

    def of(self, organisms: Sequence[Organism], scored: Scored) -> tuple[np.ndarray, np.ndarray]:
        """Judge pairs of a block.

        Parameters
        ----------
        organisms
            Of the proteins of the block.
        scored
            Pairs by protein, then by number of the term.

        Returns
        -------
        tuple
            Which pairs are impossible, ``(E,)`` bool; and the log odds of the others, ``(E,)``:
            those of a general term are at most those of a possible term below it.
        """
        never, general = np.zeros((2, len(scored.rows)), dtype=bool)
        for organism in set(organisms) - {Organism()}:
            own = np.array([one == organism for one in organisms])[scored.rows]
            impossible, wide = self._terms(organism)
            never[own] = impossible[scored.terms[own]]
            general[own] = wide[scored.terms[own]]
        if not general.any():
            return never, scored.log_odds
        kept = np.flatnonzero(~never & ~general)
        places, above = graph.expand(self._ontology.closure, scored.terms[kept])
        keys = scored.rows * len(self._ontology) + scored.terms
        wanted = scored.rows[kept][places] * len(self._ontology) + above
        targets = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        there = keys[targets] == wanted  # roots are no pairs
        best, has = np.full(len(keys), -np.inf), np.zeros(len(keys), dtype=bool)
        np.maximum.at(best, targets[there], scored.log_odds[kept][places[there]])
        has[targets[there]] = True
        odds = np.where(general & has, np.minimum(scored.log_odds, best), scored.log_odds)
        return never | (general & ~has), odds

    def _terms(self, organism: Organism) -> tuple[np.ndarray, np.ndarray]:
        # One organism differs from another of its kingdom only where a release names it.
        named = f"never_in_taxon:{organism.taxon}" in self._ontology.subsets
        key = Organism(organism.taxon if named else None, organism.kingdom)
        if key not in self._known:
            impossible = impossible_terms(self._ontology, key)
            general = np.zeros(len(impossible), dtype=bool)
            if organism.is_prokaryote:
                general = general_terms(self._ontology, impossible)
            self._known[key] = impossible, general
        return self._known[key]


def _pass_over(_failure: Failure) -> None:
    """Leave it to whoever embeds the record."""
