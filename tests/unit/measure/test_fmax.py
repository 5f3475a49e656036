"""Fmax against a twin that goes through the thresholds one by one."""

from __future__ import annotations

import math

import numpy as np
import pytest

from protclip_core.errors import UsageError
from protclip_core.measure import fmax as module
from protclip_core.measure.fmax import fmax, weighted_fmax


def naive_fmax(scores, truth):
    rows = [n for n in range(len(truth)) if truth[n].any()]
    best = 0.0
    for threshold in sorted({float(s) for s in scores[rows].ravel() if s > -math.inf}):
        precisions, recalls = [], []
        for row in rows:
            predicted = {c for c, s in enumerate(scores[row]) if s >= threshold}
            right = predicted & set(np.flatnonzero(truth[row]))
            if predicted:
                precisions.append(len(right) / len(predicted))
            recalls.append(len(right) / truth[row].sum())
        if not precisions:
            continue
        p, r = np.mean(precisions), np.mean(recalls)
        best = max(best, 2 * p * r / (p + r) if p + r else 0.0)
    return best


@pytest.mark.parametrize("levels", [3, 10_000])
@pytest.mark.parametrize("seed", range(6))
def test_fmax_equals_the_twin(seed, levels):
    draw = np.random.default_rng(seed)
    shape = int(draw.integers(1, 9)), int(draw.integers(1, 12))
    # Few levels make ties; some pairs are never predicted; some proteins have no true term.
    scores = draw.integers(0, levels, shape) / levels - 0.3
    scores[draw.random(shape) < 0.2] = -np.inf
    truth = draw.random(shape) < 0.3
    truth[0, 0] = True
    assert fmax(scores, truth) == pytest.approx(naive_fmax(scores, truth), abs=1e-12)


def test_fmax_of_special_cases():
    truth = np.array([[True, False], [False, True]])
    assert fmax(np.array([[0.9, 0.1], [0.2, 0.8]]), truth) == 1.0
    assert fmax(np.full((2, 2), -np.inf), truth) == 0.0
    assert fmax(np.where(truth, -np.inf, 1.0), truth) == 0.0
    assert math.isnan(fmax(np.zeros((2, 2)), np.zeros((2, 2), dtype=bool)))
    assert math.isnan(fmax(np.zeros((3, 0)), np.zeros((3, 0), dtype=bool)))
    unfit = {"not_finite": np.full((2, 2), np.nan), "shape_mismatch": np.zeros((2, 3))}
    for code, bad in unfit.items():
        with pytest.raises(UsageError) as error:
            fmax(bad, truth)
        assert error.value.code == f"usage.{code}"


@pytest.mark.parametrize("block", [1, 50, 1 << 20])
def test_a_weight_is_how_often_a_protein_is_there(block, monkeypatch):
    monkeypatch.setattr(module, "_BLOCK", block)
    draw = np.random.default_rng(3)
    scores = draw.integers(0, 12, (15, 4)) / 12
    truth = draw.random((15, 4)) < 0.3
    weights = draw.integers(0, 3, (7, 15)).astype(float)
    repeated = [
        naive_fmax(np.repeat(scores, one, axis=0), np.repeat(truth, one, axis=0))
        for one in weights.astype(int)
    ]
    assert weighted_fmax(scores, truth)(weights) == pytest.approx(repeated, abs=1e-12)
    nothing = np.where(truth.any(axis=1), 0.0, 1.0)[None]
    assert np.isnan(weighted_fmax(scores, truth)(nothing)).all()
