"""The self-test: each thing that may be wrong shows in its own row."""

from __future__ import annotations

import hashlib
import json
import os
import shutil

import pytest

from protclip_core.errors import ModelError, ResourceError, UsageError
from protclip_core.models import reference_vectors as reference
from protclip_core.models.info import BUNDLED
from protclip_core.tasks.doctor.checks import Check
from protclip_core.tasks.doctor.folders import folder_checks
from protclip_core.tasks.doctor.models import model_checks
from protclip_core.tasks.doctor.task import run_checks, verdict
from tests.support.helpers import write_tiny_bundle

MINI = BUNDLED / "protclip-mini"


@pytest.fixture
def copy(tmp_path):
    """A copy of the default model that may be changed."""
    return shutil.copytree(MINI, tmp_path / "protclip-mini")


@pytest.fixture(autouse=True)
def plain(monkeypatch):
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name.startswith(("HF_", "PROTCLIP_", "TORCH_FORCE")):
            monkeypatch.delenv(name)


def by_name(checks):
    checks = list(checks)
    found = {check.name: check for check in checks}
    assert len(found) == len(checks)
    return found


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_a_sound_installation(tmp_path):
    checks = by_name(run_checks(cache=tmp_path / "cache"))
    assert verdict(checks.values()) is None
    assert {"ok"} == {c.status for name, c in checks.items() if name not in _DEPEND_ON_THE_MACHINE}
    for name in ("protclip", "python", "torch", "scikit-learn", "processor", "memory", "speed"):
        assert checks[name].found
    assert "with HDF5 " in checks["h5py"].found
    assert "needs >=2.10" in checks["torch"].found
    assert "allowed is 1e-04" in checks["float32 on cpu"].found
    for kind in ("protein encoder", "protein joint", "text encoder", "text joint"):
        assert kind in checks["float32 on cpu"].found
    assert not (tmp_path / "cache").exists()
    assert not list(tmp_path.iterdir())


_DEPEND_ON_THE_MACHINE = {"memory", "cache folder", "cuda", "file locks"}


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "MODEL_CARD.md"])
def test_a_damaged_default_model_names_the_file(copy, name):
    flip(copy / name)
    (check,) = model_checks(copy, copy / "cache")
    assert (check.status, check.trouble) == ("fail", ModelError)
    assert f"{copy / name}: sha256 mismatch" in check.found
    assert "install the model again" in check.advice


def test_a_missing_default_model(tmp_path):
    (check,) = model_checks(tmp_path / "nothing", tmp_path)
    assert (check.status, check.trouble) == ("fail", ModelError)


def test_a_reference_of_other_weights_names_both(tmp_path):
    tiny = write_tiny_bundle(tmp_path / "tiny")
    checks = by_name(model_checks(tiny, tmp_path))
    found = checks["float32 on cpu"]
    assert (found.status, found.trouble) == ("fail", ModelError)
    assert "(protclip-mini)" in found.found and "(tiny)" in found.found
    hashes = json.loads((BUNDLED / "reference.json").read_text())["weights_sha256"]
    assert hashes in found.found


@pytest.mark.parametrize("kind", ["protein encoder", "protein joint", "text encoder", "text joint"])
def test_other_numbers_are_a_failure(kind, tmp_path, monkeypatch):
    content = json.loads((BUNDLED / "reference.json").read_text())
    vector = content["vectors"][kind]["vectors"][1]
    length = sum(x * x for x in vector) ** 0.5
    vector[5] += 3e-4 * length
    shutil.copytree(MINI, tmp_path / "protclip-mini")
    (tmp_path / "reference.json").write_text(json.dumps(content))
    monkeypatch.setattr(reference, "BUNDLED", tmp_path)
    checks = by_name(model_checks(cache=tmp_path))
    assert checks["float32 on cpu"].status == "fail"
    assert f"differ by 3.0e-04 of their length at most ({kind})" in checks["float32 on cpu"].found


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"format": "protclip-reference", "format_version": 2}', None]
)
def test_a_damaged_reference(text, tmp_path, monkeypatch):
    if text is not None:
        (tmp_path / "reference.json").write_text(text)
    monkeypatch.setattr(reference, "BUNDLED", tmp_path)
    checks = by_name(model_checks(cache=tmp_path))
    found = checks["reference vectors"]
    assert (found.status, found.trouble) == ("fail", ModelError)
    assert str(tmp_path / "reference.json") in found.found


