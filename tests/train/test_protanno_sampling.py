"""Probabilities against the formulas, written out here once more, cluster by cluster."""

from __future__ import annotations

import math

import numpy as np
import pytest

from protclip_core.errors import UsageError
from train.protanno.counts import cluster_rows, draw_counts, format_rows
from train.protanno.sampling import Sampling, new_counts

MILLION = 1_000_000
#: About as UniProt is: most is predicted and has a name only.
LEVELS = [0.02, 0.05, 0.08, 0.25, 0.59, 0.01]
COVERAGES = [0.1, 0.5, 0.2, 0.15, 0.05]


@pytest.fixture(scope="module")
def million():
    """Level, properties and draws by seed of 1,000,000 entries, and their counts."""
    rng = np.random.default_rng(0)
    levels = rng.choice(6, MILLION, p=LEVELS)
    properties = rng.choice(5, MILLION, p=COVERAGES)
    counts = new_counts()
    np.add.at(counts, (levels, properties), 1)
    accessions = [f"A{place:07d}" for place in range(MILLION)]
    drawn = {seed: draws(Sampling(seed=seed), accessions) for seed in (0, 7)}
    return levels, properties, drawn, counts


def draws(sampling, accessions):
    return np.fromiter(map(sampling.draw, accessions), float, len(accessions))


def formula(form, level, properties, size, a, b, c):
    """What a cluster is due, up to a common factor."""
    ratio, level = properties / 4, level or 4
    if form == "release":
        if properties < 3 or level > 3:
            return 0.0
        return size * math.sqrt(ratio) / level**3
    if not properties:
        return 0.0
    if form == "uniform":
        return float(size)
    return (1 / level) ** a * ratio**b * size**c


SAMPLINGS = [
    Sampling(form="release"),
    Sampling(form="paper"),
    Sampling(form="paper", target=50_000),
    Sampling(form="paper", target=50_000, exponents=(2.0, 0.5, 0.5), seed=7),
    Sampling(form="paper", target=20_000, exponents=(1.0, 2.0, 0.0)),
    Sampling(form="paper", target=5_000, exponents=(1.0, 1.0, 1.5)),
    Sampling(form="uniform", target=50_000),
]


@pytest.mark.full
@pytest.mark.parametrize("sampling", SAMPLINGS, ids=lambda s: f"{s.form} {s.exponents} {s.target}")
def test_a_million_entries_are_kept_as_the_formula_says(million, sampling):
    levels, properties, drawn, counts = million
    exponents = sampling.exponents or (1.0, 1.0, 1.0)
    due = np.array(
        [
            [formula(sampling.form, c, r, int(counts[c, r]), *exponents) for r in range(5)]
            for c in range(6)
        ]
    )
    shares = sampling.cluster_probabilities(counts)
    np.testing.assert_allclose(shares, due / due.sum(), rtol=1e-12)
    probabilities = sampling.keep_probabilities(counts)
    if sampling.target:
        assert (probabilities * counts).sum() == pytest.approx(sampling.target)
    else:
        np.testing.assert_allclose(probabilities * counts, due, rtol=1e-12)
    # Clusters that are not kept whole have sizes in the ratio of the formula.
    partial = (probabilities < 1) & (due > 0)
    ratios = (probabilities * counts)[partial] / due[partial]
    np.testing.assert_allclose(ratios, ratios[0], rtol=1e-9)

    kept = drawn[sampling.seed] < probabilities[levels, properties]
    after = new_counts()
    np.add.at(after, (levels[kept], properties[kept]), 1)
    spread = np.sqrt(counts * probabilities * (1 - probabilities))
    # 30 clusters, seven samplings: five standard deviations are not left by chance.
    assert (np.abs(after - counts * probabilities) <= 5 * spread + 1e-9).all()
    assert after[:, 0].sum() == 0


