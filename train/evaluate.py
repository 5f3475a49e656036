"""Figures of a model on pairs that it was not trained on.

Legend: N pairs, P joint width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from train.data import Batch, Protein, TextEncoder, full_batch
from train.model import TwoTowers
from train.objectives.mlm import IGNORED, mask_residues, mlm_loss

__all__ = ["EvaluationSet", "evaluate", "recall_at"]

_TOKENS_OF_A_BATCH = 12_000
#: The masked forward pass is a second one; a part of the proteins says enough.
_MASKED_SHARE = 0.4


@dataclass(frozen=True, eq=False)
class EvaluationSet:
    """A fixed random sample of a split, cut into batches of similar length."""

    batches: tuple[Batch, ...]

    @classmethod
    def draw(
        cls, proteins: Sequence[Protein], texts: TextEncoder, pairs: int, max_residues: int
    ) -> EvaluationSet:
        """Take ``pairs`` proteins (all, where there are fewer) with a fixed seed."""
        rows = np.random.default_rng(0).permutation(len(proteins))[:pairs].tolist()
        rows.sort(key=lambda row: len(proteins[row].residues))
        batches, held, tokens = [], [], 0
        for row in rows:
            held.append(row)
            tokens += min(len(proteins[row].residues), max_residues)
            if tokens >= _TOKENS_OF_A_BATCH:
                batches.append(full_batch(proteins, held, texts, max_residues))
                held, tokens = [], 0
        if held:
            batches.append(full_batch(proteins, held, texts, max_residues))
        return cls(tuple(batches))


@torch.no_grad()
def evaluate(model: TwoTowers, pairs: EvaluationSet, mask_share: float) -> dict[str, float]:
    """Measure retrieval in both directions and masked-LM perplexity.

    Returns
    -------
    dict
        ``p2t_r1``, ``p2t_r10`` (protein to text), ``t2p_r1``, ``t2p_r10``: shares in [0, 1];
        ``mlm_perplexity`` (33 where nothing is learnt); ``pairs``.
    """
    proteins, texts, mlm_sum, masked_count = [], [], 0.0, 0
    generator = torch.Generator().manual_seed(0)
    for batch in pairs.batches:
        hidden = model.protein_hidden(batch.proteins)
        proteins.append(model.protein_embedding(hidden, batch.proteins))
        texts.append(model.text_embedding(batch.text_ids, batch.text_mask))
        masked, targets = mask_residues(
            batch.proteins, mask_share, generator, proteins=_MASKED_SHARE
        )
        chosen = targets != IGNORED
        count = int(chosen.sum())
        if count:
            hidden = model.protein_hidden(masked)[chosen]
            loss = mlm_loss(model.protein_encoder.logits(hidden), targets[chosen])
            mlm_sum, masked_count = mlm_sum + float(loss) * count, masked_count + count
    similarity = torch.cat(proteins) @ torch.cat(texts).T
    same = _same_text(pairs.batches)
    figures: dict[str, float] = {"pairs": len(similarity)}
    for name, matrix in (("p2t", similarity), ("t2p", similarity.T)):
        for k in (1, 10):
            figures[f"{name}_r{k}"] = recall_at(k, matrix, same)
    figures["mlm_perplexity"] = math.exp(mlm_sum / max(masked_count, 1))
    return figures


def recall_at(k: int, similarity: Tensor, same_text: Tensor) -> float:
    """Share of the queries whose own partner is among the first ``k`` hits.

    Parameters
    ----------
    k
        At least 1.
    similarity
        Queries by partners, ``(N, N)``; the right partner stands on the diagonal.
    same_text
        ``(N, N)`` bool, true where the texts of ``i`` and ``j`` are identical: such a hit does
        not count as ahead of the right one. A tie with any other counts as ahead.
    """
    own = similarity.diagonal().unsqueeze(1)
    itself = torch.eye(len(similarity), dtype=torch.bool)
    ahead = (similarity >= own) & ~same_text & ~itself
    return int((ahead.sum(dim=1) < k).sum()) / len(similarity)


def _same_text(batches: Sequence[Batch]) -> Tensor:
    rows = [
        tuple(ids[mask.bool()].tolist())
        for batch in batches
        for ids, mask in zip(batch.text_ids, batch.text_mask)
    ]
    numbers: dict[tuple[int, ...], int] = {}
    labels = torch.tensor([numbers.setdefault(row, len(numbers)) for row in rows])
    return labels.unsqueeze(0) == labels.unsqueeze(1)
