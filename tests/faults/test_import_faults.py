"""Imports that are killed or run out of disk leave no half bundle behind."""

from __future__ import annotations

import signal

import pytest

from protclip_core.models.importers import import_model
from protclip_core.weights.bundle import open_bundle
from tests.support.checkpoints import write_esm2

IMPORT = """
from pathlib import Path
from protclip_core.models.importers import import_model
import_model(Path({source!r}), Path({target!r}), name="x")
raise SystemExit(0)
"""
KILL_AT = {
    "weights": """
import os, signal
import protclip_core.models.importers.writing as writing
def killed(folder, *rest, **options):
    (folder / "model.safetensors").write_bytes(b"half")
    os.kill(os.getpid(), signal.SIGKILL)
writing.write_bundle = killed
""",
    "rename": """
import os, pathlib, signal
pathlib.Path.rename = lambda *names: os.kill(os.getpid(), signal.SIGKILL)
""",
}


@pytest.fixture
def source(tmp_path):
    write_esm2(tmp_path / "esm2")
    return tmp_path / "esm2"


def code(source, target):
    return IMPORT.format(source=str(source), target=str(target))


@pytest.mark.parametrize("moment", KILL_AT)
def test_a_killed_import_leaves_no_bundle(protclip, tmp_path, source, moment):
    target = tmp_path / "models" / "x"
    killed = protclip("--version", prelude=KILL_AT[moment] + code(source, target))
    assert killed.rc == -signal.SIGKILL
    (left,) = target.parent.iterdir()
    assert left.name.startswith(".x.") and left.name.endswith(".tmp")
    done = import_model(source, target, name="x")
    assert [p.name for p in target.parent.iterdir()] == ["x"]  # what was left is cleared away
    done.bundle.verify()


def test_the_folder_of_a_living_import_is_not_cleared(tmp_path, source):
    from protclip_core.models.importers.writing import new_folder

    target = tmp_path / "models" / "x"
    with new_folder(target) as first:
        import_model(source, target, name="x")
        assert first.is_dir()
        target.rename(tmp_path / "aside")
    assert target.is_dir() and not first.exists()


def test_a_full_disk_is_said_and_nothing_stays(protclip, tmp_path, source):
    """A limit on file sizes stands for the disk; the weights are about 400 kB."""
    limit = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))\n"
    report = """
import sys
from protclip_core.errors import ResourceError
try:
    exec({code!r})
except ResourceError as error:
    print(error, file=sys.stderr, flush=True)
    sys.exit(5)
"""
    target = tmp_path / "models" / "x"
    body = limit + report.format(code=code(source, target))
    full = protclip("--version", prelude=body)
    assert full.rc == 5, full
    assert f"{target}: no room to write it: file too large" in full.err
    assert list(target.parent.iterdir()) == []


def test_too_little_room_is_known_before(protclip, tmp_path, source, small_disk):
    (small_disk / "fill").write_bytes(b"x" * 20_800_000)
    report = """
import sys
from protclip_core.errors import ResourceError
try:
    exec({code!r})
except ResourceError as error:
    print(error, file=sys.stderr, flush=True)
    sys.exit(5)
"""
    target = small_disk / "x"
    full = protclip("--version", prelude=report.format(code=code(source, target)))
    assert full.rc == 5, full
    assert "1 MB needed" in full.err
    assert [p.name for p in small_disk.iterdir()] == ["fill"]
    (small_disk / "fill").unlink()
    assert protclip("--version", prelude=code(source, target)).rc == 0
    open_bundle(target).verify()
