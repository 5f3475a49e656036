"""``protclip embed`` on folders and on lists of files."""

from __future__ import annotations

import gzip

import pytest

from protclip_core.store.reader import EmbeddingStore
from tests.support.terminal import one_error, read, rows_of


@pytest.fixture
def folder(tmp_path):
    """A folder of three FASTA files, and what is not FASTA."""
    folder = tmp_path / "v1.0"
    (folder / "sub.fa").mkdir(parents=True)
    (folder / "b.fasta").write_text(">b\nMKTAYIAK\n")
    (folder / "a.FAA.gz").write_bytes(gzip.compress(b">a\nMSLLTEVE\n"))
    (folder / "c.pep").write_text(">c\nMVLSPADK\n")
    (folder / ".d.fa").write_text(">d\nMVLSPADK\n")
    (folder / "notes.txt").write_text("hello\n")
    return folder


def test_a_folder_stands_for_its_fasta_files(embed, folder, tmp_path):
    done = embed("v1.0")
    warning, last = done.err.splitlines()
    assert (done.rc, done.out) == (0, "")
    assert "v1.0: 2 other" in warning and last.startswith("v1.0.h5: 3 proteins; 3 sequences")
    assert read(tmp_path / "v1.0.h5")[0] == ["a", "b", "c"]
    with EmbeddingStore.open(tmp_path / "v1.0.h5") as store:
        assert store.attributes["input"] == "v1.0/a.FAA.gz v1.0/b.fasta v1.0/c.pep"
    assert [row[0] for row in rows_of(embed("v1.0", "-o", "-").out)] == ["a", "b", "c"]
    assert "3 records" in embed("v1.0", "--dry-run").out
    one_error(embed("v1.0", "-o", "v1.0/b.fasta"), 2, code="usage.output_is_input")
    one_error(embed("v1.0/..", "-q"), 2, code="usage.unnamed_output")
    one_error(embed("v1.0/sub.fa"), 3, "v1.0/sub.fa", code="input.is_folder")


def test_a_list_stands_for_its_files(embed, folder, tmp_path):
    paths = b"v1.0/c.pep\n\nv1.0/a.FAA.gz\r\n"
    (tmp_path / "list.txt").write_bytes(paths)
    done = embed("@list.txt", "v1.0/b.fasta", "-o", "x.h5")
    assert (done.rc, read(tmp_path / "x.h5")[0]) == (0, ["c", "a", "b"])
    done = embed("@-", "-o", "-", stdin=paths)
    assert [row[0] for row in rows_of(done.out)] == ["c", "a"]
    one_error(embed("@list.txt"), 2, code="usage.unnamed_output")
    one_error(embed("@no.txt", "-o", "y.h5"), 3, "no.txt: ", code="input.no_such_file")
    one_error(embed("@v1.0/b.fasta", "-o", "y.h5"), 3, code="input.other_format")
    one_error(embed("@-", "-o", "y.h5", stdin=b"\n"), 3, "<stdin>", code="input.empty")
    (tmp_path / "list.txt").write_text("v1.0/z.fa\n")
    one_error(embed("@list.txt", "-o", "y.h5"), 3, "v1.0/z.fa", code="input.no_such_file")
    assert not (tmp_path / "y.h5").exists()


def test_a_file_whose_name_begins_with_an_at_sign(embed, tmp_path):
    (tmp_path / "@x.fa").write_text(">a\nMKTAYIAK\n")
    done = embed("@x.fa", "-o", "x.h5")
    assert (done.rc, read(tmp_path / "x.h5")[0]) == (0, ["a"])
    assert "x.h5: 1 protein; 1 sequence embedded" in done.err
