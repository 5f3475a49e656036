"""Tables of proteins and GO terms other than GAF, each recognised by its first lines.

Read are topGO, goatools, Blast2GO, UniProt's TSV, InterProScan's TSV, eggNOG-mapper, GPAD 1 and 2,
gene2go, and any table of a protein and its terms with tabs, commas, semicolons or blanks between.
Refused by name are predictions, whose scores would be lost.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable
from dataclasses import dataclass

from protclip_core.errors import InputError
from protclip_core.ontology.evidence import evidence_of_eco
from protclip_core.ontology.lines import foreign_content
from protclip_core.records import printable

__all__ = ["TableColumns", "Told", "table_columns"]

#: Lines that are looked at to tell a format, comments among them.
HEAD_LINES = 60
_GO = re.compile(r"(?<![A-Za-z])GO:([0-9]{7})(?![0-9])", re.IGNORECASE)
_WORD = re.compile(r"[A-Za-z#][A-Za-z_ .()/-]*")
_SCORE = re.compile(r"(?:0|1)?\.[0-9]+|[01](?:\.0+)?|[0-9.]+e-[0-9]+", re.IGNORECASE)
_SCORED = frozenset(["probability", "cosine", "score", "confidence"])
_PROTEIN = re.compile(
    r"#?(?:protein|entry|accession|gene|uniprot|query|id|name)(?:[ _-]?(?:id|name|accession))?"
)
_TERMS = re.compile(r"gene ontology.*|go|gos|go[ _-]?(?:ids?|terms?)|terms?|annotations?")
#: What stands for no term.
_NONE = ("-", "none", "na", "n/a")
#: In the last column of a GPAD: the code that its class of ECO was made from.
_OF_GO = re.compile(r"(?:^|\|)go_evidence=([A-Z]{2,3})(?:\||$)")


@dataclass(frozen=True)
class Told:
    """What a line says: a protein, its terms, whether it denies them, its evidence code if any."""

    protein: str
    terms: tuple[str, ...]
    is_negated: bool = False
    evidence: str = ""


@dataclass(frozen=True)
class TableColumns:
    """Where the columns of a table are.

    Attributes
    ----------
    name
        Of the format.
    divider
        Between columns; None for blanks.
    protein, terms
        Columns of the protein and of its terms, from 0.
    header
        Number of the line that names the columns; 0 for none.
    is_plain
        A cell holds ids alone, so that anything else is an error.
    negation, evidence
        Columns of a qualifier that may be NOT, and of an evidence code; None for none.
    has_database
        The protein has its database in front: ``UniProtKB:P69905``.
    has_eco
        Evidence is a class of ECO, and the last column may tell the code of GO.
    """

    name: str
    divider: str | None = "\t"
    protein: int = 0
    terms: tuple[int, ...] = (1,)
    header: int = 0
    is_plain: bool = False
    negation: int | None = None
    evidence: int | None = None
    has_database: bool = False
    has_eco: bool = False

    def told(self, line: str) -> Told | None:
        """Read a line; None where it names no term.

        Raises
        ------
        ValueError
            It cannot be read; says why.
        """
        cells = split(line, self.divider)
        protein = _cell(cells, self.protein)
        if self.has_database:
            protein = protein.partition(":")[2]
        if not protein:
            raise ValueError("has no protein id")
        said = [_cell(cells, place) for place in self.terms]
        if self.is_plain:
            _refuse_other(said[0])
            if self.divider != "\t":  # further ids may stand in cells of their own
                said += [cell for cell in cells[self.terms[0] + 1 :] if _GO.fullmatch(cell)]
        terms = tuple(f"GO:{number}" for cell in said for number in _GO.findall(cell))
        if not terms:
            return None
        qualifier = "" if self.negation is None else _cell(cells, self.negation)
        negated = "NOT" in re.split(r"[|\s]", qualifier.upper())
        return Told(protein, terms, negated, self._evidence(cells))

    def _evidence(self, cells: list[str]) -> str:
        if self.evidence is None:
            return ""
        told = _OF_GO.search(cells[-1]) if self.has_eco else None
        return told[1] if told else evidence_of_eco(_cell(cells, self.evidence))


def table_columns(lines: Iterable[tuple[int, str]], name: str) -> TableColumns | None:
    """Tell a table by its first lines; None for a GAF, or a file without a line of data.

    Raises
    ------
    InputError
        Predictions with scores (``input.scored_annotations``), or another kind of file.
    """
    rows: list[tuple[int, str]] = []
    for number, line in lines:
        if number > HEAD_LINES or len(rows) == 3:
            break
        if not line.strip():
            continue
        if line.startswith(("!", "#")):
            if (found := _by_comment(line)) is not None:
                return found
            if line.lower().startswith("!gaf-version"):
                return None
            continue
        rows.append((number, line))
    if not rows:
        return None
    if rows[0][1].lstrip().startswith(("{", "[")):
        raise _json(*rows[0], name)
    if rows[0][1].startswith("AUTHOR"):
        raise _scored(name, rows[0][0], "a submission to CAFA", 3, "\t")
    return _by_rows(rows, name)


def split(line: str, divider: str | None) -> list[str]:
    """Split a line into cells without the quotes around them."""
    if divider in (",", ";") and '"' in line:
        return [cell.strip() for cell in next(csv.reader([line], delimiter=divider))]
    return [cell.strip().strip('"') for cell in line.split(divider)]


def _by_comment(line: str) -> TableColumns | None:
    tag, _, value = line[1:].partition(":")
    if tag.strip().lower() in ("gpa-version", "gpad-version"):
        if value.strip().startswith("2"):
            return TableColumns(
                "GPAD 2",
                protein=0,
                terms=(3,),
                negation=1,
                evidence=5,
                has_database=True,
                has_eco=True,
            )
        return TableColumns("GPAD 1", protein=1, terms=(3,), negation=2, evidence=5, has_eco=True)
    cells = [cell.strip().lower() for cell in line[1:].split("\t")]
    if cells[:3] == ["tax_id", "geneid", "go_id"]:
        return TableColumns("gene2go", protein=1, terms=(2,), negation=4, evidence=3)
    for terms in ("gos", "go_terms"):
        if cells[0] in ("query", "query_name") and terms in cells:
            return TableColumns("eggNOG-mapper", terms=(cells.index(terms),))
    return None


def _by_rows(rows: list[tuple[int, str]], name: str) -> TableColumns | None:
    number, line = rows[0]
    divider = _divider(rows)
    cells = split(line, divider)
    if len(cells) < 2:
        raise foreign_content(line.lstrip().encode(), name, "a table of proteins and GO terms")
    if _is_interproscan(cells):
        return TableColumns("InterProScan", terms=(13,))
    if len(cells) == 8 and cells[0].isdecimal() and cells[1].isdecimal() and _GO.search(cells[2]):
        return TableColumns("gene2go", protein=1, terms=(2,), negation=4, evidence=3)
    if len(cells) >= 15 and _GO.fullmatch(cells[4]):
        return None
    header = [cell.lower() for cell in cells]
    if not _GO.search(line) and all(_WORD.fullmatch(cell) for cell in cells[:2]):
        return _by_header(header, number, divider, name)
    data = [split(one, divider) for _, one in rows]
    if all(len(row) == 3 and _SCORE.fullmatch(row[2]) for row in data):
        raise _scored(name, number, "predictions with scores", 3, divider)
    return TableColumns(_named(divider), divider, is_plain=True)


def _by_header(header: list[str], number: int, divider: str | None, name: str) -> TableColumns:
    """Find the columns by their names; else the first two are what they are without a header."""
    if scored := [place for place, cell in enumerate(header) if cell in _SCORED]:
        raise _scored(name, number, "predictions with scores", scored[-1] + 1, divider)
    terms = tuple(place for place, cell in enumerate(header) if _TERMS.fullmatch(cell))
    proteins = [place for place, cell in enumerate(header) if _PROTEIN.fullmatch(cell)]
    is_uniprot = "entry" in header and any("gene ontology" in cell for cell in header)
    if not terms:
        return TableColumns(_named(divider), divider, header=number, is_plain=True)
    if is_uniprot:
        terms = tuple(place for place in terms if "gene ontology" in header[place])
        return TableColumns("UniProt", divider, header.index("entry"), terms, number)
    protein = next((place for place in proteins if place not in terms), 0)
    return TableColumns(_named(divider), divider, protein, terms[:1], number, is_plain=True)


def _named(divider: str | None) -> str:
    return {"\t": "TSV", ",": "CSV"}.get(divider or "", "table")


def _divider(rows: list[tuple[int, str]]) -> str | None:
    lines = [line for _, line in rows]
    if any("\t" in line for line in lines):
        return "\t"
    return next((sign for sign in ",;" if all(sign in line for line in lines)), None)


def _is_interproscan(cells: list[str]) -> bool:
    if not 11 <= len(cells) <= 15:
        return False
    numbers = all(cells[place].isdecimal() for place in (2, 6, 7))
    return (
        numbers and cells[9] in ("T", "F") and re.fullmatch(r"[\d-]{8,10}", cells[10]) is not None
    )


def _refuse_other(cell: str) -> None:
    """Refuse a cell that is neither ids, nor an EC number as Blast2GO writes it, nor nothing."""
    if re.fullmatch(r"EC:[\d.n-]+", cell) or cell.lower() in _NONE:
        return
    for one in re.split(r"[;,|\s]+", cell):
        if one and not _GO.fullmatch(one):
            raise ValueError(f"{printable(one)!r} is not a GO id")


def _scored(name: str, number: int, what: str, column: int, divider: str | None) -> InputError:
    sign = {"\t": "-F'\\t' ", None: ""}.get(divider, f"-F'{divider}' ")
    return InputError(
        f"holds {what}, which are not annotations: column {column} would be lost",
        code="input.scored_annotations",
        where=f"{name}:line {number}",
        hint="keep proteins and terms that you trust: "
        f"awk {sign}'${column} >= 0.5 {{print $1 \"\\t\" $2}}'",
    )


def _json(number: int, line: str, name: str) -> InputError:
    where = f"{name}:line {number}"
    if '"probability"' in line or '"score"' in line:
        return InputError(
            "holds predictions with scores as JSON, which are not annotations",
            code="input.scored_annotations",
            where=where,
            hint="keep those that you trust, as a table: jq -r "
            "'select(.probability >= 0.5) | [.protein_id, .term] | @tsv'",
        )
    hint = "write proteins and GO ids as a table of two columns"
    return InputError("is JSON", code="input.other_format", where=where, hint=hint)


def _cell(cells: list[str], place: int) -> str:
    return cells[place] if place < len(cells) else ""
