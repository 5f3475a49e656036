"""Kills, signals, full disks, bad input and lack of memory during ``protclip embed``.

The numbers are those of the project's fault list. PROTCLIP_KILLS sets how many runs are killed.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from protclip_core.engines.local import LocalEngine
from protclip_core.io.journal import read_key
from protclip_core.io.parts import PartStore
from protclip_core.io.store import EmbeddingStore
from protclip_core.io.store_tools import verify_store
from protclip_core.models.loading import load_model
from protclip_core.models.settings import resolve_settings
from tests.helpers import random_proteins, write_fasta, write_tiny_bundle

ROOT = Path(__file__).parents[2]
KILLS = int(os.environ.get("PROTCLIP_KILLS", "6"))

#: Parts of 20 proteins, and a note of every sequence that goes through the model.
SMALL_PARTS = """
import hashlib, os
import protclip_core.tasks.embed_compute as compute
from protclip_core.models.protein import ProteinModel
compute._PART_BYTES, compute._WINDOW_SEQUENCES = 20 * 64 * 4, 100
embed_batch = ProteinModel.embed_batch
def noting(self, sequences, *arguments):
    found = embed_batch(self, sequences, *arguments)
    with open("computed.log", "ab", buffering=0) as log:
        names = [hashlib.sha256(s.encode()).hexdigest() for s in sequences]
        log.write("".join(name + "\\n" for name in names).encode())
    return found
ProteinModel.embed_batch = noting
"""
#: The same, and so slow that a test can act meanwhile.
SLOW = (
    SMALL_PARTS
    + """
import time
def slow(self, sequences, *arguments):
    time.sleep(0.03)
    return noting(self, sequences, *arguments)
ProteinModel.embed_batch = slow
"""
)
#: The same, and after ten batches it waits for a file named ``go``.
HELD = (
    SMALL_PARTS
    + """
import time
batches = []
def held(self, sequences, *arguments):
    batches.append(1)
    end = time.monotonic() + 20
    while len(batches) > 10 and not os.path.exists("go") and time.monotonic() < end:
        time.sleep(0.005)
    return noting(self, sequences, *arguments)
