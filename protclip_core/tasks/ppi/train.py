"""Fit a head on pairs of proteins: read, split, draw negatives, fit, calibrate, measure, save.

The head is fitted on the training pairs, its few parameters are chosen and its probabilities
calibrated on the validation pairs, and the test pairs are looked at once, at the end.

Legend: M pairs, N proteins, F numbers of a pair.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from protclip_core.errors import InputError, UsageError
from protclip_core.heads.domain import HeadDomain
from protclip_core.heads.pair_features import RECIPES, pair_features, pair_input
from protclip_core.io.atomic import check_writable_target
from protclip_core.io.outputs import check_outputs
from protclip_core.measure.metrics import Estimate
from protclip_core.progress import Progress, SilentProgress
from protclip_core.tasks.ppi.evaluate import Measured, measure_pairs
from protclip_core.tasks.ppi.leaks import PAIRS, LeakReport, TrainedOn
from protclip_core.tasks.ppi.negatives import ACROSS, draw_negatives, two_groups
from protclip_core.tasks.ppi.pairs import PairCounts, PairSet, read_pair_set, targets_of
from protclip_core.tasks.ppi.request import TrainRequest
from protclip_core.tasks.ppi.split import split_pairs
from protclip_core.tasks.ppi.vectors import PairProteins, load_proteins

if TYPE_CHECKING:
    from protclip_core.heads import FittedHead, Head

__all__ = ["TrainReport", "train"]

_log = logging.getLogger(__name__)
TASKS = ("auto", "interaction", "types")


@dataclass(kw_only=True)
class TrainReport:
    """The result.

    Attributes
    ----------
    counts
        Of the list; and of the others by name.
    parts
        Pairs and negatives among them, by part.
    drawn, across
        Negatives that were drawn, by part; ``across``: each has a protein of either column.
    unused
        Pairs between the parts of a split, and beyond ``most_pairs``.
    split
        How the parts were made.
    measured
        Figures by part, ``valid`` and ``test``.
    leaks
        Of each of these parts.
    kind, features, thresholds
        Of the head; thresholds as `protclip_core.heads.prevalence.Threshold` has them.
    """

    counts: dict[str, PairCounts] = field(default_factory=dict)
    parts: dict[str, tuple[int, int]] = field(default_factory=dict)
    drawn: dict[str, int] = field(default_factory=dict)
    across: bool = False
    unused: int = 0
    split: str = ""
    measured: dict[str, Measured] = field(default_factory=dict)
    leaks: dict[str, LeakReport] = field(default_factory=dict)
    kind: str = ""
    features: str = ""
    thresholds: list[dict[str, float]] = field(default_factory=list)


def train(request: TrainRequest, progress: Progress | None = None) -> TrainReport:
    """Fit a head and write it.

    Raises
    ------
    UsageError
        Options that contradict each other, or an output that already exists.
    InputError
        No usable pair, one class only, or a part without pairs.
    ModelError, ResourceError
        As their names say.
    """
    from protclip_core.heads import save_head

    progress = progress or SilentProgress()
    _check(request)
    proteins = load_proteins(request.vectors, progress)
    report = TrainReport(features=request.features)
    parts, task = _parts(request, proteins, report)
    names = _type_names(parts["train"]) if task == "types" else ()
    fitted = _fit(request, proteins, parts, names)
    report.kind = str(fitted.fit["kind"])
    report.thresholds = fitted.fit.get("thresholds", [])
    trained = TrainedOn.of(proteins.keys, parts["train"].a, parts["train"].b)
    keys, pairs = trained.pack()
    card = fitted.card(
        task="types of interaction of two proteins"
        if names
        else "whether two proteins interact directly",
        input=pair_input(proteins.input, RECIPES[request.features]),
        training_data=request.note or parts["train"].name,
        training_sha256=_sha256(parts["train"], proteins, names),
        trained_on=keys,
        note=request.command,
    )
    told = {PAIRS: pairs, "split": report.split, "negatives": _rule(request, report)}
    card = replace(card, fit={**card.fit, **told})
    head = fitted.head(card)
    _measure(request, head, proteins, parts, trained, report)
    card = replace(card, metrics=_figures(report))
    examples = _features(proteins, parts["train"].take(np.arange(min(64, len(parts["train"])))),
                         request.features)  # fmt: skip
    rows = np.unique(np.concatenate([parts["train"].a, parts["train"].b]))
    domain = HeadDomain.of(proteins.vectors[rows], proteins.lengths[rows])
    save_head(request.output, fitted.estimator, card, examples, domain)
    return report


def _check(request: TrainRequest) -> None:
    if request.task not in TASKS:
        raise UsageError(
            f"--task {request.task} is not known",
            code="usage.unknown_value",
            hint=f"use {', '.join(TASKS)}",
        )
    if request.features not in RECIPES:
        raise UsageError(
            f"--features {request.features} is not known",
            code="usage.unknown_value",
            hint=f"use {', '.join(RECIPES)}",
        )
    if request.ratio < 0:
        raise UsageError(
            f"--ratio {request.ratio:g} is less than 0",
            code="usage.bad_value",
            hint="use 0 or more",
        )
    if [request.pairs, request.valid, request.test, *request.vectors.inputs].count("-") > 1:
        raise UsageError("standard input (-) can be read once only", code="usage.stdin_twice")
    lists = (request.pairs, request.valid, request.test)
    read = (*lists, *request.vectors.inputs, request.vectors.model)
    check_outputs(read, (request.output,), hint="choose another -o")
    check_writable_target(request.output)
    if request.output.exists() and not request.overwrite:
        raise UsageError(
            "already exists",
            code="usage.output_exists",
            where=str(request.output),
            hint="choose another -o, or replace it with --overwrite",
        )


def _parts(
    request: TrainRequest, proteins: PairProteins, report: TrainReport
) -> tuple[dict[str, PairSet], str]:
    """Read the lists, split, and draw negatives; nothing of a test goes into a training."""
    lists = {"pairs": request.pairs, "valid": request.valid, "test": request.test}
    sets = {
        name: read_pair_set(path, proteins.find, names=proteins.ids, least_score=request.min_score)
        for name, path in lists.items()
        if path is not None
    }
    report.counts = {name: own.counts for name, own in sets.items()}
    own = sets["pairs"]
    task = request.task
    if task == "auto":
        task = "types" if own.types is not None and own.labels is None else "interaction"
    if task == "types" and own.types is None:
        raise InputError(
            "has no types",
            code="input.no_types",
            where=own.name,
            hint="give a column types, or leave out --task",
        )
    parts = dict(_split(request, own, sets, proteins, report))
    if task == "interaction":
        held = _held(parts, len(proteins))
        every = (*sets.values(),)
        known = np.concatenate([part.codes() for part in every])
        a, b = (np.concatenate([getattr(part, end) for part in every]) for end in "ab")
        sides = two_groups(a, b, len(proteins))
        for name, part in parts.items():
            parts[name] = _with_negatives(request, part, held, (known, sides), name, report)
            # What is drawn for one part must not be drawn for another.
            known = np.concatenate([known, parts[name].codes()])
        if report.across:
            _log.warning(ACROSS, own.name)
    if len(parts["train"]) > request.max_pairs:
        drawn = np.random.default_rng(request.seed).permutation(len(parts["train"]))
        _log.warning(
            "%s pairs to fit on are more than %s: that many are drawn at random (--most-pairs)",
            f"{len(drawn):,}",
            f"{request.max_pairs:,}",
        )
        report.unused += len(drawn) - request.max_pairs
        parts["train"] = parts["train"].take(np.sort(drawn[: request.max_pairs]))
    for name, part in parts.items():
        negatives = 0 if part.labels is None else int((~part.labels).sum())
        report.parts[name] = (len(part), negatives if task == "interaction" else 0)
    return parts, task


def _split(
    request: TrainRequest,
    own: PairSet,
    sets: dict[str, PairSet],
    proteins: PairProteins,
    report: TrainReport,
) -> Iterator[tuple[str, PairSet]]:
    given = [name for name in ("valid", "test") if name in sets]
    if own.splits is not None and not given:
        report.split = "the list's own"
        split = own.splits
    elif "valid" in given:
        report.split = "given lists"
        split = np.zeros(len(own), np.int64)
    else:
        report.split = f"{request.split_settings.method}, seed {request.split_settings.seed}"
        groups = np.unique(proteins.keys, return_inverse=True)[1].astype(np.int64)
        if request.split_settings.method == "cluster":
            raise UsageError(
                "a split by clusters needs sequences",
                code="usage.needs_sequences",
                hint="make it with protclip ppi split",
            )
        split = split_pairs(own.a, own.b, groups, request.split_settings)
    report.unused = int((split == 3).sum())
    for number, name in enumerate(("train", "valid", "test")):
        rows = np.flatnonzero(split == number)
        if name in sets:
            yield name, sets[name]
        elif len(rows):
            yield name, own.take(rows)
        elif name == "train":
            raise InputError(
                "has no pair of split train", code="input.nothing_to_fit", where=own.name
            )


def _held(parts: dict[str, PairSet], count: int) -> np.ndarray:
    """Tell proteins apart by whether training has them ``(N,)``, for negatives to keep to it."""
    held = np.ones(count, np.int64)
    held[np.concatenate([parts["train"].a, parts["train"].b])] = 0
    return held


def _with_negatives(
    request: TrainRequest,
    part: PairSet,
    held: np.ndarray,
    known: tuple[np.ndarray, np.ndarray | None],
    name: str,
    report: TrainReport,
) -> PairSet:
    if part.labels is not None and not part.labels.all():
        return part
    count = round(request.ratio * len(part))
    if not count:
        return part
    a, b = draw_negatives(
        (part.a, part.b),
        count,
        known=known[0],
        sides=known[1],
        parts=held,
        rule=request.negatives,
        seed=request.seed + ("train", "valid", "test").index(name),
    )
    report.drawn[name] = count
    report.across |= known[1] is not None
    labels = np.concatenate([np.ones(len(part), bool), np.zeros(count, bool)])
    return PairSet(
        part.name,
        part.proteins,
        np.concatenate([part.a, a]),
        np.concatenate([part.b, b]),
        labels,
        counts=part.counts,
    )


def _type_names(part: PairSet) -> tuple[str, ...]:
    """Give the types that can be learnt; the others are told."""
    assert part.types is not None
    counts = part.types.sum(0)
    kept = [n for n, c in zip(part.type_names, counts, strict=True) if 0 < c < len(part)]
    left = [n for n in part.type_names if n not in kept]
    if left:
        _log.warning("types that no pair or every pair has are left out: %s", ", ".join(left))
    if not kept:
        raise InputError(
            "does not have a type that only some pairs have",
            code="input.one_class",
            where=part.name,
        )
    return tuple(kept)


def _features(proteins: PairProteins, part: PairSet, features: str) -> np.ndarray:
    vectors = proteins.vectors
    return pair_features(vectors[part.a], vectors[part.b], RECIPES[features])


def _fit(
    request: TrainRequest,
    proteins: PairProteins,
    parts: dict[str, PairSet],
    names: tuple[str, ...],
) -> FittedHead:
    from protclip_core.heads import FitSettings, fit_head

    settings = FitSettings(kind=request.kind, seed=request.seed, threads=request.threads)
    valid = None
    if "valid" in parts:
        part = parts["valid"]
        valid = (_features(proteins, part, request.features), targets_of(part, names))
    else:
        _log.warning(
            "no pairs for validation: parameters and calibration rest on folds of the training, "
            "whose proteins are in several folds; new proteins will get probabilities that are too "
            "sure"
        )
    train_part = parts["train"]
    return fit_head(
        _features(proteins, train_part, request.features),
        targets_of(train_part, names),
        settings,
        valid=valid,
    )


def _measure(
    request: TrainRequest,
    head: Head,
    proteins: PairProteins,
    parts: dict[str, PairSet],
    trained: TrainedOn,
    report: TrainReport,
) -> None:
    own = np.unique(np.concatenate([parts["train"].a, parts["train"].b]))
    if "test" not in parts:
        _log.warning("there is no test: figures are of the pairs that chose the head")
    for name in ("valid", "test"):
        if name in parts:
            part = parts[name]
            report.measured[name] = measure_pairs(head, proteins, part, trained)
            report.leaks[name] = LeakReport.of(
                trained,
                proteins.keys,
                part.a,
                part.b,
                by_sequence=proteins.by_sequence,
                train_proteins=own,
            )
            report.leaks[name].warn(name)


def _figures(report: TrainReport) -> dict[str, float]:
    found: dict[str, float] = {}
    for part, measured in report.measured.items():
        figures: dict[str, Estimate] = measured.figures["all"]
        for name, estimate in figures.items():
            if np.isfinite(estimate.value):
                found[f"{name}_{part}"] = estimate.value
    return found


def _rule(request: TrainRequest, report: TrainReport) -> str:
    if not report.drawn:
        return "the list's own"
    across = ", across two groups" if report.across else ""
    how = f"{request.negatives}{across}, {request.ratio:g} for each interaction"
    return f"drawn, {how}, seed {request.seed}"


def _sha256(part: PairSet, proteins: PairProteins, names: tuple[str, ...]) -> str:
    low, high = np.sort([proteins.keys[part.a], proteins.keys[part.b]], axis=0)
    keys = [f"{x:016x} {y:016x}" for x, y in zip(low.tolist(), high.tolist(), strict=True)]
    return targets_of(part, names).sha256(keys)
