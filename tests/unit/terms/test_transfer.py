"""Transfer: votes, rules, what becomes of text and votes together, and the file of weights."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from protclip_core.errors import ModelError, UsageError
from protclip_core.measure.calibration import sigmoid
from protclip_core.models.info import describe_model
from protclip_core.ontology.reference import Carried
from protclip_core.terms.calibration import AspectCalibration
from protclip_core.terms.combine import TEXT, best_with_votes, with_votes
from protclip_core.terms.scores import GoScorer
from protclip_core.terms.transfer import (
    KINDS,
    LEAST_TEXT,
    PAD,
    TRANSFER_FILE,
    Evidence,
    KindWeights,
    TransferRule,
    TransferWeights,
    add_transfer,
    find_transfer,
    sets_of,
)
from protclip_core.terms.votes import Relatives, count_votes, neighbour_trust
from protclip_core.weights.bundle import open_bundle
from tests.support.go_indexes import ancestors_of, naive_correct, naive_log_odds, random_index, unit
from tests.support.helpers import write_tiny_bundle

PROTEINS, KNOWN, TERMS = 30, 25, 120
KNOTS = ((-3.0, -3.5), (0.0, -0.2), (2.0, 1.5))


def carried_of(ontology, seed):
    """Random annotations of `KNOWN` proteins, half of one aspect only, propagated; lists too."""
    rng = np.random.default_rng(seed)
    lists = []
    above = [ontology.propagate([term], roots=False) for term in range(TERMS)]
    pure = [term for term in range(TERMS) if len(set(ontology.aspects[above[term]])) == 1]
    for number in range(KNOWN):
        terms = rng.integers(0, TERMS, 4) if number % 2 else [rng.choice(pure)]
        lists.append(ontology.propagate(terms, roots=False))
    offsets = np.concatenate([[0], np.cumsum([len(one) for one in lists])])
    ids = tuple(f"k{n}" for n in range(KNOWN))
    return Carried(ids, np.arange(KNOWN), offsets, np.concatenate(lists)), lists


def relatives_of(seed, *, lonely):
    """Random relatives; every ``lonely``-th protein has none."""
    rng = np.random.default_rng(seed)
    rows, places, weights, closeness = [], [], [], []
    for row in range(PROTEINS):
        count = 0 if row % lonely == 0 else int(rng.integers(1, 6))
        rows += [row] * count
        places += rng.choice(KNOWN, count, replace=False).tolist()
        weights += sorted(rng.uniform(20, 400, count).tolist(), reverse=True)
        closeness += rng.uniform(0.2, 1, count).tolist()
    trust = [1.0] * len(rows)
    return Relatives(*(np.array(one) for one in (rows, places, weights, closeness, trust)))


def weights_of(seed):
    """Random rules for all sets; those of two aspects differ much."""
    rng = np.random.default_rng(seed)

    def rule(kinds):
        each = tuple(KindWeights(*rng.uniform(0, 2, 3)) for _ in kinds)
        step = AspectCalibration(knots=KNOTS)
        return TransferRule(float(rng.uniform(0.3, 1)), each, float(rng.normal()), step)

    return TransferWeights({k: tuple(rule(k) for _ in range(3)) for k in sets_of(KINDS)}, "a" * 64)


@pytest.fixture(scope="module")
def case():
    """An index, vectors, votes of both kinds, and the same votes naively."""
    index = random_index(TERMS, seed=3)
    vectors = unit(np.random.default_rng(1), PROTEINS, index.joint_dim)
    votes, naive = {}, {}
    for number, kind in enumerate(KINDS):
        carried, lists = carried_of(index.ontology, number)
        relatives = relatives_of(10 + number, lonely=2 + number)
        votes[kind] = count_votes(relatives, carried, PROTEINS, index.ontology.aspects)
        naive[kind] = naive_votes(relatives, lists, index.ontology.aspects)
    return GoScorer(index), vectors, votes, naive


def naive_votes(relatives, lists, aspects):
    """By protein: closeness of the closest by aspect; by term share, best relative, closeness.

    A relative counts in the aspects of which it has a term.
    """
    found = {}
    for row in range(PROTEINS):
        own = [
            (float(w), int(p), float(c))
            for r, p, w, c in zip(
                relatives.rows, relatives.places, relatives.weights, relatives.closeness
            )
            if r == row
        ]
        if not own:
            continue
        terms = {int(term) for _, place, _ in own for term in lists[place]}
        closest, table = {}, {}
        for term in terms:
            aspect = aspects[term]
            heard = [one for one in own if (aspects[lists[one[1]]] == aspect).any()]
            closest[int(aspect)] = max(c for _, _, c in heard)
            having = [one for one in own if term in lists[one[1]]]
            best = max(having)
            share = sum(w for w, _, _ in having) / sum(w for w, _, _ in heard)
            table[term] = (share, best[1], best[2])
        found[row] = closest, table
    return found


def test_votes_are_counted(case):
    _, _, votes, naive = case
    for kind, one in votes.items():
        wanted = {
            (row, term): rest
            for row, (_, table) in naive[kind].items()
            for term, rest in table.items()
        }
        keys = list(zip(one.rows.tolist(), one.terms.tolist()))
        assert keys == sorted(wanted)
        for key, share, source, close in zip(keys, one.shares, one.sources, one.closeness):
            assert (share, source, close) == pytest.approx(wanted[key])
        for row in range(PROTEINS):
            closest = naive[kind].get(row, ({}, {}))[0]
            assert one.closest[row].tolist() == [closest.get(aspect, 0.0) for aspect in range(3)]
            assert one.has[row].tolist() == [aspect in closest for aspect in range(3)]
        some = one.has.any(1)
        assert (one.has[some].sum(1) < 3).any()  # some have no relative in some aspect


def test_a_relative_without_a_term_of_an_aspect_is_no_vote_there():
    """Two relatives, terms 0 and 1 of aspect 0, term 2 of aspect 1."""
    aspects = np.array([0, 0, 1])
    carried = Carried(("a", "b"), np.arange(2), np.array([0, 2, 3]), np.array([0, 1, 2]))
    relatives = Relatives(
        np.zeros(2, np.int64), np.arange(2), np.array([3.0, 1.0]), np.array([0.9, 0.4]), np.ones(2)
    )
    found = count_votes(relatives, carried, 1, aspects)
    assert found.terms.tolist() == [0, 1, 2] and found.shares.tolist() == [1, 1, 1]
    assert found.closest.tolist() == [[0.9, 0.4]]
    alone = count_votes(relatives.of(0, 1), carried, 1, np.array([0, 0, 2]))
    assert alone.has.tolist() == [[True, False, True]]
    assert count_votes(relatives, carried, 1, 0 * aspects).shares.tolist() == [0.75, 0.75, 0.25]


@pytest.mark.parametrize(
    ("size", "cosine", "wanted"),
    [
        (1, 0.44, 0.0),
        (1, 0.94, 0.0),
        (1, 0.97, 0.25),
        (1, 1.0, 1.0),
        (20, 0.5, 0.0784),
        (1000, 0.5, 0.4167),
        (44_424, 0.2, 1.0),
        (1_000_000, -1.0, 1.0),
    ],
)
def test_a_neighbour_is_trusted_by_the_size_of_the_reference_and_its_cosine(size, cosine, wanted):
    assert neighbour_trust(np.array([cosine]), size) == pytest.approx(wanted, abs=1e-4)


def test_without_relatives_there_are_no_votes(case):
    scorer, _, _, _ = case
    carried, _ = carried_of(scorer.ontology, 0)
    nothing = np.zeros(0, np.int64)
    relatives = Relatives(nothing, nothing, *np.zeros((3, 0)))
    found = count_votes(relatives, carried, 4, scorer.ontology.aspects)
    assert len(found.rows) == len(found.shares) == 0
    assert found.has.shape == found.closest.shape == (4, 3) and not found.has.any()


def naive_odds(scorer, vectors, naive, weights, *, lifted=True):
    """Log odds of all pairs by the written rule, propagated; NaN for roots."""
    text = naive_log_odds(scorer.index, vectors)
    found = text.copy()
    for row in range(PROTEINS):
        for term in range(TERMS):
            aspect = int(scorer.ontology.aspects[term])
            kinds = tuple(k for k in KINDS if aspect in naive[k].get(row, ({}, {}))[0])
            if not kinds:
                continue
            rule = weights.rules[kinds][aspect]
            value = rule.text * max(text[row, term], LEAST_TEXT) + rule.offset
            for kind, own in zip(kinds, rule.kinds):
                closest, table = naive[kind][row]
                closest = closest[aspect]
                share = table.get(term, (0.0,))[0]
                odds = math.log((share + PAD) / (1 - share + PAD))
                value += own.share * share + own.log_odds * odds + own.close * share * closest
            found[row, term] = naive_correct(rule.step.knots, value)
    if not lifted:
        return found, text
    lifted = found.copy()
    for term, ancestors in enumerate(ancestors_of(scorer.ontology)):
        for above in ancestors:
            lifted[:, above] = np.maximum(lifted[:, above], found[:, term])
    lifted[:, scorer.ontology.roots] = np.nan
    return lifted, text


def candidates(scorer, text, naive):
    found = text >= LEAST_TEXT
    for own in naive.values():
        for row, (_, table) in own.items():
            found[row, list(table)] = True
    found[:, scorer.ontology.roots] = False
    return found


@pytest.mark.parametrize("kinds", [*sets_of(KINDS)])
@pytest.mark.parametrize("least", [-2.0, 0.5])
def test_pairs_above_a_threshold_are_those_of_the_written_rule(case, kinds, least):
    scorer, vectors, votes, naive = case
    votes = {kind: votes[kind] for kind in kinds}
    naive = {kind: naive[kind] if kind in kinds else {} for kind in KINDS}
    weights = weights_of(5)
    table, text = naive_odds(scorer, vectors, naive, weights)
    found = with_votes(scorer, vectors, votes, weights, least)
    inside = candidates(scorer, text, naive)
    wanted = np.argwhere(inside & (np.nan_to_num(table, nan=-np.inf) >= least + 1e-4))
    keys = set(zip(found.rows.tolist(), found.terms.tolist()))
    assert {tuple(pair) for pair in wanted.tolist()} <= keys
    assert len(keys) <= len(wanted) + 3  # those at the very threshold
    np.testing.assert_allclose(found.log_odds, table[found.rows, found.terms], atol=1e-4)
    assert (np.diff(found.rows * TERMS + found.terms) > 0).all()
    assert len(keys) > 50
    for row, term, bits, sources, identity in zip(
        found.rows, found.terms, found.support, found.sources, found.identity
    ):
        for number, kind in enumerate(KINDS):
            own = naive[kind].get(int(row), ({}, {}))[1].get(int(term))
            assert bool(bits & (2 << number)) == (own is not None)
            assert sources[number] == (-1 if own is None else own[1])
            if kind == "homology" and own is not None:
                assert identity == own[2]
        if not bits & TEXT:
            assert text[row, term] < least + 1e-4
        assert bits


def test_proteins_without_relatives_keep_the_text(case):
    scorer, vectors, votes, naive = case
    found = with_votes(scorer, vectors, votes, weights_of(5), -1.0)
    alone = scorer.above(vectors, -1.0)
    lonely = [row for row in range(PROTEINS) if not any(row in own for own in naive.values())]
    assert lonely
    for row in lonely:
        here, there = found.rows == row, alone.rows == row
        assert found.terms[here].tolist() == alone.terms[there].tolist()
        assert found.log_odds[here].tolist() == alone.log_odds[there].tolist()
        assert found.cosines[here].tolist() == alone.cosines[there].tolist()
        assert set(found.support[here].tolist()) <= {TEXT}


@pytest.mark.parametrize("kind", KINDS)
def test_relatives_trusted_in_part_are_mixed_with_the_text(case, kind):
    scorer, vectors, votes, naive = case
    weights, part = weights_of(5), 0.3
    own = votes[kind]
    found = with_votes(scorer, vectors, {kind: replace(own, trust=part * own.trust)}, weights, -6.0)
    only = {one: naive[one] if one == kind else {} for one in KINDS}
    rule, text = naive_odds(scorer, vectors, only, weights, lifted=False)
    mixed = part * rule + (1 - part) * np.maximum(text, LEAST_TEXT)
    for row in set(range(PROTEINS)) - naive[kind].keys():
        mixed[row] = text[row]
    for term in range(TERMS):
        # Aspects without a relative have the text alone, which is the lift of others.
        aspect = int(scorer.ontology.aspects[term])
        rows = [r for r, (near, _) in naive[kind].items() if aspect not in near]
        mixed[rows, term] = np.maximum(text, LEAST_TEXT)[rows, term]
    lifted = mixed.copy()
    inside = candidates(scorer, text, only)
    for term, ancestors in enumerate(ancestors_of(scorer.ontology)):
        for above in ancestors:
            here = inside[:, term] & (mixed[:, term] >= -6.0)
            lifted[here, above] = np.maximum(lifted[here, above], mixed[here, term])
    np.testing.assert_allclose(found.log_odds, lifted[found.rows, found.terms], atol=1e-4)


@pytest.mark.parametrize("trusts", [(1.0, 1.0), (0.4, 0.7)])
def test_no_term_is_above_an_ancestor(case, trusts):
    scorer, vectors, votes, _ = case
    votes = {
        kind: replace(one, trust=trust * one.trust)
        for trust, (kind, one) in zip(trusts, votes.items())
    }
    found = with_votes(scorer, vectors, votes, weights_of(6), -3.0)
    values = dict(zip(zip(found.rows.tolist(), found.terms.tolist()), found.log_odds.tolist()))
    roots, ancestors = set(scorer.ontology.roots.tolist()), ancestors_of(scorer.ontology)
    for (row, term), value in values.items():
        for above in ancestors[term] - roots:
            assert values[row, above] >= value


def test_a_protein_is_scored_by_itself(case):
    scorer, vectors, votes, _ = case
    carried, _ = carried_of(scorer.ontology, 1)
    relatives = relatives_of(11, lonely=3)
    whole = with_votes(scorer, vectors, {"homology": votes["homology"]}, weights_of(5), -2.0)
    some = count_votes(relatives.of(7, 12), carried, 5, scorer.ontology.aspects)
    part = with_votes(scorer, vectors[7:12], {"homology": some}, weights_of(5), -2.0)
    inside = (whole.rows >= 7) & (whole.rows < 12)
    assert part.terms.tolist() == whole.terms[inside].tolist()
    assert part.log_odds.tolist() == whole.log_odds[inside].tolist()


@pytest.mark.parametrize("k", [1, 4, 40])
def test_the_best_are_the_first_of_all(case, k):
    scorer, vectors, votes, naive = case
    weights = weights_of(7)
    found = best_with_votes(scorer, vectors, votes, weights, k, (0, 2))
    table, _ = naive_odds(scorer, vectors, naive, weights)
    kinds = scorer.ontology.aspects
    for row in range(PROTEINS):
        for aspect in range(3):
            here = (found.rows == row) & (kinds[found.terms] == aspect) & found.chosen
            columns = np.flatnonzero((kinds == aspect) & ~np.isnan(table[0]))
            wanted = np.sort(table[row, columns])[::-1][:k] if aspect != 1 else []
            got = np.sort(found.log_odds[here])[::-1]
            np.testing.assert_allclose(got, wanted, atol=1e-4)
    keys = set(zip(found.rows.tolist(), found.terms.tolist()))
    roots, ancestors = set(scorer.ontology.roots.tolist()), ancestors_of(scorer.ontology)
    for row, term in zip(found.rows[found.chosen].tolist(), found.terms[found.chosen].tolist()):
        assert {(row, above) for above in ancestors[term] - roots} <= keys


def test_what_only_the_rule_makes_likely_is_told_as_of_the_text(case):
    scorer, vectors, votes, naive = case
    rule = TransferRule(0.1, (KindWeights(0.0, 0.0, 0.0),), 5.0)
    weights = TransferWeights(dict.fromkeys(sets_of(KINDS)[:2], (rule,) * 3))
    found = with_votes(scorer, vectors, {"homology": votes["homology"]}, weights, 1.0)
    table = naive_log_odds(scorer.index, vectors)
    alone = [
        (row, term, bits)
        for row, term, bits in zip(found.rows.tolist(), found.terms.tolist(), found.support)
        if row in naive["homology"] and term not in naive["homology"][row][1]
    ]
    assert any(table[row, term] < 0.9 for row, term, _ in alone)
    assert {int(bits) for _, _, bits in alone} == {TEXT}


def test_without_weights_a_share_is_a_probability(case):
    scorer, vectors, votes, _ = case
    weights = TransferWeights.unfitted()
    assert not weights.is_fitted
    found = with_votes(scorer, vectors, {"homology": votes["homology"]}, weights, -2.0)
    own = votes["homology"]
    shares = dict(zip(zip(own.rows.tolist(), own.terms.tolist()), own.shares.tolist()))
    ancestors = ancestors_of(scorer.ontology)
    for (row, term), share in list(shares.items()):  # where an edge leaves an aspect
        for above in ancestors[term]:
            shares[row, above] = max(shares.get((row, above), 0.0), share)
    for row, term, odds in zip(found.rows.tolist(), found.terms.tolist(), found.log_odds):
        if own.has[row].all():
            assert sigmoid(odds) == pytest.approx(shares.get((row, term), 0.0), abs=PAD)


# -- the file ------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [-0.1, math.nan, math.inf])
def test_a_rule_that_could_turn_the_order_round_is_refused(value):
    good = KindWeights(1.0, 1.0, 1.0)
    with pytest.raises(UsageError, match="rule of transfer"):
        TransferRule(value, (good,), 0.0)
    with pytest.raises(UsageError, match="rule of transfer"):
        TransferRule(1.0, (good._replace(close=value),), 0.0)


def test_more_evidence_is_never_less_likely():
    rule = TransferRule(0.5, (KindWeights(0.3, 0.6, 1.0),), -1.0, AspectCalibration(knots=KNOTS))
    shares = np.linspace(0, 1, 200)
    values = rule.log_odds(np.zeros(200), [Evidence(shares, np.full(200, 0.4))])
    assert (np.diff(values) >= 0).all()


def test_weights_come_back_from_a_bundle(tmp_path):
    bundle = open_bundle(write_tiny_bundle(tmp_path / "tiny"))
    assert not find_transfer(describe_model(str(bundle.path))).is_fitted
    weights = weights_of(1)
    weights = TransferWeights(weights.rules, bundle.weights_sha256, {"aligner": "mmseqs 15"})
    changed = add_transfer(weights, bundle)
    changed.verify()
    assert TRANSFER_FILE in changed.files
    assert find_transfer(describe_model(str(bundle.path))) == weights
    assert add_transfer(weights, changed).files == changed.files


def test_weights_of_another_model_are_refused(tmp_path):
    bundle = open_bundle(write_tiny_bundle(tmp_path / "tiny"))
    with pytest.raises(ModelError, match="of another model"):
        add_transfer(weights_of(1), bundle)
    own = TransferWeights(weights_of(1).rules, bundle.weights_sha256)
    bundle = add_transfer(own, bundle)
    data = own.to_bytes().replace(bundle.weights_sha256.encode(), b"b" * 64)
    rewrite(bundle, data)
    with pytest.raises(ModelError, match="is of a model with weights bbbb"):
        find_transfer(describe_model(str(bundle.path)))


def rewrite(bundle, data):
    import hashlib

    (bundle.path / TRANSFER_FILE).write_bytes(data)
    path = bundle.path / "manifest.json"
    content = json.loads(path.read_text())
    content["files"][TRANSFER_FILE] = {
        "sha256": hashlib.sha256(data).hexdigest(),
        "bytes": len(data),
    }
    path.write_text(json.dumps(content))


def test_a_changed_file_is_refused(tmp_path):
    bundle = open_bundle(write_tiny_bundle(tmp_path / "tiny"))
    bundle = add_transfer(TransferWeights(weights_of(1).rules, bundle.weights_sha256), bundle)
    path = bundle.path / TRANSFER_FILE
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(ModelError, match="sha256 mismatch"):
        find_transfer(describe_model(str(bundle.path)))


def drop(*names):
    def change(content):
        for name in names[:-1]:
            content = content[name]
        del content[names[-1]]

    return change


def put(value, *names):
    def change(content):
        for name in names[:-1]:
            content = content[name]
        content[names[-1]] = value

    return change


@pytest.mark.parametrize(
    "change",
    [
        put("other", "format"),
        put(2, "version"),
        put("x", "weights_sha256"),
        drop("rules", "homology"),
        put([], "rules", "homology"),
        drop("rules", "homology", "BP"),
        put(7, "rules", "homology", "BP"),
        drop("rules", "homology", "BP", "text"),
        put("1", "rules", "homology", "BP", "text"),
        put(-1.0, "rules", "homology", "BP", "text"),
        put(True, "rules", "homology", "BP", "offset"),
        put(1e999, "rules", "homology", "BP", "offset"),
        drop("rules", "neighbours+homology", "CC", "homology", "close"),
        put([[0.0, 1.0], [1.0, 0.5]], "rules", "homology", "MF", "step", "knots"),
        put([1], "fitted_with"),
    ],
)
def test_content_of_another_kind_is_refused(change):
    content = json.loads(weights_of(1).to_bytes())
    change(content)
    with pytest.raises(ModelError) as caught:
        TransferWeights.from_bytes(json.dumps(content).encode(), "w.json")
    assert caught.value.where == "w.json"
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("data", [b"", b"[" * 100_000, b"\xff", b"[]", b"null"])
def test_what_is_no_json_object_is_refused(data):
    with pytest.raises(ModelError):
        TransferWeights.from_bytes(data, "w.json")
