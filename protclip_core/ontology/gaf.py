"""Annotations from files: GAF 2.0, 2.1 and 2.2, and the tables that other tools write."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Literal

from protclip_core.errors import InputError
from protclip_core.io.streams import open_input, source_name
from protclip_core.ontology.annotation_tables import HEAD_LINES, TableColumns, table_columns
from protclip_core.ontology.annotations import Annotations, PairCollector, Provenance, shown_ids
from protclip_core.ontology.assemble import GO_ID, release_date
from protclip_core.ontology.evidence import KNOWN_EVIDENCE, evidence_codes
from protclip_core.ontology.lines import foreign_content, text_lines
from protclip_core.ontology.ontology import Ontology
from protclip_core.ontology.terms import Resolved
from protclip_core.records import counted, printable

__all__ = ["read_annotation_pairs", "read_gaf"]

_log = logging.getLogger(__name__)

_VERSIONS = ("2.0", "2.1", "2.2")
#: Columns up to the one that says who assigned an annotation; two more may be left out.
_COLUMNS = 15
_ASPECTS = {"F": 0, "P": 1, "C": 2}
_RELEASE = re.compile(r"!\s*(?:go[- ](?:version|release)|data-version)\s*:\s*(.*)", re.IGNORECASE)
_SHOWN = 5  # bad lines in a message
_KEPT = 1000  # bad lines that are kept to be listed
_TAXON = re.compile(r"taxon:[0-9]+(?:\|taxon:[0-9]+)?")

OnError = Literal["error", "skip"]


def read_gaf(
    path: str | Path,
    ontology: Ontology,
    *,
    evidence: str | Iterable[str] | None = None,
    on_error: OnError = "error",
) -> Annotations:
    """Read a gene association file, line by line.

    Parameters
    ----------
    path
        Path of a file, plain or compressed, or ``-``. Proteins are named by its second column.
    ontology
        The release that terms are looked up in. Alternative and replaced ids count as the terms
        they stand for.
    evidence
        Codes and groups (``experimental``) to keep, see `evidence_codes`; None is all but ND.
    on_error
        What to do about bad lines: ``error`` reads to the end, then names the first five and
        the count; ``skip`` passes them over with a warning and lists them in the provenance.

    Returns
    -------
    Annotations
        As the file has them, not propagated. Lines with NOT, of other evidence, and of obsolete
        or unknown terms are left out, counted in `Provenance`, and named in warnings.

    Raises
    ------
    InputError
        Missing, damaged or of another kind, of a version that is not 2.0 to 2.2; bad lines; no
        annotation at all, or none of a term that the ontology has.
    """
    reader = _Reader(source_name(path), ontology, evidence_codes(evidence), on_error)
    with open_input(path) as stream:
        return reader.run(reader.gaf_lines(text_lines(stream, reader.name)), "GAF")


def read_annotation_pairs(
    path: str | Path,
    ontology: Ontology,
    *,
    evidence: str | Iterable[str] | None = None,
    on_error: OnError = "error",
) -> Annotations:
    """Read a table of proteins and their GO terms.

    Parameters
    ----------
    path
        Path of a file, plain or compressed, or ``-``. Its format is recognised by its first
        lines, see `protclip_core.ontology.annotation_tables`; ``#`` and ``!`` start comments.
    ontology, evidence, on_error
        See `read_gaf`, as for the result and the errors. Of GPAD and gene2go alone the evidence
        is known.

    Raises
    ------
    InputError
        As `read_gaf`; also predictions with scores (``input.scored_annotations``), and evidence
        that is asked for and not in the table (``input.no_evidence``).
    """
    reader = _Reader(source_name(path), ontology, evidence_codes(evidence), on_error)
    with open_input(path) as stream:
        lines = text_lines(stream, reader.name)
        head = list(islice(lines, HEAD_LINES))
        columns = table_columns(head, reader.name) or TableColumns("TSV", is_plain=True)
        if evidence_codes(evidence) != evidence_codes(None) and columns.evidence is None:
            raise InputError(
                f"says nothing of evidence: it is read as {columns.name}",
                code="input.no_evidence",
                where=reader.name,
                hint="give a GAF, GPAD or gene2go, or drop --evidence",
            )
        return reader.run(reader.table_lines(chain(head, lines), columns), columns.name)


class _BadLineError(Exception):
    """One line that cannot be used; never leaves this module."""


@dataclass
class _Reader:
    """State of reading one file."""

    name: str
    ontology: Ontology
    codes: frozenset[str]
    on_error: OnError
    version: str = ""
    release: str | None = None
    lines: int = 0
    taken: int = 0
    negated: list[tuple[str, str]] = field(default_factory=list)
    other: Counter[str] = field(default_factory=Counter)
    how: dict[str, Counter[str]] = field(default_factory=dict)
    bad_lines: int = 0
    bad: list[str] = field(default_factory=list)
    taxa: set[str] = field(default_factory=set)
    bad_taxa: int = 0
    first_taxon: str = ""
    pairs: PairCollector = field(default_factory=PairCollector)
    known: dict[str, Resolved] = field(default_factory=dict)

    def run(self, items: Iterator[tuple[str, str]], format: str) -> Annotations:
        """Take each protein and id that a format gives."""
        for protein, id in items:
            found = self.known.get(id)
            if found is None:
                found = self.known[id] = self.ontology.resolve(id)
            if found.how != "current":
                self.how.setdefault(found.how, Counter())[id] += 1
            if found.term is not None:
                self.taken += 1
                self.pairs.add(protein, found.term)
        self._report()
        provenance = Provenance(
            source=self.name,
            format=f"{format} {self.version}".strip(),
            lines=self.lines,
            taken=self.taken,
            negated=tuple(self.negated),
            other_evidence=dict(self.other),
            resolved=dict(self._of("alternative") + self._of("replaced")),
            obsolete=dict(self._of("obsolete")),
            unknown=dict(self._of("unknown")),
            bad_lines=self.bad_lines,
            bad=tuple(self.bad),
            release=self.release,
        )
        return self.pairs.annotations(self.ontology, provenance)

    def gaf_lines(self, lines: Iterator[tuple[int, str]]) -> Iterator[tuple[str, str]]:
        """Give protein and GO id of each line of a GAF that is not left out."""
        for number, line in lines:
            if line.startswith("!"):
                self._comment(line, number)
                continue
            if not line.strip():
                continue
            if not self.version:
                self._versionless(line)
            self.lines += 1
            try:
                fields = line.split("\t")
                self._check(fields)
                self._see_taxon(fields[12], number)
                negated = "NOT" in fields[3].upper().split("|")
                if negated:
                    self.negated.append((fields[1], fields[4]))
                elif fields[6] not in self.codes:
                    self.other[fields[6]] += 1
                else:
                    yield fields[1], fields[4]
            except _BadLineError as error:
                self._spoiled(number, error)

    def table_lines(
        self, lines: Iterator[tuple[int, str]], columns: TableColumns
    ) -> Iterator[tuple[str, str]]:
        """Give protein and GO id of each line of a table that is not left out."""
        for number, line in lines:
            if not line.strip() or line[0] in "#!" or number == columns.header:
                continue
            try:
                told = columns.told(line)
            except ValueError as error:
                self.lines += 1
                self._spoiled(number, error)
                continue
            if told is None:
                continue
            for id in told.terms:
                self.lines += 1
                if told.is_negated:
                    self.negated.append((told.protein, id))
                elif told.evidence and told.evidence not in self.codes:
                    self.other[told.evidence] += 1
                else:
                    yield told.protein, id

    def _comment(self, line: str, number: int) -> None:
        """Take the version, and the GO release where one is stated."""
        tag, _, value = line[1:].partition(":")
        if tag.strip().lower() == "gaf-version" and not self.version:
            self.version = value.strip()
            if self.version not in _VERSIONS:
                raise InputError(
                    f"is GAF {printable(self.version)!r}, this protclip reads "
                    f"{', '.join(_VERSIONS)}",
                    code="input.unknown_version",
                    where=f"{self.name}:line {number}",
                )
        elif tag.strip().lower() in ("gpa-version", "gpad-version", "gpi-version"):
            what = tag.strip().partition("-")[0].upper()
            raise InputError(
                f"is {what}, not GAF", code="input.not_gaf", where=self.name, hint="give the GAF"
            )
        elif self.release is None and (match := _RELEASE.match(line)):
            self.release = release_date(match[1])

    def _versionless(self, line: str) -> None:
        """Refuse what is not a GAF; otherwise read it as GAF 2.1, whose qualifiers may be empty."""
        if line.count("\t") < _COLUMNS - 1:
            raise foreign_content(line.lstrip().encode(), self.name, "a GAF")
        self.version = "2.1"
        _log.warning("%s: states no gaf-version: read as GAF 2.1", self.name)

    def _check(self, fields: list[str]) -> None:
        """Refuse a line whose annotation cannot be told for sure."""
        if len(fields) < _COLUMNS or len(fields) > 17:
            raise _BadLineError(f"has {len(fields)} columns, not 15 to 17")
        if not fields[1].strip():
            raise _BadLineError("has no DB Object ID")
        if not GO_ID.fullmatch(fields[4]):
            raise _BadLineError(f"{printable(fields[4])!r} is not a GO id")
        if fields[6] not in KNOWN_EVIDENCE:
            raise _BadLineError(f"unknown evidence code {printable(fields[6])!r}")
        if fields[8] not in _ASPECTS:
            raise _BadLineError(f"unknown aspect {printable(fields[8])!r}")
        if self.version == "2.2" and not fields[3]:
            raise _BadLineError("has no qualifier, which GAF 2.2 requires")

    def _see_taxon(self, taxon: str, number: int) -> None:
        """Count what is not a taxon; it spoils nothing, as the taxon is not used."""
        if taxon not in self.taxa and not _TAXON.fullmatch(taxon.strip()):
            self.bad_taxa += 1
            self.first_taxon = self.first_taxon or f"line {number}: {printable(taxon)!r}"
        else:
            self.taxa.add(taxon)

    def _spoiled(self, number: int, error: Exception) -> None:
        self.bad_lines += 1
        if len(self.bad) < _KEPT:
            self.bad.append(f"{self.name}:line {number}: {error}")

    def _of(self, how: str) -> Counter[str]:
        return self.how.get(how, Counter())

    def _report(self) -> None:
        """Refuse or name what was wrong, and name what was left out."""
        if self.bad:
            message = f"{self.bad_lines:,} of {self.lines:,} lines cannot be used"
            if self.on_error == "error":
                raise InputError(
                    message,
                    code="input.bad_lines",
                    where=self.name,
                    hint="correct or remove them",
                    details=self.bad[:_SHOWN],
                )
            _log.warning("%s: %s, the first: %s", self.name, message, "; ".join(self.bad[:_SHOWN]))
        if not self.lines:
            raise InputError("has no annotations", code="input.empty", where=self.name)
        left_out = len(self.negated) + self.other.total()
        if left_out == self.lines:
            what = [f"{len(self.negated):,} with NOT"] if self.negated else []
            what += [f"{count:,} of evidence {code}" for code, count in sorted(self.other.items())]
            raise InputError(
                f"none of its annotations can be used: {', '.join(what)}",
                code="input.no_positive_annotations",
                where=self.name,
                hint="give annotations that say what proteins do, of the evidence that is kept",
            )
        release = self.ontology.release or "unknown"
        lost = self._of("obsolete") + self._of("unknown")
        if lost and not self.taken and lost.total() == self.lines:
            raise InputError(
                f"none of its {len(lost):,} GO ids is in the ontology (release {release})",
                code="input.other_release",
                where=self.name,
                hint="give the release that it was made with",
            )
        for how, counts in sorted(self.how.items()):
            stands = how in ("alternative", "replaced")
            fate = "read as the terms they stand for" if stands else "left out"
            _log.warning(
                "%s: %s of %s in GO release %s %s: %s",
                self.name,
                counted(counts.total(), "line"),
                counted(len(counts), f"{how} id"),
                release,
                fate,
                shown_ids(counts),
            )
        if self.negated:
            _log.warning(
                "%s: %s with NOT left out, the first: %s %s",
                self.name,
                counted(len(self.negated), "line"),
                *self.negated[0],
            )
        if self.bad_taxa:
            _log.warning(
                "%s: %s whose column 13 is not a taxon (%s); read all the same",
                self.name,
                counted(self.bad_taxa, "line"),
                self.first_taxon,
            )
        if self.other:
            _log.info("%s: lines of other evidence left out: %s", self.name, dict(self.other))
        stated = self.release
        if stated and self.ontology.release and stated != self.ontology.release:
            _log.warning(
                "%s: made with GO release %s, read with %s",
                self.name,
                stated,
                self.ontology.release,
            )
