"""A few seconds of random mutation on every reader; `tests.faults.fuzz` runs it for longer."""

from __future__ import annotations

import pytest

from tests.faults.fuzz import readers, run


@pytest.fixture(scope="module")
def all_readers():
    return readers()


@pytest.mark.parametrize(
    "name",
    ["fasta", "store", "head", "variants", "obo", "gaf", "pairs", "pair table", "labels", "phrases",
     "bundle"],
)  # fmt: skip
def test_a_mutated_file_is_read_or_refused_in_one_line(all_readers, name):
    read, seeds, ending = all_readers[name]
    read_whole = run(read, seeds, 4.0, ending)
    assert read_whole.wrong == []
    assert read_whole.tried > 0


def test_the_harness_finds_what_is_wrong():
    def crash(path):
        if b"K" in path.read_bytes():
            raise ValueError("a bug")

    found = run(crash, [b"MKV", b"MMM"], 1.0, ".x")
    assert found.wrong
    assert "a bug" in found.wrong[0]


def test_every_reader_takes_its_valid_files(all_readers, tmp_path):
    for name, (read, seeds, ending) in all_readers.items():
        if name == "bundle":  # the manifest and the configuration are one file there
            continue
        for number, seed in enumerate(seeds):
            path = tmp_path / f"{number}{ending}"
            path.write_bytes(seed)
            read(path)
