"""``protclip embed`` at the shell: what goes to which stream, and the exit code."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import pty
import re
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import zstandard

from protclip_core.io.store import EmbeddingStore
from tests.helpers import random_proteins, write_fasta

CLEAR = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")  # what rich itself sends to draw its bar


@pytest.fixture
def embed(protclip, tiny_bundle, tmp_path):
    """``embed(*arguments)`` in ``tmp_path`` with the tiny model."""

    def embed(*arguments, **options):
        options.setdefault("cwd", tmp_path)
        fixed = ["--model", tiny_bundle, "--device", "cpu"]
        return protclip("embed", *fixed, *arguments, **options)

    return embed


def read(path):
    with EmbeddingStore.open(path) as store:
        return store.ids, store.read(slice(None))


def rows_of(text):
    header, *lines = text.splitlines()
    assert header.split("\t")[:4] == ["protein_id", "length", "flags", "e1"]
    assert all(line.count("\t") == header.count("\t") for line in lines)
    return [line.split("\t") for line in lines]


def one_error(outcome, rc, *parts):
    """Nothing on standard output, one ``error:`` line, no traceback."""
    assert (outcome.rc, outcome.out) == (rc, ""), outcome
    (line,) = outcome.err.splitlines()
    assert line.startswith("error: ")
    assert line[7].islower() or rc == 1 or not line[7].isalpha()
    for part in parts:
        assert part in line
    return line


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
    assert re.search(r"^info: 3 records, \d+ residues$", err, re.MULTILINE)


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
    one_error(embed("x.fa", "--to-tsv", "-o", "x.tsv", stdin=b""), 2, "x.tsv: is there already")


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
    one_error(embed("-", "-", "-o", "c.h5", stdin=data), 2, "once only")
    one_error(embed("-o", "c.h5", closed=[0]), 2, "no input")


@pytest.mark.parametrize(
    "compress", [gzip.compress, bz2.compress, lzma.compress, zstandard.compress], ids=str
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
    assert "warning: 2 repeated records (same id, same sequence) are kept once: " in done.err
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
    (["--device", "cuda:99"], "device 'cuda:99' is not there"),
    (["--resume", "--overwrite"], "contradict each other"),
    (["--dry-run", "--resume", "--overwrite"], "contradict each other"),
    (["-o", "x.tsv"], "x.tsv: a store is HDF5; add --to-tsv"),
    (["-o", "x.TSV", "--dry-run"], "x.TSV: a store is HDF5; add --to-tsv"),
    (["--to-tsv", "--resume"], "--resume has no meaning for TSV"),
    (["-o", "-", "--per-residue"], "--per-residue has no meaning for TSV"),
    (["-o", "-", "--layout", "per-protein"], "--layout has no meaning for TSV"),
    (["-o", "-", "--store-dtype", "float16"], "--store-dtype has no meaning for TSV"),
    (["-o", "x.fa", "--overwrite"], "x.fa: is an input as well as the output"),
    (["-o", "no/such/x.h5"], "its folder does not exist; create it with: mkdir -p"),
    (["-o", "."], "is a folder"),
    (["-o", "x.fa/y.h5"], "is not a folder"),
    (["-o", "/dev/null"], "is not a plain file"),
    (["-o", f"{'x' * 300}.h5"], "file name too long"),
]


@pytest.mark.parametrize(("arguments", "said"), USAGE, ids=[" ".join(a)[:40] for a, _ in USAGE])
def test_usage_errors_are_one_line_and_write_nothing(embed, fasta, tmp_path, arguments, said):
    fasta(2)
    one_error(embed("x.fa", *arguments, prelude=NO_MODEL), 2, said)
    left = {path.name for path in tmp_path.iterdir()}
    assert left <= {"x.fa", ".x.h5.lock"}


NO_MODEL = """
import protclip_core.tasks.embed as task
def load_job(request, info):
    raise SystemExit("the model was loaded")
