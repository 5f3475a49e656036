"""Crash-safe working folder of a long run: finished parts, a journal, and the run's settings.

Next to the output ``OUT.h5`` lies ``OUT.h5.partial/`` with

``run.json``
    The key: the settings that the results depend on. A run resumes only under the same key.
``part-000000.safetensors``, ...
    Finished proteins: ``digest (n, 32)`` uint8, the raw sha256 of each sequence;
    ``vectors (n, D)`` float32 or float16; ``lengths (n)`` int64; ``flags (n)`` uint16; and, per
    residue, ``residues (sum L, D)``.
``journal.jsonl``
    One line per part: its name, the sha256 and number of its bytes, and n.

A part is made in memory, written by `write_atomic`, and only then named in the journal. So a part
in the journal is whole, and one that is not in the journal does not count. One process at a time
may use the folder: the caller holds `protclip_core.io.atomic.file_lock` on the output.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.numpy

from protclip_core.errors import ModelError, UsageError
from protclip_core.io.atomic import disk_error, fsync_folder, write_atomic
from protclip_core.store.journal import (
    OWN_FILES,
    JournalEntry,
    differences,
    file_sha256,
    read_journal,
    read_key,
)
from protclip_core.store.part_reader import PartReader

__all__ = ["Part", "PartStore", "partial_folder"]

_log = logging.getLogger(__name__)


def partial_folder(out: str | Path) -> Path:
    """Return the working folder of an output file: ``OUT.h5.partial`` next to it."""
    real = Path(os.path.realpath(out))
    return real.with_name(f"{real.name}.partial")


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """The arrays of one finished part; shapes as in the module's description."""

    digest: npt.NDArray[np.uint8]
    vectors: npt.NDArray[Any]
    lengths: npt.NDArray[np.int64]
    flags: npt.NDArray[np.uint16]
    residues: npt.NDArray[Any] | None = None

    def __post_init__(self) -> None:
        n = len(self.digest)
        if self.digest.shape != (n, 32) or self.digest.dtype != np.uint8:
            raise ValueError(f"digest must be (n, 32) uint8, got {self.digest.shape}")
        if self.vectors.ndim != 2 or len(self.vectors) != n:
            raise ValueError(f"vectors must be ({n}, D), got {self.vectors.shape}")
        if self.vectors.dtype not in (np.float32, np.float16):
            raise ValueError(f"vectors must be float32 or float16, got {self.vectors.dtype}")
        if self.lengths.shape != (n,) or self.flags.shape != (n,):
            raise ValueError(f"lengths and flags must be ({n},)")
        if self.residues is not None:
            shape = (int(self.lengths.sum()), self.vectors.shape[1])
            if self.residues.shape != shape:
                raise ValueError(f"residues must be {shape}, got {self.residues.shape}")

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return the arrays by name, without residues where there are none."""
        named = {
            "digest": self.digest,
            "vectors": self.vectors,
            "lengths": self.lengths,
            "flags": self.flags,
            "residues": self.residues,
        }
        return {name: array for name, array in named.items() if array is not None}


class PartStore:
    """The finished parts of one run; make one with `PartStore.open`."""

    def __init__(self, folder: Path, entries: dict[int, JournalEntry]) -> None:
        self.folder = folder
        self._entries = entries
        self._next = max(entries, default=-1) + 1
        self._sound: set[int] = set()  # parts whose sha256 was checked or made by this process

    @classmethod
    def open(
        cls,
        folder: str | Path,
        key: Mapping[str, Any],
        *,
        resume: bool,
        overwrite: bool = False,
    ) -> PartStore:
        """Open the working folder, or make it.

        Parameters
        ----------
        folder
            The folder, see `partial_folder`; its parent exists.
        key
            Settings that the results depend on; values that JSON can hold.
        resume
            Continue what is there. An absent or empty folder is simply begun.
        overwrite
            Throw away what is there.

        Raises
        ------
        UsageError
            The folder was made under another key (names each setting and both values), or it
            holds finished proteins and neither ``resume`` nor ``overwrite`` was asked for. The
            folder is untouched.
        ModelError
            Finished parts without a readable ``run.json``.
        ResourceError
            The disk is full.
        """
        folder = Path(folder)
        key = json.loads(json.dumps(dict(key)))
        if overwrite and folder.exists():
            cls(folder, {}).discard()
        entries, dropped = read_journal(folder)
        n_finished = sum(entry.n for entry in entries.values())
        if not resume and n_finished:
            raise UsageError(
                f"{n_finished} proteins are already finished by an earlier run",
                where=str(folder),
                hint="continue it with --resume, or discard it with --overwrite",
            )
        # Settings of a run that finished nothing bind nobody.
        found = read_key(folder) if resume and n_finished else None
        if found is not None and found != key:
            raise UsageError(
                f"the earlier run had other settings: {differences(found, key)}",
                where=str(folder),
                hint="run with its settings, or discard it with --overwrite",
            )
        try:
            folder.mkdir(exist_ok=True)
        except OSError as error:
            raise disk_error(error, folder) from error
        for warning in dropped:
            _log.warning("%s: %s", folder, warning)
        store = cls(folder, entries)
        if found is None:
            write_atomic(folder / "run.json", json.dumps(key, indent=1, sort_keys=True).encode())
        if dropped:
            store._rewrite_journal()
        store._remove_unjournalled()
        return store

    @property
    def parts(self) -> tuple[int, ...]:
        """Numbers of the finished parts, ascending."""
        return tuple(sorted(self._entries))

    @property
    def n_proteins(self) -> int:
        """How many proteins are finished."""
        return sum(entry.n for entry in self._entries.values())

    def digests(self) -> Iterator[tuple[int, npt.NDArray[np.uint8]]]:
        """Yield each part's number and the sha256 ``(n, 32)`` of its sequences.

        Every part is checked against its sha256 first; a damaged one is dropped with a warning
        and not yielded, so that its proteins are computed again.
        """
        for part in self.parts:
            path = self.folder / self._entries[part].name
            if not self._check(part):
                continue
            with safetensors.safe_open(path, framework="numpy") as handle:
                yield part, handle.get_tensor("digest")

    def append(
        self,
        digest: npt.NDArray[np.uint8],
        vectors: npt.NDArray[Any],
        lengths: npt.NDArray[np.int64],
        flags: npt.NDArray[np.uint16],
        residues: npt.NDArray[Any] | None = None,
    ) -> int:
        """Commit finished proteins; when this returns they survive a kill.

        Parameters
        ----------
        digest, vectors, lengths, flags, residues
            Shapes as in the module's description; n >= 1.

        Returns
        -------
        int
            Number of the new part.

        Raises
        ------
        ResourceError
            The disk is full; all earlier parts stay, and this one may be appended again.
        ModelError
            A vector or residue holds a value that is not finite.
        """
        lengths, flags = np.asarray(lengths, np.int64), np.asarray(flags, np.uint16)
        part = Part(digest, vectors, lengths, flags, residues)
        if not len(digest):
            raise ValueError("a part holds at least one protein")
        for name in ("vectors", "residues"):
            array = part.arrays().get(name)
            if array is not None and not np.isfinite(array).all():
                raise ModelError(f"{name} hold a value that is not finite", where=str(self.folder))
        arrays = {name: np.ascontiguousarray(array) for name, array in part.arrays().items()}
        data = safetensors.numpy.save(arrays)
        number = self._next
        name = f"part-{number:06d}.safetensors"
        entry = JournalEntry(name, hashlib.sha256(data).hexdigest(), len(digest), len(data))
        write_atomic(self.folder / name, data)
        self._journal(entry)
        self._entries[number] = entry
        self._sound.add(number)
        self._next += 1
        return number

    def reader(self, most_open: int = 64) -> PartReader:
        """Return a reader of single proteins; it holds at most so many files open.

        A part that it finds damaged is a `ModelError` and is dropped, so that a resumed run
        computes it again.
        """
        return PartReader(self._locate, most_open)

    def discard(self) -> None:
        """Remove the folder and all that this class wrote there."""
        if not self.folder.exists():
            return
        # The journal goes first: a kill in between then leaves a folder without finished parts.
        (self.folder / "journal.jsonl").unlink(missing_ok=True)
        self._entries.clear()
        self._sound.clear()
        for entry in list(self.folder.iterdir()):
            if OWN_FILES.fullmatch(entry.name):
                entry.unlink(missing_ok=True)
        try:
            self.folder.rmdir()
        except OSError:
            _log.warning("%s: holds other files, so the folder was left", self.folder)

    def _journal(self, entry: JournalEntry) -> None:
        """Append one line durably; on failure leave the journal as it was."""
        path = self.folder / "journal.jsonl"
        before = path.stat().st_size if path.exists() else 0
        try:
            with path.open("ab", buffering=0) as handle:
                line = entry.line().encode()
                if handle.write(line) != len(line):
                    handle.write(line)  # a short write means a full disk: this raises why
                os.fsync(handle.fileno())
        except OSError as error:
            if path.exists():
                os.truncate(path, before)
            (self.folder / entry.name).unlink(missing_ok=True)
            raise disk_error(error, path) from error
        if before == 0:
            fsync_folder(self.folder)

    def _rewrite_journal(self) -> None:
        lines = [self._entries[part].line() for part in self.parts]
        write_atomic(self.folder / "journal.jsonl", "".join(lines).encode())

    def _remove_unjournalled(self) -> None:
        journalled = {entry.name for entry in self._entries.values()}
        keep = journalled | {"run.json", "journal.jsonl"}
        for path in list(self.folder.iterdir()):
            if path.name not in keep and OWN_FILES.fullmatch(path.name):
                path.unlink(missing_ok=True)

    def _check(self, part: int) -> bool:
        """Return whether a part is as it was written, once per process; drop it if not."""
        entry = self._entries[part]
        if part not in self._sound:
            if file_sha256(self.folder / entry.name) != entry.sha256:
                self._drop(part)
                return False
            self._sound.add(part)
        return True

    def _locate(self, part: int) -> Path:
        entry = self._entries[part]
        path = self.folder / entry.name
        if not self._check(part):
            raise ModelError(
                f"the part is damaged, its {entry.n} proteins must be computed again",
                where=str(path),
                hint="run again with --resume",
            )
        return path

    def _drop(self, part: int) -> None:
        entry = self._entries.pop(part)
        _log.warning(
            "%s: %s does not match its sha256; its %d proteins will be computed again",
            self.folder,
            entry.name,
            entry.n,
        )
        self._rewrite_journal()
        (self.folder / entry.name).unlink(missing_ok=True)
