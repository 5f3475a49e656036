"""Tables of pairs: how columns are divided and named, and what is no pair."""

from __future__ import annotations

import gzip

import numpy as np
import pytest

from protclip_core.errors import InputError
from protclip_core.io.pairs.table import ListedPair, read_pair_table, read_pairs


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "x.txt"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    return write


@pytest.mark.parametrize(
    "text",
    [
        "p1\tp2\np3\tp4\n",
        "protein_a\tprotein_b\np1\tp2\np3\tp4\n",
        "# made by hand\nProtein1,protein2,label\np1,p2,1\n\np3,p4,0",
        "label;Uniprot ID1;Uniprot ID2\r\n1;p1;p2\r\n0; p3 ;p4\r\n",
        "p1  p2\np3 p4\n",
        "id1 id2\np1 p2\np3 p4\n",
        '#label,"partner_a","partner_b"\n1,"p1","p2"\n# between\n0,p3,p4\n',
        gzip.compress(b"\xef\xbb\xbfquery\ttarget\np1\tp2\np3\tp4\n", mtime=0),
    ],
)
def test_columns_are_found(write, text):
    found = list(read_pairs(write(text)))
    assert found == [ListedPair("p1", "p2"), ListedPair("p3", "p4")]


def test_a_header_is_a_pair_where_it_names_proteins(write):
    path = write("protein1\tprotein2\nprotein2\tprotein3\n")
    assert len(list(read_pairs(path))) == 1
    assert len(list(read_pairs(path, lambda name: name.startswith("protein")))) == 2
    assert len(list(read_pairs(path, lambda name: name == "protein1"))) == 1


def test_a_line_with_a_number_is_no_header(write):
    table = read_pair_table(write("prot1\tprot2\t0.5\nprot1\tprot3\t0.25\n"))
    assert table.pairs == [("prot1", "prot2"), ("prot1", "prot3")]
    assert table.columns["column 3"].tolist() == [0.5, 0.25]


def test_every_line_is_answered(write):
    found = list(read_pairs(write(b"p1\tp2\nalone\n\tp2\nB\xe9\tp3\n")))
    assert [pair.fault for pair in found] == [
        "",
        "line 2 names no two proteins: 'alone'",
        "line 3 names no two proteins: 'p2'",
        "",
    ]
    assert found[3].protein_a == "B\\xe9"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "lists no pairs"),
        ("protein_a\tprotein_b\n", "lists no pairs"),
        (">p1\nMKT\n", "is not a table of pairs but FASTA"),
    ],
)
def test_what_lists_nothing(write, text, said):
    for read in (lambda path: list(read_pairs(path)), read_pair_table):
        with pytest.raises(InputError, match=said):
            read(write(text))


def test_numbers_of_a_table(write):
    table = read_pair_table(
        write("BMA Resnik;Uniprot ID1;Uniprot ID2;kind;sim\n0.5;a1;b1;x;1\n;a2;b2;;2e-1\n")
    )
    assert table.pairs == [("a1", "b1"), ("a2", "b2")]
    assert list(table.columns) == ["BMA Resnik", "sim"]
    np.testing.assert_array_equal(table.columns["BMA Resnik"], [0.5, np.nan])
    np.testing.assert_array_equal(table.columns["sim"], [1, 0.2])
    table = read_pair_table(write("a1\tb1\t0.5\t\na2\tb2\n"))
    assert list(table.columns) == ["column 3"]


def test_a_table_without_numbers_or_with_bad_lines(write):
    with pytest.raises(InputError, match="no column of numbers"):
        read_pair_table(write("a1\tb1\tx\n"))
    with pytest.raises(InputError, match="2 of 3 lines name no pair") as caught:
        read_pair_table(write("a1\tb1\t1\nalone\nalso\n"))
    assert "line 2" in caught.value.details[0]