task.load_job = load_job
"""


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
    one_error(embed("x.fa"), 2, "x.h5: is there already", "--resume", "--overwrite")
    assert (tmp_path / "x.h5").read_bytes() == before
    done = embed("x.fa", "--resume")
    assert (done.rc, done.err.count("3 reused")) == (0, 1)
    fasta(4, seed=9)
    assert embed("x.fa", "--overwrite").rc == 0
    assert len(read(tmp_path / "x.h5")[0]) == 4


def test_dry_run_tells_and_writes_nothing(embed, fasta, tmp_path):
    data = fasta(7).read_bytes()
    done = embed("x.fa", "--dry-run", prelude=NO_MODEL)
    assert (done.rc, done.err) == (0, "")
    told = dict(line.split("\t") for line in done.out.splitlines())
    assert told["what"] == "value"
    assert told["distinct sequences"] == "7"
    assert re.fullmatch(r"[\d.]+ MB", told["disk needed"])
    assert re.fullmatch(r"about [\d,]+ MB", told["memory needed"])
    assert embed("--dry-run", stdin=data).out.replace("<stdin>", "x.fa") == done.out
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


BAD_FILES = [
    (b"", "no records: the input is empty or blank"),
    (b"\n \n", "no records: the input is empty or blank"),
    (b"MKVLA\n", "line 1: not FASTA", "a sequence without a header"),
    (b"@read1\nACGT\n+\nIIII\n", "line 1: not FASTA", "FASTQ"),
    (b"<!DOCTYPE html>\n<html>404</html>\n", "line 1: not FASTA", "an HTML page"),
    (b"%PDF-1.7\n\x00\x01", "line 1: not FASTA", "a PDF document"),
    (b"\x7fELF\x02\x01\x01\x00", "line 1: not FASTA", "binary data"),
    (">a\nMKV\n".encode("utf-16"), "line 1: the text is UTF-16"),
    (b">caf\xe9\nMKV\n", "record 1", "line 1 is not UTF-8"),
    (b">a\0b\nMKV\n", "record 1", "holds a NUL"),
    (b">\nMKV\n", "record 1", "has no id"),
    (b">a\n>b\nMKV\n", "record 1 (a)", "has no sequence"),
    (b">a\nMKV>b\nMLL\n", "record 1 (a)", "'>' at residue 4 (line 2)", "a newline is missing"),
    (b">a\nMK-V\n", "record 1 (a)", "'-' at residue 3"),
    (b">a\nMK*V\n", "record 1 (a)", "'*' at residue 3"),
    (b">a\nMK.V\n", "record 1 (a)", "'.' at residue 3"),
    (b">a\nMK V\n", "record 1 (a)", "' ' at residue 3"),
    (b">a\nMK\n1V\n", "record 1 (a)", "'1' at residue 3 (line 3)"),
    (gzip.compress(b">a\nMKV\n" * 500)[:-8], "gzip data end early"),
    (gzip.compress(b">a\nMKV\n" * 500)[:-20], "gzip data end early"),
    (gzip.compress(b">a\nMKV\n") + b"junk behind", "data that are not gzip follow"),
    (b"\x1f\x8b\x08\x00" + b"x" * 40, "gzip data are damaged"),
]


@pytest.mark.parametrize(
    ("data", "said"), [(d, s) for d, *s in BAD_FILES], ids=range(len(BAD_FILES))
)
def test_bad_input_is_3_and_nothing_is_published(embed, tmp_path, data, said):
    """Faults 24 to 27, 29, 30, 32, 33: the place, what it is, one line; before a model loads."""
    (tmp_path / "x.fa").write_bytes(data)
    one_error(embed("x.fa", prelude=NO_MODEL), 3, "x.fa", *said)
    assert {path.name for path in tmp_path.iterdir()} == {"x.fa", ".x.h5.lock"}


def test_flipped_bit_in_gzip_publishes_nothing(embed, tmp_path):
    """Fault 33: the flip is noticed at the end of the data only, and still nothing is written."""
    data = bytearray(gzip.compress(b"".join(b">p%d\nMKVLA\n" % i for i in range(3000))))
    data[-6] ^= 4  # in the checksum, so that all records were given by then
    (tmp_path / "x.fa.gz").write_bytes(data)
    one_error(embed("x.fa.gz", "-o", "-"), 3, "x.fa.gz: gzip data are damaged")
    one_error(embed("-", "-o", "x.h5", stdin=bytes(data)), 3, "<stdin>: gzip data are damaged")


def test_clean_variants_of_a_file_give_the_same_store(embed, fasta, tmp_path):
    """Fault 26: byte order mark, CRLF, CR, no newline at the end; two gz members (33)."""
    text = fasta(6).read_bytes()
    assert embed("x.fa", "-o", "-").rc == 0
    wanted = embed("x.fa", "-o", "-").out
    half = text.index(b">p3")
    for variant in (
        b"\xef\xbb\xbf" + text,
        text.replace(b"\n", b"\r\n"),
        text.replace(b"\n", b"\r"),
        text.rstrip(b"\n"),
        b"\n\n" + text,
        gzip.compress(text[:half]) + gzip.compress(text[half:]),
    ):
        assert embed("-o", "-", stdin=variant).out == wanted


def test_letters_are_counted_in_one_line(embed, tmp_path):
    """Faults 30 and 31."""
    (tmp_path / "x.fa").write_text(f">a\nMKXXB*\n>b\nmkv\n>c\n{'ACGT' * 10}\n")
    done = embed("x.fa")
    assert done.rc == 0
    assert done.err.splitlines()[:2] == [
        (
            "warning: 3 records, 48 residues; unusual letters X 2, B 1 in 1 record; trailing * "
            "stripped from 1; lower case read as upper case in 1; 1 made of A C G T U N only, "
            "like DNA or RNA"
        ),
        "warning: 1 record looks like DNA or RNA",
    ]


def test_bad_records_first_five_and_the_count(embed, tmp_path):
    """Fault 27: never NaN in the store."""
    (tmp_path / "x.fa").write_text(">ok\nMKV\n" + "".join(f">b{i}\n" for i in range(9)))
    done = embed("x.fa")
    assert (done.rc, done.out) == (3, "")
    lines = done.err.splitlines()
    assert len(lines) == 6
    assert lines[0].startswith("error: x.fa:record 2 (b0): header on line 3 has no sequence")
    assert lines[5] == (
        "error: 9 records cannot be used; mend them, or leave them out with --on-error skip"
    )
    done = embed("x.fa", "--on-error", "skip")
    assert done.rc == 6
    assert "warning: 9 records left out" in done.err
    assert len((tmp_path / "x.h5.failed.tsv").read_text().splitlines()) == 10
    assert read(tmp_path / "x.h5")[0] == ["ok"]
    done = embed("x.fa", "--on-error", "skip", "-o", "-")
    assert (done.rc, len(rows_of(done.out))) == (6, 1)
    one_error(embed("-o", "-", "--on-error", "skip", stdin=b">a\n"), 3, "has no sequence")


HOSTILE = [
    "../../etc/passwd",
    "a/b",
    ".",
    "..",
    "\x1b[31mred\x1b]0;title\x07",
    "\x9b31m",
    "x" * 100_000,
]
HOSTILE += ["é", "e\u0301", "\u202egnp", "=cmd|' /C calc'!A0"]


def test_hostile_ids_come_back_and_touch_nothing(embed, tmp_path):
    """Fault 29."""
    ids = [id.replace(" ", "_") for id in HOSTILE]
    write_fasta(tmp_path / "x.fa", [(id, "MKVLA") for id in ids])
    for layout in ("packed", "per-protein"):
        done = embed("x.fa", "--overwrite", "--layout", layout)
        assert done.rc == 0
        assert "\x1b" not in done.err
        assert read(tmp_path / "x.h5")[0] == ids
    assert {path.name for path in tmp_path.iterdir()} == {"x.fa", "x.h5", ".x.h5.lock"}
    assert [row[0] for row in rows_of(embed("x.fa", "-o", "-").out)] == ids


def on_terminal(start, *arguments, env=None, **options):
    """Run with all three streams on a terminal; return the exit code and what it showed."""
    ours, theirs = pty.openpty()
    try:
        run = start(
            *arguments,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={"TERM": "xterm", "CI": "", **(env or {})},
            **options,
        )
        os.close(theirs)
        shown = b""
        while True:
            try:
                piece = os.read(ours, 1 << 16)
            except OSError:  # the other side is closed
                break
            if not piece:
                break
            shown += piece
        return run.wait().rc, shown.decode().replace("\r\n", "\n")
    finally:
        os.close(ours)


def test_no_escape_code_of_an_id_reaches_a_terminal(protclip, tiny_bundle, tmp_path):
    """Fault 29: ids, file names and messages are made harmless, in rows, tables and errors."""
    evil = "\x1b]0;title\x07\x1b[31m\x9b32m"
    name = f"{evil}.fa"
    (tmp_path / name).write_text(f">{evil}\nMKV\n>{evil}2\nM1\n", "utf-8")
    runs = [
        (6, ["embed", name, "-o", "-", "--on-error", "skip", "--model", tiny_bundle]),
        (6, ["embed", name, "--on-error", "skip", "--model", tiny_bundle]),
        (3, ["embed", name, "--overwrite", "--model", tiny_bundle]),
        (2, ["embed", name, "-o", f"{evil}/x.h5", "--model", tiny_bundle]),
        (4, ["embed", name, "--overwrite", "--model", evil]),
        (2, ["embed", name, f"--{evil}"]),
        (0, ["store", "show", f"{evil}.h5"]),
        (0, ["store", "info", f"{evil}.h5"]),
        (0, ["store", "show", "--format", "tsv", f"{evil}.h5"]),
        (0, ["store", "show", "--format", "jsonl", f"{evil}.h5"]),
        (0, ["store", "verify", f"{evil}.h5"]),
        (0, ["store", "export", f"{evil}.h5"]),
        (3, ["store", "show", f"{evil}.h5", f"{evil}zz"]),
    ]
    for rc, arguments in runs:
        found, shown = on_terminal(protclip.start, *arguments, cwd=tmp_path)
        assert found == rc, shown
        plain = CLEAR.sub("", re.sub(r"\x1b\[(31|32)m", "BAD", shown))
        assert not re.search("BAD|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]", plain), (arguments, shown)


def test_narrow_terminal_and_bar(protclip, tiny_bundle, fasta, tmp_path):
    fasta(30)
    for env in ({"COLUMNS": "40"}, {"TERM": "dumb"}, {"NO_COLOR": "1"}):
        arguments = ["embed", "x.fa", "--overwrite", "--model", tiny_bundle]
        rc, shown = on_terminal(protclip.start, *arguments, cwd=tmp_path, env=env)
        assert rc == 0
        assert "x.h5: 30 proteins; 30 sequences" in shown
        assert "Traceback" not in shown
    rc, shown = on_terminal(
        protclip.start, "store", "show", "x.h5", cwd=tmp_path, env={"COLUMNS": "40"}
    )
    assert rc == 0
    assert max(map(len, CLEAR.sub("", shown).splitlines())) <= 40
    rc, shown = on_terminal(protclip.start, "embed", "--model", tiny_bundle, cwd=tmp_path)
    assert (rc, shown) == (2, "error: no input; give a FASTA file, or pipe one in\n")


def shell(command, tmp_path, **environment):
    """Run a line of bash in which ``protclip`` is the program."""
    program = f'protclip() {{ "{sys.executable}" -m protclip_cli "$@"; }}; '
    return subprocess.run(
        ["bash", "-c", program + command],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, **environment},
        timeout=60,
    )


def test_closed_pipe_is_quiet(fasta, tiny_bundle, tmp_path):
    """Fault 64: more rows than a pipe holds, and a reader that leaves."""
    fasta(300)
    command = f"protclip embed x.fa -o - --model {tiny_bundle} | head -3; echo ${{PIPESTATUS[0]}}"
    done = shell(command, tmp_path)
    *lines, status = done.stdout.splitlines()
    assert len(lines) == 3
    assert int(status) in (0, 141)
    assert done.stderr == ""


def test_reader_that_leaves_at_once(protclip, tiny_bundle, fasta, tmp_path):
    fasta(300)
    for arguments in (["embed", "x.fa", "-o", "-", "--model", tiny_bundle], ["embed", "--help"]):
        read_end, write_end = os.pipe()
        os.close(read_end)
        done = protclip(*arguments, stdout=write_end, cwd=tmp_path)
        os.close(write_end)
        assert (done.rc, done.err) == (141, "")


def test_full_or_closed_output(protclip, embed, fasta, tiny_bundle, tmp_path):
    """Fault 64: ``> /dev/full`` and ``>&-``."""
    fasta(300)
    with Path("/dev/full").open("wb") as full:
        for fresh in (False, True):
            arguments = ["embed", "x.fa", "-o", "-", "--model", tiny_bundle]
            done = protclip(*arguments, stdout=full.fileno(), cwd=tmp_path, fresh=fresh)
            one_error(done, 5, "standard output: no space left on device")
        done = embed("x.fa", "--dry-run", stdout=full.fileno())
        one_error(done, 5, "standard output: no space left on device")
        assert embed("x.fa", stderr=full.fileno()).rc == 0
    one_error(embed("x.fa", "-o", "-", closed=[1]), 5, "standard output is closed")
    done = embed("x.fa", "-o", "y.h5", closed=[1])
    assert done.rc == 0
    assert embed("x.fa", "-o", "z.h5", closed=[0, 1, 2]).rc == 0
    assert len(read(tmp_path / "z.h5")[0]) == 300


def test_output_in_any_locale_is_utf_8(protclip, tiny_bundle, tmp_path):
    """Fault 64: LC_ALL=C, and an encoding that lacks the letters."""
    write_fasta(tmp_path / "x.fa", [("é\u0100", "MKV")])
    (tmp_path / "odd\udcff.fa").write_bytes(b">a\nM1\n")
    environment = {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    arguments = ["embed", "x.fa", "-o", "-", "--model", tiny_bundle]
    done = protclip(*arguments, cwd=tmp_path, env=environment, fresh=True)
    assert (done.rc, done.err) == (0, "")
    assert rows_of(done.out)[0][0] == "é\u0100"
    done = protclip("embed", "odd\udcff.fa", "--model", tiny_bundle, cwd=tmp_path)
    assert done.rc == 3
    assert done.err.startswith("error: odd\\udcff.fa:record 1 (a): '1' at residue 2")
    (tmp_path / "odd\udcff.fa").write_bytes(b">a\nMKV\n")
    assert protclip("embed", "odd\udcff.fa", "--model", tiny_bundle, cwd=tmp_path).rc == 0
    assert protclip("store", "verify", "odd\udcff.h5", cwd=tmp_path).rc == 0


def test_debug_shows_the_traceback_before_the_line(protclip, tmp_path):
    done = protclip("--debug", "embed", "nosuch.fa", "--model", "nosuch", cwd=tmp_path)
    assert done.rc == 4
    assert done.err.startswith("Traceback")
    assert done.err.splitlines()[-1].startswith("error: nosuch: no model")


def test_bug_of_ours_is_one_line_that_says_so(embed, fasta):
    fasta(2)
    broken = "import protclip_core.tasks.embed as t; t.read_inputs = lambda *a: 1 / 0"
    one_error(embed("x.fa", prelude=broken), 1, "ZeroDivisionError", "a bug of protclip", "--debug")


def test_lack_of_memory_outside_the_engine_is_5(embed, fasta):
    fasta(2)
    for error in ("MemoryError()", "OSError(12, 'Cannot allocate memory')"):
        broken = f"""
import protclip_core.tasks.embed as t
def fail(*a): raise {error}
t.load_job = fail
"""
        one_error(embed("x.fa", prelude=broken), 5, "memory ran out", "--workers")


def test_fixed_checksum_of_a_gzip_shows_the_flip_test_is_real():
    data = gzip.compress(b"x")
    assert zlib.crc32(b"x").to_bytes(4, "little") == data[-8:-4]
