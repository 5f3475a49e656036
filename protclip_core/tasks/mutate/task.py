"""Score protein variants: every row of the input is answered, in its order.

Rows are grouped by protein, so that positions shared by variants are computed once. All rows are
held in memory.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field

import numpy as np

from protclip_core.engines.local import LocalEngine
from protclip_core.engines.masked import MaskedEngine
from protclip_core.errors import InputError
from protclip_core.models.info import describe_model
from protclip_core.models.loading import load_model
from protclip_core.models.masked import MaskedReader
from protclip_core.models.protein import ProteinModel
from protclip_core.progress import Progress, SilentProgress
from protclip_core.tasks.mutate.ensemble import Combined, combine
from protclip_core.tasks.mutate.input import AskedRow, Proteins, match_rows, scan_rows
from protclip_core.tasks.mutate.job import MutateReport, ScoredRow, check_request
from protclip_core.tasks.mutate.request import MutateRequest
from protclip_core.tasks.mutate.scores import (
    MarginalScorer,
    Method,
    Percentile,
    ProteinAsked,
    ProteinScores,
)
from protclip_core.tasks.mutate.shift import ShiftScorer
from protclip_core.variants import Variant
from protclip_core.variants.substitution_prior import resolve_prior

__all__ = ["Mutation"]

_log = logging.getLogger(__name__)

#: Passes from which on the cost is told before they are made.
_TOLD_PASSES = 50
_SHOWN_REASONS = 5


@dataclass
class _Answer:
    """What the models say of one protein."""

    index: dict[Variant, int]
    scores: list[ProteinScores] = field(default_factory=list)
    toward: np.ndarray | None = None
    windowed: bool = False
    combined: Combined | None = None


class Mutation:
    r"""Variants that are ready to be scored.

    Parameters
    ----------
    request
        What to do.

    Attributes
    ----------
    rows
        What is asked, in input order.
    proteins
        The proteins of the FASTA files.
    models
        Names of the models, distinct.
    report
        Complete when `scored` has ended.
    scans
        After a scan: id to the scores of all single substitutions ``(L, 20)``, NaN for the wild
        type and for what was not computed.

    Raises
    ------
    UsageError
        Options that contradict each other.
    InputError
        Files that cannot be used; with ``on_error="fail"`` the first rows that are not scored.
    ModelError
        No such model.

    Examples
    --------
    >>> from pathlib import Path
    >>> from protclip_core import MutateRequest, Mutation
    >>> _ = Path("wild.fasta").write_text(">p\nMKTAYIAKQR\n")
    >>> _ = Path("variants.tsv").write_text("protein_id\tvariant\np\tK2A\np\tY5F\n")
    >>> request = MutateRequest(inputs=("wild.fasta",), variants="variants.tsv")
    >>> mutation = Mutation(request)
    >>> len(list(mutation.scored()))
    2
    """

    def __init__(self, request: MutateRequest) -> None:
        check_request(request)
        self.request = request
        self.infos = [describe_model(model) for model in request.models]
        self.models = _distinct([info.name for info in self.infos])
        self.proteins = Proteins(request.inputs)
        if request.scan:
            self.rows = list(scan_rows(self.proteins, request.region, request.offset))
        else:
            assert request.variants is not None
            self.rows = match_rows(
                request.variants,
                self.proteins,
                offset=request.offset,
                variant_column=request.variant_column,
                protein_column=request.protein_column,
            )
        self.report = MutateReport()
        self.scans: dict[str, np.ndarray] = {}
        self._prior = False
        self._refuse_early()

    @property
    def is_strict(self) -> bool:
        """Whether a row that cannot be scored is an error."""
        return self.request.on_error == "fail"

    @property
    def prior_words(self) -> str:
        """Say that the prior was added, for titles; empty where it was not, or not yet."""
        return " + prior (BLOSUM62, hydropathy)" if self._prior else ""

    def scored(
        self, progress: Progress | None = None, tell: Callable[[str], None] | None = None
    ) -> Iterator[ScoredRow]:
        """Score, and give all rows in input order; once.

        Parameters
        ----------
        progress
            Receives forward passes.
        tell
            Receives one line on the cost before a long computation.

        Raises
        ------
        ModelError, UsageError, ResourceError
            The model cannot be loaded, does not offer the method, or memory ends.
        InputError
            With ``on_error="fail"``, the rows that the method does not score.
        """
        asked = self._grouped()
        answers = {
            protein.sequence: _Answer({v: i for i, v in enumerate(protein.variants)})
            for protein in asked
        }
        for info in self.infos if asked else ():
            model = load_model(info, device=self.request.device)
            self._run(model, asked, answers, progress or SilentProgress(), tell)
            del model  # before the next one takes its memory
        for answer in answers.values():
            answer.combined = combine(answer.scores)
        if self.request.scan:
            for id, sequence in self.proteins.sequences.items():
                combined = answers[sequence].combined if sequence in answers else None
                if combined is not None and combined.singles is not None:
                    self.scans[id] = combined.singles
        rows = [self._answered(row, answers) for row in self.rows]
        self._refuse(rows)
        yield from rows

    def _refuse_early(self) -> None:
        """With ``on_error="fail"``, refuse what is wrong with the rows before a model is loaded."""
        if self.is_strict and any(not row.is_scorable for row in self.rows):
            self._refuse(
                [
                    ScoredRow(
                        row.protein_id,
                        row.text,
                        score=0.0 if row.is_scorable else None,
                        reason=row.reason,
                    )
                    for row in self.rows
                ]
            )

    def _grouped(self) -> list[ProteinAsked]:
        """Distinct variants of each sequence, longest sequence first."""
        by_sequence: dict[str, dict[Variant, None]] = {}
        for row in self.rows:
            if row.is_scorable and row.variant is not None and row.sequence is not None:
                by_sequence.setdefault(row.sequence, {})[row.variant] = None
        whole = self.request.scan and self.request.region is None
        reference = Percentile(self.request.percentile)
        if whole and reference is Percentile.AUTO:
            reference = Percentile.SCAN  # it is computed anyway
        return [
            ProteinAsked(sequence, tuple(by_sequence[sequence]), self.request.offset, reference)
            for sequence in sorted(by_sequence, key=lambda s: (-len(s), s))
        ]

    def _run(
        self,
        model: ProteinModel,
        asked: list[ProteinAsked],
        answers: dict[str, _Answer],
        progress: Progress,
        tell: Callable[[str], None] | None,
    ) -> None:
        """Score all proteins with one model."""
        with ExitStack() as stack:
            if self.request.method == Method.SHIFT:
                local = stack.enter_context(LocalEngine(model, workers=self.request.workers))
                shift = ShiftScorer(model, local, self.request.toward)
                progress.start("embedding", sum(map(shift.num_passes, asked)), "proteins")
                for one in asked:
                    answer = answers[one.sequence]
                    scores, answer.toward = shift.score(one, progress.advance)
                    answer.scores.append(scores)
                progress.finish()
                return
            reader = MaskedReader(model)
            engine = stack.enter_context(MaskedEngine(reader, workers=self.request.workers))
            scorer = MarginalScorer(
                engine, Method(self.request.method), prior=self._adds_prior(model)
            )
            passes = [scorer.num_passes(one) for one in asked]
            if tell is not None and sum(passes) >= _TOLD_PASSES:
                tell(_cost(model.info.name, engine, asked, passes))
            progress.start(f"{model.info.name}: scoring", sum(passes), "passes")
            for one in asked:
                answer = answers[one.sequence]
                answer.scores.append(scorer.score(one, progress.advance))
                answer.windowed |= reader.is_windowed(one.sequence)
            progress.finish()

    def _adds_prior(self, model: ProteinModel) -> bool:
        """Whether the prior is added; said where it is done unasked."""
        asked = self.request.prior
        added = resolve_prior(asked, model.info.architecture)
        if added and asked == "auto":
            _log.warning(
                "%s knows little of mutations: a prior of BLOSUM62 and hydropathy is added "
                "(--prior none leaves it out)",
                model.info.name,
            )
        self._prior |= added
        return added

    def _answered(self, row: AskedRow, answers: dict[str, _Answer]) -> ScoredRow:
        """Put the scores of a row together."""
        done = ScoredRow(row.protein_id, row.text, flags=row.flags, reason=row.reason)
        done.by_model = (None,) * len(self.infos)
        done.original = row.sequence
        if not row.is_scorable or row.sequence is None or row.variant is None:
            return done
        answer = answers[row.sequence]
        index, found = answer.index[row.variant], answer.combined
        assert found is not None
        done.mutated = row.variant.apply(row.sequence, self.request.offset)
        if index in found.reasons:
            done.reason = found.reasons[index]
            return done
        done.score = float(found.score[index])
        done.by_model = tuple(found.by_model[index].tolist())
        done.percentile = _number(found.percentile[index])
        done.toward = None if answer.toward is None else _number(answer.toward[index])
        done.reason = row.note
        if answer.windowed:
            done.flags += ("windowed",)
        if self._prior and row.variant.substitutions:
            done.flags += ("prior",)
        if found.by_wild_type and done.percentile is not None:
            done.flags += ("wt-percentile",)
        return done

    def _refuse(self, rows: list[ScoredRow]) -> None:
        """Count; with ``on_error="fail"`` raise where there are rows without a score."""
        bad = [(asked, row) for asked, row in zip(self.rows, rows) if row.score is None]
        shown = [
            f"{asked.where or asked.protein_id}: {row.reason}"
            for asked, row in bad[:_SHOWN_REASONS]
        ]
        self.report = MutateReport(len(rows), len(rows) - len(bad), shown)
        if bad and self.is_strict:
            raise InputError(
                f"{len(bad):,} of {len(rows):,} variants cannot be scored",
                code="input.bad_variant",
                hint="mend them, or use --on-error skip to have each answered with its reason",
                details=shown,
            )


def _cost(name: str, engine: MaskedEngine, asked: list[ProteinAsked], passes: list[int]) -> str:
    """Say how many passes there are and, from a short trial, how long they take."""
    longest = asked[0].sequence
    reader = engine.reader
    each = engine.seconds_each(reader.jobs(longest, (len(longest) // 2,))[0])
    unit = each / max(1, reader.flops(len(longest)))
    work = sum(n * reader.flops(len(one.sequence)) for n, one in zip(passes, asked))
    proteins = "1 protein" if len(asked) == 1 else f"{len(asked):,} proteins"
    return (
        f"{name}: {sum(passes):,} forward passes over {proteins} "
        f"({work / 1e9:,.0f} GFLOP), about {_duration(work * unit)}"
    )


def _duration(seconds: float) -> str:
    """Write a time span for people.

    Examples
    --------
    >>> _duration(0.2), _duration(75), _duration(7500)
    ('1 s', '75 s', '125 min')
    """
    return f"{max(1, round(seconds))} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _distinct(names: list[str]) -> list[str]:
    """Make names different by a number behind those that repeat."""
    found: list[str] = []
    for name in names:
        number = 2
        chosen = name
        while chosen in found:
            chosen, number = f"{name}_{number}", number + 1
        found.append(chosen)
    return found
