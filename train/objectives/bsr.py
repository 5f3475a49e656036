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

import math
from collections.abc import Callable

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from protclip_core.encoders.alphabet import MASK
from protclip_core.encoders.packing import PackedTokens
from train.objectives.mlm import IGNORED
from train.objectives.precision import full_precision
from train.objectives.ranks import mean_over_ranks

__all__ = ["bsr_loss", "mask_segments"]


def mask_segments(
    batch: PackedTokens,
    share: float = 0.15,
    longest: int = 10,
    generator: torch.Generator | None = None,
) -> tuple[PackedTokens, Tensor]:
    """Replace random runs of residues by the mask token.

    In each protein, runs are drawn until they cover the share; the last one is cut so that they
    cover no more. Their places are random, all arrangements being equally likely; runs do not
    overlap, but may touch.

    Parameters
    ----------
    batch
        Packed proteins, each with BOS and EOS, which are never masked.
    share
        Share of the residues of each protein that is masked, in [0, 1]; rounded up to whole
        residues, but one residue always stays, so that a protein of one is left alone.
    longest
        Longest run, at least 1; the length of a run is random between half of it and itself.
    generator
        Source of the random numbers (on the CPU).

    Returns
    -------
    masked : PackedTokens
        The batch with `MASK` in place of the chosen residues.
    targets : Tensor
        The original ids where masked, `IGNORED` elsewhere; shape ``(T,)``, int64.

    Raises
    ------
    ValueError
        ``share`` or ``longest`` out of range.
    """
    if not 0 <= share <= 1 or longest < 1:
        msg = f"need a share in [0, 1] and a longest run of 1 or more, got {share} and {longest}"
        raise ValueError(msg)
    # One draw from torch seeds NumPy, whose small draws cost a tenth.
    seed = int(torch.randint(1 << 62, (), generator=generator))
    rng = np.random.default_rng(seed)
    chosen = np.zeros(len(batch.tokens), dtype=bool)
    for start, length in zip(batch.starts, batch.lengths):
        residues = length - 2
        # Less a hair, since 0.07 * 100 comes out above 7.
        wanted = min(math.ceil(share * residues - 1e-9), residues - 1)
        if wanted > 0:
            first = start + 1
            chosen[first : first + residues] = _random_runs(residues, wanted, longest, rng)
    where = torch.from_numpy(chosen).to(batch.tokens.device)
    targets = batch.tokens.masked_fill(~where, IGNORED)
    return PackedTokens(batch.tokens.masked_fill(where, MASK), batch.lengths), targets


def _random_runs(size: int, wanted: int, longest: int, rng: np.random.Generator) -> np.ndarray:
    """Choose ``wanted`` of ``size`` places in runs; bool, shape ``(size,)``."""
    shortest = max(1, longest // 2)
    lengths = rng.integers(shortest, longest + 1, size=-(-wanted // shortest))
    ends = lengths.cumsum()
    number = int(np.searchsorted(ends, wanted)) + 1
    lengths = lengths[:number]
    lengths[-1] -= ends[number - 1] - wanted
    rng.shuffle(lengths)
    # Shrink every run to one place; choose those; then let the runs grow again.
    slots = np.sort(rng.choice(size - wanted + number, number, replace=False))
    starts = slots + lengths.cumsum() - lengths - np.arange(number)
    step = np.zeros(size + 1, dtype=np.int64)
    np.add.at(step, starts, 1)
    np.add.at(step, starts + lengths, -1)
    return step[:size].cumsum() > 0


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
        Processes that share the batch; see `ranks.mean_over_ranks`.

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
