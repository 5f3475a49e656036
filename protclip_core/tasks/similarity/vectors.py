"""Vectors that are read in any order: in a temporary file, mapped into memory.

All pairs of a large input need each vector many times. In a mapped file they can be read in any
order, and memory holds only what is being looked at.

Legend: N proteins, P width of a vector.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self, cast

import numpy as np
import numpy.typing as npt

from protclip_core.errors import InputError
from protclip_core.io.atomic import disk_error, require_space
from protclip_core.measure.composition import RESIDUES, composition
from protclip_core.measure.nearest import block_rows, usable_rows
from protclip_core.progress import Progress
from protclip_core.records import Failure
from protclip_core.vectors.block import KEPT_FAILURES, Source, no_usable, no_vector
from protclip_core.vectors.named import NamedRows
from protclip_core.vectors.source import FastaSource

__all__ = ["Proteins", "VectorRows"]

Floats = npt.NDArray[np.float32]


class VectorRows:
    """Vectors ``(N, P)`` float32 in a temporary file, which is gone once they are closed.

    Parameters
    ----------
    blocks
        The vectors in order.
    space
        ``"joint"`` or ``"encoder"``.
    size
        Bytes that they will need, 0 where this is not known.

    Attributes
    ----------
    usable
        Which have a direction ``(N,)`` bool: finite and not zero.
    width
        P; 0 where there are none.

    Raises
    ------
    ResourceError
        The disk of temporary files is full.
    """

    def __init__(self, blocks: Iterator[Floats], space: str, size: int = 0) -> None:
        self.space, self.width = space, 0
        folder = tempfile.gettempdir()
        require_space(Path(folder) / "protclip-vectors", size)
        usable = [np.zeros(0, bool)]
        try:
            self._file = cast(BinaryIO, tempfile.TemporaryFile(prefix="protclip-"))  # noqa: SIM115
        except OSError as error:
            raise disk_error(error, folder) from error
        try:
            for block in blocks:
                usable.append(usable_rows(block))
                self.width = block.shape[1]
                self._write(block, folder)
            self.usable = np.concatenate(usable)
            shape = (len(self.usable), self.width)
            self._values: Any = np.zeros(shape, np.float32)
            if self._values.size:
                self._values = np.memmap(self._file, np.float32, "r", shape=shape)
        except BaseException:
            self._file.close()
            raise

    def _write(self, block: Floats, folder: str) -> None:
        try:
            self._file.write(np.ascontiguousarray(block, np.float32).tobytes())
            self._file.flush()
        except OSError as error:
            raise disk_error(error, folder) from error

    def __len__(self) -> int:
        return len(self.usable)

    def read(self, rows: slice | npt.NDArray[np.int64]) -> Floats:
        """Return vectors ``(n, P)``; NaN where they are not usable."""
        found = np.array(self._values[rows])
        found[~self.usable[rows]] = np.nan
        return found

    def blocks(self) -> Iterator[Floats]:
        """Yield all vectors in order, some megabytes at a time."""
        size = block_rows(self.width)
        for start in range(0, len(self), size):
            yield self.read(slice(start, start + size))

    def close(self) -> None:
        """Give up the file."""
        self._values = np.zeros((0, self.width), np.float32)
        self._file.close()


class Proteins:
    """Proteins by row and by name, with vectors that are read in any order.

    Ids, and all that belongs to them, are there after the first call of `vectors`.

    Parameters
    ----------
    source
        The proteins, opened to ``"keep"`` vectors that cannot be used; closed with this.

    Attributes
    ----------
    name
        Name of the input, for messages.
    ids, lengths
        Of the proteins, in input order; a length is 0 where it is not known.
    shares
        Shares of the twenty residues ``(N, 20)`` float32; None where no sequences are known.
    num_failures, first_failures
        Proteins without a usable vector; the first five of them.
    """

    def __init__(self, source: Source) -> None:
        self.source, self.name = source, source.name
        self.ids: list[str] = []
        self.lengths = np.zeros(0, np.int64)
        self.shares: Floats | None = None
        self.num_failures, self.first_failures = 0, list[Failure]()
        self._held: dict[str, VectorRows] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: object, _trace: TracebackType | None
    ) -> None:
        for rows in self._held.values():
            rows.close()
        self.source.close()

    def __len__(self) -> int:
        return len(self.ids)

    def find(self, name: str) -> int | str:
        """Return the row of a protein, or why there is none; see `NamedRows`."""
        return self._names.find(name)

    def vectors(self, space: str | None, progress: Progress) -> VectorRows:
        """Return the vectors in a space: ``"joint"``, ``"encoder"``, None for the better one.

        Raises
        ------
        UsageError, ModelError
            As `Source.resolve`, and what the source raises while it is read.
        InputError
            No proteins, an id twice, or no vector that can be used.
        ResourceError
            The disk of temporary files is full.
        """
        source, space = self.source, self.source.resolve(space)
        # Sequences are embedded once; their vectors are projected from the file that has them.
        of_sequences = isinstance(source, FastaSource) and not source.is_structural
        first = "encoder" if of_sequences else space
        if first not in self._held:
            self._held[first] = self._read(first, progress)
        if space not in self._held and isinstance(source, FastaSource):
            assert source.job.protein is not None
            blocks = map(source.job.protein.project, self._held[first].blocks())
            self._held[space] = VectorRows(blocks, space)
        found = self._held[space]
        if not found.usable.any():
            raise no_usable(self.name, len(found))
        return found

    def _read(self, space: str, progress: Progress) -> VectorRows:
        """Read the proteins; those whose vector has no direction are failures."""
        ids: list[str] = []
        lengths = [np.zeros(0, np.int64)]
        shares: list[Floats] = []

        def blocks() -> Iterator[Floats]:
            for block in self.source.blocks(progress, space):
                ids.extend(block.ids)
                lengths.append(block.columns()[0])
                if block.sequences is not None:
                    shares.append(composition(block.sequences)[:, : len(RESIDUES)])
                yield block.vectors

        found = VectorRows(blocks(), space, self.source.num_bytes)
        if self._held:
            return found
        self._held[space] = found  # closed with the others, whatever happens below
        if not ids:
            raise InputError(
                "holds no proteins", code="input.empty", where=self.name, hint="embed some first"
            )
        self._names = NamedRows(self.name, ids)
        self.ids, self.lengths = ids, np.concatenate(lengths)
        known = np.concatenate(shares) if shares else None
        self.shares = known if known is not None and len(known) == len(ids) else None
        bad = np.flatnonzero(~found.usable).tolist()
        self.num_failures = self.source.num_failures + len(bad)
        named = [no_vector(self.name, row, ids[row]) for row in bad[:KEPT_FAILURES]]
        self.first_failures = (self.source.first_failures + named)[:KEPT_FAILURES]
        return found
