"""Heads on labels of one's own: what is joined, divided, fitted, measured and predicted."""

from __future__ import annotations

import hashlib
import logging

import numpy as np
import pytest

from protclip_core.heads import load_head
from protclip_core.heads.seen import keys_of_texts, unpack_keys
from protclip_core.io.clusters import connected
from protclip_core.store.reader import EmbeddingStore
from protclip_core.tasks.classify.evaluate import evaluate
from protclip_core.tasks.classify.fit import fit
from protclip_core.tasks.classify.predict import Predicting
from protclip_core.tasks.classify.request import EvaluateRequest, FitRequest, PredictRequest
from protclip_core.tasks.embed.task import embed_to_store
from protclip_core.vectors.embed_request import EmbedRequest
from tests.support.helpers import write_fasta
from tests.support.labelled import CLASSES, GREASY, PROTEINS
from tests.support.refusals import refused

QUICK = {"search": False}


@pytest.fixture(scope="module")
def place(tiny_bundle, tmp_path_factory):
    folder = tmp_path_factory.mktemp("classify")
    write_fasta(folder / "x.fa", PROTEINS)
    request = EmbedRequest(
        inputs=(str(folder / "x.fa"),), output=folder / "x.h5", model=str(tiny_bundle), device="cpu"
    )
    embed_to_store(request)
    return folder


@pytest.fixture
def labels(tmp_path):
    """Write a table of lines; returns its path."""

    def labels(*lines, columns="protein_id\tlabel", name="l.tsv"):
        (tmp_path / name).write_text("\n".join([columns, *lines, ""]), "utf-8")
        return str(tmp_path / name)

    return labels


@pytest.fixture
def classes(labels):
    return labels(*(f"P{n:03d}\t{CLASSES[n % 3]}" for n in range(len(PROTEINS))))


@pytest.fixture
def run(place, tmp_path):
    """Fit on the store, with sequences; returns the report."""

    def run(table, name="x.head", **changed):
        options = {**QUICK, "resamples": 20, "sequences": str(place / "x.fa"), **changed}
        inputs = options.pop("inputs", (str(place / "x.h5"),))
        return fit(FitRequest(labels=table, inputs=inputs, output=tmp_path / name, **options))

    return run


def value(scores, predictor, metric):
    (found,) = [s for s in scores if (s.predictor, s.metric) == (predictor, metric)]
    return found.estimate.value


def predicted(path, *inputs, **options):
    request = PredictRequest(inputs=tuple(map(str, inputs)), head=path, device="cpu", **options)
    with Predicting(request) as predicting:
        return list(predicting.predictions())


def test_classes_from_the_table_to_a_prediction(run, classes, place, tmp_path):
    report = run(classes, command="protclip classify fit")
    assert report.counts[0] + report.counts[2] == len(PROTEINS) and report.counts[1] == 0
    assert [s.predictor for s in report.scores[::6]] == ["head", "composition", "prior"]
    assert value(report.scores, "head", "accuracy") > value(report.scores, "prior", "accuracy")
    head = load_head(tmp_path / "x.head")
    assert head.card.labels == tuple(sorted(CLASSES))
    assert head.card.note == "protclip classify fit"
    assert head.card.metrics["accuracy_test"] == value(report.scores, "head", "accuracy")
    with EmbeddingStore.open(place / "x.h5") as store:
        vectors = store.read(slice(None))
        assert head.card.input.weights_sha256 == store.attributes["weights_sha256"]
    rows = predicted(tmp_path / "x.head", place / "x.h5")
    assert [row.protein_id for row in rows] == [id for id, _sequence in PROTEINS]
    assert [row.label for row in rows] == head.predict(vectors).tolist()
    assert [row.probability for row in rows] == head.predict_proba(vectors).max(1).tolist()


