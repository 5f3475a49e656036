"""Annotated relatives of proteins: by their vectors in a store, or by an aligner.

Legend: N proteins of a block, P joint width, R annotated proteins of the reference.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from protclip_core.engines.local import usable_cores
from protclip_core.errors import UsageError
from protclip_core.io.aligners import LEAST_COVERAGE, Aligner, Hit, align
from protclip_core.io.fasta import read_fasta
from protclip_core.io.proteins import read_proteins
from protclip_core.measure.nearest import Neighbours as Nearby
from protclip_core.measure.nearest import nearest, usable_rows
from protclip_core.models.info import ModelInfo
from protclip_core.ontology.annotations import Annotations
from protclip_core.ontology.ontology import Ontology
from protclip_core.ontology.reference import Carried, accession_of, carried_by
from protclip_core.records import Failure, printable
from protclip_core.store.reader import EmbeddingStore
from protclip_core.terms.votes import (
    FULL_COVERAGE,
    MOST_HOMOLOGS,
    MOST_NEIGHBOURS,
    NEIGHBOUR_STEEPNESS,
    Relatives,
    neighbour_trust,
)
from protclip_core.vectors.store_model import StoreModel, StoreVectors, resolve_space

__all__ = ["Homologs", "Neighbours", "Relative", "RelativeSource", "as_relatives"]
__all__ += ["homolog_votes", "neighbour_votes"]

_log = logging.getLogger(__name__)

_STORE_ROWS = 4096
#: Place among the annotated proteins, weight, closeness, trust.
Relative = tuple[int, float, float, float]


class RelativeSource:
    """A reference of annotated proteins, and how many of those that asked it found relatives.

    Parameters
    ----------
    where
        The reference, for messages.
    carried
        Its annotated proteins.
    exclude_self
        Whether a protein is never its own relative, by id or accession.

    Attributes
    ----------
    carried
        As given; relatives are places in it.
    most
        Relatives of a protein that count.
    """

    most: int

    def __init__(self, where: str, carried: Carried, *, exclude_self: bool) -> None:
        self.where, self.carried, self._excludes = where, carried, exclude_self
        self._seen = self._without = self._selves = 0
        self._places: dict[str, set[int]] = {}
        for place, id in enumerate(carried.ids):
            self._places.setdefault(accession_of(id), set()).add(place)

    @property
    def provenance(self) -> str:
        """What was looked in, and with what, in one line."""
        raise NotImplementedError

    def of(self, ids: Sequence[str], vectors: np.ndarray) -> Relatives:
        """Return the relatives of proteins, by ids and by unit vectors ``(N, P)``."""
        raise NotImplementedError

    def tell(self) -> None:
        """Say who had no relative, and who found himself, once all have asked."""
        if self._without:
            text = "%s: %s of %s proteins have no annotated relative there; only the text counts"
            _log.warning(text, self.where, f"{self._without:,}", f"{self._seen:,}")
        if self._selves:
            done = "were left out" if self._excludes else "were learned from"
            hint = "" if self._excludes else "; --exclude-self leaves them out"
            text = "%s: %s of %s proteins are there themselves, and their own annotations %s%s"
            counts = f"{self._selves:,}", f"{self._seen:,}"
            _log.warning(text, self.where, *counts, done, hint)

    def _join(self, ids: Sequence[str], found: Sequence[Sequence[Relative]]) -> Relatives:
        """Keep the best of each protein, given best first."""
        kept: list[Relative] = []
        counts = []
        for id, own in zip(ids, found, strict=True):
            selves = self._places.get(accession_of(id), ())
            self._selves += any(place in selves for place, *_ in own)
            if self._excludes:
                own = [one for one in own if one[0] not in selves]
            kept += own[: self.most]
            counts.append(min(len(own), self.most))
        self._seen += len(ids)
        self._without += counts.count(0)
        return as_relatives(kept, counts)


def as_relatives(votes: Sequence[Relative], counts: Sequence[int]) -> Relatives:
    """Join the votes of a block; ``counts`` says how many each protein has."""
    table = np.array(votes, dtype=np.float64).reshape(-1, 4)
    rows = np.repeat(np.arange(len(counts)), np.array(counts, dtype=np.int64))
    return Relatives(rows, table[:, 0].astype(np.int64), *table[:, 1:].T)


def neighbour_votes(found: Nearby, size: int) -> list[list[Relative]]:
    """Return the votes of the nearest of some proteins, by how near they are to the nearest.

    Those of no trust (`neighbour_trust`), by ``size``, the proteins of the reference, are left
    out.
    """
    lists = []
    for places, scores in zip(found.rows, found.scores.astype(np.float64)):
        trust = neighbour_trust(scores, size)
        kept = (places >= 0) & (trust > 0)
        near = scores[kept]
        weights = np.exp(NEIGHBOUR_STEEPNESS * (near - near[:1]))
        columns = places[kept], weights, np.clip(near, 0.0, 1.0), trust[kept]
        lists.append(list(zip(*(one.tolist() for one in columns))))
    return lists


def homolog_votes(hits: Sequence[Hit], least_coverage: float = LEAST_COVERAGE) -> list[Relative]:
    """Return the votes of the hits of one protein, by bit score, that cover enough of it."""
    return [
        (hit.target, hit.bits, hit.identity / 100, min(hit.coverage / FULL_COVERAGE, 1.0))
        for hit in hits
        if hit.coverage >= least_coverage and hit.coverage > 0
    ]


class Neighbours(RelativeSource):
    """Annotated proteins of a store, by the cosine of their vectors in the joint space.

    The vectors of all of them are kept in memory, ``4 R P`` bytes.

    Parameters
    ----------
    path
        The store, made by the model that embeds what is annotated.
    annotations, ontology
        What is known of its proteins.
    info, device
        That model.
    exclude_self
        See `RelativeSource`.

    Raises
    ------
    ModelError
        The store is of another model, or cannot be read.
    InputError
        None of its proteins is annotated.
    """

    most = MOST_NEIGHBOURS

    def __init__(
        self,
        path: Path,
        annotations: Annotations,
        ontology: Ontology,
        info: ModelInfo,
        device: str,
        *,
        exclude_self: bool,
    ) -> None:
        with EmbeddingStore.open(path) as store:
            made_by = StoreModel(store, str(info.path), device)
            vectors = StoreVectors(made_by, resolve_space(made_by, "joint", texts=False))
            _ = made_by.info  # refuses a store of another model
            carried = carried_by(annotations, ontology, store.ids, str(path))
            size = _STORE_ROWS
            parts = [
                vectors.read(carried.rows[start : start + size])
                for start in range(0, len(carried), size)
            ]
        self._vectors = np.concatenate(parts)
        if lost := int((~usable_rows(self._vectors)).sum()):
            _log.warning("%s: %s vectors are zero or not finite: left out", path, f"{lost:,}")
        super().__init__(str(path), carried, exclude_self=exclude_self)

    @property
    def provenance(self) -> str:
        """See `RelativeSource`."""
        return f"neighbours: of {len(self.carried):,} annotated proteins of {self.where}"

    def of(self, ids: Sequence[str], vectors: np.ndarray) -> Relatives:
        """See `RelativeSource`."""
        found = nearest(vectors, self._vectors, self.most + self._excludes)
        return self._join(ids, neighbour_votes(found, len(self.carried)))


class Homologs(RelativeSource):
    """Annotated proteins of a FASTA file, by an aligner; weighted by bit score.

    All proteins are aligned at once, at the start.

    Parameters
    ----------
    reference
        FASTA file; only its annotated proteins are searched.
    inputs
        FASTA files of what is annotated; bad records are passed over, whoever embeds them says.
    annotations, ontology
        What is known of the reference.
    aligner
        From `find_aligner`.
    threads
        Of the aligner; default one a core.
    least_coverage
        A hit that covers less of the query, in percent, is not a relative.
    exclude_self
        See `RelativeSource`.

    Raises
    ------
    UsageError
        The reference is standard input.
    InputError
        Files that are not FASTA, or no annotated protein in the reference.
    WorkerLostError
        The aligner failed.
    """

    most = MOST_HOMOLOGS

    def __init__(
        self,
        reference: str,
        inputs: Sequence[str],
        annotations: Annotations,
        ontology: Ontology,
        *,
        aligner: Aligner,
        threads: int | None = None,
        least_coverage: float = LEAST_COVERAGE,
        exclude_self: bool,
    ) -> None:
        if reference == "-":
            raise UsageError(
                "--homology cannot be read from standard input",
                code="usage.stdin_twice",
                hint="give a file",
            )
        self._aligner, self._least = aligner, least_coverage
        ids = [record.id for record in read_fasta(reference)]
        carried = carried_by(annotations, ontology, ids, printable(reference, 1000))
        super().__init__(printable(reference, 1000), carried, exclude_self=exclude_self)
        self._queries: dict[str, int] = {}
        _log.info("aligning with %s", self._aligner)
        hits = align(
            self._aligner,
            self._read_queries(inputs),
            _sequences_at(reference, carried.rows),
            threads=threads or usable_cores(),
            # One more than are needed, should the first be the protein itself.
            most=self.most + 1,
        )
        self._hits: dict[int, list[Hit]] = {}
        for hit in hits:
            self._hits.setdefault(hit.query, []).append(hit)

    @property
    def provenance(self) -> str:
        """See `RelativeSource`."""
        searched = f"{len(self.carried):,} annotated proteins of {self.where}"
        return f"homology: {self._aligner}, in {searched}"

    def of(self, ids: Sequence[str], vectors: np.ndarray) -> Relatives:
        """See `RelativeSource`; vectors are not looked at."""
        lists = []
        for id in ids:
            lists.append(homolog_votes(self._hits_of(id), self._least))
        return self._join(ids, lists)

    def hit(self, id: str, place: int) -> Hit:
        """Return the hit of a protein, by id, to one of its relatives."""
        return next(hit for hit in self._hits_of(id) if hit.target == place)

    def _hits_of(self, id: str) -> list[Hit]:
        return self._hits.get(self._queries.get(id, -1), [])

    def _read_queries(self, inputs: Sequence[str]) -> Iterator[str]:
        for path in inputs:
            for record in read_proteins(path, on_failure=_pass_over):
                if record.id not in self._queries:
                    self._queries[record.id] = len(self._queries)
                    yield record.sequence


def _pass_over(_failure: Failure) -> None:
    """Leave it to whoever embeds the record."""


def _sequences_at(path: str, rows: np.ndarray) -> Iterator[str]:
    """Yield the sequences of some records, by their places."""
    wanted = set(rows.tolist())
    for place, record in enumerate(read_fasta(path)):
        if place in wanted:
            yield record.sequence
