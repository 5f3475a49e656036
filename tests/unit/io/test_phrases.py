"""Files of texts: ids or none, line ends, what is refused and where."""

from __future__ import annotations

import gzip

import pytest

from protclip_core.errors import InputError
from protclip_core.io.phrases import Phrase, read_phrases


@pytest.fixture
def read(tmp_path):
    def read(data):
        path = tmp_path / "t.tsv"
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
        return read_phrases(path)

    return read


def test_ids_and_texts(read):
    text = "\ufeffGO:1\tATP binding\r\n\r\n  zinc ion \rx \t y\tz\u2028w\x0cv \nGO:1\tagain"
    assert read(text) == [
        Phrase("GO:1", "ATP binding"),
        Phrase("zinc ion", "zinc ion"),
        Phrase("x", "y\tz\u2028w\x0cv"),
        Phrase("GO:1", "again"),
    ]


def test_compressed(read):
    assert read(gzip.compress(b"a\tb\n")) == [Phrase("a", "b")]


def test_comments_are_left_out_with_a_warning(read, caplog):
    assert read("# list of mine\nzinc\n  #two\na#b\n") == [
        Phrase("zinc", "zinc"),
        Phrase("a#b", "a#b"),
    ]
    assert [one.levelname for one in caplog.records] == ["WARNING"]
    assert "2 lines" in caplog.text


@pytest.mark.parametrize("name", ["t.csv", "T.CSV", "t.csv.gz"])
def test_csv_by_its_name(tmp_path, name):
    data = b'a,zinc transporter\n"b","kinase, of zinc"\nheat shock\n'
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    assert read_phrases(tmp_path / name) == [
        Phrase("a", "zinc transporter"),
        Phrase("b", "kinase, of zinc"),
        Phrase("heat shock", "heat shock"),
    ]


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("a,b,c", "input.bad_line"),
        ('"a,b', "input.bad_line"),
        ("a,", "input.no_text"),
        (",a", "input.no_id"),
    ],
)
def test_csv_that_cannot_be_told(tmp_path, line, code):
    (tmp_path / "t.csv").write_text(f"x,y\n{line}\n")
    with pytest.raises(InputError) as caught:
        read_phrases(tmp_path / "t.csv")
    assert (caught.value.code, caught.value.where.endswith("line 2")) == (code, True)


def test_a_comma_is_text_elsewhere(read):
    assert read("a, b\n") == [Phrase("a, b", "a, b")]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "t.tsv: has no text"),
        (b"\n \n", "t.tsv: has no text"),
        (b"a\nb\t \n", "t.tsv:line 2: 'b' has no text after the tab"),
        (b"a\n\n\tb\n", "t.tsv:line 3: a tab and no id"),
        (b"a\nb \xe4\n", "t.tsv:line 2: byte 0xe4 is not UTF-8"),
        ("a\n".encode("utf-16"), "is UTF-16 text"),
    ],
)
def test_what_is_refused(read, data, said):
    with pytest.raises(InputError) as caught:
        read(data)
    assert said in str(caught.value)


def test_no_such_file(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_phrases(tmp_path / "none")
