"""Contrast of three modalities, pair by pair, each with a weight and a temperature of its own.

Source: Align-Pro (ACL 2025), as far as it is described: weighted InfoNCE of sequence with
structure, sequence with text, structure with text. A protein takes part in a term if it has both
of its modalities; the mean is over those of all ranks.

Legend: M proteins of this rank that have both, N those of all ranks, P joint width, K keys,
W ranks.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from train.config.run import ObjectivesConfig
from train.data.batch import NO_KEY, Batch
from train.data.go_bank import GoBank
from train.objectives.mean_over_ranks import gather_counts, gather_rows, mean_over_ranks
from train.objectives.objective import Context, Objective, Outputs
from train.objectives.precision import full_precision
from train.towers.two_towers import MAX_LOGIT_SCALE

__all__ = ["SequenceStructure", "SequenceText", "StructureText", "masked_contrast"]

#: What each modality gives a batch; rows of structures are those of `Batch.structure_rows`.
OUTPUTS = {"sequence": "proteins", "structure": "structures", "text": "texts"}


class Contrast(Objective):
    """Two sets of vectors of the same proteins, pulled together; with its own temperature."""

    def __init__(self, config: ObjectivesConfig, bank: GoBank | None = None) -> None:
        super().__init__(config, bank)
        self.logit_scale = nn.Parameter(torch.full((1,), math.log(1 / config.pair_temperature)))

    def contrast(self, one: Tensor, other: Tensor, keys: Tensor, context: Context) -> Tensor:
        """Return `masked_contrast` at the temperature of this objective."""
        with torch.no_grad():
            self.logit_scale.clamp_(max=MAX_LOGIT_SCALE)
        scale = self.logit_scale.exp()
        return masked_contrast(one, other, scale=scale, keys=keys, ranks=context.ranks)

    def figures(self) -> dict[str, float]:
        """Return the scale that has been learnt."""
        value = self.logit_scale.detach()
        whole = value.full_tensor() if hasattr(value, "full_tensor") else value
        return {f"{self.name}_scale": float(whole.exp())}


class PairContrast(Contrast):
    """The proteins that have both of two modalities."""

    sides: ClassVar[tuple[str, str]]

    def forward(self, batch: Batch, outputs: Outputs, context: Context) -> dict[str, Tensor]:
        """Return the loss; 0 where no rank has a protein with both."""
        rows = batch.with_modalities(self.sides)
        one, other = (_of_rows(batch, outputs, side, rows) for side in self.sides)
        keys = batch.keys(rows, texts="text" in self.sides)
        return {self.name: self.contrast(one, other, keys, context)}


class SequenceStructure(PairContrast):
    """The term of weight alpha."""

    name, sides = "sequence_structure", ("sequence", "structure")
    reads = frozenset({"proteins", "structures"})
    trains = frozenset({"protein_projection", "structure_encoder", "structure_projection"})


class SequenceText(PairContrast):
    """The term of weight beta."""

    name, sides = "sequence_text", ("sequence", "text")
    reads = frozenset({"proteins", "texts"})
    trains = frozenset({"protein_projection", "text_projection", "text_encoder"})


class StructureText(PairContrast):
    """The term of weight gamma."""

    name, sides = "structure_text", ("structure", "text")
    reads = frozenset({"structures", "texts"})
    trains = frozenset(
        {"structure_encoder", "structure_projection", "text_projection", "text_encoder"}
    )


@full_precision
def masked_contrast(
    one: Tensor,
    other: Tensor,
    *,
    scale: Tensor | float,
    keys: Tensor,
    ranks: dist.ProcessGroup | None = None,
) -> Tensor:
    """Symmetric InfoNCE in which proteins that share a key are no negatives of each other.

    Parameters
    ----------
    one, other
        Unit vectors, shape ``(M, P)``; row ``i`` of both belongs to the same protein. M may
        differ between ranks, and be 0 on some or on all of them.
    scale
        Factor of the cosine similarities, above 0.
    keys
        ``(M, K)`` int64; column by column, proteins with equal keys are alike (the same text, the
        same cluster). `NO_KEY` is like no other.
    ranks
        The processes that share the batch; every one must call this, and go through its backward
        pass. ``None`` for this one alone.

    Returns
    -------
    Tensor
        Mean over the proteins of all ranks and both directions, as the average over the ranks of
        what they return; 0, with a gradient of 0, where there is none anywhere.

    Raises
    ------
    ValueError
        Shapes that do not fit together.
    """
    if one.shape != other.shape or one.ndim != 2 or keys.ndim != 2 or len(keys) != len(one):
        shapes = ", ".join(str(tuple(part.shape)) for part in (one, other, keys))
        msg = f"need two (M, P) tensors and keys (M, K), got {shapes}"
        raise ValueError(msg)
    first, ones, others, every = 0, one, other, keys
    if ranks is not None:
        counts = gather_counts(len(one), ranks, one.device)
        # Both sides in one message.
        ones, others = gather_rows(torch.cat([one, other], dim=1), counts, ranks).chunk(2, dim=1)
        every = gather_rows(keys, counts, ranks)
        first = sum(counts[: ranks.rank()])
    target = torch.arange(len(one), device=one.device) + first
    alike = ((keys.unsqueeze(1) == every) & (keys != NO_KEY).unsqueeze(1)).any(dim=2)
    alike &= torch.arange(len(every), device=one.device) != target.unsqueeze(1)
    # What keeps the graph the same where nothing is added up.
    total = 0.0 * (ones.sum() + others.sum())
    for own, partners in ((one, others), (other, ones)):
        logits = (scale * (own @ partners.T)).masked_fill(alike, float("-inf"))
        if len(own):
            total = total + F.cross_entropy(logits, target, reduction="sum") / 2
        else:
            total = total + logits.sum()
    return mean_over_ranks(total, torch.tensor(len(one), device=one.device), ranks)


def _of_rows(batch: Batch, outputs: Outputs, side: str, rows: Tensor) -> Tensor:
    """Return the vectors of a modality of some rows of the batch, all of which have it."""
    vectors = outputs[OUTPUTS[side]]
    if side != "structure":
        return vectors[rows]
    assert batch.structure_rows is not None
    # Rows rise in both, and those with a structure hold all that are asked for.
    return vectors[torch.searchsorted(batch.structure_rows, rows)]
