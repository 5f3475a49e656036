"""Bundles and weights files: what loads, and what is refused in words that help."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest
import torch

from protclip_core.encoders.esm2 import Esm2, Esm2Config
from protclip_core.errors import ModelError, UsageError
from protclip_core.models.info import DEFAULT_MODEL, describe_model, find_in_torch_hub
from protclip_core.models.loading import load_model
from protclip_core.weights.bundle import open_bundle, write_bundle
from protclip_core.weights.tensors import fill_module, load_pickled_tensors
from tests.support.environment import patient
from tests.unit.models.encoders import save_fair_esm2, transformers_esm

SHAPE = {"num_layers": 1, "hidden_dim": 16, "num_heads": 2, "ffn_dim": 32}
JOINT = 8


def bundle_parts() -> tuple[dict, dict[str, torch.Tensor]]:
    torch.manual_seed(0)
    encoder = Esm2(Esm2Config(**SHAPE))
    tensors = {f"protein_encoder.{n}": v for n, v in encoder.state_dict().items()}
    for name, shape in {"0.weight": (JOINT, 16), "2.weight": (JOINT, JOINT)}.items():
        tensors[f"protein_projection.{name}"] = torch.randn(shape)
        tensors[f"protein_projection.{name[0]}.bias"] = torch.randn(JOINT)
    config = {
        "format": "protclip-bundle",
        "format_version": 1,
        "name": "test",
        "pooling": "residues",
        "projection_dim": JOINT,
        "protein_encoder": {"type": "esm2", "lm_head": True, **SHAPE},
    }
    return config, tensors


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    config, tensors = bundle_parts()
    write_bundle(tmp_path / "model", config, tensors, {"MODEL_CARD.md": b"# test\n"})
    return tmp_path / "model"


def test_a_bundle_round_trips_in_float16(bundle: Path) -> None:
    _, tensors = bundle_parts()
    stored = open_bundle(bundle).tensors()
    assert stored.keys() == tensors.keys()
    for name, value in tensors.items():
        assert torch.equal(stored[name], value.to(torch.float16))


def test_the_joint_space_is_the_projection_of_the_pooled_vector(bundle: Path) -> None:
    model = load_model(str(bundle), device="cpu")
    weights = {n: v.float() for n, v in open_bundle(bundle).tensors("protein_projection.").items()}
    pooled = torch.from_numpy(model.embed(["MKTAYI"]))
    inner = torch.relu(pooled @ weights["0.weight"].T + weights["0.bias"])
    expected = inner @ weights["2.weight"].T + weights["2.bias"]
    expected = expected / expected.norm()
    found = torch.from_numpy(model.embed(["MKTAYI"], space="joint"))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "MODEL_CARD.md"])
def test_one_flipped_byte_is_found(bundle: Path, name: str) -> None:
    path = bundle / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(ModelError, match="sha256 mismatch, expected .* got"):
        open_bundle(bundle).verify()


def test_flipped_weights_never_load(bundle: Path) -> None:
    path = bundle / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(ModelError, match="sha256 mismatch"):
        load_model(str(bundle), device="cpu")


def test_a_manifest_may_not_name_files_elsewhere(bundle: Path) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["files"]["../../etc/passwd"] = {"sha256": "0" * 64, "bytes": 1}
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ModelError, match="outside the bundle"):
        open_bundle(bundle)


def test_a_newer_format_is_refused_by_name(tmp_path: Path) -> None:
    config, tensors = bundle_parts()
    with pytest.raises(ModelError, match="format version 2, this protclip reads up to 1"):
        write_bundle(tmp_path, {**config, "format_version": 2}, tensors)


def test_weights_that_float16_cannot_hold_are_refused(tmp_path: Path) -> None:
    config, tensors = bundle_parts()
    tensors["protein_encoder.final_norm.bias"][0] = 1e6
    with pytest.raises(ModelError, match="float16 cannot store"):
        write_bundle(tmp_path, config, tensors)


def test_misfitting_tensors_are_named() -> None:
    _, tensors = bundle_parts()
    tensors = {n.removeprefix("protein_encoder."): v for n, v in tensors.items()}
    tensors = {n: v for n, v in tensors.items() if not n.startswith("protein_projection")}
    del tensors["final_norm.bias"]
    tensors["surplus.weight"] = torch.zeros(1)
    tensors["embedding.weight"] = torch.zeros(33, 17)
    module = Esm2(Esm2Config(**SHAPE))
    with pytest.raises(ModelError) as caught:
        fill_module(module, tensors, "weights.bin")
    text = str(caught.value)
    assert "1 missing (final_norm.bias)" in text
    assert "1 unknown (surplus.weight)" in text
    assert "embedding.weight is (33, 17), not (33, 16)" in text


def test_nan_in_weights_is_named() -> None:
    module = Esm2(Esm2Config(**SHAPE))
    state = {n: v.clone() for n, v in module.state_dict().items()}
    state["layers.0.query.bias"][3] = float("nan")
    with pytest.raises(ModelError, match=r"layers\.0\.query\.bias holds NaN"):
        fill_module(module, state, "weights.bin")


class _Marker:
    """Pickles to a call that makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (str(self.path),))


