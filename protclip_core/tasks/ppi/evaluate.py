"""Measure a head on pairs whose answers are known, and say what of them it was trained on.

Legend: M pairs, N proteins, C classes or labels.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from protclip_core.errors import InputError, UsageError
from protclip_core.heads.pair_features import embedding_input
from protclip_core.heads.pair_scores import PairScorer
from protclip_core.measure.metrics import RESAMPLES, Estimate, measure_classes, measure_labels
from protclip_core.progress import Progress, SilentProgress
from protclip_core.tasks.ppi.leaks import CLASSES, LeakReport, TrainedOn, seen_partners
from protclip_core.tasks.ppi.negatives import ACROSS, draw_negatives, two_groups
from protclip_core.tasks.ppi.pairs import PairCounts, PairSet, read_pair_set, targets_of
from protclip_core.tasks.ppi.request import EvaluateRequest
from protclip_core.tasks.ppi.vectors import PairProteins, load_proteins

if TYPE_CHECKING:
    from protclip_core.heads import Head

__all__ = ["EvaluateReport", "Measured", "evaluate", "measure_pairs"]

_log = logging.getLogger(__name__)
_ROWS = 65_536


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Figures of a head on pairs.

    Attributes
    ----------
    figures
        Name to figure, of ``"all"`` pairs, of those that are ``"unseen"`` where the training had
        others, and of those of each class of `CLASSES` that occurs.
    pairs, positives
        How many there are, by the same names.
    truth, said
        Right answers and probabilities ``(M,)`` or ``(M, C)``, for plots.
    """

    figures: dict[str, dict[str, Estimate]]
    pairs: dict[str, int]
    positives: dict[str, int]
    truth: npt.NDArray[np.bool_]
    said: npt.NDArray[np.float32]


@dataclass(kw_only=True)
class EvaluateReport:
    """The result.

    Attributes
    ----------
    counts
        Of the list.
    drawn
        Negatives that were drawn.
    leaks
        What of the pairs the head was trained on; None where it does not say.
    measured
        The figures.
    head
        The head.
    """

    counts: PairCounts = field(default_factory=PairCounts)
    drawn: int = 0
    leaks: LeakReport | None = None
    measured: Measured | None = None
    head: Head | None = None


def evaluate(request: EvaluateRequest, progress: Progress | None = None) -> EvaluateReport:
    """Measure a head.

    Raises
    ------
    InputError
        No usable pairs, no labels, or one class only.
    ModelError
        A head for something else, or for other vectors.
    """
    from protclip_core.tasks.ppi.head import load_pair_head

    progress = progress or SilentProgress()
    if [request.pairs, *request.vectors.inputs].count("-") > 1:
        raise UsageError("standard input (-) can be read once only", code="usage.stdin_twice")
    head, where = load_pair_head(request.head)
    like = embedding_input(head.card.input, where)
    proteins = load_proteins(request.vectors, progress, like)
    pairs = read_pair_set(
        request.pairs, proteins.find, names=proteins.ids, least_score=request.min_score
    )
    report = EvaluateReport(counts=pairs.counts, head=head)
    listed, sides = pairs.codes(), two_groups(pairs.a, pairs.b, len(proteins))
    if pairs.splits is not None:
        pairs = pairs.part("test")
        _log.warning("the list has splits: its %s test pairs are measured", f"{len(pairs):,}")
        if not len(pairs):
            raise InputError(
                "has no pair of split test", code="input.nothing_to_measure", where=pairs.name
            )
    trained = TrainedOn.of_card(head.card, where)
    pairs = _answered(request, head, pairs, (listed, sides), trained, proteins, report)
    if len(trained.proteins):
        report.leaks = LeakReport.of(
            trained, proteins.keys, pairs.a, pairs.b, by_sequence=proteins.by_sequence
        )
        report.leaks.warn("test")
    else:
        _log.warning("%s: does not say what it was trained on: no report of leaks", where)
    report.measured = measure_pairs(head, proteins, pairs, trained, request.resamples)
    return report


