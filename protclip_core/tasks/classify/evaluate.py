"""Measure a head on labels that it was not fitted on.

Legend: N proteins, C classes or labels.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np

from protclip_core.errors import InputError, ModelError, UsageError
from protclip_core.heads import Head, Targets, load_head
from protclip_core.heads.form import HeadForm
from protclip_core.heads.seen import keys_of_digests, unpack_keys
from protclip_core.heads.targets import VALUES
from protclip_core.io.labels import LabelTable, read_labels
from protclip_core.measure.composition import COMPOSITION_WIDTH, composition
from protclip_core.progress import Progress, SilentProgress
from protclip_core.records import Failure, counted
from protclip_core.report.head_report import Score, measure_all, say
from protclip_core.tasks.classify.data import (
    LabelledProteins,
    as_targets,
    join,
    keep_known,
    with_label,
    with_number,
)
from protclip_core.tasks.classify.request import EvaluateRequest
from protclip_core.tasks.classify.sequences import with_sequences
from protclip_core.vectors.source import open_vectors, read_all

__all__ = ["EvaluateReport", "evaluate"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False, kw_only=True)
class EvaluateReport:
    """The result.

    Attributes
    ----------
    head
        The head.
    scores
        Figures of the head and of the baselines that are in its card.
    seen
        Proteins that the head was fitted on, among those of the table.
    truth, said
        What the figures rest on: the answers, and what each predictor said.
    num_failures, first_failures
        Proteins without a vector, or with a value that cannot be used.
    """

    head: Head
    scores: list[Score]
    seen: int
    truth: Targets
    said: dict[str, np.ndarray]
    num_failures: int
    first_failures: list[Failure]


def evaluate(request: EvaluateRequest, progress: Progress | None = None) -> EvaluateReport:
    """Measure a head.

    Raises
    ------
    UsageError
        Standard input given twice.
    InputError
        A table that cannot be used, or nothing in it that the head was not fitted on.
    ModelError
        A head that cannot be loaded, or vectors that it was not made for.
    """
    if request.labels == "-" and "-" in request.inputs:
        raise UsageError("standard input (-) can be read once only", code="usage.stdin_twice")
    head = load_head(request.head)
    table = read_labels(request.labels, separator=request.label_separator)
    with open_vectors(
        request.inputs,
        like=head.card.input,
        model=request.model,
        vectors_model=request.vectors_model,
        device=request.device,
        workers=request.workers,
        on_error=request.on_error,
        modality=request.modality,
        unusable=request.on_error,
        several=True,
    ) as source:
        block = read_all(source, progress or SilentProgress())
    proteins = join(table, block, source.name)
    if table.has_splits:
        proteins = _of_test(proteins, table)
    proteins = with_label(proteins, head.task)
    failures = list[Failure]()
    if head.task == VALUES and request.on_error == "skip":
        proteins, failures = with_number(proteins, table.name)
    proteins, seen = _unseen(proteins, head, request)
    if head.task != VALUES:
        proteins, _kept = keep_known(proteins, head.card.labels)
    if not len(proteins):
        raise InputError(
            "no protein is left to measure on", code="input.nothing_to_measure", where=table.name
        )
    if request.sequences is not None:
        proteins = with_sequences(proteins, request.sequences)
    truth = as_targets(head.task, proteins, table.name, head.card.labels)
    said = {"head": say(head, proteins.vectors), **_baselines(head, proteins, str(request.head))}
    return EvaluateReport(
        head=head,
        scores=measure_all(truth, said, "test", resamples=request.resamples),
        seen=seen,
        truth=truth,
        said=said,
        num_failures=source.num_failures + len(failures),
        first_failures=[*source.first_failures, *failures],
    )


def _of_test(proteins: LabelledProteins, table: LabelTable) -> LabelledProteins:
    where = table.name
    rows = np.array([p.split == "test" for p in proteins.labelled])
    if not rows.any():
        raise InputError(
            "has splits, but none of its proteins is in 'test'",
            code="input.nothing_to_measure",
            where=where,
            hint="take the column out to measure on all of them",
        )
    _log.warning(
        "%s: measured on the test of column %r, %s of %s",
        where,
        table.split_column,
        f"{rows.sum():,}",
        counted(len(rows), "protein"),
    )
    return proteins.take(rows)


def _unseen(
    proteins: LabelledProteins, head: Head, request: EvaluateRequest
) -> tuple[LabelledProteins, int]:
    """Leave out proteins whose sequence the head was fitted on, unless they are wanted."""
    keys = unpack_keys(head.card.trained_on, str(request.head))
    seen = np.isin(keys_of_digests(proteins.digests), keys)
    if not len(keys):
        _log.warning("%s does not say what it was fitted on: figures may flatter it", request.head)
    if not seen.any():
        return proteins, 0
    count, of = f"{int(seen.sum()):,}", f"{len(seen):,}"
    if request.include_seen:
        _log.warning("the head was fitted on %s of %s proteins: figures flatter it", count, of)
        return proteins, int(seen.sum())
    if seen.all():
        raise InputError(
            f"the head was fitted on all {of} proteins",
            code="input.nothing_to_measure",
            where=request.labels,
            hint="give others, or measure nonetheless with --include-seen",
        )
    _log.warning("%s of %s proteins left out: the head was fitted on them", count, of)
    return proteins.take(~seen), int(seen.sum())


def _baselines(head: Head, proteins: LabelledProteins, where: str) -> dict[str, np.ndarray]:
    """Make the baselines of the card again."""
    plain: Any = head.card.fit.get("baselines", {})
    said: dict[str, np.ndarray] = {}
    count = len(proteins)
    labels = 1 if head.task == VALUES else len(head.card.labels)
    try:
        if "composition" in plain and proteins.sequences is not None:
            form = HeadForm.of_plain(plain["composition"], COMPOSITION_WIDTH)
            said["composition"] = form.predict(composition(proteins.sequences))
            shape = (count,) if head.task == VALUES else (count, labels)
            if said["composition"].shape != shape:
                raise ValueError(f"a baseline of shape {said['composition'].shape}")
        if "prior" in plain:
            shares = np.array(plain["prior"], np.float64)
            if shares.shape != (labels,):
                raise ValueError(f"a baseline of shape {shares.shape}")
            is_value = head.task == VALUES
            said["prior"] = np.full(count, shares[0]) if is_value else np.tile(shares, (count, 1))
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(
            f"its baselines cannot be read ({error})", code="model.bad_head", where=where
        ) from error
    return said
