"""From coordinates to what the encoder reads: features of residues and of their neighbours.

Legend: N residues of the batch, K neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from math import log
from typing import Any

import torch
from torch import Tensor

from protclip_core.encoders.gvp_config import GvpConfig
from protclip_core.encoders.structure.geometry import Geometry, measure_backbone
from protclip_core.encoders.structure.neighbours import nearest_residues
from protclip_core.encoders.structure.packing import PackedChains

__all__ = ["EDGE_SCALARS", "StructureGraph", "build_graph", "node_sizes"]

_DISTANCES, _FARTHEST = 16, 20.0
_WAVES, _LONGEST_WAVE = 16, 10_000.0
#: Distance in Gaussians, place in the sequence in waves, and a mark where a break is between.
EDGE_SCALARS = _DISTANCES + _WAVES + 1


@dataclass(frozen=True, eq=False)
class StructureGraph:
    """Features of the residues of a batch, which the encoder reads in place of coordinates.

    Attributes
    ----------
    scalars, vectors
        Of residues, shapes ``(N, S)`` and ``(N, 3, V)``; sizes as `node_sizes` says.
    edge_scalars, edge_vectors
        Of neighbours, shapes ``(N, K, EDGE_SCALARS)`` and ``(N, K, 3, 1)``.
    neighbours, weights
        Shape ``(N, K)``: numbers of the neighbours, and their shares in the mean, which add up
        to 1, or to 0 for the only residue of a chain.
    residues, chains
        Shape ``(N,)``: type, and number of the chain.
    lengths, descriptors
        As in `PackedChains`.
    """

    scalars: Tensor
    vectors: Tensor
    edge_scalars: Tensor
    edge_vectors: Tensor
    neighbours: Tensor
    weights: Tensor
    residues: Tensor
    chains: Tensor
    lengths: tuple[int, ...]
    descriptors: Tensor | None = None

    def to(self, device: torch.device | str) -> StructureGraph:
        """Return the same graph on another device."""
        moved: dict[str, Any] = {
            one.name: value.to(device, non_blocking=True)
            for one in fields(self)
            if isinstance(value := getattr(self, one.name), Tensor)
        }
        return replace(self, **moved)


def node_sizes(config: GvpConfig) -> tuple[int, int]:
    """Return how many scalars and vectors of a residue `build_graph` gives."""
    scalars, vectors = 1 + 2 + 3, 2
    if config.atoms == "backbone":
        scalars += 3 * 3
        scalars, vectors = scalars + config.side_chain, vectors + config.side_chain
    return scalars + 2 * config.confidence, vectors


@torch.no_grad()
def build_graph(
    batch: PackedChains,
    config: GvpConfig,
    *,
    noise: float = 0.0,
    generator: torch.Generator | None = None,
) -> StructureGraph:
    """Make the graph of a batch; each chain as if it were alone.

    Parameters
    ----------
    batch
        The chains.
    config
        Says which features there are, and how many neighbours.
    noise
        Deviation, in ångström, of what is added to every coordinate.
    generator
        Where noise comes from, on the CPU; ``None`` for torch's own.
    """
    if noise:
        shape, kind = batch.backbone.shape, batch.backbone.dtype
        shift = torch.randn(shape, generator=generator, dtype=kind) * noise
        batch = replace(batch, backbone=batch.backbone + shift.to(batch.backbone.device))
    ca = batch.backbone[:, 1]
    neighbours, there = nearest_residues(ca, batch.lengths, config.neighbours)
    scalars, vectors = _residues(batch, measure_backbone(batch), config)
    edge_scalars, edge_vectors = _edges(ca, neighbours, batch.starts)
    count = there.sum(1, keepdim=True).clamp(min=1)
    return StructureGraph(
        scalars,
        vectors,
        edge_scalars,
        edge_vectors,
        neighbours,
        (there / count).to(ca.dtype),
        batch.residues,
        batch.chain_ids(),
        batch.lengths,
        batch.descriptors,
    )


def _residues(batch: PackedChains, seen: Geometry, config: GvpConfig) -> tuple[Tensor, Tensor]:
    """Return scalars and vectors of residues; the marks say what is absent."""
    whole = config.atoms == "backbone"
    angles = slice(0 if whole else 3, 4)
    directions = slice(0, 3 if whole and config.side_chain else 2)
    marks = torch.cat([seen.angles_known[:, angles], seen.directions_known[:, directions]], 1)
    parts = [seen.bend[:, None], seen.angles[:, angles].flatten(1), (~marks).to(seen.bend.dtype)]
    if config.confidence:
        absent = batch.confidence.isnan()
        parts += [batch.confidence.nan_to_num()[:, None], absent[:, None].to(seen.bend.dtype)]
    return torch.cat(parts, 1), seen.directions[:, :, directions].contiguous()


def _edges(ca: Tensor, neighbours: Tensor, starts: Tensor) -> tuple[Tensor, Tensor]:
    """Return scalars and vectors of neighbours: how far, which way, how far in the sequence."""
    away = ca[neighbours] - ca[:, None]
    distance = away.norm(dim=-1, keepdim=True)
    centres = torch.linspace(0, _FARTHEST, _DISTANCES, dtype=ca.dtype, device=ca.device)
    near = (-((distance - centres) / (_FARTHEST / _DISTANCES)).square()).exp()
    segments = starts.cumsum(0)
    joined = (segments[neighbours] == segments[:, None])[:, :, None]
    steps = (neighbours - torch.arange(len(ca), device=ca.device)[:, None])[:, :, None]
    places = torch.arange(0, _WAVES, 2, dtype=ca.dtype, device=ca.device)
    turns = steps * (places * (-log(_LONGEST_WAVE) / _WAVES)).exp()
    waves = torch.cat([turns.cos(), turns.sin()], -1).where(joined, 0)
    scalars = torch.cat([near, waves, (~joined).to(ca.dtype)], -1)
    return scalars, (away / distance.clamp(min=1e-6))[:, :, :, None]
