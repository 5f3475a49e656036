"""Changes against a sequence: whether they fit, what they make of it, and at which offset."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from protclip_core.errors import InputError
from protclip_core.variants.changes import Change, Kind
from protclip_core.variants.residues import STOP

__all__ = ["OffsetFit", "apply", "best_offset", "fault", "nearest_offset"]

Site = tuple[int, str]

#: Distinct sets of sites that `best_offset` looks at; more would not change what it finds.
_LOOKED_AT = 2000


@dataclass(frozen=True, slots=True)
class OffsetFit:
    """How many variants of a list fit a sequence at an offset.

    Attributes
    ----------
    offset
        Position in the text minus position in the sequence.
    fits, total
        Variants that fit there, and all that state a site.
    """

    offset: int
    fits: int
    total: int


def fault(changes: Sequence[Change], sequence: str, offset: int = 0) -> str | None:
    """Why changes do not fit a sequence, as a clause with the way out; None where they fit.

    What the changes say is looked at first (`Change.unscorable`), then their positions, then
    the residues there. See `Variant.apply` for the parameters.
    """
    for change in changes:
        if reason := change.unscorable:
            return reason
    sites = _sites(changes)
    length = len(sequence)
    for position, letter in sites:
        place = position - offset
        if letter == STOP:
            if place != length + 1:
                return f"a stop is stated at {position}, the sequence ends at {length + offset}"
            continue
        if not 1 <= place <= length:
            reach = f"{1 + offset} to {length + offset}" if length else "nowhere"
            reason = f"position {position} is outside the sequence ({reach})"
            return reason + _way_out(changes, sequence, offset)
        found = sequence[place - 1]
        if found == "X":
            return f"position {position} is X in the sequence: its wild type cannot be told"
        if found != letter:
            reason = f"position {position} is {found} in the sequence, not {letter}"
            return reason + _way_out(changes, sequence, offset)
    if changes and not _mutated(changes, sequence, offset):
        return "nothing is left of the protein"
    return None


def apply(changes: Sequence[Change], sequence: str, offset: int = 0) -> str:
    """Return the mutated sequence; `Variant.apply` says how, and what it raises."""
    if reason := fault(changes, sequence, offset):
        raise InputError(reason, code="input.bad_variant")
    return _mutated(changes, sequence, offset)


def nearest_offset(changes: Iterable[Change], sequence: str, offset: int = 0) -> int | None:
    """Offset nearest to a given one at which every stated wild-type letter is found.

    Parameters
    ----------
    changes
        Of one variant.
    sequence
        Wild type.
    offset
        The one that did not fit, which is never the answer.

    Returns
    -------
    int or None
        None where no offset fits. Of two as near, the one nearer to 0, then the smaller.

    Examples
    --------
    >>> from protclip_core.variants import parse_variant
    >>> nearest_offset(parse_variant("K23R:V25A").changes, "MAKQV")
    20
    """
    found = _offsets(_sites(changes), sequence) - {offset}
    return min(found, key=lambda one: (abs(one - offset), abs(one), one), default=None)


def best_offset(
    variants: Iterable[Sequence[Change]], sequence: str, offset: int = 0
) -> OffsetFit | None:
    """Offset at which most variants of a list find all their wild-type letters.

    Parameters
    ----------
    variants
        The changes of each variant of the list. Those that state no site do not count. Of more
        than 2,000 that differ in their sites, every n-th is looked at, and the numbers are of
        those.
    sequence
        Wild type.
    offset
        The one in use, which wins where it is as good as another.

    Returns
    -------
    OffsetFit or None
        None where nothing fits anywhere. Of several as good: the nearest to ``offset``, then to
        0, then the smaller.
    """
    weights = Counter(tuple(_sites(changes)) for changes in variants)
    weights.pop((), None)
    distinct = sorted(weights)
    distinct = distinct[:: -(-len(distinct) // _LOOKED_AT) or 1]
    fits: Counter[int] = Counter()
    for sites in distinct:
        fits.update(dict.fromkeys(_offsets(sites, sequence), weights[sites]))
    if not fits:
        return None
    best = min(fits, key=lambda one: (-fits[one], abs(one - offset), abs(one), one))
    return OffsetFit(best, fits[best], sum(weights[sites] for sites in distinct))


def _sites(changes: Iterable[Change]) -> list[Site]:
    return [site for change in changes for site in change.sites()]


def _offsets(sites: Sequence[Site], sequence: str) -> set[int]:
    """All offsets at which each site is met; none for a variant that states no site."""
    common: set[int] | None = None
    for position, letter in sites:
        here = {position - place for place in _places(sequence, letter)}
        common = here if common is None else common & here
        if not common:
            break
    return common or set()


@lru_cache(maxsize=64)  # the letters of a few proteins: rows of one protein stand together
def _places(sequence: str, letter: str) -> tuple[int, ...]:
    """Places from 1 of a letter; that of the stop is after the last residue."""
    if letter == STOP:
        return (len(sequence) + 1,)
    return tuple(place for place, found in enumerate(sequence, 1) if found == letter)


def _way_out(changes: Sequence[Change], sequence: str, offset: int) -> str:
    """Name the nearest offset that would fit; one residue is met somewhere by chance."""
    found = nearest_offset(changes, sequence, offset)
    if found is None:
        return "; it fits at no offset: is it of another protein or isoform?"
    return f"; it would fit at offset {found}"


def _mutated(changes: Sequence[Change], sequence: str, offset: int) -> str:
    """Put the pieces together; the changes fit, are sorted and do not overlap."""
    pieces: list[str] = []
    done = 0  # residues of the wild type that are dealt with
    for change in changes:
        start, end = change.start - 1 - offset, change.end - offset
        match change.kind:
            case Kind.SYNONYMOUS:
                continue
            case Kind.INSERTION:
                # Its two neighbours stay, so it speaks of no residue: only of the gap.
                start = end = start + 1
                new = change.inserted
            case Kind.DUPLICATION:
                new = sequence[start:end] * 2
            case _:
                new = change.inserted
        pieces += [sequence[done:start], new]
        done = end
        if STOP in new:
            return "".join(pieces).partition(STOP)[0]
    return "".join([*pieces, sequence[done:]])
