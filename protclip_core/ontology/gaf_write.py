"""Writing GAF 2.2, so that other tools of GO take what was predicted.

Specification: geneontology.org, GO Annotation File (GAF) format 2.2.
"""

from __future__ import annotations

import datetime
import io
import logging
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, NamedTuple, TextIO, cast

import numpy as np

from protclip_core._version import __version__
from protclip_core.errors import InputError, UsageError
from protclip_core.io.atomic import open_atomic
from protclip_core.ontology.annotations import Annotations
from protclip_core.ontology.evidence import KNOWN_EVIDENCE
from protclip_core.ontology.ontology import Ontology
from protclip_core.records import counted, printable

__all__ = ["GafRow", "GafStyle", "gaf_rows", "qualifiers", "uniprot_id", "write_gaf"]

_log = logging.getLogger(__name__)

_LETTERS = "FPC"
_QUALIFIERS = ("enables", "involved_in", "located_in")
#: The term whose is_a descendants are complexes, which a protein is part of, not located in.
_COMPLEX = "GO:0032991"
#: GORULE:0000005: without an experiment nothing may be said to bind, or to bind proteins.
_BINDING = frozenset(["GO:0005488", "GO:0005515"])
_NOT_FOR_BINDING = frozenset(["IEA", "ISS", "ISO", "ISM", "ISA", "IBA", "RCA"])
#: Not allowed in columns 2 and 3, where they divide values.
_DIVIDERS = str.maketrans("|;", "__")
_HEADER_ID = re.compile(r"(?:sp|tr)\|([^|]+)\|([^|]+)")
#: An accession of UniProt, and an isoform.
_ACCESSION = re.compile(
    r"([OPQ][0-9][A-Z0-9]{3}[0-9]|[A-NR-Z][0-9](?:[A-Z][A-Z0-9]{2}[0-9]){1,2})(-[0-9]+)?"
)
_BREAKS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


@dataclass(frozen=True, slots=True)
class GafRow:
    """One annotation to write.

    Attributes
    ----------
    protein_id
        As protclip names proteins; ``|`` and ``;`` of ids that are not UniProt's become ``_``.
        ``sp|P69905|HBA_HUMAN`` becomes object P69905 with symbol
        HBA_HUMAN, ``P69905-2`` object P69905 with that isoform in the last column.
    term
        Number of the term.
    with_from, reference, evidence
        Columns 8, 6 and 7; the last two default to those of `GafStyle`.
    object_name
        Column 10.
    taxon
        Number of NCBI for column 13; None for that of `GafStyle`.
    """

    protein_id: str
    term: int
    with_from: str = ""
    reference: str = ""
    evidence: str = ""
    object_name: str = ""
    taxon: int | None = None


@dataclass(frozen=True, slots=True)
class GafStyle:
    """What all rows of a file share.

    Attributes
    ----------
    generated_by, assigned_by
        Header line, and column 15.
    reference, evidence
        Columns 6 and 7; IEA is an annotation that no person has looked at.
    db
        Column 1; None writes UniProtKB for accessions of UniProt and ``local`` for other ids.
    taxon
        Column 13; 32644 is NCBI's number for an unidentified organism.
    date
        Of the annotations and of the file; None is today, UTC.
    comments
        Further header lines, without their ``!``.
    """

    generated_by: str = f"protclip {__version__}"
    assigned_by: str = "protclip"
    reference: str = "protclip:annotate"
    evidence: str = "IEA"
    db: str | None = None
    taxon: str = "taxon:32644"
    date: datetime.date | None = None
    comments: tuple[str, ...] = ()


class _Object(NamedTuple):
    """Columns 1, 2, 3 and 17 of a protein."""

    db: str
    id: str
    symbol: str
    form: str


def write_gaf(
    target: str | Path | BinaryIO | TextIO,
    rows: Iterable[GafRow],
    ontology: Ontology,
    style: GafStyle | None = None,
) -> int:
    """Write annotations as GAF 2.2, all 17 columns, in the order given.

    Parameters
    ----------
    target
        A path, which then holds all or what it held before; or an open stream.
    rows
        The annotations; taken one at a time.
    ontology
        The release that the numbers are of; its date goes into the header.
    style
        What all rows share.

    Returns
    -------
    int
        Number of annotations written. By GORULE:0000005 those to "binding" and "protein binding"
        are left out, with a warning, where their evidence is not of an experiment.

    Raises
    ------
    InputError
        A value with a tab, a line break or another control character, or an empty protein id.
    UsageError
        An evidence code that GO does not have, or a target that cannot be written.
    ResourceError
        The disk is full.

    Notes
    -----
    Qualifiers are those that GO has for annotations of no closer meaning: ``enables`` for
    functions, ``involved_in`` for processes, ``located_in`` for places, ``part_of`` for complexes.
    """
    style = style or GafStyle()
    with _opened(target) as write:
        day = style.date or datetime.datetime.now(tz=datetime.UTC).date()
        for line in _header(ontology, style, day):
            write(line)
        columns = qualifiers(ontology)
        written = left_out = 0
        for row in rows:
            is_binding = ontology.ids[row.term] in _BINDING
            if is_binding and (row.evidence or style.evidence) in _NOT_FOR_BINDING:
                left_out += 1
                continue
            write(_line(row, ontology, columns[row.term], style, day))
            written += 1
    if left_out:
        _log.warning(
            "%s to binding or protein binding left out of the GAF (GORULE:0000005)",
            counted(left_out, "annotation"),
        )
    return written


