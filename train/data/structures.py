"""Structures to train on: the backbones of many chains in one HDF5 file, read chain by chain.

Datasets of the file, for S chains with R residues together: ``ids (S)``, ``accessions (S)`` (of
UniProt; empty where unknown), ``offsets (S+1)``, ``backbone (R, 4, 3)`` float32 in ångström, the
middle of each chain at the origin, NaN for an atom that is not there, ``letters (R)`` uint8
(ASCII), ``starts (R)`` bool, ``confidence (R)`` float16 (pLDDT, NaN where not predicted). That is
52 bytes a residue. What the fields mean is in `protclip_core.io.structures.chain.Chain`.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from protclip_core.errors import InputError, ModelError
from protclip_core.interrupts import signals_deferred
from protclip_core.io.atomic import check_writable_target, disk_error, file_lock, open_temp, publish
from protclip_core.io.structures.chain import Chain
from protclip_core.store.guarded_file import GuardedFile

__all__ = ["FORMAT", "StructureSet", "accession_of", "write_structures"]

_log = logging.getLogger(__name__)
FORMAT = "protclip-structures"
_VERSION = 1
_ROWS = 4096
_BLOCK = 256
#: What a row of each dataset by residues is.
_RESIDUES: dict[str, tuple[tuple[int, ...], type[np.generic]]] = {
    "backbone": ((4, 3), np.float32),
    "letters": ((), np.uint8),
    "starts": ((), np.bool_),
    "confidence": ((), np.float16),
}
_ACCESSION = r"[OPQ][0-9][A-Z0-9]{3}[0-9]|[A-NR-Z][0-9](?:[A-Z][A-Z0-9]{2}[0-9]){1,2}"
_NAMED = re.compile(rf"(?:AF-)?({_ACCESSION})(?:-[0-9]+)?(?:-F[0-9]+.*)?")


def accession_of(id: str) -> str:
    """Return the UniProt accession that an id names (``AF-P12345-F1-model_v4``), or ``""``."""
    found = _NAMED.fullmatch(id.partition(":")[0])
    return found.group(1) if found else ""


class StructureSet:
    """The chains of a file that `write_structures` made.

    Parameters
    ----------
    path
        The file. It is opened by each process when the first chain is asked for.

    Attributes
    ----------
    ids, accessions
        Of each chain.
    lengths
        Residues of each chain, ``(S,)``.

    Raises
    ------
    ModelError
        No such file.
        Or it is not a file of structures, or damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_file():
            raise ModelError(
                "no such file",
                code="model.not_found",
                where=str(path),
                hint="make one of structure files: python -m train.structures FILES -o FILE.h5",
            )
        try:
            with h5py.File(path) as file:
                if file.attrs.get("format") != FORMAT or file.attrs.get("version") != _VERSION:
                    raise ValueError("it is not a file of train.structures")
                self.ids = [str(id) for id in file["ids"].asstr()]
                self.accessions = [str(name) for name in file["accessions"].asstr()]
                self._offsets = np.asarray(file["offsets"], dtype=np.int64)
                if self._offsets[-1] != len(file["backbone"]):
                    raise ValueError("residues are missing")
        except (OSError, KeyError, ValueError) as error:
            raise ModelError(
                f"cannot be read ({error})",
                code="model.damaged",
                where=str(path),
                hint="make it of structure files: python -m train.structures FILES -o FILE.h5",
            ) from error
        self.lengths = np.diff(self._offsets)
        self._of: dict[str, list[int]] = defaultdict(list)
        for row, name in enumerate(self.accessions):
            for key in {name or self.ids[row], self.ids[row]}:
                self._of[key].append(row)
        self._handle: Any = None

    def __len__(self) -> int:
        return len(self.ids)

    def __contains__(self, name: object) -> bool:
        return name in self._of

    def rows(self, name: str) -> list[int]:
        """Return the chains of an accession, or of an id, in the order of the file."""
        return list(self._of.get(name, ()))

    def chain(self, row: int, first: int = 0, length: int | None = None) -> Chain:
        """Read a chain, or ``length`` residues of it from ``first`` (counted from 0)."""
        start, end = self._offsets[row], self._offsets[row + 1]
        start = min(start + first, end)
        end = end if length is None else min(end, start + length)
        if self._handle is None:
            self._handle = h5py.File(self.path)
        found = {name: np.asarray(self._handle[name][start:end]) for name in _RESIDUES}
        confidence: np.ndarray | None = found["confidence"].astype(np.float32)
        if confidence is not None and np.isnan(confidence).all():
            confidence = None
        starts = found["starts"].copy()
        starts[:1] = True
        letters = found["letters"].tobytes().decode("ascii")
        return Chain(self.ids[row], letters, found["backbone"], starts, confidence)

    def close(self) -> None:
        """Close the file; what is asked for next opens it again."""
        if self._handle is not None:
            self._handle.close()
            self._handle = None

    def __getstate__(self) -> dict[str, Any]:
        # A process that puts batches together opens the file for itself.
        return {**self.__dict__, "_handle": None}


