"""Pictures of heads: what is drawn where."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.image import imread

from protclip_core import Targets
from protclip_core.report.head_curves import plot_confusion
from protclip_core.report.head_report import draw_curves

NAMES = ("inside", "outside")


def drawn(path, counts, names=NAMES):
    plot_confusion(path, np.array(counts), names, "x")
    return imread(path)


def test_true_classes_are_the_rows_of_a_confusion(tmp_path):
    right = drawn(tmp_path / "a.png", [[10, 0], [0, 10]])

    def changed(counts):
        image = drawn(tmp_path / "b.png", counts)
        return np.flatnonzero((image != right).any((1, 2)))

    first, second = changed([[0, 10], [0, 10]]), changed([[10, 0], [10, 0]])
    assert len(first) > 50 and len(second) > 50
    assert first.max() <= second.min()  # pixels are counted from above


@pytest.mark.parametrize("number", [2, 40, 121, 1000])
def test_any_number_of_classes_is_drawn_in_a_picture_of_bounded_size(tmp_path, number):
    names = [f"a class of a name that is too long to be shown {n}" for n in range(number)]
    image = drawn(tmp_path / "x.png", np.eye(number, dtype=int) * 10**6, names)
    assert min(image.shape[:2]) > 200 and max(image.shape[:2]) < 3500


def test_only_classes_have_a_confusion(tmp_path):
    rng = np.random.default_rng(0)
    classes = Targets.of_classes(list(rng.choice(NAMES, 20)), NAMES)
    labels = Targets.of_table(rng.random((20, 2)) < 0.5, NAMES)
    for truth, count in ((classes, 3), (labels, 2)):
        paths = draw_curves(tmp_path, truth, {"head": rng.random((20, 2))}, "x")
        assert len(paths) == count and all(path.stat().st_size for path in paths)
        assert (tmp_path / "confusion.png").exists() is (count == 3)
        paths[-1].unlink()
