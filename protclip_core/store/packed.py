"""The packed layout of an embedding store: one dataset per column.

Described in `protclip_core.store.format`. N proteins, D width, L residues of a protein.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from itertools import chain
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from protclip_core.errors import ModelError
from protclip_core.store.format import (
    Block,
    Columns,
    checked_dataset,
    chunk_rows,
    no_residues,
    reading,
)

__all__ = ["PackedLayout", "create_packed", "put_packed", "read_rows"]

# Most rows that one read covers, so that reading scattered rows stays within some megabytes.
_SPAN_ROWS = 4096
_IDS_TOGETHER = 65_536

#: The datasets with the kinds of their types; the last three only where a file has them.
_KINDS = {
    "embeddings": "f",
    "ids": "OS",
    "lengths": "iu",
    "flags": "iu",
    "sequence_sha256": "S",
    "offsets": "iu",
    "residues": "f",
    "sequence_lengths": "iu",
}


def create_packed(
    h5: h5py.File,
    dim: int,
    dtype: np.dtype[Any],
    *,
    per_residue: bool,
    is_cut: bool = False,
    num_proteins: int | None = None,
) -> None:
    """Make the empty datasets in a new file.

    ``is_cut`` makes the column of whole lengths; ``num_proteins``, where known, keeps the chunks of
    a small store small.
    """
    most = max(1, num_proteins) if num_proteins is not None else None
    # HDF5 gives strings of variable length no fletcher32; the attribute ids_sha256 covers them.
    h5.create_dataset(
        "ids", (0,), h5py.string_dtype(), maxshape=(None,), chunks=(min(1024, most or 1024),)
    )
    _create(h5, "embeddings", dtype, dim, most)
    _create(h5, "lengths", np.dtype("<i8"), most=most)
    _create(h5, "flags", np.dtype("<u2"), most=most)
    _create(h5, "sequence_sha256", np.dtype("S64"), most=most)
    if is_cut:
        _create(h5, "sequence_lengths", np.dtype("<i8"), most=most)
    if per_residue:
        _create(h5, "residues", dtype, dim)
        _create(h5, "offsets", np.dtype("<i8"))
        _extend(h5["offsets"], np.zeros(1, np.int64))


def put_packed(h5: h5py.File, block: Block) -> None:
    """Append a block of proteins."""
    _extend(h5["ids"], np.array(block.ids, dtype=object))
    _extend(h5["embeddings"], block.vectors)
    _extend(h5["lengths"], block.lengths)
    _extend(h5["flags"], block.flags)
    _extend(h5["sequence_sha256"], block.hexes)
    if block.sequence_lengths is not None:
        _extend(h5["sequence_lengths"], block.sequence_lengths)
    if block.residues is not None:
        start = h5["residues"].shape[0]
        _extend(h5["residues"], block.residues)
        _extend(h5["offsets"], start + np.cumsum(block.lengths))


def _create(
    h5: h5py.File, name: str, dtype: np.dtype[Any], width: int = 0, most: int | None = None
) -> None:
    tail = (width,) if width else ()
    rows = chunk_rows(dtype.itemsize * max(width, 1))
    rows = min(rows, most) if most is not None else rows
    h5.create_dataset(
        name, (0, *tail), dtype, maxshape=(None, *tail), chunks=(rows, *tail), fletcher32=True
    )


def _extend(dataset: h5py.Dataset, rows: npt.NDArray[Any]) -> None:
    if len(rows):
        start = dataset.shape[0]
        dataset.resize(start + len(rows), axis=0)
        dataset[start:] = rows


def read_rows(dataset: h5py.Dataset, rows: npt.NDArray[np.int64], where: str) -> npt.NDArray[Any]:
    """Return rows of a matrix, in any order and as often as they are named."""
    name = dataset.name.removeprefix("/")
    if len(rows) and rows[-1] - rows[0] == len(rows) - 1 and (np.diff(rows) == 1).all():
        # Whole stores are read so, block by block: no copy is worth making.
        low, high = int(rows[0]), int(rows[-1]) + 1
        with reading(f"{where}:{name}, rows {low} to {high - 1}"):
            block: npt.NDArray[Any] = dataset[low:high]
        return block
    wanted, back = np.unique(rows, return_inverse=True)
    vectors = np.empty((len(wanted), dataset.shape[1]), dataset.dtype)
    start = 0
    while start < len(wanted):
        # One read covers the rows of a span; fancy indexing in HDF5 is far slower.
        stop = int(np.searchsorted(wanted, wanted[start] + _SPAN_ROWS))
        low, high = int(wanted[start]), int(wanted[stop - 1]) + 1
        with reading(f"{where}:{name}, rows {low} to {high - 1}"):
            vectors[start:stop] = dataset[low:high][wanted[start:stop] - low]
        start = stop
    return vectors if np.array_equal(wanted, rows) else vectors[back.reshape(-1)]


class PackedLayout:
    """Reader of the packed layout.

    Parameters
    ----------
    h5
        Open file.
    where
        Its name for messages.

    Raises
    ------
    ModelError
        Datasets that are missing, of another type, or of sizes that contradict each other.
    """

    def __init__(self, h5: h5py.File, where: str) -> None:
        self._h5, self._where = h5, where
        with reading(where):
            self.per_residue = bool(h5.attrs["per_residue"])
            names = [*_KINDS][:-1] if self.per_residue else [*_KINDS][:-3]
            self._is_cut = "sequence_lengths" in h5
            names += ["sequence_lengths"] * self._is_cut
            columns = {n: checked_dataset(h5, n, _KINDS[n], own=True) for n in names}
            self._embeddings = columns["embeddings"]
            shape, self.dtype = self._embeddings.shape, self._embeddings.dtype
            if len(shape) != 2 or shape[1] < 1:
                raise ValueError(f"embeddings of shape {shape}")
            self.n, self.dim = map(int, shape)
            wanted: dict[str, tuple[int, ...]] = dict.fromkeys(names[1:], (self.n,))
            if self.per_residue:
                total = columns["residues"].shape[:1]
                wanted |= {"offsets": (self.n + 1,), "residues": (*total, self.dim)}
            for name, expected in wanted.items():
                if columns[name].shape != expected:
                    raise ValueError(f"{name} has shape {columns[name].shape}, expected {expected}")

    def read_ids(self) -> list[str]:
        """Return the N ids in file order, checked against ``ids_sha256``."""
        return list(chain.from_iterable(self.iter_ids(_IDS_TOGETHER)))

    def iter_ids(self, size: int) -> Iterator[list[str]]:
        """Yield the ids in blocks; whether they match ``ids_sha256`` is known after the last."""
        digest = hashlib.sha256()
        with reading(f"{self._where}:ids"):
            stored = self._h5["ids"].asstr()
            n = len(self._h5["ids"])
        for start in range(0, n, size):
            with reading(f"{self._where}:ids"):
                ids = stored[start : start + size].tolist()
                for id in ids:
                    digest.update(id.encode("utf-8") + b"\0")
            yield ids
        with reading(f"{self._where}:ids"):
            if digest.hexdigest() != self._h5.attrs["ids_sha256"]:
                raise ValueError("the ids do not match ids_sha256")

    def read_columns(self) -> Columns:
        """Return lengths, flags and sequence hashes."""
        with reading(f"{self._where}:lengths, flags, sequence_sha256"):
            hexes = self._h5["sequence_sha256"][:].astype("S64").tobytes()
            raw = bytes.fromhex(hexes.decode("ascii"))
            return Columns(
                self._h5["lengths"][:].astype(np.int64, copy=False),
                self._h5["flags"][:].astype(np.uint16, copy=False),
                np.frombuffer(raw, np.uint8).reshape(self.n, 32),
                self._h5["sequence_lengths"][:].astype(np.int64) if self._is_cut else None,
            )

    def read_vectors(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        """Return the vectors ``(n, D)`` of rows in any order, in the type of the file."""
        return read_rows(self._embeddings, rows, self._where)

    def read_residues(self, row: int) -> npt.NDArray[Any]:
        """Return the residue embeddings ``(L, D)`` of one protein, in the type of the file."""
        if not self.per_residue:
            raise no_residues(self._where)
        with reading(f"{self._where}:residues of row {row}"):
            start, stop = self._h5["offsets"][row : row + 2]
            length = self._h5["lengths"][row]
            if not 0 <= start <= stop <= self._h5["residues"].shape[0] or stop - start != length:
                raise ValueError(f"offsets {start} to {stop} for {length} residues")
            return self._h5["residues"][start:stop]

    def problems(self) -> list[str]:
        """Return what contradicts the format apart from checksums; reads all but the vectors."""
        try:
            ids, columns = self.read_ids(), self.read_columns()
            offsets = self._h5["offsets"][:] if self.per_residue else None
        except ModelError as error:
            return [str(error)]
        found = []
        if len(set(ids)) != len(ids):
            found.append(f"ids: {len(ids) - len(set(ids))} occur twice")
        if (columns.lengths < 0).any():
            found.append("lengths: a negative length")
        whole = columns.sequence_lengths
        if whole is not None and ((whole < columns.lengths) & (whole != 0)).any():
            found.append("sequence_lengths: less than was embedded")
        if offsets is not None:
            if offsets[0] != 0 or (np.diff(offsets) != columns.lengths).any():
                found.append("offsets: do not follow from the lengths")
            if offsets[-1] != self._h5["residues"].shape[0]:
                found.append("offsets: do not end with the last residue")
        return found
