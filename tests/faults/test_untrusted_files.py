"""Files from strangers: nothing in them runs, and what is damaged is named (faults 38, 41-44)."""

from __future__ import annotations

import json
import os
import pickle

import pytest
import torch

from protclip_core.errors import ModelError
from protclip_core.models.importers import import_model
from protclip_core.weights.tensors import load_pickled_tensors
from tests.support.checkpoints import write_esm2
from tests.support.helpers import write_fasta, write_tiny_bundle
from tests.support.refusals import refused

#: The library in a process of its own, with the exit codes of the terminal.
LIBRARY = """
import sys
from pathlib import Path
from protclip_core.errors import ModelError
from protclip_core.models.importers import import_model
try:
    import_model(Path({source!r}), Path({target!r}), name="x")
except ModelError as error:
    print(f"error: {{error}}", file=sys.stderr, flush=True)
    sys.exit(4)
sys.exit(0)
"""
FORCED = {"TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"}


class Payload:
    """Pickles to a call that makes a folder: the sign that code of the file ran."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return (os.mkdir, (str(self.marker),))


class Victim:
    """A source to load, and how a careless program would load it."""

    def __init__(self, model, careless, *, environment=None, file=None):
        self.model, self.careless = str(model), careless
        self.environment, self.file = environment or {}, str(file or model)


def write_pt(folder, payload):
    path = folder / "evil.pt"
    torch.save({"model": payload, "args": payload}, path)
    return Victim(path, lambda: torch.load(path, weights_only=False))


def write_raw_pickle(folder, payload):
    path = folder / "evil.pt"
    path.write_bytes(pickle.dumps(payload))
    return Victim(path, lambda: pickle.loads(path.read_bytes()))


def write_bin(folder, payload):
    write_esm2(folder / "esm2", form="bin")
    path = folder / "esm2" / "pytorch_model.bin"
    torch.save({"esm.embeddings.word_embeddings.weight": payload}, path)
    return Victim(path.parent, lambda: torch.load(path, weights_only=False))


def write_shard(folder, payload):
    write_esm2(folder / "esm2", form="bin-shards")
    path = folder / "esm2" / "pytorch_model-00002-of-00002.bin"
    torch.save({"lm_head.bias": payload}, path)
    return Victim(path.parent, lambda: torch.load(path, weights_only=False))


def write_false_safetensors(folder, payload):
    write_esm2(folder / "esm2")
    path = folder / "esm2" / "model.safetensors"
    torch.save({"model": payload}, path)

    def careless():
        with path.open("rb") as file:
            torch.load(file, weights_only=False)

    return Victim(path.parent, careless)


def write_joblib(folder, payload):
    import joblib

    path = folder / "evil.joblib"
    joblib.dump(payload, path)
    return Victim(path, lambda: joblib.load(path))


def write_pkl(folder, payload):
    path = folder / "evil.pkl"
    path.write_bytes(pickle.dumps(payload))
    return Victim(path, lambda: pickle.loads(path.read_bytes()))


def write_npy(folder, payload):
    import numpy as np

    path = folder / "evil.npy"
    np.save(path, np.array([payload], dtype=object), allow_pickle=True)
    return Victim(path, lambda: np.load(path, allow_pickle=True))


def write_hub_cache(folder, payload):
    """A file in torch's own cache, where a careless program trusts whatever lies there."""
    path = folder / "torch" / "hub" / "checkpoints" / "esm2_t6_8M_UR50D.pt"
    path.parent.mkdir(parents=True)
    torch.save({"model": payload, "cfg": payload}, path)
    return Victim(
        "esm2_t6_8M_UR50D",
        lambda: torch.load(path, weights_only=False),
        environment={"TORCH_HOME": str(folder / "torch")},
        file=path,
    )


WRITERS = [
    write_pt,
    write_raw_pickle,
    write_bin,
    write_shard,
    write_false_safetensors,
    write_joblib,
    write_pkl,
    write_npy,
    write_hub_cache,
]


