"""The builder from end to end: real files, real processes, kills, and reading the result."""

from __future__ import annotations

import gzip
import json
import os
import pickle
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from protclip_core.errors import InputError, ModelError, UsageError
from tests.support.environment import patient
from tests.support.warm import unmeasured
from tests.train.protanno_data import (
    DATA,
    PROGRAM,
    ROOT,
    accessions,
    files_of,
    make,
    run,
    write_entries,
)
from train.data.proteins import read_proteins
from train.protanno.sampling import Sampling
from train.protanno.shards import ShardSet, read_shards

FLAT, TABLE, LINES = (DATA / f"proteins.{kind}" for kind in ("dat", "tsv", "jsonl"))
PAPER = Sampling(form="paper", target=300)


@pytest.fixture(scope="module")
def entries(tmp_path_factory):
    """1,500 entries."""
    return write_entries(tmp_path_factory.mktemp("entries") / "x.jsonl", 1500)


def test_program_writes_data_set_table_card_and_picture(tmp_path):
    out = tmp_path / "out"
    done = run(FLAT, LINES, "--out", out, "--plot", tmp_path / "counts.png", "--go-only")
    assert done.returncode == 0, done.stderr
    header, *rows = (line.split("\t") for line in done.stdout.splitlines())
    assert header == ["existence", "properties", "entries", "kept", "share", "probability"]
    assert rows[0] == ["1", "4", "2", "2", "1.0000", "1.0000"]
    assert rows[-1][:4] == ["all", "all", "10", "10"]
    assert (tmp_path / "counts.png").read_bytes().startswith(b"\x89PNG")
    assert "10 entries in 1 shards" in done.stderr
    entries = list(read_shards(out))
    assert [entry.source for entry in entries[4:6]] == ["proteins.dat:5", "proteins.jsonl:1"]
    assert [len(list(read_shards(out, split))) for split in ("train", "", "none")] == [3, 5, 0]
    card = (out / "README.md").read_text()
    index = json.loads((out / "index.json").read_text())
    assert f"--out {out}" in index["command"]
    assert card.startswith("---\nlicense: cc-by-4.0\n")
    for source in index["sources"]:
        assert f"| {source['name']} | {source['kind']} | 5 | 0 | `{source['sha256']}` |" in card
    assert (out / "counts.tsv").read_text() == done.stdout
    assert sorted(path.name for path in out.iterdir() if path.name[0] != ".") == [
        "README.md", "counts.tsv", "index.json", "shards",
    ]  # fmt: skip


def test_flat_file_and_table_give_the_same_data_set(tmp_path):
    for path in (FLAT, TABLE):
        make(path, tmp_path / path.suffix)
    flat, table = (list(read_shards(tmp_path / path.suffix)) for path in (FLAT, TABLE))
    assert [entry.text for entry in flat] == [entry.text for entry in table]
    assert len(flat) == 4  # the one without a property is no pair


