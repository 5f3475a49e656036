"""Pairs of vectors: features and scores against the plainest way to compute them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from protclip_core.errors import ModelError, UsageError
from protclip_core.heads.pair_features import (
    RECIPES,
    embedding_input,
    pair_features,
    pair_input,
    recipe_of,
    unit_rows,
)
from protclip_core.heads.pair_scores import (
    PairScorer,
    _prepare,
    _score_block,
    _score_listed,
)
from tests.support.pairs import DIM, INPUT, TYPES, all_pairs, head_of, vectors_of

VECTORS = unit_rows(vectors_of(30, seed=3))


def naive(x, y, recipe):
    found = []
    for part in recipe:
        if part == "cosine":
            found.append(sum(float(p) * float(q) for p, q in zip(x, y, strict=True)))
        for p, q in zip(x.tolist(), y.tolist(), strict=True):
            if part != "cosine":
                found.append({"sum": p + q, "difference": abs(p - q), "product": p * q,
                              "squares": p * p + q * q}[part])  # fmt: skip
    return found


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_features_are_what_they_are_called_and_know_no_order(recipe):
    x, y = VECTORS[:6], VECTORS[6:12]
    found = pair_features(x, y, recipe)
    wanted = [naive(one, other, recipe) for one, other in zip(x, y, strict=True)]
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    assert (found == pair_features(y, x, recipe)).all()
    assert found.shape == (6, pair_input(INPUT, recipe).width)


def test_shapes_that_are_no_pairs():
    with pytest.raises(UsageError, match="shape"):
        pair_features(VECTORS[:2], VECTORS[:3], RECIPES["squares"])


def test_unit_rows_have_a_direction_or_none():
    given = np.array([[3.0, 4], [0, 0], [np.inf, 1], [np.nan, 1], [1e-30, 0], [3e38, 3e38]])
    found = unit_rows(given)
    np.testing.assert_allclose(found[0], [0.6, 0.8], rtol=1e-6)
    assert np.isnan(found[1:4]).all()
    np.testing.assert_allclose(np.linalg.norm(found[[0, 4, 5]], axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("types", [False, True], ids=["interaction", "types"])
def test_a_linear_head_scores_pairs_as_it_scores_their_features(recipe, types):
    head = head_of(vectors_of(30, seed=3), recipe, types=types)
    scorer = PairScorer(head)
    assert scorer.is_linear
    a, b = all_pairs(30)
    said = head.predict_proba(pair_features(VECTORS[a], VECTORS[b], RECIPES[recipe]))
    wanted = said if types else said[:, 1:]
    assert wanted.std() > 0.05
    np.testing.assert_allclose(scorer.listed(VECTORS, a, b), wanted, atol=1e-4)
    assert scorer.answers == (len(TYPES) if types else 1)


@pytest.mark.parametrize(
    ("kind", "recipe", "types"),
    [
        ("logistic", "difference", False),
        ("logistic", "squares", True),
        ("mlp", "difference", False),
        ("boosting", "squares", True),
    ],
)
def test_a_score_depends_on_its_pair_alone(kind, recipe, types):
    """To the last digit: in both orders, listed or in blocks of any size, kept or not."""
    scorer = PairScorer(head_of(vectors_of(30, seed=3), recipe, kind=kind, types=types))
    table = scorer.block(VECTORS, VECTORS)
    if scorer.is_linear:
        assert (table == table.transpose(1, 0, 2)).all()
        parts = [scorer.block(VECTORS[i : i + 7], VECTORS[5:]) for i in range(0, 30, 7)]
        assert (np.concatenate(parts) == table[:, 5:]).all()
        assert (scorer.block(VECTORS[5:], VECTORS[:4]) == table[5:, :4]).all()
    a, b = np.random.default_rng(1).integers(0, 30, (2, 400))
    listed = scorer.listed(VECTORS, a, b)
    assert (listed == scorer.listed(VECTORS, b, a)).all()
    if scorer.is_linear:
        assert (listed == table[a, b]).all()
        assert (listed[3:5] == scorer.listed(VECTORS, a[3:5], b[3:5])).all()
        scorer.keep(VECTORS)
        assert (listed == scorer.listed(VECTORS, a, b)).all()
    else:
        np.testing.assert_allclose(listed, table[a, b], rtol=0, atol=1e-6)


@pytest.mark.parametrize("recipe", RECIPES)
def test_sums_are_exact_before_they_are_rounded(recipe):
    """No digit of a float64 depends on the order of a sum, which differs between these ways."""
    vectors = unit_rows(vectors_of(24, seed=4, dim=301))
    scorer = PairScorer(head_of(vectors_of(24, seed=4, dim=301), recipe))
    (column,) = scorer.columns
    ready = _prepare(column, vectors)
    table = _score_block(column, ready, ready)
    assert (table == table.T).all()
    order = np.random.default_rng(0).permutation(301)
    turned = {name: (w[order], worth) for name, (w, worth) in column.own.items()}
    places = {"factor", "signs", "distance", "distance_signs"} & {
        name for name, value in column._asdict().items() if value is not None
    }
    moved = column._replace(own=turned, **{n: getattr(column, n)[order] for n in places})
    other = _prepare(moved, vectors[:, order])
    assert (_score_block(moved, other, other) == table).all()
    a, b = all_pairs(24)
    assert (_score_listed(column, ready, a, b) == table[a, b]).all()
    assert (_score_listed(moved, other, b, a) == table[a, b]).all()


def test_no_pairs_have_no_scores():
    scorer = PairScorer(head_of(vectors_of(30, seed=3)))
    assert scorer.listed(VECTORS, [], []).shape == (0, 1)
    assert scorer.block(VECTORS[:0], VECTORS).shape == (0, 30, 1)


def test_a_head_says_which_features_it_takes():
    given = pair_input(INPUT, RECIPES["squares"])
    assert (given.width, given.features) == (3 * DIM + 1, "pair: sum, squares, product, cosine")
    assert recipe_of(given, "x") == RECIPES["squares"]
    assert embedding_input(given, "x") == INPUT
    with pytest.raises(ModelError, match="x.head: is a head for single proteins"):
        recipe_of(INPUT, "x.head")
    for odd in (replace(given, features="pair: sum, ratio"), replace(given, width=36)):
        with pytest.raises(ModelError, match="which this protclip does not know; update"):
            recipe_of(odd, "x")
