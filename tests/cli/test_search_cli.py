"""``protclip search`` at the shell, with the bundled model on a store that embed wrote."""

from __future__ import annotations

import json
import os
import shutil

import pytest

from protclip_core.io.fasta import read_fasta
from protclip_core.models.info import BUNDLED
from tests.support.helpers import random_proteins, write_fasta
from tests.support.terminal import one_error

EXAMPLE = BUNDLED / "example.fasta"
IDS = [record.id for record in read_fasta(EXAMPLE)]


@pytest.fixture(scope="module")
def place(protclip, tmp_path_factory):
    """A folder with the example as a store of encoder vectors and one of the joint space."""
    folder = tmp_path_factory.mktemp("search")
    shutil.copy(EXAMPLE, folder)
    for arguments in (["-o", "x.h5"], ["-o", "joint.h5", "--space", "joint"]):
        done = protclip("-q", "embed", "example.fasta", *arguments, cwd=folder)
        assert done.rc == 0, done.err
    return folder


@pytest.fixture
def search(protclip, place):
    def search(*arguments, **options):
        return protclip("search", *arguments, cwd=place, **options)

    return search


def rows_of(text, *columns):
    header, *lines = [line.split("\t") for line in text.splitlines()]
    assert header == list(columns)
    return [dict(zip(header, line, strict=True)) for line in lines]


def proteins_of(text):
    return rows_of(text, "query", "rank", "protein_id", "cosine")


def test_texts(search):
    texts = ["oxygen transport", "hydrolase", "oxygen transport"]
    done = search("x.h5", *texts, "--top-k", "4")
    assert (done.rc, done.err) == (0, "")
    rows = proteins_of(done.out)
    assert [row["query"] for row in rows] == [text for text in texts for _ in range(4)]
    assert [row["rank"] for row in rows] == list("1234") * 3
    assert rows[:4] == rows[8:]
    for first, second in zip(rows, rows[1:], strict=False):
        assert second["rank"] == "1" or float(first["cosine"]) >= float(second["cosine"])
    assert {row["protein_id"] for row in rows} <= set(IDS)


def test_texts_from_a_pipe_as_json_lines(search):
    data = b"GO:0005344\toxygen carrier activity\n\nzinc ion binding\n"
    done = search("joint.h5", "--query-file", "-", "--top-k", "99", "--format", "jsonl", stdin=data)
    assert (done.rc, done.err) == (0, "")
    rows = [json.loads(line) for line in done.out.splitlines()]
    assert all(list(row) == ["query", "rank", "protein_id", "cosine"] for row in rows)
    queries = ["GO:0005344", "zinc ion binding"]
    assert [row["query"] for row in rows] == [q for q in queries for _ in IDS]
    for part in (rows[: len(IDS)], rows[len(IDS) :]):
        assert sorted(row["protein_id"] for row in part) == sorted(IDS)
        assert [row["rank"] for row in part] == list(range(1, len(IDS) + 1))


def test_texts_for_each_protein(search):
    data = b"o2\toxygen carrier activity\nzn\tzinc ion binding\n"
    done = search("joint.h5", "--texts", "-", "--top-k", "1", stdin=data)
    assert (done.rc, done.err) == (0, "")
    rows = rows_of(done.out, "query", "rank", "text_id", "cosine", "text")
    assert [row["query"] for row in rows] == IDS
    texts = {"o2": "oxygen carrier activity", "zn": "zinc ion binding"}
    assert all(texts[row["text_id"]] == row["text"] for row in rows)


def test_proteins_like_one_and_like_those_of_a_file(search, place):
    done = search("x.h5", "--like", IDS[0], "--top-k", "3")
    rows = proteins_of(done.out)
    assert (done.rc, done.err, len(rows)) == (0, "", 3)
    assert IDS[0] not in {row["protein_id"] for row in rows}
    data = (place / "example.fasta").read_bytes()
    done = search("x.h5", "--like", "-", "--top-k", "1", stdin=data)
    assert (done.rc, done.err) == (0, "")
    rows = proteins_of(done.out)
    assert [row["query"] for row in rows] == [row["protein_id"] for row in rows] == IDS
    assert all(float(row["cosine"]) == pytest.approx(1, abs=1e-5) for row in rows)
    done = search("x.h5", "--like", IDS[0], "--include-self", "--space", "encoder", "--top-k", "1")
    assert proteins_of(done.out)[0]["protein_id"] == IDS[0]


def test_a_table(search):
    done = search("x.h5", "--like", IDS[0], "--space", "encoder", "--format", "table")
    header, *lines = done.out.splitlines()
    assert header.split() == ["query", "rank", "protein_id", "cosine"]
    assert len(lines) == 10


def test_nothing_found_is_a_header_and_a_warning(search):
    done = search("x.h5", "--like", IDS[0], "--min-cosine", "1", "--space", "encoder")
    assert (done.rc, done.out) == (0, "query\trank\tprotein_id\tcosine\n")
    assert done.err == "warning: the query found nothing of cosine 1 or more\n"


def test_a_reader_that_goes_away(search):
    read_end, write_end = os.pipe()
    os.close(read_end)
    done = search("x.h5", "--like", IDS[0], "--space", "encoder", stdout=write_end)
    os.close(write_end)
    assert (done.rc, done.err) == (141, "")


def test_another_model_and_one_without_texts(search, protclip, place, tiny_bundle):
    error = one_error(
        search("x.h5", "heme", "--model", tiny_bundle), 4, "x.h5: ", code="model.other_model"
    )
    assert error.count("…") == 2 and "--model" in error
    write_fasta(place / "y.fa", random_proteins(5))
    done = protclip("-q", "embed", "y.fa", "--model", tiny_bundle, cwd=place)
    assert done.rc == 0, done.err
    done = search("y.h5", "heme", "--model", tiny_bundle)
    one_error(done, 2, "tiny", "--like", code="usage.model_without_texts")
    one_error(search("y.h5", "heme"), 4, "y.h5: ", "'tiny'", "--model", code="model.not_found")
    done = search("y.h5", "--like", "p1", "--model", tiny_bundle)
    assert (done.rc, done.err, len(proteins_of(done.out))) == (0, "", 4)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["x.h5"], 2, "nothing to search for; give a text"),
        (["x.h5", "heme", "--like", "a"], 2, "two searches"),
        (["x.h5", "heme", "--top-k", "0"], 2, "--top-k 0"),
        (["x.h5", "heme", "--backend", "other"], 2, "'--backend'"),
        (["x.h5", "--like", "nosuch"], 3, "x.h5: no protein 'nosuch' among its 12"),
        (["x.h5", "--query-file", "nosuch"], 3, "nosuch: no such file"),
        (["x.h5", "--texts", "-"], 3, "<stdin>: has no text"),
        (["nosuch.h5", "heme"], 4, "nosuch.h5: no such file"),
        (["example.fasta", "heme"], 4, "it looks like a FASTA file"),
    ],
)
def test_errors_are_one_line(search, arguments, code, said):
    one_error(search(*arguments), code, said)
