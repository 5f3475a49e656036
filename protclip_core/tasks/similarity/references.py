"""What similarities of vectors are compared with: a table, or annotations with GO.

Legend: N proteins, M pairs.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from protclip_core.io.pairs.table import read_pair_table, read_pairs
from protclip_core.ontology.reference import read_annotations
from protclip_core.ontology.semantic import SemanticSimilarity, terms_of_aspect
from protclip_core.records import printable
from protclip_core.tasks.similarity.vectors import Proteins
from protclip_core.terms.releases import read_go

__all__ = ["FEWEST", "EvaluateReport", "GoReference", "Reference", "TableReference"]

_log = logging.getLogger(__name__)

#: Fewer pairs say nothing.
FEWEST = 10
_SHOWN = 5

Rows = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]


@dataclass(kw_only=True)
class EvaluateReport:
    """What could not be compared.

    Attributes
    ----------
    num_failures
        Listed pairs left out, and records without a vector.
    first_failures
        The first five, as lines.
    """

    num_failures: int = 0
    first_failures: tuple[str, ...] = ()

    def add(self, line: str, count: int = 1) -> None:
        """Count something that was left out."""
        self.num_failures += count
        if len(self.first_failures) < _SHOWN:
            self.first_failures += (line,)


class Reference(Protocol):
    """What similarities of vectors are compared with.

    Attributes
    ----------
    name
        Of the file, for messages.
    """

    name: str

    def pairs(
        self, proteins: Proteins, usable: npt.NDArray[np.bool_], report: EvaluateReport
    ) -> Iterator[tuple[str, str, Rows, Doubles]]:
        """Give name, aspect, rows ``(M, 2)`` and values ``(M,)`` of each reference.

        Parameters
        ----------
        proteins
            Among which pairs are looked for.
        usable
            Which of them have vectors, ``(N,)``.
        report
            Is told what is left out.
        """


class TableReference:
    """Columns of numbers of a table of pairs; errors are those of `read_pair_table`."""

    def __init__(self, path: str) -> None:
        self._table = read_pair_table(path)
        self.name = self._table.name

    def pairs(
        self, proteins: Proteins, usable: npt.NDArray[np.bool_], report: EvaluateReport
    ) -> Iterator[tuple[str, str, Rows, Doubles]]:
        """See `Reference`."""
        rows, kept = _find_pairs(self._table.pairs, proteins, usable, report)
        for name, column in self._table.columns.items():
            values = column[kept]
            known = np.isfinite(values)
            if known.sum() >= FEWEST:
                yield name, "", rows[known], values[known]


class GoReference:
    """Similarities by annotations, aspect by aspect.

    Parameters
    ----------
    annotations, go
        A GAF, or a table of proteins and terms; and the release of GO. Information contents are
        those of all proteins of the file.
    evidence, measure, pairs, sample, seed
        See `protclip_core.tasks.similarity.evaluate.EvaluateRequest`.

    Raises
    ------
    InputError
        As `read_go`, `read_annotations` and `read_pairs`.
    UsageError
        An unknown measure or evidence code.
    """

    def __init__(
        self,
        annotations: str,
        go: str,
        *,
        evidence: Sequence[str] | None,
        measure: str,
        pairs: str | None,
        sample: int,
        seed: int,
    ) -> None:
        self.name, self._sample, self._seed = annotations, sample, seed
        self._ontology = read_go(go, definitions=False)
        self._annotations = read_annotations(annotations, self._ontology, evidence=evidence)
        content = self._annotations.information_content(self._ontology)
        self._measure = SemanticSimilarity(self._ontology, content, measure)
        self._listed = None
        if pairs is not None:
            known = set(self._annotations.protein_ids)
            listed = read_pairs(pairs, known.__contains__)
            self._listed = [(pair.protein_a, pair.protein_b) for pair in listed]

    def pairs(
        self, proteins: Proteins, usable: npt.NDArray[np.bool_], report: EvaluateReport
    ) -> Iterator[tuple[str, str, Rows, Doubles]]:
        """See `Reference`."""
        place = np.full(len(proteins), -1)
        for number, id in enumerate(self._annotations.protein_ids):
            row = proteins.find(id)
            if isinstance(row, int) and place[row] < 0:
                place[row] = number
        listed = None
        if self._listed is not None:
            listed, _ = _find_pairs(self._listed, proteins, usable, report)
        for number, aspect in enumerate(self._ontology.aspect_names):
            part = terms_of_aspect(self._annotations, self._ontology, number)
            carries = (place >= 0) & usable
            carries[carries] = np.diff(part.offsets)[place[carries]] > 0
            if listed is None:
                rows = self._drawn(np.flatnonzero(carries))
            else:
                rows = listed[carries[listed].all(axis=1)]
            if len(rows) >= FEWEST:
                values = self._measure.proteins(part, place[rows])
                yield f"{self._measure.measure} best-match average", aspect, rows, values

    def _drawn(self, rows: Rows) -> Rows:
        """Return all pairs of some of these proteins, ``(M, 2)``."""
        rng = np.random.default_rng(self._seed)
        if len(rows) > self._sample:
            rows = np.sort(rng.choice(rows, self._sample, replace=False))
        one, other = np.triu_indices(len(rows), 1)
        return np.stack([rows[one], rows[other]], axis=1).astype(np.int64)


def _find_pairs(
    pairs: list[tuple[str, str]],
    proteins: Proteins,
    usable: npt.NDArray[np.bool_],
    report: EvaluateReport,
) -> tuple[Rows, Rows]:
    """Return the rows ``(M, 2)`` of the pairs that can be compared, and their places."""
    known: dict[str, int | str] = {}
    rows, kept = [], []
    for number, pair in enumerate(pairs):
        found = []
        for name in pair:
            if name not in known:
                known[name] = proteins.find(name)
            row = known[name]
            if isinstance(row, int) and not usable[row]:
                row = f"the vector of {printable(name)} is zero or not finite"
            found.append(row)
        fault = next((one for one in found if isinstance(one, str)), "")
        if not fault and found[0] != found[1]:
            rows.append(found)
            kept.append(number)
        else:
            shown = " ".join(printable(name) for name in pair)
            report.add(f"pair {shown}: {fault or 'is one protein twice'}")
    if len(rows) < len(pairs):
        _log.warning(
            "%s of %s listed pairs cannot be compared",
            f"{len(pairs) - len(rows):,}",
            f"{len(pairs):,}",
        )
    return np.array(rows, np.int64).reshape(-1, 2), np.array(kept, np.int64)
