"""Residues are stretched for an explanation as they are in the objective of training."""

from __future__ import annotations

import numpy as np
import torch

from protclip_core.encoders.packing import pack_sequences
from protclip_core.terms.explain import stretch
from tests.support.helpers import random_proteins
from train.objectives.pda import segment_weights


def test_what_pda_weighs_is_what_stands_above_its_threshold():
    batch = pack_sequences([sequence for _, sequence in random_proteins(5, seed=2)])
    generator = torch.Generator().manual_seed(0)
    residues = torch.randn(len(batch.tokens), 8, generator=generator)
    prototypes = torch.randn(len(batch), 3, 8, generator=generator)
    weights = segment_weights(residues, prototypes, batch, threshold=0.3)
    for row, (start, length) in enumerate(zip(batch.starts, batch.lengths)):
        own = slice(start + 1, start + length - 1)
        for place, prototype in enumerate(prototypes[row]):
            stretched = stretch((residues[own] @ prototype).double().numpy())
            kept = np.where(stretched >= 0.3, stretched, 0.0)
            np.testing.assert_allclose(weights[own, place], kept / kept.sum(), atol=1e-6)
