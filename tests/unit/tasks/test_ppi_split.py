"""Splits, negatives and reports of leaks, each against loops over pairs."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from protclip_core.heads.card import HeadCard
from protclip_core.heads.pair_features import RECIPES, pair_input
from protclip_core.io.pairs.lists import SPLITS
from protclip_core.tasks.ppi.leaks import PAIRS, LeakReport, TrainedOn
from protclip_core.tasks.ppi.negatives import draw_negatives, two_groups
from protclip_core.tasks.ppi.pairs import codes_of
from protclip_core.tasks.ppi.request import SplitRequest
from protclip_core.tasks.ppi.split import METHODS, SplitSettings, split_pairs
from protclip_core.tasks.ppi.split_list import split_list
from tests.support.helpers import write_fasta
from tests.support.pairs import INPUT, write_pairs
from tests.support.refusals import refused

COUNT = 90


def network(seed=0, count=COUNT, pairs=400):
    """A graph with hubs, some pairs of a protein with itself, each pair once."""
    rng = np.random.default_rng(seed)
    ends = (rng.random((2, 2 * pairs)) ** 2 * count).astype(int)
    codes = np.unique(codes_of(*ends, count))
    chosen = np.sort(rng.permutation(codes)[:pairs])
    return np.divmod(chosen, count)


def parts_of(a, b, splits):
    """Pairs by name of the part."""
    found = {name: [] for name in SPLITS}
    for one, other, split in zip(a.tolist(), b.tolist(), splits.tolist(), strict=True):
        found[SPLITS[split]].append((one, other))
    return found


def seen_in(pairs, groups):
    return {int(groups[protein]) for pair in pairs for protein in pair}


GROUPS = np.arange(COUNT) // 2  # each sequence under two names


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("method", [m for m in METHODS if m != "cluster"])
def test_each_method_keeps_its_word(method, seed):
    a, b = network(seed)
    settings = SplitSettings(method=method, valid=0.15, test=0.2, seed=seed)
    splits = split_pairs(a, b, GROUPS, settings)
    assert (splits == split_pairs(a, b, GROUPS, settings)).all()
    parts = parts_of(a, b, splits)
    known = seen_in(parts["train"], GROUPS)
    for name in ("valid", "test"):
        counted = Counter(
            sum(int(GROUPS[protein]) in known for protein in pair) for pair in parts[name]
        )
        assert counted.total() > 0
        if method == "c1":
            assert set(counted) == {2}
        elif method == "c2":
            assert set(counted) == {1}
        elif method == "c3":
            assert set(counted) == {0}
        elif method in ("bfs", "dfs"):
            assert 2 not in counted
    if method not in ("c2", "c3"):
        assert not parts["unused"]
        if method in ("random", "c1"):
            # Shares are of distinct pairs: those of the same sequences are one.
            assert [len(parts[n]) for n in ("valid", "test")] == pytest.approx([60, 80], abs=10)
        else:
            assert len(parts["test"]) >= 80
    if method == "c3":
        held = [seen_in(parts[name], GROUPS) for name in ("valid", "test")]
        assert not held[0] & held[1]


def test_methods_and_seeds_differ():
    a, b = network(0)
    found = {
        (method, seed): tuple(split_pairs(a, b, GROUPS, SplitSettings(method=method, seed=seed)))
        for method in ("random", "c2", "c3", "bfs", "dfs")  # c1 may be as random is
        for seed in (0, 1)
    }
    assert len(set(found.values())) == len(found)


def test_a_path_is_walked_along_and_a_star_is_taken_whole():
    a, b = np.arange(40), np.arange(1, 41)
    groups = np.arange(41)
    for method in ("bfs", "dfs"):
        settings = SplitSettings(method=method, valid=0, test=0.25, seed=3)
        held = np.flatnonzero(split_pairs(a, b, groups, settings) == 2)
        assert (np.diff(held) == 1).all()
        assert 10 <= len(held) <= 11


@pytest.mark.parametrize(
    ("options", "code", "value"),
    [
        ({"method": "c4"}, "usage.unknown_value", "c4"),
        ({"test": 0.95}, "usage.bad_value", "0.95"),
        ({"test": -0.1}, "usage.bad_value", "-0.1"),
        ({"method": "c1"}, "input.empty_part", "valid by method c1"),
        ({"method": "c3", "test": 0.01}, "input.empty_part", "c3"),
    ],
)
def test_what_cannot_be_split(options, code, value):
    a, b = np.array([0, 2, 4]), np.array([1, 3, 5])
    with refused(code, value):
        split_pairs(a, b, np.arange(6), SplitSettings(**options))


def test_a_list_is_split_by_sequence_where_there_are_sequences(tmp_path, monkeypatch):
    a, b = network(6)
    pairs = write_pairs(tmp_path / "p.tsv", [(f"P{x}", f"P{y}") for x, y in zip(a, b)])
    fasta = write_fasta(tmp_path / "x.fa", [(f"P{n}", "MKV" + "A" * (n // 2)) for n in range(88)])
    own = {"pairs": str(pairs), "split": "c3", "valid_share": 0.2, "test_share": 0.3}
    request = SplitRequest(**own, sequences=str(fasta))
    report = split_list(request)
    left = sum(x >= 88 or y >= 88 for x, y in zip(a, b))
    assert report.pairs.counts.num_failures == left > 0
    assert len(report.splits) == len(a) - left == sum(report.sizes.values())
    assert report.leaks["test"].classes == {"c1": 0, "c2": 0, "c3": report.sizes["test"]}
    assert report.groups < report.proteins
    by_name = split_list(SplitRequest(**own))
    assert by_name.pairs.counts.num_failures == 0 and not by_name.leaks["test"].by_sequence
    monkeypatch.setenv("PATH", "")
    own["split"] = "cluster"
    with refused("usage.no_aligner", "mmseqs"):
        split_list(SplitRequest(**own, sequences=str(fasta)))
    with refused("usage.needs_sequences", "FASTA"):
        split_list(SplitRequest(**own))


@pytest.mark.parametrize("method", ["random", "c1"])
def test_a_pair_under_other_names_is_in_the_part_of_the_first(method):
    a, b = (side.repeat(2) for side in np.triu_indices(12, 1))
    b = b.copy()
    b[1::2] += 12  # a second name of the same sequence
    groups = np.arange(24) % 12
    found = split_pairs(a, b, groups, SplitSettings(method=method, valid=0.2, test=0.2))
    assert set(found.tolist()) == {0, 1, 2}
    assert (found[::2] == found[1::2]).all()


@pytest.mark.parametrize("rule", ["uniform", "degree"])
def test_negatives_are_new_pairs_of_the_proteins_of_their_part(rule):
    a, b = network(4)
    parts = (np.arange(COUNT) % 3 == 0).astype(int)
    own = np.flatnonzero(parts[a] != parts[b])
    known = codes_of(a, b, COUNT)
    options = {"known": known, "parts": parts, "rule": rule}
    x, y = draw_negatives((a[own], b[own]), 300, **options, seed=1)
    drawn = set(zip(np.minimum(x, y).tolist(), np.maximum(x, y).tolist(), strict=True))
    assert len(drawn) == 300
    assert not drawn & set(zip(*np.divmod(known, COUNT), strict=True))
    assert all(one != other and parts[one] != parts[other] for one, other in drawn)
    assert {p for pair in drawn for p in pair} <= {*a[own].tolist(), *b[own].tolist()}
    again = draw_negatives((a[own], b[own]), 300, **options, seed=1)
    assert (again[0] == x).all() and (again[1] == y).all()
    other = draw_negatives((a[own], b[own]), 300, **options, seed=2)
    assert set(zip(*other, strict=True)) != set(zip(x, y, strict=True))


@pytest.mark.parametrize("rule", ["uniform", "degree"])
def test_negatives_of_two_groups_have_a_protein_of_each(rule):
    rng = np.random.default_rng(7)
    a, b = np.divmod(rng.permutation(3 * 50)[:100], 50)
    b += 3
    sides = two_groups(a, b, 60)
    assert sides.tolist() == [n in set(b.tolist()) for n in range(60)]
    options = {"known": codes_of(a, b, 60), "parts": np.zeros(60, int), "rule": rule}
    left = 3 * len(set(b.tolist())) - 100
    x, y = draw_negatives((a, b), left, **options, sides=sides)
    assert len(set(zip(x.tolist(), y.tolist(), strict=True))) == left
    assert (sides[x] != sides[y]).all()
    assert not np.isin(codes_of(x, y, 60), codes_of(a, b, 60)).any()
    with refused("input.too_few_negatives", f"{left} pairs"):
        draw_negatives((a, b), left + 1, **options, sides=sides)


def test_two_groups_are_told_from_chance():
    a, b = np.arange(20), np.arange(20, 40)
    assert two_groups(a, b, 40) is None  # each protein once: no group can be told
    a, b = np.repeat(np.arange(4), 5), np.tile(np.arange(4, 9), 4)
    assert two_groups(a, b, 9).sum() == 5
    assert two_groups(a[:8], b[:8], 9) is None  # 9 bits
    assert two_groups(np.append(a, 4), np.append(b, 5), 9) is None
    assert two_groups(np.append(a, 0), np.append(b, 0), 9) is None  # with itself


def test_degrees_are_kept_by_the_rule_for_them():
    hub = np.zeros(60, np.int64)
    a, b = (
        np.concatenate([hub, np.arange(61, 120)]),
        np.concatenate([np.arange(1, 61), np.arange(62, 121)]),
    )
    found = {}
    for rule in ("uniform", "degree"):
        x, y = draw_negatives((a, b), 100, known=codes_of(a, b, 121),
                              parts=np.zeros(121, int), rule=rule)  # fmt: skip
        found[rule] = int(((x == 0) | (y == 0)).sum())
    assert found["degree"] > 4 * max(1, found["uniform"])


def test_all_that_is_left_is_found_and_no_more():
    a, b = np.array([0, 1, 2, 3]), np.array([1, 2, 3, 4])
    options = {"known": codes_of(a, b, 5), "parts": np.zeros(5, int)}
    x, y = draw_negatives((a, b), 6, **options)
    assert sorted(zip(x.tolist(), y.tolist(), strict=True)) == [
        (0, 2), (0, 3), (0, 4), (1, 3), (1, 4), (2, 4),
    ]  # fmt: skip
    with refused("input.too_few_negatives", "7 ", "6 pairs", "5 proteins"):
        draw_negatives((a, b), 7, **options)
    with refused("usage.unknown_value", "even", "uniform, degree"):
        draw_negatives((a, b), 1, **options, rule="even")


def test_leaks_are_counted_by_sequence_and_travel_in_a_card():
    a, b = network(5)
    keys = (np.random.default_rng(2).integers(0, 1 << 63, COUNT // 2) * 2).astype(np.uint64)[GROUPS]
    train, test = np.arange(0, 120), np.arange(120, 400)
    trained = TrainedOn.of(keys, a[train], b[train])
    proteins, pairs = trained.pack()
    card = HeadCard(
        task="x", labels=("a", "b"), input=pair_input(INPUT, RECIPES["squares"]),
        trained_on=proteins, fit={PAIRS: pairs},
    )  # fmt: skip
    trained = TrainedOn.of_card(card, "x.head")
    own = np.unique(np.concatenate([a[train], b[train]]))
    found = LeakReport.of(trained, keys, a[test], b[test], train_proteins=own)
    known = {int(keys[p]) for p in own}
    known_pairs = {frozenset((int(keys[x]), int(keys[y]))) for x, y in zip(a[train], b[train])}
    classes, pairs_seen = Counter(), 0
    for x, y in zip(a[test], b[test]):
        classes[["c3", "c2", "c1"][(int(keys[x]) in known) + (int(keys[y]) in known)]] += 1
        pairs_seen += frozenset((int(keys[x]), int(keys[y]))) in known_pairs
    tested = {*a[test].tolist(), *b[test].tolist()}
    seen = [p for p in tested if int(keys[p]) in known]
    assert found.classes == {name: classes[name] for name in ("c1", "c2", "c3")}
    assert found.pairs_seen == pairs_seen > 0
    assert (found.proteins, found.proteins_seen) == (len(tested), len(seen))
    assert found.other_names == sum(p not in own for p in seen) > 0
    assert "under another name" in " ".join(found.lines())
