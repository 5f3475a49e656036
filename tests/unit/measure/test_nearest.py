"""The nearest vectors: against sorting everything, whatever the blocks, ties and odd vectors."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from protclip_core.errors import InputError, UsageError
from protclip_core.measure.nearest import Nearest, block_rows, nearest


def naive(queries, vectors, k, *, metric="cosine", min_score=None, exclude=None):
    """Score every pair by itself in float64, round, and sort all of them."""
    rows, scores = [], []
    for number, query in enumerate(np.asarray(queries, np.float64)):
        found = []
        for row, vector in enumerate(np.asarray(vectors, np.float64)):
            if not np.isfinite(vector).all() or (metric == "cosine" and not vector.any()):
                continue
            if exclude is not None and exclude[number] == row:
                continue
            score = sum(a * b for a, b in zip(query, vector, strict=True))
            if metric == "cosine":
                score /= sum(a * a for a in query) ** 0.5 * sum(b * b for b in vector) ** 0.5
            # Two sums in different order may part at the last digit of a double.
            score = float(np.float32(round(score, 12)))
            if min_score is None or score >= min_score:
                found.append((-score, row))
        best = sorted(found)[:k]
        rows.append([row for _, row in best] + [-1] * (k - len(best)))
        scores.append([-score for score, _ in best] + [np.nan] * (k - len(best)))
    return np.array(rows), np.array(scores, np.float32)


def in_blocks(vectors, size):
    return (vectors[start : start + size] for start in range(0, len(vectors), size))


def small_whole_numbers(seed, count, width):
    """Vectors of few different values: many equal cosines, many equal vectors."""
    rng = np.random.default_rng(seed)
    return rng.integers(-1, 2, (count, width)).astype(np.float32)


@pytest.mark.parametrize("metric", ["cosine", "inner"])
@pytest.mark.parametrize("seed", range(4))
def test_as_sorting_everything(metric, seed):
    rng = np.random.default_rng(seed)
    queries = rng.standard_normal((5, 13)).astype(np.float32)
    vectors = rng.standard_normal((97, 13)).astype(np.float32) * rng.uniform(0.01, 100, (97, 1))
    rows, scores = naive(queries, vectors.astype(np.float32), 7, metric=metric)
    found = nearest(queries, vectors.astype(np.float32), 7, metric=metric)
    np.testing.assert_array_equal(found.rows, rows)
    np.testing.assert_allclose(found.scores, scores, rtol=1e-6)
    assert (found.rows.dtype, found.scores.dtype, found.left_out) == (np.int64, np.float32, 0)


@pytest.mark.parametrize("metric", ["cosine", "inner"])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 16, 50, 64, 200])
def test_ties_are_in_the_order_of_rows_whatever_the_block(metric, size):
    vectors = small_whole_numbers(0, 150, 3)
    vectors = vectors[vectors.any(axis=1)]
    queries = small_whole_numbers(1, 12, 3)
    queries = queries[queries.any(axis=1)]
    rows, scores = naive(queries, vectors, 9, metric=metric)
    found = nearest(queries, in_blocks(vectors, size), 9, metric=metric)
    np.testing.assert_array_equal(found.rows, rows)
    np.testing.assert_allclose(found.scores, scores, rtol=1e-6)


def test_nothing_depends_on_blocks_or_on_the_other_queries():
    rng = np.random.default_rng(3)
    vectors = rng.standard_normal((3000, 96)).astype(np.float32)
    vectors[rng.integers(0, 3000, 600)] = vectors[rng.integers(0, 3000, 600)]
    queries = vectors[::100] + 0.01 * rng.standard_normal((30, 96)).astype(np.float32)
    first = nearest(queries, vectors, 20)
    for size in (1, 17, 1000, 2999):
        again = nearest(queries, in_blocks(vectors, size), 20)
        assert (again.rows == first.rows).all() and (again.scores == first.scores).all()
    for number in (0, 7, 29):
        alone = nearest(queries[number : number + 1], vectors, 20)
        assert (alone.rows[0] == first.rows[number]).all()
        assert (alone.scores[0] == first.scores[number]).all()


def test_vectors_that_are_all_the_same_come_in_order():
    vectors = np.tile(np.linspace(0.1, 1, 33, dtype=np.float32), (500, 1))
    found = nearest(vectors[:1], in_blocks(vectors, 61), 5)
    assert found.rows.tolist() == [[0, 1, 2, 3, 4]]
    assert (found.scores == 1).all()


@pytest.mark.parametrize("metric", ["cosine", "inner"])
def test_sums_that_float32_loses_are_in_the_right_order(metric):
    """Two large numbers that cancel, and a small one that float32 forgets between them."""
    rng = np.random.default_rng(5)
    small = rng.permutation(200) / 256
    vectors = np.zeros((200, 64), np.float32)
    for vector, number in zip(vectors, small, strict=True):
        up, here, down = rng.choice(64, 3, replace=False)
        vector[up], vector[here], vector[down] = 2**24, number, -(2**24)
    for size in (200, 9):
        found = nearest(np.ones((1, 64)), in_blocks(vectors, size), 10, metric=metric)
        assert found.rows[0].tolist() == np.argsort(-small)[:10].tolist()


def test_more_asked_for_than_there_are():
    vectors = small_whole_numbers(0, 4, 5) + 2
    found = nearest(vectors[:2], vectors, 9)
    assert (found.rows[:, 4:] == -1).all() and np.isnan(found.scores[:, 4:]).all()
    assert sorted(found.rows[0, :4]) == [0, 1, 2, 3]
    none = nearest(vectors[:2], np.empty((0, 5), np.float32), 3)
    assert (none.rows == -1).all() and np.isnan(none.scores).all()
    assert nearest(np.empty((0, 5)), vectors, 3).rows.shape == (0, 3)
    assert nearest(vectors[:1], iter([]), 2).rows.tolist() == [[-1, -1]]


@pytest.mark.parametrize("metric", ["cosine", "inner"])
def test_vectors_without_direction_are_left_out_and_counted(metric):
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((60, 8)).astype(np.float32)
    vectors[7, 3], vectors[20, 0], vectors[41] = np.nan, np.inf, 0
    queries = rng.standard_normal((4, 8))
    rows, scores = naive(queries, vectors, 60, metric=metric)
    for size in (60, 11):
        found = nearest(queries, in_blocks(vectors, size), 60, metric=metric)
        np.testing.assert_array_equal(found.rows, rows)
        np.testing.assert_allclose(found.scores, scores, rtol=1e-6, atol=1e-12)
        assert found.left_out == (3 if metric == "cosine" else 2)
        assert found.first_left_out == 7


def test_lengths_beyond_the_squares_of_float32():
    vectors = np.array([[1e25, 2e25], [1e-30, 0], [0, 3e-42], [1, 1], [-3e38, 3e38]], np.float32)
    found = nearest([[1.0, 1.0]], vectors, 5)
    assert found.rows[0].tolist() == [3, 0, 1, 2, 4]
    expected = [1, 3 / 10**0.5, 0.5**0.5, 0.5**0.5, 0]
    np.testing.assert_allclose(found.scores[0], expected, rtol=1e-6, atol=1e-7)
    assert found.left_out == 0


def test_least_score_and_excluded_rows():
    vectors = small_whole_numbers(4, 120, 4)
    vectors = vectors[vectors.any(axis=1)]
    queries = vectors[:40]
    exclude = np.where(np.arange(40) % 3 == 0, -1, np.arange(40))
    for least, size in itertools.product((None, 0.5, 1.0, -1.0), (5, 200)):
        expected = naive(queries, vectors, 6, min_score=least, exclude=exclude)
        found = nearest(queries, in_blocks(vectors, size), 6, min_score=least, exclude=exclude)
        np.testing.assert_array_equal(found.rows, expected[0])
        np.testing.assert_allclose(found.scores, expected[1], rtol=1e-6, atol=1e-12)


def test_more_queries_than_go_through_one_product():
    rng = np.random.default_rng(1)
    vectors = rng.standard_normal((50, 6)).astype(np.float32)
    queries = rng.standard_normal((2500, 6)).astype(np.float32)
    found = nearest(queries, in_blocks(vectors, 20), 3)
    cosines = queries @ vectors.T / np.linalg.norm(vectors, axis=1)
    assert (found.rows == np.argsort(-cosines, axis=1)[:, :3]).all()


def test_a_search_can_be_asked_in_between():
    vectors = np.eye(4, dtype=np.float32)
    search = Nearest(vectors[3:], 2)
    search.add(vectors[:2])
    assert search.result().rows.tolist() == [[0, 1]]
    search.add(vectors[2:])
    assert search.result().rows.tolist() == [[3, 0]]


def test_an_array_given_is_not_changed():
    vectors = small_whole_numbers(2, 30, 4)
    vectors[4] = np.nan
    before = vectors.copy()
    nearest(vectors[:1] + 2, vectors, 3)
    np.testing.assert_array_equal(vectors, before)


def test_what_is_refused():
    vectors = np.ones((3, 4), np.float32)
    for k in (0, -1):
        with pytest.raises(UsageError, match="nearest cannot be found"):
            nearest(vectors, vectors, k)
    with pytest.raises(UsageError, match="metric 'l2'"):
        nearest(vectors, vectors, 1, metric="l2")
    with pytest.raises(UsageError, match="lowest score"):
        nearest(vectors, vectors, 1, min_score=float("nan"))
    with pytest.raises(UsageError, match="shape"):
        nearest(vectors, vectors[:, :3], 1)
    with pytest.raises(UsageError, match="shape"):
        nearest(vectors[0], vectors, 1)
    with pytest.raises(UsageError, match="shape"):
        nearest(vectors, vectors[0], 1)
    with pytest.raises(UsageError, match="exclude"):
        nearest(vectors, vectors, 1, exclude=[0, 1])
    for bad in (0, np.nan, np.inf):
        queries = vectors.copy()
        queries[1] = bad
        with pytest.raises(InputError, match="query 2: is zero or not finite"):
            nearest(queries, vectors, 1)
    assert nearest(vectors * 0, vectors, 1, metric="inner").rows.tolist() == [[0], [0], [0]]


def test_blocks_are_of_some_megabytes():
    assert block_rows(1) > block_rows(512) > block_rows(5120) >= 256
    assert block_rows(512) * 512 * 4 <= 16 << 20
