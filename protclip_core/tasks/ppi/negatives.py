"""Pairs that are taken not to interact, for lists that name interactions only.

The rule: two different proteins are drawn at random, and kept where the list does not name the
pair as interacting, and where it has not been drawn before. ``uniform``: all proteins of the part
have the same chance. ``degree``: a protein has a chance by how many interactions it has there, so
that a head cannot win by knowing which proteins are in many. A pair that is drawn for a part has
its proteins where the part's interactions have theirs: a split of proteins stays one.

Where the two columns of a list are two groups of proteins, such as a virus and its host, a pair
that is drawn has one of each: a head would else win by telling the groups apart.

Pairs that nobody has seen to interact may do so: they are taken for negatives, not known to be.

Legend: M pairs, N proteins.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from protclip_core.errors import InputError, UsageError
from protclip_core.tasks.ppi.pairs import codes_of

__all__ = ["ACROSS", "RULES", "draw_negatives", "two_groups"]

#: Told where a list has two groups; takes its name.
ACROSS = "%s: no protein is in both columns: each negative has a protein of each column"
RULES = ("uniform", "degree")
#: Least surprise, in bits, of columns without a common protein if pairs had no order.
_LEAST_BITS = 10
#: Draws without a new pair after which all pairs are looked at.
_TRIES = 50
#: Pairs that are looked at one by one at most.
_MOST = 20_000_000
Rows = npt.NDArray[np.int64]
Refused = Callable[[Rows, Rows], npt.NDArray[np.bool_]]


def draw_negatives(
    positives: tuple[Rows, Rows],
    count: int,
    *,
    known: Rows,
    parts: Rows,
    rule: str = "uniform",
    seed: int = 0,
    refused: Refused | None = None,
    sides: npt.NDArray[np.bool_] | None = None,
) -> tuple[Rows, Rows]:
    """Draw pairs.

    Parameters
    ----------
    positives
        Both proteins of the interactions ``(M,)`` of the part that negatives are for.
    count
        How many are wanted.
    known
        Codes (`codes_of`, among the N proteins) of all pairs that must not be drawn.
    parts
        A small number of each protein ``(N,)``: those of a drawn pair are two that an interaction
        has, as an unordered pair.
    rule
        Of `RULES`.
    seed
        Of the draws.
    refused
        Tells of pairs ``(M,)``, ``(M,)`` which must not be drawn either; by default none.
    sides
        Group of each protein ``(N,)``, see `two_groups`: a drawn pair has one of each.

    Returns
    -------
    tuple
        Both proteins ``(count,)``, each unordered pair once.

    Raises
    ------
    InputError
        There are fewer pairs than that.
    UsageError
        No such rule.
    """
    if rule not in RULES:
        raise UsageError(
            f"rule {rule!r} is not known",
            code="usage.unknown_value",
            hint=f"use {', '.join(RULES)}",
        )
    a, b = positives
    number, rng = len(parts), np.random.default_rng(seed)
    ends = np.concatenate([a, b])
    pool = ends if rule == "degree" else np.unique(ends)
    both = _both(pool, sides)
    rules = _Rules(parts, a, b, refused)
    taken, found = np.unique(known), list[Rows]()
    missing, tries = count, 0
    while missing and tries < _TRIES and min(map(len, both)):
        draws = max(1000, 2 * missing)
        x, y = (own[rng.integers(0, len(own), draws)] for own in both)
        fresh = rules.fresh(x, y, taken)[:missing]
        tries = 0 if len(fresh) else tries + 1
        found.append(fresh)
        taken = np.union1d(taken, fresh)
        missing -= len(fresh)
    if missing:
        found.append(_rest(_both(np.unique(ends), sides), rules, taken, missing, rng, count))
    codes = np.concatenate(found) if found else np.empty(0, np.int64)
    low, high = np.divmod(codes, number)
    return low, high


def two_groups(a: Rows, b: Rows, count: int) -> npt.NDArray[np.bool_] | None:
    """Tell of each of ``count`` proteins whether it is in the second of two groups.

    None where a protein is in both columns of the pairs, or where the pairs are too few to tell
    groups from chance: of pairs without an order, a protein of ``k`` pairs is in one column only
    with a chance of ``2 ** (1 - k)``.
    """
    left, right = np.unique(a), np.unique(b)
    bits = 2 * len(a) - len(left) - len(right)
    if bits < _LEAST_BITS or len(np.intersect1d(left, right)):
        return None
    sides = np.zeros(count, bool)
    sides[right] = True
    return sides


def _both(pool: Rows, sides: npt.NDArray[np.bool_] | None) -> tuple[Rows, Rows]:
    """Give what the first and the second protein of a pair are drawn from."""
    return (pool, pool) if sides is None else (pool[~sides[pool]], pool[sides[pool]])


class _Rules:
    """Which pairs may be drawn at all."""

    def __init__(self, parts: Rows, a: Rows, b: Rows, refused: Refused | None) -> None:
        self._parts, self._width = parts, int(parts.max(initial=0)) + 1
        self._allowed = np.unique(codes_of(parts[a], parts[b], self._width))
        self._refused = refused

    def fresh(self, x: Rows, y: Rows, taken: Rows) -> Rows:
        """Give codes that may be taken, each once, in the order in which they were drawn."""
        parts = codes_of(self._parts[x], self._parts[y], self._width)
        fits = (x != y) & np.isin(parts, self._allowed)
        x, y = x[fits], y[fits]
        codes = codes_of(x, y, len(self._parts))
        new = ~np.isin(codes, taken)
        if self._refused is not None:
            new &= ~self._refused(x, y)
        codes = codes[new]
        return codes[np.sort(np.unique(codes, return_index=True)[1])]


def _rest(
    both: tuple[Rows, Rows],
    rules: _Rules,
    taken: Rows,
    missing: int,
    rng: np.random.Generator,
    count: int,
) -> Rows:
    """Draw from all pairs that are left, where draws at random find none."""
    codes = np.empty(0, np.int64)
    one, other = both
    if len(one) * len(other) <= _MOST:
        shape = (len(one), len(other))
        x, y = np.triu_indices(len(one), 1) if one is other else np.indices(shape).reshape(2, -1)
        codes = rules.fresh(one[x], other[y], taken)
    if len(codes) < missing:
        proteins = len(np.union1d(one, other))
        raise InputError(
            f"{count:,} negatives are needed, but only {count - missing + len(codes):,} pairs of "
            f"these {proteins:,} proteins are neither listed nor were in the training",
            code="input.too_few_negatives",
            hint="ask for fewer with --ratio, or give negatives with label 0",
        )
    return rng.permutation(codes)[:missing]
