"""GO files that are broken: each refused in one line that names the place (fault 58)."""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
import resource
import subprocess
import sys

import pytest
import zstandard

from protclip_core.errors import ModelError
from protclip_core.ontology import obo, read_obo
from tests.support.ontology_files import SMALL

TEXT = SMALL.read_text("utf-8")
LINES = TEXT.split("\n")


def line_of(text, nth=1):
    """Number of the nth line that begins so."""
    found = [place for place, line in enumerate(LINES, start=1) if line.startswith(text)]
    return found[nth - 1]


def stanza_of(id):
    return line_of(f"id: {id}") - 1


def with_change(old, new):
    assert TEXT.count(old) >= 1
    return TEXT.replace(old, new, 1).encode()


def cut_at(text, *, after=0):
    return TEXT[: TEXT.index(text) + after].encode()


def refusal(path):
    with pytest.raises(ModelError) as caught:
        read_obo(path)
    said = str(caught.value)
    assert "\n" not in said and said.startswith(str(path))
    assert caught.value.hint
    return said.removeprefix(str(path))


#: Content and what is said of it, after the name of the file.
BROKEN = {
    "cycle": (
        with_change("is_a: GO:0000012\n", "is_a: GO:0000012\nis_a: GO:0000016\n"),
        r": GO:00000(\d\d) is among its own ancestors: GO:00000\1 -> .*GO:00000\1; remove one of",
    ),
    "cycle over part_of": (
        with_change("name: ship\n", "name: ship\nrelationship: part_of GO:0000023\n"),
        r": GO:00000(\d\d) is among its own ancestors: GO:00000\1 -> .*GO:00000\1; remove one of",
    ),
    "self loop": (
        with_change("name: ship\n", "name: ship\nis_a: GO:0000021\n"),
        ": GO:0000021 is among its own ancestors: GO:0000021 -> GO:0000021; remove one of",
    ),
    "missing parent": (
        with_change("is_a: GO:0000013\n", "is_a: GO:0000099\n"),
        (
            rf":line {line_of('is_a: GO:0000013')} \(GO:0000014\): its is_a parent "
            "GO:0000099 is not in the file; the file is cut or edited"
        ),
    ),
    "obsolete parent": (
        with_change("part_of GO:0000022 ! mast", "part_of GO:0000020"),
        (
            rf":line {line_of('relationship: part_of GO:0000022')} \(GO:0000023\): its part_of "
            "parent GO:0000020 is obsolete;"
        ),
    ),
    "duplicate id": (
        with_change("id: GO:0000003\n", "id: GO:0000002\n"),
        (
            rf":line {line_of('id: GO:0000003')} \(GO:0000002\): is defined a second time, "
            f"first at line {stanza_of('GO:0000002')}; remove one"
        ),
    ),
    "second name": (
        with_change("name: voyage\n", "name: voyage\nname: journey\n"),
        rf":line {line_of('name: voyage') + 1} \(GO:0000017\): a second name in one stanza;",
    ),
    "cut in a line": (
        cut_at("landing", after=3),
        (
            rf":line {line_of('name: landing')} \(GO:0000018\): ends in the middle of this line;"
            " the file is cut"
        ),
    ),
    "cut behind an id": (
        cut_at("name: landing"),
        rf":line {stanza_of('GO:0000018')} \(GO:0000018\): has no name; the file is cut",
    ),
    "cut behind a name": (
        cut_at("name: landing", after=len("name: landing\n")),
        rf":line {stanza_of('GO:0000018')} \(GO:0000018\): has no namespace; the file is cut",
    ),
    "cut before the parents": (
        cut_at("is_a: GO:0000014\n"),
        rf":line {stanza_of('GO:0000016')} \(GO:0000016\): the last stanza has no parent;",
    ),
    "cut between stanzas": (
        cut_at("[Typedef]"),
        r":line \d+: ends before the \[Typedef\] stanzas of its relations; the file is cut",
    ),
    "cut in the header": (cut_at("[Term]"), ": has no GO terms; give a release"),
    "gz cut": (gzip.compress(TEXT.encode())[:-20], ": gzip data end early"),
    "bz2 cut": (bz2.compress(TEXT.encode())[:-20], ": bzip2 data end early"),
    "xz cut": (lzma.compress(TEXT.encode())[:-20], ": xz data end early"),
    "HTML": (b"<!DOCTYPE html>\n<html><body>404</body></html>\n", ": is not an OBO file but an HT"),
    "OWL": (b'<?xml version="1.0"?>\n<rdf:RDF>\n', ": is not an OBO file but XML or HTML;"),
    "a server's error": (b"404: Not Found", ": is not an OBO file but text of another kind;"),
    "FASTA": (b">P1 x\nMKV\n", ": is not an OBO file but FASTA;"),
    "empty": (b"", ": is empty; give a release of GO"),
    "blank": (b"\n\n \n", ": is empty; give a release of GO"),
    "binary": (bytes(range(256)) * 40, ": is not an OBO file but binary data;"),
    "zeros": (bytes(5000), ": is not an OBO file but"),
    "binary inside": (
        with_change("name: mast\n", "name: mast\nna\0me\1\2\n"),
        rf":line {line_of('name: mast') + 1} \(GO:0000022\): .* is not 'tag: value'; fetch",
    ),
    "a NUL in a name": (
        with_change("name: mast\n", "name: ma\0st\n"),
        rf":line {line_of('name: mast')}: has a NUL character; the file is damaged",
    ),
    "latin-1": (
        TEXT.encode().replace("β-".encode(), b"\xdf-", 1),
        (
            rf":line {line_of('name: β')}: byte 0xdf at column 7 is not UTF-8; convert it with: "
            "iconv -f LATIN1"
        ),
    ),
    "UTF-16": (TEXT.encode("utf-16"), ": is encoded in UTF-16; convert it with: iconv -f UTF-16"),
    "no namespace": (
        with_change("name: mast\nnamespace: cellular_component\n", "name: mast\n"),
        rf":line {stanza_of('GO:0000022')} \(GO:0000022\): has no namespace; fetch",
    ),
    "unknown namespace": (
        with_change("name: mast\nnamespace: cellular_component", "name: mast\nnamespace: ship"),
        rf":line {stanza_of('GO:0000022')} \(GO:0000022\): unknown namespace 'ship'; GO has",
    ),
    "damaged id of a parent": (
        with_change("is_a: GO:0000014\n", "is_a: GO:00014\n"),
        rf":line {line_of('is_a: GO:0000014')} \(GO:0000016\): 'GO:00014' is not a GO id;",
    ),
    "damaged id": (
        with_change("id: GO:0000014\n", "id: GO:00014\n"),
        rf":line {line_of('id: GO:0000014')}: 'GO:00014' is not a GO id;",
    ),
    "stanza without id": (
        with_change("id: GO:0000014\n", ""),
        rf":line {line_of('name: sailing upwind') - 1}: a stanza does not begin with its id;",
    ),
    "unknown stanza": (with_change("[Term]", "[Trem]"), r":line \d+: '\[Trem\]' is not a stanza"),
    "open quotation": (
        with_change('def: "Moving by wind." [made:up]', 'def: "Moving by wi'),
        rf":line {line_of('def: ' + chr(34) + 'Moving')} \(GO:0000013\): '\"Moving by wi' is not a",
    ),
    "obsolete or not": (
        with_change("is_obsolete: true", "is_obsolete: yes"),
        rf":line {line_of('is_obsolete')} \(GO:0000009\): is_obsolete is 'yes', not true or false",
    ),
    "second release": (
        with_change("ontology: go\n", "ontology: go\ndata-version: releases/2023-01-01\n"),
        ":line 7: a second data-version in the header;",
    ),
}


