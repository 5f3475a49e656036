"""The nearest residues of each residue, chain by chain.

Distances are differences of coordinates, never a product of matrices: that form loses 4 Å at
5,000 Å from the origin.

Legend: N residues of the batch, L residues of one chain, K neighbours.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise

import numpy as np
import torch
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist
from torch import Tensor

__all__ = ["chain_slices", "nearest_residues"]

#: Residues above which a tree is faster than all distances; and, on a GPU, above which all
#: distances do not fit.
_LONG, _GPU_LONG = 500, 8_000
#: Distances that a GPU computes at a time.
_GPU_PAIRS = 1 << 25


def chain_slices(lengths: Sequence[int]) -> Iterator[slice]:
    """Yield where each chain of a batch stands."""
    return (slice(a, b) for a, b in pairwise(accumulate(lengths, initial=0)))


@torch.no_grad()
def nearest_residues(ca: Tensor, lengths: Sequence[int], count: int) -> tuple[Tensor, Tensor]:
    """Find the nearest residues of each, within its chain.

    Parameters
    ----------
    ca
        Finite coordinates, shape ``(N, 3)``, any float type.
    lengths
        Residues of each chain.
    count
        How many to find, at least 1.

    Returns
    -------
    tuple
        Numbers of the residues, ``(N, K)`` int64, the nearest first, and which of them are
        there, ``(N, K)`` bool. ``K`` is ``count``, or less where no chain has so many others,
        but at least 1. Those that are not there point at the residue itself. A residue is never
        its own neighbour; others at the same place are.
    """
    widest = max(1, min(count, max(lengths, default=1) - 1))
    own = torch.arange(len(ca), device=ca.device)
    found = own[:, None].repeat(1, widest)
    long: list[tuple[slice, int]] = []
    short: list[tuple[slice, int]] = []
    most = _GPU_LONG if ca.is_cuda else 0
    for place, length in zip(chain_slices(lengths), lengths, strict=True):
        (short if length <= most else long).append((place, length))
    if long:
        coordinates = ca.double().cpu().numpy()
        for place, length in long:
            wanted = min(count, length - 1)
            if wanted:
                numbers = torch.from_numpy(_one_chain(coordinates[place], wanted) + place.start)
                found[place, :wanted] = numbers.to(ca.device)
    if short:
        _padded(ca, short, count, found)
    return found, found != own[:, None]


def _one_chain(ca: np.ndarray, count: int) -> np.ndarray:
    """Find ``count`` nearest others of each of L places, ``(L, count)``."""
    length = len(ca)
    own = np.arange(length)[:, None]
    if length > _LONG:
        distances, near = cKDTree(ca).query(ca, count + 1)
        # Itself is among them, though not first where others share its place.
        distances = np.where(near == own, np.inf, distances)
        order = np.argsort(distances, axis=1, kind="stable")[:, :count]
        return np.take_along_axis(near, order, axis=1).astype(np.int64)
    distances = cdist(ca, ca)
    np.fill_diagonal(distances, np.inf)
    near = np.argpartition(distances, count - 1, axis=1)[:, :count]
    near.sort(axis=1)
    order = np.argsort(np.take_along_axis(distances, near, axis=1), axis=1, kind="stable")
    return np.take_along_axis(near, order, axis=1).astype(np.int64)


def _padded(ca: Tensor, chains: list[tuple[slice, int]], count: int, found: Tensor) -> None:
    """Do the same on a GPU, for chains of like length together."""
    chains = sorted(chains, key=lambda chain: chain[1])
    while chains:
        longest = chains[-1][1]
        together = max(1, _GPU_PAIRS // longest**2)
        some, chains = chains[-together:], chains[:-together]
        places = ca.new_zeros((len(some), longest, 3))
        there = torch.zeros((len(some), longest), dtype=torch.bool, device=ca.device)
        for row, (place, length) in enumerate(some):
            places[row, :length] = ca[place]
            there[row, :length] = True
        distances = torch.cdist(places, places, compute_mode="donot_use_mm_for_euclid_dist")
        distances.masked_fill_(~there[:, None], torch.inf)
        distances.diagonal(dim1=1, dim2=2).fill_(torch.inf)
        near = distances.topk(min(count, longest), largest=False).indices
        for row, (place, length) in enumerate(some):
            wanted = min(count, length - 1)
            found[place, :wanted] = near[row, :length, :wanted] + place.start
