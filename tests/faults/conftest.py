"""Fixtures of the fault tests."""

from __future__ import annotations

import subprocess

import pytest

from tests.faults.embedding import (
    PROTEINS,
    Bench,
)
from tests.support.helpers import write_fasta


@pytest.fixture
def bench(protclip, tmp_path, tiny_bundle):
    return Bench(protclip, tmp_path, tiny_bundle)


@pytest.fixture
def wanted(bench):
    """What an uninterrupted run gives; then everything is as before."""
    write_fasta(bench.folder / "x.fa", PROTEINS)
    done = bench.run()
    assert done.rc == 0
    result = bench.read()
    bench.store.unlink()
    bench.computed()
    return result


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 20 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=20m", "protclip-test", folder]
    try:
        mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("a tmpfs cannot be mounted here")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)