def test_standard_input_and_skipped_records(tmp_path):
    lines = LINES.read_text().splitlines(keepends=True)
    lines.insert(2, '{"accession": "BAD1"}\n')
    with (tmp_path / "in").open("w+b") as file:
        file.write(gzip.compress("".join(lines).encode()))
        file.seek(0)
        done = run("-", "--out", tmp_path / "out", "--skip-broken", stdin=file)
        assert done.returncode == 6
        assert "warning: <stdin>:3 (BAD1): it has no 'sequence'; skipped" in done.stderr
        file.seek(0)
        refused = run("-", "--out", tmp_path / "other", stdin=file)
    assert refused.returncode == 3
    last = refused.stderr.splitlines()[-1]
    assert last.startswith("error: <stdin>:3 (BAD1): it has no 'sequence'")
    assert last.endswith(" [input.bad_record]")
    assert len(ShardSet(tmp_path / "out")) == 4


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["absent.dat"], 3, "absent.dat: "),
        (["html"], 3, "[input.unknown_format]"),
        (["cut.gz"], 3, "cut.gz: gzip data end early"),
        ([FLAT, "--sampling", "uniform"], 2, "[usage.missing_option]"),
        ([FLAT, "--sampling", "paper", "--go-only"], 2, "[usage.conflicting_options]"),
        ([FLAT, "--shard-size", "0"], 2, "--shard-size: 0"),
        ([TABLE, "--sampling", "release", "--seed", "3", "--exponents", "9,0"], 0, ""),
        (["tiny.jsonl", "--sampling", "release"], 3, "[input.empty_sample]"),
        (["-", "-"], 3, "[input.stdin_twice]"),
    ],
)
def test_errors_are_one_line(tmp_path, arguments, code, message):
    (tmp_path / "html").write_text("<html>")
    (tmp_path / "cut.gz").write_bytes(gzip.compress(FLAT.read_bytes())[:-300])
    (tmp_path / "tiny.jsonl").write_text('{"accession": "A", "sequence": "MK", "name": "Aa"}\n')
    paths = [tmp_path / a if "." in str(a) or a == "html" else a for a in arguments]
    done = run(*paths, "--out", tmp_path / "out")
    assert done.returncode == code
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == bool(code)
    assert message in "".join(errors)
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "sampling",
    [
        PAPER,
        Sampling(form="uniform", target=300),
        Sampling(form="paper", target=300, exponents=(1.0, 1.0, 0.5)),
        Sampling(form="paper", exponents=(1.0, 1.0, 0.7)),
        Sampling(form="paper", target=300, exponents=(1.0, 1.0, 2.0)),
    ],
    ids=["paper", "uniform", "with a root of the size", "without a target", "with its square"],
)
def test_one_pass_keeps_what_two_passes_would(tmp_path, entries, sampling):
    built = make(entries, tmp_path / "out", sampling=sampling, shard_size=64)
    everything = tmp_path / "all"
    make(entries, everything)
    before = [[0] * 5 for _ in range(6)]
    for line in entries.read_text().splitlines():
        entry = json.loads(line)
        present = sum(f in entry for f in ("name", "function", "location", "similarity"))
        before[entry.get("pe", 0)][present] += 1
    assert built.index["counts"]["before"] == before
    probabilities = sampling.keep_probabilities(np.array(before))
    expected = [
        entry.accession
        for entry in read_shards(everything)
        if sampling.draw(entry.accession) < probabilities[entry.existence or 0, entry.coverage]
    ]
    assert accessions(tmp_path / "out") == expected
    assert 0 < len(expected) < 1200


def test_probabilities_that_rise_lose_nothing(tmp_path):
    """With the square of the size, a cluster that comes late ends with more than it began with."""
    path = tmp_path / "x.jsonl"
    with path.open("w") as file:
        for place in range(3030):
            entry = {"accession": f"A{place}", "sequence": "MK", "pe": 1, "name": "Name"}
            if 30 <= place < 1030:
                entry["pe"] = 2
            file.write(json.dumps(entry) + "\n")
    sampling = Sampling(form="paper", target=300, exponents=(0.0, 0.0, 2.0))
    built = make(path, tmp_path / "out", sampling=sampling)
    probabilities = sampling.keep_probabilities(np.array(built.index["counts"]["before"]))
    expected = [
        f"A{place}"
        for place in range(3030)
        if sampling.draw(f"A{place}") < probabilities[2 if 30 <= place < 1030 else 1, 1]
    ]
    assert accessions(tmp_path / "out") == expected


@pytest.mark.parametrize("sampling", [PAPER, Sampling(form="release")])
def test_sample_does_not_depend_on_order_or_files(tmp_path, entries, sampling):
    lines = entries.read_text().splitlines(keepends=True)
    random.Random(1).shuffle(lines)
    parts = [tmp_path / "one.jsonl", tmp_path / "two.jsonl"]
    parts[0].write_text("".join(lines[:400]))
    parts[1].write_text("".join(lines[400:]))
    one = make(entries, tmp_path / "a", sampling=sampling)
    two = make(parts, tmp_path / "b", sampling=sampling, shard_size=50)
    assert sorted(accessions(tmp_path / "a")) == sorted(accessions(tmp_path / "b"))
    assert one.table == two.table
    other = Sampling(**{**sampling.__dict__, "seed": 1})
    make(entries, tmp_path / "c", sampling=other)
    assert set(accessions(tmp_path / "a")) != set(accessions(tmp_path / "c"))


