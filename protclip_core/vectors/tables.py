"""Vectors that another program wrote: npz, CSV, TSV or Parquet, one vector for each protein.

HDF5 files of other programs are read by `protclip_core.store.reader.EmbeddingStore`.

Legend: N proteins, D width of a vector.
"""

from __future__ import annotations

import csv
import io
import re
import zipfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from protclip_core.errors import InputError, UsageError
from protclip_core.io.streams import open_input
from protclip_core.records import printable
from protclip_core.store.reader import EmbeddingStore

__all__ = ["AnyStore", "VectorTable", "table_form"]

Floats = npt.NDArray[np.float32]
_NAMES = (
    "embeddings",
    "vectors",
    "embedding",
)  # of the matrix of an npz; the ids are in another array
_START = 1 << 16
_NUMBER = re.compile(r"\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*|\s*[-+]?(nan|inf)\s*", re.I)


def table_form(path: str) -> str | None:
    """Tell from its content whether a file is a table of vectors.

    Returns
    -------
    str or None
        ``"npz"``, ``"parquet"``, ``"csv"`` or ``"tsv"``; None for any other file.
    """
    if path == "-" or not Path(path).is_file():
        return None
    try:
        with Path(path).open("rb") as file:
            magic = file.read(4)
        if magic == b"PK\x03\x04":
            with zipfile.ZipFile(path) as archive:
                return "npz" if all(n.endswith(".npy") for n in archive.namelist()) else None
        if magic == b"PAR1":
            return "parquet"
        with open_input(path) as stream:
            lines = stream.read(_START).decode("utf-8-sig", "replace").splitlines()[:2]
    except (OSError, ValueError, zipfile.BadZipFile, InputError):
        return None  # whoever reads it says why
    for form, separator in (("tsv", "\t"), ("csv", ",")):
        for cells in (line.split(separator) for line in lines if not line.startswith(">")):
            if len(cells) > 2 and all(map(_NUMBER.fullmatch, cells[1:])):
                return form
    return None


class VectorTable:
    """A table of vectors in memory, with the interface of an `EmbeddingStore`.

    Parameters
    ----------
    path
        The file. An npz holds an array for each protein, or ``ids`` and ``embeddings``; in a
        text table the first column is the id; in Parquet it is the first column of text, and
        numbers are in the others, or in one column of lists.
    form
        From `table_form`.

    Attributes
    ----------
    ids
        N ids, in order.
    dim
        D.
    lengths, digests
        As in a store; zeros, because a table does not say them.

    Raises
    ------
    InputError
        The table is damaged, or its rows are not vectors of one width.
    UsageError
        Parquet without pyarrow.
    """

    layout = "foreign"

    def __init__(self, path: str, form: str) -> None:
        self.path = Path(path)
        self.attributes: dict[str, Any] = {}
        try:
            self.ids, self._values = _READERS[form](path)
        except (OSError, ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise InputError(
                f"cannot be read as a table of vectors ({printable(str(error), 120)})",
                code="input.bad_vectors",
                where=path,
                hint="give one row for each protein: its id, then numbers",
            ) from error
        self.dim = self._values.shape[1]
        self.lengths = np.zeros(len(self.ids), np.int64)
        self.digests = np.zeros((len(self.ids), 32), np.uint8)

    def __len__(self) -> int:
        return len(self.ids)

    def read(self, rows: Any) -> Floats:
        """Return vectors ``(n, D)`` float32."""
        found: Floats = self._values[rows]
        return found

    def iter_ids(self, size: int = 65_536) -> Iterator[list[str]]:
        """Yield the ids in blocks, in order."""
        for start in range(0, len(self), size):
            yield self.ids[start : start + size]

    def close(self) -> None:
        """There is nothing to close."""


#: What holds vectors, ours or another program's.
AnyStore = EmbeddingStore | VectorTable


def _matrix(ids: list[str], rows: Any) -> tuple[list[str], Floats]:
    values = np.asarray(rows, np.float32)  # rows of unlike width are a ValueError
    if values.ndim != 2 or len(values) != len(ids) or not values.size:
        raise ValueError(f"{len(ids)} ids, vectors of shape {values.shape}")
    return ids, values


def _read_npz(path: str) -> tuple[list[str], Floats]:
    with np.load(path, allow_pickle=False) as arrays:
        name = next((name for name in _NAMES if name in arrays), None)
        if name is not None and "ids" in arrays:
            return _matrix([str(id) for id in arrays["ids"].tolist()], arrays[name])
        return _matrix(list(arrays.files), [arrays[id] for id in arrays.files])


def _read_text(path: str, separator: str) -> tuple[list[str], Floats]:
    ids: list[str] = []
    rows: list[npt.NDArray[np.float32]] = []
    with open_input(path) as stream:
        text = io.TextIOWrapper(stream, "utf-8-sig", newline="")
        for number, cells in enumerate(csv.reader(text, delimiter=separator)):
            if not cells or (number == 0 and not all(map(_NUMBER.fullmatch, cells[1:]))):
                continue  # the header
            ids.append(cells[0])
            rows.append(np.array(cells[1:], np.float32))
        text.detach()
    return _matrix(ids, rows)


def _read_parquet(path: str) -> tuple[list[str], Floats]:
    if find_spec("pyarrow") is None:
        raise UsageError(
            "is a Parquet file, which needs pyarrow",
            code="usage.missing_library",
            where=path,
            hint="pip install pyarrow, or write the table as CSV",
        )
    from pyarrow import ArrowException, parquet, types

    try:
        table = parquet.read_table(path)
    except ArrowException as error:
        raise ValueError(str(error)) from error
    columns = dict(zip(table.column_names, table.columns, strict=True))
    kinds = {name: column.type for name, column in columns.items()}
    texts = [n for n, kind in kinds.items() if types.is_string(kind) or types.is_large_string(kind)]
    lists = [n for n, kind in kinds.items() if types.is_nested(kind)]
    if not texts:
        raise ValueError("no column of text holds the ids")
    ids = [str(id) for id in columns[texts[0]].to_pylist()]
    if lists:
        return _matrix(ids, columns[lists[0]].to_pylist())
    numbers = [n for n, kind in kinds.items() if types.is_floating(kind) or types.is_integer(kind)]
    return _matrix(ids, np.stack([columns[n].to_numpy() for n in numbers], axis=1))


_READERS = {
    "npz": _read_npz,
    "csv": lambda path: _read_text(path, ","),
    "tsv": lambda path: _read_text(path, "\t"),
    "parquet": _read_parquet,
}
