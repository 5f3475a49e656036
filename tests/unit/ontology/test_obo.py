"""OBO files: what is taken from them, and what does not matter."""

from __future__ import annotations

import bz2
import gzip
import logging
import lzma
import subprocess
import sys
import warnings

import numpy as np
import pronto
import pytest
import zstandard

from protclip_core.errors import UsageError
from protclip_core.ontology import read_obo
from protclip_core.ontology.assemble import release_date
from protclip_core.ontology.obo_values import has_odd_reference, plain_value
from protclip_core.ontology.terms import ASPECTS
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
        "1 line not UTF-8, and not used"
    ]


ODD = r"""format-version: 1.2
data-version: releases/2024-01-17
subsetdef: goslim_x "A slim"
default-namespace: molecular_function

[Term]
id: GO:0003674 {comment="root"} ! molecular function
name: molecular\:function \{a\} {source="x"} ! not a name
namespace: molecular_function {since="1"}
def: "The \"root\": a\tb, c \\ d \{e\} [f] {g} ! h." [GOC:x "a, [title]", http\://a.b/c,PMID:1] {since="2"} ! i
synonym: "odd [one" EXACT [] ! j
subset: goslim_y {since="3"} ! k
subset: goslim_x
alt_id: GO:0000902 {since="4"}
alt_id: GO\:0000901!l

[Term]
id: GO:0000001
name: β-(1→4)-"wow"\!
def: "" []
is_a: GO:0003674 {is_inferred="true"} ! molecular function
relationship: regulates GO:0003674
xref: MetaCyc:A\ B

[Term]
id: GO:0000002
name: gone
is_obsolete: true {since="5"} ! m
replaced_by: GO:0000001 ! n
replaced_by: CL:0000001
consider: GO:0003674
consider: GO:0000001 {since="6"}

[Typedef]
id: regulates
name: regulates
"""  # noqa: E501


def oracle(path):
    """Give what pronto, a reader of others, takes from a file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        read = pronto.Ontology(str(path), import_depth=0)
    default = read.metadata.default_namespace
    terms, gone = {}, {}
    for term in read.terms():
        if not term.id.startswith("GO:"):
            continue
        others = {id for id in term.alternate_ids if id.startswith("GO:")}
        if term.obsolete:
            fates = (term.replaced_by.ids, term.consider.ids)
            gone[term.id] = *({id for id in ids if id.startswith("GO:")} for ids in fates), others
            continue
        above = {("is_a", one.id) for one in term.superclasses(1, with_self=False)}
        above |= {
            (kind.id, one.id)
            for kind, ones in term.relationships.items()
            if kind.id == "part_of"
            for one in ones
        }
        said = str(term.definition or "")
        aspect = {"m": "MF", "b": "BP", "c": "CC"}[(term.namespace or default)[0]]
        terms[term.id] = term.name.strip(), aspect, said, above, set(term.subsets), others
    return terms, gone, read.metadata.data_version


def ours(path):
    """Give the same of our reader."""
    read = read_obo(path)
    others, subsets, terms, gone = {}, {}, {}, {}
    for other, term in read.alternatives.items():
        others.setdefault(read.ids[term], set()).add(other)
    for name, members in read.subsets.items():
        for term in members:
            subsets.setdefault(read.ids[term], set()).add(name)
    for term, id in enumerate(read.ids):
        rows = slice(*read.parent_offsets[term : term + 2])
        above = {
            (read.relations[kind], read.ids[parent])
            for parent, kind in zip(read.parents[rows], read.parent_kinds[rows], strict=True)
        }
        aspect = ASPECTS[read.aspects[term]]
        sets = above, subsets.get(id, set()), others.get(id, set())
        terms[id] = read.names[term], aspect, read.definitions[term], *sets
    for id, fate in read.obsolete.items():
        gone[id] = set(fate.replaced_by), set(fate.consider), others.get(id, set())
    return terms, gone, read.data_version


def test_all_that_is_used_is_read_as_pronto_reads_it(tmp_path):
    path = write(tmp_path, ODD)
    terms, gone, version = ours(path)
    assert (terms, gone, version) == oracle(path)
    name, aspect, said, *_, others = terms["GO:0003674"]
    assert (name, aspect) == ("molecular:function {a}", "MF")
    assert said == 'The "root": a\tb, c \\ d {e} [f] {g} ! h.'
    assert others == {"GO:0000901", "GO:0000902"}
    assert terms["GO:0000001"][0] == 'β-(1→4)-"wow"!'
    assert gone["GO:0000002"][:2] == ({"GO:0000001"}, {"GO:0003674", "GO:0000001"})


def test_a_space_may_be_written_as_an_escape():
    """As the format says; pronto gives ``W``."""
    assert plain_value(r"a\Wb\t\!c \\ ! d") == "a b\t!c \\"


def test_the_small_release_is_read_as_pronto_reads_it():
    terms, gone, version = ours(SMALL)
    theirs, dropped, stated = oracle(SMALL)
    assert (terms, version) == (theirs, stated)
    # Alternative ids of an obsolete term lead to its replacement, so both sides are compared less.
    assert {id: fate[:2] for id, fate in gone.items() if id in dropped} == {
        id: fate[:2] for id, fate in dropped.items()
    }


def test_letters_of_any_width_are_read(tmp_path):
    for name in ("x" * 8191 + "é", "x" * 8190 + "→", "𝛼-helix"):
        text = SMALL.read_text("utf-8").replace("name: grip\n", f"name: {name}\n")
        assert name in read_obo(write(tmp_path, text)).names


@pytest.mark.parametrize(
    ("references", "is_odd"),
    [
        ("", False),
        ("GOC:x", False),
        ('GOC:x, PMID:1 "a, title", http://x.y/z', False),
        (r"http\://x.y/z,w\,v", False),
        ("GOC:x y", True),
        ("PMID:1, , PMID:2", True),
        ("GOC:x,", True),
    ],
)
def test_references_that_break_the_format(references, is_odd, tmp_path, caplog):
    assert has_odd_reference(references) is is_odd
    old = 'def: "Moving by wind." [made:up]'
    text = SMALL.read_text("utf-8")
    assert old in text
    path = write(tmp_path, text.replace(old, f'def: "Moving by wind." [{references}]'))
    same(read_obo(path), small())
    assert [record.levelname for record in caplog.records] == ["WARNING"] * is_odd


def test_terms_of_other_ontologies_are_left_out_with_a_warning(tmp_path, caplog):
    text = SMALL.read_text("utf-8").replace(
        "[Typedef]\nid: part_of",
        "[Term]\nid: CL:0000001\nname: cell\n\n[Typedef]\nid: part_of",
    )
    text = text.replace(
        "is_a: GO:0000012\n", "is_a: GO:0000012\nrelationship: part_of CL:0000001\n", 1
    )
    same(read_obo(write(tmp_path, text)), small())
    assert "1 term of other ontologies left out" in caplog.text


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
