"""What follows from the edges, beside naive twins."""

from __future__ import annotations

import numpy as np
import pytest

from protclip_core.errors import InputError, UsageError
from protclip_core.ontology.graph import MAX_DEPTH, closure, compress, depths
from protclip_core.ontology.terms import Obsolete, Resolved
from tests.support.ontology_files import (  # fmt: skip
    go_id,
    naive_ancestors,
    naive_parents,
    number,
    random_ontology,
    small,
)

seeds = pytest.mark.parametrize("seed", range(4))


@seeds
def test_ancestors_descendants_and_depths_are_those_of_recursion(seed):
    ontology = random_ontology(seed=seed)
    parents = naive_parents(ontology)
    above = [naive_ancestors(parents, term) for term in range(len(ontology))]

    def deep(term):
        return max((deep(parent) + 1 for parent in parents[term]), default=0)

    for term in range(len(ontology)):
        assert ontology.ancestors(term).tolist() == sorted(above[term])
        below = [other for other, found in enumerate(above) if term in found]
        assert ontology.descendants(term).tolist() == below
        assert ontology.depths[term] == deep(term)
    assert ontology.roots.tolist() == [t for t, found in enumerate(parents) if not found]


def test_ancestors_on_the_small_file_are_those_of_recursion():
    ontology = small()
    parents = naive_parents(ontology)
    for term in range(len(ontology)):
        assert ontology.ancestors(term).tolist() == sorted(naive_ancestors(parents, term))


@seeds
def test_propagate_and_most_specific(seed):
    ontology = random_ontology(seed=seed)
    parents = naive_parents(ontology)
    rng = np.random.default_rng(seed)
    for size in (0, 1, 2, 20, 120):
        terms = rng.choice(len(ontology), size)
        own = set(terms.tolist())
        above = set().union(*(naive_ancestors(parents, term) for term in own))
        found = ontology.propagate(terms)
        assert found.tolist() == sorted(own | above) and found.dtype == np.int64
        rootless = (own | above) - set(ontology.roots.tolist())
        assert ontology.propagate(terms, roots=False).tolist() == sorted(rootless)
        assert ontology.most_specific(terms).tolist() == sorted(own - above)
        assert ontology.most_specific(found).tolist() == sorted(own - above)


@seeds
@pytest.mark.parametrize("mode", ["max", "min"])
def test_propagated_scores_are_those_of_sets(seed, mode):
    ontology = random_ontology(seed=seed)
    parents = naive_parents(ontology)
    scores = np.random.default_rng(seed).normal(size=(150, len(ontology)))
    best = max if mode == "max" else min
    kin = [[term] for term in range(len(ontology))]
    for term in range(len(ontology)):
        for ancestor in naive_ancestors(parents, term):
            low, high = (ancestor, term) if mode == "max" else (term, ancestor)
            kin[low].append(high)
    single = scores.astype(np.float32)
    wanted = np.stack([best(single[:, t] for t in members) if len(members) == 1 else
                       getattr(np, mode)(single[:, members], axis=1)
                       for members in map(list, kin)], axis=1)  # fmt: skip
    found = ontology.propagate_scores(scores, mode=mode)
    assert found.dtype == np.float32 and np.array_equal(found, wanted)
    for term, above in enumerate(parents):
        for parent in above:
            assert (found[:, term] <= found[:, parent]).all()
    # Each protein alone gives the same, and so does writing over the input.
    assert np.array_equal(ontology.propagate_scores(scores[70:71], mode=mode), wanted[70:71])
    assert ontology.propagate_scores(single, mode=mode, out=single) is single
    assert np.array_equal(single, wanted)


@seeds
@pytest.mark.parametrize("mode", ["max", "min"])
def test_scores_of_some_columns_are_pushed_past_the_others(seed, mode):
    ontology = random_ontology(seed=seed)
    rng = np.random.default_rng(seed)
    columns = rng.permutation(len(ontology))[:30]
    scores = rng.normal(size=(7, 30)).astype(np.float32)
    parents = naive_parents(ontology)
    found = ontology.propagate_scores(scores, columns, mode=mode)
    above = {term: naive_ancestors(parents, term) | {term} for term in columns.tolist()}
    for place, term in enumerate(columns.tolist()):
        if mode == "max":
            kin = [other for other, one in enumerate(columns.tolist()) if term in above[one]]
        else:
            kin = [other for other, one in enumerate(columns.tolist()) if one in above[term]]
        assert np.array_equal(found[:, place], getattr(np, mode)(scores[:, kin], axis=1))
    assert not np.array_equal(found, scores)


