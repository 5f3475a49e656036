"""Several vocabularies in one annotation: each as if alone, a protein embedded once."""

from __future__ import annotations

import itertools
import logging
from dataclasses import replace

import numpy as np
import pytest

from protclip_core.errors import InputError
from protclip_core.io.phrases import Phrase
from protclip_core.models.info import describe_model
from protclip_core.models.loading import load_model, load_text_model
from protclip_core.ontology.vocabulary import tree_of_ec
from protclip_core.tasks.annotate.request import AnnotateRequest
from protclip_core.tasks.annotate.task import Annotation
from protclip_core.terms.calibration import Calibration
from protclip_core.terms.index_file import add_to_bundle
from protclip_core.terms.vocabularies import TextSide, index_of_phrases, vocabulary_file
from protclip_core.vectors import store_source as source
from protclip_core.weights.bundle import open_bundle
from tests.support.go_indexes import index_of
from tests.support.helpers import random_proteins, write_fasta
from tests.support.refusals import refused
from tests.support.vocabularies import STEP
from tests.unit.models.dual import Dual

PLACES = ["membrane", "zinc", "kinase", "atp binding"]
NUMBERS = [
    Phrase("1.-.-.-", "zinc"),
    Phrase("1.1.-.-", "zinc binding"),
    Phrase("1.1.1.1", "kinase of zinc"),
    Phrase("2.-.-.-", "the membrane"),
    Phrase("2.7.-.-", "kinase"),
]


def calibrated(index):
    prior = np.linspace(-1.0, 1.0, len(index)).astype(np.float32)
    fitted = Calibration((STEP,), index.weights_sha256)
    return replace(index, calibration=fitted, log_prior=prior, go_scale=3.0)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """A model with GO, numbers and places; it has no keywords of its own."""
    folder = Dual().write(tmp_path_factory.mktemp("annotate") / "dual")
    add_to_bundle(index_of(folder), open_bundle(folder))
    texts = TextSide(describe_model(folder), "cpu")
    places = index_of_phrases(texts, [Phrase(p, p) for p in PLACES], "LOCATION", "test")
    flat = index_of_phrases(texts, NUMBERS, "EC", "test")
    ec = replace(flat, ontology=tree_of_ec(NUMBERS, "EC", "test"))
    for name, index in (("ec", ec), ("location", places)):
        add_to_bundle(calibrated(index), open_bundle(folder), vocabulary_file(name))
    return folder


@pytest.fixture(scope="module")
def proteins(tmp_path_factory):
    path = tmp_path_factory.mktemp("proteins") / "x.fa"
    return write_fasta(path, random_proteins(20, seed=4))


@pytest.fixture
def run(bundle, proteins, tmp_path, monkeypatch):
    monkeypatch.setenv("PROTCLIP_CACHE", str(tmp_path / "cache"))

    def run(*vocabularies, **options):
        request = AnnotateRequest(
            inputs=(str(proteins),),
            model=str(bundle),
            device="cpu",
            **dict.fromkeys(vocabularies, True),
            **options,
        )
        with Annotation(request) as annotation:
            return list(annotation.proteins()), annotation

    return run


def lists(found, place=0):
    own = [one for one in found if one.vocabulary == place]
    return [(one.protein_id, one.terms) for one in own]


@pytest.mark.parametrize(
    "options", [{}, {"top_k": 2}, {"fdr": 0.4}, {"specific": True}, {"min_probability": 0.1}]
)
def test_each_is_listed_as_if_alone(run, options, monkeypatch):
    names = ("go", "ec", "location")
    monkeypatch.setattr(source, "_STORE_ROWS", 7)
    together, annotation = run("location", "go", "ec", **options)
    assert [v.name for v in annotation.vocabularies] == ["GO", "EC", "LOCATION"]
    # All vocabularies of a protein, in one order, before the next protein.
    order = [(one.protein_id, one.vocabulary) for one in together]
    ids = list(dict.fromkeys(id for id, _ in order))
    assert order == list(itertools.product(ids, range(3)))
    assert annotation.report.proteins == len(ids) == 20
    total = 0
    for place, name in enumerate(names):
        alone, single = run(name, **options)
        assert lists(together, place) == lists(alone)
        total += single.report.terms
    assert annotation.report.terms == total > 30
    assert annotation.report.with_terms == len({o.protein_id for o in together if o.terms})


