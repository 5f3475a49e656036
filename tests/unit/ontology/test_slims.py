"""Slims: reading them, and the closest slim terms beside a naive twin."""

from __future__ import annotations

import numpy as np
import pytest

from protclip_core.errors import InputError
from protclip_core.ontology import map_to_slim, read_slim
from tests.support.ontology_files import (
    SMALL,
    go_id,
    naive_ancestors,
    naive_parents,
    number,
    random_ontology,
    small,
)


@pytest.mark.parametrize("seed", range(4))
def test_each_term_maps_to_its_closest_slim_terms(seed):
    ontology = random_ontology(seed=seed)
    parents = naive_parents(ontology)
    slim = set(np.random.default_rng(seed).permutation(len(ontology))[:15].tolist())
    mapped = map_to_slim(ontology, list(slim))
    for term in range(len(ontology)):
        found = (naive_ancestors(parents, term) | {term}) & slim
        farther = set().union(*(naive_ancestors(parents, one) for one in found))
        assert mapped.of(term).tolist() == sorted(found - farther)


def test_the_subset_of_a_file_is_a_slim():
    ontology = small()
    mapped = map_to_slim(ontology, ontology.subset("goslim_made"))

    def names(*ids):
        return [ontology.names[t] for t in mapped.of([number(ontology, id) for id in ids])]

    assert names(16) == ["sailing"]
    assert names(18) == ["moving"]  # over part_of a voyage only the root, which is above moving
    assert names(27) == ["mast top"]
    assert names(25) == ["cellular_component"]
    assert names(6) == ["grip", "cutting", "sailing"]
    assert names(14, 15, 2) == ["grip", "sailing"]
    assert mapped.of([]).tolist() == []


def test_terms_below_no_slim_term_map_to_nothing():
    ontology = small()
    mapped = map_to_slim(ontology, [number(ontology, 13)])
    assert mapped.of(number(ontology, 2)).tolist() == []
    assert map_to_slim(ontology, []).of(range(len(ontology))).tolist() == []


def test_a_slim_is_an_obo_file_or_a_list(tmp_path, caplog):
    ontology = small()
    whole = read_slim(SMALL, ontology)
    assert whole.tolist() == list(range(len(ontology)))
    path = tmp_path / "slim.txt"
    path.write_text("# broad\nGO:0000012\tmoving\n\nGO:0000901 ! an alternative\nGO:0000012\n"
                    "GO:0000009\nGO:0000011\nGO:7777777\n")  # fmt: skip
    found = {ontology.ids[term] for term in read_slim(path, ontology)}
    assert found == {go_id(12), go_id(2), go_id(1)}
    assert "2 of 6 terms obsolete or unknown in release 2024-01-17" in caplog.text
    assert "GO:0000011, GO:7777777" in caplog.text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no GO terms"),
        ("format-version: 1.2\n\n[Term]\nid: CL:0000001\n", "has no GO terms"),
        ("GO:0000012\nmoving\n", "line 2: 'moving' does not begin with a GO id"),
        ("<html>\n", "line 1: '<html>' does not begin with a GO id"),
        ("GO:7777777\n", "none of its 1 terms is in the ontology"),
    ],
)
def test_what_is_no_slim_is_refused(tmp_path, text, message):
    path = tmp_path / "slim"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_slim(path, small())
