"""Small k-mer encoders of every kind, and proteins for them."""

from __future__ import annotations

import random

import pytest
import torch

from protclip_core.encoders.kmer import KmerEncoder
from protclip_core.encoders.kmer_config import KmerConfig

TABLES = [
    "3:20:8",
    "11001:20:8:500",
    "5:6:8",
    "4:10:8",
    "1:20:8",
    "1101011:LIVMFYWC AGSTP EDQNKRH:8",
]
SMALL = {"tables": TABLES, "hidden_dim": 12, "num_layers": 3, "dilations": [1, 3], "kernel": 3}
VARIANTS = {
    "bottleneck": SMALL,
    "plain": SMALL | {"block": "plain", "expansion": 0.5},
    "summed": SMALL | {"combine": "sum", "projection": False, "hidden_dim": 8},
    "gated": SMALL | {"gate": True},
    "no layers": {"tables": TABLES, "hidden_dim": 48, "projection": False, "final_norm": False},
    "behind": SMALL | {"keep_input": True, "hidden_dim": 48 + 10, "block": "plain"},
    "windows": SMALL
    | {
        "tables": TABLES[:2],
        "windows": [
            {"width": 5, "dim": 7},
            {"width": 6, "dim": 6, "activation": "gelu"},
        ],
    },
    "windows alone": SMALL | {"tables": [], "windows": [{"width": 1, "dim": 4}]},
}
each_variant = pytest.mark.parametrize("name", VARIANTS)


def encoder_of(name="bottleneck", *, seed=0, **options):
    """Random values everywhere, special rows and gates included, so that each one shows."""
    torch.manual_seed(seed)
    module = KmerEncoder(KmerConfig.from_dict(VARIANTS[name]), **options).eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(0, 0.5 if parameter.ndim < 2 else parameter.shape[1] ** -0.5)
    return module


def proteins(number, *, seed=0, longest=40):
    rng = random.Random(seed)
    letters = "ACDEFGHIKLMNPQRSTVWY" * 4 + "BJOUXZ"
    return ["".join(rng.choices(letters, k=rng.randint(1, longest))) for _ in range(number)]
