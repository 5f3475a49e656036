"""Tables of labels: what they say, and what is wrong with them, by line."""

from __future__ import annotations

import gzip

import pytest

from protclip_core.errors import InputError
from protclip_core.io.labels import read_labels


@pytest.fixture
def table(tmp_path):
    def table(text, name="l.tsv"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_labels(path)

    return table


def said(found):
    return {id: (one.labels, one.split, one.place) for id, one in found.proteins.items()}


def test_lines_and_semicolons_and_other_columns(table):
    found = table(
        "note\tprotein_id\tlabel\n.\tp1\ta\n\n.\tp2\tb; c;b\n.\tp1\tc\n.\tp1\ta\n.\tp3\t\n"
    )
    assert said(found) == {"p1": (["a", "c"], "", 2), "p2": (["b", "c"], "", 4), "p3": ([], "", 7)}
    assert (found.repeats, found.has_splits) == (1, False)


def test_splits_and_other_ways_to_write_a_file(table):
    text = "\ufeffProtein_ID\tLabel\tSplit\r\np1\ta\tTrain\r\np2\tb\tvalidation\r\np3\ta\ttest\r\n"
    assert [one.split for one in table(text).proteins.values()] == ["train", "valid", "test"]
    assert table(gzip.compress(text.encode())).has_splits


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty|holds nothing|no protein"),
        ("protein_id\tlabel\n", "l.tsv: lists no protein; begin with the line"),
        ("p1\ta\n", "names no column 'protein_id': 'p1.ta'"),
        ("protein_id\tclass\np1\ta\n", "names no column 'label'"),
        (">p1\nMKT\n", "is not a table of labels but FASTA"),
        ("protein_id\tlabel\np1\n", "line 2: 1 columns, at least 2 are needed"),
        ("protein_id\tlabel\n\ta\n", "line 2: names no protein"),
        ("protein_id\tlabel\tsplit\np1\ta\tdev\n", "line 2: split 'dev' is not known"),
        ("protein_id\tlabel\tsplit\np1\ta\ttest\np1\tb\ttrain\n", "line 3: p1 is in split 'train'"),
        ("protein_id\tlabel\tsplit\np1\ta\ttest\np2\tb\t\n", "line 3: has no split, as 1 of 2"),
        (b"protein_id\tlabel\np1\tcaf\xe9\n", "line 2: is not UTF-8"),
        ("protein_id\tlabel\n".encode("utf-16"), "is UTF-16 text"),
    ],
)
def test_what_is_wrong_is_named(table, text, message):
    with pytest.raises(InputError, match=message):
        table(text)


@pytest.mark.parametrize(
    "text",
    [
        'protein_id,label\np1,a\np2,"b, or c"\n',
        "protein_id;label\np1;a\np2;b, or c\n",
        '"protein_id"\t"label"\n"p1"\t"a"\np2\t"b, or c"\n',
    ],
)
def test_columns_are_divided_as_in_the_header(table, text):
    assert said(table(text)) == {"p1": (["a"], "", 2), "p2": (["b, or c"], "", 3)}


def test_a_quotation_mark_may_stand_for_itself(table):
    found = table('protein_id\tlabel\np1\t5" end\np2\t"open\n')
    assert [one.labels for one in found.proteins.values()] == [['5" end'], ['"open']]


def test_a_column_of_another_heading_is_the_split_if_its_cells_are(table):
    found = table("protein_id\tlabel\tSet\np1\ta\ttraining\np2\tb\ttest\n")
    assert [one.split for one in found.proteins.values()] == ["train", "test"]
    assert (found.split_column, found.passed_over) == ("Set", ())
    found = table("protein_id\tlabel\tfold\np1\ta\t1\np2\tb\t2\n")
    assert (found.has_splits, found.split_column, found.passed_over) == (False, "", ("fold",))


def test_groups_are_read_by_their_heading(table, tmp_path):
    text = "protein_id\tlabel\tgroup\tfamily\np1\ta\tg\tf\np2\tb\t\tf\n"
    assert [one.group for one in table(text).proteins.values()] == ["g", ""]
    found = read_labels(tmp_path / "l.tsv", group_column="Family")
    assert [one.group for one in found.proteins.values()] == ["f", "f"]
    with pytest.raises(InputError) as caught:
        read_labels(tmp_path / "l.tsv", group_column="clan")
    assert caught.value.code == "input.missing_column" and "family" in caught.value.hint
    with pytest.raises(InputError) as caught:
        table(text + "p1\ta\tother\tf\n")
    assert caught.value.code == "input.two_splits" and caught.value.where.endswith("line 4")


def test_a_column_of_0_and_1_for_each_label(table):
    found = table("protein_id\tnucleus\tmass\tcytosol\np1\t1\t5.5\t0\np2\t1\t6\t1\np3\t0\t7\t0\n")
    assert said(found) == {
        "p1": (["nucleus"], "", 2),
        "p2": (["nucleus", "cytosol"], "", 3),
        "p3": ([], "", 4),
    }
    assert found.is_wide
    with pytest.raises(InputError) as caught:
        table("protein_id\tnucleus\tcytosol\np1\t1\t2\np2\t0\t0\n")
    assert caught.value.code == "input.missing_column"


def test_separators_of_labels(table, tmp_path):
    assert table("protein_id\tlabel\np1\ta,b\np2\ta\np3\tb,c\n").likely_separator() == ","
    found = read_labels(tmp_path / "l.tsv", separator=",")
    assert [one.labels for one in found.proteins.values()] == [["a", "b"], ["a"], ["b", "c"]]
    assert table("protein_id\tlabel\np1\ta,b\np2\ta\np3\tb\n").likely_separator() == ""