ProteinModel.embed_batch = held
"""
)


class Bench:
    """A folder with ``x.fa``, and the program in it."""

    def __init__(self, protclip, folder, bundle):
        self.program, self.folder, self.bundle = protclip, folder, bundle
        self.store, self.partial = folder / "x.h5", folder / "x.h5.partial"

    def arguments(self, *more):
        fixed = ["--model", self.bundle, "--device", "cpu", "--batch-tokens", "500"]
        return ["embed", "x.fa", *fixed, *more]

    def start(self, *more, prelude=SMALL_PARTS, **options):
        return self.program.start(
            *self.arguments(*more), cwd=self.folder, prelude=prelude, **options
        )

    def run(self, *more, **options):
        return self.start(*more, **options).wait()

    def computed(self):
        """Take the note of the sequences that were computed since the last call."""
        log = self.folder / "computed.log"
        lines = log.read_text().split() if log.exists() else []
        log.unlink(missing_ok=True)
        return lines

    def finished(self):
        """Digests that the finished parts hold."""
        if not (self.partial / "run.json").exists():
            return set()
        parts = PartStore.open(self.partial, read_key(self.partial), resume=True)
        return {bytes(digest).hex() for _, digests in parts.digests() for digest in digests}

    def until_part(self, count=1):
        """Wait until parts are finished."""
        journal = self.partial / "journal.jsonl"
        end = time.monotonic() + 30
        while not journal.exists() or journal.read_bytes().count(b"\n") < count:
            assert time.monotonic() < end, "no part was finished"
            time.sleep(0.005)

    def names(self):
        return {path.name for path in self.folder.iterdir()} - {"computed.log", "go"}

    def read(self, path=None):
        assert verify_store(path or self.store) == []
        with EmbeddingStore.open(path or self.store) as store:
            residues = [store.residues(id) for id in store.ids] if store.per_residue else None
            return store.ids, store.read(slice(None)), store.flags, store.lengths, residues


@pytest.fixture
def bench(protclip, tmp_path, tiny_bundle):
    return Bench(protclip, tmp_path, tiny_bundle)


def assert_same(found, wanted):
    assert found[0] == wanted[0]
    assert np.abs(found[1] - wanted[1]).max() <= 1e-6
    assert (found[2] == wanted[2]).all()
    assert (found[3] == wanted[3]).all()
    if wanted[4] is not None:
        assert max(np.abs(a - b).max() for a, b in zip(found[4], wanted[4], strict=True)) <= 1e-6


PROTEINS = random_proteins(280, seed=11, longest=80)
PROTEINS += [(f"twin{i}", PROTEINS[3 * i][1]) for i in range(20)]
CLEAN = {"x.fa", "x.h5", ".x.h5.lock"}


@pytest.fixture
def wanted(bench):
    """What an uninterrupted run gives, and how long it takes; then everything is as before."""
    write_fasta(bench.folder / "x.fa", PROTEINS)
    done = bench.run()
    assert done.rc == 0
    result = bench.read()
    bench.store.unlink()
    bench.computed()
    return result, done.seconds


def resume_and_compare(bench, wanted):
    """Finish a run; what was finished before is not computed again, and the result is equal."""
    before, whole = bench.finished(), bench.store.exists()
    bench.computed()
    done = bench.run("--resume")
    assert done.rc == 0, done
    again = bench.computed()
    distinct = len({sequence for _, sequence in PROTEINS})
    assert not before & set(again)
    assert len(again) == (0 if whole else distinct - len(before))
    assert before <= {hashlib.sha256(sequence.encode()).hexdigest() for _, sequence in PROTEINS}
    reused = re.search(r"([\d,]+) reused", done.err)
    assert (int(reused[1]) if reused else 0) == distinct - len(again), done
    assert bench.names() == CLEAN
    assert_same(bench.read(), wanted)
    return len(before)


def test_killed_at_random_moments_nothing_is_lost_or_done_twice(bench, wanted):
    """Faults 1 and 5: kill -9, every third time the resumed run as well, then --resume."""
    result, seconds = wanted
    rng = random.Random(KILLS)
    survived, with_parts = 0, 0
    for attempt in range(KILLS):
        for kill in range(1 + (attempt % 3 == 2)):
            # Slowed down, so that most moments lie between the first part and the last.
            run = bench.start(*["--resume"][:kill], prelude=SLOW)
            time.sleep(rng.uniform(0, seconds + 0.5))
            run.send(signal.SIGKILL)
            assert run.wait().rc in (-signal.SIGKILL, 0)
        with_parts += resume_and_compare(bench, result) > 0
        bench.store.unlink()
        survived += 1
    print(f"{survived} of {KILLS} killed runs were resumed, {with_parts} had finished parts")
    assert survived == KILLS
    assert with_parts > 0


KILL_AT = (
    SMALL_PARTS
    + """
import os
count = 0
def deadly(inner, when):
    def call(*arguments, **options):
        global count
        count += 1
        if when == "before" and count == {n}: os.kill(os.getpid(), 9)
        result = inner(*arguments, **options)
        if when == "after" and count == {n}: os.kill(os.getpid(), 9)
        return result
    return call
compute._PART_BYTES = 150 * 64 * 4
for name in ("fsync", "replace"):
    setattr(os, name, deadly(getattr(os, name), {when!r}))