def write_structures(path: Path, chains: Iterable[tuple[Chain, str]]) -> int:
    """Write chains, each with an accession (or ``""``), and return how many.

    Memory is that of a few hundred chains; the file appears whole or not at all. A chain that
    comes again, with the same id and sequence, is left out, with a warning at the end.

    Raises
    ------
    InputError
        There is no chain, or two that differ have the same id.
    ResourceError, UsageError
        The file cannot be written.
    """
    ids: dict[str, str] = {}
    lengths: list[int] = []
    source = _distinct(chains, path)
    with _new_file(path) as (h5, file):
        while block := list(islice(source, _BLOCK)):
            for chain, accession in block:
                ids[chain.id] = accession
                lengths.append(len(chain))
            with signals_deferred():
                _append(h5, [chain for chain, _ in block])
            file.check()
        if not ids:
            raise InputError("no chain to write", code="input.empty", where=str(path))
        with signals_deferred():
            text = h5py.string_dtype()
            h5.create_dataset("ids", data=list(ids), dtype=text)
            h5.create_dataset("accessions", data=list(ids.values()), dtype=text)
            h5.create_dataset("offsets", data=np.cumsum([0, *lengths]), dtype=np.int64)
            h5.attrs.update({"format": FORMAT, "version": _VERSION})
    return len(lengths)


def _distinct(chains: Iterable[tuple[Chain, str]], path: Path) -> Iterator[tuple[Chain, str]]:
    """Give each id once."""
    seen: dict[str, bytes] = {}
    again = 0
    for chain, accession in chains:
        digest = hashlib.blake2b(chain.sequence.encode(), digest_size=8).digest()
        if chain.id not in seen:
            seen[chain.id] = digest
            yield chain, accession
        elif seen[chain.id] == digest:
            again += 1
        else:
            raise InputError(
                f"two chains are named {chain.id!r}", code="input.duplicate_id", where=str(path)
            )
    if again:
        _log.warning("%d chains came again and were left out", again)


@contextmanager
def _new_file(path: Path) -> Iterator[tuple[Any, GuardedFile]]:
    """Yield an HDF5 file with the datasets by residues; publish it if the block ends well."""
    check_writable_target(path)
    with file_lock(path):
        fd, temp = open_temp(path)
        file = GuardedFile(fd)
        try:
            with signals_deferred():
                h5 = h5py.File(file, "w")
                for name, (shape, kind) in _RESIDUES.items():
                    whole, chunk = (None, *shape), (_ROWS, *shape)
                    h5.create_dataset(name, (0, *shape), kind, maxshape=whole, chunks=chunk)
            try:
                yield h5, file
            except BaseException:
                file.discard()
                raise
            finally:
                with signals_deferred():
                    h5.close()
            file.check()
            publish(temp, path)
        except OSError as error:
            raise disk_error(error, path) from error
        finally:
            file.close()
            temp.unlink(missing_ok=True)


def _append(h5: Any, chains: Sequence[Chain]) -> None:
    """Put the residues of some chains behind those that are there."""
    columns = {
        "backbone": [_centred(chain.backbone) for chain in chains],
        "letters": [np.frombuffer(chain.sequence.encode("ascii"), np.uint8) for chain in chains],
        "starts": [chain.starts for chain in chains],
        "confidence": [
            np.full(len(chain), np.nan) if chain.confidence is None else chain.confidence
            for chain in chains
        ],
    }
    for name, parts in columns.items():
        rows = np.concatenate(parts).astype(_RESIDUES[name][1])
        dataset = h5[name]
        dataset.resize(len(dataset) + len(rows), axis=0)
        dataset[len(dataset) - len(rows) :] = rows


def _centred(backbone: np.ndarray) -> np.ndarray:
    """Move the CA atoms of a chain to a mean of zero."""
    moved: np.ndarray = backbone - backbone[:, 1].astype(np.float64).mean(axis=0)
    return moved
