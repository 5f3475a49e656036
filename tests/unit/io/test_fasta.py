"""FASTA: what is read, what is changed and flagged, what is refused (faults 24 to 35, 37)."""

from __future__ import annotations

import gzip
import io
import logging
import os
import random
import sys
import tracemalloc
from collections import Counter
from pathlib import Path

import pytest
from Bio import SeqIO
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protclip_core.errors import InputError
from protclip_core.io import fasta
from protclip_core.io.fasta import STANDARD_RESIDUES, UNUSUAL_RESIDUES, InputSummary, read_fasta
from protclip_core.records import Failure, ProteinRecord, RecordFlag

CLEAN = b">a first one\nMKV\nLA\n>b\nMK\n\n>c  x\ty\nW\n"
LETTERS = set(STANDARD_RESIDUES + UNUSUAL_RESIDUES)
Pair = tuple[str, str]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "x.fa"


def _records(path: Path, data: bytes) -> list[ProteinRecord]:
    path.write_bytes(data)
    return list(read_fasta(path))


def _pairs(path: Path, data: bytes) -> list[Pair]:
    return [(record.id, record.sequence) for record in _records(path, data)]


def _refusal(path: Path, data: bytes) -> str:
    """Message of the refusal, with the file's name cut to ``x.fa``."""
    path.write_bytes(data)
    with pytest.raises(InputError) as caught:
        list(read_fasta(path))
    assert caught.value.hint
    text = str(caught.value)
    assert text.startswith(str(path))
    assert text.isprintable()
    return text.replace(str(path), "x.fa")


def _both(path: Path, data: bytes) -> tuple[list[Pair], list[Failure]]:
    path.write_bytes(data)
    failures: list[Failure] = []
    records = list(read_fasta(path, on_failure=failures.append))
    return [(record.id, record.sequence) for record in records], failures


def _unexpected(failure: Failure) -> None:
    pytest.fail(f"taken for a failure of one record: {failure}")


# -- what is read ---------------------------------------------------------------------------


def test_clean_file(path: Path) -> None:
    assert _records(path, CLEAN) == [
        ProteinRecord("a", "MKVLA", "first one", str(path), 1),
        ProteinRecord("b", "MK", "", str(path), 2),
        ProteinRecord("c", "W", "x\ty", str(path), 3),
    ]


@pytest.mark.parametrize(
    "data",
    [
        b"\xef\xbb\xbf" + CLEAN,
        CLEAN.replace(b"\n", b"\r\n"),
        CLEAN.replace(b"\n", b"\r"),
        CLEAN.replace(b"\n", b"\r\n", 3),
        CLEAN.rstrip(b"\n"),
        CLEAN.replace(b"\n", b"\r").rstrip(b"\r"),
        b"\n \t\n\r\n" + CLEAN,
        b"\xef\xbb\xbf\n" + CLEAN,
        CLEAN.replace(b"V\n", b"V \t\n").replace(b"LA", b"  LA"),
        CLEAN + b"\n\n \n",
    ],
    ids=[
        "bom",
        "crlf",
        "cr",
        "mixed",
        "no-newline",
        "cr-no-newline",
        "blank-first",
        "bom-blank",
        "blanks",
        "tail",
    ],
)
def test_harmless_forms_read_the_same(path: Path, data: bytes) -> None:
    assert _records(path, data) == _records(path, CLEAN)


@pytest.mark.parametrize("size", range(1, 12))
def test_chunk_borders_change_nothing(
    path: Path, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for data in (CLEAN, CLEAN.replace(b"\n", b"\r\n"), CLEAN.replace(b"\n", b"\r")):
        for before in (b"", b"\n" * 600, b";" * 600 + b"\n", b" " * 600 + b"\n"):
            expected = _pairs(path, CLEAN)
            monkeypatch.setattr(fasta, "_CHUNK", size)
            assert _pairs(path, before + data) == expected
            monkeypatch.undo()


def test_header_on_the_last_byte_of_what_is_sniffed(path: Path) -> None:
    for blanks in range(505, 520):
        data = b"\n" * blanks + CLEAN
        assert len(_records(path, data)) == 3


def test_stdin_is_a_source(monkeypatch: pytest.MonkeyPatch) -> None:
    packed = gzip.compress(CLEAN + b">bad\nM1\n")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(packed)))
    records = read_fasta("-")
    assert [next(records).source for _ in range(3)] == ["-"] * 3
    with pytest.raises(InputError, match=r"^<stdin>:record 4 \(bad\): '1' at residue 2 \(line 10"):
        next(records)


