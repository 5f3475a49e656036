"""Folds, calibrations and keys, each against a naive way."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from protclip_core.errors import ModelError, UsageError
from protclip_core.heads import Targets
from protclip_core.heads.calibration import HeadCalibration, log_odds
from protclip_core.heads.fit_calibration import (
    expected_error,
    fit_calibration,
    log_loss,
    told_and_right,
)
from protclip_core.heads.folds import deal, group_numbers, strata
from protclip_core.heads.form import HeadForm
from protclip_core.heads.seen import keys_of_digests, keys_of_texts, pack_keys, unpack_keys

RNG = np.random.default_rng(2)


def test_groups_stay_whole_and_parts_have_their_size():
    groups = RNG.integers(0, 200, 1000)
    kinds = (groups % 10 == 0).astype(int)
    parts = deal(groups, [8, 1, 1], 0, kinds)
    assert all(len(set(parts[groups == group])) == 1 for group in set(groups))
    shares = np.bincount(parts) / 1000
    assert shares == pytest.approx([0.8, 0.1, 0.1], abs=0.02)
    for part in range(3):
        assert kinds[parts == part].mean() == pytest.approx(kinds.mean(), abs=0.04)
    assert (parts == deal(groups, [8, 1, 1], 0, kinds)).all()
    assert (parts != deal(groups, [8, 1, 1], 1, kinds)).any()


def test_one_large_group_does_not_drag_the_others_along():
    groups = np.concatenate([np.zeros(60, int), np.arange(1, 41)])
    parts = deal(groups, [1, 1], 0)
    assert sorted(np.bincount(parts)) == [40, 60]


def test_few_groups_leave_parts_empty():
    assert set(deal(np.zeros(5, int), [1, 1, 1], 0)) == {0}
    with pytest.raises(UsageError, match="a share of 0"):
        deal(np.zeros(5, int), [1, 0], 0)


def test_what_is_spread_evenly():
    assert strata(Targets.of_classes(["b", "a"])).tolist() == [1, 0]
    assert strata(Targets.of_values([1.0, 2.0])).tolist() == [0, 0]
    labels = Targets.of_labels([["x"], ["x", "y"], ["x"], []])
    assert strata(labels).tolist() == [0, 1, 0, 2]  # y is rarer; none is a kind of its own
    assert group_numbers(["q", "p", "q", 7]).tolist() == [0, 1, 0, 2]


def overconfident(rows=4000):
    """Probabilities whose log odds are twice too large and shifted."""
    odds = RNG.normal(size=rows)
    truth = RNG.random(rows) < 1 / (1 + np.exp(-odds))
    said = 1 / (1 + np.exp(-(2 * odds + 1)))
    return np.stack([1 - said, said], axis=1), truth


def test_a_calibration_finds_back_what_was_distorted():
    said, truth = overconfident()
    targets = Targets.of_classes([str(int(t)) for t in truth])
    found = fit_calibration(said, targets)
    assert found.slopes[0] == pytest.approx(0.5, abs=0.06)
    assert found.offsets[1] - found.offsets[0] == pytest.approx(-0.5, abs=0.1)
    calibrated = found.apply(said, multilabel=False)
    assert expected_error(calibrated, targets) < 0.02 < expected_error(said, targets)
    assert log_loss(calibrated, targets) < log_loss(said, targets)


def test_the_error_of_two_classes_is_that_of_the_second():
    """Of rare positives that are said too often, where the likelier class looks right."""
    truth = np.arange(1000) < 10
    said = np.where(np.arange(1000) % 2 == 0, 0.45, 0.05)
    targets = Targets.of_classes(["yes" if t else "no" for t in truth])
    assert targets.names == ("no", "yes")
    own = np.stack([1 - said, said], axis=1)
    shown, right = told_and_right(targets, own)
    assert (shown == said).all() and (right == truth).all()
    assert expected_error(own, targets) == pytest.approx((0.44 + 0.04) / 2)
    three = Targets.of_classes(["a", "b", "c"] * 2)
    table = np.tile([[0.5, 0.3, 0.2]], (6, 1))
    shown, right = told_and_right(three, table)
    assert shown.tolist() == [0.5] * 6 and right.tolist() == [True, False, False] * 2


def test_each_label_is_calibrated_as_by_a_logistic_regression():
    said, truth = overconfident()
    table = np.stack([truth, ~truth], axis=1)
    both = np.stack([said[:, 1], said[:, 1][::-1]], axis=1)
    found = fit_calibration(both, Targets.of_table(table, ["a", "b"]))
    for column in range(2):
        odds = log_odds(both[:, column])[:, None]
        twin = LogisticRegression(C=1e6).fit(odds, table[:, column])
        wanted = max(0.1, float(twin.coef_[0, 0]))  # never turned round
        assert found.slopes[column] == pytest.approx(wanted, abs=0.01)
    assert found.offsets[0] == pytest.approx(-0.5, abs=0.1)


def test_few_rows_and_sure_answers_lead_to_no_infinity():
    targets = Targets.of_classes(["a", "b"])
    found = fit_calibration(np.array([[1.0, 0.0], [0.0, 1.0]]), targets)
    assert np.isfinite([*found.slopes, *found.offsets]).all()
    assert log_loss(np.array([[0.0, 1.0], [0.0, 1.0]]), targets) < 40
    empty = Targets.of_table(np.zeros((2, 2), bool), ["x", "y"])
    assert np.isfinite(fit_calibration(np.full((2, 2), 0.5), empty).offsets).all()


@pytest.mark.parametrize(
    "plain",
    [
        {"slopes": [1.0], "offsets": []},
        {"slopes": [1.0, 1.0], "offsets": [0.0]},
        {"slopes": [0.0], "offsets": [0.0]},
        {"slopes": [float("nan")], "offsets": [0.0]},
        {"slopes": [1e300], "offsets": [0.0]},
    ],
)
def test_a_calibration_that_makes_no_sense(plain):
    with pytest.raises(ValueError, match="slope|number|offset"):
        HeadCalibration.of_plain(plain)


def test_a_linear_form_as_plain_data():
    arrays = {"weights": np.ones((3, 2), np.float32), "offsets": np.zeros(2, np.float32)}
    form = HeadForm("linear", "softmax", 3, arrays)
    back = HeadForm.of_plain(form.to_plain(), 3)
    assert (back.arrays["weights"] == arrays["weights"]).all() and back.link == "softmax"
    for change in ({"link": "other"}, {"offsets": [0.0]}):
        with pytest.raises(ValueError, match="other|weights"):
            HeadForm.of_plain({**form.to_plain(), **change}, 3)


def test_keys_are_those_of_the_sequences():
    texts = ["MKT", "AAA", "MKT"]
    digests = np.stack(
        [np.frombuffer(hashlib.sha256(t.encode()).digest(), np.uint8) for t in texts]
    )
    keys = keys_of_texts(texts)
    assert (keys == keys_of_digests(digests)).all() and keys[0] == keys[2] != keys[1]
    assert unpack_keys(pack_keys(keys), "x").tolist() == sorted(set(keys.tolist()))
    assert len(unpack_keys(pack_keys(keys[:0]), "x")) == 0
    for bad in ("?", "AAAA"):
        with pytest.raises(ModelError, match="list of what it was fitted on"):
            unpack_keys(bad, "x.head")
