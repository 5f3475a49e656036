"""Sums over the processes of a run, such that averaged gradients come out right.

`torch.nn.parallel.DistributedDataParallel` averages gradients over the ranks. A loss that is a
mean over the whole batch must therefore come out right as the *average* of what the ranks return,
also where one rank has more pairs, residues or properties than another.

Legend: W ranks, B rows of this rank, N rows of all ranks together.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

__all__ = ["gather_counts", "gather_rows", "mean_over_ranks"]


def gather_counts(count: int, ranks: dist.ProcessGroup, device: torch.device) -> list[int]:
    """Return the ``count`` of each rank, in the order of the ranks.

    Every rank of the group must call this. ``device`` is where the group's backend works.
    """
    own = torch.tensor([count], device=device)
    found = [torch.empty_like(own) for _ in range(ranks.size())]
    dist.all_gather(found, own, group=ranks)
    return [int(number) for number in torch.cat(found)]


def gather_rows(rows: Tensor, counts: list[int], ranks: dist.ProcessGroup) -> Tensor:
    """Concatenate the rows of all ranks; gradients flow back to the rank of each row.

    Parameters
    ----------
    rows
        This rank's rows, shape ``(B, ...)``; all but ``B`` is the same on every rank. B may be 0.
    counts
        Rows of each rank, as `gather_counts` gives them.
    ranks
        The processes that take part; every one must call this, and go through its backward pass.

    Returns
    -------
    Tensor
        Shape ``(N, ...)``, the same on every rank. The gradient of ``rows`` is the sum over the
        ranks of what each has found for these rows.
    """
    result: Tensor = _GatherRows.apply(rows, counts, ranks)
    return result


class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, counts: list[int], ranks: dist.ProcessGroup) -> Tensor:
        ctx.counts, ctx.ranks = counts, ranks
        # Collectives want equal shapes: pad to the longest, and cut afterwards.
        padded = rows.new_zeros(max(counts), *rows.shape[1:])
        padded[: len(rows)] = rows
        found = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(found, padded, group=ranks)
        return torch.cat([part[:count] for part, count in zip(found, counts)])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        # A copy, since the sum is taken in place. All-reduce instead of reduce-scatter, which
        # needs equal parts: what is sent is small beside the gradients of the encoders.
        total = gradients[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total, group=ctx.ranks)
        first = sum(ctx.counts[: ctx.ranks.rank()])
        return total[first : first + ctx.counts[ctx.ranks.rank()]], None, None


def mean_over_ranks(total: Tensor, count: Tensor, ranks: dist.ProcessGroup | None) -> Tensor:
    """Turn this rank's sum into its share of the mean over the whole batch.

    Parameters
    ----------
    total
        Sum over what this rank has, a scalar.
    count
        How many that were, a scalar without gradient; may be 0.
    ranks
        The processes that share the batch (each must call this), or ``None`` for this one alone.

    Returns
    -------
    Tensor
        ``total / count`` in one process. With ranks, ``total * W`` over the count of all: its
        average over the ranks, and that of its gradients, is the mean over the whole batch,
        while a mean of means would weigh a rank with few members too much. 0 where there is
        nothing to average anywhere.
    """
    if ranks is None:
        return total / count.clamp(min=1)
    everything = count.detach().clone()
    dist.all_reduce(everything, group=ranks)
    return total * ranks.size() / everything.clamp(min=1)
