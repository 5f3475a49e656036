"""Annotations as other tools write them: each read, or refused by name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from protclip_core.errors import InputError
from protclip_core.ontology.assemble import TermList, assemble, go_number
from protclip_core.ontology.reference import read_annotations
from tests.support.ontology_files import small

CASES = Path(__file__).parents[2] / "data/cases/annotations"
ROOT, KINASE, BINDING, ACID = "GO:0003674", "GO:0003920", "GO:0000166", "GO:0003824"


@pytest.fixture(scope="module")
def ontology():
    """All terms of the cases, each right below the root of functions."""
    text = "".join(path.read_text() for path in CASES.iterdir())
    terms = TermList()
    for id in sorted({ROOT, *re.findall(r"GO:[0-9]{7}", text)}):
        terms.ids.append(id)
        terms.names.append(id)
        terms.definitions.append("")
        terms.aspects.append(0)
        if id != ROOT:
            terms.edges.add(go_number(id), go_number(ROOT), 0, 1)
    return assemble(terms, "cases", data_version="2024-01-17")


def terms_of(path, ontology, **options):
    read = read_annotations(path, ontology, **options)
    found = {id: {ontology.ids[term] for term in terms} for id, terms in read.items()}
    return found, read.provenance


def written(tmp_path, text):
    path = tmp_path / "x.txt"
    path.write_text(text)
    return path


BOTH = {"Q00001": {KINASE, BINDING}, "Q00002": {KINASE}}
ONE = {"Q00001": {KINASE}, "Q00002": {KINASE}}


@pytest.mark.parametrize(
    ("case", "form", "wanted"),
    [
        ("t01_topgo.map", "TSV", BOTH),
        ("t02_goatools.assoc", "TSV", BOTH),
        ("t03_blast2go.annot", "TSV", {"Q00001": {KINASE, BINDING}}),
        ("t05_uniprot2.tsv", "UniProt", BOTH),
        ("t06_interproscan.tsv", "InterProScan", {"Q00001": {KINASE, ACID}}),
        ("t08.gpad", "GPAD 2", {"Q00001": {KINASE}}),
        ("t09.gpa", "GPAD 1", {"Q00001": {KINASE}}),
        ("t11.csv", "CSV", ONE),
        ("t12_space.txt", "table", ONE),
        ("t14_header.tsv", "TSV", ONE),
        ("t16_lower.tsv", "TSV", {"Q00001": {KINASE}}),
    ],
)
def test_tables_of_other_tools(ontology, case, form, wanted):
    found, provenance = terms_of(CASES / case, ontology)
    assert (found, provenance.format) == (wanted, form)
    assert provenance.lines == provenance.taken == sum(map(len, wanted.values()))


def test_our_own_topgo_comes_in_again(ontology):
    path = CASES / "r01_own.topgo"
    found, _ = terms_of(path, ontology)
    lines = dict(line.split("\t") for line in path.read_text().splitlines())
    assert found == {id: set(ids.split(", ")) for id, ids in lines.items()}


@pytest.mark.parametrize(
    ("text", "form", "wanted"),
    [
        (
            (
                "## emapper-2.1.12\n#query\tseed_ortholog\tevalue\tGOs\tEC\n"
                f"a\t1.x\t1e-9\t{KINASE},{BINDING}\t-\nb\t1.y\t1e-5\t-\t-\n"
            ),
            "eggNOG-mapper",
            {"a": {KINASE, BINDING}},
        ),
        (
            (
                "#tax_id\tGeneID\tGO_ID\tEvidence\tQualifier\tGO_term\tPubMed\tCategory\n"
                f"9606\t1\t{KINASE}\tIDA\tenables\tx\t-\tFunction\n"
                f"9606\t1\t{BINDING}\tIDA\tNOT enables\tx\t-\tFunction\n"
                f"9606\t2\t{ROOT}\tND\tenables\tx\t-\tFunction\n"
            ),
            "gene2go",
            {"1": {KINASE}},
        ),
        (
            f"9606\t1\t{KINASE}\tIDA\tenables\tx\t-\tFunction\n",
            "gene2go",
            {"1": {KINASE}},
        ),
        (
            (
                "Entry\tEntry Name\tGene Ontology (molecular function)\tGene Ontology IDs\n"
                f"P1\tA_X\tsome binding [{BINDING}]; other [{KINASE}]\t\nP2\tB_X\t\t{ACID}\n"
            ),
            "UniProt",
            {"P1": {BINDING, KINASE}, "P2": {ACID}},
        ),
        (
            (
                "!gpad-version: 2.0\n"
                f"X:1\tNOT\tRO:1\t{KINASE}\tr\tECO:0000314\nX:1\t\tRO:1\t{BINDING}\tr\tECO:0000307\n"
                f"X:1\t\tRO:1\t{ACID}\tr\tECO:0000501\n"
            ),
            "GPAD 2",
            {"1": {ACID}},
        ),
        (f'"protein","go_id","name"\n"P1","{KINASE}","a, b"\n', "CSV", {"P1": {KINASE}}),
        (f"P1,{KINASE},{BINDING}\n", "CSV", {"P1": {KINASE, BINDING}}),
        (f"P1;{KINASE}\nP2;{BINDING}\n", "table", {"P1": {KINASE}, "P2": {BINDING}}),
    ],
)
def test_more_tables_of_other_tools(ontology, tmp_path, text, form, wanted):
    found, provenance = terms_of(written(tmp_path, text), ontology)
    assert (found, provenance.format) == (wanted, form)


@pytest.mark.parametrize(
    ("case", "line"),
    [("t17_cafa3col.tsv", 1), ("r03_own.tsv", 1), ("r04_own_cafa.txt", 1)],
)
def test_predictions_are_not_facts(ontology, case, line):
    path = CASES / case
    with pytest.raises(InputError) as error:
        read_annotations(path, ontology)
    assert error.value.code == "input.scored_annotations"
    assert error.value.where == f"{path}:line {line}"


def test_a_score_in_any_column_of_a_table_with_a_header(ontology, tmp_path):
    path = written(tmp_path, f"id,go,score\nP1,{KINASE},0.01\n")
    with pytest.raises(InputError) as error:
        read_annotations(path, ontology)
    assert error.value.code == "input.scored_annotations" and "$3" in error.value.hint


def test_a_bad_first_line_is_not_taken_for_a_header(ontology, tmp_path):
    path = CASES / "t18_first_line_lost.tsv"
    with pytest.raises(InputError) as error:
        read_annotations(path, ontology)
    assert error.value.code == "input.bad_lines"
    (line,) = error.value.details
    assert line.startswith(f"{path}:line 1: ") and "'0003920'" in line
    found, provenance = terms_of(path, ontology, on_error="skip")
    assert found == {"Q00002": {KINASE}}
    assert (provenance.lines, provenance.bad_lines) == (2, 1)
    path = written(tmp_path, f"P1\t{KINASE}\nP2\tkinase\n\t{KINASE}\n")
    with pytest.raises(InputError) as error:
        read_annotations(path, ontology)
    assert [line.split(": ")[0] for line in error.value.details] == [
        f"{path}:line 2",
        f"{path}:line 3",
    ]


def test_bad_lines_of_a_gaf_can_be_left_out(ontology):
    path = CASES / "f02_broken_line.gaf"
    with pytest.raises(InputError) as error:
        read_annotations(path, ontology)
    assert error.value.code == "input.bad_lines"
    found, provenance = terms_of(path, ontology, on_error="skip")
    assert found == ONE
    assert provenance.bad_lines == 1 and ":line 4" in provenance.bad[0]


@pytest.mark.parametrize(
    ("case", "value"), [("f05_nd_only.gaf", "1 of evidence ND"), ("f06_not_only.gaf", "1 with NOT")]
)
def test_what_denies_or_does_not_know_is_named(ontology, case, value):
    with pytest.raises(InputError) as error:
        read_annotations(CASES / case, ontology)
    assert error.value.code == "input.no_positive_annotations"
    assert value in error.value.message


HEADS = {
    "gaf": "!gaf-version: 2.2\n",
    "gpad1": "!gpa-version: 1.1\n",
    "gpad2": "!gpad-version: 2.0\n",
    "gene2go": "#tax_id GeneID GO_ID Evidence Qualifier GO_term PubMed Category\n",
}
#: Columns divided by blanks, ``_`` for empty ones.
LINES = {
    "gaf": "U P{n} X enables GO:0000002 PMID:1 {code} _ F _ _ protein {taxon} 20240101 U _ _",
    "gpad1": "U P{n} enables GO:0000002 PMID:1 ECO:{eco:07} _ _ 20240101 U _ {more}",
    "gpad2": "U:P{n} _ RO:0002327 GO:0000002 PMID:1 ECO:{eco:07} _ _ 2024-01-01 U _ {more}",
    "gene2go": "9606 P{n} GO:0000002 {code} - x PMID:1 Function",
}
CODES = {"IDA": 314, "HDA": 7005, "IBA": 318, "IEA": 501, "TAS": 304, "ND": 307}


def told(form, codes, taxon="taxon:9606", more="_"):
    """A file of a form, a line for each code; the proteins are P0, P1, …"""
    rows = [
        LINES[form].format(n=n, code=code, eco=CODES.get(code, 9999), taxon=taxon, more=more)
        for n, code in enumerate(codes)
    ]
    cells = [[cell.replace("_", "") for cell in row.split(" ")] for row in rows]
    head = HEADS[form].replace(" ", "\t") if form == "gene2go" else HEADS[form]
    return head + "".join("\t".join(row) + "\n" for row in cells)


@pytest.mark.parametrize(
    ("evidence", "kept"),
    [
        (None, [0, 1, 2, 3, 4]),
        (("all",), [0, 1, 2, 3, 4]),
        (("experimental",), [0, 1]),
        (("curated",), [0, 1, 2, 4]),
        (("Experimental", "tas"), [0, 1, 4]),
        (("IEA",), [3]),
    ],
)
@pytest.mark.parametrize("form", HEADS)
def test_evidence_is_kept_or_left_out(tmp_path, evidence, kept, form):
    (tmp_path / "x").write_text(told(form, CODES))
    read = read_annotations(tmp_path / "x", small(), evidence=evidence)
    assert read.protein_ids == tuple(f"P{n}" for n in kept)
    assert read.provenance.lines == len(CODES)
    assert sum(read.provenance.other_evidence.values()) == len(CODES) - len(kept)


@pytest.mark.parametrize("form", ["gpad1", "gpad2"])
@pytest.mark.parametrize(("code", "kept"), [("IMP", 2), ("IEA", 0)])
def test_a_code_of_go_in_a_gpad_is_believed_before_its_class(tmp_path, form, code, kept):
    # By their classes they would be IDA, and one that is not known.
    text = told(form, ["IDA", "?"], more=f"x=y|GOEVIDENCE={code}")
    (tmp_path / "x").write_text(text.replace("GOEVIDENCE", "go_evidence"))
    if kept:
        read = read_annotations(tmp_path / "x", small(), evidence="experimental")
        assert len(read) == kept
    else:
        with pytest.raises(InputError) as caught:
            read_annotations(tmp_path / "x", small(), evidence="experimental")
        assert caught.value.code == "input.no_positive_annotations"


@pytest.mark.parametrize("line", ["P1\tGO:0000002", "P1\tGO:0000002, GO:0000003", "P1,GO:0000002"])
def test_evidence_that_a_table_does_not_tell_is_refused(tmp_path, line):
    (tmp_path / "x").write_text(line + "\n")
    assert len(read_annotations(tmp_path / "x", small(), evidence="all")) == 1
    with pytest.raises(InputError) as caught:
        read_annotations(tmp_path / "x", small(), evidence="experimental")
    assert caught.value.code == "input.no_evidence"


@pytest.mark.parametrize("taxon", ["_", "9606", "taxon:human", "taxon:1827A0A2K5HFP6", "taxon:1|2"])
def test_a_taxon_that_is_none_is_named_and_the_line_read(tmp_path, taxon, caplog):
    good = told("gaf", ["IDA", "IDA"], taxon="taxon:9606|taxon:562")
    bad = told("gaf", ["IMP"], taxon=taxon).partition("\n")[2]
    (tmp_path / "x.gaf").write_text(good + bad.replace("P0", "P2"))
    assert len(read_annotations(tmp_path / "x.gaf", small())) == 3
    (record,) = [one for one in caplog.records if "taxon" in one.message]
    assert record.levelname == "WARNING"
    assert "1 line " in record.message and "line 4" in record.message