@pytest.fixture
def attempt(protclip, tmp_path):
    """Give a source to ``embed --model``, ``models import`` and the library's importer."""
    fasta = write_fasta(tmp_path / "x.fa", [("a", "MKTAYIAK")])

    def run(model, *, file=None, env=None):
        store, target = tmp_path / "x.h5", tmp_path / "imported"
        embed = protclip("embed", fasta, "-o", store, "--model", model, env=env)
        library = LIBRARY.format(source=str(file or model), target=str(target))
        imported = protclip("--version", prelude=library, env=env)
        cache = tmp_path / "cache"
        command = protclip("models", "import", model, "--name", "evil", "--cache", cache, env=env)
        assert not store.exists() and not target.exists()
        assert not (cache / "models" / "evil").exists()
        return embed, imported, command

    return run


def assert_refused(outcome):
    assert outcome.rc == 4, outcome
    assert outcome.out == ""
    (line,) = [line for line in outcome.err.splitlines() if line.startswith("error: ")]
    assert "Traceback" not in outcome.err
    # torch's own advice to switch the check off is never passed on.
    assert "weights_only" not in outcome.err
    return line


@pytest.mark.parametrize("writer", WRITERS, ids=lambda writer: writer.__name__[6:])
def test_no_payload_runs(attempt, tmp_path, writer):
    """Faults 41 and 42: refused with 4 and the marker absent, whatever the environment says."""
    marker = tmp_path / "marker"
    victim = writer(tmp_path, Payload(marker))
    for forced in ({}, FORCED):
        environment = {**victim.environment, **forced}
        for outcome in attempt(victim.model, file=victim.file, env=environment):
            assert_refused(outcome)
            assert not marker.exists()
    # The payload is a live one.
    victim.careless()
    assert marker.exists()