"""
)


@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_inside_every_commit_and_the_assembly(bench, wanted, request, when):
    """Faults 2 and 3: at each fsync and rename in turn (each fourth, without --run-slow)."""
    step = 1 if request.config.getoption("--run-slow") else 4
    last_killed = 0
    for n in range(1 + (when == "after"), 200, step):
        done = bench.run(prelude=KILL_AT.format(n=n, when=when))
        if done.rc == 0:
            break
        assert done.rc == -signal.SIGKILL
        if bench.store.exists():  # published: complete, whatever comes after
            assert_same(bench.read(), wanted[0])
        resume_and_compare(bench, wanted[0])
        bench.store.unlink()
        last_killed = n
    assert last_killed >= 8


def test_adding_to_a_finished_store_killed_leaves_the_old_one(bench, wanted):
    """Fault 4: byte-identical, or the new one complete."""
    result, seconds = wanted
    rng = random.Random(4)
    for _attempt in range(max(3, KILLS // 3)):
        write_fasta(bench.folder / "x.fa", PROTEINS[:100])
        assert bench.run().rc == 0
        old = bench.store.read_bytes()
        write_fasta(bench.folder / "x.fa", PROTEINS)
        bench.computed()
        run = bench.start("--resume")
        time.sleep(rng.uniform(0.1, 1.0) * seconds)
        run.send(signal.SIGKILL)
        if run.wait().rc != 0 and bench.store.read_bytes() != old:
            assert_same(bench.read(), result)
        done = bench.run("--resume")
        assert done.rc == 0
        # What the old store holds is never computed again, in neither run.
        assert not {hashlib.sha256(s.encode()).hexdigest() for _, s in PROTEINS[:100]} & set(
            bench.computed()
        )
        assert bench.names() == CLEAN
        assert_same(bench.read(), result)
        bench.store.unlink()


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP], ids=lambda n: signal.Signals(n).name
)
def test_signal_keeps_what_is_finished(bench, wanted, number):
    """Faults 6, 7 and 8: 143, 130 and 129, one error line, the way on, lossless."""
    run = bench.start(prelude=SLOW)
    bench.until_part(2)
    run.send(number)
    done = run.wait(20)
    assert done.rc == 128 + number
    assert done.err.splitlines() == [
        "warning: finished proteins of x.h5 are kept; go on with --resume",
        f"error: stopped by {signal.Signals(number).name}",
    ]
    assert bench.names() == {"x.fa", ".x.h5.lock", "x.h5.partial"}
    assert resume_and_compare(bench, wanted[0]) >= 40


def test_signal_before_anything_is_finished_leaves_nothing(bench, wanted):
    """Fault 7, early: no word of finished work where there is none, no folder left."""
    stuck = SLOW.replace("0.03", "0.5")
    run = bench.start(prelude=stuck)
    while not bench.partial.exists():
        time.sleep(0.005)
    time.sleep(0.1)
    run.send(signal.SIGINT)
    done = run.wait(20)
    assert done.rc == 130
    if not bench.partial.exists():
        assert done.err == "error: stopped by SIGINT\n"
        assert bench.names() == {"x.fa", ".x.h5.lock"}
    resume_and_compare(bench, wanted[0])


def test_second_interrupt_ends_at_once(bench, wanted):
    """Fault 7: the first waits for the batch in work, the second for nothing; lossless."""
    run = bench.start(prelude=SLOW)
    bench.until_part(1)
    run.send(signal.SIGSTOP)
    run.send(signal.SIGINT)
    run.send(signal.SIGCONT)
    began = time.monotonic()
    time.sleep(0.003)
    run.send(signal.SIGINT)
    done = run.wait(20)
    assert done.rc == 130
    assert time.monotonic() - began < 5
    assert "Traceback" not in done.err
    resume_and_compare(bench, wanted[0])


def test_hang_up_that_the_caller_ignores_stays_ignored(bench, wanted):
    """Fault 8 under nohup."""
    nohup = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
    run = bench.start(prelude=nohup + SLOW)
    bench.until_part(1)
    run.send(signal.SIGHUP)
    assert run.wait().rc == 0
    assert_same(bench.read(), wanted[0])


def interrupt(bench, parts=3):
    """Leave finished parts behind, as a killed run does."""
    run = bench.start(prelude=SLOW)
    bench.until_part(parts)
    run.send(signal.SIGKILL)
    run.wait()
    bench.computed()


def test_resume_with_a_changed_file_is_never_stale(bench, wanted):
    """Fault 9: a finished protein whose sequence was edited meanwhile is computed anew."""
    interrupt(bench)
    changed = [(id, s[::-1] + "W" if i % 10 == 0 else s) for i, (id, s) in enumerate(PROTEINS)]
    write_fasta(bench.folder / "x.fa", changed)
    before = bench.finished()
    assert bench.run("--resume").rc == 0
    assert not before & set(bench.computed())
    found = bench.read()
    bench.store.rename(bench.folder / "resumed.h5")
    assert bench.run().rc == 0
    assert_same(found, bench.read())


def test_resume_with_other_settings_or_another_model_is_refused(bench, wanted, tmp_path_factory):
    """Fault 10: the mismatch is named with both values, the finished parts stay."""
    interrupt(bench)
    before = bench.finished()
    other = write_tiny_bundle(
        tmp_path_factory.mktemp("models") / "other",
        change=lambda tensors: tensors["protein_encoder.final_norm.weight"].mul_(2),
    )
    for arguments, said in [
        (["--layer", "1"], "layer is 2 there, 1 now"),
        (["--dtype", "bfloat16"], 'compute_dtype is "float32" there, "bfloat16 (cpu)" now'),
        (["--pooling", "tokens"], 'pooling is "residues" there, "tokens" now'),
        (["--store-dtype", "float16"], 'store_dtype is "float32" there, "float16" now'),
        (["--per-residue"], "per_residue is 0 there, 1 now"),
        (["--model", other], "weights_sha256 is "),
    ]:
        done = bench.run("--resume", *arguments)
        assert (done.rc, done.out) == (2, "")
        line = done.err.splitlines()[-1]
        assert line.startswith("error: ")
        assert f"x.h5.partial: the earlier run had other settings: {said}" in line
        assert bench.finished() == before
    done = bench.run()
    assert done.rc == 2
    assert "proteins are already finished by an earlier run; continue it with --resume" in done.err
    resume_and_compare(bench, wanted[0])


@pytest.mark.parametrize("arguments", [[], ["--layer", "1"]], ids=["equal", "other"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=["kill", "interrupt"])
def test_resume_of_a_run_that_replaces_does_replace(bench, arguments, number):
    """The old store has equal or other settings; none of its records comes back."""
    write_fasta(bench.folder / "x.fa", random_proteins(30, seed=5, prefix="old"))
    assert bench.run().rc == 0
    old = bench.store.read_bytes()
    write_fasta(bench.folder / "x.fa", PROTEINS)
    run = bench.start(*arguments, "--overwrite", prelude=SLOW)
    bench.until_part(2)
    run.send(number)
    run.wait()
    assert bench.store.read_bytes() == old
    # Interrupted a second time, it is still one that replaces.
    run = bench.start(*arguments, "--resume", prelude=HELD)
    bench.until_part(4)
    run.send(signal.SIGKILL)
    run.wait()
    before = bench.finished()
    bench.computed()
    done = bench.run(*arguments, "--resume")
    assert done.rc == 0, done
    assert not before & set(bench.computed())
    found = bench.read()
    assert found[0] == [id for id, _ in PROTEINS]
    assert "that the input does not name are kept" not in done.err
    assert bench.names() == CLEAN
    assert bench.run(*arguments, "--overwrite").rc == 0
    assert_same(found, bench.read())


def test_resume_does_not_replace_another_store_than_the_one_meant(bench):
    """Killed behind the rename, its parts lie beside its own result; that one is added to."""
    write_fasta(bench.folder / "x.fa", PROTEINS[:30])
    assert bench.run().rc == 0
    write_fasta(bench.folder / "x.fa", PROTEINS[:60])
    deadly = """
