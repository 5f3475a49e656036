"""How well it is known that a protein has a term, from annotations with evidence codes.

Legend: T terms asked for.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from protclip_core.errors import InputError, ModelError
from protclip_core.io.streams import open_input
from protclip_core.ontology.evidence import EVIDENCE_GROUPS, KNOWN_EVIDENCE
from train.data.go_terms import GoTerms

__all__ = ["Evidence"]

#: Weight of a code by its group; the groups overlap, the first counts.
_WEIGHTS = {
    "experimental": 1.0,
    "cafa": 0.8,
    "phylogenetic": 0.5,
    "computational": 0.4,
    "electronic": 0.2,
    "statement": 0.2,
}
#: Of a term that a protein with annotations has from elsewhere.
_ELSEWHERE = 0.2
_COLUMNS = ("accession", "go_id", "evidence", "qualifier")


class Evidence:
    """Weights of the terms of proteins.

    Parameters
    ----------
    path
        Table with ``accession``, ``go_id``, ``evidence`` and ``qualifier``; lines that begin with
        ``#`` are passed over.
    terms
        The table of GO; annotations with other ids are left out.

    Raises
    ------
    ModelError
        No such file.
    InputError
        A column is missing, a line is cut, or an evidence code is not known.
    """

    def __init__(self, path: str | Path, terms: GoTerms) -> None:
        self._terms = terms
        #: Of each protein, number of the term to weight; 0 says NOT.
        self._own: dict[str, dict[int, float]] = {}
        self.annotations = 0
        self._read(Path(path))
        self._weights = lru_cache(maxsize=4_096)(self._propagated)

    def weights(self, accession: str, terms: Sequence[int]) -> np.ndarray:
        """Return the weight of each term of a protein, ``(T,)`` float64.

        1 for an experiment down to 0.2 for a computer's guess, a term's best and that of its
        descendants; 0 for what it is known not to have, and what would follow from that. All 1
        for a protein without annotations.
        """
        own = self._weights(accession)
        if own is None:
            return np.ones(len(terms))
        found, denied = own
        told = [
            0.0 if self._terms.ancestors(term) & denied else found.get(term, _ELSEWHERE)
            for term in terms
        ]
        return np.array(told, dtype=np.float64)

    def _propagated(self, accession: str) -> tuple[dict[int, float], frozenset[int]] | None:
        own = self._own.get(accession)
        if own is None:
            return None
        found: dict[int, float] = {}
        for term, weight in own.items():
            for above in self._terms.ancestors(term) if weight else ():
                found[above] = max(weight, found.get(above, 0.0))
        return found, frozenset(term for term, weight in own.items() if not weight)

    def _read(self, path: Path) -> None:
        if not path.is_file():
            raise ModelError(
                "no such file",
                code="model.not_found",
                where=str(path),
                hint="give a table of annotations",
            )
        weights = {"ND": 0.0, "NR": _ELSEWHERE} | {
            code: next(w for group, w in _WEIGHTS.items() if code in EVIDENCE_GROUPS[group])
            for code in KNOWN_EVIDENCE - {"ND", "NR"}
        }
        with open_input(path) as reader:
            text = reader.read().decode("utf-8", "replace")
        lines = text.split("\n")
        first = next((n for n, line in enumerate(lines) if not line.startswith("#")), 0)
        rows = csv.DictReader(lines[first:], delimiter="\t", quoting=csv.QUOTE_NONE)
        missing = [name for name in _COLUMNS if name not in (rows.fieldnames or ())]
        if missing:
            raise InputError(
                f"does not have a column {missing[0]!r}",
                code="input.missing_column",
                where=str(path),
                hint=f"give {', '.join(_COLUMNS)}",
            )
        for number, row in enumerate(rows, start=first + 2):
            term = self._terms.index.get(row["go_id"] or "")
            weight = weights.get(row["evidence"] or "")
            if weight is None or row["qualifier"] is None:
                raise InputError(
                    f"{row['evidence']!r} is not a known evidence code, or the line is cut",
                    code="input.bad_line",
                    where=f"{path}:line {number}",
                )
            if term is None or row["evidence"] == "ND":
                continue
            own = self._own.setdefault(row["accession"], {})
            denied = "NOT" in row["qualifier"].upper().split("|")
            self.annotations += 1
            # What is denied once is not said, whoever else claims it.
            own[term] = 0.0 if denied or own.get(term) == 0 else max(weight, own.get(term, 0.0))
