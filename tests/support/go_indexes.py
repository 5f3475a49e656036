"""What tests of GO indexes share: small ones, of random vectors or of a real text encoder."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np

from protclip_core.models.loading import load_text_model
from protclip_core.ontology.assemble import TermList, assemble, go_id
from protclip_core.terms.build import build_go_index
from protclip_core.terms.calibration import AspectCalibration, Calibration
from protclip_core.terms.index import GoIndex, quantize
from tests.support.ontology_files import naive_ancestors, naive_parents, random_ontology, small

#: Steps that differ between the aspects: one bends, one shifts, one does nothing.
ASPECTS = (
    AspectCalibration(1.4, 0.6, -0.5, ((-3.0, -4.0), (-1.0, -1.2), (2.0, 1.1)), 30),
    AspectCalibration(0.9, 1.1, 0.2, ((-1.0, -0.4),), 30),
    AspectCalibration(1.1, 0.0, -1.0, (), 30),
)


def unit(rng, number, width):
    vectors = rng.normal(size=(number, width)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def orderly_ontology(size, *, seed=0):
    """A random one without edges between aspects."""
    rng = random.Random(seed)
    terms = TermList()
    for id in range(1, size + 1):
        above = range(1 + (id - 1) % 3, id, 3)
        for parent in rng.sample(above, min(len(above), rng.randint(1, 2))):
            terms.edges.add(id, parent, rng.randint(0, 1), 1)
        terms.ids.append(go_id(id))
        terms.names.append(f"term {id}")
        terms.definitions.append("")
        terms.aspects.append((id - 1) % 3)
    return assemble(terms, "orderly", data_version="2024-01-17")


def random_index(size=150, *, width=48, seed=0, calibrated=True, ontology=None):
    """An index of random vectors; a fifth of the priors are not known."""
    rng = np.random.default_rng(seed)
    ontology = ontology or random_ontology(size, seed=seed)
    vectors, scales = quantize(unit(rng, len(ontology), width))
    prior = rng.normal(-2.0, 1.5, len(ontology)).astype(np.float32)
    prior[rng.random(len(ontology)) < 0.2] = np.nan
    return GoIndex(
        ontology=ontology,
        vectors=vectors,
        scales=scales,
        log_prior=prior,
        go_scale=9.0,
        template="name",
        model="random",
        weights_sha256="a" * 64,
        text_side_sha256="b" * 64,
        calibration=Calibration(ASPECTS, "a" * 64) if calibrated else None,
    )


def ancestors_of(ontology):
    """Set of ancestors of each term, naively."""
    parents = naive_parents(ontology)
    return [naive_ancestors(parents, term) for term in range(len(ontology))]


def naive_correct(knots, value):
    """Follow the broken line, one value at a time."""
    if not knots:
        return value
    if value <= knots[0][0]:
        return value - knots[0][0] + knots[0][1]
    if value >= knots[-1][0]:
        return value - knots[-1][0] + knots[-1][1]
    for (a, b), (c, d) in zip(knots, knots[1:]):
        if a <= value <= c:
            return b + (d - b) * (value - a) / (c - a)
    raise AssertionError(value)


def naive_log_odds(index, vectors):
    """Calibrated and propagated log odds ``(N, G)``, term by term."""
    prior = index.log_prior.astype(np.float64)
    prior[np.isnan(prior)] = np.nanmin(prior)
    own = np.empty((len(vectors), len(index)))
    for row, vector in enumerate(vectors):
        for term in range(len(index)):
            one = index.calibration.aspects[index.ontology.aspects[term]]
            text = index.vectors[term].astype(np.float64) * float(index.scales[term])
            value = one.slope * index.go_scale * float(text @ vector)
            value += one.prior_weight * prior[term] + one.offset
            own[row, term] = naive_correct(one.knots, value)
    found = own.copy()
    for term, ancestors in enumerate(ancestors_of(index.ontology)):
        for above in ancestors:
            found[:, above] = np.maximum(found[:, above], own[:, term])
    return found


def index_of(bundle, *, calibrated=True, template="both"):
    """The index of the small ontology for a bundle with a text side."""
    model = load_text_model(str(bundle), device="cpu")
    prior = np.linspace(-4.0, 5.0, len(small()))
    index = build_go_index(model, small(), template=template, log_prior=prior, go_scale=3.0)
    if not calibrated:
        return index
    return replace(index, calibration=Calibration(ASPECTS, index.weights_sha256))
