"""Figures of each class, next to those of scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from protclip_core import Targets
from protclip_core.report.per_class import figures_per_class

METRICS = ("precision", "recall", "f1", "support")


@pytest.fixture
def rng():
    return np.random.default_rng(3)


def table_of(figures, names):
    found = {(one.label, one.metric): one.value for one in figures if not one.predicted}
    return np.array([[found[name, metric] for name in names] for metric in METRICS])


def test_classes(rng):
    truth = Targets.of_classes(list("abcd") + list(rng.choice(list("abc"), 60)))
    said = rng.random((64, 4))
    said[:, 1] = 0  # never predicted
    figures = list(figures_per_class(truth, said))
    chosen = said.argmax(1)
    wanted = precision_recall_fscore_support(truth.table, chosen, zero_division=np.nan)
    found = table_of(figures, truth.names)
    assert np.isnan(found[0, 1]) and found[1, 1] == found[2, 1] == 0
    np.testing.assert_allclose(np.delete(found, 1, 1), np.delete(np.array(wanted), 1, 1))
    matrix = np.zeros((4, 4))
    for one in figures:
        if one.predicted:
            matrix[truth.names.index(one.label), truth.names.index(one.predicted)] = one.value
    np.testing.assert_array_equal(matrix, confusion_matrix(truth.table, chosen))


def test_labels(rng):
    truth = Targets.of_table(rng.random((40, 3)) < 0.4, ["x", "y", "z"])
    said = rng.random((40, 3))
    figures = list(figures_per_class(truth, said))
    wanted = precision_recall_fscore_support(truth.table, said >= 0.5)
    np.testing.assert_allclose(table_of(figures, truth.names), np.array(wanted))
    assert {one.metric for one in figures} == set(METRICS)


def test_what_is_neither_there_nor_predicted_has_no_figures():
    truth = Targets.of_classes(["a", "a"], ["a", "b"])
    found = table_of(figures_per_class(truth, np.array([[1.0, 0], [1, 0]])), truth.names)
    assert found[:, 0].tolist() == [1, 1, 1, 2]
    assert np.isnan(found[:3, 1]).all() and found[3, 1] == 0
