"""Full disks, two writers and odd inputs; numbers as in the fault list."""

from __future__ import annotations

import os
import random
import re
import subprocess
from contextlib import suppress

import numpy as np
import pytest

from tests.faults.embedding import (
    CLEAN,
    HELD,
    PROTEINS,
    SMALL_PARTS,
    Bench,
    assert_same,
)
from tests.support.helpers import random_proteins, write_fasta


@pytest.mark.full(but="later")
@pytest.mark.parametrize("limit", [50_000, 450_000, 1_500_000], ids=["records", "first", "later"])
def test_file_size_limit_at_each_stage(bench, limit):
    """Faults 13 and 14: 5, one line; lossless after room is made."""
    write_fasta(bench.folder / "x.fa", PROTEINS)
    # Parts that are larger than the list of records, and a store larger than both.
    parts = SMALL_PARTS + "compute._PART_BYTES = 300_000\n"
    done = bench.run("--per-residue", prelude=parts)
    assert done.rc == 0
    wanted = bench.read()
    bench.store.unlink()
    bench.computed()
    if limit == 50_000:  # so small a list would stay in memory
        parts += "import protclip_core.store.spool_file as file; file._CACHE_KIB = 10\n"
    done = bench.run("--per-residue", prelude=parts, limits={"RLIMIT_FSIZE": limit})
    assert (done.rc, done.out) == (5, ""), done
    lines = done.err.splitlines()
    assert lines[-1].endswith("[resource.disk_full]")
    assert [line.startswith("error: ") for line in lines].count(True) == 1
    before = bench.finished()
    assert bool(before) == (limit == 1_500_000)
    if before:
        assert "finished proteins of x.h5 are kept; go on with --resume" in done.err
    else:
        assert bench.names() == {"x.fa"}
    bench.computed()
    assert bench.run("--per-residue", "--resume", prelude=parts).rc == 0
    assert not before & set(bench.computed())
    assert_same(bench.read(), wanted)
    assert bench.names() == CLEAN


def test_disk_that_fills_up_meanwhile(bench, small_disk):
    """Fault 13: 5, free MB named, no crash; all finished parts serve after room is made."""
    bench = Bench(bench.program, small_disk, bench.bundle)
    write_fasta(small_disk / "x.fa", PROTEINS)
    parts = SMALL_PARTS + "compute._PART_BYTES = 300_000\n"
    assert bench.run("--per-residue", prelude=parts).rc == 0
    wanted = bench.read()
    bench.store.unlink()
    run = bench.start("--per-residue", prelude=HELD + "compute._PART_BYTES = 300_000\n")
    bench.until_part(1)
    with (small_disk / "ballast").open("wb", buffering=0) as ballast, suppress(OSError):
        while True:
            ballast.write(b"\0" * 4096)
    # An empty file takes no block of its own, so it still finds its place.
    (small_disk / "go").touch()
    done = run.wait()
    assert (done.rc, done.out) == (5, "")
    assert re.search(r"^error: .*0 MB free.*\[resource.disk_full\]$", done.err, re.MULTILINE)
    (small_disk / "ballast").unlink()
    before = bench.finished()
    assert before
    bench.computed()
    assert bench.run("--per-residue", "--resume", prelude=parts).rc == 0
    assert not before & set(bench.computed())
    assert_same(bench.read(), wanted)
    assert bench.names() == CLEAN


NO_MODEL = """
import protclip_core.vectors.embed_job as job
def load_job(*arguments): raise SystemExit("the model was loaded")
job.load_job = load_job
"""


def test_disk_plainly_too_small_and_one_that_is_read_only(bench, small_disk):
    """Faults 16 and 17: before the model loads, both figures named."""
    bench = Bench(bench.program, small_disk, bench.bundle)
    write_fasta(small_disk / "x.fa", random_proteins(600, shortest=400, longest=500))
    done = bench.run("--per-residue", prelude=NO_MODEL)
    assert (done.rc, done.out) == (5, "")
    assert re.fullmatch(
        r"error: x\.h5: 1\d\d MB needed, \d\d MB free .* \[resource\.disk_full\]\n", done.err
    )
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    done = bench.run("-o", "y.h5", prelude=NO_MODEL)
    assert done.rc == 2
    assert done.err.startswith("error: ")
    assert done.err.endswith("[usage.not_writable]\n")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_folder_without_the_right_to_write(bench, wanted):
    """Fault 17."""
    bench.folder.chmod(0o555)
    try:
        done = bench.run(prelude=NO_MODEL)
    finally:
        bench.folder.chmod(0o755)
    assert done.rc == 2
    assert done.err.endswith("[usage.not_writable]\n")


@pytest.mark.parametrize("locking", ["TRUE", "FALSE"])
def test_second_writer_is_refused_and_the_first_unharmed(bench, wanted, locking):
    """Fault 19: 7 while the first still writes, whatever HDF5 thinks of locks."""
    environment = {"HDF5_USE_FILE_LOCKING": locking}
    first = bench.start(prelude=HELD, env=environment)
    bench.until_part(1)
    for arguments in ([], ["--resume"], ["--overwrite"]):
        second = bench.run(*arguments, env=environment)
        assert (second.rc, second.out) == (7, ""), second
        assert first.send(0)
        assert re.fullmatch(
            r"error: x\.h5: another process \(\d+ on .*\) .* \[busy\.output\]\n", second.err
        )
    (bench.folder / "go").touch()
    assert first.wait().rc == 0
    assert_same(bench.read(), wanted)
    assert bench.names() == CLEAN


def test_input_deleted_or_grown_during_the_run(bench, wanted):
    """Fault 36: the run holds a copy of what it read."""
    run = bench.start(prelude=HELD)
    bench.until_part(1)
    with (bench.folder / "x.fa").open("a") as file:
        file.write(">late\nMKV\n")
    (bench.folder / "x.fa").unlink()
    (bench.folder / "go").touch()
    assert run.wait().rc == 0
    assert_same(bench.read(), wanted)


def test_very_long_and_very_short_proteins(bench):
    """Fault 34: 35,000 residues, 30,000 times X, one residue."""
    rng = random.Random(34)
    titin = "".join(rng.choices("ACDEFGHIKLMNPQRSTVWY", k=35_000))
    write_fasta(bench.folder / "x.fa", [("titin", titin), ("x", "X" * 30_000), ("m", "M")])
    done = bench.run()
    assert done.rc == 0
    assert "2 proteins of more than 1,022 residues: embedded in overlapping windows" in done.err
    ids, vectors, flags, lengths, _residues = bench.read()
    assert list(lengths) == [35_000, 30_000, 1]
    assert list(flags) == [16, 16 + 64 + 1, 0]  # of X alone, a model knows the length
    assert np.isfinite(vectors).all()


def test_line_of_ten_megabytes_takes_linear_time(bench):
    """Fault 35: read and refused by its length; in quadratic time it would not end."""
    write_fasta(bench.folder / "x.fa", [("a", "MKV"), ("long", "MKVLA" * 2_000_000)])
    done = bench.run("--long", "skip")
    assert done.rc == 6
    assert "x.fa:record 2 (long): 10000000 residues are more than 1022" in done.err
