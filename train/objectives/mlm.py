"""Masked-language modelling (MLM) of residues.

Source: ProtCLIP (AAAI 2025), weight 0.3 in the total loss: 15 % of the residues are masked and
always replaced by the mask token, unlike in BERT and ESM-2, where a tenth stays as it was.

Legend: T tokens of a packed batch, M masked tokens, V vocabulary.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from protclip_core.encoders.alphabet import BOS, EOS, MASK
from protclip_core.encoders.packing import PackedTokens
from train.objectives.precision import full_precision
from train.objectives.ranks import mean_over_ranks

__all__ = ["IGNORED", "mask_residues", "mlm_loss"]

#: Target of a token that is not to be restored.
IGNORED = -100


def mask_residues(
    batch: PackedTokens,
    share: float = 0.15,
    generator: torch.Generator | None = None,
    *,
    proteins: float = 1.0,
) -> tuple[PackedTokens, Tensor]:
    """Replace a random share of the residues by the mask token.

    Parameters
    ----------
    batch
        Packed proteins.
    share
        Probability that a residue is masked, in [0, 1]; BOS and EOS never are.
    generator
        Source of the random numbers (on the CPU).
    proteins
        Probability that a protein is masked at all, in [0, 1].

    Returns
    -------
    masked : PackedTokens
        The batch with `MASK` in place of the chosen residues.
    targets : Tensor
        The original ids where masked, `IGNORED` elsewhere; shape ``(T,)``, int64.
    """
    tokens = batch.tokens
    draws = torch.rand(len(tokens), generator=generator).to(tokens.device)
    taken = torch.rand(len(batch), generator=generator) < proteins
    taken = taken.repeat_interleave(torch.tensor(batch.lengths)).to(tokens.device)
    chosen = (draws < share) & taken & (tokens != BOS) & (tokens != EOS)
    targets = tokens.masked_fill(~chosen, IGNORED)
    return PackedTokens(tokens.masked_fill(chosen, MASK), batch.lengths), targets


@full_precision
def mlm_loss(logits: Tensor, targets: Tensor, *, ranks: dist.ProcessGroup | None = None) -> Tensor:
    """Cross-entropy of the masked residues.

    Parameters
    ----------
    logits
        Shape ``(T, V)``, or ``(M, V)`` for the masked tokens alone, which is cheaper.
    targets
        Ids, shape ``(T,)`` or ``(M,)``; `IGNORED` takes no part.
    ranks
        Processes that share the batch; see `ranks.mean_over_ranks`.

    Returns
    -------
    Tensor
        Mean in nats, a scalar; 0 (with a gradient of 0) where nothing is masked.
    """
    total = F.cross_entropy(logits, targets, ignore_index=IGNORED, reduction="sum")
    return mean_over_ranks(total, (targets != IGNORED).sum(), ranks)
