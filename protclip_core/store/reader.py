"""Read an embedding store; the format is specified in `protclip_core.store.format`.

`EmbeddingStore` reads both layouts of the format, and of other programs files with one dataset for
each protein (UniProt, ProtTrans, bio_embeddings) or with a matrix and names. Damage is an error
that names the place, never a wrong number: numeric data and HDF5's own structures carry checksums,
and the ids a sha256. See also `StoreWriter` (`protclip_core.store.writer`) and `verify_store`,
`merge_stores` and the exports (`protclip_core.store.tools`).

N proteins, D width of an embedding, L residues of a protein.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np
import numpy.typing as npt

from protclip_core.errors import BusyError, InputError, ModelError
from protclip_core.interrupts import signals_deferred
from protclip_core.records import RecordFlag, printable
from protclip_core.store.foreign import MatrixLayout, open_foreign
from protclip_core.store.format import (
    FORMAT,
    FORMAT_VERSION,
    LAYOUTS,
    OWN_ATTRIBUTES,
    USER_BLOCK,
    Columns,
    UserBlock,
    attributes_sha256,
    duplicate_id,
    looks_like,
    reading,
)
from protclip_core.store.heaps import has_endless_heap
from protclip_core.store.packed import PackedLayout
from protclip_core.store.per_protein import PerProteinLayout

__all__ = ["EmbeddingStore"]

_WHOLE_NUMBERS = frozenset({"layer", "max_residues", "overlap", "normalized"})


class EmbeddingStore:
    r"""An open embedding store; make one with `EmbeddingStore.open`, best in a ``with``.

    Values come as float32 whatever the file holds, see `dtype`.

    Attributes
    ----------
    path
        The file.
    layout
        ``"packed"``, ``"per-protein"``, or ``"foreign"`` for a file of another tool.
    dim
        D.
    dtype
        Float type in the file.
    per_residue
        Whether `residues` has something to give.

    Examples
    --------
    Rows are read as needed, never all at once:

    >>> from pathlib import Path
    >>> from protclip_core import EmbedRequest, EmbeddingStore, embed_to_store
    >>> fasta = Path("two.fasta")
    >>> _ = fasta.write_text(">a\nMKTAYIAK\n>b\nMSLLTEVE\n")
    >>> report = embed_to_store(EmbedRequest(inputs=("two.fasta",), output=Path("two.h5")))
    >>> with EmbeddingStore.open("two.h5") as store:
    ...     len(store), "a" in store, store.get("b").shape
    (2, True, (640,))
    """

    def __init__(self, path: Path, h5: h5py.File, layout: str) -> None:
        self.path, self.layout, self._h5 = path, layout, h5
        self._data: PackedLayout | PerProteinLayout | MatrixLayout
        if layout == "packed":
            self._data = PackedLayout(h5, str(path))
        elif layout == "per-protein":
            self._data = PerProteinLayout(h5, str(path), own=True)
        else:
            self._data = open_foreign(h5, str(path))
        self.dim: int = self._data.dim
        self.dtype: np.dtype[Any] = self._data.dtype
        self.per_residue: bool = self._data.per_residue

    @classmethod
    @signals_deferred()
    def open(cls, path: str | Path) -> Self:
        """Open a store for reading.

        Raises
        ------
        ModelError
            Missing, not an HDF5 file of embeddings, truncated, damaged, or of a newer format
            version; names the file and, if possible, what it looks like.
        BusyError
            Another process has the file open for writing.
        """
        path = Path(path)
        sealed = _check_start(path)
        try:
            h5 = h5py.File(path, "r")
        except BlockingIOError as error:
            problem, hint = "another process is writing it", "wait for it to finish"
            raise BusyError(problem, code="busy.store", where=str(path), hint=hint) from error
        except (OSError, RuntimeError, ValueError) as error:
            with path.open("rb") as handle:
                kind = looks_like(handle.read(2048))
            hint = "restore it from a copy or compute it again"
            if kind == "a FASTA file":
                hint = f"make a store of it first: protclip embed {shlex.quote(str(path))}"
            raise ModelError(
                f"cannot be read as HDF5: it looks like {kind}",
                code="model.not_hdf5",
                where=str(path),
                hint=hint,
            ) from error
        try:
            return cls(path, h5, _layout(h5, str(path), sealed=sealed))
        except BaseException:
            h5.close()
            raise

    def close(self) -> None:
        """Close the file; nothing can be read afterwards."""
        with signals_deferred():
            self._h5.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: object, _trace: TracebackType | None
    ) -> None:
        self.close()

    def __len__(self) -> int:
        return self._data.n

    def __contains__(self, id: object) -> bool:
        return id in self._rows

    @cached_property
    def attributes(self) -> dict[str, Any]:
        """Provenance by name, as the writer was given it; all root attributes of a foreign file."""
        with reading(f"{self.path}:attributes"):
            found = {
                name: value.item() if isinstance(value, np.generic) else value
                for name, value in self._h5.attrs.items()
                if self.layout == "foreign" or name not in OWN_ATTRIBUTES
            }
            if self.layout == "foreign":
                return found
            if attributes_sha256(found) != self._h5.attrs["attributes_sha256"]:
                raise ValueError("the attributes do not match attributes_sha256")
            for name in _WHOLE_NUMBERS & found.keys():
                if not isinstance(found[name], int):
                    raise ValueError(f"{name} is {found[name]!r}, not a whole number")
            return found

    @cached_property
    def ids(self) -> list[str]:
        """The N ids, in input order."""
        return self._data.read_ids()

    def iter_ids(self, size: int = 65_536) -> Iterator[list[str]]:
        """Yield the ids in blocks, in order, and keep none of them where the layout allows.

        Raises
        ------
        ModelError
            They are damaged; this may be known only after the last block.
        """
        if isinstance(self._data, PackedLayout):
            yield from self._data.iter_ids(size)
            return
        for start in range(0, len(self), size):
            yield self.ids[start : start + size]

    @cached_property
    def _rows(self) -> dict[str, int]:
        rows = {id: row for row, id in enumerate(self.ids)}
        if len(rows) != len(self.ids):
            twice = next(id for row, id in enumerate(self.ids) if rows[id] != row)
            raise duplicate_id(self.path, twice)
        return rows

    @cached_property
    def _columns(self) -> Columns:
        return self._data.read_columns()

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Residues of each sequence that were embedded ``(N)``; 0 where a file does not say."""
        return self._columns.lengths

    @cached_property
    def sequence_lengths(self) -> npt.NDArray[np.int64]:
        """Residues of each whole sequence ``(N)``, also of those that were cut; 0 if unknown."""
        if self._columns.sequence_lengths is not None:
            return self._columns.sequence_lengths
        cut = (self.flags & np.uint16(RecordFlag.TRUNCATED)) != 0
        return np.where(cut, 0, self.lengths)

    @property
    def is_cut(self) -> bool:
        """Whether the file has a column of its own for `sequence_lengths`."""
        return self._columns.sequence_lengths is not None

    @property
    def flags(self) -> npt.NDArray[np.uint16]:
        """`protclip_core.records.RecordFlag` of each protein ``(N)``."""
        return self._columns.flags

    @property
    def digests(self) -> npt.NDArray[np.uint8]:
        """Raw sha256 of each sequence ``(N, 32)``; zeros if unknown."""
        return self._columns.digests

    def row(self, id: str) -> int:
        """Return the row of an id.

        Raises
        ------
        InputError
            The store has no such id.
        """
        try:
            return self._rows[id]
        except KeyError:
            raise InputError(
                f"no protein {printable(id)!r} among its {len(self)}",
                code="input.unknown_id",
                where=str(self.path),
                hint="embed it first, or check the spelling of the id",
            ) from None

    def read(self, rows: slice | npt.ArrayLike) -> npt.NDArray[np.float32]:
        """Return embeddings ``(n, D)`` float32.

        Parameters
        ----------
        rows
            Slice, row numbers ``(n)`` in any order (repeats allowed, negative ones count from the
            end), or a mask ``(N)``. None selected gives ``(0, D)``.

        Raises
        ------
        IndexError
            A row that is not there.
        ModelError
            The values are damaged; names the rows.
        """
        return self.read_stored(rows).astype(np.float32, copy=False)

    def read_stored(self, rows: slice | npt.ArrayLike) -> npt.NDArray[Any]:
        """Return embeddings ``(n, D)`` as `read`, in the float type of the file."""
        return self._data.read_vectors(_row_numbers(rows, len(self)))

    def get(self, id: str) -> npt.NDArray[np.float32]:
        """Return the embedding ``(D)`` float32 of a protein; errors as `row` and `read`."""
        row: npt.NDArray[np.float32] = self.read([self.row(id)])[0]
        return row

    def residues(self, id: str) -> npt.NDArray[np.float32]:
        """Return the residue embeddings ``(L, D)`` float32 of a protein.

        Raises
        ------
        UsageError
            The store holds none.
        InputError, ModelError
            As `row` and `read`.
        """
        return self.residues_stored(self.row(id)).astype(np.float32, copy=False)

    def residues_stored(self, row: int) -> npt.NDArray[Any]:
        """Return the residue embeddings ``(L, D)`` of a row, in the float type of the file."""
        return self._data.read_residues(row)

    def iter_blocks(
        self, rows_per_block: int = 4096
    ) -> Iterator[tuple[list[str], npt.NDArray[np.float32]]]:
        """Yield ids and embeddings ``(n, D)`` float32 in order; an empty store yields nothing."""
        for start in range(0, len(self), rows_per_block):
            rows = slice(start, start + rows_per_block)
            yield self.ids[rows], self.read(rows)

    def problems(self) -> list[str]:
        """Return what contradicts the format apart from checksums; empty if all is well."""
        try:
            _ = self.attributes
        except ModelError as error:
            return [str(error)]
        return self._data.problems()


