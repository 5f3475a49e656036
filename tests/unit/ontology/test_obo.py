"""OBO files: what is taken from them, and what does not matter."""

from __future__ import annotations

import bz2
import gzip
import logging
import lzma
import subprocess
import sys

import numpy as np
import pytest
import zstandard

from protclip_core.errors import UsageError
from protclip_core.ontology import read_obo
from protclip_core.ontology.assemble import release_date
from protclip_core.ontology.obo_scan import scan_obo
from tests.support.ontology_files import SMALL, go_id, number, small


def names_above(ontology, id):
    return {ontology.ids[term] for term in ontology.ancestors(number(ontology, id))}


def go_ids(*numbers):
    return {go_id(one) for one in numbers}


def write(tmp_path, text):
    path = tmp_path / "x.obo"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def same(one, other):
    assert one.ids == other.ids and one.names == other.names
    assert one.definitions == other.definitions and one.release == other.release
    assert one.alternatives == other.alternatives and one.obsolete == other.obsolete
    for name in ("aspects", "parent_offsets", "parents", "parent_kinds"):
        assert np.array_equal(getattr(one, name), getattr(other, name))
    assert set(one.subsets) == set(other.subsets)


def test_active_terms_are_numbered_in_the_order_of_the_file():
    ontology = small()
    assert len(ontology) == 26
    assert ontology.ids[:3] == ("GO:0000001", "GO:0000002", "GO:0000003")
    assert ontology.ids[22:] == ("GO:0003674", "GO:0005575", "GO:0008150", "GO:0032991")
    assert ontology.names[number(ontology, 7)] == "β-grip"
    assert ontology.aspects[22:].tolist() == [0, 2, 1, 2]
    assert ontology.roots.tolist() == [22, 23, 24]
    assert go_id(9) not in ontology.index


def test_definitions_are_unquoted_and_may_be_left_out():
    ontology = small()
    term = number(ontology, 2)
    assert ontology.definitions[term] == 'Holds on to a "stone", wet or dry.'
    assert ontology.text(term) == 'grip of a stone: Holds on to a "stone", wet or dry.'
    assert ontology.text(term, "name") == "grip of a stone"
    assert ontology.text(number(ontology, 3)) == "grip of a rope"
    without = read_obo(SMALL, definitions=False)
    assert without.definitions == () and without.text(term) == "grip of a stone"


def test_ancestors_follow_is_a_and_part_of_across_aspects():
    ontology = small()
    assert names_above(ontology, 5) == go_ids(4, 3674, 13, 12, 8150)
    assert names_above(ontology, 19) == go_ids(12, 13, 8150)
    # regulates and has_part are no way up.
    assert names_above(ontology, 8) == go_ids(4, 3674)
    assert names_above(ontology, 27) == go_ids(25, 26, 32991, 23, 22, 21, 5575)
    only = read_obo(SMALL, relations=("is_a",))
    assert names_above(only, 5) == go_ids(4, 3674)
    assert only.relations == ("is_a",)
    with pytest.raises(UsageError, match="unknown relation 'regulates'; choose of is_a, part_of"):
        read_obo(SMALL, relations=("regulates",))


@pytest.mark.parametrize(
    ("stated", "date"),
    [
        ("releases/2024-01-17", "2024-01-17"),
        ("2024-01-17", "2024-01-17"),
        ("go/releases/2024-01-17/go-basic.owl", "2024-01-17"),
        ("releases/2024-13-45", None),
        ("1.2", None),
        (None, None),
    ],
)
def test_release_is_the_date_of_the_data_version(stated, date):
    assert release_date(stated) == date


def test_release_is_kept_as_given_and_may_be_absent(tmp_path):
    assert small().data_version == "releases/2024-01-17"
    text = SMALL.read_text("utf-8").replace("data-version: releases/2024-01-17\n", "")
    ontology = read_obo(write(tmp_path, text))
    assert (ontology.release, ontology.data_version) == (None, None)


@pytest.mark.parametrize(
    "compress", [gzip.compress, bz2.compress, lzma.compress, zstandard.ZstdCompressor().compress]
)
def test_compression_is_told_by_content(tmp_path, compress):
    same(read_obo(write(tmp_path, compress(SMALL.read_bytes()))), small())


def test_line_ends_mark_and_unused_lines_change_nothing(tmp_path, caplog):
    text = SMALL.read_bytes()
    text = text.replace(b"name: sailing\n", b"name: sailing\ncomment: caf\xe9\nmade-up-tag: x\n")
    text = b"\xef\xbb\xbf! a comment\n\n" + text
    same(read_obo(write(tmp_path, text.replace(b"\n", b"\r\n"))), small())
    assert [r.getMessage().split(": ")[1] for r in caplog.records] == [
        "1 lines that are not used are not UTF-8"
    ]


