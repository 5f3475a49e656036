"""Texts by a language model: the file is checked, and filled by asking each question once."""

import gzip
import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from protclip_core.errors import InputError, ModelError
from tests.support.chat_server import chat_server
from tests.support.environment import patient
from tests.support.local_server import forget_network, wait_until
from tests.train.small_release import OBO
from train.protanno import rewrite
from train.protanno.augment.release import read_release
from train.protanno.augment.rewrites import read_rewrites

ROOT = Path(__file__).parents[2]
ATP, HEXOKINASE, CYCLE = "GO:0005524", "GO:0004396", "GO:0007049"
NAMES = {ATP: "ATP binding", HEXOKINASE: "hexokinase activity", CYCLE: "cell cycle"}


@pytest.fixture(scope="module")
def obo(tmp_path_factory):
    path = tmp_path_factory.mktemp("release") / "go-basic.obo"
    path.write_text(OBO)
    return path


@pytest.fixture(scope="module")
def release(obo):
    return read_release(obo)


@pytest.fixture
def server(monkeypatch):
    forget_network(monkeypatch)
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    with chat_server() as running:
        yield running


@pytest.fixture
def ask(server, obo, tmp_path):
    """Run the program on three terms; returns its exit code."""
    listed = tmp_path / "ids.txt"
    listed.write_text("".join(f"{id}\n" for id in NAMES))

    def run(*extra):
        arguments = ["--release", obo, "--out", tmp_path / "out.jsonl", "--terms", listed]
        arguments += ["--base-url", server.url, "--model", "stub", "--number", 2, "--retries", 1]
        return rewrite.main([str(a) for a in [*arguments, "--concurrency", 1, *extra]])

    return run


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


# The file.


def write(folder, *lines, name="own.tsv"):
    path = folder / name
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


@pytest.mark.parametrize("form", ["tsv", "jsonl", "header", "gz"])
def test_a_file_of_texts_is_read(tmp_path, release, form):
    rows = [(ATP, "Holds ATP."), (CYCLE, "One  cell to two."), (ATP, "Grips ATP.")]
    data = "".join(f"{id}\t{text}\n" for id, text in rows)
    if form == "jsonl":
        data = "".join(json.dumps({"term_id": i, "text": t, "more": 1}) + "\n" for i, t in rows)
    if form == "header":
        data = "# mine\nterm_id\ttext\n\n" + data
    path = tmp_path / "own"
    path.write_bytes(gzip.compress(data.encode()) if form == "gz" else data.encode())
    found = read_rewrites(path, release)
    assert found.texts == {ATP: ("Holds ATP.", "Grips ATP."), CYCLE: ("One cell to two.",)}
    assert found.record == {
        "sha256": hashlib.sha256(data.encode()).hexdigest(),
        "release": "2024-01-17",
        "lines": 3,
        "texts": 3,
        "terms_covered": 2,
        "terms_of_release": 13,
    }


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("GO:7777777\tIt does.", "input.unknown_term"),
        ("ATP binding\tIt does.", "input.unknown_term"),
        ("GO:0000901\tAn alternative id.", "input.unknown_term"),
        ("GO:0000009\tIt did.", "input.obsolete_term"),
        (f"{ATP}\tUnlike GO:0007049.", "input.foreign_term"),
        (f"{ATP}\tUnlike go_0007049.", "input.foreign_term"),
        (f"{ATP}\t", "input.empty_text"),
        (f"{ATP}\t" + "word " * 257, "input.long_text"),
        (f"{ATP} Holds ATP.", "input.bad_line"),
        (f"{ATP}\tHolds\tATP.", "input.bad_line"),
    ],
)
def test_a_line_that_would_teach_what_is_wrong_is_refused(tmp_path, release, line, code):
    path = write(tmp_path, f"{ATP}\tHolds ATP.", line)
    with pytest.raises(InputError) as caught:
        read_rewrites(path, release)
    assert caught.value.code == code and caught.value.where == f"{path}:line 2"


def test_an_own_id_and_the_longest_text_are_allowed(tmp_path, release):
    path = write(tmp_path, f"{ATP}\tThis is {ATP}.", f"{CYCLE}\t" + "word " * 256)
    assert len(read_rewrites(path, release).texts) == 2
    with pytest.raises(InputError) as caught:
        read_rewrites(path, release, count=len, most=100)
    assert caught.value.code == "input.long_text"


def test_five_lines_are_named_and_all_are_counted(tmp_path, release):
    path = write(tmp_path, *[f"GO:777777{n}\tIt does." for n in range(8)])
    with pytest.raises(InputError) as caught:
        read_rewrites(path, release)
    assert len(caught.value.details) == 4 and "7 more" in caught.value.message


def test_a_file_without_texts_or_of_another_kind_is_refused(tmp_path, release):
    with pytest.raises(InputError) as caught:
        read_rewrites(write(tmp_path, "# nothing"), release)
    assert caught.value.code == "input.empty"
    with pytest.raises(InputError) as caught:
        read_rewrites(write(tmp_path, '{"term_id": 5}', name="x.jsonl"), release)
    assert caught.value.code == "input.bad_line"
    with pytest.raises(ModelError) as caught:
        read_rewrites(tmp_path / "none", release)
    assert caught.value.code == "model.not_found"