def test_scores_that_cannot_be_pushed_are_refused():
    ontology = small()
    scores = np.zeros((100, 26))
    scores[90, 3] = np.nan
    with pytest.raises(InputError, match="row 91: a score is NaN"):
        ontology.propagate_scores(scores)
    for bad, options in (
        (np.zeros((2, 25)), {}),
        (np.zeros(26), {}),
        (np.zeros((2, 2)), {"columns": [4, 4]}),
        (np.zeros((2, 26)), {"mode": "sum"}),
        (np.zeros((2, 26)), {"out": np.zeros((2, 26))}),
    ):
        with pytest.raises(UsageError):
            ontology.propagate_scores(bad, **options)
    assert ontology.propagate_scores(np.zeros((0, 26))).shape == (0, 26)


def test_ids_are_resolved_or_listed():
    ontology = small()
    grip = number(ontology, 1)
    assert ontology.resolve("GO:0000001") == Resolved(grip, "current")
    assert ontology.resolve("GO:0000903") == Resolved(number(ontology, 3), "alternative")
    assert ontology.resolve("GO:0000010") == Resolved(grip, "replaced")
    assert ontology.resolve("GO:0000011") == Resolved(
        None, "obsolete", ("GO:0000002", "GO:0000003")
    )
    assert ontology.resolve("GO:7777777") == Resolved(None, "unknown")
    ids = ["GO:0000001", "GO:0000010", "GO:0000010", "GO:7777777", "GO:0000020", "GO:0000904"]
    found = ontology.resolve_all(ids)
    assert found.terms.tolist() == [grip, grip, grip, -1, -1, number(ontology, 25)]
    assert found.counts == {"current": 1, "replaced": 2, "unknown": 1, "obsolete": 1,
                            "alternative": 1}  # fmt: skip
    assert set(found.listed) == set(ids[1:])
    assert ontology.numbers(ids) == [grip]


def test_replacements_that_lead_in_a_circle_end():
    ontology = random_ontology(10)
    ontology.obsolete["GO:0009001"] = Obsolete(("GO:0009002",))
    ontology.obsolete["GO:0009002"] = Obsolete(("GO:0009001",))
    assert ontology.resolve("GO:0009001") == Resolved(None, "obsolete", ("GO:0009002",))


def test_subsets_are_there_by_name():
    ontology = small()
    assert go_id(23) in {ontology.ids[term] for term in ontology.subset("goslim_made")}
    with pytest.raises(UsageError, match="no subset 'x'; it has: goslim_made"):
        ontology.subset("x")


def test_relations_can_be_narrowed():
    ontology = random_ontology(seed=9)
    narrow = ontology.with_relations(["part_of"])
    kept = ontology.parent_kinds == 1
    assert np.array_equal(narrow.parents, ontology.parents[kept])
    assert (narrow.parent_kinds == 1).all() and narrow.relations == ("part_of",)
    for term, above in enumerate(naive_parents(narrow)):
        rows = slice(ontology.parent_offsets[term], ontology.parent_offsets[term + 1])
        assert above == set(ontology.parents[rows][kept[rows]].tolist())
    assert narrow.with_relations(["is_a", "part_of"]).relations == ("part_of",)
    with pytest.raises(UsageError, match="no relation"):
        ontology.with_relations([])


def test_no_term_at_all_is_a_graph_too():
    rows = compress(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), 0)
    depth = depths(rows)
    assert depth.tolist() == [] and closure(rows, depth)[1].tolist() == []


def test_a_chain_as_no_release_has_is_refused():
    from protclip_core.ontology.assemble import TermList, assemble

    terms = TermList()
    for place in range(1, MAX_DEPTH + 3):
        terms.ids.append(go_id(place))
        terms.names.append("x")
        terms.aspects.append(0)
        if place > 1:
            terms.edges.add(place, place - 1, 0, place)
    with pytest.raises(InputError, match="GO:0001002 has 1,001 terms above it in one line"):
        assemble(terms, "chain", data_version=None)
