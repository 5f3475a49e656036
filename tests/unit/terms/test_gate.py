"""Lines of single terms, and a gate before all: each against a naive twin."""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace
from importlib.resources import files

import numpy as np
import pytest

from protclip_core.io.phrases import Phrase
from protclip_core.measure.calibration import logit, sigmoid
from protclip_core.models.info import describe_model
from protclip_core.ontology.vocabulary import flat_vocabulary, tree_of_ec
from protclip_core.terms.calibration import AspectCalibration, Calibration
from protclip_core.terms.fit import fit_calibration, fit_gate, fit_lines
from protclip_core.terms.index_file import read_go_index, write_go_index
from protclip_core.terms.scores import GoScorer
from protclip_core.terms.vocabularies import TextSide, find_vocabulary
from tests.support.go_indexes import ancestors_of, naive_correct, random_index, unit
from tests.support.refusals import refused

STEP = AspectCalibration(1.4, 0.6, -0.5, ((-3.0, -4.0), (-1.0, -1.2), (2.0, 1.1)), 30)


@pytest.fixture(scope="module")
def ec():
    """An index of enzyme numbers with lines and a gate."""
    rng = np.random.default_rng(4)
    numbers = [f"{a}.-.-.-" for a in range(1, 5)]
    numbers += [f"{a}.{b}.-.-" for a in range(1, 5) for b in range(1, 5)]
    numbers += [f"{a}.{b}.1.{c}" for a in range(1, 5) for b in range(1, 5) for c in range(1, 4)]
    ontology = tree_of_ec([Phrase(one, one) for one in numbers], "EC", "made")
    index = random_index(ontology=ontology, width=24, calibrated=False)
    return replace(
        index,
        calibration=Calibration((STEP,), index.weights_sha256),
        lines=np.stack(
            [rng.uniform(0, 2, len(index)), rng.normal(0, 1, len(index))],
        ).astype(np.float32),
        gate=np.append(rng.normal(0, 2, 24), [0.3, -0.4]).astype(np.float32),
    )


def naive(index, vectors):
    """Calibrated and propagated log odds ``(N, G)``, term by term."""
    prior = index.log_prior.astype(np.float64)
    prior[np.isnan(prior)] = np.nanmin(prior)
    own = np.empty((len(vectors), len(index)))
    for row, vector in enumerate(vectors.astype(np.float64)):
        enzyme = float(vector @ index.gate[:-2]) + float(index.gate[-2])
        for term in range(len(index)):
            text = index.vectors[term].astype(np.float64) * float(index.scales[term])
            value = STEP.slope * index.go_scale * float(text @ vector) * index.lines[0, term]
            value += STEP.prior_weight * prior[term] + STEP.offset + index.lines[1, term]
            value = naive_correct(STEP.knots, value + float(index.gate[-1]) * enzyme)
            own[row, term] = logit(sigmoid(value) * sigmoid(enzyme))
    found = own.copy()
    for term, ancestors in enumerate(ancestors_of(index.ontology)):
        for above in ancestors:
            found[:, above] = np.maximum(found[:, above], own[:, term])
    return found


@pytest.fixture(scope="module")
def vectors(ec):
    return unit(np.random.default_rng(5), 50, ec.joint_dim)


def test_a_term_is_as_likely_as_the_gate_and_itself(ec, vectors):
    table = naive(ec, vectors)
    np.testing.assert_allclose(GoScorer(ec).all_log_odds(vectors), table, atol=3e-5)
    likely = sigmoid(vectors.astype(np.float64) @ ec.gate[:-2] + ec.gate[-2])
    assert (sigmoid(table).max(axis=1) < likely).all()


@pytest.mark.parametrize("least", [-5.0, -2.0, -0.5])
def test_pairs_above_a_threshold(ec, vectors, least):
    table = naive(ec, vectors)
    found = GoScorer(ec).above(vectors, least)
    expected = {(r, t): table[r, t] for r, t in zip(*np.nonzero(table >= least))}
    assert set(zip(found.rows.tolist(), found.terms.tolist())) == set(expected)
    np.testing.assert_allclose(found.log_odds, list(expected.values()), atol=1e-5)
    assert 0 < len(expected) < table.size


@pytest.mark.parametrize("k", [1, 3, 20])
def test_the_best_terms(ec, vectors, k):
    table = naive(ec, vectors)
    found = GoScorer(ec).best(vectors, k, (0,))
    for row in range(len(vectors)):
        listed = found.log_odds[(found.rows == row) & found.chosen]
        np.testing.assert_allclose(np.sort(listed), np.sort(table[row])[-k:], atol=1e-5)


def test_a_protein_counts_by_itself(ec, vectors):
    whole, alone = GoScorer(ec).above(vectors, -3.0), GoScorer(ec).above(vectors[7:8], -3.0)
    np.testing.assert_array_equal(whole.log_odds[whole.rows == 7], alone.log_odds)