#: Codes of some of them; a fault of a release is one of the model's side.
CODES = {
    "cycle": "model.cyclic_terms",
    "missing parent": "model.missing_parent",
    "duplicate id": "model.duplicate_id",
    "cut in a line": "model.truncated",
    "cut between stanzas": "model.truncated",
    "gz cut": "model.truncated",
    "HTML": "model.other_format",
    "empty": "model.empty",
    "latin-1": "model.bad_encoding",
    "UTF-16": "model.bad_encoding",
    "unknown namespace": "model.not_go",
    "open quotation": "model.bad_line",
}


@pytest.mark.parametrize("kind", CODES)
def test_a_broken_file_has_a_code(kind, tmp_path):
    path = tmp_path / "go.obo"
    path.write_bytes(BROKEN[kind][0])
    with pytest.raises(ModelError) as caught:
        read_obo(path)
    assert caught.value.code == CODES[kind]


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_file_is_refused_in_one_line(kind, tmp_path):
    data, message = BROKEN[kind]
    path = tmp_path / "go.obo"
    path.write_bytes(data)
    said = refusal(path)
    assert re.match(message, said), said


def test_a_file_that_is_not_there_is_refused(tmp_path):
    assert "no such file" in refusal(tmp_path / "go.obo")
    assert "is a directory" in refusal(tmp_path)


