"""Files with one dataset per protein: our per-protein layout, and the files of other tools.

Ours is described in `protclip_core.store.format`. Foreign files come from UniProt
(``per-protein.h5``), ProtTrans, bio_embeddings and goPredSim: vectors ``(D)`` or ``(1, D)``, or
matrices ``(L, D)``, under the id or, in bio_embeddings, under another key with the id in the
attribute ``original_id``.
"""

from __future__ import annotations

from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from protclip_core.errors import ModelError, UsageError
from protclip_core.records import printable
from protclip_core.store.format import (
    Block,
    Columns,
    checked_dataset,
    chunk_rows,
    duplicate_id,
    id_to_key,
    ids_sha256,
    key_to_id,
    no_residues,
    reading,
)

__all__ = ["PerProteinLayout", "put_per_protein", "text_of"]

# Files of other tools are walked; one made to take forever ends here.
_MOST_DEEP, _MOST_EMPTY = 64, 10_000


def put_per_protein(h5: h5py.File, block: Block, where: str) -> None:
    """Append a dataset for each protein of a block; InputError for an id that is there."""
    stops = np.cumsum(block.lengths)
    for i, id in enumerate(block.ids):
        key = id_to_key(id)
        if key in h5:
            raise duplicate_id(where, id)
        data = block.vectors[i]
        if block.residues is not None:
            data = block.residues[stops[i] - block.lengths[i] : stops[i]]
        rows = min(len(data), chunk_rows(data.strides[0])) if data.ndim == 2 else len(data)
        dataset = h5.create_dataset(key, data=data, chunks=(rows, *data.shape[1:]), fletcher32=True)
        dataset.attrs["original_id"] = id
        dataset.attrs["length"] = block.lengths[i]
        dataset.attrs["flags"] = block.flags[i]
        if block.sequence_lengths is not None:
            dataset.attrs["sequence_length"] = block.sequence_lengths[i]
        # Of fixed length, because HDF5's checksums do not cover strings of variable length.
        dataset.attrs["sequence_sha256"] = block.hexes[i]
        if block.residues is not None:
            dataset.attrs["embedding"] = block.vectors[i]


