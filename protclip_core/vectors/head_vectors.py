"""The vectors that a head is fitted on or predicts from: of a store, or of FASTA files.

They come in blocks, so that a head predicts for any number of proteins in little memory.

Legend: N proteins of a block, D width of a vector.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np

from protclip_core.errors import InputError, ModelError, UsageError
from protclip_core.heads.card import HeadInput, check_input
from protclip_core.measure.nearest import usable_rows
from protclip_core.models.info import DEFAULT_MODEL, describe_model
from protclip_core.progress import Progress
from protclip_core.records import Failure
from protclip_core.store.reader import EmbeddingStore
from protclip_core.vectors.embed_job import EmbedReport
from protclip_core.vectors.embed_request import EmbedRequest
from protclip_core.vectors.embed_rows import embed_rows
from protclip_core.vectors.protein_source import is_store

__all__ = ["VectorBlock", "VectorSource", "open_vectors", "read_all"]

_log = logging.getLogger(__name__)
_STORE_ROWS = 4096
_KEPT_FAILURES = 5


@dataclass(frozen=True, eq=False)
class VectorBlock:
    """Some proteins.

    Attributes
    ----------
    ids
        Their ids.
    vectors
        ``(N, D)`` float32, finite and not zero.
    digests
        sha256 of the sequences ``(N, 32)`` uint8; zeros where a store does not know it.
    sequences
        Residues; ``None`` from a store, which has none.
    """

    ids: list[str]
    vectors: np.ndarray
    digests: np.ndarray
    sequences: list[str] | None


class VectorSource(AbstractContextManager["VectorSource"], Protocol):
    """Proteins in input order.

    Attributes
    ----------
    name
        Of the input, for messages.
    num_failures, first_failures
        Proteins without a vector, once `blocks` has ended; the first five of them.
    """

    name: str
    num_failures: int
    first_failures: list[Failure]

    @property
    def input(self) -> HeadInput:
        """What the vectors are; of FASTA files known once the first block is there."""

    def blocks(self, progress: Progress) -> Iterator[VectorBlock]:
        """Yield all proteins that have a vector, once."""


def open_vectors(
    inputs: Sequence[str],
    *,
    like: HeadInput | None = None,
    model: str | None = None,
    space: str = "encoder",
    device: str = "auto",
    workers: int | None = None,
    on_error: str = "fail",
) -> VectorSource:
    """Open proteins to fit a head on or to predict for.

    Parameters
    ----------
    inputs
        FASTA files, ``-`` for standard input; or one store, told by its content.
    like
        The vectors that a head takes; FASTA files are embedded so, a store has to hold them.
    model
        Name or path, for FASTA files; default that of ``like``, else the default model.
    space
        For FASTA files without ``like``.
    device, workers, on_error
        As `protclip_core.vectors.embed_job.EmbedRequest` has them. A store's vector that is zero or
        not finite is an error, or with ``"skip"`` a failure.

    Raises
    ------
    UsageError
        A store among several inputs.
    ModelError
        A store that cannot be read, does not say how it was made, holds other vectors than
        ``like``, or vectors that cannot be used; no such model.
    """
    stores = [path for path in inputs if is_store(path)]
    if not stores:
        options: dict[str, Any] = {"space": space}
        if like is not None:
            options = {"space": like.space, "pooling": like.pooling, "layer": like.layer}
        name = model or (like.model if like is not None else DEFAULT_MODEL)
        if like is not None:
            _check_model(name, like)
        request = EmbedRequest(
            inputs=tuple(inputs),
            model=name,
            device=device,
            workers=workers,
            on_error=on_error,
            **options,
        )
        return _FastaVectors(request, like)
    if len(inputs) > 1:
        raise UsageError(
            "is a store, and other inputs are given too",
            where=stores[0],
            hint="give it alone, or join stores with protclip store merge",
        )
    return _StoreVectors(Path(stores[0]), like, on_error)


def read_all(source: VectorSource, progress: Progress) -> VectorBlock:
    """Read all proteins of a source into one block.

    Raises
    ------
    InputError
        It has none.
    """
    blocks = list(source.blocks(progress))
    if not blocks:
        raise InputError("holds no proteins", where=source.name)
    sequences: list[str] | None = []
    for block in blocks:
        sequences = None if sequences is None or block.sequences is None else sequences
        if sequences is not None and block.sequences is not None:
            sequences += block.sequences
    return VectorBlock(
        [id for block in blocks for id in block.ids],
        np.concatenate([block.vectors for block in blocks]),
        np.concatenate([block.digests for block in blocks]),
        sequences,
    )


def _check_model(name: str, like: HeadInput) -> None:
    """Refuse another model than the head's before anything is embedded, where that can be told."""
    info = describe_model(name)
    if info.bundle is not None:
        given = replace(
            like,
            model=info.name,
            weights_sha256=info.bundle.weights_sha256,
            config_sha256=info.config_sha256,
        )
        check_input(like, given, name)


