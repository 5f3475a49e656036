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
