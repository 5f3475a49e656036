"""Metrics: scikit-learn's figures, on all rows and on each resample."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    f1_score,
    matthews_corrcoef,
    mean_absolute_error,
    r2_score,
    roc_auc_score,
)

from protclip_core.errors import UsageError
from protclip_core.measure import metrics
from protclip_core.measure.composition import RESIDUES, composition
from protclip_core.measure.metrics import measure_classes, measure_labels, measure_values

RNG = np.random.default_rng(3)


def some_classes(rows=90, count=4):
    truth = RNG.integers(0, count, rows)
    said = RNG.dirichlet(np.ones(count), rows)
    said[np.arange(rows), truth] += 0.4
    said = said.round(1)  # ties
    return truth, said / said.sum(1, keepdims=True)


def naive_classes(truth, said):
    guess = said.argmax(1)
    areas = {"auroc": roc_auc_score, "aupr": average_precision_score}
    sides = [(truth == c, said[:, c]) for c in range(said.shape[1]) if 0 < (truth == c).mean() < 1]
    return {
        "accuracy": accuracy_score(truth, guess),
        "macro_f1": f1_score(truth, guess, average="macro"),
        "mcc": matthews_corrcoef(truth, guess),
        **{name: np.mean([area(*side) for side in sides]) for name, area in areas.items()},
    }


def naive_labels(truth, said):
    best = 0.0
    labelled = np.flatnonzero(truth.any(1))
    for threshold in np.unique(said[labelled]):
        chosen = said >= threshold
        rows = [i for i in labelled if chosen[i].any()]
        precision = np.mean([truth[i][chosen[i]].mean() for i in rows])
        recall = np.mean([chosen[i][truth[i]].mean() for i in labelled])
        if precision + recall:
            best = max(best, 2 * precision * recall / (precision + recall))
    columns = [c for c in range(truth.shape[1]) if 0 < truth[:, c].mean() < 1]
    return {
        "fmax": best,
        "micro_f1": f1_score(truth, said >= 0.5, average="micro", zero_division=0),
        "auroc": np.mean([roc_auc_score(truth[:, c], said[:, c]) for c in columns]),
        "aupr": np.mean([average_precision_score(truth[:, c], said[:, c]) for c in columns]),
    }


def naive_values(truth, said):
    return {
        "spearman": spearmanr(truth, said).statistic,
        "r2": r2_score(truth, said),
        "mae": mean_absolute_error(truth, said),
    }


def classes_case():
    return (*some_classes(), measure_classes, naive_classes)


def labels_case():
    truth = RNG.random((70, 5)) < 0.3
    said = np.clip(RNG.random((70, 5)).round(2) * 0.7 + 0.3 * truth, 0, 1)
    return truth, said, measure_labels, naive_labels


def values_case():
    truth = RNG.normal(size=60).round(1)
    return truth, (truth + RNG.normal(size=60)).round(1), measure_values, naive_values


@pytest.mark.parametrize("case", [classes_case, labels_case, values_case])
def test_figures_are_those_of_scikit_learn(case):
    truth, said, measure, naive = case()
    found = measure(truth, said, resamples=0)
    assert {name: one.value for name, one in found.items()} == pytest.approx(naive(truth, said))
    assert all(np.isnan([one.low, one.high]).all() for one in found.values())


@pytest.mark.parametrize("case", [classes_case, labels_case, values_case])
def test_intervals_are_those_of_repeated_rows(case, monkeypatch):
    truth, said, measure, naive = case()
    monkeypatch.setattr(metrics, "_BLOCK", 250)  # several blocks of resamples
    found = measure(truth, said, resamples=7)
    figures = {name: [] for name in found}
    for weights in np.concatenate(list(metrics._resampled(len(truth), 7))):
        rows = np.repeat(np.arange(len(truth)), weights.astype(int))
        for name, figure in naive(truth[rows], said[rows]).items():
            figures[name].append(figure)
    for name, one in found.items():
        wanted = np.quantile(figures[name], [0.025, 0.975])
        assert [one.low, one.high] == pytest.approx(wanted.tolist()), name


def test_a_positive_class_and_a_predictor_that_knows_nothing():
    truth, said = some_classes(count=2)
    found = measure_classes(truth, said, positive=1, resamples=0)
    assert found["aupr"].value == pytest.approx(average_precision_score(truth, said[:, 1]))
    level = measure_classes(truth, np.full((len(truth), 2), 0.5), resamples=20)
    assert (level["auroc"].value, level["mcc"].value) == (0.5, 0.0)


def test_what_is_not_defined_is_nan():
    one = measure_classes(np.zeros(5, int), np.full((5, 2), 0.5), resamples=10)
    assert one["accuracy"].value == 1
    assert np.isnan([one["auroc"].value, one["auroc"].low, one["aupr"].value]).all()
    flat = measure_values(np.ones(4), np.arange(4.0), resamples=10)
    assert np.isnan([flat["spearman"].value, flat["r2"].value]).all()


@pytest.mark.parametrize(
    ("measure", "truth", "said"),
    [
        (measure_classes, np.zeros(3, int), np.zeros((2, 2))),
        (measure_classes, np.zeros(0, int), np.zeros((0, 2))),
        (measure_labels, np.zeros((3, 2), bool), np.zeros((3, 3))),
        (measure_values, np.zeros(3), np.zeros(2)),
    ],
)
def test_shapes_that_do_not_fit(measure, truth, said):
    with pytest.raises(UsageError, match="of shape"):
        measure(truth, said)


def test_composition():
    found = composition(["ACCX", "WW"])
    assert found.shape == (2, 21)
    shares = dict(zip(RESIDUES, found[0].tolist(), strict=False))
    assert {r: s for r, s in shares.items() if s} == {"A": 0.25, "C": 0.5}
    assert found[:, -1].tolist() == pytest.approx([np.log(4), np.log(2)])
