"""The SQLite file under a spool: its tables, and its errors by their name."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from protclip_core.errors import ResourceError
from protclip_core.io.atomic import free_bytes

__all__ = ["SpoolFile"]

_SCHEMA = """
CREATE TABLE sequences (
    key INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE, length INTEGER NOT NULL,
    residues TEXT NOT NULL, part INTEGER, row INTEGER, problem TEXT);
CREATE TABLE records (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, sequence INTEGER NOT NULL,
    flags INTEGER NOT NULL, source INTEGER NOT NULL, place INTEGER NOT NULL);
CREATE TABLE refused (source INTEGER, place INTEGER, id TEXT, reason TEXT);
CREATE INDEX refused_id ON refused (id);
"""
_CACHE_KIB = 65_536


class SpoolFile:
    """A SQLite file that lives only as long as its run.

    Every method raises `ResourceError` where the disk does not do its part.

    Parameters
    ----------
    path
        File to be made; one that a killed run left there is replaced.
    hint
        What to do where its disk has no room.
    """

    def __init__(self, path: Path, hint: str) -> None:
        self.path, self._hint = path, hint
        path.unlink(missing_ok=True)
        with self._errors_named():
            self._db = sqlite3.connect(path, isolation_level=None)
            # Nothing here outlives the run, so durability is not paid for.
            self._db.executescript(
                f"PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA cache_size=-{_CACHE_KIB};"
                f"PRAGMA locking_mode=EXCLUSIVE; {_SCHEMA} BEGIN;"
            )

    def bytes(self) -> int:
        """Return the bytes that the file takes on its disk so far."""
        return self.path.stat().st_size

    def close(self) -> None:
        """Close the file and remove it."""
        self._db.close()
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

    def select(self, query: str, values: Sequence[object] = ()) -> Iterator[Any]:
        """Yield the rows of an answer, a thousand read at a time."""
        cursor = self.run(query, values)
        while True:
            with self._errors_named():
                rows = cursor.fetchmany(1024)
            if not rows:
                return
            yield from rows

    @contextmanager
    def _errors_named(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            free = free_bytes(self.path.parent) // 1_000_000
            raise ResourceError(
                f"the list of records cannot be kept on disk ({error}; {free} MB free)",
                where=str(self.path.parent),
                hint=self._hint,
            ) from error