def _answered(
    request: EvaluateRequest,
    head: Head,
    pairs: PairSet,
    known: tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_] | None],
    trained: TrainedOn,
    proteins: PairProteins,
    report: EvaluateReport,
) -> PairSet:
    """See that the pairs have answers of the head's kind; draw negatives where there are none.

    None of these is ``known``, listed in the file, in other splits neither, or was in the training;
    the other thing that is known are the sides of `two_groups`.
    """
    if head.card.multilabel:
        if pairs.types is None:
            raise InputError(
                "does not have types, which this head predicts",
                code="input.no_types",
                where=pairs.name,
                hint="give a column types",
            )
        if unknown := [name for name in pairs.type_names if name not in head.card.labels]:
            _log.warning("types that the head does not know are ignored: %s",
                         ", ".join(unknown))  # fmt: skip
        return pairs
    labels = np.ones(len(pairs), bool) if pairs.labels is None else pairs.labels
    if labels.all() and request.ratio:
        listed, sides = known
        if sides is not None:
            _log.warning(ACROSS, pairs.name)
        held = (~trained.has(proteins.keys)).astype(np.int64)
        report.drawn = round(request.ratio * len(pairs))
        a, b = draw_negatives(
            (pairs.a, pairs.b),
            report.drawn,
            known=listed,
            parts=held,
            rule=request.negatives,
            seed=request.seed,
            sides=sides,
            refused=lambda x, y: trained.has_pairs(proteins.keys[x], proteins.keys[y]),
        )
        labels = np.concatenate([labels, np.zeros(len(a), bool)])
        pairs = PairSet(
            pairs.name,
            pairs.proteins,
            np.concatenate([pairs.a, a]),
            np.concatenate([pairs.b, b]),
            labels,
        )
    if labels.all() or not labels.any():
        what = "interact" if labels.all() else "do not interact"
        raise InputError(
            f"all of its {len(labels):,} pairs {what}, so nothing can be measured",
            code="input.one_class",
            where=pairs.name,
            hint="give both kinds, or let negatives be drawn with --ratio",
        )
    return pairs


def measure_pairs(
    head: Head,
    proteins: PairProteins,
    pairs: PairSet,
    trained: TrainedOn,
    resamples: int = RESAMPLES,
) -> Measured:
    """Measure a head on pairs, on all and on those of each class.

    Intervals are of resampled pairs; pairs share proteins, so for other proteins they are wider.
    """
    scorer = PairScorer(head)
    said = np.concatenate(
        [
            scorer.listed(proteins.vectors, pairs.a[rows], pairs.b[rows])
            for rows in _blocks(len(pairs))
        ]
    )
    names = head.card.labels if head.card.multilabel else ()
    truth = targets_of(pairs, names).table.astype(bool)
    seen = seen_partners(trained, proteins.keys, pairs.a, pairs.b)
    chosen = {"all": np.ones(len(pairs), bool)}
    known = trained.has_pairs(proteins.keys[pairs.a], proteins.keys[pairs.b])
    if known.any() and not known.all():
        chosen["unseen"] = ~known
    if len(trained.proteins) and len(np.unique(seen)) > 1:
        for number, name in enumerate(CLASSES):
            if (seen == 2 - number).any():
                chosen[name] = seen == 2 - number
    figures = {name: _figures(truth[rows], said[rows], resamples) for name, rows in chosen.items()}
    return Measured(
        figures=figures,
        pairs={name: int(rows.sum()) for name, rows in chosen.items()},
        positives={name: int(truth[rows].sum()) for name, rows in chosen.items()},
        truth=truth,
        said=said if names else said[:, 0],
    )


def _figures(truth: np.ndarray, said: np.ndarray, resamples: int) -> dict[str, Estimate]:
    if truth.ndim == 2:
        return measure_labels(truth, said.astype(np.float64), resamples=resamples)
    both = np.concatenate([1 - said, said], axis=1).astype(np.float64)
    return measure_classes(truth.astype(np.int64), both, positive=1, resamples=resamples)


def _blocks(count: int) -> list[slice]:
    return [slice(start, start + _ROWS) for start in range(0, count, _ROWS)]
