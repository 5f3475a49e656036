"""Scores of variants against naive twins, and what may not change them."""

from __future__ import annotations

import os
import random

import numpy as np
import pytest

from protclip_core.engines.masked import MaskedEngine
from protclip_core.errors import InputError, UsageError
from protclip_core.models.masked import MaskedReader
from protclip_core.tasks.mutate.ensemble import combine
from protclip_core.tasks.mutate.input import Proteins, carries_sequences, match_rows
from protclip_core.tasks.mutate.request import MutateRequest
from protclip_core.tasks.mutate.scores import (
    MarginalScorer,
    Method,
    Percentile,
    ProteinAsked,
    ProteinScores,
    percentiles,
)
from protclip_core.tasks.mutate.task import Mutation
from protclip_core.variants import parse_variant
from protclip_core.variants.residues import LETTERS
from protclip_core.variants.substitution_prior import prior_table
from tests.support.helpers import random_proteins, write_fasta

STANDARD = LETTERS[:20]
((_, SEQUENCE),) = random_proteins(1, seed=4, shortest=30, longest=30)


def naive(model, residues, masked, read):
    """Log probabilities ``(len(read), 25)`` of one masked copy, alone."""
    reader = MaskedReader(model)
    tokens = model.encoder.encode(residues).copy()
    for place in masked:
        tokens[place + 1] = model.residue_tokens.index("<mask>")
    job = reader.jobs(residues, (0,))[0].__class__(tokens, tuple(p + 1 for p in read))
    return reader.read([job])[0]


def naive_pll(model, residues):
    return sum(
        naive(model, residues, [p], [p])[0, LETTERS.index(letter)]
        for p, letter in enumerate(residues)
    )


def score(model, texts, method, *, prior=False, sequence=SEQUENCE, reference=Percentile.NONE):
    variants = tuple(parse_variant(text) for text in texts)
    asked = ProteinAsked(sequence, variants, 0, reference)
    with MaskedEngine(MaskedReader(model)) as engine:
        return MarginalScorer(engine, method, prior=prior).score(asked)


def substitution(place, seed=0):
    old = SEQUENCE[place]
    new = random.Random(seed + place).choice([a for a in STANDARD if a != old])
    return f"{old}{place + 1}{new}"


ONE, TWO, LAST = substitution(3), substitution(11), substitution(29)
PAIR = f"{ONE}:{TWO}"


def ratio(logs, text):
    return logs[LETTERS.index(text[-1])] - logs[LETTERS.index(text[0])]


def test_masked_marginals_are_those_of_a_loop(tiny_model):
    found = score(tiny_model, [ONE, PAIR, LAST, f"{SEQUENCE[0]}1="], Method.MASKED).scores
    alone = {
        text: ratio(naive(tiny_model, SEQUENCE, [place], [place])[0], text)
        for text, place in ((ONE, 3), (TWO, 11), (LAST, 29))
    }
    expected = [alone[ONE], alone[ONE] + alone[TWO], alone[LAST], 0]
    np.testing.assert_allclose(found, expected, rtol=0, atol=5e-5)


def test_wild_type_marginals_joint_masks_and_pseudo_likelihood(tiny_model):
    logs = naive(tiny_model, SEQUENCE, [], range(30))
    found = score(tiny_model, [ONE, PAIR], Method.WILD_TYPE).scores
    expected = [ratio(logs[3], ONE), ratio(logs[3], ONE) + ratio(logs[11], TWO)]
    np.testing.assert_allclose(found, expected, rtol=0, atol=5e-5)

    both = naive(tiny_model, SEQUENCE, [3, 11], [3, 11])
    found = score(tiny_model, [PAIR], Method.JOINT).scores
    np.testing.assert_allclose(found, ratio(both[0], ONE) + ratio(both[1], TWO), rtol=0, atol=5e-5)

    texts = [PAIR, f"{SEQUENCE[4]}5del", f"{SEQUENCE[4]}5_{SEQUENCE[5]}6insWW"]
    wild_type = naive_pll(tiny_model, SEQUENCE)
    mutated = [parse_variant(text).apply(SEQUENCE) for text in texts]
    assert [len(m) for m in mutated] == [30, 29, 32]
    # Of another length, it is compared with as many average residues of the wild type.
    expected = [naive_pll(tiny_model, m) - wild_type * len(m) / 30 for m in mutated]
    found = score(tiny_model, texts, Method.PSEUDO).scores
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("method", [Method.MASKED, Method.WILD_TYPE, Method.JOINT, Method.PSEUDO])
def test_the_prior_is_added_for_each_substitution(tiny_model, method):
    table = prior_table()
    added = [table[LETTERS.index(t[0]), LETTERS.index(t[-1])] for t in (ONE, TWO)]
    with_prior = score(tiny_model, [ONE, PAIR], method, prior=True).scores
    without = score(tiny_model, [ONE, PAIR], method).scores
    np.testing.assert_allclose(with_prior - without, [added[0], sum(added)], rtol=0, atol=1e-9)


