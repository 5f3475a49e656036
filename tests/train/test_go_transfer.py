"""Fitting the weights of transfer: the regression, and the program from data to bundle."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest

from protclip_core.errors import InputError, ModelError
from protclip_core.measure.calibration import sigmoid
from protclip_core.models.info import describe_model
from protclip_core.terms.index_file import add_to_bundle, find_go_index
from protclip_core.terms.transfer import KINDS, TRANSFER_FILE, find_transfer, sets_of
from protclip_core.weights.bundle import open_bundle
from tests.support.aligner_programs import write_aligner
from tests.support.go_indexes import index_of
from tests.support.helpers import RESIDUES
from tests.support.ontology_files import go_id
from tests.unit.models.dual import Dual
from train.data.annotated import read_annotated
from train.release import go_transfer

#: Families of proteins, and what each carries: a term of each aspect.
FAMILIES = [[5, 16, 26], [8, 14, 21], [3, 13, 25]]


def entries(rng, *, valid=30):
    """Proteins of some families; those of valid share half their residues with their family."""
    founders = ["".join(rng.choices(RESIDUES, k=80)) for _ in FAMILIES]
    found = []
    for number in range(60 + valid):
        family = number % (len(FAMILIES) + 1)
        own = "".join(rng.choices(RESIDUES, k=40))
        known = family < len(FAMILIES)
        terms = FAMILIES[family] if known else FAMILIES[rng.randrange(len(FAMILIES))]
        found.append(
            {
                "accession": f"P{number}",
                "sequence": founders[family][:50] + own if known else own,
                "split": "train" if number < 60 else "valid",
                "go": [go_id(term) for term in terms],
            }
        )
    return found


def write(path, entries):
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return path


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    folder = Dual().write(tmp_path_factory.mktemp("models") / "dual")
    add_to_bundle(index_of(folder), open_bundle(folder))
    return folder


@pytest.fixture
def with_aligner(tmp_path, monkeypatch):
    write_aligner(tmp_path / "bin", "mmseqs")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))


@pytest.mark.full
@pytest.mark.usefixtures("with_aligner")
def test_the_program_writes_weights_that_serve(bundle, tmp_path, capsys):
    data = write(tmp_path / "pairs.jsonl", entries(random.Random(0)))
    assert go_transfer.main(["--bundle", str(bundle), "--data", str(data)]) == 0
    opened = open_bundle(bundle)
    opened.verify()
    assert json.loads(capsys.readouterr().out) == json.loads((bundle / TRANSFER_FILE).read_text())
    weights = find_transfer(describe_model(str(bundle)))
    assert weights.weights_sha256 == opened.weights_sha256
    assert set(weights.rules) == set(sets_of(KINDS))
    assert weights.fitted_with["aligner"] == "mmseqs 15-6f452"
    assert weights.fitted_with["reference"].startswith("60 proteins")
    # Every relative by homology carries the very terms: a share of one is near certain.
    for aspect in range(3):
        own = weights.rules[("homology",)][aspect]
        assert own.kinds[0].log_odds + own.kinds[0].share + own.kinds[0].close > 0.5
        assert own.step.proteins == 23


@pytest.mark.usefixtures("with_aligner")
def test_what_cannot_be_fitted_is_refused(bundle, tmp_path, capsys):
    some = entries(random.Random(0))
    alone = [entry for entry in some if entry["split"] == "train"]
    data = write(tmp_path / "pairs.jsonl", alone)
    assert go_transfer.main(["--bundle", str(bundle), "--data", str(data)]) == 3
    assert "no protein of split 'valid' has a GO term" in capsys.readouterr().err
    far = [entry | {"sequence": "K" * 30} for entry in some[60:]]
    data = write(tmp_path / "far.jsonl", some[:60] + far)
    assert go_transfer.main(["--bundle", str(bundle), "--data", str(data)]) == 3
    assert "no protein of split valid has a relative and a term" in capsys.readouterr().err


@pytest.mark.usefixtures("with_aligner")
def test_an_index_without_a_calibration_is_refused(tmp_path):
    folder = Dual().write(tmp_path / "dual")
    add_to_bundle(index_of(folder, calibrated=False), open_bundle(folder))
    data = write(tmp_path / "pairs.jsonl", entries(random.Random(0)))
    aligner = go_transfer.find_aligner()
    with pytest.raises(ModelError) as caught:
        go_transfer.fit_transfer(folder, data, aligner)
    assert caught.value.code == "model.no_calibration"


def test_a_line_that_cannot_be_read_is_named(bundle, tmp_path):
    path = tmp_path / "pairs.jsonl"
    path.write_text('{"split": "train", "go": ["GO:0000005"], "sequence": "MK"}\n{"split"\n')
    ontology = find_go_index(describe_model(str(bundle))).ontology
    with pytest.raises(InputError) as caught:
        read_annotated(path, ontology, ("train",))
    assert caught.value.code == "input.bad_line"
    assert str(caught.value.where).endswith("pairs.jsonl:2")


def test_the_regression_finds_what_made_the_data():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(3, 40_000)) * np.array([[1.0], [0.2], [30.0]])
    wanted = np.array([0.8, 2.0, 0.05, -1.0])
    odds = wanted[:-1] @ features + wanted[-1]
    right = rng.random(40_000) < sigmoid(odds)
    found = go_transfer.fit_rule(features, right)
    np.testing.assert_allclose(found, wanted, rtol=0.1)
    # The gradient of the log loss is zero there, but for the small pull.
    slope = features @ (sigmoid(np.array(found[:-1]) @ features + found[-1]) - right) / 40_000
    np.testing.assert_allclose(slope / features.std(axis=1), 0, atol=1e-3)


def test_no_weight_is_negative():
    rng = np.random.default_rng(1)
    features = rng.normal(size=(2, 5000))
    right = rng.random(5000) < sigmoid(features[0] - 2 * features[1])
    first, second, _ = go_transfer.fit_rule(features, right)
    assert first > 0.3
    assert second == 0
