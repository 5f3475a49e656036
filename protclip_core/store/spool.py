"""All records of a run on disk: each sequence once, ids in input order, found by their hash.

A run first reads its whole input into a spool. So bad records, damaged files and contradicting
ids are known in seconds, before a model loads; standard input works like a file; an input that
changes or vanishes later changes nothing; identical sequences are met once; and memory stays the
same however long the input is. The spool is a SQLite file that lives only as long as its run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from protclip_core.errors import InputError
from protclip_core.records import Failure, ProteinRecord, RecordFlag, record_place
from protclip_core.store.spool_file import SpoolFile
from protclip_core.store.spool_records import PendingSequence, SpooledRecord

__all__ = ["PendingSequence", "Spool", "SpooledRecord"]


class Spool:
    """The records of one run; a context manager that removes its file at the end.

    Parameters
    ----------
    path
        File to be made; one that a killed run left there is replaced.
    keep_residues
        ``False``: for counting only; every sequence reads as empty.
    hint
        What to do where the disk has no room.
    """

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
        self.num_residues = 0  #: residues of the distinct sequences
        self.longest = 0  #: residues of the longest sequence
        self._keep_residues = keep_residues
        self._id_bytes = 0
        self._file = SpoolFile(path, hint)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

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
        found = self._file.one("SELECT key FROM sequences WHERE digest = ?", (digest,))
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
        values = (self._source(failure.source), failure.number, failure.id, failure.reason)
        self._file.run("INSERT INTO refused VALUES (?, ?, ?, ?)", values)
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
        return (
            self.num_residues
            + 150 * self.num_sequences
            + 40 * self.num_records
            + (3 * self._id_bytes)
        )

    @property
    def bytes_on_disk(self) -> int:
        """What the file takes by now; the last of it may still be in memory."""
        return self._file.bytes()

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
            How many sequences of the run it holds that no part before it does. (A signal in the
            midst of a commit may leave the same sequences in two parts.)
        """
        return self._file.run_for_each(
            "UPDATE sequences SET part = ?, row = ? WHERE digest = ? AND part IS NULL",
            ((part, row, digest.tobytes()) for row, digest in enumerate(digests)),
        )

    def wanted(self, digests: np.ndarray) -> np.ndarray:
        """Tell which sequences are asked for and have no vector yet; the first of equal ones.

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
        chosen, seen = np.zeros(len(digests), bool), set[bytes]()
        for row, digest in enumerate(digests):
            name = digest.tobytes()
            chosen[row] = name not in seen and self._file.one(query, (name,)) is not None
            seen.add(name)
        return chosen

    def names(self, ids: Iterable[str]) -> np.ndarray:
        """Tell which ids the input names, be it in a record that was refused ``(n,)``, bool."""
        return self._found(
            "SELECT 1 FROM records WHERE id = ?1 UNION ALL "
            "SELECT 1 FROM refused WHERE id = ?1 LIMIT 1",
            ids,
        )

    def leaves_out(self, ids: Iterable[str]) -> np.ndarray:
        """Tell which ids the input names, but only in records that failed ``(n,)``, bool."""
        ids = list(ids)
        return self.names(ids) & ~self._found(
            "SELECT 1 FROM records JOIN sequences ON key = sequence "
            "WHERE id = ? AND problem IS NULL",
            ids,
        )

    def mark_failed(self, key: int, problem: str) -> None:
        """Note why a sequence has no vector."""
        self._file.run("UPDATE sequences SET problem = ? WHERE key = ?", (problem, key))

    def mark_failed_digest(self, digest: bytes, problem: str) -> None:
        """Note why the sequence of this sha256 has no vector."""
        self._file.run("UPDATE sequences SET problem = ? WHERE digest = ?", (problem, digest))

    def fail_longer_than(self, limit: int) -> None:
        """Mark the sequences of more than ``limit`` residues as failed."""
        self._file.run(
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
            rows = self._file.run(
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
        count, residues = self._file.one(
            "SELECT count(*), total(length) FROM sequences WHERE part IS NULL AND problem IS NULL"
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
            "SELECT source, place, id, reason FROM refused ORDER BY rowid"
        ):
            yield Failure(self._sources[source], *rest)
        for source, place, id, problem in self._file.select(
            "SELECT source, place, id, problem FROM records JOIN sequences ON key = sequence "
            "WHERE problem IS NOT NULL ORDER BY number"
        ):
            yield Failure(self._sources[source], place, id, problem)

    def records(self, block: int = 4096) -> Iterator[list[SpooledRecord]]:
        """Yield the records without problem in input order, in blocks."""
        rows = self._file.select(
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
        for record in records:
            if record.digest not in found:
                found[record.digest] = self._file.one(
                    "SELECT residues FROM sequences WHERE digest = ?", (record.digest,)
                )[0]
        return found

    def _found(self, query: str, values: Iterable[str]) -> np.ndarray:
        return np.array([self._file.one(query, (v,)) is not None for v in values], bool)

    def _place_of(self, id: str) -> tuple[int, str] | None:
        row = self._file.one("SELECT sequence, source, place FROM records WHERE id = ?", (id,))
        return None if row is None else (row[0], record_place(self._sources[row[1]], row[2]))

    def _source(self, name: str) -> int:
        """Return the number of a source; mostly the last, since records come source by source."""
        if not self._sources or self._sources[-1] != name:
            self._sources.append(name)
        return len(self._sources) - 1

    def _add_sequence(self, digest: bytes, length: int, residues: str) -> int:
        cursor = self._file.run(
            "INSERT INTO sequences (digest, length, residues) VALUES (?, ?, ?)",
            (digest, length, residues if self._keep_residues else ""),
        )
        self.num_sequences += 1
        self.num_residues += length
        self.longest = max(self.longest, length)
        return int(cursor.lastrowid or 0)
