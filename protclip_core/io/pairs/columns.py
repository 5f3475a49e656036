"""How the lines of a list of pairs are divided, and which columns name the two proteins.

The first line says how columns are divided: by tabs where it has one, else by ``;`` or ``,``,
else by blanks. It is a header where it names two columns of proteins (``protein_a protein_b``,
``Uniprot ID1;Uniprot ID2``, ``protein1,protein2``, …); without one, the first two columns are the
proteins. Tables of databases are told by their columns, see `protclip_core.io.pairs.forms`.
"""

from __future__ import annotations

import csv
import logging
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import chain
from pathlib import Path

from protclip_core.errors import InputError
from protclip_core.io.pairs.forms import form_of
from protclip_core.io.streams import open_input, source_name
from protclip_core.io.text_rows import Line, lines_of, refuse_foreign
from protclip_core.records import printable

__all__ = ["PairColumns", "no_pair", "open_pairs"]

#: Names of columns of proteins, without case, blanks, dots, dashes and underscores.
_PROTEIN = re.compile(
    r"(?:item|uniprot|protein|prot|entity|gene|query|target|partner|interactor|sequence|seq|text)"
    r"(?:id|ac|accession)?[abxy012]?|id[ab012]"
)
_PLAIN = re.compile(r"[\s_.#-]+")
_QUOTED = re.compile(r'"[^"]*"')
#: Two cells of at least this many residues are sequences in the place of names.
_SEQUENCE = re.compile(r"[ACDEFGHIKLMNPQRSTVWYXBZUOJ*]{25,}")

log = logging.getLogger(__name__)


class PairColumns:
    """What the first line of a list tells.

    Parameters
    ----------
    first
        That line.
    is_known
        Tells names of proteins: a line that looks like a header, of two names that are known, is
        a pair.

    Attributes
    ----------
    divider
        Between columns; None for blanks.
    header
        Names of columns, or None.
    places
        Of the two proteins.
    """

    def __init__(self, first: str, is_known: Callable[[str], bool] | None = None) -> None:
        self.divider = next((mark for mark in "\t;," if mark in first), None)
        self._is_known = is_known
        cells = self.cells(first)
        found = form_of(cells)
        self.form = found[0] if found else None
        is_named = found is not None and found[1]
        plain = [_PLAIN.sub("", cell.lower()) for cell in cells]
        named = [place for place, cell in enumerate(plain) if _PROTEIN.fullmatch(cell)]
        # A header has no numbers in it; the first pair of a table of labels or values has.
        is_header = len(named) > 1 and not any(map(_is_number, cells))
        if is_header and is_known is not None:
            is_header = not all(is_known(cells[place]) for place in named[:2])
        self.header = cells if is_header or is_named else None
        self.places = (named[0], named[1]) if is_header and len(named) > 1 else (0, 1)
        #: How many columns the first line has.
        self.width = len(cells)

    def cells(self, text: str) -> list[str]:
        """Split a line; quotes around a cell do not belong to it."""
        if '"' not in text:
            return [cell.strip() for cell in text.split(self.divider)]
        if self.divider in (",", ";"):
            rows = csv.reader([text], delimiter=self.divider, skipinitialspace=True)
            return [cell.strip() for cell in next(rows)]
        cells = [cell.strip() for cell in text.split(self.divider)]
        return [cell[1:-1] if _QUOTED.fullmatch(cell) else cell for cell in cells]

    def names(self, cells: list[str]) -> tuple[str, str]:
        """Return the two names of a line, empty where there is none."""
        if self.form is not None:
            return self.form.names(cells, self._is_known)
        a, b = (cells[place] if place < len(cells) else "" for place in self.places)
        return a, b


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


@contextmanager
def open_pairs(
    path: str | Path, wanted: str, is_known: Callable[[str], bool] | None = None
) -> Iterator[tuple[PairColumns, Iterator[Line]]]:
    """Open a list; give its columns, and an iterator over the lines of its pairs.

    Blank lines and those that start with ``#`` are passed over, but that the first line may be a
    header after a ``#``. LF and CRLF end lines.

    Parameters
    ----------
    path
        File, plain or compressed, or ``-``.
    wanted
        What it should be: ``"a list of pairs"``.
    is_known
        See `PairColumns`.

    Raises
    ------
    InputError
        The file is missing, damaged, of another kind, or lists nothing; on iteration, what
        `lines_of` raises.
    """
    name = source_name(path)
    with open_input(path) as stream, closing(lines_of(stream, name)) as lines:
        yield _begin(lines, name, wanted, is_known)


def _begin(
    lines: Iterator[Line], name: str, wanted: str, is_known: Callable[[str], bool] | None
) -> tuple[PairColumns, Iterator[Line]]:
    """Read up to the first pair."""
    rows = (line for line in lines if not line[1].startswith("#"))
    first = next(lines, None)
    if first is not None:
        refuse_foreign(first[1], name, wanted)
        columns = PairColumns(first[1].lstrip("#"), is_known)
        if columns.header is None and first[1].startswith("#"):  # a remark
            first = next(rows, None)
            columns = PairColumns(first[1] if first is not None else "", is_known)
        if columns.header is not None:
            first = next(rows, None)
    if first is None:
        hint = "give two names a line, protein_a<TAB>protein_b"
        raise InputError("lists no pairs", code="input.empty", where=name, hint=hint)
    _refuse_sequences(columns, first, name)
    every = chain([first], rows)
    return columns, every if columns.form is None else _interactions(columns, every, name)


def _interactions(columns: PairColumns, lines: Iterator[Line], name: str) -> Iterator[Line]:
    """Give the lines of a table of a database that are interactions, and count the others."""
    form, others = columns.form, Counter[str]()
    assert form is not None
    for line in lines:
        if reason := form.left_out(columns.cells(line[1])):
            others[reason] += 1
        else:
            yield line
    for reason, count in others.items():
        log.warning("%s: %s %s are left out", name, f"{count:,}", reason)


def _refuse_sequences(columns: PairColumns, first: Line, name: str) -> None:
    """Refuse a list that has sequences where names belong."""
    if all(_SEQUENCE.fullmatch(cell) for cell in columns.names(columns.cells(first[1]))):
        raise InputError(
            "names proteins by their sequences",
            code="input.sequences_for_names",
            where=f"{name}:line {first[0]}",
            hint="give each sequence a name in a FASTA file, and list the names here",
        )


def no_pair(text: str) -> str:
    """Say that a line names no two proteins."""
    return f"names no two proteins: {printable(text.strip())!r}"
