"""Vocabularies other than GO: lists, the tree of enzyme numbers, and both as files."""

from __future__ import annotations

import numpy as np
import pytest

from protclip_core.errors import InputError, ModelError
from protclip_core.io.phrases import Phrase
from protclip_core.ontology import from_arrays, to_arrays
from protclip_core.ontology.vocabulary import class_of, ec_numbers, flat_vocabulary, tree_of_ec
from tests.support.ontology_files import small
from tests.support.vocabularies import numbers


def test_the_class_of_a_number():
    assert [class_of(n) for n in ("1.2.3.44", "1.2.3.-", "1.2.-.-", "1.-.-.-")] == [
        "1.2.3.-",
        "1.2.-.-",
        "1.-.-.-",
        None,
    ]


def test_a_tree_has_all_classes_above_a_number_that_are_there():
    phrases = numbers(120)
    tree = tree_of_ec(phrases, "EC", "test")
    missing = 0
    for term, id in enumerate(tree.ids):
        told = [field for field in id.split(".") if field != "-"]
        above = {".".join(told[:n] + ["-"] * (4 - n)) for n in range(1, len(told))}
        assert {tree.ids[a] for a in tree.ancestors(term)} == above & set(tree.ids)
        missing += len(above - set(tree.ids))
    assert missing > 0 and len(tree.parents) > 50
    # What stands highest is a term like any other.
    assert len(tree.roots) == 0
    assert not tree.is_go


def test_numbers_of_a_record():
    assert ec_numbers(["2.7.1.1", "1.1.-.-", "2.7.1.1"]) == ["1.1.-.-", "2.7.1.1"]
    assert ec_numbers("4.-.-.-; 1.2.3.4") == ["1.2.3.4", "4.-.-.-"]
    assert ec_numbers(["2.7.7.n1", "1.-.3.4", "1.2.3", "-.-.-.-", "", "x", 7]) == []
    assert ec_numbers(None) == ec_numbers(3) == []


def test_a_list_is_flat():
    phrases = [Phrase("b", "second"), Phrase("a", "first")]
    flat = flat_vocabulary(phrases, "PLACE", "test")
    assert (flat.ids, flat.names, flat.aspect_names) == (
        ("b", "a"),
        ("second", "first"),
        ("PLACE",),
    )
    assert len(flat.parents) == len(flat.roots) == 0
    with pytest.raises(InputError, match="'a' occurs twice"):
        flat_vocabulary([Phrase("a", "x"), Phrase("a", "y")], "PLACE", "test")


@pytest.mark.parametrize("make", [flat_vocabulary, tree_of_ec])
def test_a_file_gives_back_what_was_saved(tmp_path, make):
    one = make(numbers(60), "EC", "test")
    again = from_arrays(to_arrays(one))
    assert (again.ids, again.names, again.aspect_names) == (one.ids, one.names, ("EC",))
    for name in ("aspects", "parent_offsets", "parents", "roots"):
        assert np.array_equal(getattr(again, name), getattr(one, name))


def test_a_file_of_go_is_what_it_was():
    assert "aspect_names" not in to_arrays(small())
    assert from_arrays(to_arrays(small())).is_go


def packed(*texts):
    return np.frombuffer(b"".join(t.encode() + b"\0" for t in texts), np.uint8)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("aspect_names", packed(), "'aspect_names' is empty"),
        ("aspect_names", packed("EC", "EC"), "or holds a name twice"),
        ("aspect_names", packed("E\nC"), "'aspect_names' holds"),
        ("aspect_names", np.zeros(2), "'aspect_names' is float64"),
        ("aspects", np.array([0, 1], np.int8), "'aspects' holds a number outside 0 to 0"),
        ("ids", packed("a", "a"), "'ids' holds an id twice"),
        ("ids", packed("a", "b\nc"), "'ids' holds"),
        ("ids", packed("a", ""), "'ids' holds"),
    ],
)
def test_what_does_not_fit_is_refused(key, value, said):
    flat = flat_vocabulary([Phrase("a", "x"), Phrase("b", "y")], "EC", "test")
    arrays = to_arrays(flat)
    assert from_arrays(arrays).ids == ("a", "b")
    with pytest.raises(ModelError, match=said):
        from_arrays(arrays | {key: value})
    # An ontology of GO has ids of GO, whatever a vocabulary may have.
    del arrays["aspect_names"]
    with pytest.raises(ModelError, match="'ids' holds 'a'"):
        from_arrays(arrays)