def test_comments_before_the_first_header(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert _pairs(path, b"; made by\n\n;old\n>a\nMK\n") == [("a", "MK")]
    assert [r.getMessage() for r in caplog.records] == [
        f"{path}: skipped 2 ';' comment lines before the first header"
    ]
    assert "';' at residue 3 (line 3)" in _refusal(path, b">a\nMK\n;x\nL\n")


@pytest.mark.parametrize(
    ("header", "id", "description"),
    [
        (b"> a b", "a", "b"),
        (b">\t a\tb c ", "a", "b c"),
        (b">a \t b", "a", "b"),
        (b">a\t b", "a", "b"),
        (b">sp|P12345|X_HUMAN Protein OS=Homo", "sp|P12345|X_HUMAN", "Protein OS=Homo"),
        (b">../../etc/passwd", "../../etc/passwd", ""),
        (b">a/b", "a/b", ""),
        (b">.", ".", ""),
        (b">>a", ">a", ""),
        (b">\x1b[31mred x", "\x1b[31mred", "x"),
        (b">a\x0b\x0c\x1cb", "a\x0b\x0c\x1cb", ""),
        ("> é\u00a0\u2028µ ü".encode(), "é\u00a0\u2028µ", "ü"),
        (b">e\xcc\x81", "e\u0301", ""),
        (b">" + b"i" * 100_000, "i" * 100_000, ""),
    ],
)
def test_ids_are_data(path: Path, header: bytes, id: str, description: str) -> None:
    (record,) = _records(path, header + b"\nMK\n")
    assert (record.id, record.description) == (id, description)


def test_duplicate_ids_are_left_to_the_caller(path: Path) -> None:
    assert _pairs(path, b">a\nM\n>a\nM\n") == [("a", "M"), ("a", "M")]


# -- what is changed and flagged ------------------------------------------------------------


@pytest.mark.parametrize(
    ("sequence", "read", "flags"),
    [
        (b"mkV", "MKV", RecordFlag.LOWERCASE),
        (b"MKV*", "MKV", RecordFlag.STOP_STRIPPED),
        (b"MKV*\n**\n \n", "MKV", RecordFlag.STOP_STRIPPED),
        (b"MKXBUZOJ", "MKXBUZOJ", RecordFlag.UNUSUAL_RESIDUES),
        (b"x", "X", RecordFlag.UNUSUAL_RESIDUES | RecordFlag.LOWERCASE),
        (b"ACGT" * 5, "ACGT" * 5, RecordFlag.NUCLEOTIDE_LIKE),
        (b"ACGT" * 4 + b"ACG", "ACGT" * 4 + "ACG", RecordFlag.NONE),
        (b"ACGT" * 5 + b"M", "ACGT" * 5 + "M", RecordFlag.NONE),
        (
            b"acgn\n" * 5 + b"U*",
            "ACGN" * 5 + "U",
            RecordFlag.NUCLEOTIDE_LIKE
            | RecordFlag.UNUSUAL_RESIDUES
            | RecordFlag.LOWERCASE
            | RecordFlag.STOP_STRIPPED,
        ),
        (b"M", "M", RecordFlag.NONE),
    ],
)
def test_changes_are_flagged(path: Path, sequence: bytes, read: str, flags: RecordFlag) -> None:
    (record,) = _records(path, b">a\n" + sequence + b"\n")
    assert (record.sequence, record.flags) == (read, flags)


def test_summary(path: Path) -> None:
    path.write_bytes(
        b">a\nMKVX*\n>b\nmkvXUu\n>c\n" + b"ACGT" * 300 + b"\n>d\nM1\n>e\n" + b"L" * 3000
    )
    summary = InputSummary()
    assert summary.describe() == "0 records, 0 residues"
    assert len(list(read_fasta(path, on_failure=lambda _: None, summary=summary))) == 4
    assert summary == InputSummary(
        records=4,
        residues=4210,
        refused=1,
        unusual=Counter(X=2, U=2),
        unusual_records=2,
        lowercase_records=1,
        stops_stripped=1,
        nucleotide_like=1,
        longest=3000,
    )
    assert summary.describe() == (
        "4 records, 4,210 residues; 1 record refused; unusual letters X 2, U 2 in 2 records;"
        " trailing * stripped from 1; lower case read as upper case in 1;"
        " 1 made of A C G T U N only, like DNA or RNA"
    )


# -- faults of the input --------------------------------------------------------------------


@pytest.mark.parametrize(
    "data", [b"", b"\n", b" \t\r\n\n", b"\xef\xbb\xbf", b"; only\n", b";x", b" " * 2000]
)
def test_no_records(path: Path, data: bytes) -> None:
    message = "x.fa: no records: the input is empty or blank; check what wrote it"
    assert _refusal(path, data) == message
    with pytest.raises(InputError):  # never a failure of one record
        list(read_fasta(path, on_failure=_unexpected))


@pytest.mark.parametrize(
    ("data", "look"),
    [
        (b"@r1\nACGT\n+\nIIII\n", "FASTQ"),
        (b"<!DOCTYPE html>\n<html>404", "an HTML page"),
        (b"<?xml version='1.0'?>", "XML or HTML"),
        (b"%PDF-1.7\n", "a PDF document"),
        (b"LOCUS       AB1  120 aa", "a GenBank flat file"),
        (b"ID   001R_FRG3G  Reviewed;", "a UniProt or EMBL flat file"),
        (b"HEADER    HYDROLASE", "a PDB file"),
        (b"ATOM      1  N   MET A   1", "a PDB file"),
        (b"protclip-embeddings 1 sha256 ", "a store of vectors"),
        (b"data_1ABC\n#\n", "an mmCIF file"),
        (b"CLUSTAL W (1.83)\n", "an alignment"),
        (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
        (b"PK\x03\x04abc", "a zip archive"),
        (b"\x80\x04\x95abc", "a Python pickle"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
        (b'{"id": 1}', "JSON"),
        (b"MKVLAA\n", "a sequence without a header"),
        (b"M" * 60 + b"\n" + b"K" * 60 + b"\nGG\n", "a sequence without a header"),
        (b"M" * 5000, "a sequence without a header"),
        (b" >a\nMK\n", "FASTA with blanks before '>'"),
        (b"\x00\x01\x02\x03\x04", "binary data"),
        (b"id\tsize\na\t12\n", "text of another kind"),
        (gzip.compress(gzip.compress(CLEAN, mtime=0), mtime=0), "data compressed twice"),
    ],
)
def test_not_fasta_is_named(path: Path, data: bytes, look: str) -> None:
    message = _refusal(path, data)
    assert message.startswith("x.fa:line 1: not FASTA: no '>' at its start, it looks like " + look)


def test_not_fasta_below_blank_and_comment_lines(path: Path) -> None:
    assert _refusal(path, b"\r\n;x\r\nMKV\r\n").startswith("x.fa:line 3: not FASTA")


@pytest.mark.parametrize(
    ("encoding", "name"),
    [
        ("utf-16", "UTF-16"),
        ("utf-16-le", "UTF-16LE"),
        ("utf-16-be", "UTF-16BE"),
        ("utf-32", "UTF-32"),
        ("utf-32-le", "UTF-32LE"),
        ("utf-32-be", "UTF-32BE"),
    ],
)
def test_wide_encodings(path: Path, encoding: str, name: str) -> None:
    assert _refusal(path, CLEAN.decode().encode(encoding)) == (
        f"x.fa:line 1: the text is {name}, not UTF-8; convert it: iconv -f {name} -t UTF-8"
    )


def test_damage_is_never_skipped(path: Path) -> None:
    path.write_bytes(gzip.compress(CLEAN * 2000)[:-8])
    with pytest.raises(InputError, match="gzip data end early"):
        list(read_fasta(path, on_failure=_unexpected))


# -- faults of one record -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "problem", "code"),
    [
        (b">\nMK\n", "x.fa:record 1: header on line 1 has no id", "no_id"),
        (b">", "x.fa:record 1: header on line 1 has no id", "no_id"),
        (b"> \t\n", "x.fa:record 1: header on line 1 has no id", "no_id"),
        (b">a\n>b\nMK\n", "x.fa:record 1 (a): header on line 1 has no sequence", "no_sequence"),
        (b">b\nMK\n\n>a\n\n", "x.fa:record 2 (a): header on line 4 has no sequence", "no_sequence"),
        (b">a\n*\n", "header on line 1 has no sequence; its sequence is only '*'", "no_sequence"),
        (b">a\nMKV\nLA1\n", "x.fa:record 1 (a): '1' at residue 6 (line 3)", "digits_inside"),
        (b">a\nMK VL\n", "' ' at residue 3 (line 2)", "blanks_inside"),
        (b">a\nMK\tVL\n", r"'\t' at residue 3 (line 2)", "blanks_inside"),
        (b">a\nMK-VL\n", "'-' at residue 3 (line 2)", "gap"),
        (b">a\nMK\n\n.VL\n", "'.' at residue 3 (line 4)", "stop_or_gap"),
        (b">a\nM*K*\n", "'*' at residue 2 (line 2)", "stop_inside"),
        (b">a\nMKV>b\nLLA\n", "'>' at residue 4 (line 2)", "no_newline"),
        (b">a\nMK\xc3\x89L\n", "'É' at residue 3 (line 2)", "bad_residue"),
        (b">a\nMK\xc9L\n", r"'\xc9' at residue 3 (line 2)", "bad_residue"),
        (b">a\nMK\x00L\n", r"'\x00' at residue 3 (line 2)", "bad_residue"),
        (b">a\nMK\x1bL\n", r"'\x1b' at residue 3 (line 2)", "bad_residue"),
        (b">a\nMK\x0bL\n", r"'\x0b' at residue 3 (line 2)", "bad_residue"),
        (b">a\nMK\n\xef\xbb\xbf>b\nL\n", r"'\ufeff' at residue 3 (line 3)", "byte_order_mark"),
        (
            b">ab\xe9 x\nMK\n",
            r"(ab\xe9): header on line 1 is not UTF-8 (byte 0xE9 at column 4)",
            "bad_encoding",
        ),
        (b">a \xe9\nMK\n", "iconv -f LATIN1 -t UTF-8", "bad_encoding"),
        (b">a\0b\nMK\n", r"x.fa:record 1 (a\x00b): header on line 1 ", "nul_character"),
        (
            b">\x1b[31ma\nM?\n",
            r"x.fa:record 1 (\x1b[31ma): '?' at residue 2 (line 2)",
            "bad_residue",
        ),
    ],
)
def test_bad_record_is_named(path: Path, data: bytes, problem: str, code: str) -> None:
    message = _refusal(path, data)
    assert problem in message
    _, failures = _both(path, data + b"\n>ok\nMK\n")
    where = failures[0].where.replace(str(path), "x.fa")
    assert f"{where}: {failures[0].reason}" == message
    assert failures[0].code == f"record.{code}"
    with pytest.raises(InputError) as caught:
        list(read_fasta(path))
    assert caught.value.code == f"input.{code}"


def test_line_numbers_count_every_line_end(path: Path) -> None:
    for end in (b"\n", b"\r\n", b"\r"):
        data = b">a\nMK\n\n>b\nM\n>c\nM\nL1\n".replace(b"\n", end)
        assert "x.fa:record 3 (c): '1' at residue 3 (line 8)" in _refusal(path, data)


def test_reading_goes_on_behind_a_failure(path: Path) -> None:
    data = b">a\nMK\n>\nMK\n>b\n>c\nM1\n>d\xe9\nM\n>e\nW\n"
    records, failures = _both(path, data)
    assert records == [("a", "MK"), ("e", "W")]
    assert [(f.number, f.id) for f in failures] == [(2, ""), (3, "b"), (4, "c"), (5, "d\\xe9")]
    assert {f.source for f in failures} == {str(path)}
    assert "'1' at residue 2 (line 7)" in failures[2].reason
    codes = ["no_id", "no_sequence", "digits_inside", "bad_encoding"]
    assert [failure.code for failure in failures] == [f"record.{code}" for code in codes]
    assert failures[0].where == f"{path}:record 2"


def test_records_before_the_bad_one_are_given(path: Path) -> None:
    path.write_bytes(b">a\nMK\n>b\nM1\n")
    records = read_fasta(path)
    assert next(records).id == "a"
    with pytest.raises(InputError):
        next(records)


def test_file_is_closed_when_reading_stops_early(path: Path) -> None:
    path.write_bytes(CLEAN * 100_000)
    records = read_fasta(path)
    next(records)
    records.close()  # type: ignore[attr-defined]  # a generator; ResourceWarning is an error here


# -- size -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "length"),
    [
        (b">x\n" + b"MKVLA" * 2_000_000, 10_000_000),
        (b">x\n" + b"mkv \n" * 400_000 + b"*", 1_200_000),
        (b">titin\n" + b"MKVLA" * 7_043, 35_215),
        (b">x\n" + b"X" * 100_000, 100_000),
        (b"\n" * 2_000_000 + b">x\nM", 1),
        (b";\n" * 1_000_000 + b">x\nM", 1),
        (b">x\n" + b" \t" * 1_000_000 + b"\nM", 1),
    ],
    ids=["line", "lines", "titin", "x-only", "blank", "comments", "spaces"],
)
def test_size_is_no_trouble(path: Path, data: bytes, length: int) -> None:
    (record,) = _records(path, data)
    assert len(record.sequence) == length


def test_bad_letter_far_out_is_found_in_linear_time(path: Path) -> None:
    data = b">x\n" + b"MKVLA\n" * 300_000 + b"?\n"
    assert "'?' at residue 1,500,001 (line 300,002)" in _refusal(path, data)


def test_memory_does_not_grow_with_the_file(path: Path) -> None:
    path.write_bytes((b">x\n" + b"MKVLA\n" * 60) * 20_000)  # 7 MB
    tracemalloc.start()
    try:
        assert sum(1 for _ in read_fasta(path)) == 20_000
        assert tracemalloc.get_traced_memory()[1] < 3_000_000
    finally:
        tracemalloc.stop()


# -- against Biopython ----------------------------------------------------------------------


def test_biopython_reads_the_same(path: Path) -> None:
    chance = random.Random(20)
    lines = []
    for number in range(500):
        description = chance.choice(["", " a protein", " OS=Homo sapiens  GN=X µ"])
        lines.append(f">p|{number}|{chance.randrange(10**6)}{description}")
        sequence = "".join(chance.choices(sorted(LETTERS), k=chance.randrange(1, 400)))
        width = chance.choice([60, 80, 1000])
        lines += [sequence[at : at + width] for at in range(0, len(sequence), width)]
    text = "\n".join(lines) + chance.choice(["", "\n", "\n\n"])
    path.write_text(text, encoding="utf-8", newline=chance.choice(["\n", "\r\n"]))
    with path.open(encoding="utf-8") as handle:
        expected = [
            (r.id, r.description.removeprefix(r.id).strip(), str(r.seq))
            for r in SeqIO.parse(handle, "fasta")
        ]
    assert [(r.id, r.description, r.sequence) for r in read_fasta(path)] == expected
    assert len(expected) == 500


# -- fuzz -----------------------------------------------------------------------------------

CASES = int(os.environ.get("PROTCLIP_FUZZ_CASES", "500"))
SEED = b">sp|P1|A desc\r\nMKVLAX*\n>b\nmkvu\nLL\n\n> c\tx\nACGTACGTACGTACGTACGTAN\n"
TOKENS = st.sampled_from(
    [b">", b"\n", b"\r", b"\n>", b"*", b"-", b"\0", b" ", b"\t", b";", b"@", b"\xef\xbb\xbf"]
    + [b"\xff\xfe", b"\xe9", b"1", b"x", b"MKV", b"\x1f\x8b", b"BZh9", b"\x28\xb5\x2f\xfd"]
)


@st.composite
def mutated_fasta(draw: st.DrawFn) -> bytes:
    """A small FASTA file after some insertions, deletions and copies, packed or not."""
    data = SEED
    for _ in range(draw(st.integers(0, 6))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.integers(0, 12)))
        data = data[:start] + draw(st.one_of(TOKENS, st.binary(max_size=4))) + data[end:]
        if draw(st.booleans()):
            data = data[end:] + data[:end]
    if draw(st.integers(0, 4)) == 0:
        data = gzip.compress(data, mtime=0)
        at = draw(st.integers(0, len(data)))
        data = data[:at] + draw(st.binary(max_size=2)) + data[at + draw(st.integers(0, 2)) :]
    return data


