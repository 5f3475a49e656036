"""From what a file says of its terms to an `Ontology`, with the checks that need all of it."""

from __future__ import annotations

import datetime
import logging
import re
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from protclip_core.errors import InputError
from protclip_core.ontology import graph
from protclip_core.ontology.ontology import Ontology
from protclip_core.ontology.terms import ASPECTS, RELATIONS, Obsolete

__all__ = ["Edges", "TermList", "assemble", "go_id", "go_number", "release_date"]

_log = logging.getLogger(__name__)

GO_ID = re.compile(r"GO:[0-9]{7}")
_DATE = re.compile(r"(?<!\d)(\d{4})-(\d{2})-(\d{2})(?!\d)")


@dataclass
class Edges:
    """Edges as a file has them: number of the child's id, of the parent's id, kind, line."""

    children: array[int] = field(default_factory=lambda: array("i"))
    parents: array[int] = field(default_factory=lambda: array("i"))
    kinds: array[int] = field(default_factory=lambda: array("b"))
    lines: array[int] = field(default_factory=lambda: array("i"))

    def __len__(self) -> int:
        return len(self.children)

    def add(self, child: int, parent: int, kind: int, line: int) -> None:
        """Add one edge; ids by their numbers."""
        self.children.append(child)
        self.parents.append(parent)
        self.kinds.append(kind)
        self.lines.append(line)


@dataclass
class TermList:
    """Terms as a file has them, in its order.

    Attributes
    ----------
    ids, names, definitions, aspects
        Of active terms.
    edges
        From active terms to any id.
    obsolete
        Obsolete id to what became of it.
    alternatives
        Pairs of an alternative id and the id that has it.
    subsets
        Name to ids.
    """

    ids: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    definitions: list[str] = field(default_factory=list)
    aspects: list[int] = field(default_factory=list)
    edges: Edges = field(default_factory=Edges)
    obsolete: dict[str, Obsolete] = field(default_factory=dict)
    alternatives: list[tuple[str, str]] = field(default_factory=list)
    subsets: dict[str, list[str]] = field(default_factory=dict)


def assemble(
    terms: TermList,
    name: str,
    *,
    data_version: str | None,
    drop_missing: bool = False,
) -> Ontology:
    """Make an ontology of the terms of a file.

    Parameters
    ----------
    terms
        What the file says.
    name
        Of the file.
    data_version
        Release as the file states it.
    drop_missing
        Leave out edges to terms that are missing or obsolete, with one warning, rather than
        refuse them.

    Raises
    ------
    InputError
        No active term; a parent that is missing or obsolete; a term among its own ancestors.
    """
    if not terms.ids:
        raise InputError(
            "has no active GO terms", code="input.not_go", where=name, hint="give a release of GO"
        )
    index = {id: number for number, id in enumerate(terms.ids)}
    children, parents, kinds = _placed(terms, name, drop_missing=drop_missing)
    # Parents of a term stand in the order of their numbers, so that equal graphs are equal arrays.
    order = np.lexsort((kinds, parents, children))
    offsets, above = graph.compress(children[order], parents[order], len(index))
    subsets = {
        subset: np.array(sorted({index[id] for id in ids if id in index}), dtype=np.int64)
        for subset, ids in terms.subsets.items()
    }
    alternatives, fates = _alternatives(terms, index, name)
    ontology = Ontology(
        ids=tuple(terms.ids),
        names=tuple(terms.names),
        aspects=np.array(terms.aspects, dtype=np.int8),
        parent_offsets=offsets,
        parents=above,
        parent_kinds=kinds[order],
        definitions=tuple(terms.definitions),
        alternatives=alternatives,
        obsolete={**fates, **terms.obsolete},
        subsets=subsets,
        release=release_date(data_version),
        data_version=data_version,
        source=name,
    )
    for values in (ontology.aspects, offsets, above, ontology.parent_kinds, *subsets.values()):
        values.setflags(write=False)
    _warn(ontology, name)
    return ontology


def release_date(data_version: str | None) -> str | None:
    """Find the date in a ``data-version``: ``releases/2024-01-17`` gives ``2024-01-17``.

    None where there is none that is a day of the calendar.
    """
    for match in _DATE.finditer(data_version or ""):
        try:
            return datetime.date(*map(int, match.groups())).isoformat()
        except ValueError:
            continue
    return None


def go_number(id: str | bytes) -> int:
    """Return the number in a GO id: 5524 for ``GO:0005524``."""
    return int(id[3:])