@pytest.mark.parametrize("model_type", ["evil", "esm"])
def test_a_repository_with_its_own_code_is_refused(attempt, tmp_path, model_type):
    """Fault 44: no question asked, nothing imported."""
    marker, folder = tmp_path / "marker", tmp_path / "model"
    write_esm2(folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": model_type, "auto_map": {"AutoModel": "modeling_evil.Evil"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "modeling_evil.py").write_text(f"import os\nos.mkdir({str(marker)!r})\n")
    for outcome in attempt(folder):
        assert "wants its own code to be run (auto_map" in assert_refused(outcome)
    assert not marker.exists()


DAMAGE = {
    "empty": (lambda data: b"", "an empty file"),
    "html": (lambda data: b"<!DOCTYPE html>\n<title>404</title>", "an HTML page"),
    "lfs": (lambda data: b"version https://git-lfs.github.com/spec/v1\noid", "a git-lfs pointer"),
    "truncated": (lambda data: data[: len(data) * 2 // 3], "cut short"),
}


@pytest.mark.parametrize("form", ["fair-esm", "safetensors", "bin"])
@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_weights_are_named(attempt, tmp_path, form, damage):
    """Fault 38: the message says what came instead of weights."""
    if form == "fair-esm":
        from tests.support.checkpoints import write_fair_esm

        model = path = tmp_path / "esm2.pt"
        write_fair_esm(path)
    else:
        model = tmp_path / "esm2"
        write_esm2(model, form=form)
        path = model / {"safetensors": "model.safetensors", "bin": "pytorch_model.bin"}[form]
    spoil, looks_like = DAMAGE[damage]
    path.write_bytes(spoil(path.read_bytes()))
    for outcome in attempt(model):
        line = assert_refused(outcome)
        assert looks_like in line
        assert str(path) in line


@pytest.mark.parametrize("damage", [*DAMAGE, "flipped"])
def test_a_damaged_bundle_is_named(attempt, tmp_path, damage):
    """Fault 38: hashes tell, down to one flipped bit of a weight, which any loader would take."""
    folder = write_tiny_bundle(tmp_path / "bundle")
    path = folder / "model.safetensors"
    data = bytearray(path.read_bytes())
    if damage == "flipped":
        data[-100] ^= 1
    else:
        data = DAMAGE[damage][0](bytes(data))
    path.write_bytes(data)
    for outcome in attempt(folder):
        line = assert_refused(outcome)
        assert "sha256 mismatch, expected " in line and ", got " in line
        assert str(path) in line


#: Pickles of a few bytes, each of which makes torch's reader stumble in a way of its own.
STUMBLING = {
    "pop of nothing": b"\x80\x02.",
    "call of nothing": b"\x80\x02R.",
    "dict as state": b"\x80\x02}}b.",
    "no such memo": b"\x80\x02h\x05.",
    "list by key": b"\x80\x02]K\x01K\x02s.",
    "append to dict": b"\x80\x02}K\x01a.",
    "tuple of nothing": b"\x80\x02\x87.",
    "namespace of a number": b"\x80\x02cargparse\nNamespace\nK\x01R.",
    "state of a number": b"\x80\x02cargparse\nNamespace\n)RK\x05b.",
    "cut long": b"\x80\x02\x8a\xff" + b"\x01" * 10,
    "cut text": b"\x80\x02X\xff\xff\xff\x7fabc",
    "foreign storage": b"\x80\x02K\x05Q.",
    "tensor of nothing": b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n)R.",
    "array of a terabyte": b"\x80\x02cbuiltins\nbytearray\n\x8a\x06\x00\x00\x00\x00\x00\x7f\x85R.",
    "size of text": b"\x80\x02ctorch\nSize\nX\x01\x00\x00\x00a\x85R.",
}


@pytest.mark.parametrize("case", STUMBLING)
def test_a_pickle_that_makes_the_reader_stumble_is_a_bad_file(tmp_path, case):
    path = tmp_path / "pytorch_model.bin"
    path.write_bytes(STUMBLING[case])
    with pytest.raises(ModelError) as caught:
        load_pickled_tensors(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


#: What a table holds under one name, and what is said of it.
NO_PLAIN_TENSORS = {
    "sparse": (lambda: torch.eye(3).to_sparse(), "is a sparse one"),
    "meta": (lambda: torch.empty(3, device="meta"), "on device meta"),
    "repeated": (lambda: torch.zeros(1).expand(10**6, 10**6), "bytes of numbers repeated"),
}


@pytest.mark.parametrize("case", NO_PLAIN_TENSORS)
@pytest.mark.parametrize("nested", [False, True], ids=["plain", "in a table"])
def test_tensors_that_are_not_plain_are_named(tmp_path, case, nested):
    make, message = NO_PLAIN_TENSORS[case]
    table = {"fine": torch.zeros(2), "odd.weight": make()}
    torch.save({"model": table} if nested else table, tmp_path / "x.pt")
    with pytest.raises(ModelError, match=rf"tensor 'odd\.weight' is .*{message}|{message}"):
        load_pickled_tensors(tmp_path / "x.pt")


@pytest.mark.parametrize("name", [1, (1, 2), None, b"x"])
def test_names_that_are_no_text_are_refused(tmp_path, name):
    for content in ({name: torch.zeros(1)}, {"model": {name: torch.zeros(1)}}, {name: 3}):
        torch.save(content, tmp_path / "x.pt")
        with pytest.raises(ModelError, match="not by text"):
            load_pickled_tensors(tmp_path / "x.pt")


def test_a_table_within_itself_is_no_model(tmp_path):
    table = {"a": torch.zeros(1)}
    table["self"] = table
    torch.save(table, tmp_path / "x.pt")
    with refused("model.unknown_layout", "x.pt"):
        import_model(tmp_path / "x.pt", tmp_path / "bundle", name="x")


@pytest.mark.parametrize("kind", [torch.complex64, torch.int64, torch.bool])
def test_numbers_of_another_kind_are_named(tmp_path, kind):
    name = "esm.encoder.layer.0.intermediate.dense.weight"
    write_esm2(tmp_path / "esm2", form="bin", change=lambda t: t.update({name: t[name].to(kind)}))
    with pytest.raises(ModelError, match=f"{name} is of type {str(kind)[6:]}"):
        import_model(tmp_path / "esm2", tmp_path / "bundle", name="x")


def test_a_shard_list_of_brackets_is_refused(tmp_path):
    write_esm2(tmp_path / "esm2", form="bin-shards")
    (tmp_path / "esm2" / "pytorch_model.bin.index.json").write_text('{"weight_map":' + "[" * 200000)
    with pytest.raises(ModelError, match=r"index\.json: cannot be read"):
        import_model(tmp_path / "esm2", tmp_path / "bundle", name="x")
