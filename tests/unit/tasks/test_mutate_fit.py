"""Heads on measured variants: what is held out, what is learnt, and that it comes back the same."""

from __future__ import annotations

import json
import logging
from itertools import product

import numpy as np
import pytest

from protclip_core.errors import InputError, ModelError, UsageError
from protclip_core.tasks.embed.task import embed_to_store
from protclip_core.tasks.mutate.fit import fit
from protclip_core.tasks.mutate.predict import Fitness
from protclip_core.tasks.mutate.request import FitRequest, PredictRequest
from protclip_core.tasks.mutate.splits import held_out_splits
from protclip_core.variants import parse_variant
from protclip_core.vectors.embed_request import EmbedRequest
from tests.support.heads import parts_of_head, rewrite
from tests.support.helpers import random_proteins, write_fasta, write_tiny_bundle

((_, SEQUENCE),) = random_proteins(1, seed=3, shortest=30, longest=30)
EFFECT = {"A": 0.2, "D": -1.0, "L": 0.6, "W": -0.6, "K": -0.3}


def measured():
    """Singles, then doubles of them: a site that matters, and a residue that does, add up."""
    rng = np.random.default_rng(1)
    site = rng.normal(size=len(SEQUENCE))
    one = {
        f"{old}{place + 1}{new}": EFFECT[new] + site[place]
        for (place, old), new in product(enumerate(SEQUENCE), EFFECT)
        if new != old
    }
    names = sorted(one)
    pairs = [(a, b) for a, b in zip(names, names[40:]) if a[1:-1] != b[1:-1]]
    return one | {f"{a}:{b}": one[a] + one[b] for a, b in pairs}


VALUES = measured()


@pytest.fixture
def assay(tmp_path):
    """Write an assay and its wild type; return the table's path."""
    write_fasta(tmp_path / "wt.fa", [("p0", SEQUENCE)])
    path = tmp_path / "assay.csv"
    lines = [f"{text},{value:.4f}" for text, value in VALUES.items()]
    path.write_text("\n".join(["mutant,DMS_score", *lines]) + "\n")
    return path


@pytest.fixture
def run(assay, tiny_bundle):
    """``run(**changes)`` fits ``x.head``."""

    def run(**changes):
        options = {"fasta": str(assay.with_name("wt.fa")), "model": str(tiny_bundle)} | changes
        options.setdefault("output", assay.with_name("x.head"))
        return fit(FitRequest(assay=str(assay), device="cpu", workers=1, resamples=20, **options))

    return run


def predicted(path, texts, folder, **options):
    (folder / "ask.txt").write_text("variant\n" + "\n".join(texts) + "\n")
    request = PredictRequest(
        variants=str(folder / "ask.txt"), head=path, device="cpu", workers=1, **options
    )
    fitness = Fitness(request)
    return fitness, fitness.predictions()


def test_held_out_by_position_shares_no_position():
    variants = [parse_variant(text) for text in VALUES]
    splits = {split.name: split for split in held_out_splits(variants, 0)}
    assert set(splits) == {"random", "position", "count <= 1"}
    for train, test in splits["position"].folds:
        places = [
            {p for i in np.flatnonzero(rows) for _, p, _ in variants[i].substitutions}
            for rows in (train, test)
        ]
        assert places[0] and places[1] and not places[0] & places[1]
    ((train, test),) = splits["count <= 1"].folds
    assert {len(variants[i].substitutions) for i in np.flatnonzero(train)} == {1}
    assert {len(variants[i].substitutions) for i in np.flatnonzero(test)} == {2}
    # Up to 500 variants, each is measured on once.
    assert splits["random"].tested.all()
    assert np.sum([test for _, test in splits["random"].folds], axis=0).max() == 1


def test_a_split_that_cannot_be_is_told(caplog):
    variants = [parse_variant(f"A1{letter}:C2{letter}") for letter in "DEFGHIKLMNPQRSTVWY"] * 3
    with caplog.at_level(logging.WARNING):
        names = [split.name for split in held_out_splits(variants, 0)]
    assert names == ["random"]
    assert "no split position" in caplog.text


@pytest.mark.parametrize("kind", ["ridge", "gp"])
def test_what_adds_up_is_learnt_and_comes_back(run, tiny_bundle, tmp_path, kind):
    report = run(kind=kind)
    found = {(one.split, one.predictor): one.spearman for one in report.scores}
    assert found["random", "head"].value > 0.8
    assert found["count <= 1", "head"].value > 0.7
    assert found["random", "head"].value > found["random", "zero-shot"].value + 0.3
    one = found["random", "head"]
    assert one.low <= one.value <= one.high
    texts = list(VALUES)[::7]
    fitness, rows = predicted(tmp_path / "x.head", texts, tmp_path, model=str(tiny_bundle))
    assert fitness.unpredicted == 0
    assert [(row.protein_id, row.variant) for row in rows] == [("p0", text) for text in texts]
    said = np.array([row.fitness for row in rows])
    assert np.corrcoef(said, [VALUES[text] for text in texts])[0, 1] > 0.9


