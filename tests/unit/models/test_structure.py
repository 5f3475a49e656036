"""Models with a structure encoder: loaded, attached, told what is wrong, run by an engine."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import protclip_core as pc
from protclip_core.encoders.shapes import GvpShape, LetterShape, read_shapes
from protclip_core.encoders.structure import StructureEncoder, describe, pack_chains
from protclip_core.encoders.structure.letters import LetterEncoder
from protclip_core.engines.structures import StructureEngine
from protclip_core.errors import InputError, ModelError, UsageError
from protclip_core.models.from_bundle import check_bundle
from protclip_core.models.info import describe_model
from protclip_core.models.loading import load_structure_model
from protclip_core.weights.attach import attach_structure
from protclip_core.weights.bundle import count_parameters, open_bundle, write_bundle
from tests.support.chains import make_chain
from tests.unit.models.dual import JOINT, Dual, projection, rounded
from tests.unit.models.encoders import randomise

GVP = {
    "type": "gvp",
    "scalar_dim": 16,
    "vector_dim": 4,
    "edge_dim": 8,
    "num_layers": 2,
    "neighbours": 5,
}
KMER = {"type": "kmer", "tables": ["3:20:8:500"], "hidden_dim": 12, "num_layers": 1, "kernel": 3}
ESM = {"type": "esm2", "num_layers": 1, "hidden_dim": 16, "num_heads": 2, "ffn_dim": 32}
SHAPES = {
    "gvp": GVP,
    "descriptor": GVP | {"descriptor": "whole", "residues": True},
    "3di-kmer": {"type": "3di", "encoder": KMER},
    "3di-esm2": {"type": "3di", "encoder": ESM},
}
CHAINS = [make_chain(n, n) for n in (30, 4, 61, 1, 12)]


class Tower:
    """A structure encoder and its projection, of random weights."""

    def __init__(self, shape):
        plain = {"protein_encoder": ESM, "projection_dim": JOINT, "structure_encoder": shape}
        read = read_shapes(plain, "test").structure_encoder
        assert isinstance(read, GvpShape | LetterShape)
        with torch.random.fork_rng():
            torch.manual_seed(7)
            self.encoder = (
                StructureEncoder(read) if isinstance(read, GvpShape) else LetterEncoder(read)
            )
        if isinstance(read, GvpShape) and read.descriptor != "none":
            self.encoder.scale_descriptors(describe(pack_chains(CHAINS)))
            for buffer in self.encoder.buffers():
                buffer.copy_(buffer.half())
        rounded(self.encoder.eval())
        self.projection = projection(read.hidden_dim, seed=5)
        self.config = {"structure_encoder": {"type": shape["type"], **read.to_dict()}}

    def tensors(self):
        parts = {"structure_encoder": self.encoder, "structure_projection": self.projection}
        return {f"{p}.{n}": v.clone() for p, m in parts.items() for n, v in m.state_dict().items()}

    @torch.no_grad()
    def vectors(self, chains):
        found = self.projection(self.encoder(pack_chains(chains)))
        return nn.functional.normalize(found, dim=-1).numpy()


@pytest.fixture(scope="module", params=SHAPES)
def tower(request):
    return Tower(SHAPES[request.param])


@pytest.fixture(scope="module")
def gvp():
    return Tower(GVP)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return Dual().write(tmp_path_factory.mktemp("base") / "dual")


@pytest.fixture
def folder(gvp, base, tmp_path):
    return attach_structure(open_bundle(base), tmp_path / "three", gvp.config, gvp.tensors()).path


def test_a_bundle_of_three_towers_gives_the_vectors_of_its_modules(tower, tmp_path):
    dual = Dual()
    dual.config |= tower.config
    plain = dual.tensors
    dual.tensors = lambda: plain() | tower.tensors()
    model = pc.load_model(dual.write(tmp_path / "three"), device="cpu")
    wanted = tower.vectors(CHAINS)
    np.testing.assert_allclose(model.embed_structures(CHAINS), wanted, atol=1e-5)
    np.testing.assert_allclose((wanted**2).sum(1), 1, atol=1e-5)
    alone = load_structure_model(tmp_path / "three", device="cpu")
    inner = alone.embed(CHAINS, space="encoder")
    with torch.no_grad():
        own = tower.encoder(pack_chains(CHAINS)).numpy()
    np.testing.assert_allclose(inner, own, atol=1e-5)
    assert model.embed_structures([]).shape == (0, JOINT)
    # The others are as without.
    plain_model = pc.load_model(Dual().write(tmp_path / "two"), device="cpu")
    assert (model.embed_proteins(["MKT"]) == plain_model.embed_proteins(["MKT"])).all()
    assert (model.embed_text(["zinc"]) == plain_model.embed_text(["zinc"])).all()


def test_attaching_leaves_the_model_what_it_was(gvp, base, folder):
    before, after = describe_model(base), describe_model(folder)
    for name in ("model.safetensors", "tokenizer.json"):
        assert (folder / name).read_bytes() == (base / name).read_bytes()
    assert before.bundle.weights_sha256 == after.bundle.weights_sha256
    assert before.config_sha256 == after.config_sha256
    assert (before.contents, after.contents) == ("protein and text", "protein, structure and text")
    assert after.modalities == ("protein", "structure", "text")
    after.bundle.verify()
    found = pc.load_model(folder, device="cpu").embed_structures(CHAINS)
    np.testing.assert_allclose(found, gvp.vectors(CHAINS), atol=1e-5)
    own = count_parameters(before.bundle)
    assert count_parameters(after.bundle) == own + sum(v.numel() for v in gvp.tensors().values())
    assert check_bundle(after) == check_bundle(before) + len(gvp.tensors())


def test_a_model_says_what_it_reads(base, folder):
    facts = dict(describe_model(folder).facts())
    assert facts["contents"] == "protein, structure and text"
    assert facts["structure encoder"] == "gvp (5 neighbours, backbone, pLDDT), 2 layers of width 16"
    assert facts["structure sha256"] == open_bundle(folder).structure_sha256
    assert not [name for name in dict(describe_model(base).facts()) if "structure" in name]


def test_another_tower_takes_the_place_of_one(gvp, folder, tmp_path):
    other = Tower(SHAPES["3di-kmer"])
    found = attach_structure(
        open_bundle(folder), tmp_path / "other", other.config, other.tensors(), {"card.md": b"x"}
    )
    assert describe_model(found.path).structure_encoder.hidden_dim == 12
    assert found.structure_sha256 != open_bundle(folder).structure_sha256
    assert "card.md" in found.files
    model = load_structure_model(found.path, device="cpu")
    np.testing.assert_allclose(model.embed(CHAINS), other.vectors(CHAINS), atol=1e-5)


def test_what_is_not_of_structures_is_not_attached(gvp, base, tmp_path):
    bundle = open_bundle(base)
    with pytest.raises(ValueError, match="logit_scale"):
        attach_structure(bundle, tmp_path / "x", gvp.config, {"logit_scale": torch.ones(())})
    with pytest.raises(ValueError, match="projection_dim"):
        attach_structure(bundle, tmp_path / "x", {"projection_dim": 3}, gvp.tensors())
    with pytest.raises(ValueError, match="itself"):
        attach_structure(bundle, base, gvp.config, gvp.tensors())
    bundle.verify()


def test_a_model_without_structures_says_so(base):
    for ask in (
        lambda: load_structure_model(base, device="cpu"),
        lambda: pc.load_model(base, device="cpu").embed_structures(CHAINS),
    ):
        with pytest.raises(UsageError) as caught:
            ask()
        assert caught.value.code == "usage.no_structure_encoder"


def test_empty_chains_and_unknown_spaces_are_refused(folder):
    model = load_structure_model(folder, device="cpu")
    chain = CHAINS[0]
    empty = replace(
        chain,
        sequence="",
        backbone=chain.backbone[:0],
        starts=chain.starts[:0],
        confidence=chain.confidence[:0],
    )
    with pytest.raises(InputError) as caught:
        model.embed([chain, empty])
    assert (caught.value.code, caught.value.where) == ("input.empty", "made")
    with pytest.raises(UsageError) as refused:
        model.embed([chain], space="sky")
    assert refused.value.code == "usage.unknown_value"


def rewrite(folder, change):
    config = json.loads((folder / "config.json").read_text())
    bundle = open_bundle(folder)
    tensors = bundle.tensors() | bundle.tensors(file="structure.safetensors")
    change(config, tensors)
    files = {"tokenizer.json": (folder / "tokenizer.json").read_bytes()}
    return write_bundle(folder, config, tensors, files, half=False).path


def drop(config, tensors):
    del tensors["structure_encoder.output.scalars.bias"]


def add(config, tensors):
    tensors["structure_wing.weight"] = torch.ones(2)


def widen(config, tensors):
    config["structure_encoder"]["scalar_dim"] = 20


@pytest.mark.parametrize("change", [drop, add, widen])
def test_tensors_that_do_not_fit_are_named(folder, change):
    rewrite(folder, change)
    info = describe_model(folder)
    for ask in (check_bundle, load_structure_model):
        with pytest.raises(ModelError) as caught:
            ask(info)
        assert caught.value.code == "model.tensors_differ"
        assert caught.value.where.endswith("structure.safetensors")
    pc.load_model(info, device="cpu").embed(["MKT"])  # the others do not suffer


def no_space(config):
    del config["projection_dim"]


def of_input(config):
    config["structure_projection"] = {"form": "skip", "hidden_dim": 8, "protein_dim": 4}


def strange(config):
    config["structure_encoder"]["wings"] = 2


def without_encoder(config):
    del config["structure_encoder"]
    config["structure_projection"] = {"form": "skip", "hidden_dim": 8}


@pytest.mark.parametrize("change", [no_space, of_input, strange, without_encoder])
def test_configurations_of_no_use_are_refused(gvp, change):
    config = Dual().config | json.loads(json.dumps(gvp.config))
    change(config)
    with pytest.raises(ModelError) as caught:
        read_shapes(config, "config.json")
    assert caught.value.code == "model.bad_field"


def test_a_missing_file_of_the_tower_is_named(folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["files"]["structure.safetensors"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ModelError) as caught:
        load_structure_model(folder, device="cpu")
    assert caught.value.code == "model.missing_file"


def test_a_changed_file_of_the_tower_is_found(folder):
    path = folder / "structure.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelError) as caught:
        load_structure_model(folder, device="cpu")
    assert caught.value.code == "model.hash_mismatch"


def test_a_projection_may_have_the_form_with_a_skip_connection(gvp, base, tmp_path):
    from protclip_core.encoders.projection import SkipProjection

    skip = SkipProjection(16, JOINT, 20)
    randomise(skip, 3)
    rounded(skip.eval())
    form = {"form": "skip", "hidden_dim": 20}
    tensors = {n: v for n, v in gvp.tensors().items() if "projection" not in n}
    tensors |= {f"structure_projection.{n}": v for n, v in skip.state_dict().items()}
    config = gvp.config | {"structure_projection": form}
    found = attach_structure(open_bundle(base), tmp_path / "skip", config, tensors)
    with torch.no_grad():
        wanted = nn.functional.normalize(skip(gvp.encoder(pack_chains(CHAINS))), dim=-1).numpy()
    got = load_structure_model(found.path, device="cpu").embed(CHAINS)
    np.testing.assert_allclose(got, wanted, atol=1e-5)


def test_an_engine_gives_the_same_and_halves_batches_where_memory_ends(folder, monkeypatch):
    model = load_structure_model(folder, device="cpu")
    wanted = model.embed(CHAINS)
    with StructureEngine(model, workers=2, batch_tokens=50) as engine:
        found = dict(engine.run(CHAINS))
    np.testing.assert_allclose([found[i] for i in range(5)], wanted, atol=1e-6)
    whole = model.embed_batch

    def small(chains, space="joint"):
        if sum(map(len, chains)) > 35:
            raise MemoryError
        return whole(chains, space)

    monkeypatch.setattr(model, "embed_batch", small)
    with StructureEngine(model, workers=1) as engine:
        found = dict(engine.run(CHAINS, "encoder"))
    assert found[2].code == "record.out_of_memory"
    inner = whole(CHAINS, "encoder")
    for i in (0, 1, 3, 4):
        np.testing.assert_allclose(found[i], inner[i], atol=1e-6)


def test_numbers_that_are_not_finite_are_a_problem_of_their_chain(folder, monkeypatch):
    model = load_structure_model(folder, device="cpu")
    whole = model.embed_batch

    def broken(chains, space="joint"):
        found = whole(chains, space)
        found[[len(c) == 12 for c in chains]] = np.nan
        return found

    monkeypatch.setattr(model, "embed_batch", broken)
    with StructureEngine(model, workers=1) as engine:
        found = dict(engine.run(CHAINS))
    assert found[4].code == "record.not_finite"
    assert all(np.isfinite(found[i]).all() for i in range(4))
