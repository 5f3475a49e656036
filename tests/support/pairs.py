"""Proteins, stores and heads for tests of pairs."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np

from protclip_core.heads import FitSettings, fit_head, save_head
from protclip_core.heads.card import HeadInput
from protclip_core.heads.pair_features import RECIPES, pair_features, pair_input, unit_rows
from protclip_core.heads.targets import Targets
from protclip_core.store.writer import StoreWriter

DIM = 12
INPUT = HeadInput(
    width=DIM,
    model="toy",
    weights_sha256="ab" * 32,
    config_sha256="cd" * 32,
    pooling="residues",
    space="encoder",
    layer=2,
)
TYPES = ("binding", "catalysis", "expression")


def vectors_of(count, *, seed=0, dim=DIM):
    return np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32)


def ids_of(count):
    return [f"P{number}" for number in range(count)]


def write_store(path, vectors, ids=None, *, own=INPUT, sequences=None, lengths=None, **changed):
    """Write a store; sequences default to one of its own for each id."""
    ids = ids or ids_of(len(vectors))
    texts = sequences or [f"M{id}" for id in ids]
    digests = np.array([list(hashlib.sha256(t.encode()).digest()) for t in texts], np.uint8)
    with StoreWriter(
        path, vectors.shape[1], attributes={**own.to_attributes(), **changed}
    ) as writer:
        lengths = np.full(len(ids), 9) if lengths is None else lengths
        writer.write(ids, vectors, lengths, np.zeros(len(ids), np.uint16), digests)
    return path


def write_pairs(path, pairs, header="protein_a\tprotein_b"):
    path.write_text("\n".join([header, *("\t".join(map(str, pair)) for pair in pairs), ""]))
    return path


def true_labels(vectors, a, b):
    """Pairs interact whose vectors point the same way."""
    unit = unit_rows(vectors)
    return (unit[a] * unit[b]).sum(1) > 0


def all_pairs(count):
    return np.triu_indices(count, 1)


def fitted(vectors, recipe="difference", kind="logistic", types=False):
    """Fit on pairs of vectors: whether they point the same way, or three types."""
    a, b = all_pairs(len(vectors))
    x = unit_rows(vectors)
    features = pair_features(x[a], x[b], RECIPES[recipe])
    if types:
        targets = Targets.of_table(features[:, : len(TYPES)] > 0.1, TYPES)
    else:
        labels = true_labels(vectors, a, b).astype(np.int64)
        targets = Targets("classes", ("no interaction", "interaction"), labels)
    found = fit_head(features, targets, FitSettings(kind=kind, folds=2, search=False))
    own = replace(INPUT, width=vectors.shape[1])
    card = found.card(task="interaction", input=pair_input(own, RECIPES[recipe]))
    return found, card, features


def head_of(*arguments, **options):
    found, card, _features = fitted(*arguments, **options)
    return found.head(card)


def save(path, *arguments, **options):
    found, card, features = fitted(*arguments, **options)
    save_head(path, found.estimator, card, features)
    return path
