"""Transfer from annotated proteins: neighbours, homologs, both, and what cannot be done."""

from __future__ import annotations

import io
import shutil
import sys
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from protclip_core.errors import InputError, ModelError, WorkerLostError
from protclip_core.io.fasta import read_fasta
from protclip_core.io.standard_input import rereadable
from protclip_core.models.loading import load_model
from protclip_core.tasks.annotate.request import AnnotateRequest
from protclip_core.tasks.annotate.task import Annotation
from protclip_core.tasks.embed.task import embed_to_store
from protclip_core.terms.index_file import add_to_bundle
from protclip_core.terms.transfer import TransferWeights, add_transfer
from protclip_core.terms.votes import NEIGHBOUR_STEEPNESS
from protclip_core.vectors.embed_request import EmbedRequest
from protclip_core.weights.bundle import open_bundle
from tests.support.aligner_programs import write_aligner
from tests.support.go_indexes import ancestors_of, index_of
from tests.support.helpers import random_proteins, write_fasta
from tests.support.ontology_files import go_id, small
from tests.support.refusals import refused
from tests.unit.models.dual import Dual
from tests.unit.terms.test_transfer import weights_of

CASES = Path(__file__).parents[2] / "data/cases/relatives"
EXAMPLE = str(files("protclip_core") / "bundled/example.fasta")
#: Reference proteins and their terms; the last one has none.
TERMS = [[2, 12], [5], [8, 16], [3], [6, 21], [14], [2], [25], [8], []]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A model with weights, a reference as FASTA, store and table, and proteins to annotate."""
    folder = tmp_path_factory.mktemp("transfer")
    model = Dual().write(folder / "dual")
    bundle = add_to_bundle(index_of(model), open_bundle(model))
    rules = weights_of(3).rules
    add_transfer(TransferWeights(rules, bundle.weights_sha256), bundle)
    reference = random_proteins(len(TERMS), seed=1, shortest=60, longest=90, prefix="r")
    write_fasta(folder / "reference.fa", reference)
    lines = [f"r{n}\t{go_id(t)}\n" for n, own in enumerate(TERMS) for t in own]
    (folder / "known.tsv").write_text("".join(lines))
    own = dict(reference)
    queries = [
        ("q0", own["r0"][:40]),
        ("r1", own["r1"]),
        ("q2", own["r2"][:30] + own["r3"][:25]),
        *random_proteins(3, seed=7, shortest=30, prefix="lonely"),
        ("q9", own["r9"][:40]),
    ]
    write_fasta(folder / "query.fa", queries)
    for name in ("reference", "query"):
        made = EmbedRequest(
            inputs=(str(folder / f"{name}.fa"),),
            output=folder / f"{name}.h5",
            model=str(model),
            device="cpu",
        )
        embed_to_store(made)
    return folder


@pytest.fixture
def on_path(tmp_path, monkeypatch):
    def on_path(**options):
        write_aligner(tmp_path / "bin", "mmseqs", **options)
        monkeypatch.setenv("PATH", str(tmp_path / "bin"))

    return on_path


def run(place, *, inputs=("query.fa",), kinds=("homology",), model=None, known="known.tsv", **more):
    asked = {
        "neighbours": {"neighbours": place / "reference.h5"},
        "homology": {"homology": str(place / "reference.fa")},
    }
    options = {n: more.pop(n) for n in ("aligner", "exclude_self", "min_coverage") if n in more}
    for kind in kinds:
        options |= asked[kind]
    request = AnnotateRequest(
        inputs=tuple(one if one == "-" else str(place / one) for one in inputs),
        model=str(model or place / "dual"),
        annotations=str(place / known),
        device="cpu",
        **options,
        **{"go": True, **more},
    )
    with Annotation(request) as annotation:
        return {one.protein_id: one.terms for one in annotation.proteins()}, annotation


def supports(terms):
    ontology = small()
    return {ontology.ids[one.term]: one.support for one in terms}


def test_homologs_give_their_terms_and_names(place, on_path):
    on_path()
    found, annotation = run(place, min_probability=0.01)
    ontology = small()
    for query, number in (("q0", 0), ("r1", 1)):
        own = ontology.propagate([ontology.index[go_id(t)] for t in TERMS[number]], roots=False)
        carried = {ontology.ids[term] for term in own}
        told = supports(found[query])
        assert {id for id, one in told.items() if "homology" in one.evidence} <= carried
        for id, one in told.items():
            if id in carried:
                assert (one.source, one.identity) == (f"r{number}", 100.0)
            else:
                assert (one.evidence, one.source, one.identity) == (("text",), None, None)
    sources = {one.source for one in supports(found["q2"]).values()}
    assert {"r2", "r3"} <= sources
    assert "mmseqs 15-6f452, in 9 annotated proteins" in annotation.transfer.provenance[0]


def test_proteins_without_a_homolog_are_as_without_transfer(place, on_path):
    on_path()
    found, _ = run(place, min_probability=0.1)
    request = AnnotateRequest(
        inputs=(str(place / "query.fa"),), model=str(place / "dual"), go=True, min_probability=0.1
    )
    with Annotation(request) as annotation:
        alone = {one.protein_id: one.terms for one in annotation.proteins()}
    same = [id for id in alone if id.startswith("lonely") or id == "q9"]
    assert len(same) == 4
    for id in same:
        plain = [(t.term, t.cosine, t.probability, t.rank) for t in alone[id]]
        assert [(t.term, t.cosine, t.probability, t.rank) for t in found[id]] == plain
        assert all(t.support.evidence == ("text",) for t in found[id])
    for id in ("q0", "r1", "q2"):
        plain = [(t.term, t.probability) for t in alone[id]]
        assert [(t.term, t.probability) for t in found[id]] != plain


def test_neighbours_are_the_nearest_of_the_store(place):
    found, _ = run(place, kinds=("neighbours",), min_probability=0.01)
    model = load_model(str(place / "dual"), device="cpu")
    texts = (place / "query.fa").read_text().split()
    queries = dict(zip((line[1:] for line in texts[::2]), texts[1::2]))
    lines = (place / "reference.fa").read_text().split()[1::2]
    near = model.embed_proteins(list(queries.values())) @ model.embed_proteins(lines[:9]).T
    ontology = small()
    above = ancestors_of(ontology)
    for row, terms in enumerate(found.values()):
        weights = np.exp(NEIGHBOUR_STEEPNESS * (near[row] - near[row].max()))
        for id, one in supports(terms).items():
            number = ontology.index[id]
            having = [
                place
                for place, own in enumerate(TERMS[:9])
                if any(
                    number in {ontology.index[go_id(t)], *above[ontology.index[go_id(t)]]}
                    for t in own
                )
            ]
            assert ("neighbours" in one.evidence) == bool(having)
            if having:
                best = max(having, key=lambda n: weights[n])
                assert (one.source, one.identity) == (f"r{best}", None)


def test_a_store_is_annotated_by_neighbours_as_its_proteins_are(place):
    one, _ = run(place, kinds=("neighbours",))
    other, _ = run(place, inputs=("query.h5",), kinds=("neighbours",))
    assert one == other


def test_both_kinds_at_once(place, on_path):
    on_path()
    found, annotation = run(place, kinds=("neighbours", "homology"), min_probability=0.01)
    told = supports(found["q0"])
    assert ("text", "neighbours", "homology") in {one.evidence for one in told.values()}
    for one in told.values():
        if "homology" in one.evidence:
            assert (one.source, one.identity) == ("r0", 100.0)
    assert all(one.identity is None for one in supports(found["lonely0"]).values())
    assert len(annotation.transfer.provenance) == 2


def test_a_protein_learns_from_itself_unless_told_not_to(place, on_path, caplog):
    on_path()
    found, _ = run(place, min_probability=0.01)
    assert any(one.source == "r1" for one in supports(found["r1"]).values())
    assert "1 of 7 proteins are there themselves" in caplog.text
    assert "--exclude-self leaves them out" in caplog.text
    caplog.clear()
    for kinds in (("homology",), ("neighbours",)):
        found, _ = run(place, kinds=kinds, min_probability=0.01, exclude_self=True)
        assert not any(one.source == "r1" for one in supports(found["r1"]).values())
        assert "were left out" in caplog.text
        caplog.clear()


def test_it_is_said_who_has_no_homolog(place, on_path, caplog):
    on_path()
    run(place)
    assert "4 of 7 proteins have no annotated relative" in caplog.text
    assert "9 of 10 proteins annotated in" in caplog.text


def test_the_best_of_each_aspect_and_a_false_discovery_rate(place, on_path):
    on_path()
    best, _ = run(place, top_k=2)
    every, _ = run(place, min_probability=0.01)
    ontology = small()
    for id, terms in best.items():
        for aspect in range(3):
            own = [t for t in terms if ontology.aspects[t.term] == aspect]
            assert [t.rank for t in own] == [1, 2]
            wanted = [t for t in every[id] if ontology.aspects[t.term] == aspect][:2]
            for one, other in zip(own, wanted):
                assert one.probability == other.probability
    listed, _ = run(place, fdr=0.5)
    for id, terms in listed.items():
        full = {t.term: t for t in every[id]}
        assert all(full[t.term] == t or full[t.term].rank != t.rank for t in terms)
        assert all(t.support == full[t.term].support for t in terms)
    assert any(listed.values())


def test_standard_input_is_aligned_and_embedded(place, on_path, monkeypatch):
    on_path()
    wanted, _ = run(place)
    data = io.BytesIO((place / "query.fa").read_bytes())
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(data))
    found, _ = run(place, inputs=("-",))
    assert found == wanted


def test_bad_records_are_named_by_who_embeds_them(place, on_path):
    on_path()
    text = (place / "query.fa").read_text()
    (place / "bad.fa").write_text(f">broken\nMK1\n{text}")
    with pytest.raises(InputError, match="broken"):
        run(place, inputs=("bad.fa",))
    found, annotation = run(place, inputs=("bad.fa",), on_error="skip")
    assert found == run(place)[0]
    assert annotation.report.num_failures == 1


def test_a_gaf_names_proteins_by_accession(place, on_path):
    on_path()
    header, sequence, *_ = (place / "reference.fa").read_text().split()
    (place / "piped.fa").write_text(f">sp|P12345|NAME_HUMAN\n{sequence}\n>x\nMKTAYIAKQR\n")
    fields = "UniProtKB P12345 N enables GO:0000002 PMID:1 IDA  F   protein taxon:9606 20240101 X"
    (place / "known.gaf").write_text(
        "!gaf-version: 2.2\n" + "\t".join(fields.split(" ")) + "\t\t\n"
    )
    request = AnnotateRequest(
        inputs=(str(place / "query.fa"),),
        model=str(place / "dual"),
        go=True,
        annotations=str(place / "known.gaf"),
        homology=str(place / "piped.fa"),
    )
    with Annotation(request) as annotation:
        found = {one.protein_id: one.terms for one in annotation.proteins()}
    told = [one for one in supports(found["q0"]).values() if one.source is not None]
    assert {one.source for one in told} == {"sp|P12345|NAME_HUMAN"}


# -- relatives that hardly are any ---------------------------------------------------------------


@pytest.fixture(scope="module")
def small_reference(tmp_path_factory):
    """Annotate queries with the bundled model and a store of a small reference, or the text."""
    folder = tmp_path_factory.mktemp("small")

    def annotate(queries, reference, known, **more):
        store = folder / f"{reference.stem}.h5"
        if not store.exists():
            embed_to_store(EmbedRequest(inputs=(str(reference),), output=store, device="cpu"))
        rows = []
        for options in ({}, {"neighbours": store, "annotations": str(known), **more}):
            request = AnnotateRequest(inputs=(str(queries),), go=True, device="cpu", **options)
            with Annotation(request) as annotation:
                rows.append({one.protein_id: one.terms for one in annotation.proteins()})
                ontology = annotation.index.ontology
        plain = [
            {id: [(t.term, t.probability, t.rank) for t in terms] for id, terms in one.items()}
            for one in rows
        ]
        return *plain, ontology

    return annotate


def test_an_only_reference_does_not_make_all_its_own(small_reference):
    text, found, _ = small_reference(
        CASES / "k01_query.fasta", CASES / "k01_ref.fasta", CASES / "k01_ref.tsv"
    )
    assert len(text) == 5 and all(text.values())
    assert found == text


def test_a_few_unrelated_references_leave_the_text_as_it_is(small_reference, tmp_path):
    """Human proteins as reference, two of them, of which one is a ribosomal one."""
    records = [*read_fasta(str(CASES / "k01_ref.fasta")), *list(read_fasta(EXAMPLE))[:2]]
    write_fasta(tmp_path / "three.fa", [(one.id, one.sequence) for one in records])
    lines = [f"{one.id}\tGO:0003735\n" for one in records]
    (tmp_path / "three.tsv").write_text("".join(lines))
    text, found, ontology = small_reference(
        CASES / "k01_query.fasta", tmp_path / "three.fa", tmp_path / "three.tsv"
    )
    ribosomal = ontology.index["GO:0003735"]
    for id, terms in text.items():
        now = {term: chance for term, chance, _ in found[id]}
        assert ribosomal not in now
        for term, chance, _ in terms:
            assert now.get(term, 0.3) == pytest.approx(chance, abs=0.08)


def test_the_protein_itself_counts_in_a_small_reference_as_well(small_reference):
    text, found, ontology = small_reference(
        CASES / "k01_ref.fasta", CASES / "k01_ref.fasta", CASES / "k01_ref.tsv"
    )
    carried = ontology.index["GO:0022627"]  # a term that the text does not find
    (before,), (after,) = text.values(), found.values()
    assert carried not in [term for term, *_ in before]
    assert carried in [term for term, *_ in after]


def far_hit(place):
    """A query of 400 residues, 12 of which are of r0: the aligner covers 3 % of it."""
    own = dict(read_pairs(place / "reference.fa"))["r0"][:12]
    other = random_proteins(1, seed=99, shortest=388, longest=388)[0][1]
    write_fasta(place / "far.fa", [("far", own + other)])
    return "far.fa"


def read_pairs(path):
    return [(one.id, one.sequence) for one in read_fasta(str(path))]


@pytest.mark.parametrize("program", ["mmseqs", "diamond"])
def test_a_hit_over_little_of_a_query_does_not_wipe_the_text(place, tmp_path, monkeypatch, program):
    write_aligner(tmp_path / "bin", program)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    query = far_hit(place)
    found, _ = run(place, inputs=(query,), min_probability=0.01)
    request = AnnotateRequest(
        inputs=(str(place / query),), model=str(place / "dual"), go=True, min_probability=0.01
    )
    with Annotation(request) as annotation:
        ((*text,),) = [one.terms for one in annotation.proteins()]
    assert text
    assert [(t.term, t.probability) for t in found["far"]] == [
        (t.term, t.probability) for t in text
    ]
    assert all(t.support.evidence == ("text",) for t in found["far"])
    taken, _ = run(place, inputs=(query,), min_probability=0.01, min_coverage=2)
    told = [t.support for t in taken["far"] if "homology" in t.support.evidence]
    assert told
    for one in told:
        assert (one.source, one.coverage, one.evalue) == ("r0", 3.0, 1e-7)
    before = {t.term: t.probability for t in text}
    for one in taken["far"]:  # 3 of 50 percent: a small part of the way
        assert one.probability == pytest.approx(before.get(one.term, 0.01), abs=0.12)
    none, _ = run(place, inputs=("query.fa",), min_probability=0.01, min_coverage=99)
    assert {t.support.coverage for t in none["q0"]} == {100.0, None}


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"min_coverage": 101.0}, "usage.bad_value"),
        ({"min_coverage": -1.0}, "usage.bad_value"),
        ({"min_coverage": 5.0, "kinds": ("neighbours",)}, "usage.missing_option"),
    ],
)
def test_a_least_coverage_is_a_percentage_of_homologs(place, on_path, options, code):
    on_path()
    with refused(code, "--min-coverage"):
        run(place, **options)


# -- what cannot be done -------------------------------------------------------------------------


def test_without_weights_the_share_is_the_probability(place, on_path, tmp_path, caplog):
    on_path()
    model = Dual().write(tmp_path / "dual")
    add_to_bundle(index_of(model), open_bundle(model))
    found, _ = run(place, model=model, min_probability=0.5)
    assert "has no weights for transfer" in caplog.text
    for one in found["r1"]:
        assert one.support.source == "r1"
        assert one.probability == pytest.approx(1, abs=0.03)


def test_a_model_without_probabilities_is_refused(place, on_path, tmp_path):
    on_path()
    model = Dual().write(tmp_path / "dual")
    add_to_bundle(index_of(model, calibrated=False), open_bundle(model))
    with refused("usage.no_calibration"):
        run(place, model=model)


def test_sequences_are_needed_for_homology(place, on_path):
    on_path()
    with refused("usage.needs_sequences", "FASTA"):
        run(place, inputs=("query.h5",))


def test_annotations_alone_are_not_enough(place):
    with refused("usage.missing_option", "--neighbours", "--homology"):
        run(place, kinds=())


def test_go_has_to_be_asked_for(place):
    with refused("usage.conflicting_options", "--annotations"):
        run(place, go=False, labels=("zinc",))


def test_a_reference_without_annotations_is_refused(place, on_path):
    on_path()
    (place / "foreign.tsv").write_text(f"someone\t{go_id(2)}\n")
    for kinds in (("homology",), ("neighbours",)):
        with pytest.raises(InputError, match="none of its 10 proteins, such as r0, is annotated"):
            run(place, kinds=kinds, known="foreign.tsv")


def test_a_store_of_another_model_is_refused(place, tmp_path):
    model = Dual().write(tmp_path / "dual", change=lambda t: t["logit_scale"].add_(1))
    add_to_bundle(index_of(model), open_bundle(model))
    with refused("model.other_model", "weights"):
        run(place, kinds=("neighbours",), model=model)


def test_a_failing_aligner_ends_the_run(place, on_path):
    on_path(fault="fails")
    with pytest.raises(WorkerLostError, match="mmseqs easy-search: ended with code 3: Try again"):
        run(place)


def test_damaged_weights_are_refused(place, tmp_path):
    copy = shutil.copytree(place / "dual", tmp_path / "dual")
    path = copy / "go_transfer.json"
    path.write_text(path.read_text().replace("homology", "Homology"))
    with pytest.raises(ModelError, match="sha256 mismatch"):
        run(place, kinds=("neighbours",), model=copy)


def test_errors_of_what_is_kept_for_reading_twice_name_standard_input(tmp_path, monkeypatch):
    (tmp_path / "in").write_bytes(b"no FASTA")
    with (tmp_path / "in").open() as file:
        monkeypatch.setattr("sys.stdin", file)
        with pytest.raises(InputError) as caught, rereadable(["-"]):
            list(read_fasta("-"))
    assert str(caught.value.where).startswith("<stdin>")
