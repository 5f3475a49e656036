"""Fmax of each aspect, and the table of GO."""

import math

import numpy as np
import pytest

from protclip_core.errors import InputError
from train.data.go_terms import GoTerms
from train.loop.evaluate import aspect_fmax

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
    with pytest.raises(InputError) as caught:
        GoTerms(path)
    assert caught.value.code == "input.missing_column"
    line = "binding\tmolecular_function\t0\t"
    circle = TABLE.replace(f"{line}GO:0003674", f"{line}GO:0000003", 1)
    path.write_text(circle)
    with pytest.raises(InputError) as caught:
        GoTerms(path)
    assert caught.value.code == "input.cyclic_terms"
