"""What all tests share: a model of random weights, seeded proteins, the program itself."""

from __future__ import annotations

import signal

import pytest

from tests.support.helpers import random_proteins, write_fasta, write_tiny_bundle
from tests.support.warm import Program

# A shell starts its background jobs with interrupts ignored, and nohup ignores hang-ups; the
# programs that tests start, and interrupt, are to begin as from a plain terminal.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_addoption(parser):
    parser.addoption("--run-slow", action="store_true", help="run the tests marked slow as well")


def pytest_collection_modifyitems(config, items):
    if config.getoption("--run-slow"):
        return
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="slow: run with --run-slow"))


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory):
    """Path of the tiny bundle."""
    return write_tiny_bundle(tmp_path_factory.mktemp("models") / "tiny")


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
