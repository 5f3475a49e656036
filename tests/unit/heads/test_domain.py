"""What a head knows of its domain, and of the prevalence it was calibrated for."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from protclip_core.heads import FitSettings, Targets, fit_head, load_head, save_head
from protclip_core.heads.domain import SLACK, HeadDomain
from protclip_core.heads.prevalence import (
    at_prevalence,
    classes_at_prevalence,
    thresholds,
)
from tests.support.heads import INPUT, WIDTH, card, examples, fitted
from tests.support.refusals import refused

LENGTHS = np.arange(50, 50 + len(examples()))


def test_what_it_was_fitted_on_is_inside_and_far_things_are_not(tmp_path):
    domain = HeadDomain.of(examples(), LENGTHS)
    head = save_head(tmp_path / "x.head", fitted(LogisticRegression()), card(), examples(), domain)
    for one in (head, load_head(tmp_path / "x.head")):
        assert one.domain.lengths == (50, 169)
        assert one.outside(examples(), LENGTHS) == [""] * len(examples())
        new = np.random.default_rng(3).normal(size=(200, WIDTH))
        assert sum(map(bool, one.outside(new))) <= 4  # of the same kind
        odd = np.stack([examples()[0] * 30, examples()[0] * 1e-3, examples()[0], examples()[0]])
        first, second, third, fourth = one.outside(odd, np.array([100, 100, 8, 0]))
        assert "distance" in first
        assert "norm" in second
        assert third.startswith("8 residues") and "50 to 169" in third
        assert fourth == ""  # its length is not known
    norm = float(np.linalg.norm(examples(), axis=1).max())
    assert head.domain.norms[1] == pytest.approx(norm)
    distances = np.sqrt((((examples() - examples().mean(0)) / examples().std(0)) ** 2).mean(1))
    assert head.domain.distance == pytest.approx(distances.max(), rel=1e-5)


def test_the_edges_of_the_range_of_lengths():
    domain = HeadDomain.of(np.ones((2, 3)), np.array([100, 1000]))
    lengths = np.array([int(100 / SLACK) - 1, int(100 / SLACK), 1250, 1251])
    found = domain.reasons(np.ones((4, 3)), lengths)
    assert [bool(reason) for reason in found] == [True, False, False, True]


def test_old_heads_and_unknown_lengths_say_nothing(tmp_path):
    head = save_head(tmp_path / "x.head", fitted(LogisticRegression()), card(), examples())
    assert head.domain is None and head.outside(examples() * 1e6) == [""] * len(examples())
    domain = HeadDomain.of(examples(), np.zeros(len(examples()), np.int64))
    assert domain.lengths == (0, 0)
    assert domain.reasons(examples()[:1], np.array([3])) == [""]
    one = HeadDomain.of(examples()[:1], LENGTHS[:1])  # of one protein, without any spread
    assert one.reasons(examples()[:1], LENGTHS[:1]) == [""]
    assert one.reasons(examples()[1:2])[0]


def test_probabilities_at_another_prevalence_are_those_of_bayes():
    """Scores of two normal densities: the posterior is known in closed form."""
    scores = np.linspace(-4, 4, 101)
    likelihood = np.exp(-0.5 * (scores[:, None] - np.array([-1.0, 1.0])) ** 2)

    def posterior(share):
        both = likelihood * np.array([1 - share, share])
        return both / both.sum(1, keepdims=True)

    for fitted_for, wanted in ((0.5, 0.001), (0.5, 0.5), (0.2, 0.9)):
        found = at_prevalence(posterior(fitted_for)[:, 1], fitted_for, wanted)
        assert found == pytest.approx(posterior(wanted)[:, 1], abs=1e-12)
        both = classes_at_prevalence(
            posterior(fitted_for), [1 - fitted_for, fitted_for], [1 - wanted, wanted]
        )
        assert both == pytest.approx(posterior(wanted), abs=1e-12)
    assert at_prevalence([0.0, 1.0, np.nan], 0.5, 0.01).tolist()[:2] == [0.0, 1.0]
    assert at_prevalence(np.float32([0.5]), 0.5, 0.1).dtype == np.float32
    for bad in (0.0, 1.0, -0.1, np.nan):
        with refused("usage.bad_prevalence"):
            at_prevalence(0.5, 0.5, bad)
    with refused("usage.bad_prevalence"):
        classes_at_prevalence(posterior(0.5), [0.5, 0.5], [0.2, 0.3, 0.5])


def test_thresholds_are_those_of_a_naive_search():
    rng = np.random.default_rng(0)
    yes = rng.random(500) < 0.3
    said = np.round(np.clip(yes * 0.3 + rng.random(500) * 0.7, 0, 1), 2)  # with ties
    for prevalence in (None, 0.01):
        share = yes.mean() if prevalence is None else prevalence
        for wanted, threshold, recall in thresholds(yes, said, prevalence=prevalence):
            good = []
            for level in np.unique(said):
                right, wrong = (said[yes] >= level).mean(), (said[~yes] >= level).mean()
                if right * share / (right * share + wrong * (1 - share)) >= wanted:
                    good.append((level, right))
            assert (threshold, recall) == pytest.approx(min(good))
    assert thresholds(yes, said, precisions=[1.0], prevalence=0.01)[0].recall > 0
    assert thresholds(yes[:1] | True, said[:1]) == []
    assert thresholds(yes, np.where(yes, said, 1.0), precisions=[0.9]) == []
    assert thresholds(np.array([True, False]), np.array([np.nan, 0.5])) == []


def test_a_fitted_head_says_what_it_was_calibrated_for(tmp_path):
    rng = np.random.default_rng(1)
    features = rng.normal(size=(400, WIDTH))
    truth = rng.random(400) < 1 / (1 + np.exp(-2 * features[:, 0]))
    kept = np.flatnonzero(truth | (rng.random(400) < 0.5))
    names = np.where(truth[kept], "yes", "no").tolist()
    found = fit_head(features[kept], Targets.of_classes(names), FitSettings(search=False))
    share = truth[kept].mean()
    assert found.fit["prevalence"] == pytest.approx([1 - share, share])
    held = found.held_out[:, 1]
    for one in found.fit["thresholds"]:
        listed = truth[kept][held >= one["threshold"]]
        assert listed.mean() >= one["precision"]
        assert listed.sum() / truth[kept].sum() == pytest.approx(one["recall"])
    assert [one["precision"] for one in found.fit["thresholds"]][:2] == [0.5, 0.8]
    own = found.card(task="x", input=INPUT)
    head = save_head(tmp_path / "x.head", found.estimator, own, features)
    said = load_head(tmp_path / "x.head").predict_proba(features)
    wanted = at_prevalence(said[:, 1], share, 0.001)
    assert head.at_prevalence(said, 0.001)[:, 1] == pytest.approx(wanted)
    assert head.at_prevalence(said[:, 1:], 0.001)[:, 0] == pytest.approx(wanted)
    assert head.at_prevalence(said, [0.999, 0.001])[:, 1] == pytest.approx(wanted)
    with refused("usage.bad_prevalence"):
        head.at_prevalence(said, [0.2, 0.3, 0.5])
    plain = save_head(tmp_path / "y.head", fitted(LogisticRegression()), card(), examples())
    with refused("usage.no_prevalence"):
        plain.at_prevalence(plain.predict_proba(examples()), [0.1, 0.2, 0.7])


def test_labels_are_corrected_one_by_one(tmp_path):
    table = examples()[:, :3] > np.array([0.0, 0.5, 1.0])
    found = fit_head(
        examples(), Targets.of_table(table, ["a", "b", "c"]), FitSettings(search=False)
    )
    assert found.fit["prevalence"] == pytest.approx(table.mean(0).tolist())
    assert "thresholds" not in found.fit
    own = found.card(task="x", input=INPUT)
    head = save_head(tmp_path / "x.head", found.estimator, own, examples())
    said = head.predict_proba(examples())
    corrected = head.at_prevalence(said, [0.1, 0.2, 0.3])
    for column, share in enumerate([0.1, 0.2, 0.3]):
        wanted = at_prevalence(said[:, column], table[:, column].mean(), share)
        assert corrected[:, column] == pytest.approx(wanted)
    with refused("usage.bad_prevalence"):
        head.at_prevalence(said, [0.1, 0.2])