import os
import protclip_core.tasks.embed as task
assemble = task.assemble_store
def deadly(*arguments):
    assemble(*arguments)
    os.kill(os.getpid(), 9)
task.assemble_store = deadly
"""
    assert bench.run("--overwrite", prelude=deadly).rc == -signal.SIGKILL
    assert bench.finished()
    assert len(bench.read()[0]) == 60
    write_fasta(bench.folder / "x.fa", PROTEINS[50:100])
    done = bench.run("--resume")
    assert done.rc == 0, done
    assert sorted(bench.read()[0]) == sorted(id for id, _ in PROTEINS[:100])


def test_interrupt_during_the_first_imports_is_quiet(bench):
    write_fasta(bench.folder / "x.fa", PROTEINS)
    early = bench.folder / "early"
    early.mkdir()
    # In place of typer, the first slow import: it interrupts its own process.
    (early / "typer.py").write_text("import os, time\nos.kill(os.getpid(), 2)\ntime.sleep(5)\n")
    done = bench.program(
        *bench.arguments(), cwd=bench.folder, fresh=True, env={"PYTHONPATH": f"{early}:{ROOT}"}
    )
    assert (done.rc, done.out, done.err) == (130, "", "error: stopped by SIGINT\n")


def test_damaged_parts_and_a_torn_journal_are_computed_again(bench, wanted):
    """Fault 11: what is damaged is dropped with a warning, the rest is kept."""
    interrupt(bench, 4)
    parts = sorted(bench.partial.glob("part-*.safetensors"))
    data = bytearray(parts[0].read_bytes())
    data[-1] ^= 1
    parts[0].write_bytes(data)
    journal = bench.partial / "journal.jsonl"
    journal.write_bytes(journal.read_bytes()[:-5])
    done = bench.run("--resume")
    assert done.rc == 0
    assert "part-000000.safetensors does not match its sha256" in done.err
    assert "is torn and was dropped" in done.err
    assert_same(bench.read(), wanted[0])
    assert bench.names() == CLEAN


def test_damaged_store_is_not_added_to(bench, wanted):
    """Fault 22: 4, and the file stays as it is."""
    assert bench.run().rc == 0
    data = bytearray(bench.store.read_bytes())
    data[len(data) // 2] ^= 1
    for damaged in (bytes(data), bytes(data[:-100]), b""):
        bench.store.write_bytes(damaged)
        done = bench.run("--resume")
        if done.rc == 0:  # the flip lies where nothing is stored
            continue
        assert done.rc == 4, done
        assert len([line for line in done.err.splitlines() if line.startswith("error: ")]) == 1
        assert bench.store.read_bytes() == damaged


@pytest.mark.parametrize(
    ("limit", "said"),
    [
        (50_000, "the list of records cannot be kept on disk"),
        (150_000, "no room to write it: file too large"),
        (1_000_000, "no room to write it: file too large"),
    ],
    ids=["records", "part", "assembly"],
)
def test_file_size_limit_at_each_stage(bench, limit, said):
    """Faults 13 and 14: 5, what is needed stands in the line; lossless after room is made."""
    write_fasta(bench.folder / "x.fa", PROTEINS)
    # Parts that are larger than the list of records, and a store larger than both.
    parts = SMALL_PARTS + "compute._PART_BYTES = 300_000\n"
    done = bench.run("--per-residue", prelude=parts)
    assert done.rc == 0
    wanted = bench.read()
    bench.store.unlink()
    bench.computed()
    if limit == 50_000:  # so small a list would stay in memory
        parts += "import protclip_core.io.spool_file as file; file._CACHE_KIB = 10\n"
    done = bench.run("--per-residue", prelude=parts, limits={"RLIMIT_FSIZE": limit})
    assert (done.rc, done.out) == (5, ""), done
    lines = done.err.splitlines()
    assert said in lines[-1]
    assert [line.startswith("error: ") for line in lines].count(True) == 1
    before = bench.finished()
    assert bool(before) == (limit == 1_000_000)
    if before:
        assert "finished proteins of x.h5 are kept; go on with --resume" in done.err
    else:
        assert bench.names() == {"x.fa", ".x.h5.lock"}
    bench.computed()
    assert bench.run("--per-residue", "--resume", prelude=parts).rc == 0
    assert not before & set(bench.computed())
    assert_same(bench.read(), wanted)
    assert bench.names() == CLEAN


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
    assert re.search(
        r"^error: .*no room to write it: no space left on device \(0 MB free",
        done.err,
        re.MULTILINE,
    )
    (small_disk / "ballast").unlink()
    before = bench.finished()
    assert before
    bench.computed()
    assert bench.run("--per-residue", "--resume", prelude=parts).rc == 0
    assert not before & set(bench.computed())
    assert_same(bench.read(), wanted)
    assert bench.names() == CLEAN


NO_MODEL = """
import protclip_core.tasks.embed as task
def load_job(*arguments): raise SystemExit("the model was loaded")
task.load_job = load_job
"""


def test_disk_plainly_too_small_and_one_that_is_read_only(bench, small_disk):
    """Faults 16 and 17: in seconds, before the model loads, both figures named."""
    bench = Bench(bench.program, small_disk, bench.bundle)
    write_fasta(small_disk / "x.fa", random_proteins(600, shortest=400, longest=500))
    done = bench.run("--per-residue", prelude=NO_MODEL)
    assert (done.rc, done.out) == (5, "")
    assert re.fullmatch(
        r"error: x\.h5: 1\d\d MB needed, \d\d MB free on its disk; make room or choose another "
        r"output path\n",
        done.err,
    )
    assert done.seconds < 10
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    done = bench.run("-o", "y.h5", prelude=NO_MODEL)
    assert done.rc == 2
    assert done.err.startswith("error: ")
    assert "y.h5: cannot be written: read-only file system; choose" in done.err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_folder_without_the_right_to_write(bench, wanted):
    """Fault 17."""
    bench.folder.chmod(0o555)
    try:
        done = bench.run(prelude=NO_MODEL)
    finally:
        bench.folder.chmod(0o755)
    assert done.rc == 2
    assert "x.h5: cannot be written: permission denied" in done.err


@pytest.mark.parametrize("locking", ["TRUE", "FALSE"])
def test_second_writer_is_refused_and_the_first_unharmed(bench, wanted, locking):
    """Fault 19: 7 in under 5 s, whatever HDF5 thinks of locks."""
    environment = {"HDF5_USE_FILE_LOCKING": locking}
    first = bench.start(prelude=HELD, env=environment)
    bench.until_part(1)
    for arguments in ([], ["--resume"], ["--overwrite"]):
        second = bench.run(*arguments, env=environment)
        assert (second.rc, second.out) == ((7 if arguments else 2), ""), second
        assert second.seconds < 5
        if arguments:
            assert re.fullmatch(
                r"error: x\.h5: another process \(\d+ on .*\) is writing it; wait for it to end, "
                r"or choose another output path\n",
                second.err,
            )
    (bench.folder / "go").touch()
    assert first.wait().rc == 0
    assert_same(bench.read(), wanted[0])
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
    assert_same(bench.read(), wanted[0])


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
    assert list(flags) == [16, 17, 0]
    assert np.isfinite(vectors).all()


def test_line_of_ten_megabytes_takes_linear_time(bench):
    """Fault 35: read and refused by its length in seconds."""
    write_fasta(bench.folder / "x.fa", [("a", "MKV"), ("long", "MKVLA" * 2_000_000)])
    done = bench.run("--long", "skip")
    assert done.rc == 6
    assert done.seconds < 20
    assert "x.fa:record 2 (long): 10000000 residues are more than 1022" in done.err


LITTLE_MEMORY = """
import resource
import protclip_core.tasks.embed as task
compute_parts = task.compute_parts
def limited(*arguments):
    pages = int(open("/proc/self/statm").read().split()[0])
    most = pages * resource.getpagesize() + {megabytes} * 1_000_000
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    try:
        return compute_parts(*arguments)
    finally:
        unlimited = resource.RLIM_INFINITY