def test_access_at_random_is_reading_in_order(tmp_path, entries):
    make(entries, tmp_path / "out", shard_size=37)
    inorder = list(read_shards(tmp_path / "out"))
    with ShardSet(tmp_path / "out") as shards:
        shards.verify()
        assert len(shards) == len(inorder) and len(shards.shards) == -(-len(inorder) // 37)
        places = list(range(len(inorder)))
        random.Random(0).shuffle(places)
        assert all(shards[place] == inorder[place] for place in places)
        assert shards[-1] == inorder[-1]
        with pytest.raises(IndexError, match="no entry"):
            shards[len(inorder)]
        with pickle.loads(pickle.dumps(shards)) as copy:
            assert copy[5] == inorder[5]


FORKED = """
import os, sys
from train.protanno.shards import ShardSet
with ShardSet(sys.argv[1]) as shards:
    whole = list(shards.entries())
    shards[0]
    child = os.fork()
    places = range(len(whole)) if child else reversed(range(len(whole)))
    same = all(shards[place] == whole[place] for place in places)
    if not child:
        os._exit(not same)
    assert same and os.waitpid(child, 0)[1] == 0
"""


def test_forked_readers_do_not_move_each_others_place(tmp_path, entries):
    make(entries, tmp_path / "out", shard_size=700)
    command = [sys.executable, "-c", FORKED, tmp_path / "out"]
    subprocess.run(command, check=True, cwd=ROOT, timeout=patient(60))


def test_long_lines_are_found_over_blocks(tmp_path):
    path = tmp_path / "x.jsonl"
    draw = random.Random(0)
    with path.open("w") as file:
        for place in range(12):
            sequence = "".join(draw.choices("ACDEFGHIKLMNPQRSTVWY", k=40_000 + place))
            file.write(json.dumps({"accession": f"A{place}", "sequence": sequence, "name": "É"}))
            file.write("\n")
    make(path, tmp_path / "out")
    with ShardSet(tmp_path / "out") as shards:
        assert [len(shards[place].sequence) for place in range(12)] == list(range(40_000, 40_012))
        assert shards[3].name == "É"


def test_any_gzip_program_and_the_trainer_read_the_shards(tmp_path, entries):
    make(entries, tmp_path / "out")
    (shard,) = (tmp_path / "out" / "shards").glob("*.gz")
    lines = gzip.decompress(shard.read_bytes()).splitlines()
    subprocess.run(["gzip", "-t", shard], check=True)
    proteins = read_proteins(shard, "valid", {})
    assert len(proteins) == sum(json.loads(line)["split"] == "valid" for line in lines) > 100


def test_damage_is_found(tmp_path, entries):
    make(entries, tmp_path / "out", shard_size=400)
    shard = tmp_path / "out" / "shards" / "protanno-000001.jsonl.gz"
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 0xFF
    shard.write_bytes(data)
    shards = ShardSet(tmp_path / "out")
    with pytest.raises(ModelError) as caught:
        shards.verify()
    assert caught.value.code == "model.damaged"
    assert str(caught.value.where).endswith("protanno-000001.jsonl.gz")
    with pytest.raises(ModelError) as caught:
        list(shards.entries())
    assert caught.value.code == "model.damaged"
    assert str(caught.value.where).endswith("protanno-000001.jsonl.gz")
    shard.write_bytes(data[:-1])
    with pytest.raises(ModelError) as caught:
        ShardSet(tmp_path / "out")
    assert caught.value.code == "model.damaged"
    (tmp_path / "out" / "index.json").write_text('{"format": "other"}')
    with pytest.raises(ModelError) as caught:
        ShardSet(tmp_path / "out")
    assert caught.value.code == "model.unknown_format"
    with pytest.raises(ModelError) as caught:
        ShardSet(tmp_path)
    assert caught.value.code == "model.not_found"


def test_other_folders_are_left_alone(tmp_path, entries):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UsageError) as caught:
        make(entries, tmp_path)
    assert caught.value.code == "usage.output_exists"
    make(FLAT, tmp_path / "out")
    before = files_of(tmp_path / "out")
    with pytest.raises(UsageError) as caught:
        make(entries, tmp_path / "out")
    assert caught.value.code == "usage.output_exists"
    again = run(FLAT, "--out", tmp_path / "out", "--resume")
    assert again.returncode == 0 and "finished already" in again.stderr
    other = run(FLAT, "--out", tmp_path / "out", "--resume", "--all-names")
    assert other.returncode == 2 and "other inputs or options" in other.stderr
    assert files_of(tmp_path / "out") == before


