"""Lists of pairs as they come: each line is answered, and says what the file says."""

from __future__ import annotations

import gzip

import pytest

from protclip_core.errors import InputError
from protclip_core.io.pairs.lists import label_of, read_pair_blocks


def read(path, text, rows=100):
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    blocks = list(read_pair_blocks(path, rows))
    found = blocks[0]
    for block in blocks[1:]:
        found.lines.extend(block.lines)
        found.a.extend(block.a)
        found.b.extend(block.b)
    return found


@pytest.mark.parametrize(
    "text",
    [
        "protein_a\tprotein_b\nP1\tP2\nP3\tP4\n",
        "P1\tP2\r\nP3\tP4\r\n",
        "protein1 protein2 combined_score\nP1 P2 900\nP3 P4 150",
        "score,protein_B,protein_A\n1,P2,P1\n2,P4,P3\n",
        '"P1";"P2"\n"P3";"P4"\n',
        "\ufeff#protein_a\tprotein_b\nP1\tP2\n\n# a remark\nP3\tP4\n",
        "# a remark, of somebody\nprotein_a\tprotein_b\nP1\tP2\nP3\tP4\n",
    ],
)
def test_forms_of_a_list(text, tmp_path):
    swapped = "protein_B,protein_A" in text
    found = read(tmp_path / "x.tsv", text)
    one, other = (found.b, found.a) if swapped else (found.a, found.b)
    assert (one, other) == (["P1", "P3"], ["P2", "P4"])
    assert found.faults == {}
    assert [text.splitlines()[line - 1].count("P") for line in found.lines] == [2, 2]


def test_names_that_look_like_a_header_are_a_pair_where_they_are_known(tmp_path):
    path = tmp_path / "x.tsv"
    path.write_text("protein1\tprotein2\nprotein2\tprotein3\n")
    (block,) = read_pair_blocks(path)
    assert block.a == ["protein2"]
    (block,) = read_pair_blocks(path, is_known={"protein1", "protein2"}.__contains__)
    assert block.a == ["protein1", "protein2"]


def test_a_third_column_without_a_header_is_the_label(tmp_path):
    path = tmp_path / "x.tsv.gz"
    with gzip.open(path, "wb") as file:
        file.write(b"P1\tP2\t0\r\nP3\tP4\t1\r\n")
    (block,) = read_pair_blocks(path)
    assert [label_of(cell) for cell in block.labels] == [0, 1]
    assert block.types is None and block.splits is None


@pytest.mark.parametrize(
    ("cell", "label"),
    [("1", 1), ("0.0", 0), (" Yes ", 1), ("-", 0), ("FALSE", 0), ("0.7", None), ("", None)],
)
def test_labels(cell, label):
    assert label_of(cell) == label


def test_types_in_one_column_in_several_and_in_lines(tmp_path):
    listed = read(tmp_path / "a", "protein_a\tprotein_b\ttypes\nP1\tP2\tBinding; catalysis\n")
    assert listed.types == [("binding", "catalysis")]
    text = "n\tprotein_a\tprotein_b\treaction\tbinding\tptmod\n0\tP1\tP2\t1\t0\t1\n"
    assert read(tmp_path / "b", text).types == [("reaction", "ptmod")]
    text = "item_id_a\titem_id_b\tmode\taction\n9606.E1\t9606.E2\tbinding\t\n9606.E2\t9606.E1\t\t\n"
    actions = read(tmp_path / "c", text)
    assert actions.types == [("binding",), ()]
    assert actions.a == ["9606.E1", "9606.E2"]


def test_what_is_wrong_stands_in_its_place(tmp_path):
    text = (
        b"protein_a\tprotein_b\tsplit\nP1\tP2\ttrain\nP3\n\tP4\tval\nP\xe95\tP6\ttest\nP1\tP9\tx\n"
    )
    found = read(tmp_path / "x", text)
    assert sorted(found.faults) == [1, 2, 3, 4]
    assert "names no two proteins: 'P3'" in found.faults[1]
    assert found.faults[3] == "is not UTF-8"
    assert found.a[3] == "P\\xe95"
    assert "split 'x' is none of train" in found.faults[4]
    assert found.splits == ["train", "", "valid", "test", ""]
    assert found.lines == [2, 3, 4, 5, 6]


def test_blocks_hold_what_one_block_would(tmp_path):
    text = "".join(f"P{n}\tQ{n}\t{n % 2}\n" for n in range(25))
    whole, parts = read(tmp_path / "a", text), read(tmp_path / "b", text, rows=4)
    assert (whole.a, whole.b, whole.lines) == (parts.a, parts.b, parts.lines)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty|lists no pairs"),
        ("protein_a\tprotein_b\n", "lists no pairs; give two names a line"),
        (">P1\nMKV\n", "is not a list of pairs but FASTA"),
    ],
)
def test_no_list(text, message, tmp_path):
    with pytest.raises(InputError, match=message):
        read(tmp_path / "x.tsv", text)
