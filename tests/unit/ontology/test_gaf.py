"""Annotations in: GAF and tables of pairs, and what follows from them."""

from __future__ import annotations

import gzip
import logging
import math

import numpy as np
import pytest

from protclip_core.errors import InputError, UsageError
from protclip_core.ontology import (
    Annotations,
    Provenance,
    evidence_codes,
    read_annotation_pairs,
    read_gaf,
)
from tests.support.ontology_files import (
    go_id,
    naive_ancestors,
    naive_parents,
    random_ontology,
    small,
)


def line(protein="P1", term=5, *, evidence="IDA", qualifier="enables", aspect="F", columns=17):
    values = ["UniProtKB", protein, "SYM", qualifier, go_id(term), "PMID:1", evidence, "", aspect]
    values += ["", "", "protein", "taxon:9606", "20240101", "Made", "", ""]
    return "\t".join(values[:columns]) + "\n"


def gaf(tmp_path, *lines, version="2.2", compress=False):
    text = (f"!gaf-version: {version}\n" if version else "") + "!made up\n" + "".join(lines)
    path = tmp_path / "x.gaf"
    path.write_bytes(gzip.compress(text.encode()) if compress else text.encode())
    return path


def terms_of(annotations, ontology):
    return {
        protein: {int(ontology.ids[term][3:]) for term in terms}
        for protein, terms in annotations.items()
    }


@pytest.mark.parametrize("compress", [False, True])
def test_lines_are_read_in_any_order_each_pair_once(tmp_path, compress):
    ontology = small()
    path = gaf(tmp_path, line("P2", 6), line("P1", 5), line("P2", 2), line("P2", 6),
               compress=compress)  # fmt: skip
    read = read_gaf(path, ontology)
    assert read.protein_ids == ("P2", "P1")
    assert terms_of(read, ontology) == {"P2": {2, 6}, "P1": {5}}
    assert read.of("P2").tolist() == sorted(ontology.numbers([go_id(2), go_id(6)]))
    assert read.of("P3").tolist() == []
    assert (read.provenance.lines, read.provenance.taken) == (4, 4)
    assert (read.provenance.format, read.release) == ("GAF 2.2", "2024-01-17")


def test_every_line_is_taken_or_counted(tmp_path, caplog):
    ontology = small()
    lines = [
        line("P1", 901),  # alternative
        line("P1", 10),  # replaced in two steps
        line("P2", 11),  # obsolete
        line("P2", 20),
        line("P3", 7777),  # unknown
        line("P4", 5, qualifier="NOT|enables"),
        line("P5", 5, evidence="IEA"),
        line("P5", 3674, evidence="ND"),
        line("P6", 5, evidence="XYZ"),  # bad
        line("P7", 5, columns=9),
        line("P8", 14, aspect="P", qualifier="involved_in"),
    ]
    read = read_gaf(gaf(tmp_path, *lines), ontology, evidence="experimental", on_error="skip")
    assert terms_of(read, ontology) == {"P1": {2, 1}, "P8": {14}}
    found = read.provenance
    assert found.resolved == {"GO:0000901": 1, "GO:0000010": 1}
    assert found.obsolete == {"GO:0000011": 1, "GO:0000020": 1}
    assert found.unknown == {"GO:0007777": 1}
    assert found.negated == (("P4", "GO:0000005"),)
    assert found.other_evidence == {"IEA": 1, "ND": 1}
    assert found.bad_lines == 2 and found.bad[0].endswith(
        "x.gaf:line 11: unknown evidence code 'XYZ'"
    )
    counted = (found.taken + len(found.negated) + sum(found.other_evidence.values())
               + sum(found.obsolete.values()) + sum(found.unknown.values())
               + found.bad_lines)  # fmt: skip
    assert counted == found.lines == len(lines)
    for said in (
        "2 of 11 lines cannot be used, the first: ",
        "1 line of 1 alternative id in GO release 2024-01-17 read as the terms they stand for",
        "2 lines of 2 obsolete ids in GO release 2024-01-17 left out: GO:0000011, GO:0000020",
        "1 line of 1 unknown id in GO release 2024-01-17 left out: GO:0007777",
        "1 line with NOT left out, the first: P4 GO:0000005",
    ):
        assert said in caplog.text


def test_bad_lines_are_named_with_number_the_first_five_and_the_count(tmp_path):
    bad = [
        line(columns=14),
        line("  "),
        line(evidence="EXPERIMENT"),
        line(aspect="X"),
        line(qualifier=""),
        line() .replace("GO:0000005", "GO:5"),
        line().replace("\n", "\tmore\n"),
    ]  # fmt: skip
    with pytest.raises(InputError) as caught:
        read_gaf(gaf(tmp_path, line(), *bad), small())
    error = caught.value
    assert error.message == "7 of 8 lines cannot be used"
    assert [one.split("x.gaf:")[1] for one in error.details] == [
        "line 4: has 14 columns, not 15 to 17",
        "line 5: has no DB Object ID",
        "line 6: unknown evidence code 'EXPERIMENT'",
        "line 7: unknown aspect 'X'",
        "line 8: has no qualifier, which GAF 2.2 requires",
    ]


