"""How sure a term is for a protein: against a plain loop, and fitted on made data."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.resources import files

import numpy as np
import pytest

from protclip_core.errors import ModelError
from protclip_core.measure.calibration import logit
from protclip_core.models.info import describe_model
from protclip_core.ontology.reference import accession_of
from protclip_core.tasks.annotate.request import AnnotateRequest
from protclip_core.tasks.annotate.task import Annotation
from protclip_core.terms.reliability import (
    RELIABILITY_FILE,
    Reliability,
    find_reliability,
    reliability_bytes,
)
from protclip_core.terms.scores import GoScorer
from protclip_core.weights.bundle import MANIFEST, open_bundle
from tests.support.go_indexes import orderly_ontology, random_index, unit
from tests.support.refusals import refused
from tests.unit.models.dual import Dual
from train.release.go_reliability import _add, fit_reliability, measure_reliability

EXAMPLE = str(files("protclip_core") / "bundled/example.fasta")


@pytest.fixture(scope="module")
def made():
    rng = np.random.default_rng(0)
    return Reliability(unit(rng, 7, 16), rng.normal(size=(3, 4)), "a" * 64)


def test_it_is_that_of_a_plain_loop(made):
    rng = np.random.default_rng(1)
    vectors, aspects = unit(rng, 20, 16), rng.integers(0, 3, 20)
    odds = rng.normal(size=20)
    near = made.nearness(vectors)
    for row, vector in enumerate(vectors):
        assert near[row] == pytest.approx(max(float(c @ vector) for c in made.centres), abs=1e-6)
        a, b, c, d = made.weights[aspects[row]]
        value = a + b * odds[row] + c * near[row] + d * odds[row] * near[row]
        assert made.of(odds, aspects, near)[row] == pytest.approx(1 / (1 + np.exp(-value)))
    np.testing.assert_array_equal(made.nearness(vectors[3:4]), near[3:4])
    assert np.isnan(made.of(np.array([np.nan]), np.array([0]), near[:1])).all()


def test_a_bundle_that_has_it_none_or_a_damaged_one(tmp_path):
    bundle = Dual().write(tmp_path / "dual")
    info = describe_model(bundle)
    assert find_reliability(info) is None
    rng = np.random.default_rng(2)
    told = open_bundle(bundle).weights_sha256
    one = Reliability(unit(rng, 5, info.joint_dim), rng.normal(size=(3, 4)), told)
    _add(one, bundle)
    open_bundle(bundle).verify()
    found = find_reliability(describe_model(bundle))
    np.testing.assert_array_equal(found.weights, one.weights)
    np.testing.assert_allclose(found.centres, one.centres, atol=0.005)
    # Of other weights: not used.
    _add(replace(one, weights_sha256="b" * 64), bundle)
    assert find_reliability(describe_model(bundle)) is None
    _add(replace(one, weights=np.zeros((2, 4))), bundle)
    with pytest.raises(ModelError) as caught:
        find_reliability(describe_model(bundle))
    assert caught.value.code == "model.damaged"
    content = json.loads((bundle / MANIFEST).read_text())
    assert content["files"][RELIABILITY_FILE]["bytes"] == len(
        reliability_bytes(replace(one, weights=np.zeros((2, 4))))
    )


def test_near_proteins_are_surer_where_they_are():
    """Terms of near proteins come true more often than is said, those of far ones less."""
    rng = np.random.default_rng(3)
    index = random_index(60, width=32, ontology=orderly_ontology(60))
    train = np.repeat(unit(rng, 8, 32), 40, axis=0) + rng.normal(0, 0.02, (320, 32))
    train /= np.linalg.norm(train, axis=1, keepdims=True)
    near = train[rng.integers(0, 320, 400)] + rng.normal(0, 0.05, (400, 32))
    vectors = np.concatenate([near, unit(rng, 400, 32)]).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    found = GoScorer(index).above(vectors, logit(0.3))
    right = [set(index.ontology.roots.tolist()) for _ in vectors]
    for row, term in zip(found.rows.tolist(), found.terms.tolist()):
        if rng.random() < (0.9 if row < 400 else 0.3):
            right[row].add(term)
    terms = [np.array(sorted(some)) for some in right]
    one = fit_reliability(train.astype(np.float32), index, vectors, terms)
    quarters = measure_reliability(one, index, vectors, terms)
    assert quarters[0]["right"] < 0.5 < 0.8 < quarters[3]["right"]
    for quarter in (quarters[0], quarters[3]):
        assert abs(quarter["reliability"] - quarter["right"]) < 0.08


def test_a_column_of_the_bundled_model():
    def run(**options):
        request = AnnotateRequest(inputs=(EXAMPLE,), go=True, device="cpu", **options)
        with Annotation(request) as annotation:
            return list(annotation.proteins()), annotation

    plain, _ = run()
    sure, annotation = run(reliability=True)
    assert [[(t.term, t.probability, t.rank) for t in one.terms] for one in sure] == [
        [(t.term, t.probability, t.rank) for t in one.terms] for one in plain
    ]
    assert all(t.reliability is None for one in plain for t in one.terms)
    values = {accession_of(one.protein_id): [t.reliability for t in one.terms] for one in sure}
    assert all(0 < value < 1 for some in values.values() for value in some)
    # The same whatever else is there, and in the order of probabilities within an aspect.
    chosen, _ = run(reliability=True, fdr=0.3)
    told = {(one.protein_id, t.term): t.reliability for one in sure for t in one.terms}
    again = {(one.protein_id, t.term): t.reliability for one in chosen for t in one.terms}
    assert {key: told[key] for key in again.keys() & told.keys()} == {
        key: again[key] for key in again.keys() & told.keys()
    }
    for one in sure:
        for aspect in range(3):
            own = [
                t.reliability
                for t in one.terms
                if annotation.index.ontology.aspects[t.term] == aspect
            ]
            assert own == sorted(own, reverse=True)


def test_what_it_does_not_go_with(tmp_path):
    with (
        refused("usage.conflicting_options"),
        Annotation(AnnotateRequest(inputs=(EXAMPLE,), ec=True, reliability=True)),
    ):
        pass
    (tmp_path / "a.tsv").write_text("P69905\tGO:0005344\n")
    request = AnnotateRequest(
        inputs=(EXAMPLE,), go=True, reliability=True, annotations=str(tmp_path / "a.tsv")
    )
    with refused("usage.missing_option"), Annotation(request):
        pass