def test_a_reference_is_written_and_read_back(tmp_path):
    path = tmp_path / "reference.json"
    reference.write_reference(path=path)
    written, packaged = reference.read_reference(path), reference.read_reference()
    assert written.weights_sha256 == packaged.weights_sha256
    for kind, (inputs, vectors) in packaged.vectors.items():
        assert written.vectors[kind][0] == inputs
        assert written.vectors[kind][1] == pytest.approx(vectors, rel=1e-3, abs=1e-5)


def test_installed_models(tmp_path):
    for name in ("whole", "flipped", "cut"):
        write_tiny_bundle(tmp_path / "models" / name)
    flip(tmp_path / "models" / "flipped" / "model.safetensors")
    (tmp_path / "models" / "cut" / "manifest.json").write_text("{")
    checks = by_name(model_checks(cache=tmp_path))
    assert checks["installed whole"].status == "ok"
    for name in ("flipped", "cut"):
        found = checks[f"installed {name}"]
        assert (found.status, found.trouble) == ("warn", None)
        assert found.advice.endswith(f"protclip models verify {name}")


def damage(folder, what):
    manifest = folder / "manifest.json"
    content = json.loads(manifest.read_text())
    if what == "a folder closed to us":  # links in a circle: root may look anywhere
        shutil.rmtree(folder)
        folder.symlink_to(folder.name)
    elif what == "an empty encoder":
        config = json.loads((folder / "config.json").read_text())
        text = json.dumps(config | {"protein_encoder": {"type": "esm2"}})
        (folder / "config.json").write_text(text)
        content["files"]["config.json"]["sha256"] = hashlib.sha256(text.encode()).hexdigest()
        manifest.write_text(json.dumps(content))
    else:
        files = {"files as a list": [1], "files as a number": 5, "entry as a number": {"x": 5}}
        deep = "[" * 300_000
        manifest.write_text(
            deep if what == "deep" else json.dumps(content | {"files": files[what]})
        )


@pytest.mark.parametrize(
    "what",
    [
        *("files as a list", "files as a number", "entry as a number", "deep"),
        *("an empty encoder", "a folder closed to us"),
    ],
)
def test_whatever_is_wrong_with_one_installed_model_is_one_row(tmp_path, what):
    for name in ("a", "b", "c"):
        write_tiny_bundle(tmp_path / "models" / name)
    damage(tmp_path / "models" / "b", what)
    checks = by_name(model_checks(cache=tmp_path))
    assert [checks[f"installed {name}"].status for name in "abc"] == ["ok", "warn", "ok"]
    found = checks["installed b"]
    assert found.found.startswith("damaged: ") and "\n" not in found.found
    assert found.trouble is None
    assert found.advice.endswith("protclip models verify b")


def test_a_folder_of_models_that_cannot_be_read_is_one_row(tmp_path):
    (tmp_path / "models").symlink_to("models")
    checks = by_name(run_checks(cache=tmp_path))
    found = checks["installed models"]
    assert (found.status, found.trouble) == ("warn", None)
    assert f"{tmp_path / 'models'}: installed models cannot be read: " in found.found
    assert "access rights" in found.advice
    assert checks["float32 on cpu"].status == "ok"
    assert "models" not in checks
    found = checks["cache folder"]
    assert (found.status, found.trouble) == ("fail", UsageError)
    assert "cannot be read" in found.found and "written" not in found.found
    assert isinstance(verdict(checks.values()), UsageError)


@pytest.mark.parametrize("kind", ["loop", "long", "no user"])
def test_a_cache_that_can_be_no_folder(tmp_path, monkeypatch, kind):
    (tmp_path / "loop").symlink_to("loop")
    places = {"loop": tmp_path / "loop", "long": tmp_path / ("x" * 300), "no user": "~no-such/x"}
    monkeypatch.setenv("PROTCLIP_CACHE", str(places[kind]))
    checks = by_name(run_checks())
    found = checks["cache folder"]
    assert (found.status, found.trouble) == ("fail", UsageError)
    assert found.advice and "pip install" not in found.advice
    assert checks["temporary folder"].status == "ok"
    assert checks["installed models"].status == "warn"
    assert checks["float32 on cpu"].status == "ok"
    assert not {"models", "folders"} & set(checks)


