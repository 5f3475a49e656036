"""The working file of a long run: its records and finished vectors, safe against kills.

Next to the output ``OUT.h5`` lies the folder ``OUT.h5.partial/`` with the SQLite file ``work``: the
spool of the run, each finished vector with its sha256, and the settings that the vectors depend
on. What was committed survives a kill at any moment. One process at a time may use the folder:
the caller holds `protclip_core.io.atomic.file_lock` on the output.

One file, because it is simpler than a folder of parts with a journal and not slower: 1.5 GB of
residue vectors are written and read back 1.37 times as fast (1.12 to 1.86, nine interleaved
rounds, one commit per 32 MB each; ``tests/benchmarks/working_file.py``).
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from protclip_core.errors import ModelError, UsageError
from protclip_core.io.atomic import disk_error, fsync_folder
from protclip_core.records import counted
from protclip_core.store.spool import Spool
from protclip_core.store.spool_file import SpoolFile

__all__ = ["Work", "differences", "partial_folder"]

_log = logging.getLogger(__name__)

# SQLite takes BLOBs of at most 1 GB, so the vectors of a very long protein come in pieces.
_PIECE_BYTES, _PIECE_BITS = 64 << 20, 10

_OWN_FILES = re.compile(
    r"work(\.new)?(-journal)?"
    # Of versions before the working file was one.
    r"|\.?(part-\d{6,}\.safetensors|run\.json|journal\.jsonl)(\.[0-9a-f]{16}\.tmp)?"
)


def partial_folder(out: str | Path) -> Path:
    """Return the working folder of an output file: ``OUT.h5.partial`` next to it."""
    real = Path(os.path.realpath(out))
    return real.with_name(f"{real.name}.partial")


class Work(Spool):
    """The spool of a run that can be resumed; a context manager.

    At the end of the block the folder goes if `finish` was called or nothing is finished;
    otherwise what was committed is kept.

    Parameters
    ----------
    output
        The output; its folder exists.
    resume
        Continue what an earlier run has finished, if anything.
    overwrite
        Discard what an earlier run has finished, once `begin` is called.

    Raises
    ------
    UsageError
        An earlier run has finished proteins, and neither ``resume`` nor ``overwrite`` is set; or
        an earlier version of protclip made them.
    ModelError
        The file is damaged.
    ResourceError
        The disk is full.
    """

    _durable = True

    def __init__(self, output: Path, *, resume: bool = False, overwrite: bool = False) -> None:
        self._output, self.folder = output, partial_folder(output)
        self._final = self.folder / "work"
        self._begun = self._finished = False
        if not overwrite:
            self._refuse_old_version()
        done = 0 if overwrite else self._count_finished()
        if done and not resume:
            raise UsageError(
                f"{done:,} proteins are already finished by an earlier run",
                code="usage.unfinished_run",
                where=str(self.folder),
                hint="continue it with --resume, or discard it with --overwrite",
            )
        self.resumed = done > 0
        path = self._final if self.resumed else self.folder / "work.new"
        try:
            self.folder.mkdir(exist_ok=True)
            if not self.resumed:
                _remove(path)
        except OSError as error:
            raise disk_error(error, self.folder) from error
        try:
            super().__init__(path)
        except BaseException:
            if not self.resumed:
                _remove(path)
                with suppress(OSError):  # an earlier run may have finished something
                    self.folder.rmdir()
            raise
        if self.resumed:
            self._set_aside()

    @property
    def num_finished(self) -> int:
        """Sequences whose vectors are in the file, of this run's input or not."""
        return int(self._file.one("SELECT count(*) FROM sequences WHERE row = -1")[0])

    def note(self, name: str, default: Any = None) -> Any:
        """Return what was noted under a name."""
        row = self._file.one("SELECT value FROM notes WHERE name = ?", (name,))
        return default if row is None else json.loads(row[0])

    def set_note(self, name: str, value: Any) -> None:
        """Note a value that JSON can hold; kept with the next commit."""
        self._file.run("INSERT OR REPLACE INTO notes VALUES (?, ?)", (name, json.dumps(value)))

    def begin(self, key: Mapping[str, Any]) -> None:
        """Make the file that of this run, after its input was read.

        Damaged vectors of an earlier run are dropped with a warning, to be computed again. Its
        finished records that the input does not name are kept, behind those of the input.

        Parameters
        ----------
        key
            Settings that the vectors depend on; values that JSON can hold.

        Raises
        ------
        UsageError
            The earlier run had other settings; names each and both values. Nothing is changed.
        ResourceError
            The disk is full.
        """
        key = json.loads(json.dumps(dict(key)))
        if self.resumed:
            found = self.note("key", {})
            if found != key:
                raise UsageError(
                    f"the earlier run had other settings: {differences(found, key)}",
                    code="usage.other_settings",
                    where=str(self.folder),
                    hint="run with its settings, or discard it with --overwrite",
                )
            self._drop_damaged()
            self._keep_earlier()
        self.set_note("key", key)
        self._file.commit()
        if self.path != self._final:
            self._publish()
        self._begun = True

    def commit(self, done: Iterable[tuple[int, npt.NDArray[Any], npt.NDArray[Any] | None]]) -> None:
        """Store finished vectors; when this returns they survive a kill.

        Parameters
        ----------
        done
            For each sequence its key, its vector ``(D)`` and, per residue, ``(L, D)``, in the type
            of the store.

        Raises
        ------
        ResourceError
            The disk is full; what was committed before stays.
        """
        keys: list[tuple[int]] = []

        def pieces() -> Iterator[tuple[int, bytes, bytes]]:
            for key, vector, residues in done:
                keys.append((key,))
                data = vector.tobytes() + (b"" if residues is None else residues.tobytes())
                for i, start in enumerate(range(0, len(data), _PIECE_BYTES)):
                    piece = data[start : start + _PIECE_BYTES]
                    yield (key << _PIECE_BITS) + i, piece, hashlib.sha256(piece).digest()

        self._file.run_for_each("INSERT OR REPLACE INTO vectors VALUES (?, ?, ?)", pieces())
        self._file.run_for_each("UPDATE sequences SET row = -1 WHERE key = ?", keys)
        self._file.commit()

    def read(self, key: int, dim: int, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """Return the vector of a finished sequence and, per residue, those of its residues.

        Returns
        -------
        numpy.ndarray
            Shape ``(1, D)`` or ``(1 + L, D)``: the vector comes first.

        Raises
        ------
        ModelError
            The file was changed or damaged meanwhile.
        """
        data = b"".join(piece for piece, _ in self._pieces(key))
        row_bytes = dim * np.dtype(dtype).itemsize
        if not data or len(data) % row_bytes:
            raise ModelError(
                "the working file changed while it was in use",
                code="model.damaged_work",
                where=str(self.path),
                hint="run again with --resume",
            )
        return np.frombuffer(data, dtype).reshape(-1, dim)

    def count_done(self) -> int:
        """Count the sequences of the records that have a vector already."""
        row = self._file.one(
            "SELECT count(*) FROM sequences WHERE row IS NOT NULL AND problem IS NULL "
            "AND key IN (SELECT sequence FROM records)"
        )
        return int(row[0])

    def finish(self) -> None:
        """Note that the output is there: nothing needs to be kept."""
        self._finished = True

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        super().__exit__(kind, error, trace)
        if self._finished or not self._count_finished_quietly():
            self._remove_all()
        else:
            _remove(self.folder / "work.new")
            if self._begun:  # otherwise what is there belongs to another run
                _log.warning("finished proteins of %s are kept; go on with --resume", self._output)

    def _refuse_old_version(self) -> None:
        if (self.folder / "journal.jsonl").exists():
            raise UsageError(
                "was left by a run of an earlier version of protclip",
                code="usage.unfinished_run",
                where=str(self.folder),
                hint="finish it with that version, or discard it with --overwrite",
            )

    def _count_finished(self) -> int:
        if not self._final.exists():
            return 0
        file = SpoolFile(self._final, "make room and run again", durable=True)
        try:
            return int(file.one("SELECT count(*) FROM sequences WHERE row = -1")[0])
        finally:
            file.close()

    def _count_finished_quietly(self) -> bool:
        """Tell whether anything is finished; what cannot be read counts, so that it stays."""
        try:
            return self._count_finished() > 0
        except Exception:  # noqa: BLE001 - the error that ends the run is on its way already
            return True

    def _set_aside(self) -> None:
        """Make room for the records of this run's input; undone unless the run begins."""
        finished = "FROM records JOIN sequences ON key = sequence WHERE row = -1"
        for statement in (
            "DROP TABLE IF EXISTS earlier",
            f"CREATE TABLE earlier AS SELECT id, sequence, flags, number {finished}",
            "DELETE FROM records",
            "DELETE FROM refused",
            "DELETE FROM sequences WHERE row IS NOT -1",
            "UPDATE sequences SET problem = NULL, code = NULL WHERE problem IS NOT NULL",
        ):
            self._file.run(statement)

    def _keep_earlier(self) -> None:
        """Append the finished records of earlier runs that the input does not name."""
        source = self._source(str(self.folder))
        kept = self._file.run(
            "INSERT INTO records (id, sequence, flags, source, place) "
            "SELECT id, sequence, flags, ?, number FROM earlier WHERE id NOT IN "
            "(SELECT id FROM records UNION ALL SELECT id FROM refused) ORDER BY number",
            (source,),
        ).rowcount
        if kept:
            _log.warning(
                "%s of %s kept that the input does not name",
                counted(kept, "finished record"),
                self.folder,
            )
        self._file.run("DROP TABLE earlier")

    def _drop_damaged(self) -> None:
        """Compare every vector with its sha256; those that differ are to be computed again."""
        bad = [
            (key,)
            for (key,) in self._file.run("SELECT key FROM sequences WHERE row = -1").fetchall()
            if not self._is_sound(key)
        ]
        if bad:
            _log.warning(
                "%s: the vectors of %s do not match their sha256; they are computed again",
                self.folder,
                counted(len(bad), "protein"),
            )
            self._file.run_for_each("UPDATE sequences SET row = NULL WHERE key = ?", bad)

    def _is_sound(self, key: int) -> bool:
        pieces = self._pieces(key)
        return bool(pieces) and all(hashlib.sha256(p).digest() == sha for p, sha in pieces)

    def _pieces(self, key: int) -> list[tuple[bytes, bytes]]:
        first = key << _PIECE_BITS
        return self._file.run(
            "SELECT data, sha256 FROM vectors WHERE place BETWEEN ? AND ? ORDER BY place",
            (first, first + (1 << _PIECE_BITS) - 1),
        ).fetchall()

    def _publish(self) -> None:
        """Put the new file, whole and on the disk, in the place of what was there."""
        self._file.close()
        try:
            _remove(self._final)
            self.path.replace(self._final)
            _remove(self.path)  # its journal, empty by now
            fsync_folder(self.folder)
        except OSError as error:
            raise disk_error(error, self.folder) from error
        self.path = self._final
        self._file = SpoolFile(self.path, self._file.hint, durable=True)

    def _remove_all(self) -> None:
        # The file itself goes first: without it nothing counts as finished.
        _remove(self._final)
        for entry in list(self.folder.iterdir()):
            if _OWN_FILES.fullmatch(entry.name):
                entry.unlink(missing_ok=True)
        try:
            self.folder.rmdir()
        except OSError:
            _log.warning("%s: holds other files, so the folder was left", self.folder)


def _remove(database: Path) -> None:
    """Remove a SQLite file, then its journal: a journal alone is never applied to anything."""
    database.unlink(missing_ok=True)
    database.with_name(f"{database.name}-journal").unlink(missing_ok=True)


def differences(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """Say each setting that differs: ``pooling is "mean" there, "cls" now``."""
    absent = "absent"
    return ", ".join(
        f"{name} is {json.dumps(found[name]) if name in found else absent} there, "
        f"{json.dumps(wanted[name]) if name in wanted else absent} now"
        for name in sorted(found.keys() | wanted.keys())
        if found.get(name, absent) != wanted.get(name, absent)
    )
