"""What a FASTA input held, counted while it is read."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from protclip_core.records import ProteinRecord, RecordFlag, counted

__all__ = ["UNUSUAL_RESIDUES", "InputSummary"]

#: Letters besides the 20: any residue, D or N, selenocysteine, E or Q, pyrrolysine, I or L.
UNUSUAL_RESIDUES = "XBUZOJ"


@dataclass(slots=True)
class InputSummary:
    """Counts over the records that were read, for one line to the user.

    Attributes
    ----------
    records, residues
        Accepted records, and their residues in total.
    refused
        Records handed to ``on_failure``.
    unusual
        How often each of X B U Z O J occurs.
    unusual_records, lowercase_records, stops_stripped, nucleotide_like, gaps_stripped, chains
        Records with the flag of that name.
    longest
        Residues of the longest record.
    """

    records: int = 0
    residues: int = 0
    refused: int = 0
    unusual: Counter[str] = field(default_factory=Counter)
    unusual_records: int = 0
    lowercase_records: int = 0
    stops_stripped: int = 0
    nucleotide_like: int = 0
    gaps_stripped: int = 0
    chains: int = 0
    longest: int = 0

    def add(self, record: ProteinRecord) -> None:
        """Count one accepted record."""
        length = len(record.sequence)
        self.records += 1
        self.residues += length
        self.longest = max(self.longest, length)
        if not record.flags:
            return
        if record.flags & RecordFlag.UNUSUAL_RESIDUES:
            self.unusual_records += 1
            for letter in UNUSUAL_RESIDUES:
                if count := record.sequence.count(letter):
                    self.unusual[letter] += count
        self.add_flags(record.flags)

    def add_flags(self, flags: RecordFlag) -> None:
        """Count what was done to one record, but for its unusual letters."""
        self.lowercase_records += RecordFlag.LOWERCASE in flags
        self.stops_stripped += RecordFlag.STOP_STRIPPED in flags
        self.nucleotide_like += RecordFlag.NUCLEOTIDE_LIKE in flags
        self.gaps_stripped += RecordFlag.GAPS_STRIPPED in flags
        self.chains += RecordFlag.CHAINS in flags

    @property
    def is_changed(self) -> bool:
        """Whether a record was not taken as it stood, or holds what a user should know of."""
        done = (self.stops_stripped, self.lowercase_records, self.gaps_stripped, self.chains)
        return bool(self.unusual) or any(done)

    def describe(self) -> str:
        """Return one line for the user; what did not occur is left out.

        Examples
        --------
        >>> summary = InputSummary()
        >>> summary.add(ProteinRecord("a", "MKXX", flags=RecordFlag.UNUSUAL_RESIDUES))
        >>> summary.describe()
        '1 record, 4 residues; unusual letters X 2 in 1 record'
        """
        parts = [f"{counted(self.records, 'record')}, {counted(self.residues, 'residue')}"]
        if self.refused:
            parts.append(f"{counted(self.refused, 'record')} refused")
        if self.unusual:
            present = (letter for letter in UNUSUAL_RESIDUES if self.unusual[letter])
            letters = ", ".join(f"{letter} {self.unusual[letter]:,}" for letter in present)
            parts.append(f"unusual letters {letters} in {counted(self.unusual_records, 'record')}")
        if self.stops_stripped:
            parts.append(f"trailing * stripped from {self.stops_stripped:,}")
        if self.lowercase_records:
            parts.append(f"lower case read as upper case in {self.lowercase_records:,}")
        if self.gaps_stripped:
            parts.append(f"gaps taken out of {self.gaps_stripped:,}")
        if self.chains:
            parts.append(f"{self.chains:,} made of records of several chains")
        if self.nucleotide_like:
            parts.append(f"{self.nucleotide_like:,} made of A C G T U N only, like DNA or RNA")
        return "; ".join(parts)
