"""Bundles whose manifest, configuration or weights were written by a stranger."""

from __future__ import annotations

import hashlib
import json
import struct

import pytest
import torch
from safetensors.torch import load_file, save_file

from protclip_core.errors import ModelError, UsageError
from protclip_core.models.importers import import_model
from protclip_core.models.loading import load_model
from protclip_core.weights.bundle import open_bundle, write_bundle
from protclip_core.weights.file_kinds import MOST_TENSORS
from tests.support.checkpoints import write_fair_esm, write_protbert
from tests.support.helpers import write_tiny_bundle
from tests.unit.models.dual import Dual

HASH = "0" * 64
DEEP = "[" * 200_000


def reseal(folder):
    """Write the hashes of the files as they are now: what an attacker does."""
    manifest = json.loads((folder / "manifest.json").read_text())
    for name, entry in manifest["files"].items():
        entry["sha256"] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


@pytest.fixture
def folder(tmp_path):
    return write_tiny_bundle(tmp_path / "tiny")


ENTRY = {"sha256": HASH, "bytes": 1}
BOTH = {"config.json": ENTRY, "model.safetensors": ENTRY}
MANIFESTS = {
    "null": ({"files": None}, "files is None"),
    "list": ({"files": [1]}, r"files is \[1\]"),
    "text": ({"files": "ab"}, "files is 'ab'"),
    "number": ({"files": 7}, "files is 7"),
    "none": ({}, "files is missing"),
    "entry": ({"files": {**BOTH, "a": 3}}, r"files\.a is 3"),
    "no hash": ({"files": {**BOTH, "a": {}}}, r"files\.a\.sha256 is missing"),
    "hash": ({"files": {**BOTH, "a": {"sha256": 5}}}, r"files\.a\.sha256 is 5"),
    "outside": ({"files": {**BOTH, "../a": ENTRY}}, "outside the bundle"),
    "zero byte": ({"files": {**BOTH, "a\0b": ENTRY}}, "outside the bundle"),
    "no weights": ({"files": {"config.json": ENTRY}}, r"does not name model\.safetensors"),
    "nested": (DEEP, "too many brackets"),
    "no object": ([], "is not a JSON object"),
}


@pytest.mark.parametrize("case", MANIFESTS)
def test_a_manifest_of_another_kind_is_named(folder, case):
    content, message = MANIFESTS[case]
    text = content if isinstance(content, str) else json.dumps(content)
    (folder / "manifest.json").write_text(text)
    with pytest.raises(ModelError, match=message) as caught:
        open_bundle(folder)
    assert "\n" not in str(caught.value) and str(folder) in str(caught.value)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ["a"]),
        ("name", 5),
        ("license", {"a": 1}),
        ("source", ["x"]),
        ("source", {"origin": ["x"]}),
        ("format", {"a": 1}),
        ("format_version", True),
        ("format_version", 0),
        ("format_version", "1"),
    ],
)
def test_a_configuration_of_another_kind_is_named(folder, field, value):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), field: value}))
    with pytest.raises(ModelError, match=field.removesuffix("_version")):
        open_bundle(reseal(folder))


def test_a_nested_or_endless_configuration_is_refused(folder):
    path = folder / "config.json"
    path.write_text(DEEP)
    with pytest.raises(ModelError, match="too many brackets"):
        open_bundle(reseal(folder))
    path.write_bytes(b" " * 20_000_000)
    with pytest.raises(ModelError, match="more than 16,000,000 bytes"):
        open_bundle(reseal(folder))


def change(folder, alter):
    tensors = load_file(folder / "model.safetensors")
    alter(tensors)
    save_file(tensors, folder / "model.safetensors")
    return reseal(folder)


def swap_scale(tensors):
    del tensors["logit_scale"]
    tensors["zz"] = torch.zeros(1)


ALTERED = {
    "surplus": (swap_scale, "does not ask for .zz."),
    "scale": (lambda t: t.pop("logit_scale"), r"1 missing \(logit_scale\)"),
    "protein": (
        lambda t: t.pop("protein_encoder.layers.1.ffn_up.weight"),
        r"1 missing \(protein_encoder\.layers\.1\.ffn_up\.weight\)",
    ),
    "text": (
        lambda t: t.update({"text_encoder.embeddings.LayerNorm.bias": torch.zeros(2)}),
        r"text_encoder\.embeddings\.LayerNorm\.bias is \(2,\), not \(24,\)",
    ),
    "projection": (
        lambda t: t.pop("text_projection.0.bias"),
        r"1 missing \(text_projection\.0\.bias\)",
    ),
    "heads": (lambda t: t.pop("residue_heads.mlm.0.bias"), "residue_heads.mlm.0.bias"),
    "nan": (lambda t: t["protein_projection.0.bias"].fill_(torch.nan), "holds NaN"),
    "kind": (
        lambda t: t.update({"logit_scale": torch.tensor(3)}),
        "tensor logit_scale is of type int64",
    ),
}