@pytest.mark.parametrize("method", [Method.MASKED, Method.WILD_TYPE, Method.JOINT])
def test_what_is_no_substitution_has_a_reason(tiny_model, method):
    found = score(tiny_model, [ONE, f"{SEQUENCE[4]}5del"], method)
    assert list(found.reasons) == [1] and np.isnan(found.scores[1])
    assert "is a deletion" in found.reasons[1] and "--method pll" in found.reasons[1]


def test_rare_residues_have_neither_prior_nor_percentile(tiny_model):
    texts, sequence = ["U2A", "A3U", "A3G"], "MUAYIAKQRQ"
    options = {"sequence": sequence, "reference": Percentile.SCAN}
    found = score(tiny_model, texts, Method.MASKED, **options)
    assert np.isfinite(found.scores).all()
    assert np.isfinite(found.placed).tolist() == [False, False, True]
    found = score(tiny_model, texts, Method.MASKED, prior=True, **options)
    assert sorted(found.reasons) == [0, 1]
    assert "none of the 20 residues" in found.reasons[1]
    assert np.isfinite(found.scores).tolist() == [False, False, True]


def test_percentiles_count_ties_half():
    singles = np.array([[1.0, 2.0, 2.0, np.nan], [3.0, np.nan, np.nan, np.nan]])
    placed = np.array([1.0, 2.0, 3.0, 9.0, np.nan])
    np.testing.assert_allclose(percentiles(placed, singles), [12.5, 50, 87.5, 100, np.nan])
    assert np.isnan(percentiles(placed, None)).all()


def test_percentiles_among_the_scan_and_among_wild_type_marginals(tiny_model):
    texts = [ONE, PAIR]
    by_scan = score(tiny_model, texts, Method.MASKED, reference=Percentile.SCAN)
    every = [
        f"{old}{p + 1}{new}" for p, old in enumerate(SEQUENCE) for new in STANDARD if new != old
    ]
    all_scores = score(tiny_model, every, Method.MASKED).scores
    expected = 100 * np.mean(
        (all_scores < by_scan.scores[0]) + 0.5 * (all_scores == by_scan.scores[0])
    )
    found = percentiles(by_scan.placed, by_scan.singles)
    assert found[0] == pytest.approx(expected, abs=0.2) and np.isnan(found[1])
    assert np.isfinite(by_scan.singles).sum() == 30 * 19 and not by_scan.by_wild_type

    cheap = score(tiny_model, texts, Method.MASKED, reference=Percentile.WILD_TYPE)
    assert cheap.by_wild_type
    np.testing.assert_allclose(cheap.scores, by_scan.scores, rtol=0, atol=5e-5)
    wild_type = score(tiny_model, texts, Method.WILD_TYPE, reference=Percentile.SCAN)
    np.testing.assert_allclose(
        percentiles(cheap.placed, cheap.singles), percentiles(wild_type.placed, wild_type.singles)
    )


def test_an_ensemble_is_the_mean_in_units_of_the_spread():
    singles = np.array([[-2.0, 0.0, 2.0]]), np.array([[-10.0, -5.0, 0.0]])
    parts = [ProteinScores(np.array([-2.0, 1.0]), {}, s, np.array([-2.0, np.nan])) for s in singles]
    parts[1].scores = np.array([-10.0, 5.0])
    parts[1].placed = np.array([-10.0, np.nan])
    found = combine(parts)
    spreads = singles[0].std(), singles[1].std()
    expected = [(-2 / spreads[0] - 10 / spreads[1]) / 2, (1 / spreads[0] + 5 / spreads[1]) / 2]
    np.testing.assert_allclose(found.score, expected)
    np.testing.assert_allclose(found.percentile, [100 / 6, np.nan])
    np.testing.assert_array_equal(found.by_model, [[-2, -10], [1, 5]])
    parts[1].reasons, parts[1].scores[1] = {1: "no"}, np.nan
    assert combine(parts).reasons == {1: "no"}


