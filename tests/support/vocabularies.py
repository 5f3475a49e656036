"""What tests of vocabularies share: random enzyme numbers, and indexes of random vectors."""

from __future__ import annotations

import random

import numpy as np

from protclip_core.io.phrases import Phrase
from protclip_core.ontology.vocabulary import flat_vocabulary, tree_of_ec
from protclip_core.terms.calibration import AspectCalibration, Calibration
from protclip_core.terms.index import GoIndex, quantize
from tests.support.go_indexes import unit

STEP = AspectCalibration(1.4, 0.6, -0.5, ((-3.0, -4.0), (-1.0, -1.2), (2.0, 1.1)), 30)


def numbers(size, *, seed=0):
    """Random enzyme numbers and classes, some classes missing."""
    rng = random.Random(seed)
    found = set()
    for _ in range(size):
        fields = [str(rng.randint(1, 3)) for _ in range(rng.randint(1, 4))]
        found.add(".".join(fields + ["-"] * (4 - len(fields))))
    return [Phrase(id, f"enzyme {id}") for id in sorted(found)]


def random_vocabulary(*, tree=True, seed=0, width=32):
    """A calibrated index of random vectors; a tree of enzyme numbers, or a list."""
    rng = np.random.default_rng(seed)
    ontology = (tree_of_ec if tree else flat_vocabulary)(numbers(60, seed=seed), "EC", "test")
    vectors, scales = quantize(unit(rng, len(ontology), width))
    return GoIndex(
        ontology=ontology,
        vectors=vectors,
        scales=scales,
        log_prior=rng.normal(-2.0, 1.5, len(ontology)).astype(np.float32),
        go_scale=9.0,
        template="name",
        model="random",
        weights_sha256="a" * 64,
        text_side_sha256="b" * 64,
        calibration=Calibration((STEP,), "a" * 64),
    )
