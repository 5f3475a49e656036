"""Kills, signals and resuming; the numbers are those of the project's fault list."""

from __future__ import annotations

import hashlib
import random
import signal
import time

import numpy as np
import pytest

from protclip_core.store.reader import EmbeddingStore
from protclip_core.store.spool_file import SpoolFile
from tests.faults.embedding import (
    CLEAN,
    HELD,
    KILLS,
    PROTEINS,
    ROOT,
    SLOW,
    SMALL_PARTS,
    assert_same,
    interrupt,
    resume_and_compare,
)
from tests.support.helpers import random_proteins, write_fasta, write_tiny_bundle


def test_killed_at_random_moments_nothing_is_lost_or_done_twice(bench, wanted):
    """Faults 1 and 5: kill -9, every third time the resumed run as well, then --resume."""
    rng = random.Random(KILLS)
    survived, with_parts = 0, 0
    for attempt in range(KILLS):
        for kill in range(1 + (attempt % 3 == 2)):
            # By progress rather than by the clock: however slow the machine is, most moments lie
            # between the first part and the last.
            run = bench.start(*["--resume"][:kill], prelude=SLOW)
            bench.until_computed(run, rng.randint(0, len(PROTEINS) // (1 + kill)))
            time.sleep(rng.uniform(0, 0.05))
            run.send(signal.SIGKILL)
            assert run.wait().rc in (-signal.SIGKILL, 0)
        with_parts += resume_and_compare(bench, wanted) > 0
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
from protclip_core.store.spool_file import SpoolFile
for place, name in (
    (os, "fsync"), (os, "replace"), (SpoolFile, "commit"), (SpoolFile, "run_for_each")
):
    setattr(place, name, deadly(getattr(place, name), {when!r}))
"""
)


@pytest.mark.full(but="before")
@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_inside_every_commit_and_the_assembly(bench, wanted, request, when):
    """Faults 2 and 3: at each commit, fsync and rename in turn (each fourth, if not --nightly)."""
    step = 1 if request.config.getoption("--nightly") else 4
    last_killed = 0
    for n in range(1 + (when == "after"), 200, step):
        done = bench.run(prelude=KILL_AT.format(n=n, when=when))
        if done.rc == 0:
            break
        assert done.rc == -signal.SIGKILL
        if bench.store.exists():  # published: complete, whatever comes after
            assert_same(bench.read(), wanted)
        resume_and_compare(bench, wanted)
        bench.store.unlink()
        last_killed = n
    assert last_killed >= 8


def test_adding_to_a_finished_store_killed_leaves_the_old_one(bench, wanted):
    """Fault 4: byte-identical, or the new one complete."""
    rng = random.Random(4)
    for _attempt in range(max(3, KILLS // 3)):
        write_fasta(bench.folder / "x.fa", PROTEINS[:100])
        assert bench.run().rc == 0
        old = bench.store.read_bytes()
        write_fasta(bench.folder / "x.fa", PROTEINS)
        bench.computed()
        run = bench.start("--resume")
        bench.until_computed(run, rng.randint(0, 200))
        time.sleep(rng.uniform(0, 0.05))
        run.send(signal.SIGKILL)
        if run.wait().rc != 0 and bench.store.read_bytes() != old:
            assert_same(bench.read(), wanted)
        done = bench.run("--resume")
        assert done.rc == 0
        # What the old store holds is never computed again, in neither run.
        assert not {hashlib.sha256(s.encode()).hexdigest() for _, s in PROTEINS[:100]} & set(
            bench.computed()
        )
        assert bench.names() == CLEAN
        assert_same(bench.read(), wanted)
        bench.store.unlink()


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP], ids=lambda n: signal.Signals(n).name
)
def test_signal_keeps_what_is_finished(bench, wanted, number):
    """Faults 6, 7 and 8: 143, 130 and 129, one error line, the way on, lossless."""
    run = bench.start(prelude=SLOW, measured=False)
    bench.until_part(2)
    run.send(number)
    done = run.wait(20)
    assert done.rc == 128 + number
    assert done.err.splitlines() == [
        "warning: finished proteins of x.h5 are kept; go on with --resume",
        f"error: stopped by {signal.Signals(number).name}",
    ]
    assert bench.names() == {"x.fa", "x.h5.partial"}
    assert resume_and_compare(bench, wanted) >= 40


def test_signal_before_anything_is_finished_leaves_nothing(bench, wanted):
    """Fault 7, early: no word of finished work where there is none, no folder left."""
    stuck = SLOW.replace("0.03", "0.5")
    run = bench.start(prelude=stuck, measured=False)
    while not bench.partial.exists():
        time.sleep(0.005)
    time.sleep(0.1)
    run.send(signal.SIGINT)
    done = run.wait(20)
    assert done.rc == 130
    if not bench.partial.exists():
        assert done.err == "error: stopped by SIGINT\n"
        assert bench.names() == {"x.fa"}
    resume_and_compare(bench, wanted)


def test_second_interrupt_ends_at_once(bench, wanted):
    """Fault 7: the first waits for the batch in work, the second for nothing; lossless."""
    run = bench.start(prelude=HELD, measured=False)
    bench.until_part(1)
    run.send(signal.SIGSTOP)
    run.send(signal.SIGINT)
    run.send(signal.SIGCONT)
    time.sleep(0.003)
    run.send(signal.SIGINT)
    done = run.wait(20)
    assert done.rc == 130
    assert "Traceback" not in done.err
    resume_and_compare(bench, wanted)


def test_hang_up_that_the_caller_ignores_stays_ignored(bench, wanted):
    """Fault 8 under nohup."""
    nohup = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
    run = bench.start(prelude=nohup + SLOW, measured=False)
    bench.until_part(1)
    run.send(signal.SIGHUP)
    assert run.wait().rc == 0
    assert_same(bench.read(), wanted)


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


@pytest.mark.full
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
    resume_and_compare(bench, wanted)


@pytest.mark.full(but="kill-other")
@pytest.mark.parametrize("arguments", [[], ["--layer", "1"]], ids=["equal", "other"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=["kill", "interrupt"])
def test_resume_of_a_run_that_replaces_does_replace(bench, arguments, number):
    """The old store has equal or other settings; none of its records comes back."""
    write_fasta(bench.folder / "x.fa", random_proteins(30, seed=5, prefix="old"))
    assert bench.run().rc == 0
    old = bench.store.read_bytes()
    write_fasta(bench.folder / "x.fa", PROTEINS)
    run = bench.start(*arguments, "--overwrite", prelude=SLOW, measured=False)
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
    assert "kept that the input does not name" not in done.err
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
import protclip_core.tasks.embed.task as task
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


def test_damaged_vectors_are_computed_again(bench, wanted):
    """Fault 11: what is damaged is dropped with a warning, the rest is kept."""
    interrupt(bench, 4)
    before = bench.finished()
    work = bench.partial / "work"
    file = SpoolFile(work, "", durable=True)
    vectors = file.run("SELECT data, hex(digest) FROM vectors JOIN sequences ON place = key << 10")
    (vector, digest), *_rest = vectors.fetchall()
    file.close()
    data = bytearray(work.read_bytes())
    data[data.index(vector) + 17] ^= 1
    work.write_bytes(data)
    done = bench.run("--resume")
    assert done.rc == 0
    assert "the vectors of 1 protein do not match their sha256" in done.err
    assert before & set(bench.computed()) == {digest.lower()}
    assert_same(bench.read(), wanted)
    assert bench.names() == CLEAN


@pytest.mark.parametrize("damage", ["cut", "header", "inner page"])
def test_damaged_working_file_is_refused_and_stays(bench, wanted, damage):
    """Fault 11: never a wrong number; only --overwrite discards."""
    interrupt(bench, 4)
    assert bench.finished()  # and what the kill left of a commit is rolled back
    work = bench.partial / "work"
    data = bytearray(work.read_bytes())
    if damage == "cut":
        data = data[: len(data) // 3]
    elif damage == "header":
        data[:16] = b"x" * 16
    else:
        data[16384:] = b"\xff" * (len(data) - 16384)
    work.write_bytes(data)
    done = bench.run("--resume")
    assert done.rc == 4
    assert done.err.splitlines()[-1].endswith("[model.damaged_work]")
    assert work.read_bytes() == data
    assert bench.run("--overwrite").rc == 0
    assert_same(bench.read(), wanted)
    assert bench.names() == CLEAN


def test_working_folder_of_an_earlier_version_is_refused_and_stays(bench, wanted):
    bench.partial.mkdir()
    (bench.partial / "journal.jsonl").write_text("{}\n")
    (bench.partial / "part-000000.safetensors").write_bytes(b"x")
    for arguments in ([], ["--resume"]):
        done = bench.run(*arguments)
        assert done.rc == 2
        assert done.err.endswith("[usage.unfinished_run]\n")
        assert len(list(bench.partial.iterdir())) == 2
    assert bench.run("--overwrite").rc == 0
    assert bench.names() == CLEAN
    assert_same(bench.read(), wanted)


def test_resume_with_what_is_left_keeps_what_is_finished(bench, wanted):
    """The input of the second run names none of the proteins that the first has finished."""
    interrupt(bench, 4)
    before = bench.finished()
    is_done = {id: hashlib.sha256(s.encode()).hexdigest() in before for id, s in PROTEINS}
    rest = [(id, s) for id, s in PROTEINS if not is_done[id]]
    assert 0 < len(rest) < len(PROTEINS) - 40
    write_fasta(bench.folder / "x.fa", rest)
    # Interrupted once more, with yet another input.
    run = bench.start("--resume", prelude=HELD)
    bench.until_part(6)
    run.send(signal.SIGKILL)
    run.wait()
    assert before < bench.finished()
    write_fasta(bench.folder / "y.fa", rest[-1:])
    bench.computed()
    before = bench.finished()
    arguments = ["embed", "y.fa", "-o", "x.h5", *bench.arguments("--resume")[2:]]
    done = bench.program.start(*arguments, cwd=bench.folder, prelude=SMALL_PARTS).wait()
    assert done.rc == 0, done
    assert not before & set(bench.computed())
    assert "finished records of" in done.err
    found = bench.read()
    sequence = dict(PROTEINS)
    kept = {id for id, s in PROTEINS if hashlib.sha256(s.encode()).hexdigest() in before}
    assert set(found[0]) == kept | {rest[-1][0]}
    assert found[0][0] == rest[-1][0]
    place = {id: row for row, id in enumerate(wanted[0])}
    for row, id in enumerate(found[0]):
        assert np.abs(found[1][row] - wanted[1][place[id]]).max() <= 1e-6
        assert found[3][row] == len(sequence[id])
    with EmbeddingStore.open(bench.store) as store:
        assert store.attributes["input"] == "x.fa y.fa"
        assert store.attributes["input_summary"].startswith(f"{len(found[0])} records, ")
    assert bench.names() == CLEAN | {"y.fa"}


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
