"""Proteins against a bank of terms of which each begins at its share of the training proteins.

Most of what is known of a protein beforehand is how common a term is. Where the logarithm of
those odds is added to the score, the vectors need not learn it, and what they learn is what sets
this protein apart; a term is predicted where the sum of both is high.

Legend: B proteins of the batch, N texts of the bank, P joint width.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from train.objectives.mean_over_ranks import mean_over_ranks
from train.objectives.precision import full_precision

__all__ = ["prior_loss"]

#: The sum over the terms of a protein is divided by this, to be of the size of the others.
_SIZE = 10.0


@full_precision
def prior_loss(
    protein_emb: Tensor,
    text_emb: Tensor,
    *,
    scale: Tensor | float,
    log_prior: Tensor,
    counts: Tensor,
    positive: Tensor,
    known: Tensor | None = None,
    stands_for: Tensor | None = None,
    weights: Tensor | None = None,
    ranks: dist.ProcessGroup | None = None,
) -> tuple[Tensor, Tensor]:
    """Logistic loss with a fixed prior, and a softmax without one.

    Parameters
    ----------
    protein_emb, text_emb
        Unit vectors, shapes ``(B, P)`` and ``(N, P)``.
    scale
        Factor of the cosine similarities, above 0.
    log_prior
        See `log_odds`, ``(N,)``; the score of a pair is ``scale * cosine + log_prior``.
    counts
        Training proteins of each term, ``(N,)``, above 0.
    positive
        ``(B, N)`` bool, true where the term is right for the protein.
    known
        ``(B, N)`` bool; a pair where it is false takes no part, neither as right nor as wrong.
        Default: all are known.
    stands_for
        ``(N,)``, how many terms of the bank each one stands for, where only a sample is here;
        right terms are all here, and stand for themselves. Default: 1 each.
    weights
        ``(N,)``, how much each term counts in the logistic loss. Default: 1 each.
    ranks
        Processes with other proteins; see `mean_over_ranks`.

    Returns
    -------
    tuple
        Two scalars, each a mean over the proteins that have a right term (0, with a gradient of
        0, where none has). First the logistic loss: summed over the known terms of a protein,
        each as often as it stands for and by its weight, divided by 10. Then the cross-entropy
        of the right terms in a softmax over the known ones of ``scale * cosine +
        log(stands_for)``, averaged with the weights ``1 / sqrt(count)``: without the prior, rare
        terms would hardly be heard.

    Raises
    ------
    ValueError
        Masks of another shape than ``(B, N)``.
    """
    shape = (len(protein_emb), len(text_emb))
    known = torch.ones_like(positive, dtype=torch.bool) if known is None else known.bool()
    if positive.shape != shape or known.shape != shape:
        msg = f"need masks of shape {shape}, got {tuple(positive.shape)} and {tuple(known.shape)}"
        raise ValueError(msg)
    positive = positive.bool() & known
    logits = scale * (protein_emb @ text_emb.T)
    times = torch.ones_like(log_prior) if stands_for is None else stands_for.to(logits.dtype)
    annotated = positive.any(dim=1)
    each = F.binary_cross_entropy_with_logits(
        logits + log_prior, positive.to(logits.dtype), reduction="none"
    )
    taking_part = known & annotated.unsqueeze(1)
    counted = times if weights is None else times * weights.to(logits.dtype)
    odds = (each * counted).masked_fill(~taking_part, 0.0).sum() / _SIZE

    # The least number instead of infinity: a protein of which nothing is known stays finite.
    least = torch.finfo(logits.dtype).min
    shares = (logits + times.log()).masked_fill(~known, least).log_softmax(dim=1)
    shared = positive * counts.to(logits.dtype).rsqrt()
    total = shared.sum(dim=1).masked_fill(~annotated, 1.0)
    rank = -(shares.masked_fill(~positive, 0.0) * shared).sum(dim=1) / total
    number = annotated.sum()
    return (
        mean_over_ranks(odds, number, ranks),
        mean_over_ranks(rank.sum(), number, ranks),
    )
