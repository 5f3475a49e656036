"""From the texts of a UniProt entry to the four clean properties.

What is cut away and what stays is that of `train.data.texts`, applied block by block: a flat file
has several comments of one topic, and the note of the first must not swallow the second.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from train.data.texts import (
    CUT,
    EVIDENCE,
    ISOFORM,
    NOTE,
    SAYS_NOTHING,
    SENTENCE_END,
)
from train.protanno.entries import PROPERTIES, Entry, RawEntry

__all__ = ["clean_text", "make_entry", "names_of"]

# Older releases say it in brackets; newer ones refer to the entry's own list of references.
_OLD_EVIDENCE = re.compile(r"\s*\((?:Probable|Potential|Ref\.\d[^)]*|Microbial infection)\)")
_DOUBLE_STOP = re.compile(r"\s*\.(?:\s*\.)+(?=\s|$)")
_COMPONENTS = re.compile(r"\s*\[(?:Cleaved into|Includes|Contains): .*$", re.DOTALL)
_NO_NAME = re.compile(r"EC \d.*|fragments?|precursor", re.IGNORECASE)


def make_entry(
    raw: RawEntry, *, source: str, keep_evidence: bool = False, all_names: bool = False
) -> Entry:
    """Clean the texts of an entry.

    Parameters
    ----------
    raw
        As read.
    source
        Where it was read, for `Entry.source`.
    keep_evidence
        Leave evidence tags (``{ECO:…}``) and references to PubMed in the texts.
    all_names
        Give every name of the protein, ``Globin (Short) (Other name)``, in place of the
        recommended one. EC numbers, ``(Fragment)`` and the names of components go either way.
    """
    texts = {}
    for field in PROPERTIES:
        blocks = raw.texts.get(field, ())
        if field == "name":
            names = (names_of(clean_text(b, field, keep_evidence=keep_evidence)) for b in blocks)
            blocks = tuple(_join_names(found, all_names=all_names) for found in names if found)
        cleaned = (clean_text(block, field, keep_evidence=keep_evidence) for block in blocks)
        # Isoforms often repeat each other once their labels are gone.
        texts[field] = ". ".join(dict.fromkeys(text for text in cleaned if text))
    return Entry(
        accession=raw.accession,
        sequence=raw.sequence,
        existence=raw.existence,
        go=raw.go,
        reviewed=raw.reviewed,
        organism=raw.organism,
        split=raw.split,
        source=source,
        **texts,
    )


def clean_text(text: str, field: str, *, keep_evidence: bool = False) -> str:
    """Remove evidence, notes, labels of isoforms and a sentence that was cut off.

    Parameters
    ----------
    text
        One block of a property.
    field
        Which: notes are removed from ``location`` only.
    keep_evidence
        Keep evidence tags and references.

    Returns
    -------
    str
        One line without a full stop at its end; empty where nothing is said ("Uncharacterized
        protein" and its like).

    Examples
    --------
    >>> clean_text("[Isoform 2]: Nucleus {ECO:0000250}. Note=At night.", "location")
    'Nucleus'
    """
    if CUT.search(text):
        # The last sentence is a torso: keep the whole ones before it.
        text = " ".join(SENTENCE_END.split(CUT.sub("", text))[:-1])
    if field == "location":
        text = NOTE.sub("", text)
    text = ISOFORM.sub("", text)
    bare = _tidy(_OLD_EVIDENCE.sub("", EVIDENCE.sub("", text)))
    if SAYS_NOTHING.fullmatch(bare):
        return ""
    return _tidy(text) if keep_evidence else bare


def names_of(text: str) -> tuple[str, ...]:
    """Take apart the names of a protein as UniProt's tables write them, the recommended first.

    Brackets belong to the name unless they stand behind a blank at the end of it.

    Examples
    --------
    >>> names_of("tRNA (guanine(9)-N1)-methyltransferase (EC 2.1.1.221) (Trm10) (Fragment)")
    ('tRNA (guanine(9)-N1)-methyltransferase', 'Trm10')
    """
    rest, others = _COMPONENTS.sub("", text).strip(), []
    while rest.endswith(")"):
        start = _opening(rest)
        # Without a blank before it, or anything at all, the bracket is a part of the name.
        if start < 2 or rest[start - 1] != " ":
            break
        others.append(rest[start + 1 : -1].strip())
        rest = rest[:start].rstrip()
    names = (rest, *reversed(others))
    return tuple(dict.fromkeys(n for n in names if n and not _NO_NAME.fullmatch(n)))


def _join_names(names: tuple[str, ...], *, all_names: bool) -> str:
    shown: Iterable[str] = names[1:] if all_names else ()
    return " ".join((names[0], *(f"({name})" for name in shown)))


def _opening(text: str) -> int:
    """Place of the bracket that the last character closes; -1 where they do not match."""
    depth = 0
    for place in range(len(text) - 1, -1, -1):
        depth += (text[place] == ")") - (text[place] == "(")
        if depth == 0:
            return place
    return -1


def _tidy(text: str) -> str:
    return _DOUBLE_STOP.sub(".", " ".join(text.split())).strip(" .;")
