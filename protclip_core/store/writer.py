"""Write an embedding store (format in `protclip_core.store.format`) so that it appears whole.

The store grows in a temporary file next to its target and is renamed onto it when it is complete
and on the disk. HDF5 never sees a failing write (`protclip_core.store.guarded_file`), so a full
disk is an ordinary error and leaves the old file as it was.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np
import numpy.typing as npt

from protclip_core.errors import ModelError
from protclip_core.interrupts import signals_deferred
from protclip_core.io.atomic import (
    check_writable_target,
    disk_error,
    file_lock,
    open_temp,
    publish,
    remove_stale_temps,
)
from protclip_core.records import printable
from protclip_core.store.format import (
    FLAGS_MEANING,
    FORMAT,
    FORMAT_VERSION,
    LAYOUTS,
    OWN_ATTRIBUTES,
    USER_BLOCK,
    Block,
    UserBlock,
    attributes_sha256,
    check_id,
    duplicate_id,
    hash_content,
)
from protclip_core.store.guarded_file import GuardedFile
from protclip_core.store.packed import create_packed, put_packed
from protclip_core.store.per_protein import put_per_protein

__all__ = ["StoreWriter"]


class StoreWriter:
    """Writer of one embedding store; a context manager that publishes at the end of the block.

    Parameters
    ----------
    path
        Target; an existing file is replaced when the store is complete. A process that holds
        `protclip_core.io.atomic.file_lock` on it already may write it from the same thread.
    dim
        D, width of an embedding.
    dtype
        ``"float32"`` or ``"float16"``; blocks of another float type are converted.
    attributes
        Provenance: names with strings or numbers.
    per_residue
        Whether every block brings ``residues``.
    layout
        ``"packed"`` or ``"per-protein"``.
    num_proteins
        How many will come, if known; a small store is then small on disk.
    is_cut
        Whether sequences are cut: then every block brings ``sequence_lengths``.

    Raises
    ------
    BusyError
        Another process is writing ``path``.
    UsageError
        ``path`` cannot be written.
    ResourceError
        The disk is full, here or in any later call. The temporary file is removed and an old
        file at ``path`` is untouched.
    """

    def __init__(
        self,
        path: str | Path,
        dim: int,
        dtype: npt.DTypeLike = "float32",
        attributes: Mapping[str, str | int | float] | None = None,
        *,
        per_residue: bool = False,
        layout: str = "packed",
        num_proteins: int | None = None,
        is_cut: bool = False,
    ) -> None:
        self._num_proteins, self.is_cut = num_proteins, is_cut
        self.path = Path(os.path.realpath(path))
        self.dim, self.dtype = int(dim), np.dtype(dtype)
        self.per_residue, self.layout = per_residue, layout
        provenance = {
            name: value.item() if isinstance(value, np.generic) else value
            for name, value in (attributes or {}).items()
        }
        if self.dtype not in (np.float32, np.float16) or layout not in LAYOUTS or self.dim < 1:
            raise ValueError(f"no store of dtype {dtype}, layout {layout!r}, dim {dim}")
        if clash := OWN_ATTRIBUTES & provenance.keys():
            raise ValueError(f"attribute names of the format itself: {sorted(clash)}")
        self._ids_digest = hashlib.sha256()
        self._id_hashes: list[npt.NDArray[np.uint64]] = []
        self._stack = ExitStack()
        try:
            check_writable_target(self.path)
            self._stack.enter_context(file_lock(self.path))
            remove_stale_temps(self.path)
            with signals_deferred():
                fd, self._temp = open_temp(self.path)
                self._stack.callback(self._temp.unlink, missing_ok=True)
                self._file = GuardedFile(fd)
                self._stack.callback(self._file.close)
                self._h5 = self._create(provenance)
                self._stack.callback(self._close_hdf5)
            self._check()
        except BaseException:
            self.abort()
            raise

    def write(
        self,
        ids: Sequence[str],
        vectors: npt.NDArray[Any],
        lengths: npt.NDArray[Any],
        flags: npt.NDArray[Any],
        digests: npt.NDArray[np.uint8],
        residues: npt.NDArray[Any] | None = None,
        sequence_lengths: npt.NDArray[Any] | None = None,
    ) -> None:
        """Append a block of n proteins; n may be 0.

        Parameters
        ----------
        ids
            n ids, unique in the store.
        vectors
            ``(n, D)``, finite.
        lengths, flags
            ``(n)``; residues of each sequence that were embedded, and `RecordFlag` values.
        digests
            ``(n, 32)`` uint8, sha256 of each sequence; zeros if unknown.
        residues
            ``(sum L, D)``, finite, in the order of the ids; only and always with ``per_residue``.
        sequence_lengths
            ``(n)``; residues of the whole sequences, 0 if unknown; only and always with
            ``is_cut``.

        Raises
        ------
        InputError
            An id with NUL, or (per-protein layout) one that was written before.
        ModelError
            A value is not finite, or not any more in the type of the store.
        ResourceError
            The disk is full. After any error the store is gone and takes no more blocks.
        """
        try:
            for id in ids:
                check_id(id, str(self.path))
            lengths = np.asarray(lengths, np.int64)
            vectors = self._converted("vectors", vectors, len(ids), ids)
            self._check_shapes(ids, lengths, flags, digests, residues)
            if residues is not None:
                residues = self._converted("residues", residues, int(lengths.sum()), None)
            hexes = np.frombuffer(bytes(digests).hex().encode("ascii"), "S64")
            if (sequence_lengths is not None) != self.is_cut:
                raise ValueError("sequence_lengths come with is_cut, and only then")
            if sequence_lengths is not None:
                sequence_lengths = np.asarray(sequence_lengths, np.int64).reshape(len(ids))
            flags = np.asarray(flags, np.uint16)
            block = Block(ids, vectors, lengths, flags, hexes, residues, sequence_lengths)
            with signals_deferred():
                if self.layout == "packed":
                    put_packed(self._h5, block)
                else:
                    put_per_protein(self._h5, block, str(self.path))
            self._check()
            self._note_ids(ids)
        except BaseException:
            self.abort()
            raise

    def close(self) -> None:
        """Complete the store and rename it onto its path; a second call does nothing.

        Raises
        ------
        InputError
            An id was written twice (packed layout).
        ResourceError
            The disk is full.
        """
        try:
            if not self._h5:
                return
            self._refuse_duplicates()
            with signals_deferred():
                self._h5.attrs["ids_sha256"] = self._ids_digest.hexdigest()
                self._h5.close()
            self._check()
            self._seal()
            publish(self._temp, self.path)
        finally:
            self.abort()

    def abort(self) -> None:
        """Give the store up: remove the temporary file and leave an old file as it was."""
        with signals_deferred():
            self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _error: object, _trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    def _create(self, provenance: Mapping[str, str | int | float]) -> h5py.File:
        # v110 puts checksums on HDF5's own structures too, and 1.10 is old enough for everyone.
        h5 = h5py.File(
            self._file,
            "w",
            libver=("v110", "v110"),
            userblock_size=USER_BLOCK,
            track_order=True,
            rdcc_nbytes=8 << 20,
        )
        own = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "layout": self.layout,
            "dim": self.dim,
            "per_residue": int(self.per_residue),
            "flags_meaning": FLAGS_MEANING,
            "attributes_sha256": attributes_sha256(provenance),
        }
        for name, value in {**own, **provenance}.items():
            h5.attrs[name] = value
        if self.layout == "packed":
            create_packed(
                h5,
                self.dim,
                self.dtype,
                per_residue=self.per_residue,
                is_cut=self.is_cut,
                num_proteins=self._num_proteins,
            )
        return h5

    def _converted(
        self, name: str, array: npt.NDArray[Any], n: int, ids: Sequence[str] | None
    ) -> npt.NDArray[Any]:
        if array.shape != (n, self.dim) or array.dtype.kind != "f":
            raise ValueError(f"{name} must be floats ({n}, {self.dim}), got {array.shape}")
        with np.errstate(over="ignore"):  # what overflows is refused just below
            array = np.ascontiguousarray(array, self.dtype)
        bad = np.flatnonzero(~np.isfinite(array).all(axis=1))
        if len(bad):
            place = f" ({printable(ids[bad[0]])})" if ids is not None else ""
            raise ModelError(
                f"{name} hold a value that is not a finite {self.dtype}",
                code="model.not_finite",
                where=f"{self.path}{place}",
                hint="store float32, or leave this protein out",
            )
        return array

    def _check_shapes(
        self,
        ids: Sequence[str],
        lengths: npt.NDArray[Any],
        flags: npt.NDArray[Any],
        digests: npt.NDArray[Any],
        residues: npt.NDArray[Any] | None,
    ) -> None:
        n = len(ids)
        if not self._h5:
            raise ValueError("the writer is closed")
        if lengths.shape != (n,) or np.shape(flags) != (n,):
            raise ValueError(f"lengths and flags must be ({n},)")
        if digests.shape != (n, 32) or digests.dtype != np.uint8:
            raise ValueError(f"digests must be ({n}, 32) uint8, got {digests.shape}")
        if (residues is not None) != self.per_residue:
            raise ValueError("residues come with per_residue, and only then")

    def _note_ids(self, ids: Sequence[str]) -> None:
        # Eight bytes a protein find a repeated id without holding the ids themselves.
        hashes = bytearray()
        for id in ids:
            name = id.encode("utf-8")
            self._ids_digest.update(name + b"\0")
            hashes += hashlib.blake2b(name, digest_size=8).digest()
        self._id_hashes.append(np.frombuffer(bytes(hashes), np.uint64))

    def _refuse_duplicates(self) -> None:
        if self.layout != "packed" or not self._id_hashes:
            return  # the per-protein layout refuses a repeated id when it is written
        hashes = np.concatenate(self._id_hashes)
        values, counts = np.unique(hashes, return_counts=True)
        suspects = np.flatnonzero(np.isin(hashes, values[counts > 1]))
        seen: set[str] = set()
        for row in suspects:
            id = self._h5["ids"][row].decode("utf-8")
            if id in seen:
                raise duplicate_id(self.path, id)
            seen.add(id)

    def _seal(self) -> None:
        """Write the user block and bring everything to the disk."""
        fd = self._file.fileno()
        try:
            with os.fdopen(os.dup(fd), "rb") as handle:
                digest, length = hash_content(handle)
            os.pwrite(fd, UserBlock(FORMAT_VERSION, digest, length).to_bytes(), 0)
            os.fsync(fd)
        except OSError as error:
            raise disk_error(error, self.path) from error

    def _check(self) -> None:
        try:
            self._file.check()
        except OSError as error:
            raise disk_error(error, self.path) from error

    def _close_hdf5(self) -> None:
        self._file.discard()
        with signals_deferred():
            self._h5.close()