class _FastaVectors:
    """FASTA files, embedded on the way."""

    def __init__(self, request: EmbedRequest, like: HeadInput | None) -> None:
        self.name = "<stdin>" if request.inputs[0] == "-" else request.inputs[0]
        self.num_failures, self.first_failures = 0, list[Failure]()
        self._request, self._like = request, like
        self._input: HeadInput | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: object, _trace: TracebackType | None
    ) -> None:
        """Nothing is open."""

    @property
    def input(self) -> HeadInput:
        """See `VectorSource`."""
        assert self._input is not None
        return self._input

    def blocks(self, progress: Progress) -> Iterator[VectorBlock]:
        """See `VectorSource`."""
        sequences: list[str] = []

        def see(job: Any, residues: list[str]) -> None:  # noqa: ANN401 (an `EmbedJob`)
            sequences[:] = residues
            if self._input is None:
                made = {"model": job.model.info.name, **job.key()}
                self._input = HeadInput.of_store(made, job.dim)
                if self._like is not None:
                    check_input(self._like, self._input, self.name)

        for block in embed_rows(self._request, progress, see=see):
            if isinstance(block, EmbedReport):
                self.num_failures, self.first_failures = block.num_failures, block.first_failures
            elif block[0]:
                records, vectors = block
                digests = np.frombuffer(b"".join(r.digest for r in records), np.uint8)
                ids = [record.id for record in records]
                yield VectorBlock(ids, vectors, digests.reshape(-1, 32), list(sequences))


class _StoreVectors:
    """A store."""

    def __init__(self, path: Path, like: HeadInput | None, on_error: str) -> None:
        self.name = str(path)
        self.num_failures, self.first_failures = 0, list[Failure]()
        self._store = EmbeddingStore.open(path)
        try:
            self._input = HeadInput.of_store(self._store.attributes, self._store.dim)
            if like is not None:
                check_input(like, self._input, self.name)
            if on_error == "fail":
                self._refuse_unusable()
        except BaseException:
            self._store.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: object, _trace: TracebackType | None
    ) -> None:
        self._store.close()

    @property
    def input(self) -> HeadInput:
        """See `VectorSource`."""
        return self._input

    def blocks(self, progress: Progress) -> Iterator[VectorBlock]:
        """See `VectorSource`."""
        progress.start("reading", len(self._store), "proteins")
        digests, start = self._store.digests, 0
        for ids in self._store.iter_ids(_STORE_ROWS):
            vectors = self._store.read(slice(start, start + len(ids)))
            usable = usable_rows(vectors)
            for row in np.flatnonzero(~usable).tolist():
                self._fail(start + row, ids[row])
            own = digests[start : start + len(ids)]
            start += len(ids)
            if usable.any():
                kept = [ids[row] for row in np.flatnonzero(usable)]
                yield VectorBlock(kept, vectors[usable], own[usable], None)
            progress.advance(len(ids))
        progress.finish()

    def _fail(self, row: int, id: str) -> None:
        self.num_failures += 1
        if len(self.first_failures) < _KEPT_FAILURES:
            reason = "its vector is zero or not finite"
            self.first_failures.append(Failure(self.name, row + 1, id, reason))

    def _refuse_unusable(self) -> None:
        """Look at all vectors before a first prediction is written."""
        for start in range(0, len(self._store), _STORE_ROWS):
            rows = slice(start, start + _STORE_ROWS)
            for row in np.flatnonzero(~usable_rows(self._store.read(rows))).tolist():
                self._fail(start + row, self._store.ids[start + row])
        if not self.num_failures:
            return
        told = [f"{failure.where}: {failure.reason}" for failure in self.first_failures]
        raise ModelError(
            f"{self.num_failures:,} of its {len(self._store):,} vectors cannot be used: they are "
            "zero or not finite",
            where=self.name,
            hint="embed these proteins again, or leave them out with --on-error skip",
            details=told,
        )