@pytest.fixture
def mutate(tiny_bundle, tmp_path):
    """Run a request on files of this folder; returns rows as ``(score, reason)`` and the task."""

    def run(proteins, lines=None, **options):
        fasta = write_fasta(tmp_path / "x.fa", proteins)
        if lines is not None:
            (tmp_path / "v.tsv").write_text("\n".join(lines) + "\n", "utf-8")
            options["variants"] = str(tmp_path / "v.tsv")
        options.setdefault("models", (str(tiny_bundle),))
        task = Mutation(MutateRequest(inputs=(str(fasta),), device="cpu", **options))
        return list(task.scored()), task

    return run


def test_scores_do_not_depend_on_order_neighbours_or_other_proteins(mutate):
    proteins = random_proteins(4, seed=2, shortest=20, longest=60)
    lines = [
        f"{id}\t{sequence[p]}{p + 1}{'A' if sequence[p] != 'A' else 'G'}"
        for id, sequence in proteins
        for p in range(0, 20, 3)
    ]
    whole = {(r.protein_id, r.variant): r for r in mutate(proteins, lines)[0]}
    turned, _ = mutate(proteins[::-1], random.Random(0).sample(lines, len(lines)), workers=3)
    single, _ = mutate(proteins[1:2], [line for line in lines if line.startswith("p1")][:2])
    assert len(turned) == len(lines) and len(single) == 2
    for row in [*turned, *single]:
        same = whole[row.protein_id, row.variant]
        assert row.score == pytest.approx(same.score, abs=5e-5)
        assert row.percentile == pytest.approx(same.percentile, abs=0.5)


def test_rows_come_in_input_order_and_a_protein_may_be_left_unnamed(mutate):
    lines = [LAST, ONE, "A99G", ONE]
    rows, task = mutate([("only", SEQUENCE)], lines)
    assert [row.variant for row in rows] == lines
    assert {row.protein_id for row in rows} == {"only"}
    assert [row.score is None for row in rows] == [False, False, True, False]
    assert rows[3].score == rows[1].score and rows[3].reason == "repeats line 2"
    assert (task.report.rows, task.report.scored, task.report.unscored) == (4, 3, 1)


def test_offset_and_region_count_as_the_user_does(mutate, caplog):
    shifted = f"{SEQUENCE[3]}104{ONE[-1]}"
    plain, _ = mutate([("a", SEQUENCE)], [ONE])
    rows, _ = mutate([("a", SEQUENCE)], [shifted], offset=100)
    assert rows[0].score == pytest.approx(plain[0].score, abs=1e-6)
    rows, _ = mutate([("a", SEQUENCE)], scan=True, region=(104, 105), offset=100)
    assert len(rows) == 38 and rows[0].variant.startswith(f"{SEQUENCE[3]}104")
    assert shifted in {row.variant for row in rows}
    with pytest.raises(InputError, match="region 4-5 is outside its positions 101 to 130"):
        mutate([("a", SEQUENCE)], scan=True, region=(4, 5), offset=100)
    lines = [f"{SEQUENCE[p]}{p + 101}{'W' if SEQUENCE[p] != 'W' else 'A'}" for p in range(9)]
    rows, _ = mutate([("a", SEQUENCE)], lines)
    assert all(row.score is None for row in rows)
    assert "with --offset 100 9 of 9 would" in caplog.text


def test_a_scan_has_all_single_substitutions_once(mutate, caplog):
    sequence = SEQUENCE[:8] + "X" + SEQUENCE[9:12]
    rows, task = mutate([("a", sequence)], scan=True)
    assert [row.variant for row in rows] == [
        f"{old}{p + 1}{new}"
        for p, old in enumerate(sequence)
        if old != "X"
        for new in STANDARD
        if new != old
    ]
    assert "1 positions hold X" in caplog.text
    found = task.scans["a"]
    assert found.shape == (12, 20) and np.isnan(found[8]).all()
    assert np.isfinite(found).sum() == len(rows) == 11 * 19
    scores = {row.variant: row.score for row in rows}
    assert found[0, STANDARD.index("W")] == pytest.approx(scores[f"{sequence[0]}1W"])
    ranks = np.argsort([row.score for row in rows])
    spread = [rows[i].percentile for i in ranks]
    assert spread == sorted(spread) and 0 < spread[0] < 1 and 99 < spread[-1] < 100


def test_several_models_stand_in_columns_of_their_own(mutate, tiny_bundle):
    alone, _ = mutate([("a", SEQUENCE)], [ONE, PAIR])
    rows, task = mutate([("a", SEQUENCE)], [ONE, PAIR], models=(str(tiny_bundle),) * 2)
    assert task.models == ["tiny", "tiny_2"]
    for row, single in zip(rows, alone, strict=True):
        assert row.by_model == pytest.approx((single.score,) * 2, abs=1e-6)
        assert row.score * alone[0].score > 0 or single is alone[1]
        assert row.percentile == pytest.approx(single.percentile)


