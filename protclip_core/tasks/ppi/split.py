"""Split pairs into train, validation and test, by how well the test pairs' proteins are known.

``random``
    Pairs are drawn; proteins of the test are mostly known from training.
``c1``
    As random, but both proteins of each test pair are in a training pair (class C1 of Park and
    Marcotte, Nature Methods 2012).
``c2``
    Proteins are drawn; one protein of each test pair is in training pairs, the other is not.
``c3``
    Proteins are drawn; no protein of a test pair is in a training pair.
``cluster``
    As c3, with clusters of similar sequences (`protclip_core.io.clusters`) instead of proteins.
``bfs``, ``dfs``
    A neighbourhood of the graph of pairs, found from a drawn protein breadth first or depth
    first, is held out with all its pairs (Lv et al., IJCAI 2021): test proteins are near each
    other, or far apart on a path, and at least one of each test pair is unknown to training.

Shares are of the pairs; of c2, c3 and cluster they are of the proteins. There pairs between the
parts are left over (``unused``). A group of proteins, such as those of one sequence, is never torn
apart: it counts as one protein.

Legend: M pairs, N proteins, G groups.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from protclip_core.errors import InputError, UsageError
from protclip_core.heads.folds import deal
from protclip_core.io.pairs.lists import SPLITS

__all__ = ["METHODS", "SplitSettings", "split_pairs"]

METHODS = ("random", "c1", "c2", "c3", "bfs", "dfs", "cluster")
TRAIN, VALID, TEST, UNUSED = range(len(SPLITS))
Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class SplitSettings:
    """How to split.

    Attributes
    ----------
    method
        Of `METHODS`.
    valid, test
        Shares; 0 for none.
    seed
        Of what is drawn.
    """

    method: str = "c3"
    valid: float = 0.1
    test: float = 0.2
    seed: int = 0


def split_pairs(a: Rows, b: Rows, groups: Rows, settings: SplitSettings) -> Rows:
    """Split pairs.

    Parameters
    ----------
    a, b
        Numbers of the proteins of each pair ``(M,)``.
    groups
        Group of each protein ``(N,)``, from 0.
    settings
        How.

    Returns
    -------
    numpy.ndarray
        Number in `protclip_core.io.pairs.lists.SPLITS` of each pair ``(M,)``.

    Raises
    ------
    UsageError
        No such method, or shares that leave nothing for training.
    InputError
        A part of the request stays empty.
    """
    _check(settings)
    one, other = groups[a], groups[b]
    rng = np.random.default_rng(settings.seed)
    if settings.method in ("random", "c1"):
        # Pairs of the same two groups are one pair under other names: they stay together.
        first, own = _distinct(one, other)
        if settings.method == "random":
            found = _random(len(first), settings, rng)[own]
        else:
            found = _known(one[first], other[first], settings, rng)[own]
    elif settings.method in ("bfs", "dfs"):
        found = _walked(one, other, settings, rng)
    else:
        found = _by_protein(one, other, groups, settings)
    wanted = {TRAIN: 1.0, VALID: settings.valid, TEST: settings.test}
    for part, share in wanted.items():
        if share and not (found == part).any():
            raise InputError(
                f"no pair is left for {SPLITS[part]} by method {settings.method}",
                code="input.empty_part",
                hint="give more pairs, another share or another method",
            )
    return found


def _check(settings: SplitSettings) -> None:
    if settings.method not in METHODS:
        hint = f"use {', '.join(METHODS)}"
        raise UsageError(
            f"split {settings.method!r} is not known", code="usage.unknown_value", hint=hint
        )
    shares = (settings.valid, settings.test)
    if min(shares) < 0 or sum(shares) >= 1 or not sum(shares):
        raise UsageError(
            f"shares of {settings.valid:g} for validation and {settings.test:g} for test",
            code="usage.bad_value",
            hint="use shares from 0, together more than 0 and less than 1",
        )


def _distinct(one: Rows, other: Rows) -> tuple[Rows, Rows]:
    """Give the first pair of each two groups, in order, and which of them each pair is."""
    width = int(max(one.max(initial=0), other.max(initial=0))) + 1
    codes = np.minimum(one, other) * width + np.maximum(one, other)
    _, first, own = np.unique(codes, return_index=True, return_inverse=True)
    order = np.argsort(first)
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    return first[order], place[own]


def _random(count: int, settings: SplitSettings, rng: np.random.Generator) -> Rows:
    found, drawn = np.full(count, TRAIN), rng.permutation(count)
    tested, valid = round(settings.test * count), round(settings.valid * count)
    found[drawn[:tested]] = TEST
    found[drawn[tested : tested + valid]] = VALID
    return found


def _known(one: Rows, other: Rows, settings: SplitSettings, rng: np.random.Generator) -> Rows:
    """Take pairs as long as both of their groups keep another pair in training."""
    left = np.bincount(np.concatenate([one, other]), minlength=1)
    found = np.full(len(one), TRAIN)
    wanted = [(TEST, round(settings.test * len(one))), (VALID, round(settings.valid * len(one)))]
    for pair in rng.permutation(len(one)).tolist():
        while wanted and not wanted[0][1]:
            wanted.pop(0)
        if not wanted:
            break
        x, y = one[pair], other[pair]
        least = 3 if x == y else 2  # a pair of one group counts twice there
        if left[x] >= least and left[y] >= least:
            left[x] -= 1
            left[y] -= 1
            part, more = wanted[0]
            found[pair] = part
            wanted[0] = (part, more - 1)
    return found


def _walked(one: Rows, other: Rows, settings: SplitSettings, rng: np.random.Generator) -> Rows:
    found = np.full(len(one), TRAIN)
    for part, share in ((TEST, settings.test), (VALID, settings.valid)):
        if share:
            free = np.flatnonzero(found == TRAIN)
            wanted = min(round(share * len(one)), len(free))
            found[free[_walk(one[free], other[free], wanted, settings.method, rng)]] = part
    return found


def _walk(
    one: Rows, other: Rows, wanted: int, method: str, rng: np.random.Generator
) -> npt.NDArray[np.bool_]:
    """Find groups from a drawn one until enough pairs touch them; give those pairs."""
    count = int(max(one.max(initial=0), other.max(initial=0))) + 1
    ends = np.concatenate([one, other])
    order = np.argsort(ends, kind="stable")
    starts = np.searchsorted(ends[order], np.arange(count + 1))
    pairs, partners = order % len(one), np.concatenate([other, one])[order]
    held, seen = np.zeros(len(one), bool), np.zeros(count, bool)
    total = 0
    # Few partners first: a hub would bring all its pairs along at once.
    sizes = np.diff(starts)
    drawn = rng.permutation(np.flatnonzero(sizes))
    roots = iter(drawn[np.argsort(sizes[drawn] > np.median(sizes[drawn]), kind="stable")].tolist())
    waiting: list[int] = []
    while total < wanted:
        if not waiting:  # the component is used up, or nothing has begun
            waiting = [next(root for root in roots if not seen[root])]
        group = waiting.pop(0 if method == "bfs" else -1)
        if seen[group]:
            continue
        seen[group] = True
        at = slice(starts[group], starts[group + 1])
        fresh = np.unique(pairs[at][~held[pairs[at]]])
        held[fresh] = True
        total += len(fresh)
        near = np.unique(partners[at])
        waiting += rng.permutation(near[~seen[near]]).tolist()
    return held


def _by_protein(one: Rows, other: Rows, groups: Rows, settings: SplitSettings) -> Rows:
    """Deal groups to the three parts, and give each pair what its two proteins are in."""
    kept = [TRAIN] + [p for p, s in ((VALID, settings.valid), (TEST, settings.test)) if s]
    shares = {TRAIN: 1 - settings.valid - settings.test, VALID: settings.valid, TEST: settings.test}
    used = np.unique(np.concatenate([one, other]))
    sizes = np.bincount(groups, minlength=int(used.max(initial=0)) + 1)[used]
    dealt = deal(np.repeat(used, sizes), [shares[p] for p in kept], settings.seed)
    part = np.full(int(used.max(initial=0)) + 1, UNUSED)
    part[np.repeat(used, sizes)] = np.array(kept)[dealt]
    x, y = part[one], part[other]
    found = np.full(len(one), UNUSED)
    found[(x == TRAIN) & (y == TRAIN)] = TRAIN
    for held in (VALID, TEST):
        if settings.method == "c2":
            found[((x == TRAIN) & (y == held)) | ((x == held) & (y == TRAIN))] = held
        else:
            found[(x == held) & (y == held)] = held
    return found