# Asking.


def test_every_term_is_asked_for_once_and_the_file_passes_its_own_check(
    ask, server, tmp_path, release
):
    assert ask("--temperature", "0.3", "--seed", "9") == 0
    assert sorted(server.terms) == sorted(NAMES.values())
    lines = lines_of(tmp_path / "out.jsonl")
    assert [(line["term_id"], line["number"], line["of"]) for line in lines] == [
        (id, number, 2) for id in NAMES for number in (1, 2)
    ]
    for line in lines:
        assert (line["temperature"], line["seed"], line["model"]) == (0.3, 9, "stub")
        assert line["release"] == "2024-01-17" and len(line["prompt_sha256"]) == 64
    body = server.asked[0][1]
    assert (body["temperature"], body["seed"], body["model"]) == (0.3, 9, "stub")
    found = read_rewrites(tmp_path / "out.jsonl", release)
    assert found.texts[ATP] == ("Wording 1 of ATP binding.", "Wording 2 of ATP binding.")


def test_a_second_run_asks_nothing_and_another_question_everything(ask, server, tmp_path):
    assert ask() == 0 and len(server.asked) == 3
    before = (tmp_path / "out.jsonl").read_bytes()
    assert ask() == 0 and len(server.asked) == 3
    assert (tmp_path / "out.jsonl").read_bytes() == before
    assert ask("--model", "other") == 0 and len(server.asked) == 6
    assert ask("--words", "30") == 0 and len(server.asked) == 9
    assert len(lines_of(tmp_path / "out.jsonl")) == 18


@pytest.mark.parametrize("fault", [429, 500, 503, b"{ this is cut", b'{"choices": []}', b"[1, 2]"])
def test_a_fault_that_passes_costs_one_more_question(ask, server, tmp_path, fault):
    server.faults["cell cycle"] = [fault]
    assert ask() == 0
    assert server.terms.count("cell cycle") == 2 and len(server.asked) == 4
    assert len(lines_of(tmp_path / "out.jsonl")) == 6


def test_a_server_that_does_not_answer_in_time_is_asked_again(ask, server, tmp_path):
    server.faults["cell cycle"] = ["stall"]
    assert ask("--timeout", "0.5") == 0
    assert server.terms.count("cell cycle") == 2
    assert len(lines_of(tmp_path / "out.jsonl")) == 6


@pytest.mark.parametrize(
    "answer",
    [
        "Of course! Here are they.",
        '{"texts": "one"}',
        '{"texts": []}',
        '{"texts": ["It is like GO:0006260.", "It is like GO:0006260 too."]}',
        json.dumps({"texts": ["word " * 41]}),
    ],
)
def test_an_answer_that_may_not_be_used_is_asked_for_again(ask, server, tmp_path, answer):
    server.faults["cell cycle"] = [answer]
    assert ask() == 0
    (seeds,) = [{body["seed"] for name, body, _ in server.asked if name == "cell cycle"}]
    assert seeds == {0, 1}
    assert "GO:0006260" not in (tmp_path / "out.jsonl").read_text()
    own = [line for line in lines_of(tmp_path / "out.jsonl") if line["term_id"] == CYCLE]
    assert [line["seed"] for line in own] == [1, 1] and len(own) == 2


def test_what_is_good_of_a_bad_answer_is_kept(ask, server, tmp_path):
    server.faults["cell cycle"] = ['```json\n{"texts": ["Good.", "Like GO:0006260."]}\n```']
    assert ask() == 0
    own = [line["text"] for line in lines_of(tmp_path / "out.jsonl") if line["term_id"] == CYCLE]
    assert own == ["Good.", "Wording 1 of cell cycle."]


def test_terms_without_a_text_are_listed_and_asked_for_next_time(ask, server, tmp_path, capsys):
    server.faults["cell cycle"] = ["no"] * 3
    assert ask() == 6
    assert CYCLE in capsys.readouterr().err
    assert len(lines_of(tmp_path / "out.jsonl")) == 4
    assert ask() == 0
    assert len(server.asked) == 2 + 3 + 1


@pytest.mark.parametrize(("status", "code"), [(401, 4), (403, 4), (404, 4)])
def test_a_server_that_refuses_ends_the_run_at_once(ask, server, monkeypatch, capsys, status, code):
    monkeypatch.setenv("OPENAI_API_KEY", "very-secret")
    server.always = status
    assert ask() == code
    told = capsys.readouterr().err
    assert "[model.endpoint_refused]" in told and "very-secret" not in told
    assert len(server.asked) == 1
    assert server.asked[0][2]["authorization"] == "Bearer very-secret"


