"""Annotations out: GAF 2.2 as other readers take it."""

from __future__ import annotations

import datetime
import io

import pytest
from Bio.UniProt.GOA import gafiterator

from protclip_core.errors import InputError, UsageError
from protclip_core.ontology import (
    Annotations,
    GafRow,
    GafStyle,
    Provenance,
    gaf_rows,
    read_gaf,
    write_gaf,
)
from protclip_core.ontology.assemble import TermList, assemble, go_id
from protclip_core.ontology.gaf_write import qualifiers
from tests.support.ontology_files import number, random_ontology, small

DAY = GafStyle(date=datetime.date(2024, 5, 6))


def written(rows, ontology, style=DAY):
    stream = io.StringIO()
    assert write_gaf(stream, rows, ontology, style) == len(rows)
    return stream.getvalue()


def test_a_line_has_seventeen_columns_and_the_header_says_where_from():
    ontology = small()
    style = GafStyle(date=DAY.date, generated_by="protclip 9", comments=("threshold: 0.5",))
    text = written([GafRow("sp|P69905|HBA_HUMAN", number(ontology, 5))], ontology, style)
    *header, line = text.splitlines()
    assert header == [
        "!gaf-version: 2.2",
        "!generated-by: protclip 9",
        "!date-generated: 2024-05-06",
        "!go-version: 2024-01-17",
        "!threshold: 0.5",
    ]
    assert line.split("\t") == [
        "UniProtKB", "P69905", "HBA_HUMAN", "enables", "GO:0000005", "protclip:annotate", "IEA",
        "", "F", "", "", "protein", "taxon:32644", "20240506", "protclip", "", "",
    ]  # fmt: skip


def test_a_release_that_is_not_known_is_said():
    assert "!go-version: unknown\n" in written([], random_ontology(release=None))


def test_qualifiers_follow_aspect_and_complexes():
    ontology = small()
    found = qualifiers(ontology)

    def of(id):
        return found[number(ontology, id)]

    assert (of(5), of(19), of(22)) == ("enables", "involved_in", "located_in")
    assert of(32991) == of(25) == of(26) == of(27) == "part_of"
    assert qualifiers(ontology.with_relations(["is_a"])) == found
    assert "part_of" not in qualifiers(random_ontology())


@pytest.mark.parametrize(
    ("id", "columns"),
    [
        ("P69905", ("UniProtKB", "P69905", "P69905", "")),
        ("tr|A0A024R161|A0A024R161_HUMAN", ("UniProtKB", "A0A024R161", "A0A024R161_HUMAN", "")),
        ("P69905-2", ("UniProtKB", "P69905", "P69905-2", "UniProtKB:P69905-2")),
        ("sp|P69905-2|HBA_HUMAN", ("UniProtKB", "P69905", "HBA_HUMAN", "UniProtKB:P69905-2")),
        ("contig_1|2", ("local", "contig_1_2", "contig_1_2", "")),
        ("a|b;c|d", ("local", "a_b_c_d", "a_b_c_d", "")),
        ("sp|X1;2|A;B", ("UniProtKB", "X1_2", "A_B", "")),
    ],
)
def test_ids_are_split_as_gaf_asks(id, columns):
    ontology = small()
    line = written([GafRow(id, 0)], ontology).splitlines()[-1].split("\t")
    assert (line[0], line[1], line[2], line[16]) == columns
    named = written([GafRow(id, 0)], ontology, GafStyle(db="TAIR")).splitlines()[-1]
    assert named.startswith(f"TAIR\t{columns[1]}\t")


def test_biopython_and_ours_read_what_is_written(tmp_path):
    ontology = small()
    terms = {f"P{10000 + place}": [place, (place * 7) % 26, 25] for place in range(26)}
    annotations = Annotations.from_terms(terms, ontology, Provenance()).propagated(ontology)
    path = tmp_path / "x.gaf"
    rows = list(gaf_rows(annotations))
    assert write_gaf(path, rows, ontology) == len(rows)
    with path.open(encoding="utf-8") as handle:
        records = list(gafiterator(handle))
    assert [(r["DB_Object_ID"], r["GO_ID"]) for r in records] == [
        (row.protein_id, ontology.ids[row.term]) for row in rows
    ]
    assert {r["Evidence"] for r in records} == {"IEA"}
    assert {(r["Aspect"], *r["Qualifier"]) for r in records} == {
        ("F", "enables"), ("P", "involved_in"), ("C", "located_in"), ("C", "part_of")
    }  # fmt: skip
    assert all(len(r) == 17 and r["Date"].isdigit() for r in records)
    back = read_gaf(path, ontology)
    assert back.protein_ids == annotations.protein_ids
    assert back.terms.tolist() == annotations.terms.tolist()
    assert back.offsets.tolist() == annotations.offsets.tolist()


def test_streams_of_bytes_and_of_text_get_the_same(tmp_path):
    ontology, rows = small(), [GafRow("P1", 3, with_from="GO:1", reference="PMID:1",
                                      evidence="ISS", object_name="β")]  # fmt: skip
    binary = io.BytesIO()
    write_gaf(binary, rows, ontology, DAY)
    write_gaf(tmp_path / "x.gaf", rows, ontology, DAY)
    assert binary.getvalue().decode() == written(rows, ontology)
    assert (tmp_path / "x.gaf").read_bytes() == binary.getvalue()
    assert binary.getvalue().decode().splitlines()[-1].split("\t")[5:10] == [
        "PMID:1", "ISS", "GO:1", "F", "β"
    ]  # fmt: skip


def test_a_row_that_gaf_cannot_hold_leaves_no_file(tmp_path):
    ontology, path = small(), tmp_path / "x.gaf"
    path.write_text("old")
    for row, kind, message in (
        (GafRow("a\tb", 0), InputError, r"'a\\tb' has a tab"),
        (GafRow("a\nb", 0), InputError, "line break"),
        (GafRow(" ", 0), InputError, "a protein id is empty"),
        (GafRow("P1", 0, object_name="x\x85y"), InputError, "P1: .* control character"),
        (GafRow("P1", 0, evidence="XYZ"), UsageError, "unknown evidence code 'XYZ'"),
    ):
        with pytest.raises(kind, match=message):
            write_gaf(path, [GafRow("P1", 1), row], ontology, DAY)
    assert path.read_text() == "old"
    assert [one.name for one in tmp_path.iterdir()] == ["x.gaf"]


def test_nothing_is_said_to_bind_without_an_experiment(caplog):
    """GORULE:0000005."""
    terms = TermList()
    for id in (3674, 5488, 5515, 8017):
        terms.ids.append(go_id(id))
        terms.names.append("x")
        terms.definitions.append("")
        terms.aspects.append(0)
    ontology = assemble(terms, "x", data_version="2024-01-17")
    rows = [GafRow("P1", term) for term in range(4)]
    rows += [GafRow("P2", 2, evidence="IPI"), GafRow("P2", 1, evidence="ISS")]
    stream = io.StringIO()
    assert write_gaf(stream, rows, ontology, DAY) == 3
    cells = [line.split("\t") for line in stream.getvalue().splitlines() if line[0] != "!"]
    assert [(cell[1], cell[4], cell[6]) for cell in cells] == [
        ("P1", "GO:0003674", "IEA"),
        ("P1", "GO:0008017", "IEA"),
        ("P2", "GO:0005515", "IPI"),
    ]
    assert "3 annotations" in caplog.text and "GORULE:0000005" in caplog.text
