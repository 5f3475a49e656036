"""The two records of the builder: an entry as its source has it, and a cleaned pair."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from train.data.texts import TAGS

__all__ = ["LEVELS", "PROPERTIES", "Entry", "RawEntry"]

#: Fields of the four properties, in the order of the text.
PROPERTIES = tuple(TAGS.values())
#: Protein existence as UniProt words it; the place in the list, from 1, is the level.
LEVELS = (
    "evidence at protein level",
    "evidence at transcript level",
    "inferred from homology",
    "predicted",
    "uncertain",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RawEntry:
    """What a source says of one protein, its texts as they stand there.

    Attributes
    ----------
    accession
        Primary accession.
    sequence
        Upper-case residues, never empty.
    texts
        Field of a property to its blocks (a flat file may have several comments of one topic);
        evidence, notes and all. A field may be absent.
    existence
        Level 1 (evidence at protein level) to 5 (uncertain). ``None`` where the source does not
        say: no value is made up here; how such entries are weighted is the sampling's affair.
    go
        GO ids, sorted, each once.
    reviewed
        Swiss-Prot (true) or TrEMBL (false); ``None`` where the source does not say.
    organism, split
        Empty where the source has none.
    """

    accession: str
    sequence: str
    texts: Mapping[str, tuple[str, ...]]
    existence: int | None = None
    go: tuple[str, ...] = ()
    reviewed: bool | None = None
    organism: str = ""
    split: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A protein with its cleaned properties, as the shards hold it.

    Attributes
    ----------
    accession, sequence, existence, go, reviewed, organism, split
        As in `RawEntry`.
    name, function, location, similarity
        Clean text without a full stop at its end; empty where the property is absent.
    source
        File and number of the record it was made from: ``uniprot_sprot.dat.gz:17``.
    """

    accession: str
    sequence: str
    name: str = ""
    function: str = ""
    location: str = ""
    similarity: str = ""
    existence: int | None = None
    go: tuple[str, ...] = field(default=())
    reviewed: bool | None = None
    organism: str = ""
    split: str = ""
    source: str = ""

    @property
    def coverage(self) -> int:
        """How many of the four properties it has, 0 to 4 (the paper's R is a fourth of it)."""
        return sum(bool(getattr(self, field)) for field in PROPERTIES)

    @property
    def text(self) -> str:
        """The properties with their tags, ``PROTEIN NAME: Globin. FUNCTION: Binds oxygen.``.

        Absent ones are left out; empty where there are none.
        """
        present = ((tag, getattr(self, field)) for tag, field in TAGS.items())
        return " ".join(f"{tag}: {text}." for tag, text in present if text)

    def to_json(self) -> str:
        """Return the entry as one line of JSON without a line feed; empty fields are left out.

        The keys are those that `train.data.proteins.read_proteins` reads; the level is ``pe``.
        """
        values: dict[str, Any] = {"accession": self.accession, "sequence": self.sequence}
        values |= {name: getattr(self, name) for name in PROPERTIES}
        values |= {"go": self.go, "organism": self.organism, "split": self.split}
        kept = {name: value for name, value in values.items() if value}
        kept |= {} if self.existence is None else {"pe": self.existence}
        kept |= {} if self.reviewed is None else {"reviewed": self.reviewed}
        return json.dumps({**kept, "source": self.source}, ensure_ascii=False)

    @classmethod
    def from_json(cls, line: bytes | str) -> Entry:
        """Read what `to_json` wrote."""
        values = json.loads(line)
        existence, go = values.pop("pe", None), tuple(values.pop("go", ()))
        return cls(existence=existence, go=go, **values)
