"""``protclip embed`` at the shell: what it writes, options, refusals; exit codes."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import re

import numpy as np
import pytest
import zstandard

from protclip_core.store.reader import EmbeddingStore
from tests.support.helpers import random_proteins, write_fasta
from tests.support.terminal import NO_MODEL, one_error, read, rows_of


def test_a_file_becomes_a_store_of_its_name_and_the_program_says_so(embed, fasta, tmp_path):
    fasta(20, name="proteins.fasta")
    done = embed("proteins.fasta")
    assert (done.rc, done.out) == (0, "")
    assert re.fullmatch(
        r"proteins\.h5: 20 proteins; 20 sequences embedded in [\d.]+ s \([\d,]+ residues/s\)\n",
        done.err,
    )
    ids, vectors = read(tmp_path / "proteins.h5")
    assert ids == [f"p{i}" for i in range(20)]
    assert vectors.shape == (20, 64)


@pytest.mark.parametrize(
    ("name", "made"),
    [("a.fa", "a.h5"), ("a.b.fasta.gz", "a.b.h5"), ("a", "a.h5"), ("a.faa.ZST", "a.h5")],
)
def test_default_name(embed, fasta, tmp_path, name, made):
    fasta(2, name=name)
    assert embed(name).rc == 0
    assert read(tmp_path / made)[0] == ["p0", "p1"]


def test_a_new_interpreter_does_the_same(protclip, tiny_bundle, fasta, tmp_path):
    fasta(5)
    arguments = ["embed", "x.fa", "--model", tiny_bundle, "-o"]
    done = protclip(*arguments, "x.h5", cwd=tmp_path, fresh=True)
    assert (done.rc, done.out) == (0, "")
    done = protclip(*arguments, "-", cwd=tmp_path, fresh=True, env={"LC_ALL": "C"})
    assert (done.rc, done.err) == (0, "")
    values = np.array([row[3:] for row in rows_of(done.out)], np.float32)
    assert np.abs(values - read(tmp_path / "x.h5")[1]).max() < 1e-6


def test_quiet_says_nothing_and_verbose_more(protclip, tiny_bundle, fasta, tmp_path):
    arguments = ["embed", fasta(3), "--model", tiny_bundle, "--overwrite"]
    assert protclip("-q", *arguments, cwd=tmp_path).err == ""
    err = protclip("-v", *arguments, cwd=tmp_path).err
    time = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"
    assert re.search(rf"^{time} info: 3 records, \d+ residues$", err, re.MULTILINE)
    assert re.search(rf"^{time} info: writing .*x\.h5", err, re.MULTILINE)
    assert not re.search(time, protclip(*arguments, "--long", "skip", cwd=tmp_path).err)


def test_global_options_may_stand_behind_the_command(protclip, tiny_bundle, fasta, tmp_path):
    arguments = ["embed", fasta(3), "--model", tiny_bundle, "--overwrite"]
    assert protclip(*arguments, "-q", cwd=tmp_path).err == ""
    assert "info: 3 records" in protclip(*arguments[:2], "-v", *arguments[2:], cwd=tmp_path).err
    assert "Traceback" in protclip("store", "info", "no.h5", "--debug", cwd=tmp_path).err
    # Between the two words of a command as well.
    for words in (["mutate", "fit"], ["mutate", "-q", "fit"], ["mutate", "fit", "-q"]):
        done = protclip(*words, "no.csv", "-o", "x.head", cwd=tmp_path)
        one_error(done, 2, "--sequences")
    done = protclip("embed", "--", "-q", cwd=tmp_path)
    one_error(done, 3, "-q: no such file; check the path")
    done = protclip(*arguments, "-o", "-q.h5", cwd=tmp_path)
    assert "3 proteins" in done.err and (tmp_path / "-q.h5").exists()
    one_error(protclip(*arguments, "-o", "-q", cwd=tmp_path), 2, "-q: ", code="usage.output_suffix")


def test_tsv_equals_the_store(embed, fasta, tmp_path):
    proteins = [("é|1", "MKVLAX"), *random_proteins(100, seed=2), ("long", "MKVLA" * 300)]
    write_fasta(tmp_path / "x.fa", proteins)
    assert embed("x.fa").rc == 0
    ids, vectors = read(tmp_path / "x.h5")
    done = embed("x.fa", "-o", "-")
    rows = rows_of(done.out)
    assert [row[0] for row in rows] == ids
    assert [int(row[1]) for row in rows] == [len(sequence) for _, sequence in proteins]
    assert (rows[0][2], rows[-1][2]) == ("1", "16")
    assert np.abs(np.array([row[3:] for row in rows], np.float32) - vectors).max() < 1e-6
    assert embed("x.fa", "--to-tsv").out == done.out
    quiet = embed("x.fa", "--to-tsv", "-o", "x.tsv")
    assert (quiet.rc, quiet.out) == (0, "")
    assert (tmp_path / "x.tsv").read_text("utf-8") == done.out
    one_error(
        embed("x.fa", "--to-tsv", "-o", "x.tsv", stdin=b""), 2, "x.tsv", code="usage.output_exists"
    )
    assert embed("x.fa", "-o", "x.tsv", "--overwrite").rc == 0
    assert (tmp_path / "x.tsv").read_text("utf-8") == done.out
    assert embed("x.fa", "-o", "x.csv").rc == 0
    assert embed("x.fa", "-o", "x.csv.gz").rc == 0
    assert (
        gzip.decompress((tmp_path / "x.csv.gz").read_bytes()) == (tmp_path / "x.csv").read_bytes()
    )
    assert (tmp_path / "x.csv").read_text("utf-8") == done.out.replace("\t", ",")


def test_options_reach_the_store(embed, fasta, tmp_path):
    fasta(6, longest=60)
    words = "--pooling tokens --layer 1 --dtype bfloat16 --store-dtype float16 --per-residue"
    more = "--workers 2 --batch-tokens 100 --long truncate --max-length 30 --layout per-protein"
    done = embed("x.fa", "-o", "y.h5", *words.split(), *more.split())
    assert done.rc == 0
    with EmbeddingStore.open(tmp_path / "y.h5") as store:
        told = store.attributes
        assert (store.layout, store.dtype, store.per_residue) == ("per-protein", np.float16, True)
        assert max(store.lengths) == 30
    assert (told["pooling"], told["layer"], told["compute_dtype"]) == (
        "tokens",
        1,
        "bfloat16 (cpu)",
    )
    assert " x.fa -o y.h5 --pooling tokens" in told["command"]
    assert "(--long truncate)" in done.err
    assert embed("x.fa", "--space", "joint").rc == 0
    assert read(tmp_path / "x.h5")[1].shape == (6, 32)


def test_input_that_is_no_plain_file_names_no_store(embed, fasta, tmp_path):
    path = fasta(5)
    os.mkfifo(tmp_path / "fifo")
    for name in ("/dev/stdin", "/dev/fd/0", "/proc/self/fd/0", "fifo"):
        done = embed(name, stdin=path.read_bytes())
        one_error(done, 2, f"{name}: is not a plain file", "-o OUT.h5")
    assert embed("/dev/stdin", "-o", "a.h5", stdin=path.read_bytes()).rc == 0
    assert len(read(tmp_path / "a.h5")[0]) == 5


def test_standard_input(embed, fasta, tmp_path):
    data = fasta(5).read_bytes()
    assert embed("-", "-o", "a.h5", stdin=gzip.compress(data)).rc == 0
    assert embed("-o", "b.h5", stdin=data).rc == 0
    assert read(tmp_path / "a.h5")[0] == read(tmp_path / "b.h5")[0] == [f"p{i}" for i in range(5)]
    one_error(embed("-", stdin=data), 2, "standard input has no name", "-o OUT.h5")
    one_error(embed("-", "-", "-o", "c.h5", stdin=data), 2, code="usage.stdin_twice")
    one_error(embed("-o", "c.h5", closed=[0]), 2, "no input")


@pytest.mark.parametrize(
    "compress",
    [gzip.compress, bz2.compress, lzma.compress, zstandard.compress],
    ids=["gz", "bz2", "xz", "zst"],
)
def test_compressed_input_is_told_by_its_content(embed, fasta, tmp_path, compress):
    data = fasta(4).read_bytes()
    (tmp_path / "y.fa").write_bytes(compress(data))
    assert embed("y.fa").rc == 0
    assert len(read(tmp_path / "y.h5")[0]) == 4


def test_several_inputs_in_order(embed, fasta, tmp_path):
    fasta(3, name="a.fa", prefix="a")
    data = fasta(2, name="b.fa", prefix="b", seed=1).read_bytes()
    done = embed("b.fa", "a.fa", "-", "-o", "x.h5", stdin=data)
    assert done.rc == 0
    assert read(tmp_path / "x.h5")[0] == ["b0", "b1", "a0", "a1", "a2"]
    assert "warning: 2 repeated records (same id, same sequence) kept once: " in done.err
    assert "<stdin>:record 1 (b0) repeats b.fa:record 1" in done.err
    one_error(embed("a.fa", "b.fa"), 2, "several inputs need a name", "-o OUT.h5")


def test_same_id_with_another_sequence_names_both(embed, tmp_path):
    """Fault 28."""
    (tmp_path / "x.fa").write_text(">a\nMKV\n>b\nMLL\n>a\nMKW\n")
    line = one_error(embed("x.fa"), 3, "x.fa:record 3 (a)", "same id as x.fa:record 1")
    assert "way" not in line
    done = embed("x.fa", "--on-error", "skip")
    assert done.rc == 6
    assert done.err.splitlines()[-2:] == [
        "warning: 1 record left out",
        "warning: all of them are listed in x.failed.tsv".replace("x.", "x.h5."),
    ]
    assert read(tmp_path / "x.h5")[0] == ["a", "b"]


USAGE = [
    (["--nope"], "no such option: --nope"),
    (["--layer", "x"], "'--layer'"),
    (["--layer", "9"], "layer 9 is out of range; the model has 0 to 2"),
    (["--layer", "1", "--space", "joint"], "the joint space belongs to layer 2"),
    (["--workers", "0"], "'--workers'"),
    (["--batch-tokens", "0"], "--batch-tokens '0' is not a number"),
    (["--batch-tokens", "many"], "--batch-tokens 'many' is not a number"),
    (["--max-length", "3"], "windows of 3 residues are too short"),
    (["--pooling", "sum"], "'--pooling'"),
    (["--device", "tpu"], "device 'tpu' is not known"),
    (["--device", "cuda:99"], "device 'cuda:99' does not exist here"),
    (["--resume", "--overwrite"], "contradict each other"),
    (["--dry-run", "--resume", "--overwrite"], "contradict each other"),
    (["-o", "x.npy"], "[usage.output_suffix]"),
    (["-o", "x.parquet", "--dry-run"], "[usage.output_suffix]"),
    (["-o", "results"], "name it results.h5"),
    (["-o", "x.npy.gz"], "[usage.output_suffix]"),
    (["-o", "x.csv", "--resume"], "--resume is for stores only"),
    (["--to-tsv", "--resume"], "--resume is for stores only"),
    (["-o", "-", "--per-residue"], "--per-residue is for stores only"),
    (["-o", "-", "--layout", "per-protein"], "--layout is for stores only"),
    (["-o", "-", "--store-dtype", "float16"], "--store-dtype is for stores only"),
    (["-o", "x.fa", "--overwrite"], "x.fa: is an input as well as the output"),
    (["-o", "no/such/x.h5"], "[usage.no_such_folder]"),
    (["-o", "."], "[usage.is_directory]"),
    (["-o", "x.fa/y.h5"], "[usage.not_a_folder]"),
    (["-o", "/dev/null"], "[usage.not_a_file]"),
    (["-o", f"{'x' * 300}.h5"], "file name too long"),
]


@pytest.mark.parametrize(("arguments", "said"), USAGE, ids=[" ".join(a)[:40] for a, _ in USAGE])
def test_usage_errors_are_one_line_and_write_nothing(embed, fasta, tmp_path, arguments, said):
    fasta(2)
    one_error(embed("x.fa", *arguments, prelude=NO_MODEL), 2, said)
    left = {path.name for path in tmp_path.iterdir()}
    assert left <= {"x.fa"}


def test_model_that_is_not_there_or_damaged(protclip, tiny_bundle, fasta, tmp_path):
    fasta(2)

    def embed(model):
        return protclip("embed", "x.fa", "--model", model, cwd=tmp_path)

    one_error(embed("nosuch"), 4, "nosuch: no model of this name or path", "path of a model")
    one_error(embed("x.fa"), 4, "x.fa: not a model")
    one_error(embed(""), 4, "the model's name is empty")
    (tmp_path / "empty").mkdir()
    one_error(embed("empty"), 4, "neither a bundle")
    broken = tmp_path / "broken"
    broken.mkdir()
    for path in tiny_bundle.iterdir():
        (broken / path.name).write_bytes(path.read_bytes())
    weights = bytearray((broken / "model.safetensors").read_bytes())
    weights[-5] ^= 1
    (broken / "model.safetensors").write_bytes(weights)
    one_error(embed("broken"), 4, "sha256 mismatch, expected")
    assert not (tmp_path / "x.h5").exists()
    assert not (tmp_path / "x.h5.partial").exists()


def test_output_that_is_there_is_kept_unless_told_otherwise(embed, fasta, tmp_path):
    """Fault 18."""
    fasta(3)
    assert embed("x.fa").rc == 0
    before = (tmp_path / "x.h5").read_bytes()
    one_error(embed("x.fa"), 2, "x.h5: ", "--resume", "--overwrite", code="usage.output_exists")
    assert (tmp_path / "x.h5").read_bytes() == before
    done = embed("x.fa", "--resume")
    assert (done.rc, done.err.count("3 reused")) == (0, 1)
    fasta(4, seed=9)
    assert embed("x.fa", "--overwrite").rc == 0
    assert len(read(tmp_path / "x.h5")[0]) == 4


def test_dry_run_tells_and_writes_nothing(embed, fasta, tmp_path):
    data = fasta(7).read_bytes()
    done = embed("x.fa", "--dry-run")
    assert (done.rc, done.err) == (0, "")
    told = dict(line.split("\t") for line in done.out.splitlines())
    assert told["what"] == "value"
    assert told["distinct sequences"] == "7"
    assert re.fullmatch(r"[\d.]+ MB", told["disk at its peak"])
    assert re.fullmatch(r"about [\d,]+ MB", told["memory needed"])
    assert told["estimated time"].startswith("about ")
    again = embed("--dry-run", stdin=data).out.splitlines()
    assert again[:-1] == done.out.splitlines()[:-1]
    assert [path.name for path in tmp_path.iterdir()] == ["x.fa"]
    done = embed("-", "--dry-run", stdin=b">a\nMKV\n>b\n")
    assert done.rc == 3
    assert "records that cannot be used\t1\n" in done.out
    assert "warning: <stdin>:record 2 (b): header on line 3 has no sequence" in done.err
    assert embed("-", "--dry-run", "--on-error", "skip", stdin=b">a\nMKV\n>b\n").rc == 6


def test_dry_run_ends_as_the_run_would(embed, fasta):
    fasta(7, shortest=20, longest=60)
    words = ["x.fa", "--max-length", "40", "--dry-run", "--long"]
    assert [embed(*words, long).rc for long in ("window", "truncate", "skip", "error")] == [
        0,
        0,
        6,
        3,
    ]
