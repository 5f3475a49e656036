"""Write embedding stores in other forms: tables, NumPy's ``.npy`` and ``.npz``.

N proteins, D width of an embedding, L residues of a protein.
"""

from __future__ import annotations

import logging
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from protclip_core.io.atomic import open_atomic
from protclip_core.store.format import no_residues
from protclip_core.store.reader import EmbeddingStore

__all__ = ["export_npy", "export_npz", "iter_residue_rows", "iter_tsv_rows"]

_log = logging.getLogger(__name__)

_BLOCK_ROWS = 4096


def iter_tsv_rows(store: EmbeddingStore) -> Iterator[list[str | int | float]]:
    """Yield the rows of a table of embeddings: a header, then one row per protein.

    The columns are ``protein_id``, ``length``, ``flags`` and ``e1`` to ``eD``; the numbers need
    9 digits to read back as the same float32. An empty store yields the header only.
    """
    yield ["protein_id", "length", "flags", *(f"e{i}" for i in range(1, store.dim + 1))]
    for rows, vectors in _blocks_to_export(store, 256):
        facts = (store.ids[rows], store.lengths[rows].tolist(), store.flags[rows].tolist())
        numbers = vectors.astype(np.float32, copy=False).tolist()
        for id, length, flags, vector in zip(*facts, numbers, strict=True):
            yield [id, length, flags, *vector]


def export_npy(store: EmbeddingStore, path: str | Path) -> None:
    """Write the embeddings ``(N, D)`` as a NumPy ``.npy`` file, in the float type of the store.

    Rows are in the order of ``store.ids``. The file appears whole or not at all, and memory use
    does not depend on N.

    Raises
    ------
    ResourceError, UsageError
        As `protclip_core.io.atomic.write_atomic`.
    """
    with open_atomic(path) as handle:
        vectors = (block for _, block in _blocks_to_export(store, _BLOCK_ROWS))
        _write_npy(handle, store, len(store), vectors)


def iter_residue_rows(store: EmbeddingStore) -> Iterator[list[str | int | float]]:
    """Yield the rows of a table of residue embeddings: a header, then one row per residue.

    The columns are ``protein_id``, ``position`` (from 1) and ``e1`` to ``eD``.

    Raises
    ------
    UsageError
        The store holds no residue embeddings.
    """
    _require_residues(store)
    yield ["protein_id", "position", *(f"e{i}" for i in range(1, store.dim + 1))]
    for id, residues in zip(store.ids, _residues_to_export(store), strict=True):
        numbers = residues.astype(np.float32, copy=False).tolist()
        for position, vector in enumerate(numbers, start=1):
            yield [id, position, *vector]


def export_npz(store: EmbeddingStore, path: str | Path, *, residues: bool = False) -> None:
    """Write the embeddings as NumPy arrays in a ``.npz`` file, in the float type of the store.

    Its arrays are ``ids (N)`` and ``embeddings (N, D)``; with ``residues`` they are ``ids (N)``,
    ``offsets (N + 1)`` and ``residues (sum L, D)``, where the residues of protein i are
    ``residues[offsets[i]:offsets[i + 1]]``. No pickle is needed to read it. The file appears whole
    or not at all, and memory use does not depend on the size of the arrays of vectors.

    Raises
    ------
    UsageError
        ``residues``, and the store holds none; and as `protclip_core.io.atomic.write_atomic`.
    ResourceError
        As there.
    """
    if residues:
        _require_residues(store)
    with open_atomic(path) as handle, zipfile.ZipFile(handle, "w", zipfile.ZIP_STORED) as archive:
        _add(archive, "ids", np.array(store.ids, np.str_))
        if residues:
            offsets = np.concatenate([[0], np.cumsum(store.lengths)]).astype(np.int64)
            _add(archive, "offsets", offsets)
            with archive.open("residues.npy", "w", force_zip64=True) as entry:
                _write_npy(entry, store, int(offsets[-1]), _residues_to_export(store))
        else:
            vectors = (block for _, block in _blocks_to_export(store, _BLOCK_ROWS))
            with archive.open("embeddings.npy", "w", force_zip64=True) as entry:
                _write_npy(entry, store, len(store), vectors)


def _require_residues(store: EmbeddingStore) -> None:
    if not store.per_residue:
        raise no_residues(str(store.path))


def _add(archive: zipfile.ZipFile, name: str, array: npt.NDArray[Any]) -> None:
    with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
        np.lib.format.write_array(entry, array, allow_pickle=False)


def _write_npy(
    handle: IO[bytes], store: EmbeddingStore, n: int, blocks: Iterable[npt.NDArray[Any]]
) -> None:
    """Write blocks of ``n`` rows in all as one ``.npy`` array ``(n, D)``."""
    header = {
        "descr": np.lib.format.dtype_to_descr(store.dtype),
        "fortran_order": False,
        "shape": (n, store.dim),
    }
    np.lib.format.write_array_header_1_0(handle, header)
    for block in blocks:
        handle.write(block.tobytes())


def _residues_to_export(store: EmbeddingStore) -> Iterator[npt.NDArray[Any]]:
    """Yield the residues of each protein; at the end warn about those that are not finite."""
    bad = 0
    for row in range(len(store)):
        residues = store.residues_stored(row)
        bad += int((~np.isfinite(residues).all(axis=1)).sum())
        yield residues
    _tell_not_finite(store, bad, int(store.lengths.sum()))


def _blocks_to_export(store: EmbeddingStore, size: int) -> Iterator[tuple[slice, npt.NDArray[Any]]]:
    """Yield rows and their vectors; at the end warn about those that are not finite."""
    bad = 0
    for start in range(0, len(store), size):
        rows = slice(start, start + size)
        vectors = store.read_stored(rows)
        bad += int((~np.isfinite(vectors).all(axis=1)).sum())
        yield rows, vectors
    _tell_not_finite(store, bad, len(store))


def _tell_not_finite(store: EmbeddingStore, bad: int, count: int) -> None:
    if bad:
        what = f"{bad:,} of {count:,} vectors hold NaN or infinity"
        _log.warning("%s: %s, and are exported as they are", store.path, what)