def test_a_protein_unlike_those_of_the_fit_gets_no_answer(
    run, classes, tiny_bundle, tmp_path, labels
):
    run(classes)
    lengths = [len(sequence) for _id, sequence in PROTEINS]
    odd = [("tiny", "M"), ("good", PROTEINS[0][1]), ("huge", "MKVLAAGIWK" * max(lengths))]
    write_fasta(tmp_path / "odd.fa", odd)
    store = tmp_path / "odd.h5"
    embed_to_store(
        EmbedRequest(
            inputs=(str(tmp_path / "odd.fa"),), output=store, model=str(tiny_bundle), device="cpu"
        )
    )
    request = PredictRequest(inputs=(str(store),), head=tmp_path / "x.head", top_k=3)
    with Predicting(request) as predicting:
        rows = list(predicting.predictions())
    assert [row.protein_id for row in rows] == ["tiny", "good", "good", "good", "huge"]
    assert [row.rank for row in rows] == [None, 1, 2, 3, None]
    assert [bool(row.label) for row in rows] == [False, True, True, True, False]
    assert np.isnan([rows[0].probability, rows[-1].probability]).all()
    assert rows[0].note.startswith("1 residues") and rows[1].note == ""
    assert (predicting.proteins, predicting.listed, predicting.outside) == (3, 1, 2)
    values = labels(*(f"{id}\t{n % 7}.5" for n, (id, _s) in enumerate(PROTEINS)), name="v.tsv")
    run(values, name="v.head", task="regression")
    rows = predicted(tmp_path / "v.head", store)
    assert [bool(row.note) for row in rows] == [True, False, True]
    assert [bool(np.isnan(row.probability)) for row in rows] == [True, False, True]


def test_equal_sequences_are_on_one_side_and_what_was_seen_is_known(run, classes, place, tmp_path):
    report = run(classes)
    seen = unpack_keys(load_head(tmp_path / "x.head").card.trained_on, "")
    keys = keys_of_texts([sequence for _id, sequence in PROTEINS])
    assert np.isin(keys, seen).sum() == report.counts[0]
    (line, _kin) = report.split.leakage
    repeated = len(PROTEINS) - len(set(keys.tolist()))
    assert line.startswith(f"{repeated} proteins have the sequence of another") and repeated > 0
    request = {"labels": classes, "inputs": (str(place / "x.h5"),), "head": tmp_path / "x.head"}
    fresh = evaluate(EvaluateRequest(**request, sequences=str(place / "x.fa"), resamples=0))
    assert fresh.seen == report.counts[0] and len(fresh.truth) == report.counts[2]
    for predictor in ("head", "composition", "prior"):
        again = value(fresh.scores, predictor, "auroc")
        assert again == pytest.approx(value(report.scores, predictor, "auroc"), abs=1e-4)
    whole = evaluate(EvaluateRequest(**request, include_seen=True, resamples=0))
    assert len(whole.truth) == len(PROTEINS)


def test_splits_of_the_table_lose_what_would_leak(run, labels, caplog):
    parts = ["train", "train", "valid", "test"]
    lines = [f"P{n:03d}\t{CLASSES[n % 3]}\t{parts[n % 4]}" for n in range(len(PROTEINS))]
    with caplog.at_level(logging.WARNING):
        report = run(labels(*lines, columns="protein_id\tlabel\tsplit"), min_members=1)
    latest = {}
    for number, (_id, sequence) in enumerate(PROTEINS):
        latest.setdefault(sequence, set()).add(parts[number % 4])
    order = ["train", "valid", "test"]
    wanted = [0, 0, 0]
    for number, (_id, sequence) in enumerate(PROTEINS):
        own = order.index(parts[number % 4])
        wanted[own] += own == max(order.index(part) for part in latest[sequence])
    assert list(report.counts) == wanted and sum(wanted) < len(PROTEINS)
    assert "left out of train and valid" in caplog.text
    assert report.card.fit["folds"] == 0  # the valid part chose and calibrated


def test_labels_and_what_is_rare(run, labels, place, tmp_path, caplog):
    lines = [f"P{n:03d}\t{CLASSES[n % 3]}" for n in range(60)]
    lines += [f"P{n:03d}\tlong" for n in range(0, 60, 2)] + ["P060\todd", "NONE\todd", "P061\t"]
    with caplog.at_level(logging.WARNING):
        report = run(labels(*lines), split="none")
    assert report.card.multilabel and report.card.labels == (
        "cytosol",
        "long",
        "membrane",
        "nucleus",
    )
    # P060 had nothing but a rare label; P061 is known to have none.
    assert report.counts == (61, 0, 0)
    assert "1 of 63 labelled proteins are not in" in caplog.text and "NONE" in caplog.text
    assert "of 72 proteins of" in caplog.text and "have no label" in caplog.text
    assert "fewer than 5 proteins to fit on and are left out: odd (1)" in caplog.text
    assert {s.part for s in report.scores} == {"folds"}
    assert value(report.scores, "head", "fmax") > value(report.scores, "prior", "fmax")
    rows = predicted(tmp_path / "x.head", place / "x.h5", min_probability=0.5)
    assert all(row.probability >= 0.5 for row in rows)
    best = predicted(tmp_path / "x.head", place / "x.h5", top_k=2)
    assert [row.rank for row in best] == [1, 2] * len(PROTEINS)