task.compute_parts = limited
"""


def test_memory_that_suffices_for_smaller_batches_only(bench):
    """Fault 49: under a real limit of memory the batch is halved until it fits; same values."""
    write_fasta(bench.folder / "x.fa", random_proteins(1500, shortest=90, longest=110))
    assert bench.run("--workers", "1").rc == 0
    wanted = bench.read()
    memory = LITTLE_MEMORY.format(megabytes=400)
    arguments = ["--workers", "1", "--batch-tokens", "1000000", "--overwrite"]
    done = bench.run(*arguments, prelude=memory)
    assert done.rc == 0, done
    assert "warning: memory ran out: going on with batches of" in done.err
    assert_same(bench.read(), wanted)


def test_protein_that_memory_does_not_suffice_for(bench):
    """Fault 50: it is listed with the reason, all others are done, the end is 6."""
    proteins = [*random_proteins(20), ("giant", "MKVLA" * 200_000), *random_proteins(5, prefix="q")]
    write_fasta(bench.folder / "x.fa", proteins)
    memory = LITTLE_MEMORY.format(megabytes=400)
    for on_error in ("fail", "skip"):
        arguments = ["--workers", "1", "--max-length", "2000000", "--on-error", on_error]
        done = bench.run(*arguments, "--overwrite", prelude=memory)
        assert done.rc == 6, done
        reason = "x.fa:record 21 (giant): memory does not suffice for its 1,000,000 residues"
        assert f"warning: {reason}\n" in done.err
        assert "Traceback" not in done.err
        listed = (bench.folder / "x.h5.failed.tsv").read_text().splitlines()
        assert listed[1] == "x.fa\t21\tgiant\tmemory does not suffice for its 1,000,000 residues"
        assert bench.read()[0] == [id for id, _ in proteins if id != "giant"]


#: A model whose token vectors overflow where a protein holds a W.
NO_NUMBER = """
import torch
from protclip_core.models.esm2_inference import Esm2Inference
from protclip_core.models.alphabet import encode
tryptophan = int(encode("W")[1])
hidden = Esm2Inference.hidden
def overflowing(self, batch, layers=None):
    found = hidden(self, batch, layers)
    for layer in found:
        found[layer] = found[layer].clone()
        found[layer][batch.tokens == tryptophan] = torch.inf
    return found
