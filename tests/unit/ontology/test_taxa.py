"""Organisms of FASTA headers, and terms that an organism does not have."""

from __future__ import annotations

import numpy as np
import pytest

from protclip_core.models.info import describe_model
from protclip_core.ontology.obo import read_obo
from protclip_core.ontology.taxa import Organism, general_terms, impossible_terms, organism_of
from protclip_core.terms.index_file import find_go_index


@pytest.mark.parametrize(
    ("header", "taxon", "kingdom"),
    [
        ("X OS=Escherichia coli (strain K12) OX=83333 GN=a PE=1 SV=2", 83333, 2),
        ("X OS=Methanocaldococcus jannaschii OX=243232", 243232, 2157),
        ("X OS=Pyrococcus furiosus", None, 2157),
        ("X OS=Staphylococcus epidermidis OX=1282 PE=4", 1282, 2),  # by the genus
        ("X OS=Bacillus subtilis (strain 168)", None, 2),
        ("X OX=224308", 224308, 2),
        ("X OS=Homo sapiens OX=9606 GN=HBA1", 9606, 33208),
        ("X OX=559292", 559292, 4751),
        ("X OX=3702", 3702, 33090),
        ("X OX=10000001", 10000001, None),
        ("X OS=Escherichia phage T4 OX=2681598", 2681598, None),
        ("X OS=Bacillus rossius OX=94999", 94999, None),  # a stick insect
        ("Escherichia coli protein", None, None),
        ("X BOX=83333", None, None),
        ("X OX=", None, None),
        ("", None, None),
    ],
)
def test_the_organism_of_a_header(header, taxon, kingdom):
    assert organism_of(header) == (taxon, kingdom)
    assert organism_of(header).is_prokaryote is (kingdom in (2, 2157))


def test_a_taxon_alone():
    assert Organism.of(1280).is_prokaryote and not Organism.of(9606).is_prokaryote
    assert Organism.of(None) == (None, None)
    assert Organism.of(2) == (2, 2) and Organism.of(4751) == (4751, 4751)


@pytest.fixture(scope="module")
def bundled():
    return find_go_index(describe_model("protclip-mini")).ontology


def marked(ontology, mask):
    return {ontology.ids[term] for term in np.flatnonzero(mask)}


@pytest.mark.parametrize("kingdom", [2, 2157])
def test_kinds_and_parts_of_a_nucleus_are_of_eukaryotes(bundled, kingdom):
    never = marked(bundled, impossible_terms(bundled, Organism(None, kingdom)))
    wrong = "GO:0005634 GO:0005654 GO:0005743 GO:0005789 GO:0009507 GO:0005681"
    # Eye development, processes of the immune system, meiosis, splicing; cytokine activity.
    wrong += " GO:0001654 GO:0002250 GO:0051321 GO:0000398 GO:0005125"
    assert set(wrong.split()) - never == set()
    # Cytosol, cytoplasm, plasma membrane, ribosome, complex, outer membrane; DNA binding,
    # sporulation, chemotaxis, signal transduction, response to a virus, cell division.
    right = "GO:0005829 GO:0005737 GO:0005886 GO:0005840 GO:0032991 GO:0009279 GO:0003677"
    right += " GO:0030435 GO:0006935 GO:0007165 GO:0009615 GO:0051301"
    assert set(right.split()) & never == set()


def test_organelles_in_general_count_as_far_as_a_possible_kind_does(bundled):
    never = impossible_terms(bundled, Organism(None, 2))
    general = marked(bundled, general_terms(bundled, never))
    assert {"GO:0043226", "GO:0043231", "GO:0031090", "GO:0048856"} <= general
    assert not {"GO:0005737", "GO:0016020", "GO:0032991", "GO:0008152"} & general
    assert not general & marked(bundled, never)


@pytest.mark.parametrize("organism", [Organism(), Organism(10239), Organism(9606, 33208)])
def test_nothing_is_said_where_nothing_is_known(bundled, organism):
    assert not impossible_terms(bundled, organism).any()


RELEASE = """\
format-version: 1.2
data-version: releases/2024-01-17
ontology: go

[Term]
id: GO:0008150
name: biological_process
namespace: biological_process

[Term]
id: GO:0000001
name: wide
namespace: biological_process
is_a: GO:0008150

[Term]
id: GO:0000002
name: of bacteria
namespace: biological_process
is_a: GO:0000001
relationship: only_in_taxon NCBITaxon:2 ! Bacteria

[Term]
id: GO:0000003
name: a kind of it
namespace: biological_process
is_a: GO:0000002

[Term]
id: GO:0000004
name: not of fungi
namespace: biological_process
is_a: GO:0000001
property_value: RO:0002161 NCBITaxon:4751

[Term]
id: GO:0000005
name: of mammals
namespace: biological_process
is_a: GO:0008150
relationship: only_in_taxon NCBITaxon:40674 {source="x"} ! Mammalia

[Term]
id: GO:0000006
name: part of that, not of mice
namespace: biological_process
is_a: GO:0008150
relationship: part_of GO:0000005
relationship: never_in_taxon NCBITaxon:10090 ! Mus musculus

[Term]
id: GO:0000007
name: other words
namespace: biological_process
is_a: GO:0008150
property_value: never_in_taxon "Bacteria" xsd:string
relationship: only_in_taxon NCBITaxon_Union:0000004

[Typedef]
id: part_of
name: part of
"""


@pytest.mark.parametrize(
    ("organism", "never"),
    [
        (Organism(562, 2), {5, 6}),
        (Organism(None, 2157), {2, 3, 5, 6}),
        (Organism(559292, 4751), {2, 3, 4, 5, 6}),
        (Organism(3702, 33090), {2, 3, 5, 6}),
        (Organism(9606, 33208), {2, 3}),
        (Organism(10090, 33208), {2, 3, 6}),
        (Organism(12345), set()),
    ],
)
def test_what_a_release_says_of_taxa_is_believed(tmp_path, organism, never):
    (tmp_path / "go.obo").write_text(RELEASE)
    ontology = read_obo(tmp_path / "go.obo")
    found = marked(ontology, impossible_terms(ontology, organism))
    assert found == {f"GO:000000{n}" for n in never}


def test_a_term_whose_kinds_are_all_impossible_counts_as_general(tmp_path):
    (tmp_path / "go.obo").write_text(RELEASE)
    ontology = read_obo(tmp_path / "go.obo")
    never = impossible_terms(ontology, Organism(559292, 4751))
    assert marked(ontology, general_terms(ontology, never)) == {"GO:0000001"}
    never = impossible_terms(ontology, Organism(3702, 33090))
    assert marked(ontology, general_terms(ontology, never)) == set()
