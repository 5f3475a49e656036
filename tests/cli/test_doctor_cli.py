"""``protclip doctor`` at the shell."""

from __future__ import annotations

import json
import shutil

import pytest

from protclip_core._version import __version__
from protclip_core.models.info import BUNDLED

#: The program as if it had just started, with a torch that does not come.
NO_TORCH = """
import sys
for name in list(sys.modules):
    if name.split(".")[0] == "torch" or name.startswith(("protclip_core.", "protclip_cli.")):
        del sys.modules[name]
sys.modules["torch"] = None
"""


@pytest.fixture
def doctor(protclip, tmp_path):
    """``doctor(*arguments)`` with a cache of its own."""

    def doctor(*arguments, cache=None, **options):
        options["env"] = {"PROTCLIP_CACHE": cache or tmp_path / "cache"} | options.get("env", {})
        return protclip("doctor", *arguments, cwd=tmp_path, **options)

    return doctor


def table(text):
    header, *lines = [line.split("\t") for line in text.splitlines()]
    assert header == ["check", "status", "found", "advice"]
    return {line[0]: dict(zip(header, line, strict=True)) for line in lines}


def last_error(outcome, *parts):
    (line,) = outcome.err.splitlines()
    assert line.startswith("error: ")
    for part in parts:
        assert part in line


def test_a_sound_installation(doctor, tmp_path):
    done = doctor()
    assert (done.rc, done.err) == (0, "")
    rows = table(done.out)
    assert rows["protclip"]["found"] == __version__
    assert rows["float32 on cpu"]["status"] == "ok"
    assert "fail" not in {row["status"] for row in rows.values()}
    assert f"{tmp_path / 'cache'} (from PROTCLIP_CACHE)" in rows["cache folder"]["found"]
    assert not (tmp_path / "cache").exists()


def test_forms(doctor):
    lines = doctor("--format", "jsonl", prelude=NO_TORCH).out.splitlines()
    assert [json.loads(line)["check"] for line in lines][:2] == ["protclip", "python"]
    assert doctor("--format", "table", prelude=NO_TORCH).out.startswith("check ")


def test_a_damaged_model(doctor, tmp_path):
    shutil.copytree(BUNDLED, tmp_path / "bundled")
    path = tmp_path / "bundled" / "protclip-mini" / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    folder = f"Path({str(tmp_path / 'bundled')!r})"
    moved = f"from pathlib import Path; import protclip_core.models.info as i; i.BUNDLED = {folder}"
    done = doctor(prelude=moved)
    assert done.rc == 4
    row = table(done.out)["model protclip-mini"]
    assert row["status"] == "fail" and f"{path}: sha256 mismatch" in row["found"]
    last_error(done, "1 of ", "checks failed (model protclip-mini); the table says what to do")


def test_a_cache_that_is_a_file(doctor, tmp_path):
    (tmp_path / "file").write_text("")
    done = doctor("--cache", tmp_path / "file")
    assert done.rc == 2
    assert table(done.out)["cache folder"]["status"] == "fail"
    last_error(done, "(cache folder)")


MISSING = """
import importlib.metadata as metadata
real = metadata.version
def version(name):
    if name == "safetensors":
        raise metadata.PackageNotFoundError(name)
    return "0.1" if name == "h5py" else real(name)
metadata.version = version
real_requires = metadata.requires
metadata.requires = lambda name: [*real_requires(name), "numpy<1; extra == 'old'"]
"""


def test_a_missing_and_an_old_library(doctor):
    done = doctor(prelude=NO_TORCH + MISSING)
    assert done.rc == 4
    rows = table(done.out)
    assert rows["safetensors"]["found"] == "is not installed"
    assert rows["safetensors"]["advice"] == "pip install --upgrade safetensors"
    assert rows["h5py"]["found"] == "0.1 is installed, needs >=3.10"
    assert rows["numpy"]["status"] == "ok"
    last_error(done, "(safetensors, h5py, machine, models)")


def test_a_torch_that_cannot_be_imported(doctor):
    done = doctor(prelude=NO_TORCH)
    assert done.rc == 4, done
    rows = table(done.out)
    assert "import of torch halted" in rows["machine"]["found"]
    assert rows["cache folder"]["status"] in {"ok", "warn"}  # the others go on
    assert "network settings" in rows


def test_a_broken_pipe_and_wrong_options_are_quiet(doctor):
    done = doctor("--nosuch")
    assert (done.rc, done.out) == (2, "")
    last_error(done, "no such option")
