"""Words of GO: aspects, relations, and what may have become of an id."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from protclip_core.errors import UsageError
from protclip_core.records import printable

__all__ = [
    "ASPECTS",
    "NAMESPACES",
    "RELATIONS",
    "ROOTS",
    "Obsolete",
    "Resolutions",
    "Resolved",
    "check_relations",
]

#: Short names of the aspects; a term's ``aspect`` is the place here.
ASPECTS = ("MF", "BP", "CC")
#: Aspect of each namespace.
NAMESPACES = {"molecular_function": 0, "biological_process": 1, "cellular_component": 2}
#: Relations that annotations follow; an edge's ``kind`` is the place here.
RELATIONS = ("is_a", "part_of")
#: The root of each aspect, in the order of `ASPECTS`.
ROOTS = ("GO:0003674", "GO:0008150", "GO:0005575")

How = Literal["current", "alternative", "replaced", "obsolete", "unknown"]


@dataclass(frozen=True)
class Obsolete:
    """What became of an obsolete term: ids that replace it, and ids to consider by hand."""

    replaced_by: tuple[str, ...] = ()
    consider: tuple[str, ...] = ()


class Resolved(NamedTuple):
    """What an id stands for: a term's number or None, how it was found, ids to consider."""

    term: int | None
    how: How
    consider: tuple[str, ...] = ()


class Resolutions(NamedTuple):
    """What a list of ids stands for.

    Attributes
    ----------
    terms
        Numbers in the order of the ids, -1 where there is none; ``(C,)`` int32.
    counts
        Number of ids by ``how``.
    listed
        Each id that is not current, once, with what was found.
    """

    terms: np.ndarray
    counts: Counter[str]
    listed: dict[str, Resolved]


def check_relations(relations: Iterable[str]) -> tuple[str, ...]:
    """Return relations in the order of `RELATIONS`; refuse an unknown one, or none."""
    wanted = set(relations)
    if unknown := sorted(wanted - set(RELATIONS)):
        raise UsageError(
            f"unknown relation {printable(unknown[0])!r}",
            code="usage.unknown_value",
            hint=f"choose of {', '.join(RELATIONS)}",
        )
    if not wanted:
        raise UsageError(
            "no relation is given", code="usage.bad_value", hint=f"choose of {', '.join(RELATIONS)}"
        )
    return tuple(name for name in RELATIONS if name in wanted)
