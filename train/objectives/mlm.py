"""Masked-language modelling (MLM) of residues.

Source: ProtCLIP (AAAI 2025), weight 0.3 in the total loss: 15 % of the residues are masked and
always replaced by the mask token, unlike in BERT and ESM-2, where a tenth stays as it was.

Legend: T tokens of a packed batch, M masked tokens, V vocabulary.
"""

from __future__ import annotations

import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from train.data.batch import Batch
from train.data.masking import IGNORED
from train.objectives.mean_over_ranks import mean_over_ranks
from train.objectives.objective import Context, Objective, Outputs
from train.objectives.precision import full_precision

__all__ = ["MaskedResidues", "mlm_loss"]


class MaskedResidues(Objective):
    """Masked residues, restored from the rest of the protein."""

    name = "mlm"
    reads = frozenset({"residues", "residue_targets"})
    trains = frozenset({"protein_layers"})

    def forward(self, batch: Batch, outputs: Outputs, context: Context) -> dict[str, Tensor]:
        """Return the loss."""
        targets = outputs["residue_targets"]
        chosen = targets != IGNORED
        logits = context.towers.residue_logits(outputs["residues"][chosen])
        return {self.name: mlm_loss(logits, targets[chosen], ranks=context.ranks)}


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
        Processes that share the batch; see `mean_over_ranks`.

    Returns
    -------
    Tensor
        Mean in nats, a scalar; 0 (with a gradient of 0) where nothing is masked.
    """
    total = F.cross_entropy(logits, targets, ignore_index=IGNORED, reduction="sum")
    return mean_over_ranks(total, (targets != IGNORED).sum(), ranks)
