"""The SQLite file under a spool: its tables, its transactions, and its errors by their code."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from protclip_core.errors import ModelError, ResourceError
from protclip_core.io.atomic import free_bytes

__all__ = ["SpoolFile"]

_SCHEMA = """
CREATE TABLE sequences (
    key INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE, length INTEGER NOT NULL,
    residues TEXT NOT NULL, row INTEGER, problem TEXT, code TEXT);
CREATE TABLE records (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, sequence INTEGER NOT NULL,
    flags INTEGER NOT NULL, source INTEGER NOT NULL, place INTEGER NOT NULL);
CREATE TABLE refused (source INTEGER, place INTEGER, id TEXT, reason TEXT, code TEXT);
CREATE INDEX refused_id ON refused (id);
CREATE TABLE vectors (place INTEGER PRIMARY KEY, data BLOB NOT NULL, sha256 BLOB NOT NULL);
CREATE TABLE notes (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""
_CACHE_KIB = 65_536
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class SpoolFile:
    """A SQLite file, always inside a transaction.

    Every method raises `ResourceError` if the disk fails and `ModelError` if the file is damaged.

    Parameters
    ----------
    path
        The file.
    hint
        What to do when its disk is full.
    durable
        Whether the file outlives the process: it is opened if it exists, what was committed
        survives a kill, and closing keeps it. Otherwise it is made new and removed at the end.
    """

    def __init__(self, path: Path, hint: str, *, durable: bool = False) -> None:
        self.path, self.hint, self._durable = path, hint, durable
        if not durable:
            path.unlink(missing_ok=True)
        with self._errors_named():
            self._db = sqlite3.connect(path, isolation_level=None)
            try:
                self._set_up()
            except BaseException:
                self._db.close()
                raise

    def _set_up(self) -> None:
        # The rollback journal holds pages that are changed, not those that are added: vectors
        # are written once. A file of this process alone needs neither journal nor fsync.
        journal, synchronous = ("TRUNCATE", "FULL") if self._durable else ("OFF", "OFF")
        self._db.executescript(
            f"PRAGMA page_size=16384; PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode={journal};"
            f"PRAGMA synchronous={synchronous}; PRAGMA cache_size=-{_CACHE_KIB}; BEGIN;"
        )
        if self.one("SELECT 1 FROM sqlite_master LIMIT 1") is None:
            for statement in _SCHEMA.split(";\n"):
                self._db.execute(statement)

    def bytes(self) -> int:
        """Return the size of the file so far; the last pages may still be in memory."""
        return self.path.stat().st_size

    def commit(self) -> None:
        """End the transaction, durably if the file is durable, and begin the next one."""
        with self._errors_named():
            if self._db.in_transaction:  # not if a signal struck between the two statements
                self._db.execute("COMMIT")
            self._db.execute("BEGIN")

    def close(self) -> None:
        """Roll back what was not committed and close the file; remove it unless it is durable."""
        self._db.close()
        if not self._durable:
            self.path.unlink(missing_ok=True)

    def run(self, query: str, values: Sequence[object] = ()) -> sqlite3.Cursor:
        """Run one statement."""
        with self._errors_named():
            return self._db.execute(query, values)

    def run_for_each(self, query: str, rows: Iterable[Sequence[object]]) -> int:
        """Run a statement for each row of values; returns how many rows it changed."""
        with self._errors_named():
            return max(self._db.executemany(query, rows).rowcount, 0)

    def one(self, query: str, values: Sequence[object] = ()) -> Any:
        """Return the first row of an answer, or ``None``."""
        with self._errors_named():
            return self._db.execute(query, values).fetchone()

    def select(self, query: str, values: Sequence[object] = (), many: int = 1024) -> Iterator[Any]:
        """Yield the rows of an answer, read ``many`` at a time."""
        cursor = self.run(query, values)
        while True:
            with self._errors_named():
                rows = cursor.fetchmany(many)
            if not rows:
                return
            yield from rows

    @contextmanager
    def _errors_named(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGED:
                raise ModelError(
                    f"the finished proteins of an earlier run are damaged ({error})",
                    code="model.damaged_work",
                    where=str(self.path),
                    hint="discard them with --overwrite",
                ) from error
            free = free_bytes(self.path.parent) // 1_000_000
            raise ResourceError(
                f"no room to keep records and vectors ({error}; {free} MB free on its disk)",
                code="resource.disk_full",
                where=str(self.path.parent),
                hint=self.hint,
            ) from error