def test_letters_are_read_as_utf8_wherever_they_stand(tmp_path):
    """A guess from a first block that ends inside a letter would be wrong, and give a warning."""
    with SMALL.open("rb") as stream:
        before = b"".join(scan_obo(stream, "small").text).index(b"name: grip\n") + len(b"name: ")
    for shift in range(16, 24):
        name = "x" * (8192 - before - shift) + "é"
        text = SMALL.read_text("utf-8").replace("name: grip\n", f"name: {name}\n")
        assert name in read_obo(write(tmp_path, text)).names


def test_terms_of_other_ontologies_are_left_out_with_a_warning(tmp_path, caplog):
    text = SMALL.read_text("utf-8").replace(
        "[Typedef]\nid: part_of",
        "[Term]\nid: CL:0000001\nname: cell\n\n[Typedef]\nid: part_of",
    )
    text = text.replace(
        "is_a: GO:0000012\n", "is_a: GO:0000012\nrelationship: part_of CL:0000001\n", 1
    )
    same(read_obo(write(tmp_path, text)), small())
    assert "1 terms of other ontologies are left out" in caplog.text


def test_odd_things_that_change_no_result_are_named(tmp_path, caplog):
    text = SMALL.read_text("utf-8")
    text = text.replace("is_a: GO:0000013\n", "is_a: GO:0000013\nalt_id: GO:0000905\n")
    text = text.replace("name: voyage", "alt_id: GO:0000001\nname: voyage")
    text = text.replace("id: GO:0000017\nalt_id: GO:0000001\nname: voyage\nnamespace: "
                        "biological_process\nis_a: GO:0008150\n",
                        "id: GO:0000017\nalt_id: GO:0000001\nname: voyage\nnamespace: "
                        "biological_process\n")  # fmt: skip
    text = text.replace("is_obsolete: true\nreplaced_by: GO:0000001",
                        "is_a: GO:0000001\nis_obsolete: true\nreplaced_by: GO:0000001")  # fmt: skip
    text = text.replace("namespace: molecular_function\nis_a: GO:0000005",
                        "namespace: cellular_component\nis_a: GO:0000005")  # fmt: skip
    with caplog.at_level(logging.WARNING):
        ontology = read_obo(write(tmp_path, text))
    said = caplog.text
    assert "(GO:0000009): edges of an obsolete term are not used" in said
    assert "GO:0000001 is an alternative id and a term of its own" in said
    assert "GO:0000905 is an alternative id of several terms, so it stands for none" in said
    assert "GO:0000017 has no parent and is no root of an aspect" in said
    assert "GO:0000006 (CC) is_a GO:0000003 (MF), of another aspect (2 such edges)" in said
    assert ontology.resolve("GO:0000001").how == "current"
    torn = ontology.resolve("GO:0000905")
    assert torn.how == "obsolete" and set(torn.consider) == go_ids(14, 15)


def test_an_alternative_id_of_an_obsolete_term_shares_its_fate(tmp_path):
    text = SMALL.read_text("utf-8").replace(
        "name: obsolete scratching\n", "name: obsolete scratching\nalt_id: GO:0000906\n"
    )
    ontology = read_obo(write(tmp_path, text))
    assert ontology.resolve("GO:0000906") == (number(ontology, 1), "replaced", ())


NO_NETWORK = """
import socket, sys
def refused(*arguments, **options):
    raise AssertionError("the network was asked")
socket.socket.connect = refused
socket.getaddrinfo = refused
from protclip_core.ontology import read_obo
print(len(read_obo(sys.argv[1])))
"""


def test_a_namespace_may_be_that_of_the_header(tmp_path):
    text = SMALL.read_text("utf-8").replace("namespace: molecular_function\n", "")
    text = text.replace("namespace: gene_ontology", "namespace: molecular_function")
    same(read_obo(write(tmp_path, text)), small())


def test_imports_are_named_and_not_followed(tmp_path, caplog):
    text = SMALL.read_text("utf-8").replace(
        "ontology: go\n", "ontology: go\nimport: http://127.0.0.1:9/other.obo\n"
    )
    path = write(tmp_path, text)
    done = subprocess.run(
        [sys.executable, "-c", NO_NETWORK, str(path)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "26\n"), done.stderr
    read_obo(path)
    assert "line 7: imports are not followed: http://127.0.0.1:9/other.obo" in caplog.text


def test_importing_the_room_loads_no_reader():
    code = (
        "import sys; import protclip_core.ontology; "
        "print({'pronto', 'fastobo', 'torch', 'Bio', 'h5py', 'scipy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
