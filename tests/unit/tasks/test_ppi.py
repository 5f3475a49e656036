"""Training, measuring and predicting of pairs, in this process and on stores of random vectors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from protclip_core.errors import InputError, ModelError
from protclip_core.heads import load_head
from protclip_core.heads.pair_features import RECIPES, pair_features, unit_rows
from protclip_core.progress import SilentProgress
from protclip_core.tasks.embed.task import embed_to_store
from protclip_core.tasks.ppi.evaluate import evaluate
from protclip_core.tasks.ppi.leaks import TrainedOn
from protclip_core.tasks.ppi.pairs import read_pair_set
from protclip_core.tasks.ppi.predict import Prediction
from protclip_core.tasks.ppi.request import EvaluateRequest, PredictRequest, TrainRequest
from protclip_core.tasks.ppi.train import train
from protclip_core.tasks.ppi.vectors import VectorOptions, load_proteins
from protclip_core.vectors.embed_request import EmbedRequest
from tests.support.helpers import random_proteins, write_fasta
from tests.support.pairs import (
    TYPES,
    all_pairs,
    ids_of,
    save,
    true_labels,
    vectors_of,
    write_pairs,
    write_store,
)
from tests.support.refusals import refused

COUNT = 40
IDS = ids_of(COUNT)
VECTORS = vectors_of(COUNT, seed=11)
A, B = all_pairs(COUNT)
LABELS = true_labels(VECTORS, A, B).astype(int)
IDS_OF_BOTH = ids_of(60)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ppi")
    write_store(folder / "x.h5", VECTORS)
    save(folder / "x.head", VECTORS)
    save(folder / "types.head", VECTORS, types=True)
    write_pairs(
        folder / "labelled.tsv",
        [(IDS[a], IDS[b], label) for a, b, label in zip(A, B, LABELS, strict=True)],
        "protein_a\tprotein_b\tlabel",
    )
    return folder


def options(place, name="x.h5"):
    return {"inputs": (str(place / name),)}


def asked(place, pairs, output, **changed):
    own = {"split": "random", "valid_share": 0.2, "seed": 1}
    given = {**own, "output": output, **options(place), **changed}
    return TrainRequest(pairs=str(pairs), **given)


def write_split(path, rows, header):
    """Write a list with a column split: three parts, whatever their proteins."""
    order = np.random.default_rng(1).permutation(len(rows))
    names = np.repeat(["test", "valid", "train"], [len(rows) // 5] * 2 + [len(rows) * 3 // 5])
    parts = names[np.argsort(order)]
    told = [(*row, part) for row, part in zip(rows, parts, strict=True)]
    return write_pairs(path, told, f"{header}\tsplit")


def predicted(place, **changed):
    given = {**options(place), "head": place / "x.head", **changed}
    prediction = Prediction(PredictRequest(**given))
    rows = []
    for block in prediction.blocks():
        for number, (a, b) in enumerate(zip(block.a, block.b, strict=True)):
            rows.append((a, b, block.said[number].tolist(), block.notes.get(number, "")))
    return prediction, rows


def test_training_measures_what_it_says(place, tmp_path, caplog):
    rows = [(IDS[a], IDS[b], label) for a, b, label in zip(A, B, LABELS, strict=True)]
    pairs = write_split(tmp_path / "p.tsv", rows, "protein_a\tprotein_b\tlabel")
    report = train(asked(place, pairs, tmp_path / "t.head"))
    assert {name: size for name, (size, _) in report.parts.items()} == {
        "train": 468, "valid": 156, "test": 156,
    }  # fmt: skip
    assert report.drawn == {} and report.unused == 0
    head = load_head(tmp_path / "t.head")
    measured = report.measured["test"]
    auroc = measured.figures["all"]["auroc"]
    assert auroc.value == pytest.approx(roc_auc_score(measured.truth, measured.said), abs=1e-6)
    assert auroc.low <= auroc.value <= auroc.high and auroc.value > 0.9
    assert head.card.metrics["auroc_test"] == auroc.value
    assert head.card.input.features == "pair: sum, difference, product, cosine"
    assert head.card.fit["split"] == report.split == "the list's own"
    assert "chose the head" not in caplog.text
    trained = TrainedOn.of_card(head.card, "x")
    assert len(trained.pairs) == 468 and report.leaks["test"].pairs_seen == 0
    again = train(asked(place, pairs, tmp_path / "u.head"))
    assert again.measured["test"].figures == report.measured["test"].figures
    assert (tmp_path / "t.head").read_bytes() == (tmp_path / "u.head").read_bytes()


def test_negatives_are_drawn_where_a_list_has_none(place, tmp_path, caplog):
    yes = [(IDS[a], IDS[b]) for a, b, label in zip(A, B, LABELS, strict=True) if label][:150]
    pairs = write_pairs(tmp_path / "p.tsv", yes)
    split = {"split": "c2", "valid_share": 0.3, "seed": 0}
    report = train(asked(place, pairs, tmp_path / "t.head", **split, ratio=0.5))
    size, negatives = report.parts["train"]
    assert negatives == report.drawn["train"] == round((size - negatives) / 2) > 0
    assert report.leaks["valid"].classes["c2"] == report.parts["valid"][0]
    assert load_head(tmp_path / "t.head").card.fit["negatives"].startswith("drawn, uniform, 0.5")
    assert "figures are of the pairs that chose the head" in caplog.text


def test_no_negative_is_drawn_for_two_parts(place, tmp_path):
    rows = [(IDS[a], IDS[b]) for a, b in zip(A, B, strict=True)][::3]
    pairs = write_split(tmp_path / "p.tsv", rows, "protein_a\tprotein_b")
    report = train(asked(place, pairs, tmp_path / "t.head"))
    assert set(report.drawn) == {"train", "valid", "test"}
    assert [leaks.pairs_seen for leaks in report.leaks.values()] == [0, 0]


def test_an_evaluation_draws_no_negative_that_is_known(place, tmp_path):
    """Not what the head was trained on, nor what the list names in another split."""
    few = 14  # proteins, so that most of their pairs are named somewhere
    named = [n for n in range(len(A)) if B[n] < few]
    trained, tested = named[::2], named[1::4]
    held = len(named) - len(trained) - len(tested)

    def rows(chosen, *more):
        return [(IDS[A[n]], IDS[B[n]], *(word(n) for word in more)) for n in chosen]

    labelled = rows(trained, lambda n: LABELS[n])
    pairs = write_pairs(tmp_path / "p.tsv", labelled, "protein_a\tprotein_b\tlabel")
    split = {"split": "random", "valid_share": 0.1, "seed": 0}
    head = tmp_path / "t.head"
    train(asked(place, pairs, head, **split))
    listed = str(write_pairs(tmp_path / "q.tsv", rows(tested)))
    report = evaluate(EvaluateRequest(pairs=listed, **options(place), head=head))
    assert report.drawn == len(tested) and report.leaks.pairs_seen == 0

    both = rows(trained, lambda n: "train") + rows(tested, lambda n: "test")
    listed = str(write_pairs(tmp_path / "s.tsv", both, "protein_a\tprotein_b\tsplit"))
    for count in (held, held + 1):
        request = EvaluateRequest(
            pairs=listed, **options(place), head=place / "x.head", ratio=count / len(tested)
        )
        if count == held:
            assert evaluate(request).drawn == held
        else:
            with refused("input.too_few_negatives"):
                evaluate(request)


def two_proteomes(folder, rng):
    """Two groups of proteins that look unlike each other, and pairs of both at random."""
    vectors = rng.normal(size=(60, VECTORS.shape[1])).astype(np.float32)
    vectors[:20, 0] += 4
    vectors[20:, 0] -= 4
    write_store(folder / "two.h5", vectors)
    a, b = (side.ravel() for side in np.meshgrid(np.arange(20), np.arange(20, 60)))
    order = rng.permutation(len(a))
    return [(IDS_OF_BOTH[a[n]], IDS_OF_BOTH[b[n]]) for n in order]


def test_negatives_of_two_groups_are_drawn_across_them(tmp_path, caplog):
    pairs = two_proteomes(tmp_path, np.random.default_rng(5))
    yes = write_pairs(tmp_path / "yes.tsv", pairs[:200])
    more = write_pairs(tmp_path / "more.tsv", pairs[200:300])
    given = {"inputs": (str(tmp_path / "two.h5"),)}
    request = asked(tmp_path, yes, tmp_path / "t.head", split="random", **given)
    report = train(request)
    assert report.across and sum(report.drawn.values()) == 200
    head = load_head(tmp_path / "t.head")
    assert "across two groups" in head.card.fit["negatives"]
    firsts = {a for a, _ in pairs}
    trained = TrainedOn.of_card(head.card, "x")
    proteins = load_proteins(VectorOptions(**given), SilentProgress())
    first = np.isin(trained.proteins, proteins.keys[[id in firsts for id in proteins.ids]])
    low, high = np.divmod(trained.pairs, len(trained.proteins))
    assert (first[low] != first[high]).all() and len(low) == sum(report.parts["train"][:1])
    assert caplog.text.count("no protein is in both columns") == 1
    caplog.clear()
    found = evaluate(EvaluateRequest(pairs=str(more), **given, head=tmp_path / "t.head"))
    auroc = found.measured.figures["unseen"]["auroc"]
    assert auroc.low < 0.5 < auroc.high  # there is nothing to know of these pairs
    assert found.drawn == 100 and "no protein is in both columns" in caplog.text


def test_pairs_of_the_training_are_warned_of_in_either_order(place, tmp_path, caplog):
    header = "protein_a\tprotein_b\tlabel"
    rows = [(IDS[a], IDS[b], label) for a, b, label in zip(A, B, LABELS, strict=True)]
    turned = [(b, a, label) for a, b, label in rows[:40]]
    lists = {
        "pairs": write_pairs(tmp_path / "p.tsv", rows[:300], header),
        "valid": write_pairs(tmp_path / "v.tsv", rows[300:400], header),
        "test": write_pairs(tmp_path / "t.tsv", [*turned, *rows[500:]], header),
    }
    given = asked(place, lists["pairs"], tmp_path / "t.head")
    report = train(replace(given, valid=str(lists["valid"]), test=str(lists["test"])))
    assert report.measured["test"].pairs["unseen"] == len(rows) - 500
    assert "unseen" not in report.measured["valid"].pairs
    alone = write_pairs(tmp_path / "u.tsv", rows[500:], header)
    known = write_pairs(tmp_path / "k.tsv", turned, header)
    asked_of = {"head": tmp_path / "t.head", **options(place)}
    figures = evaluate(EvaluateRequest(pairs=str(alone), **asked_of)).measured.figures["all"]
    assert report.measured["test"].figures["unseen"] == figures
    warned = [one.getMessage() for one in caplog.records if "training pairs" in one.getMessage()]
    assert len(warned) == 1 and warned[0].startswith(f"40 of {40 + len(rows) - 500} test")
    seen = evaluate(EvaluateRequest(pairs=str(known), **asked_of))
    assert seen.measured.pairs == {"all": 40} and "40 of 40 test" in caplog.text


def test_types_of_interaction(place, tmp_path):
    table = pair_features(*(unit_rows(VECTORS)[r] for r in (A, B)), RECIPES["squares"])[:, :3] > 0
    names = [";".join(np.array(TYPES)[row]) for row in table]
    rows = [(IDS[a], IDS[b], told) for a, b, told in zip(A, B, names, strict=True)]
    header = "protein_a\tprotein_b\ttypes"
    pairs = write_pairs(tmp_path / "p.tsv", rows, header)
    parts = write_split(tmp_path / "s.tsv", rows, header)
    report = train(asked(place, parts, tmp_path / "t.head", features="squares"))
    head = load_head(tmp_path / "t.head")
    assert (head.card.labels, head.card.multilabel) == (TYPES, True)
    assert report.measured["test"].figures["all"]["micro_f1"].value > 0.8
    found = evaluate(EvaluateRequest(pairs=str(pairs), **options(place), head=tmp_path / "t.head"))
    assert found.leaks.pairs_seen == report.parts["train"][0]
    unseen = len(A) - report.parts["train"][0]
    assert found.measured.pairs == {"all": len(A), "unseen": unseen}


def test_an_evaluation_tells_pairs_apart_by_what_training_saw(place, tmp_path):
    own = [n for n in range(len(A)) if B[n] < 25]
    rows = [(IDS[A[n]], IDS[B[n]], LABELS[n]) for n in own]
    header = "protein_a\tprotein_b\tlabel"
    train(asked(place, write_pairs(tmp_path / "p.tsv", rows, header), tmp_path / "t.head",
                split="random", valid_share=0.1, seed=0))  # fmt: skip
    request = EvaluateRequest(
        pairs=str(place / "labelled.tsv"), **options(place), head=tmp_path / "t.head"
    )
    report = evaluate(request)
    wanted = {"c1": 25 * 24 // 2, "c2": 25 * 15, "c3": 15 * 14 // 2}
    assert report.leaks.classes == wanted
    assert report.leaks.pairs_seen == 270
    assert report.measured.pairs == {"all": len(A), "unseen": len(A) - 270} | wanted
    assert set(report.measured.figures["c3"]) >= {"auroc", "aupr", "accuracy"}


def test_a_listed_pair_is_answered_whatever_it_is(place, tmp_path):
    rows = [("P1", "P2"), ("P2", "P1"), ("P3", "nobody"), ("P4", "P4"), ("P1",), ("P5", "P6")]
    prediction, found = predicted(place, pairs=str(write_pairs(tmp_path / "p.tsv", rows)))
    assert [row[3] for row in found] == [
        "", "the pair of line 2", "no protein 'nobody' in " + str(place / "x.h5"),
        "a protein with itself", "names no two proteins: 'P1'", "",
    ]  # fmt: skip
    assert [row[:2] for row in found] == [(*row, "")[:2] for row in rows]
    assert found[0][2] == found[1][2]
    assert np.isnan(found[2][2]).all() and np.isnan(found[4][2]).all()
    assert (prediction.rows, prediction.answered, prediction.num_failures) == (6, 4, 2)
    assert (prediction.self_pairs, prediction.repeated) == (1, 1)


def test_pairs_of_a_protein_unlike_those_of_the_fit_get_no_answer(place, tmp_path):
    rows = [(IDS[a], IDS[b], label) for a, b, label in zip(A, B, LABELS, strict=True)]
    pairs = write_pairs(tmp_path / "p.tsv", rows, "protein_a\tprotein_b\tlabel")
    train(asked(place, pairs, tmp_path / "t.head", split="random", valid_share=0.1, seed=0))
    assert load_head(tmp_path / "t.head").domain.lengths == (9, 9)
    lengths = np.where(np.arange(COUNT) == 3, 1, 9)  # P3 is a single residue
    write_store(tmp_path / "odd.h5", VECTORS, lengths=lengths)
    given = {**options(tmp_path, "odd.h5"), "head": tmp_path / "t.head"}
    listed = write_pairs(tmp_path / "q.tsv", [("P1", "P2"), ("P3", "P2"), ("P3", "P3")])
    prediction = Prediction(PredictRequest(pairs=str(listed), **given))
    (block,) = prediction.blocks()
    assert np.isnan(block.said[:, 0]).tolist() == [False, True, True]
    assert "1 residues" in block.notes[1] and "9 to 9" in block.notes[1]
    assert (prediction.rows, prediction.answered, prediction.num_failures) == (3, 1, 2)
    prediction = Prediction(PredictRequest(every=True, **given))
    names = {name for block in prediction.blocks() for name in (*block.a, *block.b)}
    assert names == set(IDS) - {"P3"}
    (failure,) = prediction.first_failures
    assert (failure.id, failure.number, failure.code) == ("P3", 4, "record.out_of_domain")


def naive(place):
    """Probabilities of all pairs by the features of each."""
    x = unit_rows(VECTORS)
    head = load_head(place / "x.head")
    rows, columns = np.divmod(np.arange(COUNT**2), COUNT)
    said = head.predict_proba(pair_features(x[rows], x[columns], RECIPES["difference"]))
    return said[:, 1].reshape(COUNT, COUNT)


def test_all_with_all_and_two_groups(place, tmp_path, monkeypatch):
    monkeypatch.setattr("protclip_core.tasks.ppi.predict._MOST", 7)
    monkeypatch.setattr("protclip_core.tasks.ppi.predict._FEWEST", 7)
    table = naive(place)
    prediction, every = predicted(place, every=True, workers=2)
    assert [row[:2] for row in every] == [(IDS[a], IDS[b]) for a, b in zip(A, B, strict=True)]
    np.testing.assert_allclose([row[2][0] for row in every], table[A, B], atol=1e-4)
    assert prediction.rows == len(every) == COUNT * (COUNT - 1) // 2
    (tmp_path / "a.txt").write_text("P5\nP30\r\nnobody\nP5\n")
    (tmp_path / "b.txt").write_text("".join(f"P{n}\n" for n in range(12)))
    groups = (str(tmp_path / "a.txt"), str(tmp_path / "b.txt"))
    prediction, both = predicted(place, bipartite=groups)
    assert [row[:2] for row in both] == [(a, f"P{n}") for a in ("P5", "P30") for n in range(12)]
    _, turned = predicted(place, bipartite=groups[::-1])
    said = {frozenset(row[:2]): row[2] for row in every}
    for row in (*both, *turned):
        assert row[0] == row[1] or row[2] == said[frozenset(row[:2])]
    assert prediction.num_failures == 1
    listed = write_pairs(tmp_path / "p.tsv", [(b, a) for a, b, *_ in every])
    _, again = predicted(place, pairs=str(listed))
    assert [row[2] for row in again] == [row[2] for row in every]


def test_the_best_partners_and_the_probable_ones(place):
    _, every = predicted(place, every=True)
    said = {frozenset(row[:2]): row[2][0] for row in every}
    _, best = predicted(place, every=True, top_k=3)
    assert len(best) == 3 * COUNT
    for id in IDS:
        own = [row for row in best if row[0] == id]
        ranked = sorted((-said[frozenset((id, o))], n) for n, o in enumerate(IDS) if o != id)
        assert [row[1] for row in own] == [IDS[n] for _, n in ranked[:3]]
        assert all(row[2][0] == said[frozenset(row[:2])] for row in own)
    _, probable = predicted(place, every=True, min_probability=0.8)
    assert [r[:2] for r in probable] == [r[:2] for r in every if r[2][0] >= np.float32(0.8)]
    assert 0 < len(probable) < len(every)


def test_proteins_without_a_vector_are_told(place, tmp_path):
    import h5py

    broken = VECTORS.copy()
    broken[2] = 0
    write_store(tmp_path / "x.h5", broken)
    pairs = write_pairs(tmp_path / "p.tsv", [("P1", "P2"), ("P1", "P3")])
    prediction, found = predicted(tmp_path, pairs=str(pairs), head=place / "x.head")
    assert found[0][3] == "'P2': its vector is zero or not finite".replace("'", "")
    assert np.isnan(found[0][2]).all() and np.isfinite(found[1][2]).all()
    prediction, every = predicted(tmp_path, every=True, head=place / "x.head")
    assert len(every) == 39 * 38 // 2 and prediction.num_failures == 1
    assert "P2" not in {row[0] for row in every}
    with h5py.File(tmp_path / "y.h5", "w") as file:
        file["P1"] = np.zeros(12, np.float32)
    with refused("model.unknown_vectors", "model"):
        predicted(tmp_path, every=True, head=place / "x.head", **options(tmp_path, "y.h5"))


def test_a_head_of_another_model_is_refused(place, tmp_path):
    write_store(tmp_path / "x.h5", VECTORS, weights_sha256="ef" * 32, model="other")
    with pytest.raises(ModelError) as caught:
        predicted(tmp_path, every=True, head=place / "x.head")
    told = str(caught.value)
    assert "model toy (weights abababababab" in told and "model other (weights efefefefefef" in told
    assert "weights_sha256: efefefefefef…, not abababababab…" in told and "\n" not in told
    write_store(tmp_path / "y.h5", vectors_of(5, dim=9))
    with refused("model.head_mismatch", "width: "):
        predicted(tmp_path, every=True, head=place / "x.head", **options(tmp_path, "y.h5"))


def test_one_class_is_not_enough(place, tmp_path):
    rows = [(IDS[a], IDS[b], 0) for a, b in zip(A[:60], B[:60])]
    pairs = write_pairs(tmp_path / "p.tsv", rows, "protein_a\tprotein_b\tlabel")
    with pytest.raises(InputError) as caught:
        train(asked(place, pairs, tmp_path / "t.head"))
    assert "no interaction" in str(caught.value)
    assert not (tmp_path / "t.head").exists()


def test_what_lists_say_twice(tmp_path):
    rows = [("a", "b", 1), ("b", "a", 1), ("a", "b", 1), ("c", "c", 0), ("d", "e", 1),
            ("e", "d", 0), ("f", "g", "x"), ("h", "i", 1)]  # fmt: skip
    path = write_pairs(tmp_path / "p.tsv", rows, "protein_a\tprotein_b\tlabel")
    found = read_pair_set(path)
    counts = found.counts
    assert [(found.proteins[a], found.proteins[b]) for a, b in zip(found.a, found.b)] == [
        ("a", "b"), ("c", "c"), ("h", "i"),
    ]  # fmt: skip
    assert (counts.rows, counts.repeated, counts.reversed, counts.self_pairs) == (8, 1, 2, 1)
    assert (counts.contradictory, counts.num_failures) == (1, 3)
    assert [(f.number, f.reason) for f in counts.first_failures] == [
        (8, "label 'x' is neither 1 nor 0"), (6, "is contradicted"),
        (7, "label 0 contradicts 1 of line 6"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("rows", "header", "problem", "value"),
    [
        ([("P1", "no")], "protein_a\tprotein_b", "no_pairs", "1 pairs"),
        ([("P1", "P2", 1), ("P1", "P2", 0)], "protein_a\tprotein_b\tlabel", "no_pairs", "2 pairs"),
    ],
)  # fmt: skip
def test_lists_that_nothing_can_be_learnt_from(rows, header, problem, value, place, tmp_path):
    pairs = write_pairs(tmp_path / "p.tsv", rows, header)
    with refused(f"input.{problem}", value):
        train(asked(place, pairs, tmp_path / "t.head"))
    assert not (tmp_path / "t.head").exists()


@pytest.mark.parametrize(
    ("changed", "problem", "value"),
    [
        ({}, "conflicting_options", "--bipartite A B"),
        ({"every": True, "pairs": "x"}, "conflicting_options", "--all"),
        ({"pairs": "x", "top_k": 2}, "conflicting_options", "--top-k"),
        ({"every": True, "min_probability": 1.5}, "bad_value", "--min-probability 1.5"),
        ({"bipartite": ("-", "-")}, "stdin_twice", "-"),
    ],
)
def test_requests_that_contradict_themselves(changed, problem, value, place):
    with refused(f"usage.{problem}", value):
        predicted(place, **changed)


def test_fasta_and_stores_of_both_spaces_are_the_same_proteins(tiny_bundle, tmp_path):
    fasta = write_fasta(tmp_path / "x.fa", random_proteins(12))
    common = {"inputs": (str(fasta),), "model": str(tiny_bundle), "device": "cpu", "workers": 1}
    for space in ("joint", "encoder"):
        embed_to_store(EmbedRequest(output=tmp_path / f"{space}.h5", space=space, **common))
    given = VectorOptions(inputs=(str(fasta),), model=str(tiny_bundle), device="cpu", workers=1)
    embedded = load_proteins(given, SilentProgress())
    assert embedded.input.space == "joint" and embedded.by_sequence
    for space in ("joint", "encoder"):
        own = VectorOptions(
            inputs=(str(tmp_path / f"{space}.h5"),), model=str(tiny_bundle), device="cpu"
        )
        found = load_proteins(own, SilentProgress(), embedded.input)
        assert (found.ids, found.input.space) == (embedded.ids, "joint")
        assert (found.keys == embedded.keys).all()
        np.testing.assert_allclose(found.vectors, embedded.vectors, atol=1e-5)
    wanted = VectorOptions(inputs=(str(tmp_path / "encoder.h5"),), model=str(tiny_bundle),
                           device="cpu", space="encoder")  # fmt: skip
    assert load_proteins(wanted, SilentProgress()).input.space == "encoder"
    with refused("model.head_mismatch", "width: 32, not 64", "space: joint, not encoder"):
        load_proteins(
            VectorOptions(inputs=(str(tmp_path / "joint.h5"),)),
            SilentProgress(),
            load_proteins(wanted, SilentProgress()).input,
        )