# --- kills -----------------------------------------------------------------------------------

#: The program, which kills itself with the n-th of the given calls.
DEADLY = """
import os, sys
from train.protanno import build, {module} as module
calls = 0
inner = {name}
def deadly(*arguments, **options):
    global calls
    calls += 1
    if calls == {call} and {before}: os.kill(os.getpid(), 9)
    result = inner(*arguments, **options)
    if calls == {call}: os.kill(os.getpid(), 9)
    return result
{name} = deadly
sys.exit(build.main(sys.argv[1:]))
"""


def options_of(entries, out, sampling):
    target = ["--target", 500] if sampling == "paper" else []
    common = ["--shard-size", 40, "--seed", 5, "--out", out]
    return [str(a) for a in (entries, LINES, *common, "--sampling", sampling, *target)]


@pytest.fixture(scope="module")
def wanted(entries, tmp_path_factory):
    """Files of builds that nothing interrupted, and how long one took."""
    folder = tmp_path_factory.mktemp("wanted")
    found = {}
    for sampling in ("none", "paper"):
        began = time.monotonic()
        done = run(*options_of(entries, folder / sampling, sampling))
        assert done.returncode == 0, done.stderr
        found |= {sampling: files_of(folder / sampling), "seconds": time.monotonic() - began}
    return found


@pytest.mark.parametrize(
    ("sampling", "module", "name", "call", "before"),
    [
        ("none", "shards", "module.write_atomic", 7, True),  # neither file of a shard
        ("none", "shards", "module.write_atomic", 7, False),  # one of them
        ("none", "state", "module.os.fsync", 9, True),
        ("none", "builder", "module.write_atomic", 3, False),  # the index, all else left to do
        ("paper", "shards", "module.write_atomic", 11, True),  # in the spool
        ("paper", "builder", "module._Work._thin", 1, True),
        ("paper", "state", "module.Journal.add", 22, False),
        ("paper", "builder", "module._Work._publish", 1, True),
        ("paper", "builder", "module.shutil.rmtree", 1, True),
    ],
)
def test_killed_at_a_step_and_resumed_it_is_as_if_nothing_happened(
    tmp_path, entries, wanted, sampling, module, name, call, before
):
    arguments = options_of(entries, tmp_path / "out", sampling)
    code = DEADLY.format(module=module, name=name, call=call, before=before)
    killed = subprocess.run(
        [PROGRAM[0], "-c", code, *arguments], capture_output=True, cwd=ROOT, check=False
    )
    assert killed.returncode == -signal.SIGKILL
    done = run(*arguments, "--resume")
    assert done.returncode == 0, done.stderr
    assert files_of(tmp_path / "out") == wanted[sampling]


@pytest.mark.full
def test_killed_at_random_moments_nothing_is_lost_or_done_twice(tmp_path, entries, wanted):
    rng = random.Random(3)
    for attempt in range(3):
        arguments = options_of(entries, tmp_path / str(attempt), "paper")
        for _ in range(1 + attempt % 2):
            process = subprocess.Popen(
                [*PROGRAM, *arguments, "--resume"],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd=ROOT,
            )
            time.sleep(rng.uniform(0.3, 1) * wanted["seconds"])
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
        done = run(*arguments, "--resume")
        assert done.returncode == 0, done.stderr
        assert files_of(tmp_path / str(attempt)) == wanted["paper"]


