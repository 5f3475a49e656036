"""One change of a protein: what it does, where, and how it is written.

Words: a position is counted from 1 as the text counts it; a *site* is a wild-type residue and
its position (``A42``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from protclip_core.variants.residues import SEVERAL, STOP, three_letters

__all__ = ["Change", "Kind"]


class Kind(StrEnum):
    """What one change does to the protein."""

    SUBSTITUTION = "substitution"  #: A42G
    SYNONYMOUS = "synonymous"  #: A42=
    STOP = "stop"  #: A42*
    DELETION = "deletion"  #: K23del, K23_V25del
    INSERTION = "insertion"  #: K23_L24insRS
    DUPLICATION = "duplication"  #: K23dup, K23_V25dup
    DELINS = "delins"  #: K23_V25delinsRS
    FRAMESHIFT = "frameshift"  #: R97Pfs*23
    EXTENSION = "extension"  #: *327Rext*17, M1ext-5
    START_LOSS = "start loss"  #: M1?
    UNKNOWN = "unknown"  #: p.?, R97?
    NO_PROTEIN = "no protein"  #: p.0


#: Kinds that leave no sequence to compute with, and why.
_WITHOUT_SEQUENCE = {
    Kind.FRAMESHIFT: "is a frameshift: the residues after it are not known from the protein",
    Kind.EXTENSION: "is an extension: the residues that it adds are not given",
    Kind.START_LOSS: "loses the start: what is translated instead is not known",
    Kind.UNKNOWN: "has an unknown effect on the protein",
    Kind.NO_PROTEIN: "gives no protein",
}


@dataclass(frozen=True, slots=True)
class Change:
    """One change of a protein.

    Attributes
    ----------
    kind
        What it does.
    start, end
        First and last position it speaks of, as written (see ``offset`` of `Variant.apply`);
        equal for one residue. An insertion has the two neighbours it lies between, so
        ``end == start + 1``. Both 0 where nothing is stated (``p.?``, ``p.0``).
    first, last
        Wild-type letters at ``start`` and ``end``; ``*`` is the stop after the last residue.
        Empty where nothing is stated.
    inserted
        Letters that stand there afterwards: one for a substitution, ``*`` for a stop; those
        between or in place of the wild type for insertion and delins, where ``*`` may be the
        last; the new first residue of a frameshift or extension, or empty; else empty.
    tail
        Frameshift: residues up to the new stop (``23``, ``?`` or empty). Extension: ``*17``,
        ``*?``, ``-5`` or empty.
    deleted
        All wild-type letters from ``start`` to ``end`` where the text states them, else empty.
        They are checked and not printed, and do not count when variants are compared.
    """

    kind: Kind
    start: int
    end: int
    first: str
    last: str
    inserted: str = ""
    tail: str = ""
    deleted: str = field(default="", compare=False)

    def sites(self) -> Iterator[tuple[int, str]]:
        """Give each position whose wild-type letter is stated, with that letter."""
        if not self.first:
            return
        if self.deleted:
            yield from enumerate(self.deleted, self.start)
            return
        yield self.start, self.first
        if self.end > self.start:
            yield self.end, self.last

    @property
    def span(self) -> tuple[int, float]:
        """What it claims, first and last: residue ``i`` is ``2 i``, the gap after it ``2 i + 1``.

        Two changes of one molecule whose spans meet contradict each other. A stop claims all
        that follows it.
        """
        if STOP in self.inserted:
            first = 2 * self.start + (self.kind is Kind.INSERTION)
            return first, float("inf")
        if self.kind is Kind.INSERTION:
            return 2 * self.start + 1, 2 * self.start + 1
        return 2 * self.start, 2 * self.end + (self.kind is Kind.DUPLICATION)

    @property
    def unscorable(self) -> str | None:
        """Why no mutated sequence follows from it, as a clause; None where one does."""
        if reason := _WITHOUT_SEQUENCE.get(self.kind):
            return f"{self} {reason}"
        if STOP in (self.first, self.last) and self.kind is not Kind.SYNONYMOUS:
            return f"{self} loses the stop: the residues that it adds are not given"
        for letter in self.inserted:
            if letter in SEVERAL:
                return f"{self} brings {letter}, which stands for {SEVERAL[letter]}"
        return None

    def __str__(self) -> str:
        """In one-letter codes: ``A42G``, ``K23_V25delinsRS``, ``R97Pfs*23``; ``p.?``, ``p.0``."""
        return self._written(str)

    def hgvs(self) -> str:
        """In three-letter codes without ``p.``: ``Ala42Gly``, ``Arg97ProfsTer23``."""
        return self._written(three_letters)

    def _written(self, name: Callable[[str], str]) -> str:
        site = f"{name(self.first)}{self.start}"
        if self.end > self.start:
            site += f"_{name(self.last)}{self.end}"
        new, stop = name(self.inserted), name(STOP)
        match self.kind:
            case Kind.SUBSTITUTION | Kind.STOP:
                return site + new
            case Kind.SYNONYMOUS:
                return f"{site}="
            case Kind.DELETION:
                return f"{site}del"
            case Kind.INSERTION:
                return f"{site}ins{new}"
            case Kind.DUPLICATION:
                return f"{site}dup"
            case Kind.DELINS:
                return f"{site}delins{new}"
            case Kind.FRAMESHIFT:
                return f"{site}{new}fs{stop + self.tail if self.tail else ''}"
            case Kind.EXTENSION:
                return f"{site}{new}ext{self.tail.replace(STOP, stop)}"
            case _ if self.first:
                return f"{site}?"
            case _:
                text = "0" if self.kind is Kind.NO_PROTEIN else "?"
                return f"p.{text}" if name is str else text