def gaf_rows(annotations: Annotations) -> Iterator[GafRow]:
    """Give annotations as rows, protein by protein, terms by number."""
    for protein, terms in annotations.items():
        for term in terms.tolist():
            yield GafRow(protein, term)


def qualifiers(ontology: Ontology) -> list[str]:
    """Return the qualifier that a term asks for, one per term."""
    found = [_QUALIFIERS[aspect] for aspect in ontology.aspects.tolist()]
    if (top := ontology.index.get(_COMPLEX)) is not None:
        kinds = (
            ontology if "part_of" not in ontology.relations else (ontology.with_relations(["is_a"]))
        )
        for term in np.append(kinds.descendants(top), top).tolist():
            if found[term] == "located_in":
                found[term] = "part_of"
    return found


def uniprot_id(protein_id: str) -> str | None:
    """Return a protein as columns 8 and 17 name it, ``UniProtKB:P69905``; None for other ids."""
    header = _HEADER_ID.fullmatch(protein_id)
    id = header[1] if header else protein_id
    return f"UniProtKB:{id}" if _ACCESSION.fullmatch(id) else None


def _header(ontology: Ontology, style: GafStyle, day: datetime.date) -> Iterator[str]:
    yield "!gaf-version: 2.2\n"
    yield f"!generated-by: {_clean(style.generated_by, 'generated-by')}\n"
    yield f"!date-generated: {day.isoformat()}\n"
    yield f"!go-version: {_clean(ontology.release or 'unknown', 'go-version')}\n"
    for comment in style.comments:
        yield f"!{_clean(comment, 'comment')}\n"


def _line(
    row: GafRow, ontology: Ontology, qualifier: str, style: GafStyle, day: datetime.date
) -> str:
    """Return one line with its 17 columns."""
    evidence = row.evidence or style.evidence
    if evidence not in KNOWN_EVIDENCE:
        raise UsageError(
            f"unknown evidence code {printable(evidence)!r}", code="usage.unknown_evidence"
        )
    protein = _object(row.protein_id, style.db)
    columns = (
        protein.db,
        protein.id,
        protein.symbol,
        qualifier,
        ontology.ids[row.term],
        row.reference or style.reference,
        evidence,
        row.with_from,
        _LETTERS[ontology.aspects[row.term]],
        row.object_name,
        "",
        "protein",
        style.taxon if row.taxon is None else f"taxon:{row.taxon}",
        day.strftime("%Y%m%d"),
        style.assigned_by,
        "",
        protein.form,
    )
    return "\t".join(_clean(value, row.protein_id) for value in columns) + "\n"


@lru_cache(maxsize=1024)
def _object(protein_id: str, db: str | None) -> _Object:
    """Split a protein id into what GAF asks for."""
    if not protein_id.strip():
        raise InputError("a protein id is empty, which GAF does not allow", code="input.no_id")
    header = _HEADER_ID.fullmatch(protein_id)
    id, symbol = header.groups() if header else (protein_id, "")
    accession = _ACCESSION.fullmatch(id)
    if not accession:
        id, symbol = id.translate(_DIVIDERS), (symbol or id).translate(_DIVIDERS)
        return _Object(db or ("UniProtKB" if header else "local"), id, symbol, "")
    source = db or "UniProtKB"
    form = f"{source}:{id}" if accession[2] else ""
    return _Object(source, accession[1], symbol or id, form)


def _clean(text: str, where: str) -> str:
    """Refuse a value that would break the line."""
    if _BREAKS.search(text):
        raise InputError(
            f"'{printable(text)}' has a tab, line break or control character",
            code="input.control_character",
            where=printable(where),
            hint="GAF cannot hold it; rename it",
        )
    return text


@contextmanager
def _opened(target: str | Path | BinaryIO | TextIO) -> Iterator[Callable[[str], object]]:
    """Give a function that writes a line."""
    if isinstance(target, str | Path):
        with open_atomic(target) as file:
            yield lambda line: file.write(line.encode())
    elif isinstance(target, io.TextIOBase):
        yield target.write
    else:
        binary = cast(BinaryIO, target)
        yield lambda line: binary.write(line.encode())
