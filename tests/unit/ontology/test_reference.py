"""Annotated proteins as others name them: GAF or table, ids and accessions."""

from __future__ import annotations

import gzip

import numpy as np
import pytest

from protclip_core.errors import InputError, UsageError
from protclip_core.ontology.reference import accession_of, carried_by, read_annotations
from tests.support.ontology_files import go_id, number, small

GAF = "UniProtKB|P12345|N|enables|GO:0000005|PMID:1|IDA||F|||protein|taxon:9606|20240101|X||"


def gaf_line():
    return GAF.replace("|", "\t") + "\n"


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("!gaf-version: 2.2\n" + gaf_line(), "GAF 2.2"),
        ("!made by hand\n" + gaf_line(), "GAF 2.1"),
        ("protein\tterm\nP12345\tGO:0000005\n", "TSV"),
        ("#x\n\nP12345\tGO:0000005\tmore\n", "TSV"),
    ],
)
def test_a_gaf_and_a_table_are_told_apart(tmp_path, text, form):
    path = tmp_path / "known"
    for data in (text.encode(), gzip.compress(text.encode())):
        path.write_bytes(data)
        found = read_annotations(path, small())
        assert found.provenance.format == form
        assert found.protein_ids == ("P12345",)
        assert found.of("P12345").tolist() == [number(small(), 5)]


def test_standard_input_is_refused():
    with pytest.raises(UsageError, match="give a file"):
        read_annotations("-", small())


@pytest.mark.parametrize(
    ("id", "accession"),
    [
        ("P12345", "P12345"),
        ("sp|P12345|NAME_HUMAN", "P12345"),
        ("tr|P12345", "P12345"),
        ("gi|1|gb|A", "1"),
        ("a|", "a|"),
        ("|b|", "|b|"),
    ],
)
def test_accessions(id, accession):
    assert accession_of(id) == accession


def test_terms_come_with_their_ancestors_and_without_roots(tmp_path, caplog):
    ontology = small()
    path = tmp_path / "known.tsv"
    rows = [("P2", 5), ("P1", 16), ("P1", 3), ("P3", 3674), ("sp|P4|X", 2)]
    path.write_text("".join(f"{id}\t{go_id(term)}\n" for id, term in rows))
    ids = ["sp|P1|A", "P9", "P3", "P2", "sp|P4|X"]
    found = carried_by(read_annotations(path, ontology), ontology, ids, "x.fa")
    assert found.ids == ("sp|P1|A", "P2", "sp|P4|X")
    assert found.rows.tolist() == [0, 3, 4]
    for place, own in enumerate(([16, 3], [5], [2])):
        numbers = [number(ontology, term) for term in own]
        wanted = ontology.propagate(numbers, roots=False).tolist()
        got = found.terms[found.offsets[place] : found.offsets[place + 1]]
        assert np.sort(got).tolist() == wanted
    assert "x.fa: 3 of 5 proteins annotated in" in caplog.text


def test_a_protein_that_is_there_twice_counts_once(tmp_path, caplog):
    ontology, path = small(), tmp_path / "known.tsv"
    path.write_text(f"P1\t{go_id(5)}\nP2\t{go_id(16)}\n")
    known = read_annotations(path, ontology)
    found = carried_by(known, ontology, ["P9", "P2", "sp|P1|A", "P1", "P9", "P2"], "x.fa")
    assert found.ids == ("P2", "sp|P1|A")
    assert found.rows.tolist() == [1, 2]
    assert "x.fa: 2 further records" in caplog.text


def test_none_annotated_is_an_error(tmp_path):
    ontology, path = small(), tmp_path / "known.tsv"
    path.write_text(f"P1\t{go_id(5)}\nP3\t{go_id(3674)}\n")
    known = read_annotations(path, ontology)
    with pytest.raises(InputError, match="none of its 2 proteins, such as P2, is annotated in"):
        carried_by(known, ontology, ["P2", "P3"], "x.fa")