def test_a_server_that_is_gone_ends_the_run_and_keeps_what_came(ask, server, tmp_path, capsys, obo):
    server.faults["cell cycle"] = [500] * 20
    assert ask() == 6  # the others have their texts
    server.always = 500
    rest = ["--terms", tmp_path / "all.txt", "--retries", "0"]
    ids = [id for id in read_release(obo).terms if id not in NAMES]
    (tmp_path / "all.txt").write_text("\n".join(ids))
    assert ask(*rest) == 4
    assert "[model.no_network]" in capsys.readouterr().err
    assert len(lines_of(tmp_path / "out.jsonl")) == 4


def test_no_more_questions_are_under_way_than_allowed(ask, server):
    server.pause = 0.1
    assert ask("--concurrency", "2") == 0
    assert server.most_at_once == 2


@pytest.mark.parametrize(
    ("extra", "environment", "code", "rc"),
    [
        (["--base-url", "https://api.example.org/v1"], {}, "usage.no_api_key", 2),
        (["--base-url", "https://me:pw@example.org/v1"], {}, "usage.credentials_in_url", 2),
        (["--base-url", "example.org"], {}, "usage.bad_value", 2),
        (["--number", "0"], {}, "usage.bad_value", 2),
        (["--timeout", "nan"], {}, "usage.bad_value", 2),
        (["--temperature", "-1"], {}, "usage.bad_value", 2),
        (["--terms", "none.txt"], {}, "usage.no_such_file", 2),
        (["--prompt", "none.txt"], {}, "usage.no_such_file", 2),
        (["--release", "none.obo"], {}, "model.not_found", 4),
    ],
)
def test_wrong_options_are_named(ask, capsys, monkeypatch, extra, environment, code, rc):
    assert ask(*extra) == rc
    assert f"[{code}]" in capsys.readouterr().err


def test_a_term_that_may_not_be_asked_for_is_named(ask, tmp_path, capsys):
    (tmp_path / "ids.txt").write_text(f"{ATP}\nGO:0000009\n")
    assert ask() == 3
    told = capsys.readouterr().err
    assert "ids.txt:line 2" in told and "[input.unknown_term]" in told


def test_a_file_of_another_origin_is_not_continued(ask, tmp_path, capsys):
    (tmp_path / "out.jsonl").write_text(f"{ATP}\tHolds ATP.\n")
    assert ask() == 3
    assert "[input.bad_line]" in capsys.readouterr().err
    assert (tmp_path / "out.jsonl").read_text() == f"{ATP}\tHolds ATP.\n"


def test_a_prompt_of_ones_own_is_filled_in_and_checked(ask, server, tmp_path, capsys):
    path = tmp_path / "prompt.txt"
    path.write_text("Term: {name}\nSay it in {number} ways: {definition}")
    assert ask("--prompt", path) == 0
    assert "Say it in 2 ways: The series of events" in server.asked[-1][1]["messages"][0]["content"]
    for text in ("Term: {title}", "Say it.", "{name} {"):
        path.write_text(text)
        assert ask("--prompt", path) == 2
        assert "[usage.bad_value]" in capsys.readouterr().err


def test_an_answer_cut_by_a_kill_is_asked_for_again(ask, server, tmp_path):
    assert ask() == 0
    path = tmp_path / "out.jsonl"
    whole = path.read_bytes()
    first = whole.split(b"\n")
    # Within the last line; after the first line of an answer of two; at the end of an answer.
    for cut, missing in (
        (len(whole) - 5, 1),
        (len(whole) - len(first[-2]) - 1, 1),
        (len(whole), 0),
    ):
        path.write_bytes(whole[:cut])
        before = len(server.asked)
        assert ask() == 0
        assert len(server.asked) - before == missing
        assert path.read_bytes() == whole


@pytest.mark.full(but="1")
@pytest.mark.parametrize("after", [1, 3, 6, 9])
def test_kill_9_and_the_same_command_asks_for_what_is_missing(
    server, obo, tmp_path, release, after
):
    server.pause = 0.05
    out = tmp_path / "out.jsonl"
    arguments = ["--release", obo, "--out", out, "--base-url", server.url, "--model", "stub"]
    arguments += ["--number", "2", "--concurrency", "2"]
    command = [sys.executable, "-m", "train.protanno.rewrite", *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: len(server.asked) >= after, "the program asks", 120)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(patient(30))
    wait_until(lambda: server.under_way == 0, "what was under way is noted")
    kept = out.read_bytes() if out.exists() else b""
    server.asked.clear()
    done = subprocess.run(
        command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, timeout=patient(120)
    )
    assert done.returncode == 0, done.stderr
    whole = kept[: kept.rfind(b"\n") + 1].split(b"\n")[:-1]
    answered = {json.loads(line)["term_id"] for line in whole if json.loads(line)["number"] == 2}
    asked = [
        term.id for name in server.terms for term in release.terms.values() if term.name == name
    ]
    wanted = {term.id for term in release.terms.values() if not term.is_root}
    assert sorted(asked) == sorted(wanted - answered)
    found = read_rewrites(out, release)
    assert set(found.texts) == wanted and found.lines == 2 * len(wanted)