def test_no_number_is_above_its_class(run):
    found, annotation = run("ec", min_probability=0.01)
    ontology, pairs = annotation.index.ontology, 0
    for one in found:
        own = {term.term: term.probability for term in one.terms}
        for term, chance in own.items():
            for above in ontology.ancestors(term):
                assert own[above] >= chance - 1e-4
                pairs += 1
    assert pairs > 20
    few, _ = run("ec", min_probability=0.01, specific=True)
    for every, one in zip(found, few):
        listed = [term.term for term in every.terms]
        assert {term.term for term in one.terms} == set(ontology.most_specific(listed))


def test_labels_and_files_are_compared_by_cosine(run, bundle, proteins, tmp_path, caplog):
    file = tmp_path / "my.terms.txt"
    file.write_text("a\tatp binding\nb\tthe membrane\n")
    labels = ("zinc", "kinase", "of  the zinc", "kinase")
    with caplog.at_level(logging.WARNING):
        found, annotation = run(vocabulary_files=(str(file),), labels=labels)
    assert "1 repeated label kept once" in caplog.text
    assert "for model dual, so no probabilities" in caplog.text
    assert [v.name for v in annotation.vocabularies] == ["my", "LABEL"]
    sequences = [sequence for _, sequence in random_proteins(20, seed=4)]
    model = load_model(str(bundle), device="cpu")
    vectors = np.asarray(model.embed(sequences, space="joint"))
    texts = load_text_model(str(bundle), device="cpu")
    for place, phrases in enumerate(
        [["atp binding", "the membrane"], ["zinc", "kinase", "of the zinc"]]
    ):
        table = vectors @ texts.embed(phrases, space="joint").T
        table /= np.linalg.norm(vectors, axis=1, keepdims=True)
        for row, (_, terms) in enumerate(lists(found, place)):
            assert [t.rank for t in terms] == list(range(1, len(phrases) + 1))
            assert all(t.probability is None for t in terms)
            for term in terms:
                assert term.cosine == pytest.approx(table[row, term.term], abs=0.01)
            cosines = [t.cosine for t in terms]
            assert cosines == sorted(cosines, reverse=True)
    mixed, annotation = run("ec", labels=labels[:1])
    assert annotation.rule == "EC: probability at least 0.3; LABEL: at most 10 of each aspect"
    assert lists(mixed) == lists(run("ec")[0])
    assert all(len(terms) == 1 for _, terms in lists(mixed, 1))


def test_many_labels_are_listed_to_the_tenth(run):
    found, _ = run(labels=tuple(f"zinc {'of ' * n}kinase" for n in range(14)))
    assert {len(one.terms) for one in found} == {10}


def test_a_vocabulary_that_the_bundle_lacks_is_made(run, caplog):
    with caplog.at_level(logging.WARNING):
        found, annotation = run("keywords", top_k=3)
    assert "the best 3 terms of each aspect" in caplog.text
    assert {len(one.terms) for one in found} == {3}
    assert not annotation.vocabularies[0].is_calibrated


@pytest.mark.parametrize(
    ("names", "options", "problem", "value"),
    [
        ((), {}, "no_vocabulary", "go"),
        (("ec",), {"aspects": ("MF",)}, "conflicting_options", "--aspect"),
        (("ec",), {"slim": "x.txt"}, "conflicting_options", "--slim"),
        (("location",), {"go_index": "x.npz"}, "conflicting_options", "--go-index"),
        (("ec",), {"labels": ("zinc",), "fdr": 0.1}, "no_calibration", "--fdr"),
        ((), {"labels": ("zinc",), "min_probability": 0.5}, "no_calibration", "--min-probability"),
        ((), {"labels": ("zinc", " ")}, "bad_value", "label"),
        ((), {"labels": ("zin\udcff",)}, "bad_value", r"zin\xff"),
        ((), {"vocabulary_files": ("-", "-")}, "stdin_twice", "-"),
    ],
)
def test_what_makes_no_sense_is_refused(run, names, options, problem, value):
    with refused(f"usage.{problem}", value):
        run(*names, **options)


def test_an_id_that_is_there_twice_is_refused(run, tmp_path):
    file = tmp_path / "x.txt"
    file.write_text("a\tzinc\na\tkinase\n")
    with pytest.raises(InputError, match="'a' occurs twice"):
        run(vocabulary_files=(str(file),))
