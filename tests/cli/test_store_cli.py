"""``protclip store``: info, show, verify, export, merge at the shell."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from protclip_core._version import __version__
from protclip_core.store.reader import EmbeddingStore
from tests.support.pairs import write_store
from tests.support.terminal import one_error


@pytest.fixture
def store(protclip, tmp_path):
    """``store(*arguments)`` in ``tmp_path``."""

    def store(*arguments, **options):
        return protclip("store", *arguments, cwd=tmp_path, **options)

    return store


@pytest.fixture
def made(protclip, tiny_bundle, fasta, tmp_path):
    """A store ``x.h5`` of 30 proteins; returns its path."""
    fasta(30)
    done = protclip("embed", "x.fa", "--model", tiny_bundle, cwd=tmp_path)
    assert done.rc == 0
    return tmp_path / "x.h5"


def table(text):
    header, *lines = [line.split("\t") for line in text.splitlines()]
    return [dict(zip(header, line, strict=True)) for line in lines]


def test_info(store, made):
    done = store("info", "x.h5")
    assert (done.rc, done.err) == (0, "")
    told = {row["what"]: row["value"] for row in table(done.out)}
    assert (told["proteins"], told["dimension"], told["model"]) == ("30", "64", "tiny")
    assert told["command"].startswith("protclip embed x.fa")
    rows = [
        json.loads(line) for line in store("info", "x.h5", "--format", "jsonl").out.splitlines()
    ]
    assert {row["what"]: str(row["value"]) for row in rows} == told
    assert "proteins" in store("info", "x.h5", "--format", "table").out


def test_show(store, made):
    done = store("show", "x.h5")
    assert done.err == "20 of 30 proteins (more with --head)\n"
    assert [row["protein_id"] for row in table(done.out)] == [f"p{i}" for i in range(20)]
    done = store("show", "x.h5", "p7", "p3", "p7")
    assert [row["protein_id"] for row in table(done.out)] == ["p7", "p3", "p7"]
    assert done.err == ""
    assert len(table(store("show", "x.h5", "--head", "3").out)) == 3
    assert store("show", "x.h5", "--head", "30").err == ""
    with EmbeddingStore.open(made) as opened:
        norm = float(np.linalg.norm(opened.get("p3")))
    assert float(table(done.out)[1]["norm"]) == pytest.approx(norm, rel=1e-6)
    one_error(store("show", "x.h5", "zz"), 3, "x.h5", "'zz'", code="input.unknown_id")


def test_verify(store, made, tmp_path):
    assert store("verify", "x.h5").out == "file\tstate\nx.h5\tsound\n"
    (tmp_path / "good.h5").write_bytes(made.read_bytes())
    data = bytearray(made.read_bytes())
    data[len(data) // 2] ^= 1
    made.write_bytes(data)
    done = store("verify", "x.h5", "good.h5")
    assert (done.rc, done.out) == (4, "file\tstate\ngood.h5\tsound\n")
    first, last = done.err.splitlines()
    assert first.startswith("error: x.h5: ")
    assert last.startswith("error: 1 problem found; ") and last.endswith(" [model.damaged]")
    done = store("verify", "x.h5", "nosuch.h5", "good.h5", ".")
    assert (done.rc, done.out) == (4, "file\tstate\ngood.h5\tsound\n")
    *problems, last = done.err.splitlines()
    assert [line.split(": ")[:2] for line in problems] == [
        ["error", "x.h5"],
        ["error", "nosuch.h5"],
        ["error", "."],
    ]
    assert last.startswith("error: 3 problems found; ")


def test_export_to_a_pipe_and_to_files(store, made, tmp_path):
    done = store("export", "x.h5")
    rows = table(done.out)
    assert (done.rc, done.err, len(rows)) == (0, "", 30)
    with EmbeddingStore.open(made) as opened:
        ids, vectors = opened.ids, opened.read(slice(None))
    values = np.array([[row[f"e{i + 1}"] for i in range(64)] for row in rows], np.float32)
    assert (values == vectors).all()  # nine digits hold a float32 exactly
    assert store("export", "x.h5", "-o", "x.tsv").rc == 0
    assert (tmp_path / "x.tsv").read_text() == done.out
    assert store("export", "x.h5", "-o", "x.npy").rc == 0
    assert (np.load(tmp_path / "x.npy") == vectors).all()
    assert (tmp_path / "x.npy.ids.txt").read_text().splitlines() == ids
    one_error(
        store("export", "x.h5", "-o", "x.npy"),
        2,
        "x.npy",
        "--overwrite",
        code="usage.output_exists",
    )
    assert store("export", "x.h5", "-o", "x.npy", "--overwrite").rc == 0
    (tmp_path / "x.npy").unlink()
    one_error(
        store("export", "x.h5", "-o", "x.npy"), 2, "x.npy.ids.txt", code="usage.output_exists"
    )
    one_error(store("export", "x.h5", "-o", "x.xlsx"), 2, "x.xlsx", code="usage.output_suffix")
    assert store("export", "x.h5", "-o", "x.csv").rc == 0
    assert (tmp_path / "x.csv").read_text() == done.out.replace("\t", ",")
    one_error(store("export", "x.h5", "-o", "no/x.tsv"), 2, "its folder does not exist")


def test_export_into_a_closed_or_full_pipe(store, made):
    read_end, write_end = os.pipe()
    os.close(read_end)
    done = store("export", "x.h5", stdout=write_end)
    os.close(write_end)
    assert (done.rc, done.err) == (141, "")
    with Path("/dev/full").open("wb") as full:
        for command in (["export"], ["info"], ["show"], ["verify"]):
            done = store(*command, "x.h5", stdout=full.fileno())
            assert done.rc == 5
            assert "error: standard output: no space left on device" in done.err
    one_error(store("info", "x.h5", closed=[1]), 5, "standard output is closed")


def test_rows_before_a_damaged_place_hold(store, tmp_path):
    vectors = np.random.default_rng(0).normal(size=(2000, 16)).astype(np.float32)
    path = write_store(tmp_path / "x.h5", vectors)
    whole = store("export", "x.h5").out.splitlines()
    content = bytearray(path.read_bytes())
    content[content.index(vectors[1500].tobytes())] ^= 1
    path.write_bytes(content)
    done = store("export", "x.h5")
    rows = done.out.splitlines()
    assert (done.rc, len(whole)) == (4, 2001)
    assert done.err.endswith("[model.damaged_store]\n")
    assert 1 < len(rows) <= 1501
    assert rows == whole[: len(rows)]
    assert store("export", "x.h5", "-o", "x.tsv").rc == 4
    assert not (tmp_path / "x.tsv").exists()


def test_merge(store, made, protclip, tiny_bundle, fasta, tmp_path):
    fasta(5, name="y.fa", seed=4, prefix="q")
    assert protclip("embed", "y.fa", "--model", tiny_bundle, cwd=tmp_path).rc == 0
    done = store("merge", "x.h5", "y.h5", "-o", "z.h5")
    assert (done.rc, done.out, done.err) == (0, "", "z.h5: 35 proteins\n")
    with EmbeddingStore.open(tmp_path / "z.h5") as opened:
        assert opened.ids == [f"p{i}" for i in range(30)] + [f"q{i}" for i in range(5)]
        told = opened.attributes
    assert told["command"] == "protclip store merge x.h5 y.h5 -o z.h5"
    assert told["created_by"] == f"protclip {__version__}"
    assert told["input"] == "x.h5 y.h5"
    assert not {"input_sha256", "input_summary"} & told.keys()
    one_error(store("merge", "x.h5", "y.h5", "-o", "z.h5"), 2, "z.h5", code="usage.output_exists")
    assert store("merge", "x.h5", "-o", "z.h5", "--overwrite", "--layout", "per-protein").rc == 0
    one_error(store("merge", "x.h5", "-o", "x.h5", "--overwrite"), 2, code="usage.output_is_input")
    fasta(5, name="y.fa", seed=4, prefix="q")
    layer = ["--layer", "1", "--overwrite"]
    assert protclip("embed", "y.fa", "--model", tiny_bundle, *layer, cwd=tmp_path).rc == 0
    done = store("merge", "x.h5", "y.h5", "-o", "w.h5")
    assert done.rc in (2, 4)
    assert "layer" in done.err
    assert not (tmp_path / "w.h5").exists()


@pytest.mark.full(but="command0")
@pytest.mark.parametrize("command", [["info"], ["show"], ["export"], ["merge", "-o", "out.h5"]])
def test_what_is_no_store(store, fasta, tmp_path, command):
    fasta(2)
    one_error(store(*command, "nosuch.h5"), 4, "nosuch.h5: no such file; check the path")
    one_error(store(*command, "x.fa"), 4, "x.fa: cannot be read as HDF5: it looks like a FASTA")
    one_error(store(*command, "."), 4, "is a directory")
    (tmp_path / "u.h5.partial").mkdir()
    one_error(store(*command, "u.h5"), 4, "finish its run with --resume")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["info"], "missing argument 'STORE'; see protclip store info --help"),
        (["merge", "x.h5"], "missing option '-o' / '--output'"),
        (["nosuch"], "no such command 'nosuch'; see protclip store --help"),
        (["show", "x.h5", "--head", "0"], "'--head'"),
        (["info", "x.h5", "--format", "gaf"], "'--format'"),
    ],
)
def test_usage_errors_are_one_line(store, arguments, said):
    one_error(store(*arguments), 2, said)


@pytest.mark.parametrize("arguments", [[], ["store"]])
def test_nothing_asked_shows_the_help_on_standard_error(protclip, arguments):
    done = protclip(*arguments)
    assert (done.rc, done.out) == (2, "")
    assert done.err.startswith("Usage: protclip ")


def test_show_takes_accessions_where_they_are_unique(protclip, store, tiny_bundle, tmp_path):
    (tmp_path / "x.fa").write_text(">sp|P1|A_X\nMKTAYIAK\n>sp|P2|B_X\nMSLLTEVE\n>tr|P2|C_X\nMKV\n")
    assert protclip("embed", "x.fa", "--model", tiny_bundle, cwd=tmp_path).rc == 0
    done = store("show", "x.h5", "P1", "sp|P2|B_X")
    assert [row["protein_id"] for row in table(done.out)] == ["sp|P1|A_X", "sp|P2|B_X"]
    one_error(store("show", "x.h5", "P2"), 3, "sp|P2|B_X, tr|P2|C_X", code="input.unknown_id")


def test_list(store, made, tmp_path):
    with EmbeddingStore.open(made) as opened:
        expected = [(id, str(n), "") for id, n in zip(opened.ids, opened.lengths, strict=True)]
    done = store("list", "x.h5")
    rows = [(row["protein_id"], row["length"], row["flags"]) for row in table(done.out)]
    assert (done.rc, done.err, rows) == (0, "", expected)
    assert store("list", "x.h5", "-o", "ids.tsv").rc == 0
    assert (tmp_path / "ids.tsv").read_text() == done.out


@pytest.mark.parametrize("residues", [False, True])
@pytest.mark.parametrize("layout", ["packed", "per-protein"])
def test_subset_in_the_order_of_the_list(
    protclip, store, tiny_bundle, fasta, tmp_path, layout, residues
):
    fasta(30)
    also = ["--per-residue"] if residues else []
    assert protclip("embed", "x.fa", "--model", tiny_bundle, *also, cwd=tmp_path).rc == 0
    (tmp_path / "ids.txt").write_text("protein_id\tlength\np7\t1\n\np3\t2\np7\t3\n")
    done = store("subset", "x.h5", "--ids", "ids.txt", "-o", "s.h5", "--layout", layout)
    assert (done.rc, done.out, done.err) == (0, "", "s.h5: 2 proteins\n")
    with EmbeddingStore.open(tmp_path / "x.h5") as a, EmbeddingStore.open(tmp_path / "s.h5") as b:
        assert (b.ids, b.layout, b.per_residue) == (["p7", "p3"], layout, residues)
        rows = [a.row("p7"), a.row("p3")]
        assert (a.read(rows) == b.read(slice(None))).all()
        assert (a.lengths[rows] == b.lengths).all() and (a.digests[rows] == b.digests).all()
        if residues:
            assert (a.residues("p3") == b.residues("p3")).all()
        assert b.attributes["weights_sha256"] == a.attributes["weights_sha256"]
        assert b.attributes["command"].startswith("protclip store subset x.h5")
    assert store("verify", "s.h5").rc == 0


def test_subset_with_ids_that_are_missing(store, made, tmp_path):
    (tmp_path / "ids.txt").write_text("p1\nzz\nyy\np2\n")
    done = store("subset", "x.h5", "--ids", "ids.txt", "-o", "s.h5")
    assert (done.rc, (tmp_path / "s.h5").exists()) == (3, False)
    assert done.err.splitlines()[-1].endswith("[input.unknown_id]")
    done = store("subset", "x.h5", "--ids", "ids.txt", "-o", "s.h5", "--on-error", "skip")
    assert done.rc == 6
    assert "ids.txt:record 2 (zz)" in done.err and "ids.txt:record 3 (yy)" in done.err
    with EmbeddingStore.open(tmp_path / "s.h5") as opened:
        assert opened.ids == ["p1", "p2"]
    one_error(
        store("subset", "x.h5", "--ids", "-", "-o", "t.h5", stdin=b"zz\n"),
        3,
        "<stdin>:line 1",
        code="input.unknown_id",
    )
    one_error(store("subset", "x.h5", "--ids", "-", "-o", "t.h5", stdin=b""), 3, code="input.empty")
    one_error(store("subset", "x.h5", "--ids", "x.fa", "-o", "t.h5"), 3, code="input.other_format")
    for refused in ("ids.txt", "x.h5"):
        one_error(
            store("subset", "x.h5", "--ids", "ids.txt", "-o", refused, "--overwrite"),
            2,
            code="usage.output_is_input",
        )


def test_export_of_residues(protclip, store, tiny_bundle, fasta, tmp_path):
    fasta(5)
    one_error(store("export", "x.h5", "--residues"), 4, code="model.not_found")
    done = protclip("embed", "x.fa", "--model", tiny_bundle, "--per-residue", cwd=tmp_path)
    assert done.rc == 0
    with EmbeddingStore.open(tmp_path / "x.h5") as opened:
        ids, lengths = opened.ids, opened.lengths
        residues = np.concatenate([opened.residues(id) for id in ids])
        vectors = opened.read(slice(None))
    rows = table(store("export", "x.h5", "--residues").out)
    assert [row["protein_id"] for row in rows] == list(np.repeat(ids, lengths))
    assert [int(row["position"]) for row in rows] == [n + 1 for x in lengths for n in range(x)]
    values = np.array([[row[f"e{i + 1}"] for i in range(64)] for row in rows], np.float32)
    assert (values == residues).all()
    assert store("export", "x.h5", "--residues", "-o", "r.npz").rc == 0
    with np.load(tmp_path / "r.npz") as found:
        assert found["ids"].tolist() == ids
        assert (np.diff(found["offsets"]) == lengths).all()
        assert (found["residues"] == residues).all()
    assert store("export", "x.h5", "-o", "x.npz").rc == 0
    with np.load(tmp_path / "x.npz") as found:
        assert (found["ids"].tolist(), (found["embeddings"] == vectors).all()) == (ids, True)
    one_error(store("export", "x.h5", "--residues", "-o", "r.npy"), 2, code="usage.output_suffix")
    one_error(store("export", "x.h5", "--residues", "-o", "r.npz"), 2, code="usage.output_exists")


def test_export_of_residues_that_a_store_lacks(store, made, tmp_path):
    for more in ((), ("-o", "r.npz"), ("-o", "r.tsv")):
        done = store("export", "x.h5", "--residues", *more)
        one_error(done, 2, "x.h5", code="usage.no_residues")
    assert not (tmp_path / "r.npz").exists() and not (tmp_path / "r.tsv").exists()


def test_a_fasta_file_for_a_store_is_answered_with_embed(store, fasta):
    fasta(2)
    one_error(store("info", "x.fa"), 4, "x.fa", "protclip embed x.fa", code="model.not_hdf5")
