"""Calibration: the monotone step, its file form, its error, and fits on data of known truth."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from protclip_core.errors import InputError, ModelError, UsageError
from protclip_core.measure.calibration import calibration_error, logit, reliability, sigmoid
from protclip_core.terms.calibration import MOST_KNOTS, AspectCalibration
from protclip_core.terms.fit import fit_calibration, fit_knots, fit_line
from protclip_core.terms.scores import GoScorer
from tests.support.go_indexes import ASPECTS, naive_correct, orderly_ontology, random_index, unit


def test_log_odds_and_probabilities():
    values = np.array([-800.0, -3.0, 0.0, 2.5, 800.0])
    wanted = [1 / (1 + math.exp(-v)) if v > -700 else 0.0 for v in values]
    np.testing.assert_allclose(sigmoid(values), wanted, atol=1e-15)
    assert logit(0.2) == pytest.approx(math.log(0.25))
    assert (logit(0.0), logit(1.0)) == (-math.inf, math.inf)


@pytest.mark.parametrize("one", ASPECTS)
def test_the_step_is_that_of_the_naive_twin_and_can_be_undone(one):
    values = np.linspace(-9, 9, 721)
    wanted = [naive_correct(one.knots, value) for value in values]
    np.testing.assert_allclose(one.correct(values), wanted, atol=1e-12)
    assert (np.diff(one.correct(values)) > 0).all()
    np.testing.assert_allclose(one.uncorrect(one.correct(values)), values, atol=1e-9)
    assert one.correct(np.array(-np.inf)) == -np.inf
    assert one.uncorrect(np.array(np.inf)) == np.inf


@pytest.mark.parametrize(
    "fields",
    [
        {"slope": -0.1},
        {"prior_weight": -1.0},
        {"offset": math.nan},
        {"knots": ((0.0, 1.0), (0.0, 2.0))},
        {"knots": ((0.0, 1.0), (1.0, 0.5))},
        {"knots": ((0.0, math.inf),)},
        {"knots": tuple((float(n), float(n)) for n in range(MOST_KNOTS + 1))},
    ],
)
def test_what_would_change_the_order_is_no_calibration(fields):
    with pytest.raises(UsageError):
        AspectCalibration(**fields)


def test_a_calibration_as_plain_data():
    for one in ASPECTS:
        assert AspectCalibration.from_dict(one.to_dict(), "x") == one


@pytest.mark.parametrize(
    "change",
    [
        {"slope": "1"},
        {"slope": None},
        {"knots": [[1.0]]},
        {"knots": 7},
        {"knots": [["a", "b"]]},
        {"slope": -1.0},
        {"proteins": True},
        {"more": 1},
    ],
)
def test_foreign_data_are_no_calibration(change):
    content = ASPECTS[0].to_dict() | change
    with pytest.raises(ModelError, match="x.npz: holds no calibration"):
        AspectCalibration.from_dict(content, "x.npz")
    with pytest.raises(ModelError):
        AspectCalibration.from_dict(None, "x.npz")


def test_the_error_of_a_calibration_by_hand():
    # Bins of a fifth: 0.1 and 0.15 said 0.125, true 0.5; 0.9 said 0.9, true 1.
    said = np.array([0.1, 0.15, 0.9, 0.001])
    right = np.array([True, False, True, True])
    assert calibration_error(said, right, bins=5) == pytest.approx((2 * 0.375 + 0.1) / 3)
    found = reliability(said, right, bins=5)
    assert found.counts.tolist() == [2, 1]
    np.testing.assert_allclose(found.said, [0.125, 0.9])
    assert math.isnan(calibration_error(said[3:], right[3:]))
    assert calibration_error(np.array([1.0]), np.array([True])) == 0.0


def test_a_line_is_found_again():
    rng = np.random.default_rng(0)
    scores, priors = rng.normal(2, 3, 20_000), rng.normal(-3, 2, 20_000)
    right = rng.random(20_000) < sigmoid(1.3 * scores + 0.7 * priors - 1)
    even = np.ones(20_000)
    slope, weight, offset = fit_line(scores, priors, right, even)
    assert (slope, weight, offset) == pytest.approx((1.3, 0.7, -1.0), abs=0.1)
    # Thinned out, with weights that make up for it, it is the same line.
    kept = right | (rng.random(20_000) < 0.25)
    weights = np.where(right, 1.0, 4.0)[kept]
    thin = fit_line(scores[kept], priors[kept], right[kept], weights)
    assert thin == pytest.approx((slope, weight, offset), abs=0.15)
    assert fit_line(scores, priors, right, even, use_prior=False)[1] == 0.0
    assert fit_line(-scores, priors, right, even)[0] == pytest.approx(0.0, abs=1e-9)


def test_knots_mend_what_is_said_too_high():
    rng = np.random.default_rng(1)
    odds = rng.normal(-3, 2, 40_000)
    right = rng.random(40_000) < sigmoid(0.6 * odds - 1.2)
    knots = fit_knots(odds, right)
    assert 3 <= len(knots) <= MOST_KNOTS
    mended = AspectCalibration(knots=knots).correct(odds)
    assert calibration_error(sigmoid(odds), right) > 0.05
    assert calibration_error(sigmoid(mended), right) < 0.02
    assert fit_knots(np.zeros(0), np.zeros(0, dtype=bool)) == ()
    # One kind of pairs alone still gives a finite shift.
    ((_, to),) = fit_knots(np.full(50, 0.3), np.ones(50, dtype=bool))
    assert math.isfinite(to)


@pytest.fixture(scope="module")
def known():
    """Proteins whose terms are drawn, and propagated; an index without calibration."""
    ontology = orderly_ontology(120, seed=3)
    index, rng = random_index(ontology=ontology, seed=3, calibrated=False), np.random.default_rng(3)
    vectors = unit(rng, 500, index.joint_dim)
    chance = sigmoid(GoScorer(index).cosines(vectors) * 12 + index.filled_prior - 1)
    drawn = rng.random(chance.shape) < chance
    return index, vectors, [index.ontology.propagate(np.flatnonzero(row)) for row in drawn]


def test_a_fit_says_what_comes_true_of_other_proteins(known):
    index, vectors, terms = known
    fitted = fit_calibration(index, vectors[:300], terms[:300])
    assert fitted.weights_sha256 == index.weights_sha256
    odds = GoScorer(replace(index, calibration=fitted)).all_log_odds(vectors[300:])
    for aspect in range(3):
        columns = np.setdiff1d(
            np.flatnonzero(index.ontology.aspects == aspect), index.ontology.roots
        )
        right = np.array([np.isin(columns, own) for own in terms[300:]])
        rows = right.any(axis=1)
        said = sigmoid(odds[rows][:, columns]).ravel()
        assert calibration_error(said, right[rows].ravel()) < 0.05
        assert fitted.aspects[aspect].slope > 0


def test_a_fit_needs_proteins_of_every_aspect(known):
    index, vectors, terms = known
    bare = [own[index.ontology.aspects[own] != 1] for own in terms[:20]]
    with pytest.raises(InputError, match="none of 20 proteins has a term of aspect BP"):
        fit_calibration(index, vectors[:20], bare)
