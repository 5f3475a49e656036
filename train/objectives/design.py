"""Residue types from the backbone: what a sequence would have to be to fold like this.

Beyond Align-Pro: a contrast says one thing about a structure, this says one about each of its
residues. A structure encoder that learns from few structures needs the latter more. It is the
objective of structure-based design (Ingraham et al. 2019; Jing et al. 2021), here without the
sequence around.

Legend: R residues of this rank's structures, S width of the structure encoder.
"""

from __future__ import annotations

import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from protclip_core.encoders.structure import OTHER
from train.data.batch import Batch
from train.objectives.mean_over_ranks import mean_over_ranks
from train.objectives.objective import Context, Objective, Outputs
from train.objectives.precision import full_precision

__all__ = ["Design", "design_loss"]


class Design(Objective):
    """A linear head on the vectors of the structure encoder; not for one that reads the types."""

    name = "design"
    reads = frozenset({"structure_residues"})
    trains = frozenset({"structure_encoder"})

    def forward(self, batch: Batch, outputs: Outputs, context: Context) -> dict[str, Tensor]:
        """Return the loss, and the share of residues that are told rightly."""
        assert batch.structures is not None
        head = context.towers.structure_head
        logits, types = head(outputs["structure_residues"]), batch.structures.residues
        known = types != OTHER
        right = (logits.detach().argmax(dim=1) == types)[known].sum()
        share = mean_over_ranks(right.float(), known.sum(), context.ranks)
        return {self.name: design_loss(logits, types, context.ranks), "recovery": share}


@full_precision
def design_loss(logits: Tensor, types: Tensor, ranks: dist.ProcessGroup | None = None) -> Tensor:
    """Cross-entropy of residue types.

    Parameters
    ----------
    logits
        Shape ``(R, 20)``; R may be 0.
    types
        ``(R,)`` int64, places in `RESIDUE_CODES`; residues of `OTHER` types take no part.
    ranks
        Processes that share the batch; see `mean_over_ranks`.

    Returns
    -------
    Tensor
        Mean over the residues in nats, a scalar; ``ln(20)`` where nothing is learnt, 0 (with a
        gradient of 0) where there is none.
    """
    total = F.cross_entropy(logits, types, ignore_index=OTHER, reduction="sum")
    return mean_over_ranks(total, (types != OTHER).sum(), ranks)
