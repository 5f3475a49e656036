"""Sequences as they stand in alignments, and records of several chains.

Both are faults of a record unless the user says what is meant.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from protclip_core.records import RecordFlag

__all__ = ["LINKER", "FastaForm"]

#: Between the chains of a record that are joined; ESMFold joins chains with as many glycines.
LINKER = b"G" * 25
_CHAIN_MARKS = rb":/|"
_BETWEEN_CHAINS = re.compile(rb"\**[:/|]+")


@dataclass(frozen=True)
class FastaForm:
    """What may stand in a sequence besides letters, and what is made of it.

    Attributes
    ----------
    gaps
        ``"fail"``: ``-`` and ``.`` are faults; ``"strip"``: they are gaps of an alignment and are
        taken out. The lower-case inserts of an ``.a3m`` file are residues like others.
    complexes
        ``"fail"``: ``:``, ``/`` and ``|`` are faults; they stand between chains, which
        ``"split"`` makes records ``ID_1``, ``ID_2`` and so on, and ``"join"`` one sequence with
        `LINKER` in between.
    """

    gaps: Literal["fail", "strip"] = "fail"
    complexes: Literal["fail", "split", "join"] = "fail"

    @cached_property
    def fault(self) -> re.Pattern[bytes]:
        """Finds the first character that may not stand in a sequence."""
        gaps = rb"\-." if self.gaps == "strip" else b""
        if self.complexes == "fail":
            return re.compile(rb"[^A-Za-z%b]" % gaps)
        # A stop may end a chain.
        return re.compile(rb"[^A-Za-z*%b%b]|\*(?!\**[%b])" % (_CHAIN_MARKS, gaps, _CHAIN_MARKS))

    def apply(self, sequence: bytes) -> tuple[list[bytes], RecordFlag]:
        """Return the sequences that a record's text without faults stands for, and what was done.

        Examples
        --------
        >>> FastaForm(gaps="strip").apply(b"MK--v.T")
        ([b'MKvT'], <RecordFlag.GAPS_STRIPPED: 128>)
        >>> FastaForm(complexes="split").apply(b"MKV*:TAY")[0]
        [b'MKV', b'TAY']
        """
        flags, parts = RecordFlag.NONE, [sequence]
        if self.gaps == "strip":
            stripped = sequence.translate(None, b"-.")
            if stripped != sequence:
                flags |= RecordFlag.GAPS_STRIPPED
            parts = [stripped]
        if self.complexes != "fail":
            chains = [chain for chain in _BETWEEN_CHAINS.split(parts[0]) if chain]
            if len(chains) > 1:
                flags |= RecordFlag.CHAINS
            if b"*" in parts[0]:
                flags |= RecordFlag.STOP_STRIPPED
            parts = chains if self.complexes == "split" else [LINKER.join(chains)]
        return parts or [b""], flags
