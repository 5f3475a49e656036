"""Similarity of terms and proteins by GO, beside twins of sets and loops."""

from __future__ import annotations

import random

import numpy as np
import pytest

from protclip_core.errors import UsageError
from protclip_core.ontology import semantic
from protclip_core.ontology.annotations import Annotations, Provenance
from protclip_core.ontology.semantic import MEASURES, SemanticSimilarity, terms_of_aspect
from tests.support.ontology_files import (
    naive_ancestors,
    naive_parents,
    number,
    random_ontology,
    small,
)

measures = pytest.mark.parametrize("measure", MEASURES)


def annotate(ontology, *, proteins=25, seed=0):
    rng = random.Random(seed)
    terms = {f"p{i}": rng.sample(range(len(ontology)), rng.randint(0, 9)) for i in range(proteins)}
    return Annotations.from_terms(terms, ontology, Provenance())


class Twin:
    """The same by sets of ancestors."""

    def __init__(self, ontology, content, measure):
        self.ontology, self.content, self.measure = ontology, content, measure
        parents = naive_parents(ontology)
        self.lines = [naive_ancestors(parents, t) | {t} for t in range(len(ontology))]

    def terms(self, a, b):
        aspects = self.ontology.aspects
        shared = [t for t in self.lines[a] & self.lines[b] if aspects[t] == aspects[a]]
        if aspects[a] != aspects[b]:
            return 0.0
        best = max((self.content[t] for t in shared), default=0.0)
        if self.measure == "resnik":
            return best
        total = self.content[a] + self.content[b]
        return 2 * best / total if total else 0.0

    def proteins(self, one, other):
        if not len(one) or not len(other):
            return float("nan")
        left = [max(self.terms(a, b) for b in other) for a in one]
        right = [max(self.terms(a, b) for a in one) for b in other]
        return (sum(left) / len(left) + sum(right) / len(right)) / 2


@measures
@pytest.mark.parametrize("seed", range(3))
def test_beside_the_twin(measure, seed, monkeypatch):
    monkeypatch.setattr(semantic, "_MOST", 50)  # so that runs are many
    ontology = random_ontology(60, seed=seed)
    annotations = annotate(ontology, seed=seed)
    content = annotations.information_content(ontology)
    known = np.flatnonzero(np.isfinite(content))
    similarity = SemanticSimilarity(ontology, content, measure)
    twin = Twin(ontology, content, measure)
    a, b = (grid.ravel() for grid in np.meshgrid(known, known))
    expected = [twin.terms(x, y) for x, y in zip(a, b, strict=True)]
    np.testing.assert_allclose(similarity.terms(a, b), expected, atol=1e-12)
    assert max(expected) > 0

    one, other = np.divmod(np.arange(25 * 25), 25)
    for aspect in range(3):
        part = terms_of_aspect(annotations, ontology, aspect)
        found = similarity.proteins(part, np.stack([one, other], axis=1))
        terms = [part.of(f"p{i}") for i in range(25)]
        expected = [twin.proteins(terms[x], terms[y]) for x, y in zip(one, other, strict=True)]
        np.testing.assert_allclose(found, expected, atol=1e-12)
        np.testing.assert_array_equal(found.reshape(25, 25), found.reshape(25, 25).T)
        assert np.nanmax(found) > 0


@pytest.mark.parametrize("seed", range(3))
def test_the_most_specific_terms_of_an_aspect(seed):
    ontology = random_ontology(60, seed=seed)
    annotations = annotate(ontology, seed=seed)
    for given in (annotations, annotations.propagated(ontology)):
        for aspect in range(3):
            part = terms_of_aspect(given, ontology, aspect)
            assert part.protein_ids == annotations.protein_ids
            for id, terms in annotations.items():
                # Ancestors over part_of may lie in this aspect too, but are not what is carried.
                own = set(given.of(id).tolist()) if given is not annotations else set(terms)
                own = {t for t in own if ontology.aspects[t] == aspect}
                own -= set(ontology.roots.tolist())
                assert part.of(id).tolist() == sorted(ontology.most_specific(sorted(own)).tolist())


def test_known_values():
    ontology = small()
    grip, stone, rope = (number(ontology, id) for id in (1, 2, 3))
    root = number(ontology, 3674)
    cutting = number(ontology, 4)
    terms = {"a": [stone], "b": [rope], "c": [rope], "d": [cutting]}
    annotations = Annotations.from_terms(terms, ontology, Provenance())
    content = annotations.information_content(ontology)
    # Of four proteins three grip, one of them a stone: log2(4/3), 2 and 1 bits.
    lin = SemanticSimilarity(ontology, content)
    resnik = SemanticSimilarity(ontology, content, "resnik")
    grips = np.log2(4 / 3)
    assert resnik.terms([stone], [rope])[0] == pytest.approx(grips)
    assert lin.terms([stone], [rope])[0] == pytest.approx(2 * grips / (2 + 1))
    assert lin.terms([stone, grip, cutting], [stone, rope, rope]).tolist() == pytest.approx(
        [1, 2 * grips / (grips + 1), 0]
    )
    assert lin.terms([root], [root])[0] == 0
    part = terms_of_aspect(annotations, ontology, 0)
    found = lin.proteins(part, [[0, 1], [1, 2], [1, 3]])
    assert found.tolist() == pytest.approx([2 * grips / 3, 1, 0])


def test_refusals():
    ontology = small()
    with pytest.raises(UsageError, match="measure 'wang' is not known"):
        SemanticSimilarity(ontology, np.zeros(len(ontology)), "wang")
    with pytest.raises(UsageError, match="contents for"):
        SemanticSimilarity(ontology, np.zeros(3))
    content = np.full(len(ontology), np.inf)
    with pytest.raises(UsageError, match="no information content of GO:"):
        SemanticSimilarity(ontology, content).terms([1], [2])
    with pytest.raises(UsageError, match="cannot be paired"):
        SemanticSimilarity(ontology, np.zeros(len(ontology))).terms([1, 2], [2])