def test_they_are_written_and_read(ec, tmp_path):
    for name, index, version in (
        ("a.npz", ec, 2),
        ("b.npz", replace(ec, lines=None, gate=None), 1),
        ("c.npz", replace(ec, gate=None), 2),
    ):
        write_go_index(index, tmp_path / name)
        back = read_go_index(tmp_path / name)
        for field in ("lines", "gate"):
            one, other = getattr(back, field), getattr(index, field)
            assert (one is None) is (other is None)
            assert one is None or np.array_equal(one, other)
        with zipfile.ZipFile(tmp_path / name) as archive, archive.open("meta.npy") as entry:
            data = entry.read()
        assert json.loads(data[data.index(b"\n") + 1 :])["version"] == version


@pytest.mark.parametrize(
    "bad",
    [
        {"gate": np.zeros(3, np.float32)},
        {"gate": np.full(26, np.nan, np.float32)},
        {"lines": np.zeros((2, 3), np.float32)},
        {"lines": np.full((2, 68), -1, np.float32)},
        {"lines": np.ones((2, 68))},
    ],
)
def test_what_does_not_fit_is_refused(ec, bad):
    negative = "lines" in bad and (bad["lines"] < 0).all()
    with refused("usage.bad_value" if negative else "usage.shape_mismatch"):
        replace(ec, **bad)


def test_a_gate_is_learned_from_proteins_and_a_hint():
    """Those with a term lie on one side; the fit finds it, and how far."""
    rng = np.random.default_rng(6)
    phrases = [Phrase(str(n), str(n)) for n in range(30)]
    index = random_index(ontology=flat_vocabulary(phrases, "X", "x"))
    side = unit(rng, 1, index.joint_dim)[0]

    def drawn(number):
        own = unit(rng, number, index.joint_dim)
        has = rng.random(number) < sigmoid(12 * (own @ side))
        return (
            own,
            has,
            [rng.choice(30, 2, replace=False) if one else np.zeros(0, int) for one in has],
        )

    index = replace(index, calibration=None)
    (learned, which, _), (held, has, terms) = drawn(2000), drawn(800)
    gate = fit_gate(index, (learned, which), held, terms, side)
    odds = held @ gate[:-2] + gate[-2]
    assert np.corrcoef(gate[:-2], side)[0, 1] > 0.9
    assert abs(sigmoid(odds).mean() - has.mean()) < 0.02
    assert sigmoid(odds)[has].mean() - sigmoid(odds)[~has].mean() > 0.2


def test_a_term_that_the_cosine_says_nothing_of_gets_a_flat_line():
    rng = np.random.default_rng(7)
    ontology = flat_vocabulary([Phrase(str(n), str(n)) for n in range(6)], "X", "x")
    index = replace(random_index(ontology=ontology, calibrated=False), go_scale=20.0)
    vectors = unit(rng, 2000, index.joint_dim)
    cosines = GoScorer(index).cosines(vectors) * index.go_scale
    chance = sigmoid(cosines - 1.5)
    chance[:, 0] = 0.2  # whatever the cosine
    right = rng.random(chance.shape) < chance
    terms = [np.flatnonzero(row) for row in right]
    index = replace(index, calibration=fit_calibration(index, vectors, terms))
    lines = fit_lines(index, vectors, terms)
    assert lines[0, 0] < 0.3 < 0.8 < lines[0, 1:].min()
    index = replace(index, lines=lines)
    index = replace(index, calibration=fit_calibration(index, vectors, terms))
    said = sigmoid(GoScorer(index).all_log_odds(vectors))
    assert abs(said[:, 0].mean() - right[:, 0].mean()) < 0.05 and said[:, 0].std() < 0.06


@pytest.fixture(scope="module")
def shipped():
    return {
        name: find_vocabulary(TextSide(describe_model("protclip-mini")), name)
        for name in ("ec", "keywords", "location")
    }


def test_keywords_imply_others(shipped):
    ontology = shipped["keywords"].ontology
    above = {
        (child, ontology.names[up])
        for child in ("Transmembrane helix", "ATP-binding", "Zinc-finger", "Kinase")
        for up in ontology.ancestors(ontology.index[child])
    }
    assert ("Transmembrane helix", "Transmembrane") in above
    assert ("Transmembrane helix", "Membrane") in above  # over two steps
    assert {("Zinc-finger", "Zinc"), ("Kinase", "Transferase")} <= above
    assert ("ATP-binding", "Nucleotide-binding") in above
    assert not any(name in ("Phosphoprotein", "Cytoplasm") for _, name in above)


def test_no_keyword_is_likelier_than_what_it_implies(shipped):
    from protclip_core.io.fasta import read_fasta
    from protclip_core.models.loading import load_model

    path = str(files("protclip_core") / "bundled/example.fasta")
    vectors = load_model(device="cpu").embed_proteins([one.sequence for one in read_fasta(path)])
    for index in shipped.values():
        odds = GoScorer(index).all_log_odds(vectors)
        for child in range(len(index)):
            for above in index.ontology.ancestors(child):
                assert (odds[:, above] >= odds[:, child]).all()
    assert shipped["ec"].gate is not None and shipped["ec"].lines is None
    assert shipped["keywords"].lines is not None and shipped["location"].lines is not None
