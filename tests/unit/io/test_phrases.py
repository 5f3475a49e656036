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
