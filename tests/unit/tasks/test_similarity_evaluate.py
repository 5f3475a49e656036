"""Agreement with tables and with GO, beside scipy and samples written out."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr

from protclip_core.ontology.annotations import Annotations, Provenance
from protclip_core.ontology.semantic import SemanticSimilarity, terms_of_aspect
from protclip_core.tasks.similarity.correlation import rank_correlations
from protclip_core.tasks.similarity.evaluate import EvaluateReport, evaluate
from protclip_core.tasks.similarity.request import EvaluateRequest, SimilarityRequest
from protclip_core.tasks.similarity.task import Similarity
from tests.support.helpers import random_proteins, write_fasta
from tests.support.ontology_files import SMALL, small
from tests.support.refusals import refused

PROTEINS = random_proteins(12, seed=5, shortest=5, longest=60, prefix="prot")
IDS = [id for id, _ in PROTEINS]
PAIRS = [(a, b) for i, a in enumerate(IDS) for b in IDS[i + 1 :]]


def test_correlations_are_those_of_scipy_and_of_samples_written_out():
    rng = np.random.default_rng(1)
    proteins = 9
    pairs = np.array(np.triu_indices(proteins, 1)).T
    reference = rng.integers(0, 5, len(pairs)).astype(float)  # with ties
    methods = {
        "good": reference + rng.normal(0, 1, len(pairs)),
        "ties": np.round(rng.normal(0, 1, len(pairs))),
        "same": np.ones(len(pairs)),
    }
    found = rank_correlations(reference, methods, pairs + 100, resamples=40)
    assert list(found) == list(methods)
    for name in ("good", "ties"):
        assert found[name].value == pytest.approx(spearmanr(reference, methods[name]).statistic)
    assert np.isnan([found["same"].value, found["same"].low, found["same"].high]).all()

    draws = np.random.default_rng(0)
    expected = []
    for _ in range(40):
        drawn = draws.integers(0, proteins, proteins).tolist()
        # Each pair as often as its two proteins were drawn together.
        times = [drawn.count(a) * drawn.count(b) for a, b in pairs]
        written = np.repeat(np.arange(len(pairs)), times)
        if min(len(set(values[written])) for values in (reference, methods["good"])) > 1:
            expected.append(spearmanr(reference[written], methods["good"][written]).statistic)
    low, high = np.quantile(expected, [0.025, 0.975])
    assert (found["good"].low, found["good"].high) == (pytest.approx(low), pytest.approx(high))
    assert found["good"].low < found["good"].value < found["good"].high


def test_correlations_without_intervals_and_of_what_is_not_finite():
    found = rank_correlations([1, 2, 3], {"x": [1, 3, 2]}, [[0, 1], [0, 2], [1, 2]], resamples=0)
    assert found["x"].value == pytest.approx(0.5) and np.isnan(found["x"].low)
    with refused("usage.not_finite"):
        rank_correlations([1, np.nan], {}, [[0, 1], [0, 2]])
    with refused("usage.shape_mismatch", "2 pairs"):
        rank_correlations([1, 2], {"x": [1]}, [[0, 1], [0, 2]])


@pytest.fixture
def run(tmp_path, tiny_bundle):
    write_fasta(tmp_path / "x.fa", PROTEINS)

    def run(**options):
        report = EvaluateReport()
        options = {"inputs": (str(tmp_path / "x.fa"),), "model": str(tiny_bundle)} | options
        request = EvaluateRequest(device="cpu", workers=1, resamples=20, **options)
        return list(evaluate(request, report)), report

    return run


def compared(tmp_path, tiny_bundle, space, metric):
    request = SimilarityRequest(
        inputs=(str(tmp_path / "x.fa"),), model=str(tiny_bundle), space=space, metric=metric
    )
    with Similarity(request) as comparison:
        return comparison.matrix()[np.triu_indices(12, 1)]


def test_a_table(run, tmp_path, tiny_bundle):
    rng = np.random.default_rng(0)
    values = rng.random(len(PAIRS))
    lines = [f"{a};{b};{v};{v**2 if v > 0.2 else ''}" for (a, b), v in zip(PAIRS, values)]
    lines += ["prot0;nosuch;0.5;", "prot1;prot1;1;1"]
    (tmp_path / "t.csv").write_text("Protein 1;Protein 2;BMA;graph\n" + "\n".join(lines) + "\n")
    found, report = run(table=str(tmp_path / "t.csv"))
    assert report.num_failures == 2
    assert report.first_failures == (
        f"pair prot0 nosuch: no protein 'nosuch' in {tmp_path / 'x.fa'}",
        "pair prot1 prot1: is one protein twice",
    )
    methods = ["encoder cosine", "encoder manhattan", "composition", "length"]
    if len(found) > 8:
        methods = ["joint cosine", "joint manhattan", *methods]
    names = [(one.reference, one.method) for one in found]
    assert names == [(c, m) for c in ("BMA", "graph") for m in methods]
    for one in found[: len(methods)]:
        assert (one.aspect, one.pairs, one.proteins) == ("", 66, 12)
        assert one.low <= one.high
    by_method = {one.method: one.spearman for one in found[: len(methods)]}
    for metric in ("cosine", "manhattan"):
        scores = compared(tmp_path, tiny_bundle, "encoder", metric)
        rho = spearmanr(values, scores).statistic
        assert by_method[f"encoder {metric}"] == pytest.approx(rho)
    sequences = dict(PROTEINS)
    apart = [-abs(len(sequences[a]) - len(sequences[b])) for a, b in PAIRS]
    assert by_method["length"] == pytest.approx(spearmanr(values, apart).statistic)
    shares = np.array([[s.count(r) for r in "ACDEFGHIKLMNPQRSTVWY"] for _, s in PROTEINS], float)
    shares /= np.linalg.norm(shares, axis=1, keepdims=True)
    cosines = (shares @ shares.T)[np.triu_indices(12, 1)]
    assert by_method["composition"] == pytest.approx(spearmanr(values, cosines).statistic)
    assert found[-1].pairs == int((values > 0.2).sum())


@pytest.fixture
def annotated(tmp_path):
    """Terms of ten of the proteins, as a table of pairs."""
    ontology = small()
    rng = np.random.default_rng(2)
    terms = {
        id: rng.choice(len(ontology), 4, replace=False).tolist() for id in [*IDS[:10], "another"]
    }
    path = tmp_path / "terms.tsv"
    path.write_text("".join(f"{id}\t{ontology.ids[t]}\n" for id, own in terms.items() for t in own))
    return path, Annotations.from_terms(terms, ontology, Provenance()), ontology


@pytest.mark.parametrize("measure", ["lin", "resnik"])
def test_annotations(run, tmp_path, tiny_bundle, annotated, measure):
    path, annotations, ontology = annotated
    options = {"annotations": str(path), "go": str(SMALL), "measure": measure, "space": "encoder"}
    found, report = run(**options)
    assert report.num_failures == 0
    assert {one.reference for one in found} == {f"{measure} best-match average"}
    matrix = compared(tmp_path, tiny_bundle, "encoder", "manhattan")
    place = {pair: number for number, pair in enumerate(PAIRS)}
    similarity = SemanticSimilarity(ontology, annotations.information_content(ontology), measure)
    aspects = 0
    for number, aspect in enumerate(("MF", "BP", "CC")):
        part = terms_of_aspect(annotations, ontology, number)
        carry = [id for id in IDS[:10] if len(part.of(id))]
        pairs = [(a, b) for i, a in enumerate(carry) for b in carry[i + 1 :]]
        own = [one for one in found if one.aspect == aspect]
        if len(pairs) < 10:
            assert not own
            continue
        aspects += 1
        places = [(part.index[a], part.index[b]) for a, b in pairs]
        values = similarity.proteins(part, places)
        rho = spearmanr(values, [matrix[place[pair]] for pair in pairs]).statistic
        (one,) = (one for one in own if one.method == "encoder manhattan")
        assert (one.pairs, one.proteins) == (len(pairs), len(carry))
        assert one.spearman == pytest.approx(rho)
    assert aspects >= 2
    # The same pairs, listed; and fewer proteins, drawn the same way each time.
    listed = tmp_path / "pairs.tsv"
    listed.write_text("".join(f"{a}\t{b}\n" for a, b in PAIRS))
    assert run(**options, pairs=str(listed))[0] == found
    few = run(**options, sample=6)[0]
    assert few == run(**options, sample=6)[0] and few[0].proteins == 6


def test_what_cannot_be_compared(run, tmp_path, annotated):
    path, *_ = annotated
    table = tmp_path / "t.tsv"
    table.write_text("".join(f"x{a}\tx{b}\t0.5\n" for a, b in PAIRS))
    with refused("input.too_few_pairs", "10"):
        run(table=str(table))
    for options in ({}, {"table": str(table), "annotations": str(path)}):
        with refused("usage.missing_option", "--annotations"):
            run(**options)
    with refused("usage.missing_option", "--go"):
        run(annotations=str(path))
    with refused("usage.conflicting_options", "--annotations"):
        run(table=str(table), go=str(SMALL))
    with refused("usage.bad_value", "--sample 3"):
        run(annotations=str(path), go=str(SMALL), sample=3)
    request = EvaluateRequest(inputs=("x",), table="t", resamples=-1)
    with refused("usage.bad_value", "--resamples -1"):
        list(evaluate(request, EvaluateReport()))
