"""Biotext-guided static segments (BSR): masked runs of residues, restored from the text.

Source: ProtCLIP (AAAI 2025), weight 0.7. Runs of residues are masked; what the protein encoder
makes of the masked tokens, projected into the joint space, attends to the text of the same
protein, and a head restores the residues from what it found there. Here the gradient flows
through everything, and padding of the text is not attended to.

    masked, targets = mask_segments(batch, generator=generator)
    residues = model.protein_projection(model.protein_hidden(masked)[targets != IGNORED])
    loss = bsr_loss(residues, targets, masked, text, text_mask, decoder=..., head=...)

Legend: B proteins, T protein tokens of a packed batch, L residues of one protein, M masked
tokens, R masked tokens of one protein (padded), S text tokens (padded), P joint width,
V vocabulary of residues.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from protclip_core.encoders.packing import PackedTokens
from train.data.batch import Batch
from train.data.masking import IGNORED
from train.objectives.mean_over_ranks import mean_over_ranks
from train.objectives.objective import Context, Objective, Outputs
from train.objectives.precision import full_precision

__all__ = ["StaticSegments", "bsr_loss"]


class StaticSegments(Objective):
    """Masked runs of residues, restored with the help of the text."""

    name = "bsr"
    reads = frozenset({"segments", "segment_targets", "text_tokens"})
    trains = frozenset({"protein_projection", "text_projection", "text_encoder"})

    def forward(self, batch: Batch, outputs: Outputs, context: Context) -> dict[str, Tensor]:
        """Return the loss."""
        towers, proteins, targets = context.towers, batch.close.whole, outputs["segment_targets"]
        # The texts of the proteins that are looked at are the first.
        text, mask = outputs["text_tokens"][: len(proteins)], batch.text_mask[: len(proteins)]
        loss = bsr_loss(
            towers.protein_projection(outputs["segments"][targets != IGNORED]),
            targets,
            proteins,
            towers.text_projection(text),
            mask,
            decoder=towers.residue_heads.segment_decoder,
            head=towers.residue_heads.segment_head,
            ranks=context.ranks,
        )
        return {self.name: loss}


def bsr_loss(
    residues: Tensor,
    targets: Tensor,
    batch: PackedTokens,
    text: Tensor,
    text_mask: Tensor,
    *,
    decoder: Callable[[Tensor, Tensor, Tensor], Tensor],
    head: Callable[[Tensor], Tensor],
    ranks: dist.ProcessGroup | None = None,
) -> Tensor:
    """Cross-entropy of masked residues that are restored with the help of the text.

    Parameters
    ----------
    residues
        Projected token vectors of the masked tokens alone, shape ``(M, P)``, in the order of the
        batch. The encoder has seen the masked batch.
    targets
        Their ids in ``(T,)``, `IGNORED` elsewhere, as `mask_segments` gives them.
    batch
        The packed proteins; only their lengths are read.
    text
        Projected token vectors of each protein's text, shape ``(B, S, P)``.
    text_mask
        True (or 1) at real text tokens, shape ``(B, S)``. Others have no influence, whatever
        finite numbers stand there.
    decoder
        A `SegmentDecoder`: residues ``(B, R, P)``, text and its mask to ``(B, R, P)``.
    head
        A `ResidueHead`: ``(M, P)`` to logits ``(M, V)``.
    ranks
        Processes that share the batch; see `mean_over_ranks`.

    Returns
    -------
    Tensor
        Mean over the masked residues in nats, a scalar; 0 (with a gradient of 0) where nothing
        is masked.

    Raises
    ------
    ValueError
        Numbers of residues, targets, proteins and texts that do not fit together.
    """
    wanted = targets != IGNORED
    count = int(wanted.sum())
    if len(residues) != count or len(text) != len(batch) or text_mask.shape != text.shape[:2]:
        msg = (
            f"got {len(residues)} residues for {count} targets, and texts "
            f"{tuple(text.shape)} with mask {tuple(text_mask.shape)} for {len(batch)} proteins"
        )
        raise ValueError(msg)
    numbers = [int(part.sum()) for part in wanted.cpu().split(batch.lengths)]
    vectors, answers = residues.split(numbers), targets[wanted].split(numbers)
    found, expected = [], []
    for rows in _alike(numbers):
        if rows:
            block = pad_sequence([vectors[row] for row in rows], batch_first=True)
        else:
            block = residues.unsqueeze(1)
        index = torch.tensor(rows, dtype=torch.int64, device=text.device)
        decoded = decoder(block, text[index], text_mask[index])
        sizes = torch.tensor([numbers[row] for row in rows], device=block.device)
        places = torch.arange(block.shape[1], device=block.device)
        found.append(decoded[places < sizes.unsqueeze(1)])
        expected += [answers[row] for row in rows]
    return _restoring_loss(head(torch.cat(found)), torch.cat(expected or [answers[0]]), ranks)


@full_precision
def _restoring_loss(logits: Tensor, targets: Tensor, ranks: dist.ProcessGroup | None) -> Tensor:
    total = F.cross_entropy(logits, targets, reduction="sum")
    return mean_over_ranks(total, torch.tensor(len(targets), device=targets.device), ranks)


def _alike(numbers: list[int]) -> list[list[int]]:
    """Put proteins with about as many masked tokens into one block; leave those with none out.

    No block is padded to more than twice what is in it. Where nothing at all is masked, there is
    one block of no proteins, so that decoder and head take part with a gradient of 0.
    """
    blocks: dict[int, list[int]] = {}
    for row, number in enumerate(numbers):
        if number:
            blocks.setdefault(number.bit_length(), []).append(row)
    return list(blocks.values()) or [[]]
