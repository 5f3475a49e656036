"""Columns of variants: they add up, forget nothing, and come back from plain data."""

from __future__ import annotations

import json

import numpy as np
import pytest

from protclip_core.heads.variant_features import WIDTH, VariantFeatures
from protclip_core.variants import Variant, parse_variant

WILD_TYPE = "MKTAYIAKQRQISFVKSHFSRQ"
TEXTS = ("K2A", "K2A:T3W", "A4G", "R10P", "F14Y:H18D", "T3W", "WT")
VARIANTS = [parse_variant(text) for text in TEXTS]
SCORES = np.linspace(-3, 1, len(VARIANTS))
VECTORS = np.random.default_rng(0).normal(size=(len(VARIANTS), 3))


@pytest.fixture(scope="module")
def recipe():
    return VariantFeatures.of(VARIANTS, WILD_TYPE, zero_shot=SCORES, vectors=VECTORS)


def test_what_the_assay_has(recipe):
    assert recipe.positions == (2, 3, 4, 10, 14, 18)
    assert recipe.shared == ("K2A", "T3W")
    table = recipe.table(VARIANTS, zero_shot=SCORES, vectors=VECTORS)
    assert table.shape == (len(VARIANTS), recipe.width)
    assert (table[:, -1] == 1).all()
    assert table[:, -4:-1].mean() == pytest.approx(0)
    assert table[:, -4:-1].var(axis=0).sum() == pytest.approx(1)


def test_several_substitutions_are_the_sum_of_each():
    recipe = VariantFeatures.of(VARIANTS, WILD_TYPE)
    both, one, other = recipe.table([parse_variant(t) for t in ("K2A:T3W", "K2A", "T3W")])[:, :-1]
    assert both == pytest.approx(one + other)
    assert not recipe.table([Variant()])[0, :-1].any()


def test_the_bump_is_that_of_its_formula():
    recipe = VariantFeatures.of(VARIANTS, WILD_TYPE)
    sites, near, rest = recipe.substitutions([parse_variant("F14Y")])
    assert sites[0].tolist() == [0, 0, 0, 0, 1, 0, 0, 0]
    for place in range(len(WILD_TYPE)):
        assert near[0, place] == pytest.approx(np.exp(-((place - 13) ** 2) / (2 * WIDTH**2)))
    letters = "ACDEFGHIKLMNPQRSTVWY"
    assert np.flatnonzero(rest[0, :40]).tolist() == [letters.index("Y"), 20 + letters.index("F")]


def test_a_new_position_is_known_as_such(recipe):
    assert recipe.knows(parse_variant("K2W"))
    assert not recipe.knows(parse_variant("K2W:M1A"))
    assert not recipe.takes(parse_variant("K2U"))


def test_plain_data_give_the_same_columns_and_name(recipe):
    again = VariantFeatures.of_plain(json.loads(json.dumps(recipe.to_plain())))
    assert again.name == recipe.name and again.width == recipe.width
    tables = [r.table(VARIANTS, zero_shot=SCORES, vectors=VECTORS) for r in (recipe, again)]
    assert (tables[0] == tables[1]).all()
    other = VariantFeatures.of(VARIANTS[:-2], WILD_TYPE, zero_shot=SCORES[:-2])
    assert other.name != recipe.name


@pytest.mark.parametrize(
    "change",
    [{"zero_scale": float("nan")}, {"vector_scale": -1}, {"centre": []}, {"positions": None}],
)
def test_bad_plain_data_are_refused(recipe, change):
    with pytest.raises((TypeError, ValueError)):
        VariantFeatures.of_plain(recipe.to_plain() | change)
