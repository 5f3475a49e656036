"""Fit a head to a table of labels, measure it and baselines, and write it.

Legend: N proteins, C classes or labels.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from protclip_core.errors import InputError, UsageError
from protclip_core.heads import FitSettings, FittedHead, HeadCard, Targets, fit_head, save_head
from protclip_core.heads.domain import HeadDomain
from protclip_core.heads.seen import keys_of_digests, pack_keys
from protclip_core.heads.targets import VALUES
from protclip_core.io.atomic import check_writable_target
from protclip_core.io.labels import LabelTable, read_labels
from protclip_core.io.outputs import check_outputs
from protclip_core.measure.composition import composition
from protclip_core.progress import Progress, SilentProgress
from protclip_core.records import Failure
from protclip_core.report.head_report import Score, measure_all, prior
from protclip_core.tasks.classify.data import (
    LabelledProteins,
    as_targets,
    join,
    keep_common,
    resolve_task,
    with_label,
    with_number,
)
from protclip_core.tasks.classify.request import FitRequest
from protclip_core.tasks.classify.sequences import with_sequences
from protclip_core.tasks.classify.split import DROPPED, TEST, TRAIN, VALID, Split, split_proteins
from protclip_core.vectors.source import open_vectors, read_all

__all__ = ["MIN_MEMBERS", "FitReport", "fit"]

_log = logging.getLogger(__name__)

MIN_MEMBERS = 5


@dataclass(frozen=True, eq=False, kw_only=True)
class FitReport:
    """The result.

    Attributes
    ----------
    card
        Of the head.
    scores
        Figures of the head and of the baselines.
    split
        Of the proteins that were used.
    counts
        Proteins in training, validation and test.
    truth, said
        What the figures rest on: the answers, and what each predictor said.
    reason
        Why the task is what it is.
    num_failures, first_failures
        Proteins without a vector, or with a value that cannot be used.
    """

    card: HeadCard
    scores: list[Score]
    split: Split
    counts: tuple[int, int, int]
    truth: Targets
    said: dict[str, np.ndarray]
    reason: str
    num_failures: int
    first_failures: list[Failure]


def fit(request: FitRequest, progress: Progress | None = None) -> FitReport:
    """Fit a head and write it, whole or not at all.

    Raises
    ------
    UsageError
        Options that contradict each other or the data; an output that already exists.
    InputError
        A table or sequences that cannot be used: too little, one class, nothing in common.
    ModelError, ResourceError
        As `open_vectors` and `protclip_core.heads.save_head`.
    """
    _check(request)
    table = read_labels(
        request.labels, separator=request.label_separator, group_column=request.group_column
    )
    with open_vectors(
        request.inputs,
        model=request.model,
        vectors_model=request.vectors_model,
        # A store is taken as it is, unless the request says joint.
        space="joint" if request.space == "joint" else "stored",
        device=request.device,
        workers=request.workers,
        on_error=request.on_error,
        modality=request.modality,
        unusable=request.on_error,
        several=True,
    ) as source:
        block = read_all(source, progress or SilentProgress())
    proteins = join(table, block, source.name)
    if request.sequences is not None:
        proteins = with_sequences(proteins, request.sequences)
    task, reason = resolve_task(request.task, proteins, table)
    proteins, failures = _usable(proteins, task, table.name, request)
    proteins, targets, split = _prepared(proteins, task, table, request)
    fitting = _Fitting(proteins, targets, split, request.settings)
    head = fitting.fit(proteins.vectors)
    said, baselines = fitting.baselines()
    truth, part, answer = fitting.answers(head, proteins.vectors)
    said = {"head": answer, **said}
    scores = measure_all(truth, said, part, resamples=request.resamples)
    counts = [int((split.parts == number).sum()) for number in (TRAIN, VALID, TEST)]
    rows = split.parts == TRAIN
    card = head.card(
        task=f"{task} of {table.name}",
        input=source.input,
        training_data=(
            f"{table.name}: {counts[0]:,} proteins to fit on, {counts[1]:,} to choose by, "
            f"{counts[2]:,} to measure on ({split.kind}); {'; '.join(split.leakage)}"
        ),
        training_sha256=targets.take(rows).sha256(
            [d.tobytes().hex() for d in proteins.digests[rows]]
        ),
        trained_on=_seen_keys(proteins, split),
        note=request.command,
        metrics={
            f"{s.metric}_{part}": s.estimate.value
            for s in scores
            if s.predictor == "head" and np.isfinite(s.estimate.value)
        },
    )
    card = replace(card, fit={**card.fit, "baselines": baselines})
    vectors = proteins.vectors[rows]
    domain = HeadDomain.of(vectors, proteins.lengths[rows])
    save_head(request.output, head.estimator, card, vectors, domain)
    return FitReport(
        card=card,
        scores=scores,
        split=split,
        counts=(counts[0], counts[1], counts[2]),
        truth=truth,
        said=said,
        reason=reason,
        num_failures=source.num_failures + len(failures),
        first_failures=[*source.first_failures, *failures],
    )


def _check(request: FitRequest) -> None:
    if request.task not in ("auto", "classes", "labels", "regression"):
        raise UsageError(
            f"task {request.task!r} is not known",
            code="usage.unknown_value",
            hint="use auto, classes, labels or regression",
        )
    if request.min_members < 1:
        raise UsageError(
            f"--min-members {request.min_members} is too few",
            code="usage.bad_value",
            hint="use 1 or more",
        )
    if request.labels == "-" and "-" in request.inputs:
        raise UsageError("standard input (-) can be read once only", code="usage.stdin_twice")
    read = (request.labels, *request.inputs, request.sequences, request.model)
    check_outputs(read, (request.output,), hint="choose another -o")
    check_writable_target(request.output)
    if request.output.exists() and not request.overwrite:
        hint = "choose another -o, or replace it with --overwrite"
        raise UsageError(
            "already exists", code="usage.output_exists", where=str(request.output), hint=hint
        )


def _usable(
    proteins: LabelledProteins, task: str, where: str, request: FitRequest
) -> tuple[LabelledProteins, list[Failure]]:
    """Give the proteins with a label, and those that are skipped because of theirs."""
    proteins, failures = with_label(proteins, task), list[Failure]()
    if task == VALUES and request.on_error == "skip":
        proteins, failures = with_number(proteins, where)
    if not len(proteins):
        raise InputError("no protein has a label", code="input.no_labels", where=where)
    return proteins, failures


def _prepared(
    proteins: LabelledProteins, task: str, table: LabelTable, request: FitRequest
) -> tuple[LabelledProteins, Targets, Split]:
    """Give the proteins that are used, their answers, and the parts that they are in."""
    targets = as_targets(task, proteins, table.name)
    split = split_proteins(
        proteins,
        targets,
        request.split,
        test_share=request.test_share,
        seed=request.settings.seed,
        table=table,
    )
    used = split.parts != DROPPED
    proteins, split = proteins.take(used), split.take(used)
    proteins, used = keep_common(proteins, task, split.parts == TRAIN, request.min_members)
    split = split.take(used)
    return proteins, as_targets(task, proteins, table.name), split


def _seen_keys(proteins: LabelledProteins, split: Split) -> str:
    """Write down which sequences the head has seen."""
    known = proteins.digests.any(1) & np.isin(split.parts, (TRAIN, VALID))
    return pack_keys(keys_of_digests(proteins.digests[known]))


class _Fitting:
    """Heads on several features of the same proteins, in the same parts."""

    def __init__(
        self, proteins: LabelledProteins, targets: Targets, split: Split, settings: FitSettings
    ) -> None:
        self._proteins, self._targets, self._split = proteins, targets, split
        self._settings = settings
        self._train, self._valid = split.parts == TRAIN, split.parts == VALID
        self._test = split.parts == TEST

    def fit(self, features: np.ndarray, **changed: Any) -> FittedHead:
        valid = None
        if self._valid.any():
            valid = features[self._valid], self._targets.take(self._valid)
        return fit_head(
            features[self._train],
            self._targets.take(self._train),
            FitSettings(**{**vars(self._settings), **changed}),
            groups=self._split.groups[self._train],
            valid=valid,
        )

    def answers(self, fitted: FittedHead, features: np.ndarray) -> tuple[Targets, str, np.ndarray]:
        """Give what is measured on, its name, and what a head says of it."""
        rows, part = self._test, "test"
        if not rows.any():
            rows, part = (self._valid, "valid") if self._valid.any() else (self._train, "folds")
        truth = self._targets.take(rows)
        if part == "folds":
            return truth, part, fitted.held_out
        if part == "valid":
            _log.warning("there is no test: figures are of the proteins that chose the head")
        return truth, part, fitted.answer(features[rows])

    def baselines(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Give what baselines say of what is measured on, and plain data to make them again."""
        said, plain = dict[str, np.ndarray](), dict[str, Any]()
        if self._proteins.sequences is not None:
            features = composition(self._proteins.sequences)
            fitted = self.fit(features, kind="auto")
            said["composition"] = self.answers(fitted, features)[2]
            form = fitted.linear()
            assert form is not None  # the kind "auto" is linear
            plain["composition"] = form.to_plain()
        else:
            _log.warning(
                "no sequences, so no baseline of amino-acid composition; give a FASTA file "
                "with --sequences"
            )
        shares = prior(self._targets.take(self._train))
        plain["prior"] = shares.tolist()
        rows = next(r for r in (self._test, self._valid, self._train) if r.any())
        count = int(rows.sum())
        is_value = self._targets.task == VALUES
        said["prior"] = np.full(count, shares[0]) if is_value else np.tile(shares, (count, 1))
        return said, plain
