"""How well a head does, compared with baselines.

Legend: N rows, C classes or labels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from protclip_core.errors import UsageError
from protclip_core.heads import Head, Targets
from protclip_core.heads.fit_calibration import told_and_right
from protclip_core.heads.targets import CLASSES, VALUES
from protclip_core.measure.calibration import calibration_error
from protclip_core.measure.metrics import (
    RESAMPLES,
    Estimate,
    measure_classes,
    measure_labels,
    measure_values,
)
from protclip_core.report.figures import curve_paths
from protclip_core.report.head_curves import (
    plot_calibration,
    plot_confusion,
    plot_precision_recall,
)
from protclip_core.report.per_class import confusion

__all__ = ["Score", "draw_curves", "measure_all", "prior", "say"]


@dataclass(frozen=True)
class Score:
    """A figure.

    Attributes
    ----------
    predictor
        ``"head"``, or a baseline.
    metric
        Name, see `protclip_core.measure.metrics`; ``ece`` is the expected calibration error.
    estimate
        Value and interval of 95 %.
    part
        What it was measured on.
    proteins
        How many rows that are.
    """

    predictor: str
    metric: str
    estimate: Estimate
    part: str
    proteins: int


def measure_all(
    truth: Targets,
    said: Mapping[str, np.ndarray],
    part: str,
    *,
    positive: int | None = None,
    resamples: int = RESAMPLES,
) -> list[Score]:
    """Measure what several predictors said of the same rows.

    Parameters
    ----------
    truth
        The right answers.
    said
        Predictor to probabilities ``(N, C)`` or values ``(N,)``.
    part
        Name of the rows.
    positive, resamples
        As in `protclip_core.measure.metrics.measure_classes`.
    """
    scores = []
    for predictor, answer in said.items():
        if truth.task == VALUES:
            found = measure_values(truth.table, answer, resamples=resamples)
        elif truth.task == CLASSES:
            found = measure_classes(truth.table, answer, positive=positive, resamples=resamples)
        else:
            found = measure_labels(truth.table, answer, resamples=resamples)
        if truth.task != VALUES:
            ece = calibration_error(*told_and_right(truth, answer), least=0.0)
            found["ece"] = Estimate(ece, float("nan"), float("nan"))
        scores += [Score(predictor, name, one, part, len(truth)) for name, one in found.items()]
    return scores


def say(head: Head, features: np.ndarray) -> np.ndarray:
    """Give probabilities ``(N, C)``, or values ``(N,)`` of a regression."""
    return head.predict(features) if head.card.regression else head.predict_proba(features)


def prior(fitted_on: Targets) -> np.ndarray:
    """Give what is said of any row by who has seen the answers alone ``(C,)``.

    That is the share of each class or label, or the mean of the values ``(1,)``.
    """
    if fitted_on.task == VALUES:
        return np.array([fitted_on.table.mean()])
    return fitted_on.counts() / len(fitted_on)


def draw_curves(
    folder: Path, truth: Targets, said: Mapping[str, np.ndarray], title: str
) -> list[Path]:
    """Draw ``precision_recall.png``, ``calibration.png``, of classes ``confusion.png``.

    Precision and recall are those of all pairs of a row and a class or label together; of two
    classes, those of the second. The others are of the first predictor. Gives their paths.

    Raises
    ------
    UsageError
        A regression, or a folder that cannot be written.
    """
    if truth.task == VALUES:
        raise UsageError(
            "--plot draws curves of probabilities, and a regression has none", code="usage.no_plot"
        )
    yes = truth.yes()
    columns = slice(1, 2) if truth.task == CLASSES and len(truth.names) == 2 else slice(None)
    curves = {
        name: (yes[:, columns].ravel(), answer[:, columns].ravel()) for name, answer in said.items()
    }
    paths = curve_paths(folder)
    plot_precision_recall(paths[0], curves, title)
    first = next(iter(said.values()))
    plot_calibration(paths[1], *told_and_right(truth, first), title)
    if truth.task != CLASSES:
        return list(paths[:2])
    plot_confusion(paths[2], confusion(truth, first), truth.names, title)
    return list(paths)
