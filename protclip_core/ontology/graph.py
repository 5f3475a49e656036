"""Directed acyclic graphs as arrays: levels, closures, and values pushed along edges.

Legend: G terms, E edges, A pairs of a term and one of its ancestors. A graph is in compressed
rows: the parents of term ``t`` are ``targets[offsets[t]:offsets[t + 1]]``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from protclip_core.errors import InputError

__all__ = [
    "PushStep",
    "Rows",
    "TooDenseError",
    "as_numbers",
    "closure",
    "compress",
    "cyclic_terms",
    "depths",
    "expand",
    "push",
    "push_plan",
    "refuse_cycles",
    "transpose",
    "unique_pairs",
]

#: Offsets ``(G + 1,)`` int64 and targets ``(E,)`` int32.
Rows = tuple[np.ndarray, np.ndarray]

#: Most pairs of a closure. GO has about 1.5 million; a crafted graph could have billions.
MAX_PAIRS = 100_000_000
#: Most edges between a term and a root; GO has 17.
MAX_DEPTH = 1000


class TooDenseError(Exception):
    """A closure of more than `MAX_PAIRS` pairs."""


def compress(sources: np.ndarray, targets: np.ndarray, size: int) -> Rows:
    """Return edges as rows; the targets of a source keep their order."""
    order = np.argsort(sources, kind="stable")
    offsets = np.zeros(size + 1, dtype=np.int64)
    np.cumsum(np.bincount(sources, minlength=size), out=offsets[1:])
    return offsets, targets[order].astype(np.int32)


def transpose(rows: Rows) -> Rows:
    """Return the graph with all edges turned round."""
    offsets, targets = rows
    sources = np.repeat(np.arange(len(offsets) - 1, dtype=np.int32), np.diff(offsets))
    return compress(targets, sources, len(offsets) - 1)


def expand(rows: Rows, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the edges of some sources.

    Parameters
    ----------
    rows
        The graph.
    chosen
        Sources, ``(C,)``; may repeat.

    Returns
    -------
    places, targets : numpy.ndarray
        For each edge the place of its source in ``chosen``, and its target; in that order.
    """
    offsets, targets = rows
    counts = offsets[chosen + 1] - offsets[chosen]
    places = np.repeat(np.arange(len(chosen)), counts)
    ends = np.cumsum(counts)
    within = np.arange(len(places)) - np.repeat(ends - counts, counts)
    return places, targets[np.repeat(offsets[chosen], counts) + within]


