"""A protein variant: changes of one molecule, so a set of them without an order."""

from __future__ import annotations

from dataclasses import dataclass, field

from protclip_core.errors import InputError
from protclip_core.variants.changes import Change, Kind
from protclip_core.variants.fit import apply, fault

__all__ = ["ParseFailure", "Variant"]


@dataclass(frozen=True, slots=True)
class Variant:
    """Changes of one protein molecule; none at all is the wild type.

    Attributes
    ----------
    changes
        Sorted by position on construction, so variants that say the same are equal.
    protein
        What the text names before the change (``NP_000537.3`` of ``NP_000537.3:p.Arg175His``),
        empty where it names nothing. It does not count when variants are compared.

    Raises
    ------
    InputError
        On construction: two changes claim the same residue or gap, or lie after a stop.

    Examples
    --------
    >>> from protclip_core.variants import parse_variant
    >>> variant = parse_variant("p.[Leu3Pro;Ala2Gly]")
    >>> str(variant), variant.hgvs(), variant.apply("MALK")
    ('A2G:L3P', 'p.[Ala2Gly;Leu3Pro]', 'MGPK')
    """

    changes: tuple[Change, ...] = ()
    protein: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        if len(self.changes) < 2:
            return
        ordered = tuple(sorted(self.changes, key=lambda change: (*change.span, str(change))))
        object.__setattr__(self, "changes", ordered)
        for before, behind in zip(ordered, ordered[1:]):
            if before.span[1] >= behind.span[0]:
                if before == behind:
                    raise InputError(f"{before} is given twice", code="input.bad_variant")
                if before.span[1] == float("inf"):
                    raise InputError(
                        f"{behind} lies at or after the stop of {before}", code="input.bad_variant"
                    )
                raise InputError(f"{before} and {behind} overlap", code="input.bad_variant")

    @property
    def is_wild_type(self) -> bool:
        """Whether the protein stays as it is: no change, or synonymous ones only."""
        return all(change.kind is Kind.SYNONYMOUS for change in self.changes)

    @property
    def only_substitutions(self) -> bool:
        """Whether every change puts one residue in the place of another; at least one does.

        Synonymous changes may stand next to them. The mutated sequence then has the length of
        the wild type, and `substitutions` says all of it.
        """
        kinds = {change.kind for change in self.changes}
        return Kind.SUBSTITUTION in kinds and kinds <= {Kind.SUBSTITUTION, Kind.SYNONYMOUS}

    @property
    def substitutions(self) -> tuple[tuple[str, int, str], ...]:
        """Wild-type letter, position as written and new letter of each substitution."""
        return tuple(
            (change.first, change.start, change.inserted)
            for change in self.changes
            if change.kind is Kind.SUBSTITUTION
        )

    @property
    def unscorable(self) -> str | None:
        """Why no mutated sequence follows from the text, as a clause; None where one does.

        Frameshifts, extensions, lost starts and stops, unknown effects, and residues such as B
        that stand for several. A new stop (``A42*``) does have a sequence, the part before it:
        whether that is scored is for the scorer to say.
        """
        return next((reason for change in self.changes if (reason := change.unscorable)), None)

    def __str__(self) -> str:
        """In one-letter codes, joined by ``:`` as in ProteinGym; ``WT`` where nothing changes."""
        return ":".join(str(change) for change in self.changes) or "WT"

    def hgvs(self) -> str:
        """As HGVS writes it: ``p.Ala42Gly``, ``p.[Ala42Gly;Leu50Pro]``, ``p.=``."""
        if not self.changes:
            return "p.="
        text = ";".join(change.hgvs() for change in self.changes)
        return f"p.{text}" if len(self.changes) == 1 else f"p.[{text}]"

    def fault(self, sequence: str, offset: int = 0) -> str | None:
        """Why it does not fit a sequence, as a clause; None where it fits. See `apply`."""
        return fault(self.changes, sequence, offset)

    def apply(self, sequence: str, offset: int = 0) -> str:
        """Mutate a sequence.

        Parameters
        ----------
        sequence
            Wild type in upper case, ``L`` residues, without a ``*`` at its end.
        offset
            Position in the text minus position in the sequence: 20 where a mature chain is
            given and the text counts a signal peptide of 20; -1 for a text that counts from 0.

        Returns
        -------
        str
            The mutated sequence; cut before the first new stop.

        Raises
        ------
        InputError
            A wild-type letter that the sequence does not have there (names both, and the
            nearest offset at which all of them would fit), a position outside the sequence, X
            at the site, nothing left of the protein, or what `unscorable` says.
        """
        return apply(self.changes, sequence, offset)


@dataclass(frozen=True, slots=True)
class ParseFailure:
    """A text that is not a variant, or none that can be told for sure.

    Attributes
    ----------
    text
        The text, printable and short.
    reason
        One clause that holds the text and the way out.
    """

    text: str
    reason: str