@pytest.mark.full
def test_the_same_input_gives_the_same_head(run, tmp_path):
    for name in ("a", "b"):
        run(kind="ridge", output=tmp_path / name)
    (one, some), (other, others) = (parts_of_head((tmp_path / name).read_bytes()) for name in "ab")
    assert some.keys() == others.keys()
    assert all((some[name] == others[name]).all() for name in some)
    assert one["fit"] == other["fit"]


def test_every_row_is_answered(run, tiny_bundle, tmp_path):
    run(kind="ridge")
    old = SEQUENCE[0]
    texts = [f"{old}1C", "X9", f"{'A' if old != 'A' else 'C'}1G", f"{old}1del", f"{old}1U", "A99G"]
    fitness, rows = predicted(tmp_path / "x.head", texts, tmp_path, model=str(tiny_bundle))
    assert [row.fitness is None for row in rows] == [False, True, True, True, True, True]
    assert [row.reason == "" for row in rows] == [True, False, False, False, False, False]
    assert fitness.unpredicted == 5


def test_rows_that_cannot_be_used_are_named(run, assay):
    with assay.open("a") as file:
        file.write(f"{SEQUENCE[0]}1C,\nnonsense,1\n{SEQUENCE[0]}1del,2\n")
    report = run(kind="ridge")
    assert (report.variants, report.left_out) == (len(VALUES), 3)
    assert "no number in column DMS_score" in report.first_reasons[0]


def test_vectors_of_a_store(run, assay, tiny_bundle, tmp_path):
    texts = list(VALUES)[:120]
    mutants = [(text, parse_variant(text).apply(SEQUENCE)) for text in texts]
    write_fasta(tmp_path / "mutants.fa", mutants)
    store = tmp_path / "mutants.h5"
    embed_to_store(
        EmbedRequest(
            inputs=(str(tmp_path / "mutants.fa"),),
            output=store,
            model=str(tiny_bundle),
            device="cpu",
            workers=1,
        )
    )
    report = run(kind="ridge", fasta=None, embeddings=str(store))
    assert report.variants == 120 and report.left_out == len(VALUES) - 120
    assert {one.predictor for one in report.scores} == {"head", "one-hot", "prior"}
    head = tmp_path / "x.head"
    with pytest.raises(UsageError, match="takes vectors of"):
        predicted(head, texts, tmp_path)
    _, rows = predicted(head, [texts[0], f"{texts[0][:-1]}Q"], tmp_path, embeddings=str(store))
    assert rows[0].fitness is not None and "has no vector" in rows[1].reason


def test_a_head_of_another_model_or_protein_is_refused(run, tmp_path):
    run(kind="ridge")
    head = tmp_path / "x.head"
    with pytest.raises(ModelError, match="leans on scores of"):
        predicted(head, ["WT"], tmp_path, model="protclip-mini")
    other = write_fasta(tmp_path / "other.fa", [("q", SEQUENCE[1:])])
    tiny = write_tiny_bundle(tmp_path / "tiny")
    with pytest.raises(InputError, match="not the protein of the head"):
        predicted(head, ["WT"], tmp_path, fasta=str(other), model=str(tiny))


def test_rows_of_another_protein_are_not_predicted(run, tiny_bundle, tmp_path):
    run(kind="ridge")
    own = {"device": "cpu", "workers": 1, "model": str(tiny_bundle)}
    same = next(text for text in VALUES if ":" not in text)
    _, rows = predicted(
        tmp_path / "x.head", [f"q9:p.{same}", f"p0:p.{same}"], tmp_path, model=own["model"]
    )
    assert rows[0].fitness is None and rows[0].reason == "is of q9, and the head is of p0"
    assert rows[1].fitness is not None
    ask = tmp_path / "ask.jsonl"
    lines = [{"original_sequence": SEQUENCE + tail, "variant": same} for tail in ("", "W")]
    ask.write_text("".join(json.dumps(line) + "\n" for line in lines))
    request = PredictRequest(variants=str(ask), head=tmp_path / "x.head", **own)
    rows = Fitness(request).predictions()
    assert rows[0].fitness is not None
    assert rows[1].fitness is None and rows[1].reason == "its wild type is not the head's"
    assert [row.protein_id for row in rows] == ["p0", ""]


def test_a_changed_recipe_is_refused(run, tmp_path):
    run(kind="ridge")
    head = tmp_path / "x.head"

    def change(content):
        content["fit"]["recipe"]["zero_scale"] *= 2

    rewrite(head, content=change)
    with pytest.raises(ModelError, match="recipe"):
        predicted(head, ["WT"], tmp_path)


BAD = (
    ({"fasta": None}, UsageError, "neither --sequences nor --embeddings"),
    ({"kind": "forest"}, UsageError, "not known"),
    ({"max_rows": 3}, UsageError, "too few"),
    ({"score_column": "none"}, UsageError, "no column"),
    ({"offset": 500}, InputError, "variants to fit on"),
)


@pytest.mark.parametrize(("changes", "kind", "message"), BAD)
def test_what_cannot_be_done_is_refused(run, tmp_path, changes, kind, message):
    with pytest.raises(kind, match=message):
        run(**changes)
    assert not (tmp_path / "x.head").exists()


def test_fewer_rows_are_drawn_and_told(run, caplog):
    with caplog.at_level(logging.WARNING):
        assert run(kind="ridge", max_rows=60).variants == 60
    assert "60 of" in caplog.text
