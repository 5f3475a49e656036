"""Streams of UniProt entries: flat files, table exports and JSON Lines, told by their content.

A source gives raw records one at a time, and takes one apart on request. The two are separate
so that a resumed build can pass over what it has had without parsing it, and so that a record
that cannot be parsed costs that record and not the stream. Memory does not grow with the input:
one record is held, of at most 64 MiB.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from protclip_core.errors import InputError
from protclip_core.io.streams import looks_like, open_input, source_name, wide_encoding
from protclip_core.records import printable
from train.protanno.entries import RawEntry
from train.protanno.flatfile import parse_flat
from train.protanno.records import BrokenRecord
from train.protanno.tables import Table, is_header, parse_json

__all__ = ["Record", "Source", "check_inputs", "open_source", "stamp"]

_MOST = 64 << 20
_BOM = b"\xef\xbb\xbf"
_GIVE = "give a UniProt flat file (.dat), a TSV export or JSON Lines, compressed or not"


@dataclass(frozen=True, slots=True)
class Record:
    """The bytes of one record, and the number of its first line, from 1."""

    line: int
    data: bytes


class Source:
    """One input, read once from its start to its end; make it with `open_source`.

    Attributes
    ----------
    name
        For messages.
    kind
        ``flat``, ``tsv`` or ``jsonl``.
    notes
        What is odd about it as a whole, such as columns that it lacks; one clause each.
    """

    def __init__(self, reader: io.BufferedReader, name: str) -> None:
        self.name = name
        self.notes: list[str] = []
        self._reader = reader
        self._hash = hashlib.sha256()
        self._line = 0
        self._first = self._first_line()
        self.kind, self._parse = self._recognise(self._first.removeprefix(_BOM))

    @property
    def sha256(self) -> str:
        """Hex sha256 of the plain bytes up to the end of the last record that was given.

        Behind the last record it is that of the whole content, as ``zcat FILE | sha256sum``
        gives it.
        """
        return self._hash.hexdigest()

    def records(self) -> Iterator[Record]:
        """Give the records in order; call it once.

        Raises
        ------
        InputError
            Compressed data are cut or damaged, or a record is longer than 64 MiB.
        """
        return self._flat_records() if self.kind == "flat" else self._line_records()

    def parse(self, record: Record) -> RawEntry:
        """Take a record apart.

        Raises
        ------
        BrokenRecord
            It is not what the format asks for.
        """
        return self._parse(record.data)

    def where(self, record: Record, error: BrokenRecord) -> str:
        """Name a broken record for a message: ``x.dat:412 (P12345)``."""
        found = _ACCESSIONS[self.kind].search(record.data.removeprefix(_BOM)[:4096])
        shown = printable(found.group(1).decode(errors="replace")) if found else ""
        place = f"{self.name}:{record.line + error.line}"
        return f"{place} ({shown})" if shown else place

    def _next_line(self) -> bytes:
        line = self._reader.readline(_MOST)
        if len(line) == _MOST:
            raise InputError(
                "a line is longer than 64 MiB",
                code="input.too_long",
                where=f"{self.name}:{self._line + 1}",
                hint=_GIVE,
            )
        self._hash.update(line)
        self._line += bool(line)
        return line

    def _first_line(self) -> bytes:
        while line := self._next_line():
            if line.removeprefix(_BOM).strip():
                return line
        raise InputError("is empty", code="input.empty", where=self.name, hint=_GIVE)

    def _recognise(self, line: bytes) -> tuple[str, Callable[[bytes], RawEntry]]:
        if line.startswith(b"ID   "):
            return "flat", parse_flat
        if line.startswith(b"{"):
            return "jsonl", parse_json
        if is_header(line):
            table = Table(line, self.name)
            self.notes += table.notes
            return "tsv", table.parse
        start = (line + self._reader.read(512)).lstrip()
        if encoding := wide_encoding(start):
            hint = f"convert it: iconv -f {encoding} -t UTF-8"
            raise InputError(
                f"is {encoding} text", code="input.unknown_format", where=self.name, hint=hint
            )
        look, hint = ("FASTA", "") if start.startswith(b">") else looks_like(start)
        # The hints of others are about making FASTA of it.
        hint = hint if "fetch" in hint or "unpack" in hint or "decompress" in hint else _GIVE
        raise InputError(
            f"is {look}, not UniProt entries",
            code="input.unknown_format",
            where=self.name,
            hint=hint,
        )

    def _line_records(self) -> Iterator[Record]:
        if self.kind == "jsonl":
            yield Record(self._line, self._first.removeprefix(_BOM))
        while line := self._next_line():
            if line.strip():
                yield Record(self._line, line)

    def _flat_records(self) -> Iterator[Record]:
        start, lines, size = self._line, [self._first.removeprefix(_BOM)], len(self._first)
        while line := self._next_line():
            if not lines:
                if not line.strip():
                    continue
                start, size = self._line, 0
            lines.append(line)
            size += len(line)
            if size > _MOST:
                raise InputError(
                    "a record is longer than 64 MiB: its end '//' is missing",
                    code="input.too_long",
                    where=f"{self.name}:{start}",
                    hint=_GIVE,
                )
            if line.startswith(b"//"):
                yield Record(start, b"".join(lines))
                lines = []
        if lines:
            yield Record(start, b"".join(lines))


_ACCESSIONS = {
    "flat": re.compile(rb"^AC   (\w+)", re.MULTILINE),
    "tsv": re.compile(rb"^(\w+)\t"),
    "jsonl": re.compile(rb'"accession"\s*:\s*"([^"]{1,40})"'),
}


@contextmanager
def open_source(path: str | Path) -> Iterator[Source]:
    """Open an input of entries; what it is, and its compression, is told from its content.

    Parameters
    ----------
    path
        File, or ``-`` for standard input.

    Raises
    ------
    InputError
        It is missing, empty, damaged, or holds something else, which is named.
    """
    with open_input(path) as reader:
        yield Source(reader, source_name(path))


def check_inputs(paths: Sequence[str | Path]) -> None:
    """Refuse early what cannot be an input; standard input is left for later.

    Raises
    ------
    InputError
        As `open_source`, or standard input is named twice.
    """
    names = [str(path) for path in paths]
    if names.count("-") > 1:
        raise InputError(
            "standard input can be read once only", code="input.stdin_twice", where="<stdin>"
        )
    for path in paths:
        if str(path) != "-" and Path(path).is_file():
            with open_source(path):
                pass
        elif str(path) != "-" and not Path(path).exists():
            with open_input(path):
                pass


def stamp(path: str | Path) -> dict[str, Any]:
    """Name and size of an input; its content is checked when it is read."""
    file = Path(path)
    size = file.stat().st_size if str(path) != "-" and file.is_file() else None
    return {"name": "<stdin>" if str(path) == "-" else file.name, "bytes": size}