@pytest.mark.parametrize("forced", [False, True])
def test_a_malicious_pickle_runs_nothing(tmp_path: Path, monkeypatch, forced: bool) -> None:
    if forced:
        monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    marker = tmp_path / "marker"
    path = tmp_path / "evil.pt"
    torch.save({"model": _Marker(marker)}, path)
    with pytest.raises(ModelError, match="refused: not a plain weights file"):
        load_model(str(path), device="cpu")
    path.write_bytes(pickle.dumps(_Marker(marker)))
    with pytest.raises(ModelError):
        load_pickled_tensors(path)
    assert not marker.exists()
    assert os.environ.get("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD") == ("1" if forced else None)


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", b"version https://git-lfs"])
def test_what_is_no_weights_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "esm2.pt"
    path.write_bytes(content)
    with pytest.raises(ModelError) as caught:
        load_model(str(path), device="cpu")
    assert str(path) in str(caught.value)
    assert "weights_only" not in str(caught.value)


def test_a_truncated_fair_esm_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "esm2.pt"
    save_fair_esm2(path, 1, 32, 4)
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(ModelError, match="cannot be read as a weights file"):
        load_model(str(path), device="cpu")


def test_a_transformers_model_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ModelError, match="model_type 'bert' is not ESM-2"):
        describe_model(tmp_path)


def test_old_pickled_transformers_weights_load(tmp_path: Path) -> None:
    reference = transformers_esm(1, 32, 4)
    reference.config.save_pretrained(tmp_path)
    torch.save(reference.state_dict(), tmp_path / "pytorch_model.bin")
    assert load_model(str(tmp_path), device="cpu").embed(["MKT"]).shape == (1, 32)


@pytest.mark.parametrize("name", ["no-such-model", "../bundled", ""])
def test_an_unknown_model_names_what_there_is(name: str) -> None:
    with pytest.raises(ModelError):
        describe_model(name)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layer": 2}, "layer 2 is out of range; the model has 0 to 1"),
        ({"layer": -3}, "layer -3 is out of range"),
        ({"pooling": "max"}, "pooling 'max'"),
        ({"space": "joint", "layer": 0}, "the joint space belongs to layer 1"),
    ],
)
def test_settings_that_the_model_cannot_do(bundle: Path, options: dict, message: str) -> None:
    model = load_model(str(bundle), device="cpu")
    with pytest.raises(UsageError) as caught:
        model.embed(["MKT"], **options)
    assert message in str(caught.value)


def test_a_protein_only_model_has_no_joint_space(tmp_path: Path) -> None:
    transformers_esm(1, 32, 4).save_pretrained(tmp_path)
    with pytest.raises(UsageError, match="has no joint space"):
        load_model(str(tmp_path), device="cpu").embed(["MKT"], space="joint")


