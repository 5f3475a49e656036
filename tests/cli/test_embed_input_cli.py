"""``protclip embed`` on bad and odd input: what is refused, what is counted, hostile ids."""

from __future__ import annotations

import gzip

import pytest

from tests.support.helpers import write_fasta
from tests.support.terminal import NO_MODEL, one_error, read, rows_of

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
    (b">a\0b\nMKV\n", "record 1", "has a NUL character"),
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
    assert {path.name for path in tmp_path.iterdir()} == {"x.fa"}


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
    assert lines[5].startswith("error: 9 records cannot be used; ")
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


def test_hostile_ids_come_back_and_touch_nothing(embed, tmp_path):
    """Fault 29."""
    ids = [id.replace(" ", "_") for id in HOSTILE]
    write_fasta(tmp_path / "x.fa", [(id, "MKVLA") for id in ids])
    for layout in ("packed", "per-protein"):
        done = embed("x.fa", "--overwrite", "--layout", layout)
        assert done.rc == 0
        assert "\x1b" not in done.err
        assert read(tmp_path / "x.h5")[0] == ids
    assert {path.name for path in tmp_path.iterdir()} == {"x.fa", "x.h5"}
    shown = [id.encode("unicode_escape").decode() for id in ids]
    assert [row[0] for row in rows_of(embed("x.fa", "-o", "-").out)] == shown