@pytest.mark.parametrize("case", ALTERED)
def test_a_bundle_with_other_tensors_is_not_imported(tmp_path, case):
    """As loading sees it, so that nothing is installed that will not load."""
    heads = {"mlm": True, "segments": True, "prototypes": 4}
    Dual(heads=heads).write(tmp_path / "dual")
    whole = import_model(tmp_path / "dual", tmp_path / "whole", name="whole")
    assert whole.kept == len(whole.bundle.tensors())
    alter, message = ALTERED[case]
    change(tmp_path / "dual", alter)
    for attempt in (
        lambda: import_model(tmp_path / "dual", tmp_path / "copy", name="copy"),
        lambda: load_model(tmp_path / "dual", device="cpu").embed_text(["zinc"]),
    ):
        with pytest.raises(ModelError, match=message):
            attempt()
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize("kind", ["esm1b", "protbert"])
def test_bundles_of_other_encoders_are_checked_too(tmp_path, kind):
    if kind == "esm1b":
        write_fair_esm(tmp_path / "source", kind="esm1b")
        (tmp_path / "source").rename(tmp_path / "source.pt")
    else:
        write_protbert(tmp_path / "source.pt")
    first = import_model(tmp_path / "source.pt", tmp_path / "first", name="first")
    again = import_model(tmp_path / "first", tmp_path / "again", name="again")
    assert again.kept == first.kept
    assert again.bundle.weights_sha256 == first.bundle.weights_sha256
    name = next(n for n in first.bundle.tensors() if n.endswith("bias"))
    change(tmp_path / "again", lambda tensors: tensors.pop(name))
    with pytest.raises(ModelError, match=f"1 missing .{name}"):
        import_model(tmp_path / "again", tmp_path / "third", name="third")


def test_a_folder_is_not_mistaken_for_the_model_of_its_name(tmp_path, monkeypatch):
    write_tiny_bundle(tmp_path / "protclip-mini")
    monkeypatch.chdir(tmp_path)
    from pathlib import Path

    done = import_model(Path("protclip-mini"), tmp_path / "copy", name="copy")
    assert done.bundle.weights_sha256 == open_bundle(tmp_path / "protclip-mini").weights_sha256


def header_file(path, entries, data=b""):
    header = entries if isinstance(entries, bytes) else json.dumps(entries).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + data)


def tensor(shape, end=0, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [0, end]}


WEIGHTS = {
    "garbage": (None, "looks like no kind of file"),
    "nested": (b'{"a":' + b"[" * 300_000, "damaged header"),
    "empty": (b"{}  ", "too few for 2 layers"),
    "huge": ({"a": tensor([2**62, 4])}, "not a readable safetensors file"),
    "many": (
        {f"t{i}": tensor([0]) for i in range(MOST_TENSORS + 1)},
        f"holds {MOST_TENSORS + 1:,} tensors, more than the {MOST_TENSORS:,}",
    ),
    "more": ({f"t{i}": tensor([0]) for i in range(200_000)}, "has a header of 13,"),
}


@pytest.mark.parametrize("case", WEIGHTS)
def test_weights_that_are_none_are_named(folder, tmp_path, case):
    """A manifest with the right hash is no sign that the content is of use."""
    entries, message = WEIGHTS[case]
    if entries is None:
        (folder / "model.safetensors").write_bytes(b"garbage")
    else:
        header_file(folder / "model.safetensors", entries)
    reseal(folder)
    for attempt in (
        lambda: import_model(folder, tmp_path / "copy", name="copy"),
        lambda: load_model(folder, device="cpu"),
    ):
        with pytest.raises(ModelError, match=message) as caught:
            attempt()
        assert str(folder) in str(caught.value)


def test_tensors_that_share_memory_are_stored_whole(tmp_path):
    both = torch.arange(8.0)
    tensors = {"protein_encoder.a": both[:4], "protein_encoder.b": both[2:], "logit_scale": both[0]}
    config = {"format": "protclip-bundle", "format_version": 1, "name": "x"}
    for half in (False, True):
        bundle = write_bundle(tmp_path / f"x{half}", config, tensors, half=half)
        found = bundle.tensors()
        assert all(torch.equal(found[name].float(), tensors[name]) for name in tensors)
    assert torch.equal(both, torch.arange(8.0))


def test_no_bundle_is_a_usage_error_or_a_model_error(tmp_path):
    with pytest.raises(ModelError, match="no such file"):
        open_bundle(tmp_path)
    with pytest.raises(UsageError, match="no such file"):
        import_model(tmp_path / "none", tmp_path / "copy", name="copy")
