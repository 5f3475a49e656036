"""Organisms of FASTA headers, and components that bacteria and archaea do not have."""

from __future__ import annotations

import numpy as np
import pytest

from protclip_core.models.info import describe_model
from protclip_core.ontology.taxa import Organism, eukaryotic_components, organism_of
from protclip_core.terms.index_file import find_go_index


@pytest.mark.parametrize(
    ("header", "taxon", "is_prokaryote"),
    [
        ("X OS=Escherichia coli (strain K12) OX=83333 GN=a PE=1 SV=2", 83333, True),
        ("X OS=Methanocaldococcus jannaschii OX=243232", 243232, True),
        ("X OS=Staphylococcus epidermidis OX=1282 PE=4", 1282, True),  # by the genus
        ("X OS=Bacillus subtilis (strain 168)", None, True),
        ("X OX=224308", 224308, True),
        ("X OS=Homo sapiens OX=9606 GN=HBA1", 9606, False),
        ("X OS=Escherichia phage T4 OX=2681598", 2681598, False),
        ("X OS=Bacillus rossius OX=94999", 94999, False),  # a stick insect
        ("Escherichia coli protein", None, False),
        ("X BOX=83333", None, False),
        ("X OX=", None, False),
        ("", None, False),
    ],
)
def test_the_organism_of_a_header(header, taxon, is_prokaryote):
    assert organism_of(header) == (taxon, is_prokaryote)


def test_a_taxon_alone():
    assert Organism.of(1280).is_prokaryote and not Organism.of(9606).is_prokaryote
    assert Organism.of(None) == (None, False)


def test_kinds_and_parts_of_a_nucleus_are_of_eukaryotes():
    ontology = find_go_index(describe_model("protclip-mini")).ontology
    mask = eukaryotic_components(ontology)
    for id in ("GO:0005634", "GO:0005654", "GO:0005743", "GO:0005789", "GO:0009507"):
        assert mask[ontology.index[id]], id
    # Cytosol, cytoplasm, plasma membrane, ribosome, complex, outer membrane;
    # DNA binding is not a component.
    allowed = "GO:0005829 GO:0005737 GO:0005886 GO:0005840 GO:0032991 GO:0009279 GO:0003677"
    for id in allowed.split():
        assert not mask[ontology.index[id]], id
    assert {ontology.aspect_names[a] for a in np.unique(ontology.aspects[mask])} == {"CC"}