@pytest.fixture(scope="module")
def fuzz_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz") / "x.fa"


@settings(
    max_examples=CASES,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(data=st.one_of(mutated_fasta(), st.binary(max_size=300), st.binary().map(b">".__add__)))
def test_fuzz_gives_records_or_a_refusal(fuzz_path: Path, data: bytes) -> None:
    fuzz_path.write_bytes(data)
    failures: list[Failure] = []
    records: list[ProteinRecord] = []
    refusal = None
    try:
        records.extend(read_fasta(fuzz_path, on_failure=failures.append))
    except InputError as error:
        refusal = str(error)
    for record in records:
        assert record.sequence and set(record.sequence) <= LETTERS
        assert record.id and not set(record.id) & set("\n\r\t \0")
    for failure in failures:
        assert failure.reason.isprintable() and failure.where
    if refusal is not None:
        assert refusal.isprintable()
        return
    numbers = sorted([r.number for r in records] + [f.number for f in failures])
    assert numbers == list(range(1, len(numbers) + 1))
    assert numbers
    if not failures:
        assert list(read_fasta(fuzz_path)) == records
        return
    with pytest.raises(InputError) as caught:
        list(read_fasta(fuzz_path))
    assert str(caught.value) == f"{failures[0].where}: {failures[0].reason}"
