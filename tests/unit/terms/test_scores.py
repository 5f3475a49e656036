"""Proteins against terms: cosines, probabilities, propagation; each against a naive twin."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from protclip_core.errors import UsageError
from protclip_core.terms import scores as go_scores
from protclip_core.terms.calibration import AspectCalibration, Calibration
from protclip_core.terms.scores import GoScorer
from tests.support.go_indexes import ancestors_of, naive_log_odds, random_index, unit


@pytest.fixture(scope="module")
def index():
    return random_index()


@pytest.fixture(scope="module")
def table(index, vectors):
    return naive_log_odds(index, vectors)


@pytest.fixture(scope="module")
def vectors(index):
    return unit(np.random.default_rng(1), 40, index.joint_dim)


def pairs(scored, values):
    return dict(zip(zip(scored.rows.tolist(), scored.terms.tolist()), values.tolist()))


def without_roots(index, table, least):
    roots = set(index.ontology.roots.tolist())
    return {
        (row, term): table[row, term]
        for row in range(len(table))
        for term in range(table.shape[1])
        if table[row, term] >= least and term not in roots
    }


def test_log_odds_are_those_of_the_naive_twin(index, vectors, table):
    np.testing.assert_allclose(GoScorer(index).all_log_odds(vectors), table, atol=2e-5)


@pytest.mark.parametrize("least", [-4.0, -1.0, 0.5])
def test_above_gives_all_pairs_of_the_naive_twin_and_no_other(index, vectors, table, least):
    wanted = without_roots(index, table, least)
    scored = GoScorer(index).above(vectors, least)
    found = pairs(scored, scored.log_odds)
    assert found.keys() == wanted.keys()
    np.testing.assert_allclose(list(found.values()), [wanted[p] for p in found], atol=2e-5)
    assert scored.chosen.all()
    assert len(wanted) > 50


def test_no_term_is_above_an_ancestor_also_across_aspects(index, vectors):
    scored = GoScorer(index).above(vectors, -3.0)
    found = pairs(scored, scored.log_odds)
    ancestors, crossing = ancestors_of(index.ontology), 0
    roots = set(index.ontology.roots.tolist())
    for (row, term), odds in found.items():
        for above in ancestors[term] - roots:
            assert found[row, above] >= odds
            crossing += index.ontology.aspects[above] != index.ontology.aspects[term]
    assert crossing > 100


def test_cosines_are_plain_ones_and_not_propagated(index, vectors):
    scorer = GoScorer(index)
    scored = scorer.above(vectors, -2.0)
    texts = index.vectors.astype(np.float64) * index.scales[:, None].astype(np.float64)
    wanted = (vectors[scored.rows] * texts[scored.terms]).sum(axis=1)
    np.testing.assert_allclose(scored.cosines, wanted, atol=1e-6)


@pytest.mark.parametrize(("k", "group"), [(1, 16), (4, 16), (4, 2), (7, 2), (1000, 2)])
def test_best_are_the_first_k_of_each_aspect(index, vectors, table, k, group, monkeypatch):
    monkeypatch.setattr(go_scores, "_GROUP", group)
    scored = GoScorer(index).best(vectors, k, (0, 2))
    chosen = {p for p, one in pairs(scored, scored.chosen).items() if one}
    known = pairs(scored, scored.log_odds)
    for row in range(len(vectors)):
        for aspect in (0, 1, 2):
            terms = np.setdiff1d(
                np.flatnonzero(index.ontology.aspects == aspect), index.ontology.roots
            )
            own = {
                term for at, term in chosen if at == row and index.ontology.aspects[term] == aspect
            }
            assert len(own) == (min(k, len(terms)) if aspect != 1 else 0)
            # Ties are frequent: a term and its ancestors often share a value.
            best = np.sort(table[row, terms])[::-1][: len(own)]
            values = np.sort([known[row, term] for term in own])[::-1]
            np.testing.assert_allclose(values, best, atol=2e-5)


def test_without_a_calibration_the_best_are_those_of_the_highest_cosine(index, vectors):
    scored = GoScorer(replace(index, calibration=None)).best(vectors, 3, (0, 1, 2))
    assert np.isnan(scored.log_odds).all()
    texts = index.vectors.astype(np.float64) * index.scales[:, None].astype(np.float64)
    cosines = vectors @ texts.T
    ancestors, roots = ancestors_of(index.ontology), set(index.ontology.roots.tolist())
    chosen = {p for p, one in pairs(scored, scored.chosen).items() if one}
    wanted, everything = set(), set()
    for row in range(len(vectors)):
        for aspect in (0, 1, 2):
            terms = [t for t in np.flatnonzero(index.ontology.aspects == aspect) if t not in roots]
            best = sorted(terms, key=lambda t: -cosines[row, t])[:3]
            wanted |= {(row, int(term)) for term in best}
            for term in best:
                above = {int(a) for a in ancestors[term] - roots}
                everything |= {(row, other) for other in above | {int(term)}}
    assert chosen == wanted
    assert set(pairs(scored, scored.chosen)) == everything


def test_what_a_protein_gets_depends_on_it_alone(index, vectors, monkeypatch):
    scorer = GoScorer(index)
    whole, best = scorer.above(vectors, -2.0), scorer.best(vectors, 5, (0, 1, 2))
    # Expanding few pairs at once, and comparing few at once, changes nothing either.
    monkeypatch.setattr(go_scores, "_MOST_PAIRS", 50)
    monkeypatch.setattr(go_scores, "_MOST_VALUES", 500)
    for row in (0, 7, 39):
        for block, table in (
            (scorer.above(vectors[row : row + 1], -2.0), whole),
            (scorer.best(vectors[row : row + 1], 5, (0, 1, 2)), best),
            (scorer.above(np.concatenate([vectors[row:], vectors[:3]]), -2.0), whole),
        ):
            mine, its = block.rows == 0, table.rows == row
            for name in ("terms", "cosines", "log_odds", "chosen"):
                np.testing.assert_array_equal(getattr(block, name)[mine], getattr(table, name)[its])


def test_a_calibration_may_pass_over_the_cosine(index, vectors):
    flat = AspectCalibration(slope=0.0, prior_weight=1.0, offset=1.0)
    only_prior = replace(index, calibration=Calibration((flat,) * 3, "a" * 64))
    wanted = without_roots(index, naive_log_odds(only_prior, vectors[:2]), 0.0)
    scored = GoScorer(only_prior).above(vectors[:2], 0.0)
    assert pairs(scored, scored.log_odds).keys() == wanted.keys() != set()
    assert not GoScorer(only_prior).above(vectors[:2], 100.0).rows.size


def test_nothing_and_wrong_widths(index):
    scorer = GoScorer(index)
    for scored in (
        scorer.above(np.zeros((0, index.joint_dim), np.float32), 0.0),
        scorer.best(np.zeros((0, index.joint_dim), np.float32), 3, (0,)),
    ):
        assert len(scored.rows) == len(scored.terms) == len(scored.chosen) == 0
    with pytest.raises(UsageError, match="do not fit a GO index of width 48"):
        scorer.above(np.zeros((2, 7), np.float32), 0.0)
