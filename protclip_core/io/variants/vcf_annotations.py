"""What VEP (``CSQ``) and SnpEff (``ANN``) say in a VCF about the proteins that a record changes.

Both put one entry per allele and transcript into the INFO column, joined by ``,``, with values
joined by ``|`` whose names stand in the header.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from os.path import commonprefix
from urllib.parse import unquote

__all__ = ["Annotation", "Annotations", "Allele"]

_HEADER = re.compile(r'##INFO=<ID=(CSQ|ANN|vep),.*Description="([^"]*)"')
_FORMAT = re.compile(r"(?:Format:|Functional annotations:)\s*(.*)")
#: The values of ``ANN`` in the order that its specification (2015) fixes.
_ANN = (
    "Allele|Annotation|Annotation_Impact|Gene_Name|Gene_ID|Feature_Type|Feature_ID"
    "|Transcript_BioType|Rank|HGVS.c|HGVS.p"
)
#: Values that name the protein or its transcript, the most exact first.
_PROTEINS = ("ENSP", "UNIPROT_ISOFORM", "SWISSPROT", "Feature", "Feature_ID")
_RANGE = re.compile(r"(-?[0-9]+)(?:-([0-9]+))?(?:/[0-9]+)?")


@dataclass(frozen=True, slots=True)
class Allele:
    """One alternative of a record: its number from 1, and the names annotations know it by."""

    number: int
    alternative: str
    names: frozenset[str]

    @classmethod
    def of_record(cls, reference: str, alternatives: list[str]) -> list[Allele]:
        """Alleles of a record.

        VEP leaves out the first letter where all alleles share it and one has another length,
        and writes ``-`` for what is then empty.
        """
        every = [reference, *alternatives]
        shared = len({allele[:1] for allele in every}) == 1
        cut = shared and len({len(allele) for allele in every}) > 1
        return [
            cls(number, one, frozenset({one, (one[1:] or "-") if cut else one}))
            for number, one in enumerate(alternatives, start=1)
        ]


@dataclass(frozen=True, slots=True)
class Annotation:
    """What one entry says.

    Attributes
    ----------
    change
        The protein change, without the protein; empty where the entry has none.
    proteins
        Names of the protein and its transcript, the most exact first.
    consequence, gene, transcript
        As they stand there.
    canonical
        Whether it is flagged as the transcript of its gene (CANONICAL, MANE).
    """

    change: str
    proteins: tuple[str, ...]
    consequence: str = ""
    gene: str = ""
    transcript: str = ""
    canonical: bool = False


class Annotations:
    """The annotations that a header declares; empty where it declares none."""

    def __init__(self) -> None:
        self._names: dict[str, list[str]] = {}

    def __bool__(self) -> bool:
        return bool(self._names)

    def declare(self, line: str) -> None:
        """Take note of a header line."""
        if match := _HEADER.match(line):
            tag, description = match[1], match[2]
            named = _FORMAT.search(description)
            text = named[1] if named else _ANN if tag == "ANN" else ""
            names = [name.strip(" '\"") for name in text.split("|")]
            if len(names) > 1:
                self._names[tag] = names

    def of(self, info: str, allele: Allele, *, alone: bool) -> list[Annotation]:
        """Annotations of one allele, in the order of the file; ``alone``: it has no other."""
        found = []
        for entry in self._entries(info):
            number = entry.get("ALLELE_NUM")
            if alone or (
                number == str(allele.number) if number else entry.get("Allele") in allele.names
            ):
                found.append(_annotation(entry))
        return found

    def _entries(self, info: str) -> Iterator[dict[str, str]]:
        """Entries of the first kind that a record has: of VEP, else of SnpEff."""
        values = dict(part.partition("=")[::2] for part in info.split(";"))
        for tag in ("CSQ", "vep", "ANN"):
            if tag in self._names and values.get(tag):
                for entry in values[tag].split(","):
                    yield dict(zip(self._names[tag], map(str.strip, entry.split("|"))))
                return


def _annotation(entry: dict[str, str]) -> Annotation:
    text = unquote(entry.get("HGVSp") or entry.get("HGVS.p") or "")
    protein, colon, change = text.rpartition(":")
    consequence = entry.get("Consequence") or entry.get("Annotation") or ""
    names = [protein] if colon else []
    names += [entry[name] for name in _PROTEINS if entry.get(name)]
    return Annotation(
        change or _from_residues(entry, consequence),
        tuple(dict.fromkeys(names)),
        consequence,
        entry.get("SYMBOL") or entry.get("Gene_Name") or "",
        entry.get("Feature") or entry.get("Feature_ID") or "",
        entry.get("CANONICAL") == "YES" or bool(entry.get("MANE_SELECT") or entry.get("MANE")),
    )


def _from_residues(entry: dict[str, str], consequence: str) -> str:
    """Change from the residues before and behind and their position; empty where it is not told.

    An insertion stays untold: its neighbours are not named.
    """
    place = _RANGE.fullmatch(entry.get("Protein_position", ""))
    old, slash, new = entry.get("Amino_acids", "").partition("/")
    if place is None or not old.rstrip("*").isalpha() or not (slash or len(old) == 1):
        return ""
    start = int(place[1])
    end = int(place[2] or start)
    if end - start + 1 != len(old):
        return ""
    if "frameshift" in consequence:
        return f"{old[0]}{start}fs"
    if not slash or new == old:
        return f"{_site(old, start)}="
    if new in ("", "-"):
        return f"{_site(old, start)}del"
    ahead = len(commonprefix([old, new]))
    behind = len(commonprefix([old[ahead:][::-1], new[ahead:][::-1]]))
    kept = old[ahead : len(old) - behind]
    put = new[ahead : len(new) - behind]
    if not kept:  # an insertion, of which one neighbour may be unknown: told with the residue
        return f"{_site(old, start)}delins{new}"
    return f"{_site(kept, start + ahead)}{'delins' + put if put else 'del'}"


def _site(residues: str, start: int) -> str:
    """Site of residues that follow each other."""
    end = start + len(residues) - 1
    return f"{residues[0]}{start}" + (f"_{residues[-1]}{end}" if end > start else "")
