"""An index of GO with priors and probabilities, from a run and its data into its bundle."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from safetensors.torch import load_file

from protclip_core.errors import InputError
from protclip_core.measure.calibration import sigmoid
from protclip_core.models.info import describe_model
from protclip_core.models.loading import load_model
from protclip_core.ontology import read_go_table
from protclip_core.terms.index_file import find_go_index
from protclip_core.terms.scores import GoScorer
from protclip_core.weights.bundle import open_bundle
from tests.train.frozen_text import make_text_bundle
from tests.train.launch import CONFIGS
from train.data.annotated import read_annotated
from train.data.go_terms import GoTerms
from train.loop import checkpoint
from train.loop.evaluate import aspect_fmax
from train.release import go_index

PAIRS, TERMS = CONFIGS / "debug" / "pairs.jsonl", CONFIGS / "debug" / "go_terms.tsv"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A bundle with its index, the run, its data and what the program printed."""
    folder = tmp_path_factory.mktemp("go")
    bundle = make_text_bundle(folder)
    entries = [json.loads(line) for line in PAIRS.read_text().splitlines()]
    for number, entry in enumerate(entries):
        if entry["split"] == "valid" and number % 2:
            entry["split"] = "test"
    entries.append({**entries[0], "split": "near_benchmark"})
    data = folder / "pairs.jsonl"
    data.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    figures = go_index.add_index(
        bundle, data, TERMS, run_dir=folder / "text-run", diagram=folder / "reliability.png"
    )
    return folder, bundle, entries, figures


@pytest.mark.full
def test_the_index_is_in_the_bundle_and_whole(made):
    folder, bundle, _, figures = made
    open_bundle(bundle).verify()
    index = find_go_index(describe_model(bundle))
    assert index.calibration is not None
    assert (figures["terms"], figures["template"]) == (len(index), "name") == (20, "name")
    assert (folder / "reliability.png").stat().st_size > 5000


def test_the_scale_is_that_of_the_run(made):
    folder, bundle, _, figures = made
    tensors = load_file(checkpoint.find(folder / "text-run") / "model.safetensors")
    scale = math.exp(float(tensors["objectives.go.logit_scale"]))
    assert figures["go_scale"] == pytest.approx(scale)
    assert find_go_index(describe_model(bundle)).go_scale == pytest.approx(scale)


def test_priors_are_shares_of_the_training_proteins(made):
    _, bundle, entries, figures = made
    terms = GoTerms(TERMS)
    own = [set(terms.propagate(terms.numbers(e.get("go") or ())).tolist()) for e in entries]
    train = [one for one, e in zip(own, entries) if e["split"] == "train" and one]
    index = find_go_index(describe_model(bundle))
    assert figures["train_proteins"] == len(train)
    for id, prior in zip(index.ontology.ids, index.log_prior):
        count = sum(terms.index[id] in one for one in train)
        share = (count + 0.3) / len(train)
        assert prior == pytest.approx(math.log(share / (1 - share)), abs=1e-4)


def test_figures_are_those_of_the_probabilities(made):
    _, bundle, entries, figures = made
    terms, index = GoTerms(TERMS), find_go_index(describe_model(bundle))
    assert list(index.ontology.ids) == terms.ids
    for split in ("valid", "test"):
        chosen = [e for e in entries if e["split"] == split]
        own = [terms.propagate(terms.numbers(e.get("go") or ())) for e in chosen]
        kept = [number for number, one in enumerate(own) if len(one)]
        model = load_model(str(bundle), device="cpu")
        vectors = model.embed_proteins([chosen[n]["sequence"] for n in kept])
        chances = sigmoid(GoScorer(index).all_log_odds(vectors)).astype(np.float32)
        columns = np.setdiff1d(np.arange(len(index)), index.ontology.roots)
        true = [own[n] for n in kept]
        wanted = aspect_fmax(chances[:, columns], columns, true, terms)
        assert figures[split]["proteins"] == len(kept)
        for name, value in wanted.items():
            assert figures[split][f"fmax_{name.lower()}"] == pytest.approx(value, abs=1e-6)
            assert 0 <= figures[split][f"ece_{name.lower()}"] < 0.4


def test_the_program_prints_figures_and_refuses_bad_data(made, tmp_path, capsys):
    folder, bundle, _, figures = made
    words = ["--bundle", str(bundle), "--data", str(folder / "pairs.jsonl"), "--go", str(TERMS)]
    assert go_index.main([*words, "--run-dir", str(folder / "text-run")]) == 0
    assert json.loads(capsys.readouterr().out) == figures
    assert go_index.main([*words, "--run-dir", str(tmp_path)]) == 2
    (tmp_path / "bad.jsonl").write_text("{\n")
    words[3] = str(tmp_path / "bad.jsonl")
    assert go_index.main(words) == 3
    assert "bad.jsonl:1: cannot be read" in capsys.readouterr().err
    open_bundle(bundle).verify()


def test_a_split_without_annotated_proteins(made, tmp_path):
    ontology = read_go_table(TERMS)
    (tmp_path / "few.jsonl").write_text(
        json.dumps({"split": "train", "sequence": "MK", "go": [ontology.ids[-1]]}) + "\n"
    )
    with pytest.raises(InputError) as caught:
        read_annotated(tmp_path / "few.jsonl", ontology, ("train", "valid"))
    assert caught.value.code == "input.empty_split"