def test_devices_and_types_that_are_not_there(bundle: Path) -> None:
    with pytest.raises(UsageError, match="device 'warp' is not known"):
        load_model(str(bundle), device="warp")
    with pytest.raises(UsageError, match="type 'float8' is not known"):
        load_model(str(bundle), dtype="float8")


@pytest.mark.parametrize("native", [True, False])
def test_emulated_bfloat16_is_said(bundle: Path, monkeypatch, caplog, native: bool) -> None:
    monkeypatch.setattr("protclip_core.models.loading.cpu_has_bfloat16", lambda: native)
    load_model(str(bundle), device="cpu", dtype="bfloat16")
    assert ("only emulates bfloat16" in caplog.text) is not native


def test_every_setting_that_makes_numbers_keeps_stores_apart(bundle: Path) -> None:
    """The names that a store is merged by are those that a run is resumed by."""
    from protclip_core.store.tools import MERGE_KEYS
    from protclip_core.vectors.embed_job import load_job
    from protclip_core.vectors.embed_request import EmbedRequest

    job = load_job(EmbedRequest(inputs=("-",), device="cpu"), describe_model(bundle))
    of_structures = {"modality", "structure_sha256"}
    assert set(job.key()) - {"per_residue", "store_dtype"} == set(MERGE_KEYS) - of_structures


def test_another_shape_with_the_same_weights_is_another_model(tmp_path: Path) -> None:
    config, tensors = bundle_parts()
    other = {**config, "protein_encoder": {**config["protein_encoder"], "token_dropout": False}}
    plain = write_bundle(tmp_path / "a", config, tensors)
    changed = write_bundle(tmp_path / "b", other, tensors)
    assert plain.weights_sha256 == changed.weights_sha256
    hashes = {describe_model(b.path).config_sha256 for b in (plain, changed)}
    assert len(hashes) == 2


def test_stray_weights_beside_a_model_are_not_read(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    transformers_esm(1, 32, 4).save_pretrained(tmp_path)
    expected = load_model(str(tmp_path), device="cpu")
    zeros = {n: torch.zeros_like(v) for n, v in load_file(tmp_path / "model.safetensors").items()}
    save_file(zeros, tmp_path / "model_zero_backup.safetensors")
    found = load_model(str(tmp_path), device="cpu")
    assert found.weights_sha256 == expected.weights_sha256
    assert (found.embed(["MKT"]) == expected.embed(["MKT"])).all()


def test_shards_are_read_by_their_index(tmp_path: Path) -> None:
    model = transformers_esm(2, 32, 4)
    model.save_pretrained(tmp_path / "whole")
    model.save_pretrained(tmp_path / "shards", max_shard_size="40KB")
    shards = sorted((tmp_path / "shards").glob("*.safetensors"))
    assert len(shards) > 1
    vectors = [
        load_model(str(tmp_path / kind), device="cpu").embed(["MKT"])
        for kind in ("whole", "shards")
    ]
    assert (vectors[0] == vectors[1]).all()
    shards[0].unlink()
    with pytest.raises(ModelError, match="shard of the model is missing"):
        load_model(str(tmp_path / "shards"), device="cpu")


@pytest.mark.parametrize(
    "content",
    [
        {"cfg": {"model": Namespace(encoder_layers=1)}, "model": {}},
        {"args": {"arch": "roberta_large"}, "model": {}},
        {"args": Namespace(arch="roberta_large"), "model": {}},
        {"args": Namespace(arch="msa_transformer"), "model": {}},
        {"cfg": {"model": Namespace(encoder_layers=1)}, "model": []},
        {"something": 1},
    ],
)
def test_fair_esm_files_that_lack_something_are_bad_files(tmp_path: Path, content: dict) -> None:
    path = tmp_path / "esm.pt"
    torch.save(content, path)
    with pytest.raises(ModelError, match=re.escape(str(path))):
        load_model(str(path), device="cpu")


def test_a_transformers_config_that_lacks_something_is_a_bad_file(tmp_path: Path) -> None:
    config = {"model_type": "esm", "position_embedding_type": "rotary", "hidden_size": 8}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="does not say 'num_hidden_layers'"):
        describe_model(tmp_path)


