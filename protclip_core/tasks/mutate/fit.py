"""Fit a head to the measured variants of one protein, measure it against baselines, and write it.

Legend: N variants, F columns.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from protclip_core.errors import InputError, UsageError
from protclip_core.heads import FitSettings, FittedHead, HeadCard, Targets, fit_head, save_head
from protclip_core.heads.card import HeadInput
from protclip_core.heads.kinds import GP, RIDGE
from protclip_core.heads.variant_features import VariantFeatures
from protclip_core.io.atomic import check_writable_target
from protclip_core.io.outputs import check_outputs
from protclip_core.measure.metrics import Estimate, measure_values
from protclip_core.progress import Progress, SilentProgress
from protclip_core.tasks.mutate.assay import (
    VariantVectors,
    ZeroShot,
    at_home,
    number_of,
    read_asked,
    reconstructed,
    score_of,
    zero_shot_of_prior,
)
from protclip_core.tasks.mutate.input import AskedRow, Proteins
from protclip_core.tasks.mutate.request import FitRequest
from protclip_core.tasks.mutate.splits import LEAST_ROWS, held_out_splits
from protclip_core.variants import Variant

__all__ = ["FitReport", "SplitScore", "fit"]

_log = logging.getLogger(__name__)

#: Variants up to which a Gaussian process is fitted unasked, and at all.
AUTO_GP_ROWS, MOST_GP_ROWS = 1500, 2000
METHODS = ("masked-marginals", "wt-marginals")
#: Variants that the search of parameters looks at; its folds.
_SEARCH_ROWS = {GP: 500, RIDGE: 1500}
_FOLDS = 3
_SHOWN_REASONS = 5


@dataclass(frozen=True)
class SplitScore:
    """Spearman of one predictor in one split; ``train`` and ``test`` count variants."""

    split: str
    predictor: str
    spearman: Estimate
    train: int
    test: int


@dataclass(frozen=True, eq=False, kw_only=True)
class FitReport:
    """The result; ``first_reasons`` holds the first five rows left out, with their place."""

    card: HeadCard
    scores: list[SplitScore]
    variants: int
    left_out: int
    first_reasons: list[str]


@dataclass(eq=False)
class _Assay:
    """Distinct variants, with positions counted in the sequence, and their mean values."""

    variants: list[Variant]
    values: np.ndarray
    wild_type: str
    protein_id: str
    vectors: np.ndarray | None
    reasons: list[str] = field(default_factory=list)


def fit(request: FitRequest, progress: Progress | None = None) -> FitReport:
    """Fit a head and write it, whole or not at all.

    Raises
    ------
    UsageError
        Options that contradict each other or the data; an output that already exists.
    InputError
        An assay that cannot be used: no values, several proteins, too few variants.
    ModelError, ResourceError
        As `ZeroShot.scores`, `EmbeddingStore.open` and `protclip_core.heads.save_head`.
    """
    check_fit(request)
    store = None if request.embeddings is None else VariantVectors(request.embeddings)
    assay = _read(request, store)
    kind = _kind(request, len(assay.variants))
    zero = None
    base, baseline = zero_shot_of_prior(assay.variants), "prior"
    scorer = ZeroShot(
        model=request.model,
        method=request.method,
        device=request.device,
        workers=request.workers,
    )
    if request.fasta is not None:
        zero = scorer.scores(assay.wild_type, assay.variants, progress or SilentProgress())
        base, baseline = zero, "zero-shot"
    recipe = VariantFeatures.of(
        assay.variants, assay.wild_type, zero_shot=zero, vectors=assay.vectors
    )
    features = recipe.table(assay.variants, zero_shot=zero, vectors=assay.vectors)
    fitting = _Fitting(assay, _settings(request, kind))
    scores = fitting.measured(features, recipe.one_hot(assay.variants), base, baseline, request)
    line = _line(base, assay.values)
    head = fitting.fit(features, slice(None), line[0] + line[1] * base)
    if store is not None:
        own = HeadInput.of_store(store.attributes, features.shape[1], recipe.name)
    else:
        own = scorer.input(features.shape[1], recipe.name)
    zero_input = scorer.input(0, "") if zero is not None else None
    card = _card(request, head, own, assay, scores)
    plain = {
        "recipe": recipe.to_plain(),
        "protein_id": assay.protein_id,
        "offset": request.offset,
        "line": list(line),
        "new_positions": "line" if line[1] > 0 and _loses(scores) else "head",
        "zero_shot": None if zero_input is None else vars(zero_input),
    }
    card = replace(card, fit={**card.fit, **plain})
    save_head(request.output, head.estimator, card, features)
    return FitReport(
        card=card,
        scores=scores,
        variants=len(assay.variants),
        left_out=len(assay.reasons),
        first_reasons=assay.reasons[:_SHOWN_REASONS],
    )


def check_fit(request: FitRequest) -> None:
    """Refuse options that cannot be met, before anything is read."""
    if request.fasta is None and request.embeddings is None:
        raise UsageError(
            "neither --sequences nor --embeddings",
            code="usage.no_input",
            hint="give the wild type with --sequences",
        )
    if request.assay == "-" and request.fasta == "-":
        raise UsageError(
            "standard input (-) can be read once only",
            code="usage.stdin_twice",
            hint="give one as a file",
        )
    if request.kind not in ("auto", RIDGE, GP):
        raise UsageError(
            f"kind {request.kind!r} is not known",
            code="usage.unknown_value",
            hint="use auto, ridge or gp",
        )
    if request.method not in METHODS:
        raise UsageError(
            f"method {request.method!r} is not for heads",
            code="usage.unknown_value",
            hint=f"use {' or '.join(METHODS)}",
        )
    if request.max_rows < 2 * LEAST_ROWS:
        raise UsageError(
            f"--max-rows {request.max_rows} is too few",
            code="usage.bad_value",
            hint=f"use {2 * LEAST_ROWS} or more",
        )
    read = (request.assay, request.fasta, request.embeddings, request.model)
    check_outputs(read, (request.output,), hint="choose another -o")
    check_writable_target(request.output)
    if request.output.exists() and not request.overwrite:
        hint = "choose another -o, or replace it with --overwrite"
        raise UsageError(
            "already exists", code="usage.output_exists", where=str(request.output), hint=hint
        )


def _kind(request: FitRequest, count: int) -> str:
    if request.kind == GP and count > MOST_GP_ROWS:
        raise UsageError(
            f"a Gaussian process of {count:,} variants takes too long",
            code="usage.too_many",
            hint=f"use --kind ridge, or --max-rows {MOST_GP_ROWS}",
        )
    if request.kind == "auto":
        return GP if count <= AUTO_GP_ROWS else RIDGE
    return request.kind


def _settings(request: FitRequest, kind: str) -> FitSettings:
    return FitSettings(
        kind=kind,
        folds=_FOLDS,
        search_rows=_SEARCH_ROWS[kind],
        seed=request.seed,
        threads=request.threads,
        standardise=False,  # what the columns weigh is part of the recipe
    )


def _read(request: FitRequest, store: VariantVectors | None) -> _Assay:
    """Read the assay; equal variants become one, with the mean of their values."""
    proteins = Proteins(() if request.fasta is None else (request.fasta,))
    rows = read_asked(request.assay, proteins, request.offset, request.variant_column)
    column = score_of(rows, request.score_column, request.assay)
    found: dict[Variant, list[float]] = {}
    vectors: dict[Variant, np.ndarray] = {}
    reasons, sequences = list[str](), dict[str, str]()
    for row in rows:
        value = number_of(row.extra.get(column, ""))
        variant, reason = _usable(row, value, request.offset, column)
        vector = None
        if store is not None and variant is not None:
            vector = store.find(row, variant)
            reason = reason if vector is not None else f"has no vector in {request.embeddings}"
        if reason or variant is None:
            reasons.append(f"{row.where}: {row.text}: {reason}")
            continue
        if row.sequence is not None:
            sequences.setdefault(row.sequence, row.protein_id)
        found.setdefault(variant, []).append(value)
        if vector is not None:
            vectors[variant] = vector
    if len(sequences) > 1:
        raise InputError(
            f"holds variants of {len(sequences)} proteins, and a head is of one",
            code="input.several_proteins",
            where=request.assay,
            hint="fit a head for each",
        )
    variants = _drawn(list(found), request)
    if len(variants) < 2 * LEAST_ROWS:
        first = f"; the first: {reasons[0]}" if reasons else ""
        raise InputError(
            f"has {len(variants)} variants to fit on, and {2 * LEAST_ROWS} is the least{first}",
            code="input.nothing_to_fit",
            where=request.assay,
            hint="give more, or see that --sequences, --offset and the columns fit",
        )
    return _Assay(
        variants=variants,
        values=np.array([np.mean(found[variant]) for variant in variants]),
        wild_type=next(iter(sequences), None) or reconstructed(variants),
        protein_id=next(iter(sequences.values()), ""),
        vectors=None if store is None else np.stack([vectors[v] for v in variants]),
        reasons=reasons,
    )


def _usable(row: AskedRow, value: float, offset: int, column: str) -> tuple[Variant | None, str]:
    """Give the variant with positions in the sequence, and why it cannot be used if so."""
    if row.variant is None or row.reason:
        return None, row.reason
    if not VariantFeatures(wild_type="", positions=()).takes(row.variant):
        return None, "has a residue beyond the 20"
    if not np.isfinite(value):
        return None, f"has no number in column {column}"
    return at_home(row.variant, offset), ""


def _drawn(variants: list[Variant], request: FitRequest) -> list[Variant]:
    if len(variants) <= request.max_rows:
        return variants
    drawn = np.random.default_rng(request.seed).permutation(len(variants))[: request.max_rows]
    _log.warning(
        "%s: %d of %d variants are drawn to fit and measure on (--max-rows)",
        request.assay,
        request.max_rows,
        len(variants),
    )
    return [variants[i] for i in np.sort(drawn)]


class _Fitting:
    """Heads of several columns on the same variants."""

    def __init__(self, assay: _Assay, settings: FitSettings) -> None:
        self._assay, self._settings = assay, settings
        self._groups = _groups(assay.variants, settings.seed)

    def fit(
        self, features: np.ndarray, rows: np.ndarray | slice, base: np.ndarray | None = None
    ) -> FittedHead:
        """Fit on some rows; with ``base`` ``(N,)``, on what values are beyond it."""
        values = self._assay.values if base is None else self._assay.values - base
        targets = Targets.of_values(values[rows], "fitness")
        return fit_head(features[rows], targets, self._settings, groups=self._groups[rows])

    def measured(
        self,
        features: np.ndarray,
        one_hot: np.ndarray,
        base: np.ndarray,
        baseline: str,
        request: FitRequest,
    ) -> list[SplitScore]:
        """Measure the head and baselines in each split; the baseline of one-hot is a ridge."""
        scores = []
        linear = _Fitting(self._assay, _settings(request, RIDGE))
        for split in held_out_splits(self._assay.variants, request.seed):
            said = {name: np.full(len(base), np.nan) for name in ("head", "one-hot")}
            for train, test in split.folds:
                offset, slope = _line(base[train], self._assay.values[train])
                along = offset + slope * base
                head = self.fit(features, train, along)
                said["head"][test] = along[test] + head.answer(features[test])
                said["one-hot"][test] = linear.fit(one_hot, train).answer(one_hot[test])
            tested = split.tested
            said[baseline] = base
            for name, answer in said.items():
                truth = self._assay.values[tested]
                found = measure_values(truth, answer[tested], resamples=request.resamples)
                fitted = round(float(np.mean([train.sum() for train, _ in split.folds])))
                counts = (fitted, int(tested.sum()))
                scores.append(SplitScore(split.name, name, found["spearman"], *counts))
        return scores


def _line(base: np.ndarray, values: np.ndarray) -> tuple[float, float]:
    """Give offset and slope of the straight line from a zero-shot score to values.

    The head learns what is beyond this line. At a position that was never measured it has little
    to say, and the line, which is fitted across positions, is what remains.
    """
    spread = float(np.var(base))
    centre = float(values.mean())
    slope = float(np.mean((base - base.mean()) * (values - centre))) / spread if spread else 0.0
    return centre - slope * float(base.mean()), slope


def _loses(scores: list[SplitScore]) -> bool:
    """Say whether, at positions that were not measured, the zero-shot score ranks better."""
    found = {one.predictor: one.spearman.value for one in scores if one.split == "position"}
    own = found.pop("head", np.nan)
    found.pop("one-hot", None)
    return any(value > own for value in found.values())


def _groups(variants: list[Variant], seed: int) -> np.ndarray:
    """Say which variants the search holds out together ``(N,)``.

    Those of half the positions by position, the others one by one: so what is chosen serves
    positions that were measured and such that were not.
    """
    first = [min((p for _, p, _ in v.substitutions), default=0) for v in variants]
    positions = np.unique(first)
    whole = set(np.random.default_rng(seed).permutation(positions)[: len(positions) // 2].tolist())
    count = len(variants)
    return np.array([count + p if p in whole else i for i, p in enumerate(first)], np.int64)


def _card(
    request: FitRequest,
    head: FittedHead,
    own: HeadInput,
    assay: _Assay,
    scores: list[SplitScore],
) -> HeadCard:
    metrics = {
        f"spearman_{score.split.replace(' ', '')}": score.spearman.value
        for score in scores
        if score.predictor == "head" and np.isfinite(score.spearman.value)
    }
    return head.card(
        task=f"effect of variants beyond the zero-shot score, as in {Path(request.assay).name}",
        input=own,
        training_data=f"{Path(request.assay).name}: {len(assay.variants):,} variants",
        training_sha256=Targets.of_values(assay.values).sha256([str(v) for v in assay.variants]),
        note=request.command,
        metrics=metrics,
    )
