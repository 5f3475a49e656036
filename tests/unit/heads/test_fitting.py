"""Fitting: what is learnt, held out by group, calibrated, and the same each time."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest
from sklearn.base import clone

from protclip_core.errors import InputError, UsageError
from protclip_core.heads import FitSettings, Targets, fit_head, load_head, save_head
from protclip_core.heads import fitting as module
from protclip_core.heads.kinds import make_estimator
from tests.support.heads import INPUT, WIDTH

ROWS = 150
QUICK = FitSettings(search=False, folds=3)


def made(task, rows=ROWS, seed=0):
    """Features of unlike scales, and targets that follow from them with some noise."""
    rng = np.random.default_rng(seed)
    plain = rng.normal(size=(rows, WIDTH))
    scores = plain @ np.random.default_rng(1).normal(size=(WIDTH, 3)) / 2
    noisy = scores + rng.normal(size=scores.shape) * 0.5
    features = (plain * np.linspace(0.1, 30, WIDTH) + 7).astype(np.float32)
    if task == "values":
        return features, Targets.of_values(noisy[:, 0])
    if task == "labels":
        return features, Targets.of_table(noisy > 0.5, ["x", "y", "z"])
    names = ["b", "a", "c"] if task == "classes" else ["no", "yes"]
    return features, Targets.of_classes([names[i] for i in noisy[:, : len(names)].argmax(1)])


TASKS = ("classes", "binary", "labels", "values")


@pytest.fixture(scope="module", params=TASKS)
def linear(request):
    """A linear head of each task: task, features, fitted."""
    features, targets = made(request.param)
    return request.param, features, fit_head(features, targets, QUICK)


def test_a_head_knows_more_than_chance(linear):
    task, _features, fitted = linear
    features, truth = made(task, seed=9)
    said = fitted.answer(features)
    if task == "values":
        assert np.corrcoef(said, truth.table)[0, 1] > 0.8
    elif task == "labels":
        assert ((said >= 0.5) == truth.table).mean() > 0.8
        assert said.mean(0) == pytest.approx(truth.table.mean(0), abs=0.1)
    else:
        assert (said.argmax(1) == truth.table).mean() > 0.7
        assert said.sum(1) == pytest.approx(np.ones(len(said)))


def test_a_saved_head_says_the_same_also_folded(linear, tmp_path):
    task, features, fitted = linear
    card = fitted.card(task="x", input=INPUT, training_data="t", trained_on="AAA=")
    save_head(tmp_path / "x.head", fitted.estimator, card, features)
    head = load_head(tmp_path / "x.head", model=INPUT)
    assert replace(head.card, versions={}) == card
    other, _targets = made(task, seed=5)
    wanted = fitted.answer(other)
    said = head.predict(other) if task == "values" else head.predict_proba(other)
    assert np.abs(said - wanted).max() < 1e-5  # computed in float64, not in float32
    assert head.linear.predict(other) == pytest.approx(wanted, abs=1e-4)
    assert head.linear.arrays["weights"].dtype == np.float32
    if task == "values":
        assert head.predict(np.empty((0, WIDTH))).shape == (0,)
        with pytest.raises(UsageError, match="not probabilities"):
            head.predict_proba(other)
        return
    chosen = head.predict(other)
    if task == "labels":
        assert (chosen == (said >= 0.5)).all() and chosen.dtype == bool
        assert head.predict(other[:0]).shape == (0, 3)
    else:
        assert chosen.tolist() == [fitted.targets.names[i] for i in said.argmax(1)]
        assert head.predict(other[:0]).shape == (0,)
    assert not np.allclose(said, head.form.predict(other))  # it is calibrated


@pytest.mark.parametrize("kind", ["mlp", "boosting"])
@pytest.mark.parametrize("task", TASKS)
def test_other_kinds_can_be_fitted_and_stored(kind, task, tmp_path, monkeypatch):
    short = {"mlp": {"alpha": 1.0}, "boosting": {"max_iter": 5, "max_leaf_nodes": 4}}
    monkeypatch.setattr(module, "candidates", lambda kind: (short[kind],))
    features, targets = made(task)
    fitted = fit_head(features, targets, replace(QUICK, kind=kind, folds=2))
    save_head(tmp_path / "x.head", fitted.estimator, fitted.card(task="", input=INPUT), features)
    head = load_head(tmp_path / "x.head")
    assert head.linear is None
    said = head.predict(features) if task == "values" else head.predict_proba(features)
    assert said == pytest.approx(fitted.answer(features), abs=1e-4)


def test_the_same_input_gives_the_same_file(tmp_path):
    features, targets = made("binary")
    for name in ("a", "b"):
        fitted = fit_head(features, targets, QUICK)
        save_head(tmp_path / name, fitted.estimator, fitted.card(task="", input=INPUT), features)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_held_out_answers_are_those_of_heads_without_the_fold(monkeypatch):
    """A naive loop over folds; the calibration is fitted on the other folds as well."""
    features, targets = made("classes")
    groups = np.arange(ROWS) // 4
    seen = []
    plain = module.deal
    monkeypatch.setattr(module, "deal", lambda *a: seen.append(plain(*a)) or seen[-1])
    fitted = fit_head(features, targets, replace(QUICK, calibrate=False), groups=groups)
    assert fitted.calibration is None and np.isnan(fitted.held_out).all()
    fitted = fit_head(features, targets, QUICK, groups=groups)
    folds = seen[-1]
    assert all(len(set(folds[groups == group])) == 1 for group in set(groups))
    raw = np.empty((ROWS, 3))
    for fold in set(folds):
        fresh = clone(fitted.estimator).fit(features[folds != fold], targets.table[folds != fold])
        raw[folds == fold] = fresh.predict_proba(features[folds == fold])
    wanted = np.empty_like(raw)
    for fold in set(folds):
        others = module.fit_calibration(raw[folds != fold], targets.take(folds != fold))
        wanted[folds == fold] = others.apply(raw[folds == fold], multilabel=False)
    assert fitted.held_out == pytest.approx(wanted, abs=1e-6)
    twin = module.fit_calibration(raw, targets)
    assert fitted.calibration.slopes == pytest.approx(twin.slopes, abs=1e-6)
    assert fitted.calibration.offsets == pytest.approx(twin.offsets, abs=1e-6)


def test_rows_for_validation_choose_and_calibrate_and_are_not_fitted_on():
    features, targets = made("binary")
    other = made("binary", seed=4)
    fitted = fit_head(features, targets, FitSettings(), valid=other)
    twin = make_estimator("logistic", "classes", fitted.fit["parameters"], balanced=False, seed=0)
    twin.fit(features, targets.table)
    assert (twin.predict_proba(features) == fitted.estimator.predict_proba(features)).all()
    said = twin.predict_proba(other[0]).astype(np.float64)
    assert fitted.calibration == module.fit_calibration(said, other[1])
    assert (fitted.fit["folds"], fitted.fit["calibrated_on"]) == (0, ROWS)


def test_the_search_takes_the_least_held_out_loss(caplog):
    features, targets = made("values")
    with caplog.at_level(logging.INFO):
        fitted = fit_head(features, targets, FitSettings(folds=3))
    losses = [
        (float(record.args[2]), record.args[1])
        for record in caplog.records
        if "held-out loss" in record.msg
    ]
    assert len(losses) == fitted.fit["searched"] > 1
    assert fitted.fit["parameters"] == min(losses, key=lambda one: one[0])[1]


def test_many_rows_are_searched_in_part_and_calibrated_on_one_fold():
    features, targets = made("binary")
    fitted = fit_head(features, targets, FitSettings(search_rows=60, folds=3))
    assert fitted.fit["calibrated_on"] == pytest.approx(ROWS / 3, abs=2)
    assert np.isfinite(fitted.held_out[:, 0]).sum() == fitted.fit["calibrated_on"]


def test_rare_classes_weigh_more_and_calibration_takes_it_back():
    features, targets = made("binary", rows=600)
    rare = np.flatnonzero(targets.table == 1)
    rows = np.sort(np.concatenate([np.flatnonzero(targets.table == 0), rare[: len(rare) // 8]]))
    features, targets = features[rows], targets.take(rows)
    fitted = fit_head(features, targets, QUICK)
    assert fitted.fit["class_weight"] == "balanced"
    share = targets.table.mean()
    raw = fitted.estimator.predict_proba(features)[:, 1].mean()
    calibrated = fitted.answer(features)[:, 1].mean()
    assert raw > 1.5 * share and abs(calibrated - share) < (raw - share) / 5
    assert fitted.fit["ece"] < fitted.fit["ece_before"]
    none = fit_head(features, targets, replace(QUICK, class_weight="none"))
    assert none.fit["class_weight"] == "none"


def test_a_fold_without_a_class_gives_it_nothing():
    features, targets = made("classes", rows=40)
    few = Targets.of_classes(["rare", *np.array(targets.names)[targets.table[1:]]])
    fitted = fit_head(features, few, QUICK)
    assert fitted.answer(features).shape == (40, 4)


BAD = [
    ({"kind": "forest"}, "classes", "head 'forest' is not known; use logistic, ridge"),
    ({"kind": "ridge"}, "classes", "a ridge head does not predict classes; use logistic"),
    ({"kind": "logistic"}, "values", "does not predict values; use ridge"),
    ({"class_weight": "much"}, "classes", "class weight 'much'"),
    ({"folds": 1}, "classes", "folds 1 is too few; use 2 or more"),
    ({"threads": 0}, "classes", "threads 0"),
]


@pytest.mark.parametrize(("changed", "task", "message"), BAD)
def test_settings_that_make_no_sense(changed, task, message):
    with pytest.raises(UsageError, match=message):
        fit_head(*made(task), FitSettings(**changed))


def test_data_that_cannot_be_learnt_from():
    features, targets = made("classes")
    values = Targets.of_values(np.ones(ROWS))
    one = Targets.of_classes(["a"] * ROWS)
    never = Targets.of_table(np.eye(ROWS, 2, dtype=bool)[:, [0, 0]] & [True, False], ["x", "y"])
    broken = features.copy()
    broken[3, 2] = np.nan
    for rows, answers, message in (
        (features, one, "the only class is 'a'"),
        (features, never, "none of 150 rows are 'y'"),
        (features, values, "all values are the same"),
        (features[:0], targets.take(slice(0)), "no rows"),
        (broken, targets, "vector 4 holds NaN"),
    ):
        with pytest.raises(InputError, match=message):
            fit_head(rows, answers, QUICK)
    with pytest.raises(InputError, match="all rows are of one group"):
        fit_head(features, targets, QUICK, groups=np.zeros(ROWS, int))
    with pytest.raises(UsageError, match="features of shape"):
        fit_head(features[:-1], targets, QUICK)
    with pytest.raises(UsageError, match="groups of shape"):
        fit_head(features, targets, QUICK, groups=np.zeros(3, int))
    with pytest.raises(UsageError, match="other features or classes"):
        fit_head(features, targets, QUICK, valid=made("binary"))
    with pytest.raises(InputError, match="value 2 is not a finite number"):
        Targets.of_values([1.0, np.inf])
    with pytest.raises(InputError, match="class 'z' is not known; known: a, b"):
        Targets.of_classes(["a", "z"], ["a", "b"])


def test_targets_are_hashed_whatever_their_order():
    one = Targets.of_classes(["a", "b"]).sha256(["p", "q"])
    assert one == Targets.of_classes(["b", "a"]).sha256(["q", "p"])
    assert one != Targets.of_classes(["b", "a"]).sha256(["p", "q"])
