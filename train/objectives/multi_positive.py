"""Proteins against a bank of texts of which several are right, as GO terms are.

Beyond the paper: annotation by text retrieval ranks all terms for a protein, while the contrast
of pairs knows one text of a protein. Two forms: `multi_positive_softmax` ranks the terms of each
protein, `multi_positive_sigmoid` makes scores comparable between proteins (a probability for each
pair; SigLIP, Zhai et al. 2023). Either also takes terms against proteins: with both embeddings
exchanged and the masks transposed.

Legend: B proteins of the batch, N texts of the bank, P joint width.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from train.objectives.mean_over_ranks import mean_over_ranks
from train.objectives.precision import full_precision

__all__ = ["multi_positive_sigmoid", "multi_positive_softmax"]


@full_precision
def multi_positive_softmax(
    protein_emb: Tensor,
    text_emb: Tensor,
    *,
    scale: Tensor | float,
    positive: Tensor,
    known: Tensor | None = None,
    ranks: dist.ProcessGroup | None = None,
) -> Tensor:
    """Cross-entropy of each right text against the wrong texts of its protein.

    The other right texts are left out of the denominator: a protein with twenty terms is not
    asked to prefer any of them to the others, and can reach a loss of 0.

    Parameters
    ----------
    protein_emb, text_emb
        Unit vectors, shapes ``(B, P)`` and ``(N, P)``.
    scale
        Factor of the cosine similarities, above 0.
    positive
        ``(B, N)`` bool, true where the text is right for the protein.
    known
        ``(B, N)`` bool; a pair where it is false takes no part, neither as right nor as wrong.
        Default: all are known.
    ranks
        Processes with other proteins and the same bank; see `mean_over_ranks`.

    Returns
    -------
    Tensor
        Mean over a protein's right texts, then over the proteins that have any; a scalar, 0
        (with a gradient of 0) where none has. 0 as well for a protein without wrong texts.
    """
    positive, known = _masks(protein_emb, text_emb, positive, known)
    logits = scale * (protein_emb @ text_emb.T)
    # The least number instead of infinity: a protein without wrong texts stays finite.
    least = torch.finfo(logits.dtype).min
    wrong = logits.masked_fill(~known | positive, least).logsumexp(dim=1)
    owner, text = positive.nonzero(as_tuple=True)
    each = -F.logsigmoid(logits[owner, text] - wrong[owner])
    number = positive.sum(dim=1)
    return mean_over_ranks((each / number[owner]).sum(), (number > 0).sum(), ranks)


@full_precision
def multi_positive_sigmoid(
    protein_emb: Tensor,
    text_emb: Tensor,
    *,
    scale: Tensor | float,
    bias: Tensor | float,
    positive: Tensor,
    known: Tensor | None = None,
    ranks: dist.ProcessGroup | None = None,
) -> Tensor:
    """Logistic loss of every known pair, right or wrong.

    Parameters
    ----------
    protein_emb, text_emb, positive, known, ranks
        As for `multi_positive_softmax`.
    scale, bias
        ``scale * cosine + bias`` is the logarithm of the odds. The bias begins near the logarithm
        of the share of right pairs, about -6 for GO: else the many wrong pairs fill the first
        steps.

    Returns
    -------
    Tensor
        Sum over the known pairs of the proteins that have a right text, divided by the number of
        right pairs among them: of the size of the softmax form however large the bank, and, as
        all pairs weigh the same, least where the scores are probabilities. A scalar, 0 (with a
        gradient of 0) where no text is right.
    """
    positive, known = _masks(protein_emb, text_emb, positive, known)
    logits = scale * (protein_emb @ text_emb.T) + bias
    taking_part = known & positive.any(dim=1, keepdim=True)
    each = F.binary_cross_entropy_with_logits(logits, positive.to(logits.dtype), reduction="none")
    total = each.masked_fill(~taking_part, 0.0).sum()
    return mean_over_ranks(total, positive.sum(), ranks)


def _masks(
    protein_emb: Tensor, text_emb: Tensor, positive: Tensor, known: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return both masks as bool, a right pair that is not known taken out."""
    shape = (len(protein_emb), len(text_emb))
    for mask in (positive, known):
        if mask is not None and mask.shape != shape:
            msg = f"need a mask of shape {shape}, got {tuple(mask.shape)}"
            raise ValueError(msg)
    positive = positive.bool()
    if known is None:
        return positive, torch.ones_like(positive)
    return positive & known.bool(), known.bool()
