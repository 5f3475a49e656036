"""Priors on the graph of another release, against counts of made-up proteins."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from protclip_core.ontology.obo import read_obo
from protclip_core.terms.priors import covered_share, priors_on
from tests.unit.terms.test_index import random_index

HEAD = "format-version: 1.2\ndata-version: releases/2024-01-01\n"


def ontology(tmp_path, parents, name="x.obo"):
    """An ontology of molecular functions from term numbers to their parents."""
    blocks = [HEAD]
    for number, above in parents.items():
        lines = [f"id: GO:{number:07d}", f"name: t{number}", "namespace: molecular_function"]
        lines += [f"{kind} GO:{p:07d}" for kind, p in above]
        blocks.append("[Term]\n" + "\n".join(lines) + "\n")
    blocks.append("[Typedef]\nid: part_of\nname: part of\nis_transitive: true\n")
    (tmp_path / name).write_text("\n".join(blocks), "utf-8")
    return read_obo(tmp_path / name)


def index_on(graph, shares):
    """An index on a graph with these shares of the terms, by number."""
    odds = [math.log(shares[int(id[3:])] / (1 - shares[int(id[3:])])) for id in graph.ids]
    index = random_index(len(graph))
    return replace(
        index,
        ontology=replace(graph, definitions=()),
        log_prior=np.array(odds, np.float32),
    )


def share(priors, graph, number):
    return float(1 / (1 + np.exp(-priors[graph.index[f"GO:{number:07d}"]])))


IS_A, PART_OF = "is_a:", "relationship: part_of"
#: 1 is the root; 2 has 3 below it; 4 stands alone.
BEFORE = {1: [], 2: [(IS_A, 1)], 3: [(IS_A, 2)], 4: [(IS_A, 1)], 5: [(IS_A, 1)]}
SHARES = {1: 0.9, 2: 0.3, 3: 0.28, 4: 0.2, 5: 0.01}


@pytest.fixture
def before(tmp_path):
    return index_on(ontology(tmp_path, BEFORE), SHARES)


def test_the_same_graph_has_the_same_priors_to_the_bit(before, tmp_path):
    again = ontology(tmp_path, dict(reversed(BEFORE.items())), "again.obo")
    found = priors_on(before, again)
    for term, id in enumerate(before.ontology.ids):
        assert found[again.index[id]] == before.log_prior[term]
    assert covered_share(before, again) == 1.0


def test_a_term_that_lost_its_child_loses_its_share(before, tmp_path):
    moved = ontology(tmp_path, BEFORE | {3: [(IS_A, 4)]}, "moved.obo")
    found = priors_on(before, moved)
    assert share(found, moved, 2) < 0.05
    assert 0.28 <= share(found, moved, 4) <= 0.28 + 0.2
    assert share(found, moved, 3) == pytest.approx(0.28, abs=1e-6)
    assert share(found, moved, 1) == pytest.approx(0.9, abs=1e-6)


def test_part_of_counts_as_being_below(before, tmp_path):
    added = ontology(tmp_path, BEFORE | {4: [(IS_A, 1), (PART_OF, 5)]}, "added.obo")
    found = priors_on(before, added)
    assert 0.2 <= share(found, added, 5) <= 0.21
    assert share(found, added, 2) == pytest.approx(0.3, abs=1e-6)


def test_a_new_term_has_the_share_of_what_is_below_it(before, tmp_path):
    new = ontology(tmp_path, BEFORE | {6: [(IS_A, 1)], 4: [(IS_A, 6)], 7: [(IS_A, 1)]}, "new.obo")
    found = priors_on(before, new)
    assert share(found, new, 6) == pytest.approx(0.2, abs=1e-6)
    assert np.isnan(found[new.index["GO:0000007"]])


def test_no_term_is_rarer_than_what_is_below_it(before, tmp_path):
    rng = np.random.default_rng(5)
    for _ in range(20):
        parents = {1: []}
        for number in range(2, 12):
            above = rng.choice(range(1, number), size=min(number - 1, 2), replace=False)
            parents[number] = [(IS_A, int(p)) for p in above]
        graph = ontology(tmp_path, parents, "random.obo")
        found = priors_on(before, graph)
        for term in range(1, len(graph)):
            start, stop = graph.parent_offsets[term : term + 2]
            for parent in graph.parents[start:stop]:
                if graph.ids[parent] != "GO:0000001" and not np.isnan(found[term]):
                    assert found[parent] >= found[term] - 1e-5


def test_unknown_priors_stay_unknown(before):
    blank = replace(before, log_prior=np.full(len(before), np.nan, np.float32))
    assert np.isnan(priors_on(blank, before.ontology)).all()
    assert covered_share(blank, before.ontology) == 1.0
