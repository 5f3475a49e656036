"""Fmax against a twin that goes through the thresholds one by one, and the table of GO."""

import math

import numpy as np
import pytest

from protclip_core.errors import InputError
from train.data.go_terms import GoTerms
from train.loop.go_fmax import aspect_fmax, fmax

TABLE = """id\tname\tnamespace\tis_obsolete\tis_a\tdefinition
GO:0003674\tmolecular_function\tmolecular_function\t0\t\t
GO:0000001\tbinding\tmolecular_function\t0\tGO:0003674\tHolding on.
GO:0000002\tion binding\tmolecular_function\t0\tGO:0000001\t
GO:0000003\tmetal binding\tmolecular_function\t0\tGO:0000002,GO:0000001\t
GO:0000004\told thing\tmolecular_function\t1\tGO:0000001\t
GO:0005575\tcellular_component\tcellular_component\t0\t\t
GO:0000005\tnucleus\tcellular_component\t0\tGO:0005575\t
"""


@pytest.fixture
def terms(tmp_path):
    path = tmp_path / "go.tsv"
    path.write_text(TABLE)
    return GoTerms(path)


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
    with pytest.raises(ValueError, match="NaN"):
        fmax(np.full((2, 2), np.nan), truth)
    with pytest.raises(ValueError, match="two"):
        fmax(np.zeros((2, 3)), truth)


def test_terms_propagate_without_roots_and_obsolete_ones(terms):
    one, two, three, nucleus = (terms.index[f"GO:000000{n}"] for n in (1, 2, 3, 5))
    assert "GO:0000004" not in terms.index
    assert terms.propagate([three, nucleus]).tolist() == sorted([one, two, three, nucleus])
    assert terms.propagate([terms.index["GO:0003674"]]).tolist() == []
    assert terms.text(one, "definition") == "binding: Holding on."
    assert terms.text(two, "definition") == terms.text(two, "name") == "ion binding"
    columns = np.array([one, two, three])
    found = terms.propagate_scores(np.array([[0.1, 0.5, 0.3], [0.9, 0.2, 0.8]]), columns)
    assert found.tolist() == [[0.5, 0.5, 0.3], [0.9, 0.8, 0.8]]


def test_aspects_are_apart_and_terms_beyond_the_bank_are_missed(terms):
    one, two, three, nucleus = (terms.index[f"GO:000000{n}"] for n in (1, 2, 3, 5))
    columns = np.array([one, two, nucleus])
    scores = np.array([[0.9, 0.8, 0.1], [0.7, 0.0, 0.6]])
    annotations = [np.array([one, two, three]), np.array([nucleus])]
    found = aspect_fmax(scores, columns, annotations, terms)
    # All that is predicted right of the first protein: two of three terms.
    assert found["MF"] == pytest.approx(2 * 1.0 * (2 / 3) / (1 + 2 / 3))
    assert found["CC"] == 1.0
    assert math.isnan(found["BP"])


def test_tables_that_are_none(tmp_path):
    path = tmp_path / "go.tsv"
    path.write_text("id\tname\nGO:1\tx\n")
    with pytest.raises(InputError, match="no column 'namespace'"):
        GoTerms(path)
    line = "binding\tmolecular_function\t0\t"
    circle = TABLE.replace(f"{line}GO:0003674", f"{line}GO:0000003", 1)
    path.write_text(circle)
    with pytest.raises(InputError, match="among its own ancestors"):
        GoTerms(path)
