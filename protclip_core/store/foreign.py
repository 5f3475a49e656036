"""HDF5 files of other programs: a matrix with names, or one dataset for each protein.

What a file holds is told from its content, and what holds no vectors of proteins is named for
what it is. N proteins, D width of an embedding.
"""

from __future__ import annotations

from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from protclip_core.errors import ModelError
from protclip_core.store.format import Columns, checked_dataset, no_residues, reading
from protclip_core.store.packed import read_rows
from protclip_core.store.per_protein import PerProteinLayout, text_of

__all__ = ["MatrixLayout", "open_foreign"]

#: What the matrix and the names of its rows are called, where a file holds several.
_MATRICES = ("embeddings", "embedding", "vectors", "X", "emb", "representations", "features")
_NAMES = ("ids", "id", "protein_ids", "names", "accessions", "labels", "keys")


def open_foreign(h5: h5py.File, where: str) -> MatrixLayout | PerProteinLayout:
    """Return a reader for a file that does not say that it is ours.

    Raises
    ------
    ModelError
        It holds no vectors of proteins, or does not say whose they are.
    """
    with reading(where):
        _refuse_anndata(h5, where)
        found = _columns(h5)
        matrices = {name: one for name, one in found.items() if one.ndim == 2}
        names = {name: one for name, one in found.items() if one.ndim == 1}
        matrix = _one_of(matrices, _MATRICES)
        alone = len(matrices) == 1 and matrix is not None and matrix.name[1:] in _MATRICES
        if matrix is None or not (names or alone):
            return PerProteinLayout(h5, where, own=False)
        ids = _one_of({name: one for name, one in names.items() if len(one) == len(matrix)}, _NAMES)
    if ids is None:
        raise ModelError(
            f"{matrix.name[1:]} has {matrix.shape[0]:,} rows, and no dataset says whose they are",
            code="model.not_embeddings",
            where=where,
            hint="add a dataset ids with a name for each row",
        )
    return MatrixLayout(h5, where, matrix.name[1:], ids.name[1:])


def _refuse_anndata(h5: h5py.File, where: str) -> None:
    kind = h5.attrs.get("encoding-type")
    if kind == "anndata" or (kind is None and {"X", "obs", "var"} <= set(h5)):
        raise ModelError(
            "is AnnData, which may hold any kind of table",
            code="model.not_embeddings",
            where=where,
            hint="if its X holds vectors of proteins, write them as a table: "
            f"anndata.read_h5ad({where!r}).to_df().to_csv('vectors.csv')",
        )


def _columns(h5: h5py.File) -> dict[str, h5py.Dataset]:
    """Return the float matrices and the lists of text at the root; links are not followed."""
    found = {}
    for number, name in enumerate(h5):
        if number == 100:  # a file of many datasets has one for each protein
            return {}
        if not isinstance(h5.get(name, getlink=True), h5py.HardLink):
            continue
        one = h5[name]
        if not isinstance(one, h5py.Dataset):
            continue
        is_text = h5py.check_string_dtype(one.dtype) is not None or one.dtype.kind == "S"
        if (one.ndim == 2 and one.dtype.kind == "f") or (one.ndim == 1 and is_text):
            found[name] = one
    return found


def _one_of(found: dict[str, h5py.Dataset], known: tuple[str, ...]) -> h5py.Dataset | None:
    """Return the only one, or of several the only one that has a known name."""
    if len(found) > 1:
        found = {name: one for name, one in found.items() if name in known}
    return next(iter(found.values())) if len(found) == 1 else None


class MatrixLayout:
    """Reader of a file with a matrix ``(N, D)`` and a list of N names.

    Parameters
    ----------
    h5
        Open file.
    where
        Its name for messages.
    matrix, ids
        Names of the two datasets.

    Raises
    ------
    ModelError
        They cannot be read.
    """

    per_residue = False

    def __init__(self, h5: h5py.File, where: str, matrix: str, ids: str) -> None:
        self._where = where
        with reading(where):
            self._matrix = checked_dataset(h5, matrix, "f", own=False)
            self._ids = checked_dataset(h5, ids, "OS", own=False)
            self.n, self.dim = map(int, self._matrix.shape)
            if self.dim < 1:
                raise ValueError(f"embeddings of width {self.dim}")
        self.dtype: np.dtype[Any] = self._matrix.dtype

    def read_ids(self) -> list[str]:
        """Return the N ids, in order."""
        with reading(f"{self._where}:{self._ids.name[1:]}"):
            return [text_of(id) for id in self._ids[:]]

    def read_columns(self) -> Columns:
        """Return zeros: such a file does not say lengths, flags and hashes."""
        return Columns(
            np.zeros(self.n, np.int64),
            np.zeros(self.n, np.uint16),
            np.zeros((self.n, 32), np.uint8),
        )

    def read_vectors(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        """Return the vectors ``(n, D)`` of rows in any order, in the type of the file."""
        return read_rows(self._matrix, rows, self._where)

    def read_residues(self, row: int) -> npt.NDArray[Any]:
        """Refuse: there are none."""
        raise no_residues(self._where)

    def problems(self) -> list[str]:
        """Return what is wrong with the ids."""
        try:
            ids = self.read_ids()
        except ModelError as error:
            return [str(error)]
        twice = len(ids) - len(set(ids))
        return [f"ids: {twice} occur twice"] if twice else []
