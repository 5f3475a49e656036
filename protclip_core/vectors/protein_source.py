"""Where the proteins of an annotation come from: FASTA files, or a store of their vectors.

Legend: N proteins of a block, P joint width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import numpy as np

from protclip_core.errors import InputError, UsageError
from protclip_core.measure.nearest import usable_rows
from protclip_core.models.info import DEFAULT_MODEL, ModelInfo, describe_model
from protclip_core.progress import Progress
from protclip_core.records import Failure
from protclip_core.store.format import FORMAT, HDF5_SIGNATURE
from protclip_core.store.reader import EmbeddingStore
from protclip_core.vectors.embed_job import EmbedReport
from protclip_core.vectors.embed_request import EmbedRequest
from protclip_core.vectors.embed_rows import embed_rows
from protclip_core.vectors.sequence_queue import SequenceQueue
from protclip_core.vectors.store_model import StoreModel, StoreVectors, resolve_space

__all__ = ["Block", "ProteinSource", "is_store", "open_source"]

#: Ids of some proteins and their unit vectors ``(N, P)``, float32.
Block = tuple[list[str], np.ndarray]
_STORE_ROWS = 1024
_KEPT_FAILURES = 5


class ProteinSource(AbstractContextManager["ProteinSource"], Protocol):
    """Proteins in input order, as vectors of the joint space of a model.

    Attributes
    ----------
    info
        The model.
    num_failures, first_failures
        Proteins without a vector, once `blocks` has ended; the first five of them.
    """

    info: ModelInfo
    num_failures: int
    first_failures: list[Failure]

    def blocks(self, progress: Progress) -> Iterator[Block]:
        """Yield all proteins that have a vector, once."""


def open_source(
    inputs: Sequence[str],
    *,
    model: str | None,
    device: str = "auto",
    workers: int | None = None,
    on_error: str = "fail",
    sequences: SequenceQueue | None = None,
) -> ProteinSource:
    """Open what is to be annotated.

    Parameters
    ----------
    inputs
        FASTA files, ``-`` for standard input; or one store, told by its content.
    model
        Name or path; default the one that made the store, else the default model.
    device, workers, on_error
        As `protclip_core.vectors.embed_job.EmbedRequest` has them.
    sequences
        Is given the sequences of all proteins that have a vector, in the order of the blocks;
        a store has none.

    Raises
    ------
    UsageError
        A store among several inputs, or where sequences are asked for; a model without a joint
        space.
    ModelError
        No such model; a store that cannot be read, or was made by another model.
    """
    stores = [path for path in inputs if is_store(path)]
    if not stores:
        return _FastaSource(inputs, model or DEFAULT_MODEL, device, workers, on_error, sequences)
    if len(inputs) > 1:
        raise UsageError(
            "is a store, and other inputs are given too",
            where=stores[0],
            hint="annotate it alone, or join stores with protclip store merge",
        )
    if sequences is not None:
        raise UsageError(
            "is a store: it keeps no sequences, and only they say which residues matter",
            where=stores[0],
            hint="give the FASTA file that it was made of",
        )
    return _StoreSource(Path(stores[0]), model, device)


def is_store(path: str) -> bool:
    """Tell whether a plain file is HDF5: the signature may stand behind a block of the user's."""
    if path == "-" or not Path(path).is_file():
        return False
    try:
        with Path(path).open("rb") as file:
            start = file.read(2048 + len(HDF5_SIGNATURE))
    except OSError:
        return False  # whoever reads it says why
    places = (0, 512, 1024, 2048)
    signed = any(start.startswith(HDF5_SIGNATURE, place) for place in places)
    return signed or start.startswith(FORMAT.encode())


class _FastaSource:
    """FASTA files, embedded on the way."""

    def __init__(
        self,
        inputs: Sequence[str],
        model: str,
        device: str,
        workers: int | None,
        on_error: str,
        sequences: SequenceQueue | None,
    ) -> None:
        self._see = None if sequences is None else sequences.put
        self.info = describe_model(model)
        self.num_failures, self.first_failures = 0, list[Failure]()
        self._request = EmbedRequest(
            inputs=tuple(inputs),
            model=model,
            space="joint",
            device=device,
            workers=workers,
            on_error=on_error,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: object, _trace: TracebackType | None
    ) -> None:
        """Nothing is open."""

    def blocks(self, progress: Progress) -> Iterator[Block]:
        """See `ProteinSource`."""
        for block in embed_rows(self._request, progress, see=self._see):
            if isinstance(block, EmbedReport):
                self.num_failures, self.first_failures = block.num_failures, block.first_failures
            elif block[0]:
                yield [record.id for record in block[0]], _unit(block[1])


class _StoreSource:
    """A store, projected on the way where it holds vectors of the encoder."""

    def __init__(self, path: Path, model: str | None, device: str) -> None:
        self._store = EmbeddingStore.open(path)
        try:
            made_by = StoreModel(self._store, model, device)
            self._vectors = StoreVectors(made_by, resolve_space(made_by, "joint", texts=True))
            self.info = made_by.info
        except BaseException:
            self._store.close()
            raise
        self.num_failures, self.first_failures = 0, list[Failure]()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: object, _trace: TracebackType | None
    ) -> None:
        self._store.close()

    def blocks(self, progress: Progress) -> Iterator[Block]:
        """See `ProteinSource`."""
        progress.start("annotating", len(self._store), "proteins")
        start = 0
        for ids in self._store.iter_ids(_STORE_ROWS):
            vectors = self._vectors.read(slice(start, start + len(ids)))
            usable = usable_rows(vectors)
            for row in np.flatnonzero(~usable).tolist():
                self._fail(start + row, ids[row])
            start += len(ids)
            if usable.any():
                yield [ids[row] for row in np.flatnonzero(usable)], _unit(vectors[usable])
            progress.advance(len(ids))
        progress.finish()
        if start and self.num_failures == start:
            raise InputError(
                f"none of its {start:,} vectors can be used: they are zero or not finite",
                where=str(self._store.path),
            )

    def _fail(self, row: int, id: str) -> None:
        self.num_failures += 1
        if len(self.first_failures) < _KEPT_FAILURES:
            reason = "its vector is zero or not finite"
            self.first_failures.append(Failure(str(self._store.path), row + 1, id, reason))


def _unit(vectors: np.ndarray) -> np.ndarray:
    """Make rows as long as 1: float16 stores, and rounding, leave them a little off."""
    norm = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    return (vectors / norm).astype(np.float32)