Esm2Inference.hidden = overflowing
"""


def broken_bundle(folder):
    """A bundle in which one residue's vector is NaN, with hashes that fit."""
    import torch
    from safetensors.torch import load_file, save

    write_tiny_bundle(folder)
    tensors = load_file(folder / "model.safetensors")
    name = "protein_encoder.embedding.weight"
    from protclip_core.models.alphabet import encode

    tensors[name][int(encode("W")[1])] = torch.nan
    data = save(tensors)
    (folder / "model.safetensors").write_bytes(data)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"]["model.safetensors"] = {
        "sha256": hashlib.sha256(data).hexdigest(),
        "bytes": len(data),
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def test_numbers_that_are_none_are_never_stored(bench):
    """Fault 52: the records they concern are listed, the others stored, the end is 6."""
    write_fasta(bench.folder / "x.fa", PROTEINS)
    good = [id for id, sequence in PROTEINS if "W" not in sequence]
    assert 0 < len(good) < len(PROTEINS)
    done = bench.run("--per-residue", prelude=NO_NUMBER)
    assert done.rc == 6
    ids, vectors, *_rest, residues = bench.read()
    assert ids == good
    assert np.isfinite(vectors).all()
    assert all(np.isfinite(r).all() for r in residues)
    assert f"warning: {len(PROTEINS) - len(good)} records left out" in done.err
    listed = (bench.folder / "x.h5.failed.tsv").read_text().splitlines()
    assert len(listed) == 1 + len(PROTEINS) - len(good)
    assert all(line.endswith("\tthe model gave NaN or infinity") for line in listed[1:])
    done = bench.run("-o", "-", prelude=NO_NUMBER)
    assert done.rc == 6
    assert not re.search(r"\b(nan|inf)\b", done.out)
    write_fasta(bench.folder / "x.fa", [("w", "MWK")])
    done = bench.run("--overwrite", prelude=NO_NUMBER)
    assert done.rc == 4
    assert done.err == (
        "error: x.h5: no record could be embedded: x.fa:record 1 (w): the model gave NaN or "
        "infinity\n"
    )


