"""Tables of interactions as databases give them out: BioGRID TAB3 and PSI-MI TAB 2.5 to 2.7.

Both name a protein in several columns, by accessions, symbols and numbers of several databases.
Where the names that are known are told, the first of them is taken, otherwise the accession of
UniProt. Genetic interactions, and pairs that were found not to interact, are left out.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence

__all__ = ["DatabaseForm", "form_of"]

_MITAB_CELL = re.compile(r'[\w/. -]+:(?:"[^"]+"|[^\s|]+)(?:\([^)]*\))?(?:\|.*)?')
_MITAB_NAME = re.compile(r'([\w/. -]+):(?:"((?:[^"\\]|\\.)*)"|([^|("]+))(?:\([^)|]*\))?')
_MITAB_WIDTH = 15
_SCORE = re.compile(r":([-+0-9.eE]+)(?:\||$)")


class DatabaseForm(ABC):
    """How a database writes an interaction on a line.

    Attributes
    ----------
    name
        Of the form, for messages.
    """

    name: str

    @abstractmethod
    def candidates(self, cells: Sequence[str], side: int) -> Iterator[str]:
        """Give the names of protein 0 or 1 of a line, best first."""

    @abstractmethod
    def left_out(self, cells: Sequence[str]) -> str:
        """Say why a line is not an interaction of two proteins; empty where it is."""

    @abstractmethod
    def score(self, cells: Sequence[str]) -> str:
        """Give the score of a line as it stands; empty where it has none."""

    def names(
        self, cells: Sequence[str], is_known: Callable[[str], bool] | None
    ) -> tuple[str, str]:
        """Return the two names of a line, empty where there is none."""
        found = []
        for side in (0, 1):
            every = list(self.candidates(cells, side))
            known = (name for name in every if is_known is not None and is_known(name))
            found.append(next(known, every[0] if every else ""))
        return found[0], found[1]


class _BioGrid(DatabaseForm):
    """Columns of TAB2 and TAB3, by their names."""

    name = "BioGRID TAB"
    _NAMES = (
        "SWISS-PROT Accessions Interactor {}",
        "TREMBL Accessions Interactor {}",
        "REFSEQ Accessions Interactor {}",
        "Systematic Name Interactor {}",
        "Official Symbol Interactor {}",
        "Entrez Gene Interactor {}",
        "Synonyms Interactor {}",
        "BioGRID ID Interactor {}",
    )

    def __init__(self, header: Sequence[str]) -> None:
        place = {cell.lower(): number for number, cell in enumerate(header)}
        self._sides = [
            [place.get(name.format(side).lower(), len(header)) for name in self._NAMES]
            for side in "AB"
        ]
        self._kind = place.get("experimental system type", len(header))
        self._score = place.get("score", len(header))

    def candidates(self, cells: Sequence[str], side: int) -> Iterator[str]:
        for place in self._sides[side]:
            for name in _cell(cells, place).split("|"):
                if name not in ("", "-"):
                    yield name

    def left_out(self, cells: Sequence[str]) -> str:
        return "genetic interactions" if _cell(cells, self._kind).lower() == "genetic" else ""

    def score(self, cells: Sequence[str]) -> str:
        found = _cell(cells, self._score)
        return "" if found == "-" else found


class _Mitab(DatabaseForm):
    """Columns of PSI-MI TAB, which are the same in all its versions."""

    name = "PSI-MI TAB"
    _TYPE, _SCORE, _NEGATIVE = 11, 14, 35

    def candidates(self, cells: Sequence[str], side: int) -> Iterator[str]:
        own = [_mitab_names(_cell(cells, column + side)) for column in (0, 2, 4)]
        every = [found for cell in own for found in cell]
        yield from (name for database, name in every if database.startswith("uniprot"))
        yield from (name for database, name in every if not database.startswith("uniprot"))

    def left_out(self, cells: Sequence[str]) -> str:
        if _cell(cells, self._NEGATIVE).lower() == "true":
            return "pairs that were found not to interact"
        kind = _cell(cells, self._TYPE).lower()
        is_genetic = "genetic" in kind or "mi:0208" in kind
        return "genetic interactions" if is_genetic else ""

    def score(self, cells: Sequence[str]) -> str:
        found = _SCORE.search(_cell(cells, self._SCORE))
        return found[1] if found else ""


def form_of(cells: Sequence[str]) -> tuple[DatabaseForm, bool] | None:
    """Tell a form of a database by its first line.

    Returns
    -------
    tuple or None
        The form, and whether the line is a header; None for another table.
    """
    plain = [cell.lower().lstrip("#").strip() for cell in cells]
    if "official symbol interactor a" in plain and "official symbol interactor b" in plain:
        return _BioGrid([cell.lstrip("#").strip() for cell in cells]), True
    if len(cells) < _MITAB_WIDTH:
        return None
    if re.fullmatch(r"id(?:\(s\)|s)? interactor a", plain[0]):
        return _Mitab(), True
    if all(_MITAB_CELL.fullmatch(cell) for cell in cells[:2]) and cells[9].startswith("taxid:"):
        return _Mitab(), False
    return None


def _mitab_names(cell: str) -> list[tuple[str, str]]:
    """Split ``database:name(remark)|…``."""
    found = _MITAB_NAME.finditer(cell) if cell not in ("", "-") else ()
    return [(one[1].strip().lower(), (one[2] or one[3]).strip()) for one in found]


def _cell(cells: Sequence[str], place: int) -> str:
    return cells[place].strip() if place < len(cells) else ""
