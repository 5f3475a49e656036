"""Check, join and cut embedding stores.

See `protclip_core.store.reader` for reading, `protclip_core.store.export` for other forms and
`protclip_core.store.format` for the format.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from io import BufferedReader
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from protclip_core.errors import InputError, ModelError, UsageError
from protclip_core.io.protein_names import ProteinNames
from protclip_core.io.streams import open_input, source_name
from protclip_core.io.text_rows import lines_of, refuse_foreign
from protclip_core.records import Failure, counted, printable
from protclip_core.store.format import (
    FORMAT,
    FORMAT_VERSION,
    HDF5_SIGNATURE,
    USER_BLOCK,
    UserBlock,
    hash_content,
    looks_like,
)
from protclip_core.store.reader import EmbeddingStore
from protclip_core.store.writer import StoreWriter

__all__ = ["MERGE_KEYS", "merge_stores", "pick_rows", "subset_store", "verify_store"]

_log = logging.getLogger(__name__)

#: Attributes on which the values in a store depend; stores that differ in one are not merged.
MERGE_KEYS = (
    "weights_sha256",
    "config_sha256",
    "pooling",
    "space",
    "layer",
    "compute_dtype",
    "long",
    "max_residues",
    "overlap",
    "modality",
    "structure_sha256",
)

#: Attributes that tell of the run that made a store; a merged store was made by another.
_RUN_ATTRIBUTES = ("created_by", "command", "input", "input_sha256", "input_summary")

_BLOCK_ROWS = 4096
_BLOCK_BYTES = 64 << 20


def verify_store(path: str | Path) -> list[str]:
    """Read a whole store and say all that is wrong with it.

    Any changed, missing or added byte of a file that `StoreWriter` wrote is found. A file of
    another tool has no checksum over the whole; its structure and values are checked, and a
    warning says so.

    Returns
    -------
    list of str
        One line per problem; empty if the store is sound.

    Raises
    ------
    ModelError
        The file does not exist.
    BusyError
        Another process has the file open for writing.
    """
    path = Path(path)
    try:
        with path.open("rb") as handle:
            problem, sealed = _check_bytes(handle)
    except OSError as error:
        reason = f"cannot be read: {(error.strerror or str(error)).lower()}"
        raise ModelError(reason, code="model.unreadable", where=str(path)) from error
    if problem:
        return [problem]  # HDF5 is not trusted with a file that is known to be damaged
    try:
        with EmbeddingStore.open(path) as store:
            if not sealed:
                if store.layout != "foreign":
                    return [f"user block: its {USER_BLOCK} bytes are missing or damaged"]
                _log.warning("%s: has no checksum, so changed values cannot be found", path)
            return store.problems() or _bad_values(store)
    except ModelError as error:
        return [str(error)]


def _check_bytes(handle: BufferedReader) -> tuple[str, bool]:
    """Return a problem of the bytes (or nothing), and whether a user block vouches for them."""
    start = handle.read(USER_BLOCK + len(HDF5_SIGNATURE))
    block = UserBlock.from_bytes(start)
    if block is None:
        if start.startswith(FORMAT.encode()):
            return "user block: is damaged", False
        if HDF5_SIGNATURE not in (start[: len(HDF5_SIGNATURE)], start[USER_BLOCK:]):
            return f"is not an HDF5 file: it looks like {looks_like(start)}", False
        return "", False
    digest, length = hash_content(handle)
    if length != block.length:
        return f"length is {length} bytes, expected {block.length}", True
    if digest != block.sha256:
        return f"sha256 of the content is {digest}, expected {block.sha256}", True
    if block.version > FORMAT_VERSION:
        return f"format version is {block.version}, known up to {FORMAT_VERSION}", True
    return "", True


def _bad_values(store: EmbeddingStore) -> list[str]:
    """Return the proteins with values that are not finite; reads all values."""
    found: list[str] = []
    if store.layout != "foreign" or not store.per_residue:
        for start in range(0, len(store), _BLOCK_ROWS):
            block = store.read_stored(slice(start, start + _BLOCK_ROWS))
            bad = start + np.flatnonzero(~np.isfinite(block).all(axis=1))
            found += [f"{printable(store.ids[row])}: embedding is not finite" for row in bad]
    for row in range(len(store)) if store.per_residue else ():
        if not np.isfinite(store.residues_stored(row)).all():
            found.append(f"{printable(store.ids[row])}: residue embeddings are not finite")
    return found


def merge_stores(
    paths: Sequence[str | Path],
    out: str | Path,
    *,
    attributes: Mapping[str, str | int | float] | None = None,
    layout: str = "packed",
) -> int:
    """Join stores of one model into one, in the order given.

    A protein that occurs in several stores with the same sequence is kept once, from the first.

    Parameters
    ----------
    paths
        Stores; at least one.
    out
        Target; may be one of ``paths``, and is replaced once it is complete.
    attributes
        Provenance to add to what all stores agree on. What they say of the runs that made them
        (command, input) is not taken over.
    layout
        Layout of ``out``.

    Returns
    -------
    int
        Proteins in ``out``.

    Raises
    ------
    UsageError
        The stores differ in one of `MERGE_KEYS`, width, float type or in having residues; names
        each difference and both files.
    InputError
        An id stands for different (or unknown) sequences in two stores; names both.
    ModelError, BusyError, ResourceError
        As `EmbeddingStore` and `StoreWriter`.
    """
    if not paths:
        raise UsageError("no stores to merge", code="usage.no_input", hint="name at least one")
    common, how, dim, dtype = _agreed(paths)
    chosen = _choose(paths)
    provenance = {**common, **(attributes or {})}
    with StoreWriter(out, dim, dtype, provenance, layout=layout, **how) as writer:
        for path, rows in zip(paths, chosen, strict=True):
            with EmbeddingStore.open(path) as store:
                _copy(store, rows, writer)
    return sum(len(rows) for rows in chosen)


def subset_store(
    path: str | Path,
    rows: npt.ArrayLike,
    out: str | Path,
    *,
    attributes: Mapping[str, str | int | float] | None = None,
    layout: str = "packed",
) -> int:
    """Copy some proteins of a store into a new one, with their residues where there are any.

    Parameters
    ----------
    path
        The store.
    rows
        Row numbers ``(n)``, each at most once; ``out`` has their order.
    out
        Target; replaced once it is complete.
    attributes
        Provenance to add to how the vectors were made, as in `merge_stores`.
    layout
        Layout of ``out``.

    Returns
    -------
    int
        Proteins in ``out``.

    Raises
    ------
    ModelError, BusyError, ResourceError
        As `EmbeddingStore` and `StoreWriter`.
    """
    chosen = np.asarray(rows, np.int64)
    common, how, dim, dtype = _agreed([path])
    provenance = {**common, **(attributes or {})}
    with (
        EmbeddingStore.open(path) as store,
        StoreWriter(
            out, dim, dtype, provenance, layout=layout, num_proteins=len(chosen), **how
        ) as writer,
    ):
        _copy(store, chosen, writer)
    return len(chosen)


def pick_rows(
    store: EmbeddingStore, source: str, *, on_error: str = "fail"
) -> tuple[list[int], list[Failure]]:
    """Return the rows of the proteins that a list names, and the names that fit none or several.

    Parameters
    ----------
    store
        Where they are looked up, as `protclip_core.io.protein_names.ProteinNames` does.
    source
        File with a name a line, or a table with the names in its first column (a header
        ``protein_id`` or ``id`` is passed over); ``-``: standard input. Repeated ones count once.
    on_error
        ``"fail"``: a name that does not fit is an error; ``"skip"``: it is returned.

    Raises
    ------
    InputError
        No such file, no name that fits, or with ``"fail"`` one that does not.
    """
    where, known = source_name(source), ProteinNames(store.ids, str(store.path))
    rows: dict[int, None] = {}
    lacking: list[Failure] = []
    with open_input(source) as stream:
        for number, line in lines_of(stream, where):
            name = line.split("\t", 1)[0].strip()
            if number == 1:
                refuse_foreign(line, where, "a list of ids")
            match = known.find(name)
            if match.id is not None:
                rows[store.row(match.id)] = None
            elif number > 1 or name not in ("protein_id", "id"):
                lacking.append(Failure(source, number, name, match.reason, "record.unknown_id"))
    if lacking and (on_error == "fail" or not rows):
        code = "input.unknown_id"
        if len(lacking) == 1:
            first = lacking[0]
            hint = "correct it, or leave it out with --on-error skip"
            raise InputError(
                first.reason, code=code, where=f"{where}:line {first.number}", hint=hint
            )
        raise InputError(
            f"{counted(len(lacking), 'id')} cannot be found in {store.path}",
            code=code,
            where=where,
            hint="correct them, or leave them out with --on-error skip",
            details=[f"{where}:line {one.number}: {one.reason}" for one in lacking[:5]],
        )
    if not rows:
        raise InputError(
            "holds no ids", code="input.empty", where=where, hint="check what wrote it"
        )
    return list(rows), lacking


def _agreed(
    paths: Sequence[str | Path],
) -> tuple[dict[str, Any], dict[str, bool], int, np.dtype[Any]]:
    """Return what all stores have in common; UsageError where a key differs.

    Attributes, options of the writer, width and type.
    """
    with EmbeddingStore.open(paths[0]) as store:
        keys, common = _keys(store), dict(store.attributes)
        per_residue, dim = store.per_residue, store.dim
        dtype = store.dtype if store.dtype == np.float16 else np.dtype(np.float32)
        if store.layout == "foreign":
            _log.warning("%s: does not say which weights made it", paths[0])
    for path in paths[1:]:
        with EmbeddingStore.open(path) as store:
            theirs = _keys(store)
            if differences := [
                f"{name} is {keys[name]!r} and {theirs[name]!r}"
                for name in keys
                if keys[name] != theirs[name]
            ]:
                raise UsageError(
                    f"cannot be merged with {paths[0]}: {', '.join(differences)}",
                    code="usage.other_settings",
                    where=str(path),
                    hint="embed both with the same model and settings",
                )
            common = {
                name: value
                for name, value in common.items()
                if _equal(value, store.attributes.get(name))
            }
    scalars = {
        name: value
        for name, value in common.items()
        if isinstance(value, str | int | float) and name not in _RUN_ATTRIBUTES
    }
    how = {"per_residue": per_residue, "is_cut": scalars.get("long") == "truncate"}
    return scalars, how, dim, dtype


def _keys(store: EmbeddingStore) -> dict[str, Any]:
    return {
        **{name: store.attributes.get(name) for name in MERGE_KEYS},
        "dim": store.dim,
        "dtype": str(store.dtype),
        "per_residue": store.per_residue,
    }


def _equal(a: object, b: object) -> bool:
    return bool(np.array_equal(np.asarray(a), np.asarray(b)))


def _choose(paths: Sequence[str | Path]) -> list[npt.NDArray[np.int64]]:
    """Return the rows to take from each store, so that each id is taken once."""
    first: dict[str, tuple[bytes, str | Path]] = {}
    chosen = []
    for path in paths:
        rows, n_repeated = [], 0
        with EmbeddingStore.open(path) as store:
            for row, id in enumerate(store.ids):
                digest = store.digests[row].tobytes()
                known, other = first.setdefault(id, (digest, path))
                if other is path:
                    rows.append(row)
                elif known == digest and any(digest):
                    n_repeated += 1
                else:
                    raise InputError(
                        f"has another sequence than in {other}",
                        code="input.duplicate_id",
                        where=f"{path} ({printable(id)})",
                        hint="rename one of the two, or leave it out",
                    )
        if n_repeated:
            _log.warning(
                "%s: %s also in an earlier store: kept once", path, counted(n_repeated, "protein")
            )
        chosen.append(np.array(rows, np.int64))
    return chosen


def _copy(store: EmbeddingStore, rows: npt.NDArray[np.int64], writer: StoreWriter) -> None:
    """Write rows of a store in blocks of bounded memory."""
    costs = np.full(len(rows), store.dim * store.dtype.itemsize, np.int64)
    if store.per_residue:
        costs *= 1 + store.lengths[rows]
    for start, stop in _blocks(costs):
        part = rows[start:stop]
        residues = None
        if store.per_residue:
            residues = np.concatenate([store.residues_stored(int(row)) for row in part])
        writer.write(
            [store.ids[row] for row in part],
            store.read_stored(part),
            store.lengths[part],
            store.flags[part],
            store.digests[part],
            residues,
            store.sequence_lengths[part] if writer.is_cut else None,
        )


def _blocks(costs: npt.NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Cut rows into runs of at most `_BLOCK_BYTES` and `_BLOCK_ROWS`, one row at least."""
    totals = np.concatenate([[0], np.cumsum(costs)])
    start = 0
    while start < len(costs):
        fits = int(np.searchsorted(totals, totals[start] + _BLOCK_BYTES, side="right")) - 1
        stop = min(max(fits, start + 1), start + _BLOCK_ROWS, len(costs))
        yield start, stop
        start = stop