def unique_pairs(
    sources: np.ndarray, targets: np.ndarray, width: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return each pair once, sorted by source, then target; targets are below ``width``."""
    keys = np.unique(sources.astype(np.int64) * width + targets)
    return keys // width, (keys % width).astype(np.int32)


def depths(parents: Rows) -> np.ndarray:
    """Return the number of edges on the longest way up from each term, ``(G,)`` int32.

    A term that is on a cycle, or below one, has -1.
    """
    size = len(parents[0]) - 1
    children = transpose(parents)
    waiting = np.diff(parents[0])
    result = np.full(size, -1, dtype=np.int32)
    front = np.flatnonzero(waiting == 0)
    depth = 0
    while len(front):
        result[front] = depth
        depth += 1
        below, times = np.unique(expand(children, front)[1], return_counts=True)
        waiting[below] -= times
        front = below[waiting[below] == 0]
    return result


def refuse_cycles(parents: Rows, depth: np.ndarray, ids: Sequence[str], where: str) -> None:
    """Refuse a graph in which a term is its own ancestor, or a chain is longer than any of GO.

    Parameters
    ----------
    parents, depth
        The graph, and what `depths` found.
    ids, where
        Names of the terms and of the file.

    Raises
    ------
    InputError
        Names the terms of one cycle, up to four.
    """
    if (stuck := np.flatnonzero(depth < 0)).size:
        cycle = cyclic_terms(parents, stuck)
        shown = [ids[term] for term in cycle[:4]] + ["…"] * (len(cycle) > 4) + [ids[cycle[0]]]
        raise InputError(
            f"{shown[0]} is among its own ancestors: {' -> '.join(shown)}",
            code="input.cyclic_terms",
            where=where,
            hint="remove one of these edges, or fetch the file again",
        )
    if depth.size and depth.max() > MAX_DEPTH:
        raise InputError(
            f"{ids[int(depth.argmax())]} has {depth.max():,} terms above it in one line",
            code="input.too_large",
            where=where,
            hint="this is not a release of GO; fetch the file again",
        )


def cyclic_terms(parents: Rows, stuck: np.ndarray) -> list[int]:
    """Return the terms of one cycle, child first.

    Parameters
    ----------
    parents
        The graph.
    stuck
        All terms on or below a cycle; not empty.
    """
    offsets, targets = parents
    among = set(stuck.tolist())
    way: dict[int, int] = {}
    term = int(stuck[0])
    # Each stuck term has a stuck parent, so going up must come round.
    while term not in way:
        way[term] = len(way)
        above = targets[offsets[term] : offsets[term + 1]].tolist()
        term = next(parent for parent in above if parent in among)
    return list(way)[way[term] :]


def closure(parents: Rows, depth: np.ndarray) -> Rows:
    """Return all ancestors of each term, itself not among them, sorted.

    Parameters
    ----------
    parents
        A graph without cycles.
    depth
        Of each term, from `depths`.

    Raises
    ------
    TooDenseError
        More than `MAX_PAIRS` pairs.
    """
    size = len(depth)
    counts = np.zeros(size, dtype=np.int64)
    starts = np.zeros(size, dtype=np.int64)
    pieces: list[np.ndarray] = []
    total = 0
    for terms in _by_depth(depth):
        places, above = expand(parents, terms)
        # Ancestors of a level are in the pieces of the levels above, of which the last is joined.
        known = np.concatenate(pieces) if pieces else np.zeros(0, dtype=np.int32)
        pieces = [known]
        if total + int(counts[above].sum()) > MAX_PAIRS:
            raise TooDenseError
        further = np.repeat(places, counts[above])
        within = np.arange(len(further)) - np.repeat(
            np.cumsum(counts[above]) - counts[above], counts[above]
        )
        higher = known[np.repeat(starts[above], counts[above]) + within]
        sources, targets = unique_pairs(
            np.concatenate([places, further]), np.concatenate([above, higher]), size
        )
        counts[terms] = np.bincount(sources, minlength=len(terms))
        starts[terms] = total + np.cumsum(counts[terms]) - counts[terms]
        pieces.append(targets)
        total += len(targets)
    known = np.concatenate(pieces) if pieces else np.zeros(0, dtype=np.int32)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    within = np.arange(total) - np.repeat(offsets[:-1], counts)
    return offsets, known[np.repeat(starts, counts) + within]


@dataclass(frozen=True)
class PushStep:
    """One level of a push: each taker takes from its givers.

    Attributes
    ----------
    takers
        Terms, each once, ``(T,)``.
    givers
        The terms that they take from, taker by taker, ``(E,)``.
    starts
        Place in ``givers`` where those of each taker begin, ``(T,)``.
    rounds
        Pairs of places in ``givers``: after the value at each right place has gone into the
        left one, round by round, the value of a taker stands at its start. ``ufunc.reduceat``
        does the same in twice the time.
    """

    takers: np.ndarray
    givers: np.ndarray
    starts: np.ndarray
    rounds: tuple[tuple[np.ndarray, np.ndarray], ...]


def push_plan(rows: Rows, order: np.ndarray) -> list[PushStep]:
    """Plan a push of values along edges, each edge once, level by level.

    Parameters
    ----------
    rows
        For each term those that it takes values from.
    order
        A level of each term, ``(G,)``; what a term takes from has a lower one.
    """
    plan = []
    sizes = np.diff(rows[0])
    for terms in _by_depth(order):
        takers = terms[sizes[terms] > 0]
        if len(takers):
            givers = expand(rows, takers)[1]
            starts = np.cumsum(sizes[takers]) - sizes[takers]
            plan.append(PushStep(takers, givers, starts, _rounds(starts, sizes[takers])))
    return plan


def push(values: np.ndarray, plan: list[PushStep], best: np.ufunc) -> None:
    """Push values along the edges of a plan, in place.

    Parameters
    ----------
    values
        Shape ``(G, C)``, terms as rows so that each lies in one piece.
    plan
        From `push_plan`.
    best
        ``numpy.maximum`` or ``numpy.minimum``.
    """
    for step in plan:
        given = values.take(step.givers, axis=0)
        for left, right in step.rounds:
            given[left] = best(given.take(left, axis=0), given.take(right, axis=0))
        own = values.take(step.takers, axis=0)
        values[step.takers] = best(own, given.take(step.starts, axis=0))


def as_numbers(terms: npt.ArrayLike) -> np.ndarray:
    """Return numbers of terms as an array of int64, ``(C,)``; one number makes one."""
    return np.atleast_1d(np.asarray(terms, dtype=np.int64))


def _rounds(starts: np.ndarray, sizes: np.ndarray) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    """Pair the places of each segment as a knock-out tournament does."""
    size = np.repeat(sizes, sizes)
    place = np.arange(len(size)) - np.repeat(starts, sizes)
    found = []
    step = 1
    while len(left := np.flatnonzero((place % (2 * step) == 0) & (place + step < size))):
        found.append((left, left + step))
        step *= 2
    return tuple(found)


def _by_depth(depth: np.ndarray) -> list[np.ndarray]:
    """Return the terms of each depth, lowest first."""
    order = np.argsort(depth, kind="stable")
    cuts = np.flatnonzero(np.diff(depth[order])) + 1
    return np.split(order, cuts) if len(order) else []
