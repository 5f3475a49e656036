"""Global contrast (GC): whole proteins against whole texts.

Source: ProtCLIP (AAAI 2025), global contrastive loss; the symmetric InfoNCE of CLIP (Radford et
al. 2021). `contrastive_loss` is for one process, `distributed_contrastive_loss` for a batch that
is spread over several.

Legend: B pairs of this process, N pairs of all processes, P joint width, S text tokens, W ranks.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from train.data.batch import Batch
from train.objectives.mean_over_ranks import gather_counts, gather_rows
from train.objectives.objective import Context, Objective, Outputs
from train.objectives.precision import full_precision

__all__ = ["GlobalContrast", "contrastive_loss", "distributed_contrastive_loss"]


class GlobalContrast(Objective):
    """The contrast of a batch of all ranks; its temperature is that of the model."""

    name = "gc"
    reads = frozenset({"proteins", "texts"})
    trains = frozenset({"logit_scale", "protein_projection", "text_projection", "text_encoder"})

    def forward(self, batch: Batch, outputs: Outputs, context: Context) -> dict[str, Tensor]:
        """Return the loss."""
        loss = distributed_contrastive_loss(
            outputs["proteins"],
            outputs["texts"],
            scale=context.towers.logit_scale.exp(),
            ranks=context.ranks,
            text_keys=batch.text_keys,
            form=self.config.gc_form,
        )
        return {self.name: loss}


@full_precision
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
    if not len(protein_emb):
        msg = "need a batch of at least one pair, got none"
        raise ValueError(msg)
    _check_pairs(protein_emb, text_emb)
    logits = scale * (protein_emb @ text_emb.T)
    if same_text is not None:
        itself = torch.eye(len(logits), dtype=torch.bool, device=logits.device)
        logits = logits.masked_fill(same_text & ~itself, float("-inf"))
    target = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


@full_precision
def distributed_contrastive_loss(
    protein_emb: Tensor,
    text_emb: Tensor,
    *,
    scale: Tensor | float,
    ranks: dist.ProcessGroup | None,
    text_keys: Tensor | None = None,
    form: Literal["global", "local"] = "local",
) -> Tensor:
    """Symmetric InfoNCE over the pairs of all ranks.

    The average over the ranks of the returned losses is `contrastive_loss` of the whole batch,
    and so is the average of the gradients, which is what DistributedDataParallel takes. All
    ranks call this together, and all go through its backward pass.

    Parameters
    ----------
    protein_emb, text_emb
        Unit vectors of this rank's pairs, shape ``(B, P)``. B may differ between ranks, and be
        0 on some of them.
    scale
        Factor of the cosine similarities, above 0: ``exp(logit_scale)``, the same on all ranks.
    ranks
        The processes that share the batch; ``None`` for this one alone.
    text_keys
        ``(B,)`` int64, equal where texts are identical (see `hash_texts`), also
        across ranks; given on all ranks or on none. Pairs of identical texts are no negatives.
    form
        ``"global"``: every rank computes the whole ``(N, N)`` matrix and returns the same loss.
        ``"local"``: each rank computes the rows and columns of its own pairs, ``2 B N`` numbers,
        and returns their part of the loss, multiplied by W. The result is the same.

    Returns
    -------
    Tensor
        A scalar.

    Raises
    ------
    ValueError
        No pair on any rank, shapes that differ, or an unknown form.
    """
    _check_pairs(protein_emb, text_emb)
    if form not in ("global", "local"):
        msg = f"form must be 'global' or 'local', got {form!r}"
        raise ValueError(msg)
    if ranks is None:
        return _contrast_of_all(protein_emb, text_emb, scale, text_keys)
    counts = gather_counts(len(protein_emb), ranks, protein_emb.device)
    # Both sides in one message.
    both = gather_rows(torch.cat([protein_emb, text_emb], dim=1), counts, ranks)
    proteins, texts = both.chunk(2, dim=1)
    keys = None if text_keys is None else gather_rows(text_keys, counts, ranks)
    if form == "global" or not len(both):
        return _contrast_of_all(proteins, texts, scale, keys)
    target = torch.arange(len(protein_emb), device=both.device) + sum(counts[: ranks.rank()])
    itself = F.one_hot(target, len(both)).bool()
    same = None if text_keys is None or keys is None else text_keys.unsqueeze(1) == keys
    total = both.new_zeros(())
    for own, others in ((protein_emb, texts), (text_emb, proteins)):
        logits = scale * (own @ others.T)
        if same is not None:
            logits = logits.masked_fill(same & ~itself, float("-inf"))
        total = total + F.cross_entropy(logits, target, reduction="sum")
    return total * ranks.size() / (2 * len(both))


def _contrast_of_all(
    proteins: Tensor, texts: Tensor, scale: Tensor | float, keys: Tensor | None
) -> Tensor:
    same = None if keys is None else keys.unsqueeze(1) == keys
    return contrastive_loss(proteins, texts, scale=scale, same_text=same)


def _check_pairs(protein_emb: Tensor, text_emb: Tensor) -> None:
    if protein_emb.shape != text_emb.shape or protein_emb.ndim != 2:
        msg = f"need two (B, P) tensors, got {tuple(protein_emb.shape)} and {tuple(text_emb.shape)}"
        raise ValueError(msg)
