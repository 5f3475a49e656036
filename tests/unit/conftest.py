"""Sequences for the encoder tests."""

from __future__ import annotations

import random

import pytest
import torch

# One thread: threads that wait for each other on a busy machine make small products crawl.
torch.set_num_threads(1)

RESIDUES = "LAGVSERTIDPKQNFYMHWC"


@pytest.fixture(scope="session")
def mixed_sequences() -> list[str]:
    """Fifty sequences of 1 to 300 residues, most of them short, some with unusual letters."""
    rng = random.Random(7)
    lengths = [1, 2, 3, 50, 50, 50, 300, *(rng.randint(4, 120) for _ in range(43))]
    return ["".join(rng.choices(RESIDUES + "XBUZO", [20] * 20 + [1] * 5, k=n)) for n in lengths]
