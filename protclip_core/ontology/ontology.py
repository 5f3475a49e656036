"""The Gene Ontology in memory: terms by number, and what follows from their edges.

Legend: G active terms, E edges, N proteins, C chosen terms. A term's number is its place in
``ids``; obsolete terms have none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt

from protclip_core.errors import InputError, UsageError
from protclip_core.ontology import graph
from protclip_core.ontology.terms import (
    ASPECTS,
    RELATIONS,
    ROOTS,
    Obsolete,
    Resolutions,
    Resolved,
    check_relations,
)
from protclip_core.records import printable

__all__ = ["Ontology"]

#: Proteins that scores are pushed for at once: 64 values of 4 bytes are a few cache lines, and
#: the block of 45,000 terms takes 12 MB whatever the number of proteins.
_BLOCK = 64


@dataclass(frozen=True, eq=False)
class Ontology:
    r"""A release of GO, or another vocabulary in which terms may stand above each other.

    Parameters
    ----------
    ids, names
        Of each active term.
    aspects
        Place in ``aspect_names``, ``(G,)`` int8.
    parent_offsets, parents, parent_kinds
        Edges in compressed rows: ``(G + 1,)`` int64, ``(E,)`` int32, and the place of each edge's
        relation in `RELATIONS`, ``(E,)`` int8.
    definitions
        Of each term, empty where there is none; no entries at all where they were left out.
    alternatives
        Alternative id to the term's number.
    obsolete
        Obsolete id to what became of it.
    subsets
        Name to sorted numbers of its terms (``goslim_generic``). GO's constraints of taxa are
        there as ``only_in_taxon:2759`` and ``never_in_taxon:4751``.
    release
        Date of the release, ``2024-01-17``; None where the file states none.
    data_version
        The release as the file states it.
    relations
        Those of `RELATIONS` whose edges are there.
    source
        Name of the file, for messages.
    aspect_names
        Parts that are ranked and calibrated by themselves: `ASPECTS` for GO, one for a vocabulary.

    Raises
    ------
    InputError
        A term is among its own ancestors, or a chain has more than 1,000 terms.

    Notes
    -----
    Gene products that carry a term carry its ancestors over is_a and part_of as well (the true
    path rule of GO); part_of leads from functions into processes and components too.

    Examples
    --------
    >>> from pathlib import Path
    >>> from protclip_core import read_obo
    >>> header = "format-version: 1.2\ndata-version: releases/2024-01-17\nontology: go\n"
    >>> root = "id: GO:0003674\nname: molecular_function\nnamespace: molecular_function\n"
    >>> child = "id: GO:0005488\nname: binding\nnamespace: molecular_function\nis_a: GO:0003674\n"
    >>> _ = Path("go.obo").write_text(f"{header}\n[Term]\n{root}\n[Term]\n{child}")
    >>> ontology = read_obo("go.obo")
    >>> [ontology.names[term] for term in ontology.ancestors(1)]
    ['molecular_function']
    """

    ids: tuple[str, ...]
    names: tuple[str, ...]
    aspects: npt.NDArray[np.integer]
    parent_offsets: npt.NDArray[np.integer]
    parents: npt.NDArray[np.integer]
    parent_kinds: npt.NDArray[np.integer]
    definitions: tuple[str, ...] = ()
    alternatives: Mapping[str, int] = field(default_factory=dict)
    obsolete: Mapping[str, Obsolete] = field(default_factory=dict)
    subsets: Mapping[str, npt.NDArray[np.integer]] = field(default_factory=dict)
    release: str | None = None
    data_version: str | None = None
    relations: tuple[str, ...] = RELATIONS
    source: str = "ontology"
    aspect_names: tuple[str, ...] = ASPECTS

    def __post_init__(self) -> None:
        graph.refuse_cycles(self._up, self.depths, self.ids, self.source)

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        return (
            f"<Ontology: {len(self):,} terms, {len(self.parents):,} edges, "
            f"release {self.release or 'unknown'}>"
        )

    @property
    def is_go(self) -> bool:
        """Whether this is GO: another vocabulary has its own aspect, and no root to leave out."""
        return self.aspect_names == ASPECTS

    @cached_property
    def index(self) -> dict[str, int]:
        """Id to number, active terms only."""
        return {id: number for number, id in enumerate(self.ids)}

    @cached_property
    def depths(self) -> npt.NDArray[np.integer]:
        """Edges on the longest way up from each term, ``(G,)`` int32; 0 without parents."""
        return graph.depths(self._up)

    @cached_property
    def roots(self) -> npt.NDArray[np.integer]:
        """Numbers of the roots of the aspects, sorted; without these, all terms of no parent.

        A vocabulary other than GO has none: what stands highest there says something.
        """
        if not self.is_go:
            return np.zeros(0, dtype=np.int64)
        named = sorted(self.index[id] for id in ROOTS if id in self.index)
        return np.array(named if named else np.flatnonzero(self.depths == 0), dtype=np.int64)

    @cached_property
    def closure(self) -> graph.Rows:
        """Offsets and sorted ancestors of all terms, a term itself not among them.

        Raises
        ------
        InputError
            More than 100 million pairs, which no release of GO comes near.
        """
        try:
            return graph.closure(self._up, self.depths)
        except graph.TooDenseError:
            raise InputError(
                f"has more than {graph.MAX_PAIRS:,} pairs of term and ancestor",
                code="input.too_large",
                where=self.source,
                hint="this is not a release of GO; fetch the file again",
            ) from None

    def numbers(self, ids: Iterable[str]) -> list[int]:
        """Return the numbers of ids of active terms; other ids are left out, see `resolve_all`."""
        return [self.index[id] for id in ids if id in self.index]

    def text(self, term: int, kind: str = "definition") -> str:
        """Return what a term says of itself: its ``name``, or name and ``definition``."""
        if kind == "name" or not self.definitions or not self.definitions[term]:
            return self.names[term]
        return f"{self.names[term]}: {self.definitions[term]}"

    def ancestors(self, term: int) -> npt.NDArray[np.integer]:
        """Return all ancestors of a term, itself not among them; sorted, int32."""
        offsets, targets = self.closure
        return targets[offsets[term] : offsets[term + 1]]

    def descendants(self, term: int) -> npt.NDArray[np.integer]:
        """Return all terms that have this one as an ancestor; sorted, int32."""
        offsets, targets = self._below
        return targets[offsets[term] : offsets[term + 1]]

    def propagate(self, terms: npt.ArrayLike, *, roots: bool = True) -> npt.NDArray[np.integer]:
        """Return terms with all of their ancestors, each once.

        Parameters
        ----------
        terms
            Numbers, in any order; may repeat or be none.
        roots
            Keep the roots of the aspects, which say nothing of a protein.

        Returns
        -------
        numpy.ndarray
            Sorted, int64.
        """
        own = graph.as_numbers(terms)
        found = np.union1d(own, graph.expand(self.closure, own)[1]).astype(np.int64)
        return found if roots else found[~np.isin(found, self.roots)]

    def most_specific(self, terms: npt.ArrayLike) -> npt.NDArray[np.integer]:
        """Return the terms that are not ancestors of another of them; sorted, each once, int64."""
        own = np.unique(graph.as_numbers(terms))
        return own[~np.isin(own, graph.expand(self.closure, own)[1])]

    def propagate_scores(
        self,
        scores: npt.NDArray[np.floating],
        columns: npt.ArrayLike | None = None,
        *,
        mode: Literal["max", "min"] = "max",
        out: npt.NDArray[np.floating] | None = None,
    ) -> npt.NDArray[np.floating]:
        """Change scores so that no term scores above one of its ancestors.

        Parameters
        ----------
        scores
            Shape ``(N, G)``, or ``(N, C)`` with ``columns``; taken as float32.
        columns
            Terms of the columns, each once; others on the way between two of them are bridged.
        mode
            ``max`` lifts each term to the highest score among its descendants; ``min`` lowers
            each to the lowest among its ancestors.
        out
            Float32 array for the result; may be ``scores`` itself.

        Returns
        -------
        numpy.ndarray
            Shape of ``scores``, float32. Beyond it some tens of MB are used for any N.

        Raises
        ------
        InputError
            A score is NaN; names its row from 1.
        UsageError
            An unknown mode, or shapes that do not fit.
        """
        if mode not in ("max", "min"):
            raise UsageError(
                f"mode must be 'max' or 'min', got {mode!r}", code="usage.unknown_value"
            )
        chosen = None if columns is None else graph.as_numbers(columns)
        width = len(self) if chosen is None else len(np.unique(chosen))
        if scores.ndim != 2 or scores.shape[1] != width:
            raise UsageError(
                f"scores of shape {scores.shape} do not fit {width:,} terms",
                code="usage.shape_mismatch",
            )
        result = np.empty(scores.shape, dtype=np.float32) if out is None else out
        if result.shape != scores.shape or result.dtype != np.float32:
            raise UsageError(
                f"out must be float32 of shape {scores.shape}", code="usage.shape_mismatch"
            )
        best, plan = (np.maximum, self._upward) if mode == "max" else (np.minimum, self._downward)
        nothing = -np.inf if mode == "max" else np.inf
        for start in range(0, len(scores), _BLOCK):
            part = np.ascontiguousarray(scores[start : start + _BLOCK].T, dtype=np.float32)
            # NaN is the one value that neither maximum nor minimum passes over.
            if (bad := np.isnan(part.max(axis=0, initial=-np.inf))).any():
                row = start + int(np.flatnonzero(bad)[0]) + 1
                raise InputError("a score is NaN", code="input.not_finite", where=f"row {row}")
            if chosen is None:
                graph.push(part, plan, best)
            else:
                whole = np.full((len(self), part.shape[1]), nothing, dtype=np.float32)
                whole[chosen] = part
                graph.push(whole, plan, best)
                part = whole[chosen]
            result[start : start + _BLOCK] = part.T
        return result

    def resolve(self, id: str) -> Resolved:
        """Find the active term that an id stands for.

        Returns
        -------
        Resolved
            ``current``: an active term. ``alternative``: an ``alt_id`` of one. ``replaced``: an
            obsolete term whose one ``replaced_by`` leads to one, over any number of steps.
            ``obsolete``: an obsolete term that nothing replaces, with the ids to consider.
            ``unknown``: no id of this release. The term is None for the last two.
        """
        if (term := self.index.get(id)) is not None:
            return Resolved(term, "current")
        if (term := self.alternatives.get(id)) is not None:
            return Resolved(term, "alternative")
        if id not in self.obsolete:
            return Resolved(None, "unknown")
        met, here = {id}, id
        while here in self.obsolete and len(self.obsolete[here].replaced_by) == 1:
            here = self.obsolete[here].replaced_by[0]
            if here in met:
                break
            met.add(here)
            if (term := self.index.get(here, self.alternatives.get(here))) is not None:
                return Resolved(term, "replaced")
        fate = self.obsolete[id]
        return Resolved(None, "obsolete", tuple(dict.fromkeys(fate.replaced_by + fate.consider)))

    def resolve_all(self, ids: Iterable[str]) -> Resolutions:
        """Resolve each of some ids, see `resolve`; none is left out."""
        found: dict[str, Resolved] = {}
        counts: Counter[str] = Counter()
        terms = []
        for id in ids:
            if id not in found:
                found[id] = self.resolve(id)
            counts[found[id].how] += 1
            terms.append(-1 if found[id].term is None else found[id].term)
        listed = {id: one for id, one in found.items() if one.how != "current"}
        return Resolutions(np.array(terms, dtype=np.int32), counts, listed)

    def subset(self, name: str) -> npt.NDArray[np.integer]:
        """Return the numbers of the terms of a subset, sorted.

        Raises
        ------
        UsageError
            No such subset; names those that there are.
        """
        if name not in self.subsets:
            named = sorted(one for one in self.subsets if "_in_taxon:" not in one)
            known = ", ".join(named[:10]) or "none"
            raise UsageError(
                f"no subset {printable(name)!r}",
                code="usage.unknown_value",
                where=self.source,
                hint=f"it has: {known}",
            )
        return self.subsets[name]

    def with_relations(self, relations: Iterable[str]) -> Ontology:
        """Return the same terms with the edges of some relations only.

        Parameters
        ----------
        relations
            Of `RELATIONS`; those that this ontology lacks stay absent.

        Raises
        ------
        UsageError
            An unknown relation, or none.
        """
        wanted = check_relations(relations)
        kept = np.isin(self.parent_kinds, [RELATIONS.index(name) for name in wanted])
        children = np.repeat(np.arange(len(self)), np.diff(self.parent_offsets))[kept]
        offsets, parents = graph.compress(children, self.parents[kept], len(self))
        return replace(
            self,
            parent_offsets=offsets,
            parents=parents,
            parent_kinds=self.parent_kinds[kept],
            relations=tuple(name for name in self.relations if name in wanted),
        )

    @property
    def _up(self) -> graph.Rows:
        return self.parent_offsets, self.parents

    @cached_property
    def _below(self) -> graph.Rows:
        return graph.transpose(self.closure)

    @cached_property
    def _upward(self) -> list[graph.PushStep]:
        """Plan by which terms take from their children, the deepest first."""
        return graph.push_plan(graph.transpose(self._up), -self.depths)

    @cached_property
    def _downward(self) -> list[graph.PushStep]:
        """Plan by which terms take from their parents, the highest first."""
        return graph.push_plan(self._up, self.depths)
