"""The organism of a protein: impossible components are not listed, and GAF names it."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from protclip_core.io.fasta import read_fasta
from protclip_core.models.info import describe_model
from protclip_core.ontology.taxa import Organism, general_terms, impossible_terms
from protclip_core.tasks.annotate.organisms import Organisms, PossibleTerms
from protclip_core.tasks.annotate.request import AnnotateRequest
from protclip_core.tasks.annotate.task import Annotation
from protclip_core.tasks.embed.task import embed_to_store
from protclip_core.terms.index_file import find_go_index
from protclip_core.terms.scores import Scored
from protclip_core.vectors.embed_request import EmbedRequest
from tests.support.helpers import write_fasta
from tests.support.refusals import refused

CASE = Path(__file__).parents[2] / "data/cases/annotations/b01_bacteria_nucleus.fasta"
EXAMPLE = str(files("protclip_core") / "bundled/example.fasta")


def annotate(path, **options):
    """Terms of each protein by id, ids of those no bacterium has, the annotation."""
    request = AnnotateRequest(inputs=(str(path),), go=True, device="cpu", **options)
    with Annotation(request) as annotation:
        ontology = annotation.index.ontology
        found = {
            one.protein_id: [ontology.ids[t.term] for t in one.terms]
            for one in annotation.proteins()
        }
        impossible = impossible_terms(ontology, Organism(None, 2))
        never = {id for id, bad in zip(ontology.ids, impossible) if bad}
        return found, never, annotation


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """The proteins of the case without their descriptions, as FASTA and as a store."""
    folder = tmp_path_factory.mktemp("bare")
    records = [(one.id, one.sequence) for one in read_fasta(str(CASE))]
    write_fasta(folder / "bare.fa", records)
    made = EmbedRequest(inputs=(str(folder / "bare.fa"),), output=folder / "x.h5", space="joint")
    embed_to_store(made)
    return folder


def test_a_bacterium_has_no_nucleus(bare, caplog):
    found, never, annotation = annotate(CASE, aspects=("CC",))
    assert len(found) == 3 and all(found.values())
    assert not never & {id for terms in found.values() for id in terms}
    report = annotation.report
    text, _, other = annotate(bare / "bare.fa", aspects=("CC",))
    lost = {id: [term for term in terms if term in never] for id, terms in text.items()}
    ontology = annotation.index.ontology
    general = general_terms(ontology, impossible_terms(ontology, Organism(None, 2)))
    wide = {id for id, one in zip(ontology.ids, general) if one}
    assert report.impossible >= sum(map(len, lost.values())) >= 3
    assert report.with_impossible == sum(map(bool, lost.values())) == 3
    # Nothing below them is possible for these proteins, so general terms have gone as well.
    gone = never | wide
    assert "GO:0043231" in wide & {term for terms in text.values() for term in terms}
    assert found == {id: [t for t in terms if t not in gone] for id, terms in text.items()}
    assert other.report.impossible == 0
    assert len([one for one in caplog.records if "not listed" in one.message]) == 1
    assert annotation.organisms["sp|A0A6M4JJS8|A0A6M4JJS8"] == (83333, 2)


@pytest.mark.parametrize("name", ["bare.fa", "x.h5"])
def test_a_taxon_is_that_of_proteins_without_one(bare, name):
    known, _, _ = annotate(CASE, aspects=("CC",))
    assert annotate(bare / name, aspects=("CC",), taxon=562)[0] == known
    human, never, annotation = annotate(bare / name, aspects=("CC",), taxon=9606)
    assert never & {id for terms in human.values() for id in terms}
    assert annotation.organisms["anything"].taxon == 9606


def test_a_header_is_believed_before_the_option():
    one, _, first = annotate(EXAMPLE, aspects=("CC",))
    other, _, second = annotate(EXAMPLE, aspects=("CC",), taxon=562)
    human = [record.id for record in read_fasta(EXAMPLE) if "OX=9606" in record.description]
    assert all(one[id] == other[id] and second.organisms[id].taxon == 9606 for id in human)
    assert first.organisms["unknown"] == (None, None)


def test_the_best_are_as_many_as_with_a_nucleus(bare):
    found, never, _ = annotate(CASE, top_k=3)
    text, _, _ = annotate(bare / "bare.fa", top_k=3)
    assert {id: len(terms) for id, terms in found.items()} == dict.fromkeys(found, 9)
    assert {id: len(terms) for id, terms in text.items()} == dict.fromkeys(found, 9)
    assert not never & {id for terms in found.values() for id in terms}
    assert never & {id for terms in text.values() for id in terms}


@pytest.mark.parametrize("taxon", [0, -1])
def test_a_taxon_is_a_number_of_ncbi(taxon):
    with refused("usage.bad_value", "--taxon"):
        annotate(CASE, taxon=taxon)


def test_a_taxon_is_for_go():
    request = AnnotateRequest(inputs=(str(CASE),), ec=True, taxon=562)
    with refused("usage.conflicting_options", "--taxon"), Annotation(request):
        pass


def test_headers_are_read_along_and_forgotten(tmp_path):
    """Block by block in the order of the files; anything else reads them again."""
    lines = [f">p{n} OX={100 + n}\nMKTAYIAK\n" for n in range(50)]
    (tmp_path / "a.fa").write_text("".join(lines[:30]))
    (tmp_path / "b.fa").write_text("".join(lines[30:]))
    organisms = Organisms([str(tmp_path / "a.fa"), str(tmp_path / "b.fa")], taxon=9606)
    for start in range(0, 50, 10):
        ids = [f"p{n}" for n in range(start, start + 10) if n != 41]  # one could not be embedded
        organisms.look(ids)
        assert len(organisms._told) <= 10
        assert [organisms[id].taxon for id in ids] == [100 + int(id[1:]) for id in ids]
    assert organisms["p3"].taxon == 103
    assert organisms["nobody"] == (9606, 33208)
    organisms.look(["p49", "p2"])
    assert (organisms["p49"].taxon, organisms["p2"].taxon) == (149, 102)


def test_log_odds_of_general_terms_follow_possible_ones():
    """Against a plain loop over pairs, on random odds of the bundled ontology."""
    ontology = find_go_index(describe_model("protclip-mini")).ontology
    draw = np.random.default_rng(3)
    some = ontology.propagate(draw.choice(len(ontology), 60), roots=False)
    some = np.union1d(some, ontology.numbers(["GO:0043231", "GO:0043229", "GO:0043226"]))
    rows = np.repeat([0, 1, 2], len(some))
    odds = draw.normal(size=len(rows))
    scored = Scored(rows, np.tile(some, 3), odds.astype(np.float32), odds, rows >= 0)
    organisms = [Organism(562, 2), Organism(), Organism(9606, 33208)]
    never, found = PossibleTerms(ontology).of(organisms, scored)
    impossible = impossible_terms(ontology, organisms[0])
    general = general_terms(ontology, impossible)
    for place, (row, term) in enumerate(zip(rows, scored.terms)):
        expected, out = odds[place], False
        if row == 0:
            below = [
                odds[n]
                for n, other in enumerate(some)
                if term in ontology.ancestors(other) and not (impossible | general)[other]
            ]
            out = bool(impossible[term]) or bool(general[term] and not below)
            if general[term] and below:
                expected = min(expected, max(below))
        assert never[place] == out
        assert out or found[place] == expected
    assert never.any() and not never[rows > 0].any()
