"""The variant that turns one sequence into another."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate

from protclip_core.variants.changes import Change, Kind
from protclip_core.variants.model import Variant

__all__ = ["variant_between"]

#: Cells of the alignment of what differs, with more it has one gap at most.
_MOST_CELLS = 100_000
#: A gap costs this on top of one for each of its residues; an exchange costs one.
_GAP = 2

# A run of residues that differ: from and to in the wild type, from and to in the mutant.
_Block = tuple[int, int, int, int]


def variant_between(wild_type: str, mutated: str) -> Variant:
    """Find the changes that make one sequence of another.

    What both have at their starts and ends is set aside. What is left over is aligned so that
    the exchanges (cost 1) and gaps (cost 2, and 1 a residue) are fewest; of equal lengths the
    residues are compared one by one unless an alignment with gaps costs less. Of equally good
    places an insertion or deletion has the last one, and an insertion that repeats what is
    before it is a duplication, as HGVS asks. Where more than 100,000 cells would be needed,
    the best alignment with one gap is taken, or with none where the lengths are equal.

    Parameters
    ----------
    wild_type, mutated
        Upper-case residues; neither is empty.

    Returns
    -------
    Variant
        ``variant_between(a, b).apply(a) == b`` where ``b`` holds none of B, J, X and Z that
        ``a`` has not, and ``a`` no X where it changes; positions count from 1.

    Raises
    ------
    ValueError
        A sequence is empty.

    Examples
    --------
    >>> str(variant_between("MAKQVLE", "MGKQVLE")), str(variant_between("MAKQVLE", "MAKVLE"))
    ('A2G', 'Q4del')
    >>> str(variant_between("MAKQVLE", "MAKQKQVLE")), str(variant_between("MAKQ", "GMAKQ"))
    ('K3_Q4dup', 'M1delinsGM')
    """
    if not wild_type or not mutated:
        raise ValueError("both sequences need residues")
    changes: list[Change] = []
    blocks = list(_blocks(wild_type, mutated))
    limits = [block[0] - 1 for block in blocks[1:]] + [len(wild_type)]
    for block, limit in zip(blocks, limits):
        block = _latest(wild_type, mutated, block, limit)
        changes += _changes(wild_type, mutated, block)
    return Variant(tuple(changes))


def _blocks(wild_type: str, mutated: str) -> Iterator[_Block]:
    """Give the runs that differ, in order; between two of them at least one residue agrees."""
    if wild_type == mutated:
        return
    n, m = len(wild_type), len(mutated)
    start = next((i for i, (a, b) in enumerate(zip(wild_type, mutated)) if a != b), min(n, m))
    shared = 0
    while shared < min(n, m) - start and wild_type[n - 1 - shared] == mutated[m - 1 - shared]:
        shared += 1
    old, new = wild_type[start : n - shared], mutated[start : m - shared]
    before_old = before_new = 0
    for i, j in [*_equal_pairs(old, new), (len(old), len(new))]:
        if i > before_old or j > before_new:
            yield start + before_old, start + i, start + before_new, start + j
        before_old, before_new = i + 1, j + 1


def _latest(wild_type: str, mutated: str, block: _Block, limit: int) -> _Block:
    """Move an insertion or deletion after the equal residues that it could as well follow."""
    start, end, new_start, new_end = block
    if start == end:
        while start < limit and wild_type[start] == mutated[new_start]:
            start, new_start = start + 1, new_start + 1
        return start, start, new_start, new_start + new_end - block[2]
    if new_start == new_end:
        while end < limit and wild_type[start] == wild_type[end]:
            start, end = start + 1, end + 1
        return start, end, new_start, new_start
    return block


def _equal_pairs(old: str, new: str) -> list[tuple[int, int]]:
    """Pairs of equal residues of the cheapest alignment."""
    shift = len(new) - len(old)
    short, gap = min(len(old), len(new)), (_GAP + abs(shift) if shift else 0)
    # The best alignment with one gap, or none: what is before it is compared place by place,
    # what comes after it likewise. Of places as good the last.
    ahead = [0, *accumulate(old[i] != new[i] for i in range(short))]
    behind = [0, *accumulate(old[-i] != new[-i] for i in range(1, short + 1))]
    place = min(range(short, -1, -1), key=lambda i: ahead[i] + behind[short - i])
    cost = ahead[place] + behind[short - place] + gap
    # Anything else has two gaps or more, and a residue in each where the lengths are equal.
    spare = cost - abs(shift) - 2 * _GAP
    width = abs(shift) + 2 * max(spare // 2, 0) + 1
    if spare > (0 if shift else 2) and (len(old) + 1) * width <= _MOST_CELLS:
        # Ties put a gap early, which back to front is late.
        pairs = _aligned(old[::-1], new[::-1], max(spare // 2, 0))
        return [(len(old) - 1 - i, len(new) - 1 - j) for i, j in reversed(pairs)]
    far = [(len(old) - i, len(new) - i) for i in range(short - place, 0, -1)]
    pairs = [*((i, i) for i in range(place)), *far]
    return [(i, j) for i, j in pairs if old[i] == new[j]]


def _aligned(old: str, new: str, extra: int) -> list[tuple[int, int]]:
    """Pairs of equal residues of the cheapest alignment that leaves a band by no residue.

    Gotoh's recurrence (1982) with three states: both go on, only ``old`` (lost), only ``new``
    (put). ``extra`` is how far the alignment may stray from the two outer diagonals. A cell
    ``c`` of row ``i`` is column ``i + low + c``. Ties go to the state named first.
    """
    shift = len(new) - len(old)
    low, high = min(0, shift) - extra, max(0, shift) + extra
    width, far = high - low + 1, _GAP * (len(old) + len(new) + 2)
    rows: list[list[list[int]]] = []
    for i in range(len(old) + 1):
        both, lost, put = ([far] * (width + 1) for _ in range(3))
        above = rows[-1] if i else [both] * 3
        for c in range(width):
            j = i + low + c
            if not 0 <= j <= len(new):
                continue
            if i == j == 0:
                both[c] = 0
                continue
            if i and j:
                both[c] = min(state[c] for state in above) + (old[i - 1] != new[j - 1])
            if i:
                opened = min(above[0][c + 1], above[2][c + 1]) + _GAP
                lost[c] = min(opened, above[1][c + 1]) + 1
            if j and c:
                put[c] = min(min(both[c - 1], lost[c - 1]) + _GAP, put[c - 1]) + 1
        rows.append([both, lost, put])
    return _traced(old, new, rows, low)


def _traced(old: str, new: str, rows: list[list[list[int]]], low: int) -> list[tuple[int, int]]:
    """Go back through the costs of `_aligned` and give the pairs of equal residues."""
    i, j = len(old), len(new)
    ends = [state[j - i - low] for state in rows[i]]
    state, pairs = ends.index(min(ends)), []
    while i or j:
        if state == 0:
            i, j, opening = i - 1, j - 1, (0, 0, 0)
            if old[i] == new[j]:
                pairs.append((i, j))
        elif state == 1:
            i, opening = i - 1, (_GAP, 0, _GAP)
        else:
            j, opening = j - 1, (_GAP, _GAP, 0)
        costs = [known[j - i - low] + more for known, more in zip(rows[i], opening)]
        state = costs.index(min(costs))
    return pairs[::-1]


def _changes(wild_type: str, mutated: str, block: _Block) -> Iterator[Change]:
    """Name one run that differs."""
    start, end, new_start, new_end = block
    old, new = wild_type[start:end], mutated[new_start:new_end]
    if len(old) == len(new):
        for place, (a, b) in enumerate(zip(old, new), start + 1):
            yield Change(Kind.SUBSTITUTION, place, place, a, a, b)
    elif not new:
        yield Change(Kind.DELETION, start + 1, end, old[0], old[-1], deleted=old)
    elif old:
        yield Change(Kind.DELINS, start + 1, end, old[0], old[-1], new, deleted=old)
    elif wild_type[max(start - len(new), 0) : start] == new:
        # No other run lies in what is repeated: to insert before it would have cost less.
        yield Change(Kind.DUPLICATION, start - len(new) + 1, start, new[0], new[-1])
    elif 0 < start < len(wild_type):
        left, right = wild_type[start - 1], wild_type[start]
        yield Change(Kind.INSERTION, start, start + 1, left, right, new)
    elif start:  # after the last residue there is no second neighbour to name
        yield Change(Kind.DELINS, start, start, wild_type[-1], wild_type[-1], wild_type[-1] + new)
    else:
        yield Change(Kind.DELINS, 1, 1, wild_type[0], wild_type[0], new + wild_type[0])