def go_id(number: int) -> str:
    """Return the GO id of a number."""
    return f"GO:{number:07d}"


def _placed(
    terms: TermList, name: str, *, drop_missing: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the edges by the numbers of their terms, each once."""
    edges = terms.edges
    known = np.array([go_number(id) for id in terms.ids], dtype=np.int32)
    children = _find(known, np.array(edges.children, dtype=np.int32))
    parents = _find(known, np.array(edges.parents, dtype=np.int32))
    kinds = np.array(edges.kinds, dtype=np.int8)
    bad = np.flatnonzero(parents < 0)
    if len(bad):
        first = int(bad[0])
        parent = go_id(edges.parents[first])
        is_obsolete = parent in terms.obsolete
        what = "is obsolete" if is_obsolete else "is not in the file"
        more = f" ({len(bad):,} such edges)" if len(bad) > 1 else ""
        if not drop_missing:
            raise InputError(
                f"its {RELATIONS[kinds[first]]} parent {parent} {what}{more}",
                code="input.missing_parent",
                where=f"{name}:line {edges.lines[first]} ({go_id(edges.children[first])})",
                hint="the file is cut or edited; fetch a whole release again",
            )
        _log.warning(
            "%s: left out: parent %s of %s %s%s",
            name,
            parent,
            go_id(edges.children[first]),
            what,
            more,
        )
    kept = parents >= 0
    triples = np.unique(np.stack([children[kept], parents[kept], kinds[kept]], axis=1), axis=0)
    return triples[:, 0], triples[:, 1], triples[:, 2].astype(np.int8)


def _find(known: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return the place of each wanted number among the known ones, -1 where it is not there."""
    order = np.argsort(known)
    near = order[np.searchsorted(known, wanted, sorter=order).clip(max=len(known) - 1)]
    return np.where(known[near] == wanted, near, -1)


def _alternatives(
    terms: TermList, index: Mapping[str, int], name: str
) -> tuple[dict[str, int], dict[str, Obsolete]]:
    """Return alternative ids with their terms, and the fate of those that no one term has."""
    owners: dict[str, list[str]] = {}
    for alternative, owner in terms.alternatives:
        claims = owners.setdefault(alternative, [])
        if owner not in claims:
            claims.append(owner)
    taken = [alternative for alternative in owners if alternative in index]
    if taken:
        _log.warning(
            "%s: %s is an alternative id and a term of its own, as which it is taken%s",
            name,
            taken[0],
            _more(taken),
        )
    single: dict[str, int] = {}
    fates: dict[str, Obsolete] = {}
    torn = []
    for alternative, claims in owners.items():
        active = [owner for owner in claims if owner in index]
        if alternative in index:
            continue
        if len(active) == 1:
            single[alternative] = index[active[0]]
        elif active:
            torn.append(alternative)
            fates[alternative] = Obsolete(consider=tuple(active))
        else:
            # What became of the obsolete term that has this id became of the id.
            fates[alternative] = Obsolete(replaced_by=tuple(claims))
    if torn:
        _log.warning(
            "%s: %s is an alternative id of several terms, so it stands for none%s",
            name,
            torn[0],
            _more(torn),
        )
    return single, fates


def _warn(ontology: Ontology, name: str) -> None:
    """Name what is odd and yet changes nothing that can be told from the file."""
    offsets, parents = ontology.parent_offsets, ontology.parents
    alone = np.setdiff1d(np.flatnonzero(np.diff(offsets) == 0), ontology.roots)
    if len(alone):
        shown = [ontology.ids[term] for term in alone]
        _log.warning(
            "%s: %s has no parent and is no root of an aspect%s", name, shown[0], _more(shown)
        )
    children = np.repeat(np.arange(len(ontology)), np.diff(offsets))
    across = np.flatnonzero(
        (ontology.aspects[children] != ontology.aspects[parents]) & (ontology.parent_kinds == 0)
    )
    if len(across):
        child, parent = int(children[across[0]]), int(parents[across[0]])
        _log.warning(
            "%s: %s (%s) is_a %s (%s), of another aspect (%d such edges)",
            name,
            ontology.ids[child],
            ASPECTS[ontology.aspects[child]],
            ontology.ids[parent],
            ASPECTS[ontology.aspects[parent]],
            len(across),
        )


def _more(shown: Sequence[str]) -> str:
    return f" (and {len(shown) - 1:,} more)" if len(shown) > 1 else ""
