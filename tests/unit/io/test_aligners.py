"""Aligners: found, run, understood, and ended; by programs that stand for them, and by MMseqs2."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from protclip_core.errors import UsageError, WorkerLostError
from protclip_core.io.aligners import Hit, _best, align, find_aligner, parse_hits
from tests.support.aligner_programs import write_aligner
from tests.support.environment import installed, patient
from tests.support.helpers import RESIDUES
from tests.support.warm import unmeasured

BOTH = ("diamond", "mmseqs")


def sequences(number, *, seed=0, length=60):
    rng = random.Random(seed)
    return ["".join(rng.choices(RESIDUES, k=length)) for _ in range(number)]


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """``programs(name, ...)``: only these are on the path."""

    def programs(*names, **options):
        for name in names:
            write_aligner(tmp_path / "bin", name, **options)
        (tmp_path / "bin").mkdir(exist_ok=True)
        monkeypatch.setenv("PATH", str(tmp_path / "bin"))

    return programs


def test_diamond_comes_first_and_either_can_be_asked_for(programs):
    programs(*BOTH)
    assert str(find_aligner()) == "diamond 2.1.9"
    assert str(find_aligner("mmseqs")) == "mmseqs 15-6f452"


def test_what_is_there_is_taken(programs):
    programs("mmseqs")
    assert find_aligner().name == "mmseqs"
    with pytest.raises(UsageError, match="diamond is not on the path"):
        find_aligner("diamond")


def test_without_an_aligner_the_way_out_is_named(programs):
    programs()
    with pytest.raises(UsageError, match="neither diamond nor mmseqs.*install one.*--neighbours"):
        find_aligner()
    with pytest.raises(UsageError, match="aligner 'blast' is not known"):
        find_aligner("blast")


@pytest.mark.parametrize("name", BOTH)
def test_hits_are_by_query_the_best_first(programs, name):
    programs(name)
    references = sequences(6)
    queries = [references[4], references[1][:30] + references[5][:20], sequences(1, seed=9)[0]]
    found = align(find_aligner(), iter(queries), iter(references), threads=1)
    assert [(hit.query, hit.target) for hit in found] == [(0, 4), (1, 1), (1, 5)]
    assert found[0] == Hit(0, 4, 100.0, found[0].evalue, 110.0, 100.0)
    assert found[1].bits == 50.0
    assert found[2].coverage == pytest.approx(40.0)


def test_so_many_hits_of_a_query_are_kept_whatever_their_order():
    rng = random.Random(5)
    hits = [Hit(rng.randrange(4), rng.randrange(60), 50.0, 0.0, rng.randrange(40), 90.0)
            for _ in range(3000)]  # fmt: skip
    wanted = []
    for query in range(4):
        best: dict[int, float] = {}
        for hit in hits:
            if hit.query == query:
                best[hit.target] = max(hit.bits, best.get(hit.target, 0))
        ranked = sorted((-bits, target) for target, bits in best.items())[:7]
        wanted += [(query, target, -bits) for bits, target in ranked]
    found = _best(iter(hits), 7)
    assert [(hit.query, hit.target, hit.bits) for hit in found] == wanted


@pytest.mark.parametrize("name", BOTH)
def test_nothing_to_search_or_to_search_in_gives_nothing(programs, name):
    programs(name, fault="fails")
    assert align(find_aligner(), [], sequences(2), threads=1) == []
    assert align(find_aligner(), sequences(2), [], threads=1) == []


def test_a_failure_says_its_last_line(programs):
    programs("mmseqs", fault="fails")
    with pytest.raises(WorkerLostError) as caught:
        align(find_aligner(), sequences(1), sequences(1), threads=1)
    assert str(caught.value) == "mmseqs easy-search: ended with code 3: Try again"


@pytest.mark.parametrize(
    ("fault", "message"),
    [("silent", "without a table of hits"), ("strange", "hits.tsv:line 1: wrote a line that is")],
)
def test_an_aligner_that_ends_well_without_hits_is_not_believed(programs, fault, message):
    programs("mmseqs", fault=fault)
    with pytest.raises(WorkerLostError, match=message):
        align(find_aligner(), sequences(1), sequences(1), threads=1)


GOOD = "1\t2\t45.5\t1e-9\t88.2\t0.75\n"


def test_a_table_is_read():
    assert list(parse_hits([GOOD, "\n"], "mmseqs", 2, 3)) == [Hit(1, 2, 45.5, 1e-9, 88.2, 75.0)]
    assert next(parse_hits([GOOD.replace("0.75", "75")], "diamond", 2, 3)).coverage == 75.0


@pytest.mark.parametrize(
    "line",
    [
        "1\t2\t45.5\t1e-9\t88.2\n",
        "x\t2\t45.5\t1e-9\t88.2\t1\n",
        "2\t2\t45.5\t1e-9\t88.2\t1\n",
        "1\t-1\t45.5\t1e-9\t88.2\t1\n",
        "1\t2\t145.5\t1e-9\t88.2\t1\n",
        "1\t2\t45.5\t1e-9\tinf\t1\n",
        "1\t2\tnan\t1e-9\t88.2\t1\n",
    ],
)
def test_other_lines_are_refused_by_their_number(line):
    with pytest.raises(WorkerLostError, match=r"hits\.tsv:line 2: .*--aligner"):
        list(parse_hits([GOOD, line], "mmseqs", 2, 3))


def test_the_better_of_two_alignments_of_a_pair_is_kept(programs, tmp_path):
    programs("mmseqs")
    path = tmp_path / "bin" / "mmseqs"
    text = path.read_text().replace(
        'file.write("\\t".join(cells) + "\\n")',
        'file.write("\\t".join(cells) + "\\n"); cells[4] = "999"; '
        'file.write("\\t".join(cells) + "\\n")',
    )
    path.write_text(text)
    (hit,) = align(find_aligner(), sequences(1), sequences(1), threads=1)
    assert hit.bits == 999


SEARCH = """
import sys
from protclip_core.io.aligners import align, find_aligner
align(find_aligner(), ["MKTAYIAK"], ["MKTAYIAK"], threads=1)
"""


def alive(pid):
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        return stat.rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_the_aligner_ends_with_its_caller(tmp_path, own_path, number):
    mark = tmp_path / "mark"
    program = write_aligner(own_path, "mmseqs", fault="hangs", mark=mark)
    text = program.read_text().replace(
        '.write("started")', ".write(str(__import__('os').getpid()))"
    )
    program.write_text(text)
    run = subprocess.Popen(
        [sys.executable, "-c", SEARCH],
        env={**unmeasured(), "PATH": os.environ["PATH"]},
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_for(lambda: mark.exists() and mark.read_text())
        pid = int(mark.read_text())
        assert alive(pid)
        run.send_signal(number)
        assert run.wait(60) != 0
        wait_for(lambda: not alive(pid))
    finally:
        run.kill()
        run.wait()


def wait_for(done):
    until = time.monotonic() + patient(30)
    while not done():
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.mark.skipif(installed("mmseqs") is None, reason="MMseqs2 is not installed")
def test_mmseqs_itself_is_understood(own_path):
    (own_path / "mmseqs").symlink_to(installed("mmseqs"))
    references = sequences(12, seed=3, length=150)
    queries = [references[7], sequences(1, seed=8)[0], references[2][20:120] + "ACDEFGHIKL"]
    aligner = find_aligner("mmseqs")
    assert aligner.version
    found = align(aligner, queries, references, threads=1)
    assert [(hit.query, hit.target) for hit in found] == [(0, 7), (2, 2)]
    assert found[0].identity == found[0].coverage == 100
    assert found[1].identity == 100
    assert found[1].coverage == pytest.approx(100 * 100 / 110, abs=3)
    assert found[0].bits > found[1].bits > 100
    assert found[0].evalue < found[1].evalue < 1e-20
