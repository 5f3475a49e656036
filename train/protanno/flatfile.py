"""One record of a UniProt flat file, Swiss-Prot or TrEMBL, old or new.

Biopython parses it. It is given only the lines that a property, or a check, is made from: the
features and references are most of a record of Swiss-Prot and most of the time to parse it.
"""

from __future__ import annotations

import io
import re

from train.protanno.entries import RawEntry
from train.protanno.records import BrokenRecord, check_level, check_sequence, go_ids

__all__ = ["parse_flat"]

_CODES = frozenset(
    ["ID", "AC", "DT", "DE", "GN", "OS", "OG", "OC", "OX", "OH", "RN", "RP", "RC", "RX", "RG"]
    + ["RA", "RT", "RL", "CC", "DR", "PE", "KW", "FT", "SQ", "  ", "//", "**"]
)
_NEEDED = frozenset({"ID", "AC", "DE", "OS", "CC", "PE", "SQ", "  ", "//"})
_TOPICS = {"FUNCTION": "function", "SUBCELLULAR LOCATION": "location", "SIMILARITY": "similarity"}
_BRACES = re.compile(r"\s*\{[^}]*\}")
_COMPONENT = re.compile(r"\s*\b(?:Contains|Includes|Flags):(?: .*|$)", re.DOTALL)
_NAME = re.compile(r"(?:(?:RecName|AltName|SubName): )?(\w+)=(.+)", re.DOTALL)
_PREFIX = {"EC": "EC ", "Allergen": "Allergen ", "CD_antigen": "CD antigen "}
# A line is broken behind a hyphen as well as at a blank; these words follow a hyphen and a blank.
_SUSPENDED = re.compile(r"(?:and|or|to|nor|as well as)\b")


def parse_flat(data: bytes) -> RawEntry:
    """Parse a record, from its ``ID`` line to ``//``.

    Raises
    ------
    BrokenRecord
        With the line that is wrong, where that is known.
    """
    from Bio import SwissProt

    try:
        record = next(SwissProt.parse(io.StringIO(_needed_lines(data))))
    except (ValueError, AssertionError, LookupError, StopIteration) as error:
        if isinstance(error, BrokenRecord):
            raise
        reason = " ".join(str(error).split())[:100] or type(error).__name__
        raise BrokenRecord(f"cannot be parsed: {reason}") from error
    if not record.accessions or not record.accessions[0]:
        raise BrokenRecord("it has no accession (AC line)")
    sequence = check_sequence(record.sequence)
    if record.seqinfo is None or record.seqinfo[0] != len(sequence):
        stated = record.seqinfo[0] if record.seqinfo else "no number of"
        raise BrokenRecord(f"its SQ line states {stated} residues, {len(sequence)} follow")
    texts: dict[str, tuple[str, ...]] = {}
    if name := _names(record.description):
        texts["name"] = (name,)
    for comment in record.comments:
        topic, _, text = comment.partition(": ")
        if topic in _TOPICS and text:
            field = _TOPICS[topic]
            texts[field] = (*texts.get(field, ()), text)
    kinds = {"Reviewed": True, "STANDARD": True, "Unreviewed": False, "PRELIMINARY": False}
    return RawEntry(
        accession=record.accessions[0],
        sequence=sequence,
        texts=texts,
        existence=check_level(record.protein_existence or None),
        go=go_ids(row[1] for row in record.cross_references if row[0] == "GO" and len(row) > 1),
        reviewed=kinds.get(record.data_class),
        organism=record.organism.removesuffix("."),
    )


def _needed_lines(data: bytes) -> str:
    try:
        lines = data.decode("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise BrokenRecord("it is not UTF-8", line=data[: error.start].count(b"\n")) from error
    if not lines[-1].startswith("//"):
        raise BrokenRecord("it ends without '//'")
    kept: list[str] = []
    for number, line in enumerate(lines):
        code = line[:2]
        if code not in _CODES or (number == 0) != (code == "ID"):
            raise BrokenRecord(f"{line[:20]!r} is not a line of a flat file here", line=number)
        if code == "CC" and line.startswith("CC       ") and kept and kept[-1].endswith("-"):
            more = line[9:].lstrip()
            kept[-1] += f" {more}" if _SUSPENDED.match(more) else more
        elif code in _NEEDED or line.startswith("DR   GO;"):
            kept.append(line.rstrip())
    return "\n".join(kept) + "\n"


def _names(description: str) -> str:
    """Write the names of the DE lines as UniProt's tables do: ``Full (Short) (EC 1.1.1.1)``.

    Components of the protein and flags are left out. Descriptions of before 2008 are in that
    form already.
    """
    text = _COMPONENT.sub("", _BRACES.sub("", description)).strip()
    if "Full=" not in text:
        return text.removesuffix(".")
    names = []
    for token in filter(None, (part.strip() for part in text.split(";"))):
        found = _NAME.fullmatch(token)
        if found is None:
            raise BrokenRecord(f"{token[:40]!r} is not a name (DE line)")
        names.append(_PREFIX.get(found[1], "") + found[2].strip())
    first, *others = names
    return " ".join((first, *(f"({name})" for name in others)))