def test_a_cluster_smaller_than_its_due_is_kept_whole_and_the_rest_shared():
    counts = new_counts()
    counts[1, 4], counts[4, 1], counts[5, 1] = 10, 1000, 1000
    sampling = Sampling(form="paper", target=110, exponents=(1.0, 0.0, 0.0))
    kept = sampling.keep_probabilities(counts) * counts
    assert kept[1, 4] == 10
    np.testing.assert_allclose([kept[4, 1], kept[5, 1]], [100 * 5 / 9, 100 * 4 / 9])
    whole = Sampling(form="paper", target=5000).keep_probabilities(counts)
    assert (whole[counts > 0] == 1).all()


@pytest.mark.parametrize("power", [0.0, 0.3, 1.0])
def test_bounds_never_fall_below_the_final_probabilities(power):
    """What the one pass rests on."""
    rng = np.random.default_rng(1)
    sampling = Sampling(form="paper", target=300, exponents=(1.0, 1.0, power))
    counts, steps = new_counts(), []
    for _ in range(300):
        np.add.at(counts, (rng.choice(6, 9, p=LEVELS), rng.choice(5, 9, p=COVERAGES)), 1)
        steps.append(sampling.bounds(counts))
    final = sampling.keep_probabilities(counts)
    assert all((bound >= final).all() for bound in steps)
    assert (np.diff(np.array(steps), axis=0) <= 1e-8).all()


def test_draws_are_uniform_and_differ_by_seed_but_not_by_order():
    names = [f"P{place}" for place in range(20_000)]
    first, second = (draws(Sampling(seed=seed), names) for seed in (0, 1))
    for values in (first, second):
        assert abs(np.histogram(values, 20, (0, 1))[0] - 1000).max() < 5 * math.sqrt(1000)
        assert values.min() >= 0 and values.max() < 1
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.04
    np.testing.assert_array_equal(draws(Sampling(seed=0), names[::-1]), first[::-1])


def test_unknown_level_is_weighted_as_told_and_dropped_by_the_release():
    counts = new_counts()
    counts[0, 4] = counts[2, 4] = counts[4, 4] = 100
    paper = Sampling(form="paper").keep_probabilities(counts)
    assert paper[0, 4] == paper[4, 4] == 0.25
    assert Sampling(form="release").keep_probabilities(counts)[0, 4] == 0
    as_two = Sampling(form="release", unknown_level=2).keep_probabilities(counts)
    assert as_two[0, 4] == as_two[2, 4] == 1 / 8


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"form": "best"}, "no sampling 'best'"),
        ({"form": "uniform"}, "add --target"),
        ({"form": "release", "target": 5}, "its own size"),
        ({"form": "none", "target": 5}, "its own size"),
        ({"form": "paper", "target": 0}, "0 entries"),
        ({"form": "paper", "exponents": (1.0, 1.0)}, "takes 3 exponents, not 2"),
        ({"form": "release", "exponents": (1.0, 1.0, 1.0)}, "takes 2"),
        ({"form": "uniform", "target": 5, "exponents": (1.0,)}, "takes 0"),
        ({"form": "paper", "exponents": (1.0, math.nan, 1.0)}, "not all finite"),
        ({"form": "paper", "exponents": (-1.0, 1.0, 1.0)}, "would prefer"),
        ({"unknown_level": 6}, "6 is not 1 to 5"),
        ({"seed": -1}, "-1 is not between"),
    ],
)
def test_senseless_options_are_refused(options, message):
    with pytest.raises(UsageError, match=message):
        Sampling(**options)


def test_table_and_picture():
    before, after = new_counts(), new_counts()
    before[1, 4], after[1, 4], before[0, 3] = 8, 8, 20
    sampling = Sampling(form="release")
    assert format_rows(cluster_rows(before, after, sampling)) == [
        "existence\tproperties\tentries\tkept\tshare\tprobability",
        "1\t4\t8\t8\t1.0000\t1.0000",
        "?\t3\t20\t0\t0.0000\t0.0000",
        "all\tall\t28\t8\t0.2857\t0.2857",
    ]
    assert draw_counts(before, after, "x").startswith(b"\x89PNG")
    assert draw_counts(before, new_counts(), "x") != draw_counts(before, after, "x")