def test_a_large_model_is_not_hashed_but_must_be_there(tmp_path, monkeypatch):
    monkeypatch.setattr("protclip_core.tasks.doctor.models._HASHED_BYTES", 10_000)
    folder = write_tiny_bundle(tmp_path / "models" / "large")
    flip(folder / "model.safetensors")
    found = by_name(model_checks(cache=tmp_path))["installed large"]
    assert found.status == "ok" and "protclip models verify large" in found.found
    (folder / "model.safetensors").unlink()
    assert by_name(model_checks(cache=tmp_path))["installed large"].status == "warn"


def test_a_cache_that_is_a_file(tmp_path):
    (tmp_path / "cache").write_text("")
    for cache in (tmp_path / "cache", tmp_path / "cache" / "below"):
        found = by_name(folder_checks(cache))["cache folder"]
        assert (found.status, found.trouble) == ("fail", UsageError)
        assert str(cache) in found.found and "PROTCLIP_CACHE" in found.advice


def test_where_the_cache_comes_from(tmp_path, monkeypatch):
    monkeypatch.setenv("PROTCLIP_CACHE", str(tmp_path / "from-variable"))
    assert "from PROTCLIP_CACHE" in by_name(folder_checks())["cache folder"].found
    found = by_name(folder_checks(tmp_path))["cache folder"].found
    assert f"{tmp_path} (as asked for), " in found and "GB free" in found
    assert (
        "as asked for), made when it is needed"
        in by_name(folder_checks(tmp_path / "new"))["cache folder"].found
    )


def test_the_current_folder_may_be_gone(tmp_path, monkeypatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    found = by_name(folder_checks(tmp_path))["current folder"]
    assert (found.status, found.found) == ("warn", "was removed")


def test_no_temporary_folder(tmp_path, monkeypatch):
    import tempfile

    (tmp_path / "file").write_text("")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "file"))
    found = by_name(folder_checks(tmp_path))["temporary folder"]
    assert (found.status, found.trouble) == ("fail", UsageError)


def test_locks_are_really_tried(tmp_path, monkeypatch):
    assert by_name(folder_checks(tmp_path))["file locks"].found == f"hold in {tmp_path}"
    # As on a file system that takes every lock.
    monkeypatch.setattr("fcntl.flock", lambda *_: None)
    assert by_name(folder_checks(tmp_path))["file locks"].status == "warn"


def test_the_network_row_shows_no_password(tmp_path, monkeypatch):
    monkeypatch.setenv("https_proxy", "http://me:secret@proxy.example:3128")
    monkeypatch.setenv("ALL_PROXY", "me:secret@other.example:1080")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("PROTCLIP_MIRROR", "https://mirror.example/x")
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    checks = by_name(run_checks(cache=tmp_path, model=tmp_path / "none"))
    found = checks["network settings"].found
    assert "https_proxy=http://…@proxy.example:3128" in found
    assert "ALL_PROXY=…@other.example:1080" in found
    assert "HF_TOKEN=(set)" in found
    assert "PROTCLIP_MIRROR=https://mirror.example/x" in found
    assert "secret" not in found
    assert checks["unsafe loading"].status == "warn"


def check(status, trouble=None):
    return Check(name="x", status=status, found="", trouble=trouble)


@pytest.mark.parametrize(
    ("checks", "kind"),
    [
        ([check("ok"), check("warn")], None),
        ([check("fail", UsageError)], UsageError),
        ([check("fail", UsageError), check("fail", ResourceError)], ResourceError),
        ([check("fail", ResourceError), check("fail", ModelError)], ModelError),
    ],
)
def test_the_most_serious_failure_decides(checks, kind):
    error = verdict(checks)
    assert kind is None if error is None else type(error) is kind
    if error is not None:
        failed = sum(c.status == "fail" for c in checks)
        assert error.message.startswith(f"{failed} of {len(checks)} checks failed (x")


def test_a_folder_of_any_name_is_in_nobodys_way(tmp_path, monkeypatch):
    # What is tried is whether a file could be written, not one of a name that may be taken.
    for folder in (tmp_path, tmp_path / "cache"):
        (folder / "x").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    checks = by_name(run_checks(cache=tmp_path / "cache"))
    assert checks["current folder"].status == "ok"
    assert checks["cache folder"].status == "ok"