@pytest.mark.parametrize("version", ["2.0", "2.1", None])
def test_older_versions_need_no_qualifier(tmp_path, version, caplog):
    path = gaf(tmp_path, line(qualifier=""), line("P2", 5, qualifier="NOT"), version=version)
    read = read_gaf(path, small())
    assert read.protein_ids == ("P1",)
    assert read.provenance.format == f"GAF {version or '2.1'}"
    assert ("states no gaf-version: read as GAF 2.1" in caplog.text) == (version is None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("!gaf-version: 1.0\n" + line(), "line 1: is GAF '1.0', this protclip reads 2.0, 2.1, 2.2"),
        ("!gpa-version: 2.0\nx\n", "is GPA, not GAF; give the GAF"),
        ("", "has no annotations"),
        ("!gaf-version: 2.2\n", "has no annotations"),
        ("<html>\n", "is not a GAF but an HTML page"),
        ("!gaf-version: 2.2\n" + line(term=7777), "none of its 1 GO ids is in the ontology"),
        ("!gaf-version: 2.2\n" + line().replace("SYM", "\0"), "line 2: has a NUL character"),
    ],
)
def test_what_is_no_gaf_of_this_ontology_is_refused(tmp_path, text, message):
    path = tmp_path / "x.gaf"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_gaf(path, small())


def test_a_release_that_differs_is_named(tmp_path, caplog):
    path = gaf(tmp_path, "!go-version: releases/2020-06-01\n", line())
    assert read_gaf(path, small()).provenance.release == "2020-06-01"
    assert "made with GO release 2020-06-01, read with 2024-01-17" in caplog.text


def test_evidence_is_chosen_by_code_and_group():
    assert "ND" not in evidence_codes(None) and "IEA" in evidence_codes(None)
    assert {"EXP", "IDA", "IPI", "IMP", "IGI", "IEP", "HTP", "HDA", "HMP", "HGI",
            "HEP"} == evidence_codes("experimental")  # fmt: skip
    assert evidence_codes(["iea", "CAFA"]) == evidence_codes("experimental") | {"IEA", "TAS", "IC"}
    for wrong in ("IDB", [], ["IDA", "x"]):
        with pytest.raises(UsageError):
            evidence_codes(wrong)


@pytest.mark.parametrize("header", ["", "protein\tterm\n", "# made up\n\n", "protein\n"])
def test_pairs_are_read_with_or_without_a_header(tmp_path, header, caplog):
    ontology = small()
    path = tmp_path / "x.tsv"
    path.write_text(header + "P1\tGO:0000005\t0.9\nP2\tGO:0000010\nP2\tGO:0000011\n")
    if header == "protein\n":
        with pytest.raises(InputError, match="is not a table of proteins"):
            read_annotation_pairs(path, ontology)
        return
    with caplog.at_level(logging.WARNING):
        read = read_annotation_pairs(path, ontology)
    assert terms_of(read, ontology) == {"P1": {5}, "P2": {1}}
    assert (read.provenance.lines, read.provenance.taken) == (3, 2)
    assert "1 obsolete id " in caplog.text
    path.write_text(header + "P1\tGO:0000005\nP2\tGO:10\n\tGO:0000005\n")
    with pytest.raises(InputError, match="2 of 3 lines cannot be used"):
        read_annotation_pairs(path, ontology)


def random_annotations(ontology, seed, proteins=60):
    rng = np.random.default_rng(seed)
    return {
        f"P{place}": rng.choice(len(ontology), rng.integers(0, 6)).tolist()
        for place in range(proteins)
    }


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("block", [1, 50, 500_000])
def test_propagation_counts_and_information_are_those_of_sets(seed, block, monkeypatch):
    monkeypatch.setattr("protclip_core.ontology.annotations._BLOCK_PAIRS", block)
    ontology = random_ontology(seed=seed)
    parents = naive_parents(ontology)
    given = random_annotations(ontology, seed)
    annotations = Annotations.from_terms(given, ontology, Provenance())
    whole = annotations.propagated(ontology)
    wanted = {
        protein: set(terms).union(*(naive_ancestors(parents, term) for term in terms))
        for protein, terms in given.items()
    }
    assert {protein: set(terms.tolist()) for protein, terms in whole.items()} == wanted
    roots = set(ontology.roots.tolist())
    rootless = annotations.propagated(ontology, roots=False)
    assert {p: set(t.tolist()) for p, t in rootless.items()} == {
        protein: terms - roots for protein, terms in wanted.items()
    }
    aspect = ontology.aspects.tolist()
    information = annotations.information_content(ontology)
    assert np.array_equal(whole.information_content(ontology), information)
    for term in range(len(ontology)):
        count = sum(term in terms for terms in wanted.values())
        total = sum(any(aspect[t] == aspect[term] for t in terms) for terms in wanted.values())
        assert whole.counts(ontology)[term] == count
        expected = -math.log2(count / total) if count else math.inf
        assert information[term] == pytest.approx(expected, abs=1e-12)
    assert np.isinf(information).any() and information.min() >= 0
    assert annotations.information_content(ontology, unseen=99.0).max() == 99


def test_the_root_of_an_aspect_says_nothing():
    ontology = small()
    annotations = Annotations.from_terms({"P1": [0], "P2": [1], "P3": []}, ontology, Provenance())
    information = annotations.information_content(ontology)
    assert information[ontology.index["GO:0003674"]] == 0
    assert information[0] == 0  # a grip, which both carry: P2's grip of a stone is one
    assert information[1] == 1


def test_numbers_of_another_release_are_refused():
    ontology = small()
    annotations = Annotations.from_terms({"P1": [20]}, ontology, Provenance())
    for other in (random_ontology(10), random_ontology(120, release=None)):
        with pytest.raises(InputError, match=r"annotations of GO release 2024-01-17 do not fit"):
            annotations.propagated(other)


def test_repeated_pairs_do_not_pile_up(tmp_path):
    from protclip_core.ontology.annotations import PairCollector

    ontology, pairs = random_ontology(), PairCollector()
    pairs._limit = 10
    for place in range(500):
        pairs.add(f"P{place % 3}", (place * 7) % 13)
    assert len(pairs._terms) <= 2 * 39 + 1
    found = pairs.annotations(ontology, Provenance())
    assert {p: t.tolist() for p, t in found.items()} == {f"P{n}": list(range(13)) for n in range(3)}
