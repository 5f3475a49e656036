"""GO terms as training uses them: names, definitions, ancestors over is_a.

Legend: G terms of the table, roots among them.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from protclip_core.errors import InputError
from protclip_core.io.streams import open_input

__all__ = ["ASPECTS", "GoTerms"]

#: Root of each aspect: it annotates every protein and says nothing.
_ROOTS = {"GO:0003674": "MF", "GO:0008150": "BP", "GO:0005575": "CC"}
_NAMESPACES = {"molecular_function": 0, "biological_process": 1, "cellular_component": 2}
#: Short names of the aspects; a term's ``aspect`` is the place here.
ASPECTS = ("MF", "BP", "CC")


class GoTerms:
    """Active terms of a table of GO (``id``, ``name``, ``namespace``, ``is_obsolete``, ``is_a``).

    Parameters
    ----------
    path
        Tab-separated, with a header; compressed or not. ``definition`` is optional.

    Attributes
    ----------
    ids, names, definitions
        Of each term; a definition may be empty.
    aspects
        Place in `ASPECTS`, shape ``(G,)``.
    index
        Id to number of the term.

    Raises
    ------
    InputError
        A missing column, an unknown namespace, or terms that are their own ancestors.
    """

    def __init__(self, path: str | Path) -> None:
        rows = _read(path)
        self.ids = [row["id"] for row in rows]
        self.names = [row["name"] for row in rows]
        self.definitions = [row.get("definition") or "" for row in rows]
        self.aspects = np.array([_NAMESPACES[row["namespace"]] for row in rows], dtype=np.int8)
        self.index = {id: number for number, id in enumerate(self.ids)}
        # A parent that is not in the table, or obsolete, is left out.
        self._parents = [
            [self.index[p] for p in row["is_a"].split(",") if p in self.index] for row in rows
        ]
        self._roots = {self.index[id] for id in _ROOTS if id in self.index}
        self._ancestors: dict[int, frozenset[int]] = {}
        self._check_cycles(str(path))

    def __len__(self) -> int:
        return len(self.ids)

    def ancestors(self, term: int) -> frozenset[int]:
        """Return a term with all of its ancestors; no roots."""
        if term not in self._ancestors:
            found, waiting = set(), [term]
            while waiting:
                number = waiting.pop()
                if number not in found:
                    found.add(number)
                    waiting.extend(self._parents[number])
            self._ancestors[term] = frozenset(found - self._roots)
        return self._ancestors[term]

    def numbers(self, ids: Iterable[str]) -> list[int]:
        """Return the numbers of ids; those that are not in the table are left out."""
        return [self.index[id] for id in ids if id in self.index]

    def propagate(self, terms: Iterable[int]) -> np.ndarray:
        """Return terms with their ancestors, sorted, each once, no roots; int64."""
        found: set[int] = set()
        for term in terms:
            found |= self.ancestors(term)
        return np.array(sorted(found), dtype=np.int64)

    def text(self, term: int, kind: str) -> str:
        """Return what a term says of itself: ``name``, or ``definition`` (name first)."""
        if kind == "name" or not self.definitions[term]:
            return self.names[term]
        return f"{self.names[term]}: {self.definitions[term]}"

    def propagate_scores(self, scores: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Let each term have at least the score of its descendants.

        Parameters
        ----------
        scores
            Shape ``(N, C)``.
        columns
            Terms of the columns, ``(C,)``.

        Returns
        -------
        numpy.ndarray
            Shape ``(N, C)``.
        """
        place = {int(term): column for column, term in enumerate(columns)}
        # Terms as rows, so that each lies in one piece.
        result = np.ascontiguousarray(scores.T)
        own = result.copy()
        for row, term in enumerate(columns):
            for ancestor in self.ancestors(int(term)):
                above = place.get(ancestor, row)
                if above != row:
                    np.maximum(result[above], own[row], out=result[above])
        return np.ascontiguousarray(result.T)

    def _check_cycles(self, where: str) -> None:
        waiting = np.array([len(parents) for parents in self._parents])
        children: list[list[int]] = [[] for _ in self.ids]
        for number, parents in enumerate(self._parents):
            for parent in parents:
                children[parent].append(number)
        free = np.flatnonzero(waiting == 0).tolist()
        done = 0
        while free:
            done += 1
            for child in children[free.pop()]:
                waiting[child] -= 1
                if not waiting[child]:
                    free.append(child)
        if done < len(self.ids):
            stuck = self.ids[int(np.flatnonzero(waiting)[0])]
            raise InputError(f"{stuck} is its own ancestor", code="input.cyclic_terms", where=where)


def _read(path: str | Path) -> list[dict[str, str]]:
    with open_input(Path(path)) as reader:
        text = b"".join(reader).decode("utf-8", "replace")
    rows = list(csv.DictReader(io.StringIO(text), delimiter="\t", quoting=csv.QUOTE_NONE))
    needed = ("id", "name", "namespace", "is_obsolete", "is_a")
    missing = [name for name in needed if not rows or name not in rows[0]]
    if missing:
        raise InputError(
            f"does not have a column {missing[0]!r}",
            code="input.missing_column",
            where=str(path),
            hint="give a GO table",
        )
    active = [row for row in rows if row["is_obsolete"] == "0"]
    for row in active:
        if row["namespace"] not in _NAMESPACES:
            raise InputError(
                f"{row['id']} has namespace {row['namespace']!r}",
                code="input.bad_namespace",
                where=str(path),
            )
    return active