def test_values(run, labels, place, tmp_path):
    shares = [sum(map(s.count, GREASY)) / len(s) for _id, s in PROTEINS]
    table = labels(*(f"P{n:03d}\t{share:.4f}" for n, share in enumerate(shares)))
    report = run(table, task="regression")
    assert value(report.scores, "head", "spearman") > 0.5
    assert value(report.scores, "prior", "r2") <= 0
    rows = predicted(tmp_path / "x.head", place / "x.h5")
    assert np.corrcoef([row.probability for row in rows], shares)[0, 1] > 0.8
    with refused("usage.conflicting_options", "--top-k", "x.head"):
        predicted(tmp_path / "x.head", place / "x.h5", top_k=2)


def test_fasta_and_store_give_the_same(run, classes, place, tmp_path, tiny_bundle):
    run(classes)
    fasta = (str(place / "x.fa"),)
    run(classes, "y.head", inputs=fasta, sequences=None, model=str(tiny_bundle), device="cpu")
    one, other = (load_head(tmp_path / name) for name in ("x.head", "y.head"))
    assert one.card.input == other.card.input
    assert one.card.training_sha256 == other.card.training_sha256
    rows = predicted(tmp_path / "x.head", place / "x.fa", model=str(tiny_bundle))
    stored = predicted(tmp_path / "x.head", place / "x.h5")
    assert [row.probability for row in rows] == pytest.approx([r.probability for r in stored])


def test_what_cannot_be_fitted_is_said(run, classes, labels, place, tmp_path):
    for table, problem, value in (
        (labels("P000\ta", "P001\ta", name="one.tsv"), "one_class", "'a'"),
        (labels("Q1\ta", "Q2\tb", name="other.tsv"), "unknown_protein", "2 proteins"),
        (labels("P000\t", name="bare.tsv"), "no_labels", "bare.tsv"),
    ):
        with refused(f"input.{problem}", value):
            run(table, split="none")
    with refused("input.several_labels", "line 2", "P000", "(a, b)"):
        run(labels("P000\ta;b", "P001\ta", name="two.tsv"), task="classes")
    with refused("input.not_a_number", "high"):
        run(labels("P000\thigh", name="word.tsv"), task="regression")
    other = write_fasta(tmp_path / "other.fa", [("p", "MKT")])
    with refused("input.no_sequence", "72 of 72", "sp"):
        run(classes, sequences=str(other))
    for changed, problem, value in (
        ({"split": "column"}, "no_split_column", "split"),
        ({"split": "odd"}, "unknown_value", "odd"),
        ({"split": "cluster", "sequences": None}, "needs_sequences", "--sequences"),
        ({"test_share": 1.5}, "bad_value", "--test-share 1.5"),
        ({"min_members": 0}, "bad_value", "--min-members 0"),
        ({"task": "odd"}, "unknown_value", "odd"),
    ):
        with refused(f"usage.{problem}", value):
            run(classes, **changed)
    assert not list(tmp_path.glob("*.head"))


def test_a_head_is_not_measured_on_what_it_has_seen(run, classes, place, tmp_path):
    run(classes, split="none")
    request = {"labels": classes, "inputs": (str(place / "x.h5"),), "head": tmp_path / "x.head"}
    with refused("input.nothing_to_measure", "72"):
        evaluate(EvaluateRequest(**request))


def test_a_head_of_another_model_is_refused(run, classes, place, tmp_path):
    run(classes)
    with refused("model.head_mismatch", "tiny", "protclip-mini", "weights_sha256: "):
        predicted(tmp_path / "x.head", place / "x.fa", model="protclip-mini")


def test_connected_components():
    rng = np.random.default_rng(0)
    links = [tuple(pair) for pair in rng.integers(0, 60, (40, 2)).tolist()]
    found = connected(60, links)
    own = list(range(60))  # naive: spread the least number until nothing changes
    while True:
        before = own.copy()
        for a, b in links:
            own[a] = own[b] = min(own[a], own[b])
        if own == before:
            break
    assert [found[a] == found[b] for a in range(60) for b in range(60)] == [
        own[a] == own[b] for a in range(60) for b in range(60)
    ]
    assert connected(3, []).tolist() == [0, 1, 2]


def test_keys_are_of_whole_sequences(run, classes, tmp_path):
    run(classes, split="none")
    seen = unpack_keys(load_head(tmp_path / "x.head").card.trained_on, "")
    digest = hashlib.sha256(PROTEINS[0][1].encode()).digest()[:8]
    assert int.from_bytes(digest, "little") in seen.tolist()
