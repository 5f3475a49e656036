"""Saved requests, earlier spellings, and global options in every place."""

from __future__ import annotations

import json

import pytest

from protclip_cli.main import app
from tests.cli.surface import commands
from tests.support.helpers import random_proteins, write_fasta
from tests.support.inprocess import run_here
from tests.support.terminal import one_error


@pytest.fixture
def place(tmp_path):
    write_fasta(tmp_path / "x.fa", random_proteins(3, seed=1, shortest=20, longest=30))
    return tmp_path


def job(place, **keys):
    (place / "job.json").write_text(json.dumps(keys))
    return "job.json"


def test_a_job_is_saved_and_gives_the_same_store(place, tiny_bundle):
    asked = ["x.fa", "-o", "a.h5", "--model", tiny_bundle, "--device", "cpu", "--pooling", "tokens"]
    saved = run_here("embed", *asked, "--save-job", "job.json", cwd=place)
    assert (saved.rc, saved.out) == (0, "")
    assert not (place / "a.h5").exists()
    kept = json.loads((place / "job.json").read_text())
    assert kept["command"] == "embed"
    assert (kept["inputs"], kept["output"], kept["pooling"]) == (["x.fa"], "a.h5", "tokens")
    assert run_here("embed", "--job", "job.json", cwd=place).rc == 0
    assert run_here("embed", *asked[:2], "b.h5", *asked[3:], cwd=place).rc == 0
    shown = [run_here("store", "export", name, cwd=place).out for name in ("a.h5", "b.h5")]
    assert shown[0] == shown[1] != ""


def test_the_command_line_overrides_a_job(place, tiny_bundle):
    name = job(place, inputs=["x.fa"], output="a.h5", model=str(tiny_bundle), device="cpu")
    assert run_here("embed", "--job", name, "-o", "b.h5", cwd=place).rc == 0
    assert (place / "b.h5").exists() and not (place / "a.h5").exists()


def test_required_options_may_come_from_a_job(place):
    name = job(place, labels="l.tsv", inputs=["x.fa"], output="x.head")
    done = run_here("classify", "fit", "--job", name, cwd=place)
    one_error(done, 3, "l.tsv")


@pytest.mark.parametrize(
    ("keys", "code", "part"),
    [
        ({"poolin": "tokens"}, "usage.unknown_key", "'pooling'"),
        ({"command": "search"}, "usage.other_job", "job.json"),
        ({"workers": "three"}, "usage.bad_option", "--workers"),
        ({"long": "cut"}, "usage.bad_option", "--long"),
        ({"batch_tokens": "many"}, "usage.bad_value", "'many'"),
    ],
)
def test_bad_jobs(place, keys, code, part):
    done = run_here("embed", "x.fa", "--job", job(place, **keys), cwd=place)
    one_error(done, 2, part, code=code)


def test_a_file_that_is_no_job(place):
    (place / "deep.json").write_text("[" * 100_000)
    for name in ("x.fa", "nosuch.json", "deep.json"):
        one_error(run_here("embed", "--job", name, cwd=place), 2, name, code="usage.bad_job")


@pytest.mark.parametrize(
    ("arguments", "new"),
    [
        (["mutate", "x.fa", "--strict"], "--on-error fail"),
        (["similarity", "x.fa", "--min", "0.5", "--format", "matrix"], "--min-similarity"),
        (["ppi", "train", "p.tsv", "--embeddings", "x.fa", "-o", "h"], "fit"),
        (["ppi", "split", "p.tsv", "--method", "c2"], "--split"),
        (["ppi", "split", "p.tsv", "--valid", "0.1"], "--valid-share"),
        (["ppi", "split", "p.tsv", "--test", "0.1"], "--test-share"),
        (["ppi", "predict", "p.tsv", "--embeddings", "x.fa", "--top-partners", "0"], "--top-k"),
        (["annotate", "x.fa", "--go", "--explain-plot", "x.bmp"], "--plot"),
    ],
)
def test_earlier_spellings_work_with_one_warning(place, arguments, new):
    done = run_here(*arguments, cwd=place)
    warning, *errors = done.err.splitlines()
    assert warning.startswith("warning: ") and f" is now {new};" in warning
    assert [line[:7] for line in errors] == ["error: "]


def test_every_earlier_spelling_is_hidden():
    for words, command, _hidden in commands(app, "protclip"):
        for param in command.params:
            assert param.name.startswith("old_") == bool(getattr(param, "hidden", False)), words


@pytest.mark.parametrize(
    "arguments",
    [
        ["-q", "store", "info", "nosuch.h5"],
        ["store", "-q", "info", "nosuch.h5"],
        ["store", "info", "-q", "nosuch.h5"],
        ["store", "info", "nosuch.h5", "--quiet", "-vv"],
        ["mutate", "-q", "predict", "v", "--head", "nosuch.h5"],
        ["-v", "mutate", "predict", "v", "--head", "nosuch.h5", "-q"],
    ],
)
def test_global_options_stand_anywhere(place, arguments):
    one_error(run_here(*arguments, cwd=place), 4, "nosuch.h5")


def test_debug_shows_the_traceback_wherever_it_stands(place):
    for arguments in (["--debug", "store", "info", "n"], ["store", "info", "n", "--debug"]):
        done = run_here(*arguments, cwd=place)
        assert done.rc == 4 and "Traceback" in done.err


def test_what_looks_global_is_a_value_where_one_is_due(place):
    done = run_here("search", "x.fa", "--like", "-q", cwd=place)
    one_error(done, 4, "x.fa")
    done = run_here("search", "x.fa", "--", "-q", cwd=place)
    one_error(done, 4, "x.fa")
