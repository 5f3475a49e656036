"""Vocabularies of a model: those of the bundled one, those that are made and kept, any phrases."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest

from protclip_core.errors import ModelError
from protclip_core.io.phrases import Phrase, read_phrases
from protclip_core.measure.calibration import sigmoid
from protclip_core.models.info import DEFAULT_MODEL, describe_model
from protclip_core.ontology.vocabulary import class_of
from protclip_core.terms.calibration import Calibration
from protclip_core.terms.fit import fit_calibration
from protclip_core.terms.index_file import add_to_bundle, read_go_index, write_go_index
from protclip_core.terms.scores import GoScorer
from protclip_core.terms.vocabularies import (
    SHIPPED,
    TABLES,
    TextSide,
    find_vocabulary,
    index_facts,
    index_of_phrases,
    shipped_ontology,
    vocabulary_file,
)
from protclip_core.weights.bundle import open_bundle
from tests.support.go_indexes import naive_log_odds, unit
from tests.support.vocabularies import STEP, random_vocabulary
from tests.unit.models.dual import Dual


@pytest.fixture(scope="module")
def dual(tmp_path_factory):
    return Dual().write(tmp_path_factory.mktemp("vocabularies") / "dual")


def texts_of(folder):
    return TextSide(describe_model(folder), "cpu")


def is_loaded(texts):
    return "model" in vars(texts)


def same(one, other):
    assert (one.ontology.ids, one.ontology.names) == (other.ontology.ids, other.ontology.names)
    assert np.array_equal(one.vectors, other.vectors)


@pytest.mark.parametrize("tree", [True, False])
def test_scores_are_those_of_the_naive_twin_highest_classes_too(tree):
    index = random_vocabulary(tree=tree, seed=3)
    vectors = unit(np.random.default_rng(1), 7, index.joint_dim)
    table = naive_log_odds(index, vectors)
    assert np.allclose(GoScorer(index).all_log_odds(vectors), table, atol=1e-4)
    found = GoScorer(index).above(vectors, -2.0)
    wanted = {(r, t) for r, t in zip(*np.nonzero(table >= -2.0))}
    assert set(zip(found.rows, found.terms)) == wanted
    highest = [t for t, id in enumerate(index.ontology.ids) if class_of(id) is None]
    assert set(highest) & set(found.terms)
    best = GoScorer(index).best(vectors, 4, (0,))
    for row in range(len(vectors)):
        own = best.terms[(best.rows == row) & best.chosen]
        assert np.allclose(np.sort(table[row, own]), np.sort(table[row])[-4:], atol=1e-4)


def test_a_file_keeps_the_calibration_of_the_one_aspect(tmp_path):
    index = random_vocabulary()
    write_go_index(index, tmp_path / "x.npz")
    again = read_go_index(tmp_path / "x.npz")
    same(again, index)
    assert again.calibration == index.calibration
    assert again.ontology.aspect_names == ("EC",)


def test_proteins_that_are_known_to_have_none_make_probabilities_smaller():
    rng = np.random.default_rng(5)
    index = random_vocabulary(tree=False, seed=5)
    own = [np.array([row % len(index)]) for row in range(200)]
    vectors = np.stack([index.unit_vectors(terms)[0] for terms in own])
    vectors = vectors + 0.8 * unit(rng, 200, index.joint_dim)
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    # Half of them, like the others in all else, are known to have no term.
    known = [terms if row % 2 else terms[:0] for row, terms in enumerate(own)]
    said = {}
    for bare in (False, True):
        calibration = fit_calibration(index, vectors, known, bare=bare)
        odds = GoScorer(replace(index, calibration=calibration)).all_log_odds(vectors)
        said[bare] = np.array([sigmoid(odds[row, terms[0]]) for row, terms in enumerate(own)])
        assert calibration.aspects[0].proteins == (200 if bare else 100)
    assert said[False].mean() > 0.8
    assert said[True].mean() == pytest.approx(0.5, abs=0.1)


def test_a_shipped_vocabulary_is_made_once_and_kept(dual, tmp_path, caplog):
    texts = texts_of(dual)
    made = find_vocabulary(texts, "location", tmp_path)
    assert is_loaded(texts) and made.calibration is None
    assert made.ontology.ids == shipped_ontology("location").ids
    for row in (0, 40, 99):
        vector = texts.model.embed([made.ontology.names[row]], space="joint")[0]
        assert made.unit_vectors([row])[0] @ vector == pytest.approx(1.0, abs=5e-3)
    again = texts_of(dual)
    same(find_vocabulary(again, "location", tmp_path), made)
    assert not is_loaded(again)
    # Another text side has vectors of its own, and a damaged file is made again.
    other = Dual().write(tmp_path / "other", change=lambda t: t["text_projection.0.bias"].add_(0.5))
    assert not np.array_equal(
        find_vocabulary(texts_of(other), "location", tmp_path).vectors, made.vectors
    )
    kept = sorted((tmp_path / "vocabularies").glob("location-*.safetensors"))
    assert len(kept) == 2
    for path in kept:
        path.write_bytes(path.read_bytes()[:-300])
    same(find_vocabulary(texts_of(dual), "location", tmp_path), made)
    assert "it is made again" in caplog.text
    caplog.clear()
    same(find_vocabulary(texts_of(dual), "location", tmp_path), made)
    assert not caplog.records


def test_what_is_in_the_bundle_is_taken_and_checked(dual, tmp_path):
    folder = tmp_path / "with"
    shutil.copytree(dual, folder)
    phrases = [Phrase("x", "zinc"), Phrase("y", "kinase")]
    index = index_of_phrases(texts_of(folder), phrases, "LOCATION", "test")
    index = replace(index, calibration=Calibration((STEP,), index.weights_sha256))
    add_to_bundle(index, open_bundle(folder), vocabulary_file("location"))
    add_to_bundle(index, open_bundle(folder), vocabulary_file("keywords"))
    texts = texts_of(folder)
    found = find_vocabulary(texts, "location", tmp_path)
    same(found, index)
    assert found.calibration == index.calibration
    assert not is_loaded(texts) and not (tmp_path / "vocabularies").exists()
    with pytest.raises(ModelError, match="is no vocabulary of keywords"):
        find_vocabulary(texts, "keywords", tmp_path)
    assert dict(index_facts(texts.info)) == {
        "vocabulary location": "2 terms, calibrated",
        "vocabulary keywords": "2 terms, calibrated",
    }
    path = folder / vocabulary_file("location")
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ModelError):
        find_vocabulary(texts_of(folder), "location", tmp_path)
    assert "damaged" in dict(index_facts(texts.info))["vocabulary location"]


def test_phrases_need_a_model_that_takes_texts(tiny_bundle, tmp_path):
    texts = texts_of(tiny_bundle)
    with pytest.raises(ModelError, match="takes no texts"):
        index_of_phrases(texts, [Phrase("x", "zinc")], "LABEL", "test")
    with pytest.raises(ModelError, match="takes no texts"):
        find_vocabulary(texts, "ec", tmp_path)
    assert index_facts(texts.info) == []


@pytest.mark.parametrize("name", SHIPPED)
def test_the_bundled_model_has_what_ships(name):
    info = describe_model(DEFAULT_MODEL)
    table = shipped_ontology(name)
    index = find_vocabulary(TextSide(info), name)
    assert (index.ontology.ids, index.ontology.names) == (table.ids, table.names)
    assert np.array_equal(index.ontology.parents, table.parents)
    assert index.calibration is not None and not np.isnan(index.log_prior).any()
    assert dict(index_facts(info))[f"vocabulary {name}"] == f"{len(table):,} terms, calibrated"


def test_shipped_tables_say_what_they_should():
    sizes = {name: len(read_phrases(TABLES / f"{name}.tsv")) for name in SHIPPED}
    assert sizes["ec"] > 1000 and 60 <= sizes["location"] <= 300 and sizes["keywords"] > 200
    ec = shipped_ontology("ec")
    assert ec.names[ec.index["1.1.1.-"]] == "alcohol dehydrogenase using NAD or NADP"
    assert {ec.ids[a] for a in ec.ancestors(ec.index["2.7.11.1"])} == {
        "2.7.11.-",
        "2.7.-.-",
        "2.-.-.-",
    }
    assert {"Mitochondrion", "Nucleus"} < set(shipped_ontology("location").ids)
    words = set(shipped_ontology("keywords").ids)
    assert "Kinase" in words and not words & {"Reference proteome", "3D-structure"}
    with pytest.raises(ModelError, match="no such file"):
        shipped_ontology("ec", TABLES / "none")
