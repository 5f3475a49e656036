"""Frozen records that travel between the rooms of the library."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntFlag

__all__ = ["Failure", "ProteinRecord", "RecordFlag", "counted"]


class RecordFlag(IntFlag):
    """What was done to a record on its way in; stored as one integer per protein.

    The values are part of the embedding-store format and never change meaning.
    """

    NONE = 0
    UNUSUAL_RESIDUES = 1  #: holds X, B, U, Z, O or J
    STOP_STRIPPED = 2  #: ``*`` at the end was removed
    LOWERCASE = 4  #: lower-case letters were read as upper case
    NUCLEOTIDE_LIKE = 8  #: long, and made of A, C, G, T, U, N only
    WINDOWED = 16  #: longer than one window; residues of overlapping windows were averaged
    TRUNCATED = 32  #: cut to the first residues on request
    UNINFORMATIVE = 64  #: no residues that the model tells apart: one vector for many sequences
    GAPS_STRIPPED = 128  #: gaps of an alignment were taken out on request
    CHAINS = 256  #: a chain of a record of several, or all of them, joined by a linker


@dataclass(frozen=True, slots=True)
class ProteinRecord:
    """One protein as read from a file.

    Attributes
    ----------
    id
        First word of the header, as it stands. Data, never a file name or an HDF5 key.
    sequence
        Upper-case residues of the accepted alphabet, without a trailing ``*``; never empty.
    description
        The rest of the header.
    source
        Name of the file it came from (``-`` for standard input).
    number
        Place among the records of that file, from 1.
    flags
        What was done to it, see `RecordFlag`.

    Examples
    --------
    >>> from protclip_core import ProteinRecord
    >>> record = ProteinRecord("P1", "MKTAYIAK", "a short protein")
    >>> record.id, len(record.sequence)
    ('P1', 8)
    """

    id: str
    sequence: str
    description: str = ""
    source: str = ""
    number: int = 0
    flags: RecordFlag = RecordFlag.NONE

    @property
    def where(self) -> str:
        """Place of the record for a message: ``x.fa:record 3 (P12345)``."""
        return record_place(self.source, self.number, self.id)


@dataclass(frozen=True, slots=True)
class Failure:
    """A record that was not processed, and why.

    Attributes
    ----------
    source, number, id
        As in `ProteinRecord`; the id may be empty where the header has none. Number 0: the file
        as a whole.
    reason
        One clause naming the value.
    code
        The problem by name, as in `ProtclipError`: ``record.bad_residue``.
    """

    source: str
    number: int
    id: str
    reason: str
    code: str = "record.other"

    @property
    def where(self) -> str:
        """Place of the record for a message."""
        return record_place(self.source, self.number, self.id)


def record_place(source: str, number: int, id: str = "") -> str:
    """Name a record for a message, with unprintable characters of the id made visible.

    Number 0 stands for the file as a whole.
    """
    file = "<stdin>" if source == "-" else printable(source, 200)
    if source and not number:
        return file
    shown = printable(id)
    return f"{file}:record {number} ({shown})" if shown else f"{file}:record {number}"


def printable(text: str, limit: int = 60) -> str:
    """Return ``text`` safe for a terminal: escapes for control characters, cut at ``limit``."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def counted(count: int, noun: str, plural: str = "") -> str:
    """Return a count with its noun, for a message.

    Examples
    --------
    >>> counted(1, "record"), counted(1200, "record"), counted(0, "copy", "copies")
    ('1 record', '1,200 records', '0 copies')
    """
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"