def test_windows_may_be_wider_for_esm2_files_of_fair_esm(tmp_path: Path) -> None:
    from protclip_core.models.settings import resolve_settings

    path = tmp_path / "esm2.pt"
    save_fair_esm2(path, 1, 32, 4)
    settings = resolve_settings(describe_model(path), 1, max_residues=2000)
    assert settings.max_residues == 2000


def test_the_identity_of_the_bundled_model_stays() -> None:
    """Stores are merged and runs resumed by it: it may not change with this code."""
    info = describe_model(DEFAULT_MODEL)
    assert info.config_sha256.startswith("c68a9a1f01b1cea7")
    assert info.license == "Apache-2.0"
    assert (info.origin, info.contents) == (None, "protein, structure and text")


def test_names_are_looked_up_in_order(bundle: Path, tmp_path: Path, monkeypatch) -> None:
    cache = tmp_path / "cache"
    shutil.copytree(bundle, cache / "models" / "own")
    shutil.copytree(bundle, cache / "models" / DEFAULT_MODEL)
    assert describe_model("own", cache).path == cache / "models" / "own"
    assert describe_model(DEFAULT_MODEL, cache).name == "protclip-mini"
    monkeypatch.setenv("PROTCLIP_CACHE", str(cache))
    assert load_model("own", device="cpu").info.path == cache / "models" / "own"
    # A folder of the same name stands behind the installed model, but has its own way in.
    monkeypatch.chdir(tmp_path)
    shutil.copytree(bundle, tmp_path / "own")
    assert describe_model("own").path == cache / "models" / "own"
    assert describe_model("./own").path == Path("own")
    shutil.rmtree(cache)
    assert describe_model("own").path == Path("own")


def test_a_damaged_installed_model_is_said_to_be_damaged(bundle: Path, tmp_path: Path) -> None:
    target = tmp_path / "cache" / "models" / "own"
    shutil.copytree(bundle, target)
    (target / "config.json").write_text("{}")
    with pytest.raises(ModelError, match="sha256 mismatch.*fetch or install the model again"):
        describe_model("own", tmp_path / "cache")


