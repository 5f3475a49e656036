"""All records of a run on disk: each sequence once, ids in input order, found by their hash.

A run first reads its whole input into a spool. So bad records, damaged files and contradicting
ids are known in seconds, before a model loads; standard input works like a file; an input that
changes or vanishes later changes nothing; identical sequences are met once; and memory stays the
same however long the input is. The spool is a SQLite file that lives only as long as its run.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from protclip_core.errors import InputError, ResourceError
from protclip_core.io.atomic import free_bytes
from protclip_core.records import Failure, ProteinRecord, RecordFlag, record_place

__all__ = ["PendingSequence", "Spool", "SpooledRecord"]

_SCHEMA = """
CREATE TABLE sequences (
    key INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE, length INTEGER NOT NULL,
    residues TEXT NOT NULL, part INTEGER, row INTEGER, problem TEXT);
CREATE TABLE records (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, sequence INTEGER NOT NULL,
    flags INTEGER NOT NULL, source TEXT NOT NULL, place INTEGER NOT NULL);
CREATE TABLE refused (source TEXT, place INTEGER, id TEXT, reason TEXT);
CREATE INDEX refused_id ON refused (id);
"""
_CACHE_KIB = 65_536


@dataclass(frozen=True, slots=True)
class PendingSequence:
    """A sequence that has no vector yet: its key in the spool, sha256 (32 bytes), residues."""

    key: int
    digest: bytes
    residues: str


@dataclass(frozen=True, slots=True)
class SpooledRecord:
    """A record with where its vector lies: part and row, or -1, -1 if it has none yet."""

    id: str
    flags: RecordFlag
    length: int
    digest: bytes
    part: int
    row: int


class Spool:
    """The records of one run; a context manager that removes its file at the end.

    Parameters
    ----------
    path
        File to be made; one that a killed run left there is replaced.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.num_repeated = 0  #: records dropped because id and sequence stood there before
        self.num_refused = 0  #: records refused on reading
        self.num_sequences = 0  #: distinct sequences
        self.num_records = 0  #: records kept
        self._content = hashlib.sha256()
        self.num_residues = 0  #: residues of the distinct sequences
        self.longest = 0  #: residues of the longest sequence
        path.unlink(missing_ok=True)
        with self._errors_named():
            self._db = sqlite3.connect(path, isolation_level=None)
            # Nothing here outlives the run, so durability is not paid for.
            self._db.executescript(
                f"PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA cache_size=-{_CACHE_KIB};"
                f"PRAGMA locking_mode=EXCLUSIVE; {_SCHEMA} BEGIN;"
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._db.close()
        self.path.unlink(missing_ok=True)

    def add(self, record: ProteinRecord) -> str | None:
        """Add a record.

        Returns
        -------
        str or None
            ``None``, or the place of the earlier record with the same id and the same
            sequence; then this one is dropped and counted.

        Raises
        ------
        InputError
            The id stood there before with another sequence; both places are named.
        ResourceError
            The disk is full.
        """
        digest = hashlib.sha256(record.sequence.encode("ascii")).digest()
        length = len(record.sequence)
        with self._errors_named():
            row = self._db.execute("SELECT key FROM sequences WHERE digest = ?", (digest,))
            found = row.fetchone()
            earlier = self._place_of(record.id)
            if earlier is not None:
                if found is not None and earlier[0] == found[0]:
                    self.num_repeated += 1
                    return earlier[1]
                raise InputError(
                    f"same id as {earlier[1]}, but another sequence",
                    where=record.where,
                    hint="give each protein an id of its own",
                )
            if found is None:
                found = (self._add_sequence(digest, length, record.sequence),)
            self._db.execute(
                "INSERT INTO records (id, sequence, flags, source, place) VALUES (?, ?, ?, ?, ?)",
                (record.id, found[0], int(record.flags), record.source, record.number),
            )
        self.num_records += 1
        self._content.update(record.id.encode() + b"\0" + digest)
        return None

    def refuse(self, failure: Failure) -> None:
        """Keep a record that was refused on reading, for `failures`."""
        values = (failure.source, failure.number, failure.id, failure.reason)
        with self._errors_named():
            self._db.execute("INSERT INTO refused VALUES (?, ?, ?, ?)", values)
        self.num_refused += 1

    @property
    def content_sha256(self) -> str:
        """Hash of the records kept: each id, a NUL byte and the sequence's sha256, in order.

        It names the content of the input, whatever its compression and line ends.
        """
        return self._content.hexdigest()

    def mark_done(self, part: int, digests: np.ndarray) -> int:
        """Note that row ``i`` of a part holds the sequence with ``digests[i]``.

        Parameters
        ----------
        part
            Number of the part.
        digests
            Shape ``(n, 32)``, uint8. Digests that the run does not ask for are passed over.

        Returns
        -------
        int
            How many sequences of the run it holds.
        """
        with self._errors_named():
            cursor = self._db.executemany(
                "UPDATE sequences SET part = ?, row = ? WHERE digest = ?",
                ((part, row, digest.tobytes()) for row, digest in enumerate(digests)),
            )
        return max(cursor.rowcount, 0)

    def wanted(self, digests: np.ndarray) -> np.ndarray:
        """Tell which sequences are asked for and have no vector yet.

        Parameters
        ----------
        digests
            Shape ``(n, 32)``, uint8.

        Returns
        -------
        numpy.ndarray
            Shape ``(n,)``, bool.
        """
        query = (
            "SELECT 1 FROM sequences WHERE digest = ? AND part IS NULL AND problem IS NULL LIMIT 1"
        )
        with self._errors_named():
            found = [self._db.execute(query, (d.tobytes(),)).fetchone() for d in digests]
        return np.array([row is not None for row in found], bool)

    def names(self, ids: Iterable[str]) -> np.ndarray:
        """Tell which ids the input names, be it in a record that was refused ``(n,)``, bool."""
        query = (
            "SELECT 1 FROM records WHERE id = ?1 UNION ALL "
            "SELECT 1 FROM refused WHERE id = ?1 LIMIT 1"
        )
        with self._errors_named():
            found = [self._db.execute(query, (id,)).fetchone() for id in ids]
        return np.array([row is not None for row in found], bool)

    def mark_failed(self, key: int, problem: str) -> None:
        """Note why a sequence has no vector."""
        with self._errors_named():
            self._db.execute("UPDATE sequences SET problem = ? WHERE key = ?", (problem, key))

    def mark_failed_digest(self, digest: bytes, problem: str) -> None:
        """Note why the sequence of this sha256 has no vector."""
        with self._errors_named():
            self._db.execute("UPDATE sequences SET problem = ? WHERE digest = ?", (problem, digest))

    def fail_longer_than(self, limit: int) -> None:
        """Mark the sequences of more than ``limit`` residues as failed."""
        with self._errors_named():
            self._db.execute(
                "UPDATE sequences SET problem = length || ' residues are more than ' || ? "
                "WHERE length > ?",
                (limit, limit),
            )

    def pending(self, max_count: int, max_residues: int) -> Iterator[list[PendingSequence]]:
        """Yield sequences without vector and without problem, in input order, in windows.

        Parameters
        ----------
        max_count, max_residues
            A window ends before either is passed; one sequence may pass the second by itself.
        """
        last, residues = -1, 0
        window: list[PendingSequence] = []
        while True:
            with self._errors_named():
                rows = self._db.execute(
                    "SELECT key, digest, residues FROM sequences "
                    "WHERE key > ? AND part IS NULL AND problem IS NULL ORDER BY key LIMIT 256",
                    (last,),
                ).fetchall()
            for row in rows:
                item = PendingSequence(*row)
                if window and (
                    len(window) == max_count or residues + len(item.residues) > max_residues
                ):
                    yield window
                    window, residues = [], 0
                window.append(item)
                residues += len(item.residues)
                last = item.key
            if not rows:
                break
        if window:
            yield window

    def count_pending(self) -> tuple[int, int]:
        """Count the sequences still to do, and their residues."""
        with self._errors_named():
            count, residues = self._db.execute(
                "SELECT count(*), total(length) FROM sequences "
                "WHERE part IS NULL AND problem IS NULL"
            ).fetchone()
        return int(count), int(residues)

    def count_longer_than(self, limit: int) -> int:
        """Count the records of more than ``limit`` residues."""
        with self._errors_named():
            row = self._db.execute(
                "SELECT count(*) FROM records JOIN sequences ON key = sequence WHERE length > ?",
                (limit,),
            ).fetchone()
        return int(row[0])

    def longer_than(self, limit: int) -> Iterator[tuple[str, int]]:
        """Yield place and length of each record of more than ``limit`` residues, in order."""
        yield from (
            (record_place(source, place, id), length)
            for source, place, id, length in self._select(
                "SELECT source, place, id, length FROM records JOIN sequences ON key = sequence "
                "WHERE length > ? ORDER BY number",
                (limit,),
            )
        )

    def lengths(self) -> Iterator[int]:
        """Yield the residues of each distinct sequence."""
        yield from (row[0] for row in self._select("SELECT length FROM sequences ORDER BY key"))

    def output_residues(self, limit: int | None = None) -> tuple[int, int]:
        """Count the records without problem and their residues, each cut at ``limit`` if given."""
        with self._errors_named():
            count, residues = self._db.execute(
                "SELECT count(*), total(min(length, ?)) FROM records "
                "JOIN sequences ON key = sequence WHERE problem IS NULL",
                (limit if limit is not None else 1 << 60,),
            ).fetchone()
        return int(count), int(residues)

    def failures(self) -> Iterator[Failure]:
        """Yield the refused records, then those whose sequence has a problem, in input order."""
        for row in self._select("SELECT source, place, id, reason FROM refused ORDER BY rowid"):
            yield Failure(*row)
        for source, place, id, problem in self._select(
            "SELECT source, place, id, problem FROM records JOIN sequences ON key = sequence "
            "WHERE problem IS NOT NULL ORDER BY number"
        ):
            yield Failure(source, place, id, problem)

    def records(self, block: int = 4096) -> Iterator[list[SpooledRecord]]:
        """Yield the records without problem in input order, in blocks."""
        rows = self._select(
            "SELECT id, flags, length, digest, coalesce(part, -1), coalesce(row, -1) "
            "FROM records JOIN sequences ON key = sequence WHERE problem IS NULL ORDER BY number"
        )
        items: list[SpooledRecord] = []
        for id, flags, length, digest, part, row in rows:
            items.append(SpooledRecord(id, RecordFlag(flags), length, digest, part, row))
            if len(items) == block:
                yield items
                items = []
        if items:
            yield items

    def residues_of(self, records: Iterable[SpooledRecord]) -> dict[bytes, str]:
        """Return the sequences of a few records, by digest."""
        found: dict[bytes, str] = {}
        with self._errors_named():
            for record in records:
                if record.digest not in found:
                    found[record.digest] = self._db.execute(
                        "SELECT residues FROM sequences WHERE digest = ?", (record.digest,)
                    ).fetchone()[0]
        return found

    def _select(self, query: str, values: tuple[object, ...] = ()) -> Iterator[Any]:
        with self._errors_named():
            cursor = self._db.execute(query, values)
        while True:
            with self._errors_named():
                rows = cursor.fetchmany(1024)
            if not rows:
                return
            yield from rows

    def _place_of(self, id: str) -> tuple[int, str] | None:
        row = self._db.execute(
            "SELECT sequence, source, place FROM records WHERE id = ?", (id,)
        ).fetchone()
        return None if row is None else (row[0], record_place(row[1], row[2]))

    def _add_sequence(self, digest: bytes, length: int, residues: str) -> int:
        cursor = self._db.execute(
            "INSERT INTO sequences (digest, length, residues) VALUES (?, ?, ?)",
            (digest, length, residues),
        )
        self.num_sequences += 1
        self.num_residues += length
        self.longest = max(self.longest, length)
        return int(cursor.lastrowid or 0)

    @contextmanager
    def _errors_named(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            free = free_bytes(self.path.parent) >> 20
            raise ResourceError(
                f"the list of records cannot be kept on disk ({error}; {free} MB free)",
                where=str(self.path.parent),
                hint="make room and run again",
            ) from error