def test_embedding_shift_against_vectors(tiny_model, mutate):
    lines = [ONE, f"{SEQUENCE[4]}5del", f"{SEQUENCE[0]}1="]
    rows, _ = mutate([("a", SEQUENCE)], lines, method=Method.SHIFT)
    vectors = tiny_model.embed_proteins(
        [SEQUENCE, *(parse_variant(text).apply(SEQUENCE) for text in lines[:2])]
    ).astype(np.float64)
    expected = vectors[1:] @ vectors[0] - 1
    assert [row.score for row in rows[:2]] == pytest.approx(expected, abs=1e-6)
    assert rows[2].score == 0 and rows[0].score < 0


def test_towards_a_text(mutate):
    import protclip_core as pc

    rows, _ = mutate(
        [("a", SEQUENCE)],
        [ONE, PAIR],
        models=("protclip-mini",),
        method=Method.SHIFT,
        toward="ion transport",
    )
    model = pc.load_model(device="cpu")
    vectors = model.embed_proteins(
        [SEQUENCE, *(parse_variant(text).apply(SEQUENCE) for text in (ONE, PAIR))]
    )
    expected = (vectors[1:] - vectors[0]) @ model.embed_text(["ion transport"])[0]
    assert [row.toward for row in rows] == pytest.approx(expected.tolist(), abs=1e-6)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"scan": False}, "nothing to score"),
        ({"scan": True, "toward": "heme"}, "--toward is for the embedding shift"),
        ({"scan": True, "prior": "other"}, "prior 'other'"),
        ({"scan": True, "models": ("a", "b"), "method": Method.PSEUDO}, "has no spread"),
        ({"scan": True, "method": Method.SHIFT, "toward": "heme"}, "takes no texts"),
        (
            {"scan": True, "method": Method.PSEUDO, "percentile": Percentile.SCAN},
            "no scan to place",
        ),
        (
            {"scan": True, "method": Method.SHIFT, "prior": "blosum62"},
            "not for the embedding shift",
        ),
    ],
)
def test_options_that_do_not_fit(mutate, options, said):
    with pytest.raises(UsageError, match=said):
        mutate([("a", SEQUENCE)], **options)


def test_one_id_with_two_sequences_is_refused(mutate):
    with pytest.raises(InputError, match="another sequence"):
        mutate([("a", SEQUENCE), ("a", SEQUENCE[1:])], [ONE])


def test_a_mutated_sequence_that_the_variant_does_not_make_is_told(tmp_path, caplog):
    made = parse_variant(ONE).apply(SEQUENCE)
    other = made[:5] + ("A" if made[5] != "A" else "G") + made[6:]
    table = tmp_path / "v.tsv"
    rows = [f"{ONE}\t{made}", f"{ONE}\t{other}", f"{TWO}\t{SEQUENCE[:-1]}"]
    table.write_text("variant\tmutated_sequence\n" + "\n".join(rows) + "\n")
    proteins = Proteins([str(write_fasta(tmp_path / "x.fa", [("a", SEQUENCE)]))])
    first, second, third = match_rows(str(table), proteins)
    assert first.is_scorable and second.is_scorable and third.is_scorable
    assert (first.note, first.flags) == ("", ())
    assert second.note == (
        f"makes {made[5]} at residue 6, its mutated sequence has {other[5]} there; repeats line 2"
    )
    assert second.flags == ("other-sequence", "repeated")
    assert third.note == "makes 30 residues, its mutated sequence has 29"
    assert "2 variants make another sequence" in caplog.text


@pytest.mark.parametrize(
    ("text", "carries"),
    [
        ('{"original_sequence": "MA", "variant": "A2G"}', True),
        ("variant\twt_seq\nA2G\tMA", True),
        ("# mutant,wildtype_sequence,score\nA2G,MA,1", True),
        ("mutant,mutated_sequence\nA2G,MG", False),
        ("A2G", False),
        ("7", False),
        ("", False),
    ],
)
def test_a_file_that_brings_its_wild_type(tmp_path, text, carries):
    (tmp_path / "v").write_text(text)
    assert carries_sequences(str(tmp_path / "v")) is carries


def test_a_pipe_of_variants_is_not_read_ahead():
    source, sink = os.pipe()
    try:
        os.write(sink, b'{"original_sequence": "MA", "variant": "A2G"}\n')
        assert not carries_sequences(f"/dev/fd/{source}")
        assert os.read(source, 9) == b'{"origina'
    finally:
        os.close(sink)
        os.close(source)