def test_every_cut_between_two_lines_is_refused_or_changes_no_term(tmp_path):
    """What is cut behind the last term leaves all results as they are."""
    path = tmp_path / "go.obo"
    whole = read_obo(SMALL)
    last = line_of("[Typedef]")
    for length in range(1, len(LINES)):
        path.write_text("\n".join(LINES[:length]) + "\n", "utf-8")
        try:
            read = read_obo(path)
        except ModelError:
            refusal(path)
        else:
            assert length >= last
            assert (read.ids, read.names) == (whole.ids, whole.names)
            assert read.parents.tolist() == whole.parents.tolist()


@pytest.mark.parametrize(
    ("limit", "value", "message"),
    [
        ("MAX_TERMS", 20, "has more than 20 terms"),
        ("MAX_EDGES", 20, "has more than 20 edges"),
        ("MAX_USED_BYTES", 500, "has more than 500 bytes of names and definitions"),
        ("MAX_BYTES", 500, "has more than 500 bytes; give"),
    ],
)
def test_a_file_larger_than_any_release_is_refused(monkeypatch, limit, value, message):
    monkeypatch.setattr(obo, limit, value)
    assert message in refusal(SMALL)


HOSTILE = """
import sys
from protclip_core.errors import ModelError
from protclip_core.ontology import read_obo
import numpy
for path in sys.argv[1:]:
    try:
        read_obo(path)
    except ModelError as error:
        print(error)
"""


def pack(path, pieces):
    """Compress a gigabyte to next to nothing."""
    packer = zstandard.ZstdCompressor(level=1).compressobj()
    with path.open("wb") as file:
        for piece in pieces:
            file.write(packer.compress(piece))
        file.write(packer.flush())


def test_a_bomb_does_not_take_the_memory(tmp_path):
    """One line without end, and one definition after the other, in a process of 1.5 GB."""
    stanza = b"[Term]\nid: GO:%07d\nname: " + b"x" * 900_000
    line, terms = tmp_path / "line.obo", tmp_path / "terms.obo"
    pack(line, [b"[Term]\nid: GO:0000001\nname: ", *[b"x" * (10 << 20)] * 100])
    tail = b"\nnamespace: molecular_function\n\n"
    pack(terms, (stanza % number + tail for number in range(1000)))
    limit = 1536 << 20
    done = subprocess.run(
        [sys.executable, "-c", HOSTILE, str(line), str(terms)],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
    )
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    assert "line.obo:line 3: has more than 1,048,576 bytes without a line end" in said[0]
    assert "has more than 67,108,864 bytes of names and definitions" in said[1]
    assert len(said) == 2