def test_weights_that_are_no_numbers_do_not_load(bench):
    """Fault 52: such a model is refused before it computes."""
    write_fasta(bench.folder / "x.fa", PROTEINS)
    done = bench.run("--model", broken_bundle(bench.folder / "broken"))
    assert done.rc == 4
    assert "tensor embedding.weight holds NaN or infinity" in done.err
    assert len(done.err.splitlines()) == 1
    assert bench.names() == {"x.fa", "broken", ".x.h5.lock"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dtype", "least_cosine", "most"), [("float32", 0.9999999, 1e-6), ("bfloat16", 0.9999, 0.05)]
)
def test_200_random_batches(tiny_bundle, dtype, least_cosine, most):
    """Fault 53: any neighbours, order, batch size and number of workers; the values stay."""
    model = load_model(str(tiny_bundle), device="cpu", dtype=dtype)
    settings = resolve_settings(model.info, model.encoder.num_layers)
    sequences = [s for _, s in random_proteins(300, seed=53, shortest=1, longest=400)]
    sequences += [s for _, s in random_proteins(3, seed=54, shortest=1200, longest=2500)]
    rng = random.Random(53)
    with LocalEngine(model, workers=1, batch_tokens=1) as engine:
        alone = {i: result.vector.astype(float) for i, result in engine.run(sequences, settings)}
    largest, cosine = 0.0, 1.0
    for _batch in range(200):
        chosen = rng.sample(range(len(sequences)), rng.randint(1, 60))
        size, workers = rng.choice([1, 200, 1024, 5000, 100_000]), rng.choice([1, 2, 3])
        with LocalEngine(model, workers=workers, batch_tokens=size) as engine:
            found = list(engine.run([sequences[i] for i in chosen], settings))
        assert sorted(index for index, _ in found) == list(range(len(chosen)))
        for index, result in found:
            one, other = alone[chosen[index]], result.vector.astype(float)
            largest = max(largest, float(np.abs(one - other).max()))
            cosine = min(cosine, float(one @ other / np.linalg.norm(one) / np.linalg.norm(other)))
    print(f"{dtype}: 200 batches, largest deviation {largest:.2g}, least cosine {cosine:.9f}")
    assert largest <= most
    assert cosine >= least_cosine
