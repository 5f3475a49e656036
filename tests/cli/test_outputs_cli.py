"""No command replaces a file that it reads, whatever name the file goes by."""

from __future__ import annotations

import pytest

from tests.support.helpers import write_fasta
from tests.support.ontology_files import SMALL
from tests.support.terminal import one_error

PROTEINS = [("a", "MKTAYIAKQR"), ("b", "MAAAYIWWQR"), ("c", "MKVLLPPDEF")]


@pytest.fixture
def place(tmp_path):
    """A folder of inputs; what they hold does not matter, they must not be opened for writing."""
    write_fasta(tmp_path / "x.fa", PROTEINS)
    write_fasta(tmp_path / "wt.png", PROTEINS[:1])
    write_fasta(tmp_path / "o.h5.failed.tsv", PROTEINS)
    write_fasta(tmp_path / ".o.h5.lock", PROTEINS)
    (tmp_path / "o.h5.partial").mkdir()
    write_fasta(tmp_path / "o.h5.partial" / "work", PROTEINS)
    write_fasta(tmp_path / "o.h5.partial" / "x.fa", PROTEINS)
    (tmp_path / "curves").mkdir()
    write_fasta(tmp_path / "curves" / "calibration.png", PROTEINS)
    (tmp_path / "l.tsv").write_text("protein_id\tlabel\na\tx\nb\ty\nc\tx\n")
    (tmp_path / "p.tsv").write_text("a\tb\t1\nb\tc\t0\n")
    (tmp_path / "the.obo").write_bytes(SMALL.read_bytes())
    (tmp_path / "soft.png").symlink_to("x.fa")
    (tmp_path / "hard.png").hardlink_to(tmp_path / "x.fa")
    return tmp_path


FIT = ("classify", "fit", "l.tsv", "--embeddings")
CASES = [
    (*FIT, "x.fa", "-o", "y.head", "--sequences", "y.head"),
    (*FIT, "x.fa", "-o", "hard.png", "--sequences", "x.fa", "--overwrite"),
    (*FIT, "x.fa", "-o", "l.tsv", "--overwrite"),
    (*FIT, "curves/calibration.png", "-o", "y.head", "--plot", "curves"),
    ("data", "go", "build", "the.obo", "-o", "the.obo", "--overwrite"),
    ("mutate", "wt.png", "--scan", "--plot", "wt.png", "--overwrite"),
    ("mutate", "x.fa", "--variants", "v.png", "--scan", "--plot", "v.png", "--overwrite"),
    ("similarity", "soft.png", "--plot", "soft.png", "--overwrite"),
    ("similarity", "x.fa", "--plot", "hard.png", "--overwrite"),
    ("similarity", "x.fa", "--against", "wt.png", "--plot", "wt.png", "--overwrite"),
    ("embed", "x.fa", "o.h5.failed.tsv", "-o", "o.h5"),
    ("embed", "x.fa", ".o.h5.lock", "-o", "o.h5"),
    ("embed", "x.fa", "o.h5.partial/work", "-o", "o.h5"),
    ("embed", "o.h5.partial/x.fa", "-o", "o.h5", "--overwrite"),
    ("ppi", "fit", "p.tsv", "--embeddings", "x.fa", "-o", "p.tsv", "--overwrite"),
    ("ppi", "evaluate", "p.tsv", "--embeddings", "curves/calibration.png", "--plot", "curves"),
    ("store", "merge", "x.fa", "-o", "soft.png", "--overwrite"),
]


def content(folder):
    return {
        path: path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }


@pytest.mark.parametrize("words", CASES, ids=" ".join)
def test_an_input_is_never_written_over(protclip, place, words):
    before = content(place)
    one_error(protclip(*words, cwd=place), 2, code="usage.output_is_input")
    assert content(place) == before


def test_nor_the_file_that_standard_input_comes_from(protclip, place):
    before = content(place)
    with (place / "x.fa").open() as handle:
        done = protclip("embed", "-", "-o", "x.fa", "--overwrite", cwd=place, stdin=handle.fileno())
    one_error(done, 2, code="usage.output_is_input")
    assert content(place) == before


@pytest.mark.parametrize(
    "words",
    [
        (*FIT, "x.fa", "-o", "y.head", "--plot", "no/curves"),
        (*FIT, "x.fa", "-o", "no/y.head"),
        ("mutate", "wt.png", "--scan", "--plot", "no/y.png"),
        ("similarity", "x.fa", "--plot", "no/y.png"),
        ("data", "go", "build", "the.obo", "-o", "no/y.index"),
        ("embed", "x.fa", "-o", "no/y.h5"),
    ],
    ids=" ".join,
)
def test_no_folder_is_made_for_an_output(protclip, place, words):
    before = content(place)
    one_error(protclip(*words, cwd=place), 2, code="usage.no_such_folder")
    assert content(place) == before and not (place / "no").exists()


def test_a_loop_of_links_is_not_replaced(protclip, place):
    (place / "a.png").symlink_to("b.png")
    (place / "b.png").symlink_to("a.png")
    done = protclip("similarity", "x.fa", "--plot", "a.png", cwd=place)
    one_error(done, 2, code="usage.output_is_link_loop")
    assert (place / "a.png").is_symlink() and (place / "b.png").is_symlink()