def _row_numbers(rows: slice | npt.ArrayLike, n: int) -> npt.NDArray[np.int64]:
    """Return the numbers, from 0, of rows chosen out of n as in `EmbeddingStore.read`.

    Time and memory depend on the rows chosen, not on n, so that reading a store block by block
    stays linear.
    """
    if isinstance(rows, slice):
        return np.arange(*rows.indices(n), dtype=np.int64)
    array = np.asarray(rows)
    if array.dtype.kind == "b":
        if array.shape != (n,):
            raise IndexError(f"a mask of shape {array.shape} for {n} rows")
        return np.flatnonzero(array)
    if array.size and array.dtype.kind not in "iu":
        raise IndexError(f"row numbers of type {array.dtype}")
    numbers = array.astype(np.int64)
    numbers[numbers < 0] += n
    missing = numbers[(numbers < 0) | (numbers >= n)]
    if len(missing):
        raise IndexError(f"row {missing[0]} of {n}")
    return numbers


def _check_start(path: Path) -> bool:
    """Refuse a missing file, and one whose length is not the one that its user block says.

    Returns whether there is a user block, which makes the file one of ours.
    """
    try:
        with path.open("rb") as handle:
            block = UserBlock.from_bytes(handle.read(USER_BLOCK))
            endless = has_endless_heap(handle)
    except FileNotFoundError as error:
        unfinished = path.with_name(f"{path.name}.partial").is_dir()
        raise ModelError(
            "no such file",
            code="model.not_found",
            where=str(path),
            hint="finish its run with --resume" if unfinished else "check the path",
        ) from error
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        problem = f"cannot be opened: {reason}"
        raise ModelError(problem, code="model.unreadable", where=str(path)) from error
    if endless:
        raise ModelError(
            "is damaged: its strings have no end",
            code="model.damaged_store",
            where=str(path),
            hint="restore it from a copy or compute it again",
        )
    size = path.stat().st_size
    if block is not None and size != block.length:
        problem = "truncated" if size < block.length else "followed by foreign bytes"
        raise ModelError(
            f"is {problem}: {size} bytes, expected {block.length}",
            code="model.damaged_store",
            where=str(path),
            hint="restore it from a copy or compute it again",
        )
    return block is not None


def _layout(h5: h5py.File, where: str, *, sealed: bool) -> str:
    with reading(f"{where}:attributes"):
        if h5.attrs.get("format") != FORMAT:
            if sealed:
                raise ValueError("the format attribute is wrong")
            return "foreign"
        version, layout = int(h5.attrs["format_version"]), h5.attrs["layout"]
        if version <= FORMAT_VERSION and layout not in LAYOUTS:
            raise ValueError(f"layout {layout!r}")
    if version > FORMAT_VERSION:
        raise ModelError(
            f"has format version {version}; this protclip reads up to {FORMAT_VERSION}",
            code="model.other_version",
            where=where,
            hint="update protclip",
        )
    return str(layout)
