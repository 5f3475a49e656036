"""What all tests share: tiers, a plain environment, a tiny model, the program itself."""

from __future__ import annotations

import os
import signal

import pytest

from tests.support.environment import make_plain, patient

make_plain()  # before anything reads it

from tests.support.helpers import random_proteins, write_fasta, write_tiny_bundle  # noqa: E402
from tests.support.once import once  # noqa: E402
from tests.support.warm import Program  # noqa: E402

# A shell starts its background jobs with interrupts ignored, and nohup ignores hang-ups; the
# programs that tests start, and interrupt, are to begin as from a plain terminal.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_addoption(parser):
    parser.addoption("--full", action="store_true", help="run the tests marked full as well")
    parser.addoption("--nightly", action="store_true", help="run all, those marked nightly too")


def pytest_configure(config):
    config.option.full = config.option.full or config.option.nightly
    # Against hangs alone; a test that says nothing else gets this long.
    if config.option.timeout is None:
        config.option.timeout = patient(150)


def pytest_xdist_auto_num_workers(config):
    """Run files in parallel when all are asked for, and a few files in this process."""
    if config.args != config.getini("testpaths"):
        config.option.dist = "no"
        return 0
    return len(os.sched_getaffinity(0))


def in_tier(item, name):
    """Whether a test waits for ``--NAME``; ``full(but="x")`` leaves the case x to all runs."""
    mark = item.get_closest_marker(name)
    case = getattr(item, "callspec", None)
    return mark is not None and not (case is not None and case.id == mark.kwargs.get("but"))


def pytest_collection_modifyitems(config, items):
    if any("::" in argument for argument in config.args):
        return  # a test that is asked for by name runs
    tiers = [name for name in ("full", "nightly") if not config.getoption(f"--{name}")]
    left_out = [item for item in items if any(in_tier(item, name) for name in tiers)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in set(left_out)]


@pytest.fixture
def own_path(tmp_path, monkeypatch):
    """A folder that comes first on the path; `write_aligner` may put programs there."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory):
    """Path of the tiny bundle."""
    folder = once(tmp_path_factory, "models", lambda into: write_tiny_bundle(into / "tiny"))
    return folder / "tiny"


@pytest.fixture(scope="session")
def tiny_model(tiny_bundle):
    """The tiny model, loaded in this process."""
    from protclip_core.models.loading import load_model

    return load_model(str(tiny_bundle), device="cpu")


@pytest.fixture(scope="session")
def protclip():
    """The program: ``protclip(*arguments)`` gives rc, out and err; see `warm.Program`."""
    program = Program()
    yield program
    program.close()


@pytest.fixture
def fasta(tmp_path):
    """Make ``tmp_path/x.fa`` (or another name) of random proteins; returns the path."""

    def make(number=20, *, name="x.fa", **options):
        return write_fasta(tmp_path / name, random_proteins(number, **options))

    return make