@pytest.fixture
def unfinished(tmp_path, entries):
    """An unfinished build in ``tmp_path/out`` of a copy of the entries; its arguments."""
    copy = tmp_path / "x.jsonl"
    copy.write_bytes(entries.read_bytes())
    arguments = options_of(copy, tmp_path / "out", "none")
    code = DEADLY.format(module="shards", name="module.write_atomic", call=9, before=False)
    subprocess.run([PROGRAM[0], "-c", code, *arguments], capture_output=True, cwd=ROOT, check=False)
    assert (tmp_path / "out" / "build" / "run.json").exists()
    return copy, arguments


def test_resume_refuses_other_input(tmp_path, unfinished):
    copy, arguments = unfinished
    text = copy.read_text()
    copy.write_text(text.replace("protein 3,", "protein 4,"))
    forgot = run(*arguments)
    assert forgot.returncode == 2 and "[usage.unfinished_run]" in forgot.stderr
    done = run(*arguments, "--resume")
    assert done.returncode == 3
    assert "x.jsonl: " in done.stderr and "[input.changed_source]" in done.stderr
    copy.write_text(text + "\n")
    longer = run(*arguments, "--resume")
    assert longer.returncode == 2 and "[usage.other_settings]" in longer.stderr
    copy.write_text(text)
    assert run(*arguments, "--resume", "--keep-evidence").returncode == 2
    assert run(*arguments, "--resume").returncode == 0


def test_resume_makes_a_lost_shard_and_a_torn_journal_good(tmp_path, unfinished, wanted):
    _, arguments = unfinished
    out = tmp_path / "out"
    (out / "shards" / "protanno-000002.idx").unlink()
    journal = out / "build" / "journal.jsonl"
    journal.write_bytes(journal.read_bytes()[:-10])
    assert run(*arguments, "--resume").returncode == 0
    assert files_of(out) == wanted["none"]


def test_full_disk_keeps_finished_shards(tmp_path, entries, wanted):
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=100k", "protclip-test", disk]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("a tmpfs cannot be mounted here")
    try:
        arguments = options_of(entries, disk / "out", "none")
        full = run(*arguments)
        assert full.returncode == 5, full.stderr
        assert "[resource." in full.stderr.splitlines()[-1]
        assert list((disk / "out" / "shards").glob("*.gz"))
        subprocess.run(["mount", "-o", "remount,size=20m", disk], check=True)
        done = run(*arguments, "--resume")
        assert done.returncode == 0, done.stderr
        assert files_of(disk / "out") == wanted["none"]
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


def test_two_builds_of_one_folder(tmp_path, entries):
    from protclip_core.io.atomic import file_lock

    out = tmp_path / "out"
    out.mkdir()
    with file_lock(out / "index.json"):
        busy = run(entries, "--out", out)
    assert busy.returncode == 7 and "another process" in busy.stderr


def test_an_interrupt_ends_it_in_one_line(tmp_path, entries):
    reader, writer = os.pipe()
    process = subprocess.Popen(
        [*PROGRAM, "-", "--out", tmp_path / "out"],
        stdin=reader,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=unmeasured(),
    )
    os.close(reader)
    os.write(writer, entries.read_bytes()[:20_000])
    while not (tmp_path / "out" / "build" / "run.json").exists():
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=patient(60))
    os.close(writer)
    assert process.returncode == 143
    assert errors.splitlines()[-1] == "error: stopped by SIGTERM; finished shards are kept"


def test_a_cut_input_is_not_taken_for_a_whole_one(tmp_path, entries):
    cut = tmp_path / "cut.jsonl.gz"
    cut.write_bytes(gzip.compress(entries.read_bytes())[:-5000])
    with pytest.raises(InputError, match="data end early"):
        make(cut, tmp_path / "out")
    assert not (tmp_path / "out" / "index.json").exists()
