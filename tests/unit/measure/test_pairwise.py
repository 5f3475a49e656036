"""Similarities of pairs beside plain loops, and that they depend on the two vectors alone."""

from __future__ import annotations

import math

import numpy as np
import pytest

from protclip_core.errors import UsageError
from protclip_core.measure.pairwise import METRICS, Block, block_scores, pair_scores

metrics = pytest.mark.parametrize("metric", METRICS)


def naive(a, b, metric):
    a, b = [float(x) for x in a], [float(x) for x in b]
    if metric == "manhattan":
        apart = math.fsum(abs(x - y) for x, y in zip(a, b, strict=True))
        return 1 - apart / (math.fsum(map(abs, a)) + math.fsum(map(abs, b)))
    lengths = math.sqrt(math.fsum(x * x for x in a)) * math.sqrt(math.fsum(x * x for x in b))
    return math.fsum(x * y for x, y in zip(a, b, strict=True)) / lengths


def vectors(count, width, seed=0):
    rng = np.random.default_rng(seed)
    found = rng.standard_normal((count, width)) * rng.lognormal(0, 3, (count, 1))
    return found.astype(np.float32)


@metrics
def test_beside_plain_loops(metric):
    a, b = vectors(9, 37), vectors(7, 37, seed=1)
    found = block_scores(Block.of(a, metric), Block.of(b, metric), metric)
    expected = np.array([[naive(x, y, metric) for y in b] for x in a], np.float32)
    assert found.dtype == np.float32 and found.shape == (9, 7)
    # Correctly rounded, so equal to the last digit.
    np.testing.assert_array_equal(found, expected)
    pairs = pair_scores(Block.of(a[:7], metric), Block.of(b, metric), metric)
    np.testing.assert_array_equal(pairs, np.diagonal(expected[:7]))


@metrics
def test_a_score_depends_on_its_two_vectors_alone(metric):
    a = vectors(300, 130)
    whole = block_scores(Block.of(a, metric), Block.of(a, metric), metric)
    np.testing.assert_array_equal(whole, whole.T)
    np.testing.assert_array_equal(np.diagonal(whole), np.ones(300, np.float32))
    for size in (1, 7, 64):
        for start in range(0, 300, size):
            some = Block.of(a[start : start + size], metric)
            part = block_scores(some, Block.of(a[:50], metric), metric)
            np.testing.assert_array_equal(part, whole[start : start + size, :50])
    rows, columns = np.divmod(np.arange(0, 90_000, 7), 300)
    block = Block.of(a, metric)
    each = pair_scores(block.take(rows), block.take(columns), metric)
    np.testing.assert_array_equal(each, whole[rows, columns])


@pytest.mark.parametrize("seed", range(3))
@metrics
def test_values_on_the_edge_of_rounding_are_settled_pair_by_pair(metric, seed):
    # Whole numbers give exact ties between two float32 neighbours far more often than chance.
    rng = np.random.default_rng(seed)
    a = rng.integers(-2, 3, (200, 6)).astype(np.float32)
    a[~a.any(axis=1)] = 1
    block = Block.of(a, metric)
    whole = block_scores(block, block, metric)
    rows, columns = np.divmod(np.arange(40_000), 200)
    each = pair_scores(block.take(rows), block.take(columns), metric)
    np.testing.assert_array_equal(whole.ravel(), each)


def test_manhattan_of_known_vectors():
    a = Block.of([[1.0, 2.0], [0.0, 0.0], [1.0, 2.0]], "manhattan")
    b = Block.of([[1.0, -2.0], [0.0, 0.0], [0.0, 0.0]], "manhattan")
    # |a - b| = 4 of 6; two vectors of zeros are alike, one of them is not like another.
    assert pair_scores(a, b, "manhattan").tolist() == [np.float32(1 - 4 / 6), 1.0, 0.0]


@metrics
def test_vectors_without_direction_have_no_number(metric):
    a = vectors(4, 5)
    a[1, 2], a[2, 0] = np.nan, np.inf
    found = block_scores(Block.of(a, metric), Block.of(a, metric), metric)
    assert np.isnan(found[1:3]).all() and np.isnan(found[:, 1:3]).all()
    assert np.isfinite(found[np.ix_([0, 3], [0, 3])]).all()
    zero = np.zeros((1, 5), np.float32)
    assert np.isnan(block_scores(Block.of(zero, "cosine"), Block.of(a, "cosine"), "cosine")).all()


def test_extreme_lengths_have_their_cosine():
    a = np.array([[3e38, 0], [1e-40, 1e-40], [-3e38, -3e38]], np.float32)
    found = block_scores(Block.of(a, "cosine"), Block.of(a, "cosine"), "cosine")
    np.testing.assert_allclose(found[0], [1, math.sqrt(0.5), -math.sqrt(0.5)], rtol=1e-4)
    assert found[1, 2] == -1


def test_refusals():
    with pytest.raises(UsageError, match="'euclid' is not known; use cosine, manhattan"):
        Block.of(np.ones((2, 2)), "euclid")
    with pytest.raises(UsageError, match="shape"):
        Block.of(np.ones(3), "cosine")
    one, other = Block.of(np.ones((2, 3)), "cosine"), Block.of(np.ones((2, 4)), "cosine")
    with pytest.raises(UsageError, match="3 and of 4 numbers"):
        block_scores(one, other, "cosine")
    with pytest.raises(UsageError, match="not pairs"):
        pair_scores(one, other, "cosine")