def test_fair_esm_files_in_torchs_cache_have_names(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "torch" / "hub" / "checkpoints" / "esm2_t1_test.pt"
    path.parent.mkdir(parents=True)
    save_fair_esm2(path, 1, 32, 4)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TORCH_HOME", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert find_in_torch_hub("esm2_t1_test") == path
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.delenv("XDG_CACHE_HOME")
    info = describe_model("esm2_t1_test")
    assert (info.kind, info.name, info.path) == ("fair-esm", "esm2_t1_test", path)
    assert load_model("esm2_t1_test", device="cpu").embed(["MKT"]).shape == (1, 32)
    for name in ("esm2_t2_test", "../checkpoints/esm2_t1_test", "a\0b", "x" * 300):
        assert find_in_torch_hub(name) is None
        with pytest.raises(ModelError, match="no model of this name or path"):
            describe_model(name)


def test_a_name_that_is_nearly_right_is_suggested(tmp_path: Path, bundle: Path) -> None:
    shutil.copytree(bundle, tmp_path / "models" / "our-own-encoder")
    with pytest.raises(ModelError, match=r"did you mean our-own-encoder\?"):
        describe_model("our-own-encodr", tmp_path)
    with pytest.raises(ModelError, match=r"did you mean protclip-mini\?"):
        describe_model("protclip-mimi", tmp_path)
    with pytest.raises(ModelError, match="there are our-own-encoder, protclip-mini, or give"):
        describe_model("/no/such/thing", tmp_path)


def test_looking_up_a_model_imports_no_torch(bundle: Path) -> None:
    code = (
        "import sys; from protclip_core.models.info import describe_model\n"
        "from protclip_core.errors import ModelError\n"
        f"describe_model('protclip-mini').facts(); describe_model({str(bundle)!r}).facts()\n"
        "try: describe_model('nosuch')\n"
        "except ModelError: pass\n"
        "assert not {'torch', 'transformers', 'numpy'} & set(sys.modules), 'slow'"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=patient(60))


def test_the_facts_of_a_model(tmp_path: Path) -> None:
    config, tensors = bundle_parts()
    source = {"kind": "fair-esm", "origin": "x.pt", "files": {"x.pt": "0" * 64}}
    config |= {"license": "MIT", "source": source}
    written = write_bundle(tmp_path / "m", config, tensors)
    facts = dict(describe_model(tmp_path / "m").facts())
    assert facts["contents"] == "protein"
    assert facts["protein encoder"] == "esm2, 1 layers of width 16"
    assert (facts["license"], facts["source"], facts["joint space"]) == ("MIT", "x.pt", JOINT)
    assert facts["weights sha256"] == written.weights_sha256


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"protein_encoder": None}, "neither a protein_encoder nor a text_encoder"),
        ({"protein_encoder": {"type": "gvp"}}, "protein_encoder.type is 'gvp'"),
        ({"protein_encoder": "esm2"}, "protein_encoder is 'esm2'"),
        ({"protein_encoder": {"type": "esm2"}}, "protein_encoder.num_layers is missing"),
        ({"text_encoder": {"type": "t5"}}, "text_encoder.type is 't5'"),
        ({"text_encoder": {"type": "bert"}}, "text_encoder.vocab_size is missing"),
        ({"projection_dim": "8"}, "projection_dim is '8'"),
        ({"projection_dim": True}, "projection_dim is True"),
        ({"pooling": "max"}, "pooling is .max"),
        ({"residue_heads": ["mlm"]}, r"residue_heads is \['mlm'\]"),
        ({"residue_heads": {"fold": True}}, "residue_heads has an unknown field 'fold'"),
        ({"residue_heads": {"prototypes": -1}}, "prototypes is -1"),
        ({"residue_heads": {"mlm": True}, "projection_dim": None}, "residue_heads need"),
        ({"protein_encoder": {"type": "esm2", **SHAPE, "num_layers": 0}}, "num_layers is 0"),
        (
            {"protein_encoder": {"type": "esm2", **SHAPE, "num_heads": 16}},
            "even multiple",
        ),
        (
            {"protein_encoder": {"type": "esm2", **SHAPE, "depth": 3}},
            "unknown field 'depth'",
        ),
    ],
)
def test_configurations_that_make_no_model(tmp_path: Path, change: dict, message: str) -> None:
    config, tensors = bundle_parts()
    config = {n: v for n, v in {**config, **change}.items() if v is not None}
    write_bundle(tmp_path / "m", config, tensors)
    with pytest.raises(ModelError, match=message) as caught:
        load_model(tmp_path / "m", device="cpu")
    assert caught.value.code == "model.bad_field"
    assert str(tmp_path / "m") in str(caught.value)


def test_an_lm_head_that_is_promised_must_be_there(tmp_path: Path) -> None:
    config, tensors = bundle_parts()
    without = {n: v for n, v in tensors.items() if ".lm_head." not in n}
    write_bundle(tmp_path / "m", config, without)
    with pytest.raises(ModelError, match=r"5 missing \(protein_encoder\.lm_head\.bias"):
        load_model(tmp_path / "m", device="cpu")
    encoder = {**config["protein_encoder"], "lm_head": False}
    write_bundle(tmp_path / "n", {**config, "protein_encoder": encoder}, tensors)
    with pytest.raises(ModelError, match=r"5 unknown \(protein_encoder\.lm_head\.bias"):
        load_model(tmp_path / "n", device="cpu")


def test_a_name_of_the_catalog_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"run: protclip models pull esm2-650m$"):
        describe_model("esm2-650m", tmp_path)
    with pytest.raises(ModelError, match=r"did you mean esm2-650m\?"):
        describe_model("esm2-650n", tmp_path)
