"""Global contrast (GC): whole proteins against whole texts.

Source: ProtCLIP (AAAI 2025), global contrastive loss; the symmetric InfoNCE of CLIP.

Legend: B pairs of the batch, P joint width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["contrastive_loss"]


def contrastive_loss(
    protein_emb: Tensor, text_emb: Tensor, *, scale: Tensor | float, same_text: Tensor | None = None
) -> Tensor:
    """Symmetric InfoNCE over all pairs of the batch.

    Parameters
    ----------
    protein_emb, text_emb
        Unit vectors, shape ``(B, P)``; row ``i`` of both belongs to pair ``i``.
    scale
        Factor of the cosine similarities, above 0: ``exp(logit_scale)``.
    same_text
        ``(B, B)`` bool, true where texts ``i`` and ``j`` are identical, or ``None`` for none.
        Such a pair is left out of the negatives in both directions, for it is no negative: the
        text of one protein describes the other as well. The diagonal is ignored.

    Returns
    -------
    Tensor
        Mean over the batch and both directions, a scalar; ``ln(B)`` where nothing is learnt,
        0 for a single pair.

    Raises
    ------
    ValueError
        Empty batch, or shapes that differ.
    """
    if protein_emb.shape != text_emb.shape or protein_emb.ndim != 2 or not len(protein_emb):
        msg = (
            f"need two (B, P) tensors with B >= 1, got {tuple(protein_emb.shape)} "
            f"and {tuple(text_emb.shape)}"
        )
        raise ValueError(msg)
    logits = scale * (protein_emb @ text_emb.T)
    if same_text is not None:
        itself = torch.eye(len(logits), dtype=torch.bool, device=logits.device)
        logits = logits.masked_fill(same_text & ~itself, float("-inf"))
    target = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
