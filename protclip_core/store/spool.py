"""All records of a run on disk: each sequence once, ids in input order, found by their hash.

A run first reads its whole input into a spool. So bad records, damaged files and contradicting
ids are known in seconds, before a model loads; standard input works like a file; an input that
changes or vanishes later changes nothing; identical sequences are computed once; and memory use
does not depend on the length of the input. A spool is a SQLite file that lives only as long as
its run; `protclip_core.store.work` keeps finished vectors in one that survives a kill.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from protclip_core.errors import InputError
from protclip_core.records import Failure, ProteinRecord, RecordFlag, record_place
from protclip_core.store.spool_file import SpoolFile

__all__ = ["PendingSequence", "Spool", "SpooledRecord"]

_RECORDS = (
    "SELECT id, flags, length, digest, key, coalesce(row, -1) "
    "FROM records JOIN sequences ON key = sequence WHERE problem IS NULL"
)


@dataclass(frozen=True, slots=True)
class PendingSequence:
    """A sequence without a vector.

    Attributes
    ----------
    key, digest
        Its key in the spool, and its sha256 as 32 bytes.
    content
        Its residues, or the bytes that were added in their place.
    length
        Number of residues.
    """

    key: int
    digest: bytes
    content: str | bytes
    length: int


@dataclass(frozen=True, slots=True)
class SpooledRecord:
    """A record that can be used.

    Attributes
    ----------
    id, flags, length, digest
        As read; sha256 of the sequence, or of what was added in its place, as 32 bytes.
    key
        Its sequence in the spool.
    row
        Row of its vector in the store that is added to; -1 if it is not from there.
    """

    id: str
    flags: RecordFlag
    length: int
    digest: bytes
    key: int = -1
    row: int = -1


class Spool:
    """The records of one run; a context manager that removes its file at the end.

    Parameters
    ----------
    path
        File to make; one that a killed run left there is replaced.
    keep_residues
        ``False``: for counting only; every sequence reads as empty.
    hint
        What to do when the disk is full.
    """

    _durable = False

    def __init__(
        self, path: Path, *, keep_residues: bool = True, hint: str = "make room and run again"
    ) -> None:
        self.path = path
        self.num_repeated = 0  #: records dropped because id and sequence stood there before
        self.num_refused = 0  #: records refused on reading
        self.num_sequences = 0  #: distinct sequences
        self.num_records = 0  #: records kept
        self._content = hashlib.sha256()
        # By number in the tables: a path need not be text that SQLite takes, and is long.
        self._sources: list[str] = []
        self._content_bytes = 0
        self.num_residues = 0  #: residues of the distinct sequences
        self.longest = 0  #: residues of the longest sequence
        self._keep_residues = keep_residues
        self._id_bytes = 0
        self._file = SpoolFile(path, hint, durable=self._durable)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def add(self, record: ProteinRecord, content: bytes | None = None) -> str | None:
        """Add a record.

        Parameters
        ----------
        record
            The record.
        content
            What is embedded in the place of its sequence, and makes its identity.

        Returns
        -------
        str or None
            ``None``, or the place of the earlier record with the same id and the same
            sequence; then this one is dropped and counted.

        Raises
        ------
        InputError
            The id was used before for another sequence; both places are named.
        ResourceError
            The disk is full.
        """
        digest = hashlib.sha256(
            record.sequence.encode("ascii") if content is None else content
        ).digest()
        length = len(record.sequence)
        found = self._file.one("SELECT key FROM sequences WHERE digest = ?", (digest,))
        earlier = self._place_of(record.id)
        if earlier is not None:
            if found is not None and earlier[0] == found[0]:
                self.num_repeated += 1
                return earlier[1]
            raise InputError(
                f"same id as {earlier[1]}, but another sequence",
                code="input.duplicate_id",
                where=record.where,
                hint="give each protein its own id",
            )
        if found is None:
            found = (self._add_sequence(digest, length, content or record.sequence),)
        self._file.run(
            "INSERT INTO records (id, sequence, flags, source, place) VALUES (?, ?, ?, ?, ?)",
            (
                record.id,
                found[0],
                int(record.flags),
                self._source(record.source),
                record.number,
            ),
        )
        name = record.id.encode()
        self.num_records += 1
        self._id_bytes += len(name)
        self._content.update(name + b"\0" + digest)
        return None

    def refuse(self, failure: Failure) -> None:
        """Keep a record that was refused on reading, for `failures`."""
        source = self._source(failure.source)
        values = (source, failure.number, failure.id, failure.reason, failure.code)
        self._file.run("INSERT INTO refused VALUES (?, ?, ?, ?, ?)", values)
        self.num_refused += 1

    @property
    def content_sha256(self) -> str:
        """Hash of the records kept: each id, a NUL byte and the sequence's sha256, in order.

        It names the content of the input, whatever its compression and line ends.
        """
        return self._content.hexdigest()

    @property
    def full_bytes(self) -> int:
        """About what the file takes with residues; an id stands in a table and in an index."""
        tables = 150 * self.num_sequences + 40 * self.num_records
        return self._content_bytes + tables + 3 * self._id_bytes

    @property
    def bytes_on_disk(self) -> int:
        """What the file takes by now; the last of it may still be in memory."""
        return self._file.bytes()

    def mark_stored(self, digests: np.ndarray, start: int = 0) -> int:
        """Note that an existing store holds these sequences, in the rows from ``start`` on.

        Parameters
        ----------
        digests
            Shape ``(n, 32)``, uint8. Sequences that the run does not need are ignored.
        start
            Row of the first.

        Returns
        -------
        int
            How many sequences are done now that were not before.
        """
        return self._file.run_for_each(
            "UPDATE sequences SET row = ? WHERE digest = ? AND row IS NULL AND problem IS NULL",
            ((start + row, digest.tobytes()) for row, digest in enumerate(digests)),
        )

    def names(self, ids: Iterable[str]) -> np.ndarray:
        """Tell which ids the input names, refused records included ``(n,)``, bool."""
        query = (
            "SELECT 1 FROM records WHERE id = ?1 UNION ALL "
            "SELECT 1 FROM refused WHERE id = ?1 LIMIT 1"
        )
        return np.array([self._file.one(query, (id,)) is not None for id in ids], bool)

    def find(self, ids: Iterable[str]) -> list[SpooledRecord | None]:
        """Return the usable record of each id, ``None`` if the input has none."""
        query = f"{_RECORDS} AND id = ?"
        found = [self._file.one(query, (id,)) for id in ids]
        return [None if row is None else _record(row) for row in found]

    def mark_failed(self, digest: bytes, problem: str, code: str) -> None:
        """Note why the sequence with this sha256 has no vector."""
        self._file.run(
            "UPDATE sequences SET problem = ?, code = ? WHERE digest = ?", (problem, code, digest)
        )

    def fail_longer_than(self, limit: int) -> None:
        """Mark the sequences of more than ``limit`` residues as failed."""
        self._file.run(
            "UPDATE sequences SET problem = length || ' residues are more than ' || ?, "
            "code = 'record.too_long' "
            "WHERE length > ? AND key IN (SELECT sequence FROM records)",
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
            rows = self._file.run(
                "SELECT key, digest, residues, length FROM sequences "
                "WHERE key > ? AND row IS NULL AND problem IS NULL ORDER BY key LIMIT 256",
                (last,),
            ).fetchall()
            for row in rows:
                item = PendingSequence(*row)
                if window and (len(window) == max_count or residues + item.length > max_residues):
                    yield window
                    window, residues = [], 0
                window.append(item)
                residues += item.length
                last = item.key
            if not rows:
                break
        if window:
            yield window

    def count_pending(self) -> tuple[int, int]:
        """Count the sequences still to do, and their residues."""
        count, residues = self._file.one(
            "SELECT count(*), total(length) FROM sequences WHERE row IS NULL AND problem IS NULL"
        )
        return int(count), int(residues)

    def count_longer_than(self, limit: int) -> int:
        """Count the records of more than ``limit`` residues."""
        row = self._file.one(
            "SELECT count(*) FROM records JOIN sequences ON key = sequence WHERE length > ?",
            (limit,),
        )
        return int(row[0])

    def longer_than(self, limit: int) -> Iterator[tuple[str, int]]:
        """Yield place and length of each record of more than ``limit`` residues, in order."""
        yield from (
            (record_place(self._sources[source], place, id), length)
            for source, place, id, length in self._file.select(
                "SELECT source, place, id, length FROM records JOIN sequences ON key = sequence "
                "WHERE length > ? ORDER BY number",
                (limit,),
            )
        )

    def lengths(self) -> Iterator[int]:
        """Yield the number of residues of each distinct sequence without problem."""
        query = "SELECT length FROM sequences WHERE problem IS NULL ORDER BY key"
        yield from (row[0] for row in self._file.select(query))

    def output_residues(self, limit: int | None = None) -> tuple[int, int]:
        """Count the records without problem and their residues, each cut at ``limit`` if given."""
        count, residues = self._file.one(
            "SELECT count(*), total(min(length, ?)) FROM records "
            "JOIN sequences ON key = sequence WHERE problem IS NULL",
            (limit if limit is not None else 1 << 60,),
        )
        return int(count), int(residues)

    def failures(self) -> Iterator[Failure]:
        """Yield the refused records, then those whose sequence has a problem, in input order."""
        for source, *rest in self._file.select(
            "SELECT source, place, id, reason, code FROM refused ORDER BY rowid"
        ):
            yield Failure(self._sources[source], *rest)
        for source, *rest in self._file.select(
            "SELECT source, place, id, problem, code FROM records JOIN sequences ON key = sequence "
            "WHERE problem IS NOT NULL ORDER BY number"
        ):
            yield Failure(self._sources[source], *rest)

    def records(self, block: int = 4096) -> Iterator[list[SpooledRecord]]:
        """Yield the records without problem in input order, in blocks."""
        items: list[SpooledRecord] = []
        for row in self._file.select(f"{_RECORDS} ORDER BY number"):
            items.append(_record(row))
            if len(items) == block:
                yield items
                items = []
        if items:
            yield items

    def contents_of(self, records: Iterable[SpooledRecord]) -> dict[bytes, str | bytes]:
        """Return the sequences of a few records, or what stands in their place, by digest."""
        found: dict[bytes, str | bytes] = {}
        for record in records:
            if record.digest not in found:
                found[record.digest] = self._file.one(
                    "SELECT residues FROM sequences WHERE digest = ?", (record.digest,)
                )[0]
        return found

    def _place_of(self, id: str) -> tuple[int, str] | None:
        row = self._file.one("SELECT sequence, source, place FROM records WHERE id = ?", (id,))
        return None if row is None else (row[0], record_place(self._sources[row[1]], row[2]))

    def _source(self, name: str) -> int:
        """Return the number of a source; mostly the last, since records come source by source."""
        if not self._sources or self._sources[-1] != name:
            self._sources.append(name)
        return len(self._sources) - 1

    def _add_sequence(self, digest: bytes, length: int, content: str | bytes) -> int:
        cursor = self._file.run(
            "INSERT INTO sequences (digest, length, residues) VALUES (?, ?, ?)",
            (digest, length, content if self._keep_residues else ""),
        )
        self._content_bytes += len(content)
        self.num_sequences += 1
        self.num_residues += length
        self.longest = max(self.longest, length)
        return int(cursor.lastrowid or 0)


def _record(row: tuple[str, int, int, bytes, int, int]) -> SpooledRecord:
    id, flags, length, digest, key, stored = row
    return SpooledRecord(id, RecordFlag(flags), length, digest, key, stored)
