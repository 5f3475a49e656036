"""Annotated proteins as others name them: which of some ids have terms, and which.

Legend: N proteins, A annotations.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from protclip_core.errors import InputError, UsageError
from protclip_core.io.streams import open_input, source_name
from protclip_core.ontology.annotation_tables import table_columns
from protclip_core.ontology.annotations import Annotations
from protclip_core.ontology.gaf import OnError, read_annotation_pairs, read_gaf
from protclip_core.ontology.lines import text_lines
from protclip_core.ontology.ontology import Ontology
from protclip_core.records import counted, printable

__all__ = ["Carried", "accession_of", "carried_by", "read_annotations"]

_log = logging.getLogger(__name__)

#: ``sp|P69905|HBA_HUMAN`` and the like: database, accession, name.
_PIPED = re.compile(r"[A-Za-z]+\|([^|]+)(?:\|.*)?")


@dataclass(frozen=True, eq=False)
class Carried:
    """The terms of some proteins, with all ancestors but the roots.

    Attributes
    ----------
    ids
        Of the proteins, as they were asked for; ``N`` of them.
    rows
        Place of each among all that were asked about, ``(N,)`` int64, rising.
    offsets, terms
        Terms of protein ``n``: ``terms[offsets[n]:offsets[n + 1]]``; ``(N + 1,)`` int64 and
        ``(A,)``.
    """

    ids: tuple[str, ...]
    rows: np.ndarray
    offsets: np.ndarray
    terms: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)


def read_annotations(
    path: str | Path,
    ontology: Ontology,
    *,
    evidence: str | Iterable[str] | None = None,
    on_error: OnError = "error",
) -> Annotations:
    """Read a GAF, or a table of proteins and terms, whichever it is.

    Parameters
    ----------
    path
        A file, plain or compressed. Its format is recognised by its first lines.
    ontology
        The release that terms are looked up in.
    evidence, on_error
        As in `read_gaf`; what is asked for has to be in the file.

    Raises
    ------
    UsageError
        Standard input, which cannot be read twice.
    InputError
        As `read_gaf` and `read_annotation_pairs`.
    """
    if str(path) == "-":
        raise UsageError(
            "annotations cannot come from standard input",
            code="usage.stdin_twice",
            hint="give a file",
        )
    name = source_name(path)
    with open_input(path) as stream:
        is_gaf = table_columns(text_lines(stream, name), name) is None
    read = read_gaf if is_gaf else read_annotation_pairs
    return read(path, ontology, evidence=evidence, on_error=on_error)


def carried_by(
    annotations: Annotations, ontology: Ontology, ids: Sequence[str], where: str
) -> Carried:
    """Find the terms of proteins that are named by ids of FASTA files.

    Parameters
    ----------
    annotations
        Named by accession, as in a GAF, or by whole id.
    ontology
        The one that the annotations are of.
    ids
        Such as ``P69905`` or ``sp|P69905|HBA_HUMAN``: an id is looked up as it stands, then by
        the accession in it.
    where
        What they are the ids of, for messages.

    Returns
    -------
    Carried
        Those with a term other than the roots, each protein once.

    Raises
    ------
    InputError
        None of them has.
    """
    whole = annotations.propagated(ontology, roots=False)
    places = np.array([_place(whole.index, id) for id in ids], dtype=np.int64)
    counts = np.diff(whole.offsets)
    # A protein that occurs twice would count twice; the first of its records stands for it.
    first = np.unique(places, return_index=True)[1]
    rows = np.sort(first[places[first] >= 0])
    if repeated := int((places >= 0).sum()) - len(rows):
        what = counted(repeated, "further record")
        _log.warning("%s: %s of annotated proteins left out: already there", where, what)
    rows = rows[counts[places[rows]] > 0]
    source = annotations.provenance.source
    if not len(rows):
        shown = f", such as {printable(ids[0])}" if ids else ""
        raise InputError(
            f"none of its {len(ids):,} proteins{shown}, is annotated in {source}",
            code="input.nothing_annotated",
            where=where,
            hint="give annotations that name the proteins by the same ids or accessions",
        )
    level = logging.INFO if len(rows) == len(ids) else logging.WARNING
    text, count = "%s: %s of %s annotated in %s", counted(len(ids), "protein")
    _log.log(level, text, where, f"{len(rows):,}", count, source)
    chosen = places[rows]
    sizes = counts[chosen]
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    within = np.arange(offsets[-1]) - np.repeat(offsets[:-1], sizes)
    terms = whole.terms[np.repeat(whole.offsets[chosen], sizes) + within]
    return Carried(tuple(ids[row] for row in rows.tolist()), rows, offsets, terms)


def accession_of(id: str) -> str:
    """Return the accession in an id such as ``sp|P69905|HBA_HUMAN``; other ids as they stand."""
    piped = _PIPED.fullmatch(id)
    return piped[1] if piped else id


def _place(index: dict[str, int], id: str) -> int:
    found = index.get(id)
    return index.get(accession_of(id), -1) if found is None else found