class PerProteinLayout:
    """Reader of files with one dataset per protein.

    Parameters
    ----------
    h5
        Open file.
    where
        Its name for messages.
    own
        Whether this package wrote it; else nested groups are walked, and the id of a protein is
        ``original_id`` if the first dataset has one, else the path of its dataset.

    Raises
    ------
    ModelError
        A foreign file without float vectors, or a damaged one.
    """

    def __init__(self, h5: h5py.File, where: str, *, own: bool) -> None:
        self._h5, self._where, self._own = h5, where, own
        self.dtype: np.dtype[Any] = np.dtype(np.float32)
        self._ndim = 1
        with reading(where):
            self._keys: list[str] = list(h5) if own else _dataset_paths(h5)
            first = h5[self._keys[0]] if self._keys else None
            if own:
                self.dim, self.per_residue = int(h5.attrs["dim"]), bool(h5.attrs["per_residue"])
                self._ndim = 1 + self.per_residue
            elif first is None or first.ndim not in (1, 2) or first.dtype.kind != "f":
                what = f"{self._keys[0]} is {_kind(first)}" if first is not None else "it is empty"
                raise ModelError(
                    f"does not hold vectors of proteins: {printable(what, 120)}",
                    code="model.not_embeddings",
                    where=where,
                    hint="give a file written by protclip, UniProt, ProtTrans or bio_embeddings",
                )
            else:
                self.dim, self._ndim = int(first.shape[-1]), first.ndim
                self.per_residue = first.ndim == 2 and not self._is_one_row_each()
            if first is not None:
                self.dtype = checked_dataset(h5, self._keys[0], "f", own=own).dtype
            if self.dim < 1:
                raise ValueError(f"embeddings of width {self.dim}")
        self.n = len(self._keys)

    def _is_one_row_each(self) -> bool:
        """Tell vectors ``(1, D)`` from residues: no file has proteins of one residue only."""
        return all(self._h5[key].shape[:1] == (1,) for key in self._keys)

    def read_ids(self) -> list[str]:
        """Return the N ids, in input order for our files, in order of their keys for others."""
        with reading(f"{self._where}:ids"):
            if self._own:
                ids = [key_to_id(key) for key in self._keys]
                if ids_sha256(ids) != self._h5.attrs["ids_sha256"]:
                    raise ValueError("the ids do not match ids_sha256")
                return ids
            if "original_id" not in self._h5[self._keys[0]].attrs:
                return list(self._keys)
            return [text_of(self._h5[key].attrs["original_id"]) for key in self._keys]

    def read_columns(self) -> Columns:
        """Return lengths, flags and sequence hashes; opens every dataset."""
        lengths = np.zeros(self.n, np.int64)
        flags = np.zeros(self.n, np.uint16)
        digests = np.zeros((self.n, 32), np.uint8)
        whole = np.zeros(self.n, np.int64)
        for row in range(self.n):
            with reading(self._place(row)):
                if not self._own and not self.per_residue:
                    continue
                dataset = self._dataset(row)
                if self._own:
                    lengths[row] = dataset.attrs["length"]
                    flags[row] = dataset.attrs["flags"]
                    digest = bytes.fromhex(text_of(dataset.attrs["sequence_sha256"]))
                    digests[row] = np.frombuffer(digest, np.uint8).reshape(32)
                    whole[row] = dataset.attrs.get("sequence_length", 0)
                else:
                    lengths[row] = dataset.shape[0]
        return Columns(lengths, flags, digests, whole if whole.any() else None)

    def read_vectors(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        """Return the vectors ``(n, D)`` of rows in any order, in the type of the file."""
        if self.per_residue and not self._own:
            raise UsageError(
                "holds residue embeddings only, not one embedding per protein",
                code="usage.residues_only",
                where=self._where,
                hint="give the per-protein file",
            )
        vectors = np.empty((len(rows), self.dim), self.dtype)
        for i, row in enumerate(rows):
            with reading(self._place(int(row))):
                dataset = self._dataset(int(row))
                vector = dataset.attrs["embedding"] if self.per_residue else dataset[:]
                if self._ndim == 2 and not self.per_residue:
                    vector = vector[0]
                if vector.shape != (self.dim,):
                    raise ValueError(f"vector of shape {vector.shape}, expected ({self.dim},)")
                vectors[i] = vector
        return vectors

    def read_residues(self, row: int) -> npt.NDArray[Any]:
        """Return the residue embeddings ``(L, D)`` of one protein, in the type of the file."""
        if not self.per_residue:
            raise no_residues(self._where)
        with reading(self._place(row)):
            dataset = self._dataset(row)
            if self._own and dataset.attrs["length"] != dataset.shape[0]:
                raise ValueError(f"{dataset.shape[0]} rows for {dataset.attrs['length']} residues")
            return dataset[:]

    def problems(self) -> list[str]:
        """Return what contradicts the format apart from checksums; reads all but the vectors."""
        try:
            ids, columns = self.read_ids(), self.read_columns()
            wrong = [
                row
                for row in range(self.n)
                if self._own and self._h5[self._keys[row]].attrs["original_id"] != ids[row]
            ]
        except (ModelError, KeyError) as error:
            return [str(error)]
        found = [f"{self._place(row)}: original_id contradicts the key" for row in wrong]
        if len(set(ids)) != len(ids):
            found.append(f"ids: {len(ids) - len(set(ids))} occur twice")
        if (columns.lengths < 0).any():
            found.append("lengths: a negative length")
        return found

    def _dataset(self, row: int) -> h5py.Dataset:
        dataset = checked_dataset(self._h5, self._keys[row], "f", own=self._own)
        shape, ndim = dataset.shape, self._ndim
        if len(shape) != ndim or shape[-1] != self.dim:
            raise ValueError(f"{dataset.dtype} of shape {shape}, expected {ndim}-d, {self.dim}")
        return dataset

    def _place(self, row: int) -> str:
        return f"{self._where}:{printable(self._keys[row])}"


def _dataset_paths(h5: h5py.File) -> list[str]:
    """Return the path of every dataset below the root, in order of names; links are not followed.

    Ids with ``/`` became nested groups in files of other tools, so the path is the id.
    """
    found: list[str] = []
    groups = 0

    def visit(name: bytes, info: Any) -> str | None:
        nonlocal groups
        if info.type == h5py.h5o.TYPE_DATASET:
            found.append(name.decode("utf-8"))
        else:
            groups += 1
        if name.count(b"/") > _MOST_DEEP:
            return f"groups are nested more than {_MOST_DEEP} deep"
        if groups > _MOST_EMPTY + 10 * len(found):
            return f"{groups:,} groups hold {len(found):,} datasets"
        return None

    if problem := h5py.h5o.visit(h5.id, visit, info=True):
        raise ValueError(problem)
    return found


def _kind(dataset: h5py.Dataset) -> str:
    """Say of what type and shape a dataset is."""
    shape = " x ".join(map(str, dataset.shape)) or "a single value"
    return f"{dataset.dtype}, {shape}"


def text_of(value: object) -> str:
    """Return text that HDF5 gives as text or as bytes."""
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)
