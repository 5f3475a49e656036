"""Many chains in one row of residues, without padding.

Legend: B chains in the batch, N residues of all of them together, L residues of one chain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from protclip_core.io.structures.chain import Chain

__all__ = ["MASKED", "OTHER", "RESIDUE_CODES", "PackedChains", "crop_chain", "pack_chains"]

#: The residues in the order of their codes; every other letter has `OTHER`.
RESIDUE_CODES = "ACDEFGHIKLMNPQRSTVWY"
OTHER, MASKED = 20, 21

_CODES = np.full(256, OTHER, dtype=np.int64)
for _code, _letter in enumerate(RESIDUE_CODES):
    _CODES[ord(_letter)] = _code


@dataclass(frozen=True, eq=False)
class PackedChains:
    """The residues of ``B`` chains, one chain behind the other.

    Attributes
    ----------
    backbone
        Coordinates in ångström, shape ``(N, 4, 3)``: N, CA, C, O; NaN for atoms that are not
        there. Each chain has its middle at the origin, so that single precision is enough.
    residues
        Types, shape ``(N,)``, int64: places in `RESIDUE_CODES`, `OTHER` or `MASKED`.
    starts
        Whether a residue does not follow the one before, shape ``(N,)``, bool; true for the
        first of each chain.
    confidence
        pLDDT / 100, shape ``(N,)``; NaN where there is none.
    lengths
        Residues of each chain, at least 1; their sum is ``N``.
    descriptors
        Shape ``(B, 34)``, what `describe_chain` says of the whole chains where those here are
        pieces; ``None``: they are whole, or nobody asks.
    """

    backbone: Tensor
    residues: Tensor
    starts: Tensor
    confidence: Tensor
    lengths: tuple[int, ...]
    descriptors: Tensor | None = None

    def __post_init__(self) -> None:
        total = sum(self.lengths)
        if self.backbone.shape != (total, 4, 3):
            shape = tuple(self.backbone.shape)
            raise ValueError(f"lengths add up to {total}, but coordinates are {shape}")
        if min(self.lengths, default=1) < 1:
            raise ValueError("a chain has no residue")

    def __len__(self) -> int:
        return len(self.lengths)

    def chain_ids(self) -> Tensor:
        """Return the number of the chain of each residue, shape ``(N,)``, int64."""
        device = self.backbone.device
        lengths = torch.tensor(self.lengths, dtype=torch.int64, device=device)
        return torch.repeat_interleave(torch.arange(len(self), device=device), lengths)

    def to(self, device: torch.device | str) -> PackedChains:
        """Return the same batch on another device."""
        return replace(
            self,
            **{
                name: getattr(self, name).to(device, non_blocking=True)
                for name in ("backbone", "residues", "starts", "confidence", "descriptors")
                if getattr(self, name) is not None
            },
        )


def pack_chains(
    chains: Sequence[Chain],
    *,
    descriptors: np.ndarray | None = None,
    dtype: torch.dtype = torch.float32,
) -> PackedChains:
    """Pack chains in the given order, each moved to the origin.

    Parameters
    ----------
    chains
        At least one residue each.
    descriptors
        Shape ``(B, 34)``, of the whole chains where these are pieces of them.
    dtype
        Type of the coordinates.

    Raises
    ------
    ValueError
        A chain without residues, or a residue without CA.
    """
    centred = [_centred(chain) for chain in chains]
    joined = np.concatenate(centred) if centred else np.empty((0, 4, 3))
    letters = "".join(chain.sequence for chain in chains).encode("latin-1", "replace")
    starts = [_starts(chain) for chain in chains]
    confidence = [
        np.full(len(chain), np.nan) if chain.confidence is None else chain.confidence / 100.0
        for chain in chains
    ]
    return PackedChains(
        torch.from_numpy(joined).to(dtype),
        torch.from_numpy(_CODES[np.frombuffer(letters, np.uint8)]),
        torch.from_numpy(np.concatenate(starts) if starts else np.empty(0, bool)),
        torch.from_numpy(np.concatenate(confidence) if confidence else np.empty(0)).to(dtype),
        tuple(len(chain) for chain in chains),
        None if descriptors is None else torch.from_numpy(np.asarray(descriptors)).to(dtype),
    )


def crop_chain(chain: Chain, start: int, length: int) -> Chain:
    """Cut ``length`` residues out of a chain, from ``start`` (counted from 0).

    A piece reaches at most to the end of the chain; its first residue follows none.
    """
    piece = slice(start, start + length)
    confidence = None if chain.confidence is None else chain.confidence[piece]
    backbone, starts = chain.backbone[piece], chain.starts[piece]
    return Chain(chain.id, chain.sequence[piece], backbone, starts, confidence)


def _centred(chain: Chain) -> np.ndarray:
    """Move a chain's CA to a mean of zero, in double precision."""
    backbone = chain.backbone.astype(np.float64)
    if not len(chain):
        raise ValueError(f"{chain.id}: a chain without residues")
    if not np.isfinite(backbone[:, 1]).all():
        raise ValueError(f"{chain.id}: a residue without CA")
    centred: np.ndarray = backbone - backbone[:, 1].mean(axis=0)
    return centred


def _starts(chain: Chain) -> np.ndarray:
    starts = chain.starts.copy()
    starts[0] = True
    return starts
