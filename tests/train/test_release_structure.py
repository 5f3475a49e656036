"""The structure tower of a run, put into the bundle whose joint space it learned."""

import dataclasses

import numpy as np
import pytest
import torch

from protclip_core.encoders.structure import pack_chains
from protclip_core.errors import ModelError, UsageError
from protclip_core.models.loading import load_model, load_structure_model
from protclip_core.weights.bundle import open_bundle
from tests.support.chains import make_chain
from tests.train.launch import debug_config
from tests.train.with_structures import make_structures, structure_config
from train import pretrain
from train.config.structure import StructureConfig
from train.loop import steps
from train.release import export
from train.release.structure import attach_run, main


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """One thread, and no picture, which takes longer than a few steps."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.setattr(steps, "draw", lambda *_: None)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def base(tmp_path):
    """A bundle of two towers."""
    pretrain.train(debug_config(max_steps=2), run_dir=tmp_path / "two")
    return export.export(tmp_path / "two", tmp_path / "base", heads=False).path


def trained(tmp_path, base, *, frozen=True, shape=None, rate=3e-3):
    """A run of three steps of a structure tower against the towers of a bundle."""
    tmp_path.mkdir(exist_ok=True)
    file = make_structures(tmp_path / "s.h5")
    config = structure_config(file, train={"max_steps": 3, "learning_rate": rate})
    own = config.structure
    config = dataclasses.replace(
        config,
        protein=dataclasses.replace(
            config.protein, weights=str(base), shape={}, frozen=frozen, projection_frozen=frozen
        ),
        text=dataclasses.replace(
            config.text, weights=str(base), frozen=True, projection_frozen=True, tokenizer=None,
            num_layers=None, hidden_dim=None, num_heads=None, max_tokens=None,
        ),
        structure=shape or own,
    )  # fmt: skip
    run_dir = tmp_path / "run"
    return run_dir, pretrain.train(config, run_dir=run_dir)


def test_the_base_stays_and_structures_come_into_its_space(tmp_path, base, capsys):
    shape = StructureConfig(
        shape={"scalar_dim": 8, "vector_dim": 2, "num_layers": 1, "descriptor": "whole"},
        projection_hidden=12,
        projection_dropout=0.2,
    )
    run_dir, model = trained(tmp_path, base, shape=shape)
    (tmp_path / "card.md").write_text("# A card\n")
    options = ["--base", str(base), "--out", str(tmp_path / "out")]
    options += ["--card", str(tmp_path / "card.md")]
    assert main(["--run-dir", str(run_dir), *options]) == 0
    one, other = open_bundle(base), open_bundle(tmp_path / "out")
    other.verify()
    assert other.weights_sha256 == one.weights_sha256
    assert other.structure_sha256 in capsys.readouterr().out
    assert (other.path / "MODEL_CARD.md").read_text() == "# A card\n"
    proteins = ["MKTAYIAKQR", "GSGSGSAAAA"]
    np.testing.assert_array_equal(
        load_model(base, device="cpu").embed_proteins(proteins),
        load_model(tmp_path / "out", device="cpu").embed_proteins(proteins),
    )
    # What ships is what was trained, rounded to float16.
    chains = [make_chain(30, 1), make_chain(55, 2)]
    found = load_structure_model(tmp_path / "out", device="cpu").embed(chains)
    model.eval()
    with torch.no_grad():
        wanted = model.towers.structure_vectors(pack_chains(chains)).numpy()
    np.testing.assert_allclose(found, wanted, atol=5e-3)
    assert not np.allclose(found[0], found[1], atol=5e-3)


def test_a_run_starts_from_the_structure_tower_of_a_model(tmp_path, base):
    run_dir, _ = trained(tmp_path, base)
    found = attach_run(run_dir, str(base), tmp_path / "out")
    (tmp_path / "more").mkdir()
    shape = StructureConfig(weights=str(found.path))
    chains = [make_chain(30, 1)]
    wanted = load_structure_model(found.path, device="cpu").embed(chains)
    _, model = trained(tmp_path / "more", base, shape=shape, rate=1e-12)
    model.eval()
    with torch.no_grad():
        vectors = model.towers.structure_vectors(pack_chains(chains)).numpy()
    np.testing.assert_allclose(vectors, wanted, atol=1e-4)
    again = attach_run(tmp_path / "more" / "run", str(base), tmp_path / "again")
    assert again.config["structure_encoder"] == found.config["structure_encoder"]
    with pytest.raises(UsageError) as caught:
        trained(tmp_path / "none", base, shape=StructureConfig(weights=str(base)))
    assert caught.value.code == "usage.no_structure_encoder"


def test_a_run_that_moved_the_joint_space_is_refused(tmp_path, base):
    run_dir, _ = trained(tmp_path, base, frozen=False)
    with pytest.raises(ModelError) as caught:
        attach_run(run_dir, str(base), tmp_path / "out")
    assert caught.value.code == "model.other_settings"
    assert not (tmp_path / "out").exists()
    # As a model of its own it can go.
    whole = export.export(run_dir, tmp_path / "whole", heads=False)
    assert load_structure_model(whole.path, device="cpu").embed([make_chain(9, 1)]).shape == (1, 16)


def test_a_run_without_structures_is_refused(tmp_path, base):
    with pytest.raises(UsageError) as caught:
        attach_run(tmp_path / "two", str(base), tmp_path / "out")
    assert caught.value.code == "usage.not_a_run"
