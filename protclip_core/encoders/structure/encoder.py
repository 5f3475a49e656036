"""The structure encoder: packed chains in, one vector each out.

Legend: B chains, N residues of all of them, S scalars of a residue, D width of a chain's vector.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from protclip_core.encoders.gvp_config import DESCRIPTOR_SIZES, GvpConfig
from protclip_core.encoders.structure.descriptor import describe
from protclip_core.encoders.structure.graph import (
    EDGE_SCALARS,
    StructureGraph,
    build_graph,
    node_sizes,
)
from protclip_core.encoders.structure.gvp import Edges, Gvp, GvpLayer, GvpNorm, Sizes
from protclip_core.encoders.structure.packing import MASKED, PackedChains

__all__ = ["StructureEncoder"]

#: Width of the learned vector of a residue's type.
_TYPE_DIM = 20


class StructureEncoder(nn.Module):
    """A graph encoder of geometric vector perceptrons.

    Parameters
    ----------
    config
        Its shape.

    Attributes
    ----------
    recompute
        Whether training keeps only what enters each layer and computes it again on the way back:
        a third more time, a fraction of the memory. Off to begin with.

    Notes
    -----
    Vectors of chains do not change when a chain is turned or moved, but do when it is mirrored.
    """

    descriptor_mean: Tensor
    descriptor_scale: Tensor

    def __init__(self, config: GvpConfig) -> None:
        super().__init__()
        self.config = config
        self.recompute = False
        scalars, vectors = node_sizes(config)
        if config.residues:
            self.types = nn.Embedding(MASKED + 1, _TYPE_DIM)
            scalars += _TYPE_DIM
        nodes, edges = Sizes(config.scalar_dim, config.vector_dim), Sizes(config.edge_dim, 1)
        self.node_input = Gvp(Sizes(scalars, vectors), nodes, active=False, gate=config.gate)
        self.node_norm = GvpNorm(nodes)
        self.edge_input = Gvp(Sizes(EDGE_SCALARS, 1), edges, active=False, gate=config.gate)
        self.edge_norm = GvpNorm(edges)
        self.layers = nn.ModuleList(
            GvpLayer(
                nodes,
                edges,
                message_depth=config.message_depth,
                feedforward_depth=config.feedforward_depth,
                gate=config.gate,
                dropout=config.dropout,
            )
            for _ in range(config.num_layers)
        )
        self.output = Gvp(nodes, Sizes(config.scalar_dim, 0))
        size = DESCRIPTOR_SIZES[config.descriptor]
        if size:
            self.register_buffer("descriptor_mean", torch.zeros(size))
            self.register_buffer("descriptor_scale", torch.ones(size))

    @property
    def hidden_dim(self) -> int:
        """D."""
        return self.config.hidden_dim

    def graph(
        self, batch: PackedChains, generator: torch.Generator | None = None
    ) -> StructureGraph:
        """Make the graph of a batch; in training with noise, which comes from ``generator``.

        It takes no gradient and may be called from other threads, ahead of `forward`.
        """
        noise = self.config.noise if self.training else 0.0
        graph = build_graph(batch, self.config, noise=noise, generator=generator)
        if self.config.descriptor != "none" and graph.descriptors is None:
            graph = replace(graph, descriptors=describe(batch))
        return graph

    def forward(
        self, batch: PackedChains | StructureGraph, generator: torch.Generator | None = None
    ) -> Tensor:
        """Return the vectors of the chains.

        Parameters
        ----------
        batch
            Chains, or what `graph` made of them; on the device of the encoder.
        generator
            As for `graph`.

        Returns
        -------
        Tensor
            Shape ``(B, D)``: the mean over the residues, and the descriptor behind it.
        """
        graph = batch if isinstance(batch, StructureGraph) else self.graph(batch, generator)
        return self.pool(self.residues(graph), graph)

    def pool(self, scalars: Tensor, graph: StructureGraph) -> Tensor:
        """Return the vectors of the chains, ``(B, D)``, from those of `residues`, ``(N, S)``."""
        lengths = torch.tensor(graph.lengths, dtype=scalars.dtype, device=scalars.device)
        total = scalars.new_zeros((len(graph.lengths), scalars.shape[-1]))
        pooled = total.index_add(0, graph.chains, scalars) / lengths[:, None]
        size = DESCRIPTOR_SIZES[self.config.descriptor]
        if not size:
            return pooled
        assert graph.descriptors is not None
        beside = (graph.descriptors[:, :size] - self.descriptor_mean) / self.descriptor_scale
        return torch.cat([pooled, beside.to(pooled.dtype)], 1)

    def residues(self, graph: StructureGraph) -> Tensor:
        """Return the vectors of the residues, shape ``(N, S)``."""
        scalars = graph.scalars
        if self.config.residues:
            scalars = torch.cat([scalars, self.types(graph.residues)], 1)
        nodes = self.node_norm(*self.node_input(scalars, graph.vectors))
        seen = self.edge_norm(*self.edge_input(graph.edge_scalars, graph.edge_vectors))
        edges = Edges(seen[0], seen[1], graph.neighbours, graph.weights)
        for layer in self.layers:
            if self.recompute and torch.is_grad_enabled():
                nodes = checkpoint(layer, *nodes, edges, use_reentrant=False)
            else:
                nodes = layer(*nodes, edges)
        found: Tensor = self.output(*nodes)[0]
        return found

    @torch.no_grad()
    def scale_descriptors(self, descriptors: Tensor) -> None:
        """Learn mean and deviation of descriptors from those of training chains, ``(M, 34)``."""
        own = descriptors[:, : DESCRIPTOR_SIZES[self.config.descriptor]].double()
        self.descriptor_mean.copy_(own.mean(0))
        self.descriptor_scale.copy_(own.std(0, correction=0).clamp(min=1e-3))
