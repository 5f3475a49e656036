"""The organisms of the proteins that are annotated: from their headers, or as the user says."""

from __future__ import annotations

from collections.abc import Sequence

from protclip_core.io.fasta import read_fasta
from protclip_core.io.structures import holds_structures
from protclip_core.ontology.taxa import Organism, organism_of
from protclip_core.records import Failure
from protclip_core.vectors.source import is_store

__all__ = ["Organisms"]


class Organisms:
    """What is known of the organism of each protein; kept in memory where a header tells it.

    Parameters
    ----------
    inputs
        FASTA files that can be read twice; stores and structures do not hold headers.
    taxon
        Of proteins whose header does not say it.

    Raises
    ------
    InputError
        A file that is not FASTA.
    """

    def __init__(self, inputs: Sequence[str], taxon: int | None = None) -> None:
        self._other = Organism.of(taxon)
        self._told: dict[str, Organism] = {}
        # One object for each organism, however many proteins are of it.
        known: dict[Organism, Organism] = {}
        for path in inputs:
            if is_store(path) or holds_structures(path):
                continue
            for record in read_fasta(path, on_failure=_pass_over):
                found = organism_of(record.description)
                if found != Organism():
                    self._told.setdefault(record.id, known.setdefault(found, found))

    def __getitem__(self, id: str) -> Organism:
        """Return what is known; of a header without a number, the number is the user's."""
        told = self._told.get(id, self._other)
        if told.taxon is None and self._other.taxon is not None:
            return self._other
        return told


def _pass_over(_failure: Failure) -> None:
    """Leave it to whoever embeds the record."""
