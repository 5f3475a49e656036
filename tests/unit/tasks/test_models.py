"""Names of the catalog, of publishers and of users: which model each may stand for."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from protclip_core.errors import ModelError, UsageError
from protclip_core.fetch.catalog import CATALOG, entry_of_publisher, is_of_entry
from protclip_core.models.info import describe_model
from protclip_core.tasks.doctor.models import model_checks
from protclip_core.tasks.models.install import import_local, plan_pull
from protclip_core.weights.bundle import sha256_of
from tests.support.checkpoints import write_esm2

NAME = "esm2-8m"


@pytest.fixture
def folder(tmp_path):
    write_esm2(tmp_path / "model")
    return tmp_path / "model"


def entry_like(folder, monkeypatch, *, pinned):
    """Let the catalog mean the model in a folder, with the hash of its weights or without."""
    shape = describe_model(folder).encoder
    (source,) = CATALOG[NAME].sources
    pins = {"model.safetensors": sha256_of(folder / "model.safetensors")} if pinned else {}
    expected = {"type": "esm2", "num_layers": shape.num_layers, "hidden_dim": shape.hidden_dim}
    entry = replace(
        CATALOG[NAME], expected=expected, sources=(type(source)(repo=source.repo, sha256=pins),)
    )
    monkeypatch.setitem(CATALOG, NAME, entry)
    return entry


@pytest.mark.parametrize("name", ["esm2-8m", "esm2-35m", "protbert"])
def test_another_model_takes_no_name_of_the_catalog(folder, tmp_path, name):
    with pytest.raises(ModelError) as caught:
        import_local(folder, name, cache=tmp_path / "cache")
    known = "model.hash_mismatch" if name == "esm2-8m" else "model.not_catalog_model"
    assert caught.value.code == known
    assert name in caught.value.message
    assert not (tmp_path / "cache/models" / name).exists()
    import_local(folder, "mine", cache=tmp_path / "cache")


def test_the_files_that_the_catalog_means_take_its_name(folder, tmp_path, monkeypatch):
    entry = entry_like(folder, monkeypatch, pinned=True)
    done = import_local(folder, NAME, cache=tmp_path / "cache")
    assert is_of_entry(entry, done.bundle.config["source"])
    assert not any("catalog" in note for note in done.notes)
    assert plan_pull(NAME, cache=tmp_path / "cache").installed is not None


def test_a_model_that_nobody_compared_is_not_called_sound(folder, tmp_path, monkeypatch):
    entry_like(folder, monkeypatch, pinned=False)
    done = import_local(folder, NAME, cache=tmp_path / "cache")
    assert any("catalog" in note for note in done.notes)
    with pytest.raises(UsageError) as caught:
        plan_pull(NAME, cache=tmp_path / "cache", offline=True)
    assert caught.value.code == "usage.name_taken"
    assert "model" in caught.value.message and "--force" in caught.value.hint
    checks = {one.name: one for one in model_checks(cache=tmp_path / "cache")}
    assert checks[f"installed {NAME}"].status == "warn"


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("facebook/esm2_t6_8M_UR50D", "esm2-8m"),
        ("esm2_t6_8M_UR50D", "esm2-8m"),
        ("ESM2_T33_650M_ur50d.pt", "esm2-650m"),
        ("hub:facebook/esm2_t12_35M_UR50D@main", "esm2-35m"),
        ("Rostlab/prot_bert", "protbert"),
        ("microsoft/BiomedNLP-BiomedBERT-base-uncased-abstract", "pubmedbert"),
    ],
)
def test_publishers_names_lead_to_the_catalog(tmp_path, monkeypatch, name, known):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert entry_of_publisher(name).name == known
    with pytest.raises(ModelError) as missing:
        describe_model(name, tmp_path)
    assert missing.value.hint == f"run: protclip models pull {known}"
    with pytest.raises(UsageError) as caught:
        plan_pull(name, cache=tmp_path)
    assert caught.value.code == "usage.publishers_name"
    assert f"protclip models pull {known}" in caught.value.hint


@pytest.mark.parametrize("name", ["", ".pt", "@main", "facebook/", "facebook", "esm2_t6", "/"])
def test_other_names_lead_nowhere(name):
    assert entry_of_publisher(name) is None


def test_a_hub_name_that_is_not_in_the_catalog_is_told_how(tmp_path):
    for attempt in (describe_model, plan_pull):
        with pytest.raises((ModelError, UsageError)) as caught:
            attempt("lab/their-model", cache=tmp_path)
        assert "--from hub:lab/their-model" in caught.value.hint


def test_a_file_of_fair_esm_is_found_with_and_without_its_ending(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    path = tmp_path / "hub/checkpoints/esm2_t6_8M_UR50D.pt"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"x")
    for name in ("esm2_t6_8M_UR50D", "esm2_t6_8M_UR50D.pt"):
        assert describe_model(name, tmp_path).path == path


@pytest.mark.parametrize("name", ["esm2-8m", "protclip-650m"])
@pytest.mark.parametrize("offline", [False, True])
def test_without_a_network_one_short_line_says_what_to_fetch(tmp_path, monkeypatch, name, offline):
    monkeypatch.setenv("HF_ENDPOINT", "https://no-such-host.invalid")
    monkeypatch.setenv("PROTCLIP_MIRROR", "https://no-such-host.invalid")
    for variable in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(variable, raising=False)
    began = time.monotonic()
    with pytest.raises(ModelError) as caught:
        plan_pull(name, cache=tmp_path, offline=offline)
    assert time.monotonic() - began < 20
    assert caught.value.code == ("model.not_downloaded" if offline else "model.no_network")
    assert len(f"error: {caught.value}") <= 150
    assert f"protclip models import DIR --name {name}" in caught.value.hint
    if name == "esm2-8m":
        assert "huggingface.co/facebook/esm2_t6_8M_UR50D" in caught.value.hint
