"""Transfer of GO terms from annotated relatives, in addition to the text.

Legend: N proteins of a block, P joint width.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from protclip_core.errors import UsageError
from protclip_core.io.aligners import find_aligner
from protclip_core.models.info import ModelInfo
from protclip_core.ontology.ontology import Ontology
from protclip_core.ontology.reference import read_annotations
from protclip_core.tasks.annotate.request import TransferRequest
from protclip_core.terms.combine import TEXT, Supported, best_with_votes, with_votes
from protclip_core.terms.scores import GoScorer
from protclip_core.terms.transfer import KINDS, TransferWeights, find_transfer
from protclip_core.terms.votes import Votes, count_votes
from protclip_core.vectors.relatives import Homologs, Neighbours, RelativeSource
from protclip_core.vectors.source import is_store

__all__ = ["Support", "Transfer"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Support:
    """What speaks for a term of a protein.

    Attributes
    ----------
    evidence
        ``text`` and names of `KINDS`, at least one of them.
    source
        Id of the closest annotated protein that carries the term, of homology if there is one.
    identity
        Percent of identical residues of that, to three digits; None but for homology.
    coverage, evalue
        Of its alignment: percent of the query that is aligned, and e-value; None likewise.
    """

    evidence: tuple[str, ...]
    source: str | None
    identity: float | None
    coverage: float | None = None
    evalue: float | None = None


class Transfer:
    """Relatives of all kinds in the request, and the rule that joins them with the text.

    Parameters
    ----------
    request
        What to look for.
    inputs
        The proteins that are annotated: FASTA files that can be read twice, or a store.
    info
        The model that embeds them.
    ontology
        Of the model's index.
    device, workers
        Where the model, or the aligner, runs.

    Raises
    ------
    UsageError
        No kind of relative, a store where sequences are needed, or no aligner.
    InputError
        Annotations or a reference that cannot be used.
    ModelError
        A store of another model, or weights that are damaged.
    WorkerLostError
        The aligner failed.
    """

    def __init__(
        self,
        request: TransferRequest,
        inputs: Sequence[str],
        info: ModelInfo,
        ontology: Ontology,
        *,
        device: str = "auto",
        workers: int | None = None,
    ) -> None:
        if request.neighbours is None and request.homology is None:
            raise UsageError(
                "--annotations names proteins to learn from, but not where they are",
                code="usage.missing_option",
                hint="add --neighbours or --homology",
            )
        self.ontology = ontology
        self._kinds: dict[str, RelativeSource] = {}
        if request.homology is not None and (stores := [path for path in inputs if is_store(path)]):
            raise UsageError(
                "is a store: it does not hold sequences to align",
                code="usage.needs_sequences",
                where=stores[0],
                hint="give the FASTA file that it was made from",
            )
        # What is missing is told before long files are read.
        aligner = None if request.homology is None else find_aligner(request.aligner)
        self.weights: TransferWeights = find_transfer(info)
        known = read_annotations(
            request.annotations,
            ontology,
            evidence=request.evidence,
            on_error="skip" if request.on_error == "skip" else "error",
        )
        own = request.exclude_self
        if request.neighbours is not None:
            self._kinds["neighbours"] = Neighbours(
                request.neighbours, known, ontology, info, device, exclude_self=own
            )
        if request.homology is not None and aligner is not None:
            self._kinds["homology"] = Homologs(
                request.homology,
                inputs,
                known,
                ontology,
                aligner=aligner,
                threads=workers,
                least_coverage=request.min_coverage,
                exclude_self=own,
            )
        if not self.weights.is_fitted:
            _log.warning(
                "model %s has no weights for transfer: where a protein has annotated relatives, "
                "the share of them that carry a term is its probability, and the text is not used",
                info.name,
            )

    @property
    def provenance(self) -> tuple[str, ...]:
        """What was looked in and with what, a line for each kind."""
        return tuple(one.provenance for one in self._kinds.values())

    def above(
        self, scorer: GoScorer, ids: Sequence[str], vectors: np.ndarray, least: float
    ) -> Supported:
        """Return what `with_votes` does, for proteins of some ids."""
        return with_votes(scorer, vectors, self._votes(ids, vectors), self.weights, least)

    def best(
        self,
        scorer: GoScorer,
        ids: Sequence[str],
        vectors: np.ndarray,
        k: int,
        aspects: Sequence[int],
    ) -> Supported:
        """Return what `best_with_votes` does, for proteins of some ids."""
        votes = self._votes(ids, vectors)
        return best_with_votes(scorer, vectors, votes, self.weights, k, aspects)

    def support(self, ids: Sequence[str], scored: Supported, place: int) -> Support:
        """Tell what speaks for a pair, given by its place; ``ids`` are those of the block."""
        bits = int(scored.support[place])
        evidence = ["text"] if bits & TEXT else []
        evidence += [kind for n, kind in enumerate(KINDS) if bits & (TEXT << (n + 1))]
        for number, kind in reversed(list(enumerate(KINDS))):
            if (found := int(scored.sources[place, number])) < 0:
                continue
            looked = self._kinds[kind]
            source = looked.carried.ids[found]
            if not isinstance(looked, Homologs):
                return Support(tuple(evidence), source, None)
            hit = looked.hit(ids[scored.rows[place]], found)
            told = (float(f"{value:.3g}") for value in (hit.identity, hit.coverage, hit.evalue))
            return Support(tuple(evidence), source, *told)
        return Support(tuple(evidence), None, None)

    def tell(self) -> None:
        """Log the outcome, once all proteins have passed."""
        for kind in self._kinds.values():
            kind.tell()

    def _votes(self, ids: Sequence[str], vectors: np.ndarray) -> dict[str, Votes]:
        return {
            name: count_votes(kind.of(ids, vectors), kind.carried, len(ids), self.ontology.aspects)
            for name, kind in self._kinds.items()
        }
