"""What a spool gives: sequences to embed, and records with the place of their vectors."""

from __future__ import annotations

from dataclasses import dataclass

from protclip_core.records import RecordFlag

__all__ = ["PendingSequence", "SpooledRecord"]


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
