"""The compact form: nothing lost but definitions, nothing believed."""

from __future__ import annotations

import numpy as np
import pytest

from protclip_core.errors import ModelError
from protclip_core.io.arrays import pack_arrays, unpack_arrays
from protclip_core.ontology import from_arrays, to_arrays
from tests.support.ontology_files import random_ontology, small


def equal(one, other):
    assert (one.ids, one.names, one.release, one.data_version, one.relations) == (
        other.ids, other.names, other.release, other.data_version, other.relations
    )  # fmt: skip
    assert one.alternatives == other.alternatives and one.obsolete == other.obsolete
    for name in ("aspects", "parent_offsets", "parents", "parent_kinds", "roots"):
        assert np.array_equal(getattr(one, name), getattr(other, name))
    assert list(one.subsets) == list(other.subsets)
    for name, terms in one.subsets.items():
        assert np.array_equal(terms, other.subsets[name])


@pytest.mark.parametrize(
    "ontology",
    [small(), small().with_relations(["is_a"]), random_ontology(release=None)],
    ids=["small", "is_a", "random"],
)
def test_arrays_give_back_what_was_kept(ontology):
    loaded = from_arrays(to_arrays(ontology))
    equal(loaded, ontology)
    assert loaded.definitions == ()
    for npz in (False, True):
        data = pack_arrays(to_arrays(ontology), npz=npz)
        equal(from_arrays(unpack_arrays(data, "x")), ontology)
        assert pack_arrays(unpack_arrays(data, "x"), npz=npz) == data


def changed(key, change):
    arrays = {name: values.copy() for name, values in to_arrays(small()).items()}
    arrays[key] = change(arrays[key])
    return arrays


def swap(place, value):
    def change(values):
        values[place] = value
        return values

    return change


@pytest.mark.parametrize(
    ("key", "change", "message"),
    [
        ("format", lambda v: v[1:], "is not of format 'protclip-ontology'"),
        ("version", swap(0, 2), r"version \[2\] of protclip-ontology, this protclip reads 1"),
        ("header", lambda v: v[:5], "array 'header' is cut"),
        (
            "header",
            lambda v: np.frombuffer(b"\0\0over\0", dtype=np.uint8),
            "array 'header' names no known",
        ),
        ("names", swap(0, 255), "array 'names' is not UTF-8"),
        ("names", lambda v: v[v > 0], "array 'names' is cut"),
        ("names", lambda v: v[19:], "array 'names' has 25 values, not 26"),
        ("ids", swap(0, 65), "array 'ids' holds 'AO:0000001'"),
        ("ids", lambda v: np.tile(v[:11], 26), "array 'ids' holds an id twice"),
        ("ids", lambda v: v[:0], "array 'ids' is empty"),
        ("aspects", swap(3, 3), "array 'aspects' holds a number outside 0 to 2"),
        ("aspects", lambda v: v[1:], "array 'aspects' has 25 values, not 26"),
        ("aspects", lambda v: v.astype(float), "array 'aspects' is float64 of 1 dimensions"),
        ("parents", swap(0, -1), "array 'parents' holds a number outside 0 to 25"),
        ("parents", swap(0, 26), "array 'parents' holds a number outside 0 to 25"),
        ("parents", swap(0, 0), "GO:0000001 is among its own ancestors"),
        ("parent_offsets", swap(4, 30), "array 'parent_offsets' goes down"),
        ("parent_offsets", lambda v: v[:-1], "array 'parent_offsets' does not fit"),
        ("subset_terms", swap(0, 26), "array 'subset_terms' holds a number outside 0 to 25"),
        ("obsolete_replaced", swap(0, 2), "array 'obsolete_replaced' does not fit"),
        ("alternative_terms", swap(0, 99), "array 'alternative_terms' holds a number outside"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(key, change, message):
    with pytest.raises(ModelError, match=f"^go.npz: {message}"):
        from_arrays(changed(key, change), "go.npz")
