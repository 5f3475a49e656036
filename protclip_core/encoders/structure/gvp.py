"""Geometric vector perceptrons: layers that compute with scalars and vectors side by side.

After Jing et al. 2021 (Learning from Protein Structure with Geometric Vector Perceptrons).
Vectors are ``(..., 3, C)``: a map of channels is then a product with the last axis, and turns with
the coordinates. Scalars do not change when all coordinates turn.

Legend: N residues, K neighbours, S scalars, V vectors, H inner vectors.
"""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["Edges", "Gvp", "GvpDropout", "GvpLayer", "GvpNorm", "Sizes"]

#: Keeps the gradient of a length finite where the length is 0.
_EPS = 1e-8
#: Residues whose messages are computed at a time where no gradient is wanted: by memory, as speed
#: hardly depends on it, but on a GPU.
_ROWS, _GPU_ROWS = 1024, 16_384


class Sizes(NamedTuple):
    """Scalars and vectors that a layer takes or gives."""

    scalars: int
    vectors: int


class Edges(NamedTuple):
    """The neighbours of residues, each an edge.

    Attributes
    ----------
    scalars, vectors
        Shapes ``(N, K, S)`` and ``(N, K, 3, V)``.
    neighbours
        Numbers of the residues that send, shape ``(N, K)``.
    weights
        Shares of the messages in the mean, shape ``(N, K)``.
    """

    scalars: Tensor
    vectors: Tensor
    neighbours: Tensor
    weights: Tensor


class Gvp(nn.Module):
    """One perceptron: maps of vectors, their lengths to the scalars, the scalars back to a gate.

    Parameters
    ----------
    takes, gives
        Sizes; no vectors may be given.
    active
        Whether it ends in its nonlinearities; the gate is there without.
    gate
        Whether a gate scales vectors, else their own lengths.
    """

    def __init__(self, takes: Sizes, gives: Sizes, *, active: bool = True, gate: bool = True):
        super().__init__()
        self.takes, self.gives, self.active = takes, gives, active
        self.inner = max(takes.vectors, gives.vectors)
        self.mix = nn.Linear(takes.vectors, self.inner, bias=False)
        self.scalars = nn.Linear(takes.scalars + self.inner, gives.scalars)
        if gives.vectors:
            self.vectors = nn.Linear(self.inner, gives.vectors, bias=False)
            self.gate = nn.Linear(gives.scalars, gives.vectors) if gate else None

    def forward(self, scalars: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Map ``(..., S)`` and ``(..., 3, V)``."""
        weight = self.scalars.weight[:, : self.takes.scalars]
        return self.finish(F.linear(scalars, weight, self.scalars.bias), self.mix(vectors))

    def finish(self, scalars: Tensor, mixed: Tensor) -> tuple[Tensor, Tensor]:
        """Do what is left, from scalars without the lengths, and from the mixed vectors."""
        lengths = (mixed.square().sum(-2) + _EPS).sqrt()
        scalars = scalars + F.linear(lengths, self.scalars.weight[:, self.takes.scalars :])
        if not self.gives.vectors:
            return (scalars.relu() if self.active else scalars), mixed[..., :0]
        vectors = self.vectors(mixed)
        if self.gate is not None:
            vectors = vectors * self.gate(scalars).sigmoid().unsqueeze(-2)
        elif self.active:
            vectors = vectors * (vectors.square().sum(-2, keepdim=True) + _EPS).sqrt().sigmoid()
        return (scalars.relu() if self.active else scalars), vectors


class GvpNorm(nn.Module):
    """LayerNorm of scalars; vectors divided by the root of their mean square length."""

    def __init__(self, sizes: Sizes):
        super().__init__()
        self.scalars = nn.LayerNorm(sizes.scalars)

    def forward(self, scalars: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Normalise ``(..., S)`` and ``(..., 3, V)``."""
        square = vectors.square().sum(-2, keepdim=True).mean(-1, keepdim=True)
        return self.scalars(scalars), vectors * (square + _EPS).rsqrt()


class GvpDropout(nn.Module):
    """Leaves out scalars, and vectors as a whole."""

    def __init__(self, share: float):
        super().__init__()
        self.share = share

    def forward(self, scalars: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Apply to ``(..., S)`` and ``(..., 3, V)``; nothing happens outside of training."""
        if not self.training or not self.share:
            return scalars, vectors
        kept = F.dropout(torch.ones_like(vectors[..., :1, :]), self.share)
        return F.dropout(scalars, self.share), vectors * kept


class GvpLayer(nn.Module):
    """A round of messages and a block behind it, each added to what came in and normalised.

    Parameters
    ----------
    nodes, edges
        Sizes.
    message_depth, feedforward_depth
        Perceptrons of each.
    gate, dropout
        As in `GvpConfig`.
    """

    def __init__(
        self,
        nodes: Sizes,
        edges: Sizes,
        *,
        message_depth: int,
        feedforward_depth: int,
        gate: bool,
        dropout: float,
    ):
        super().__init__()
        self.nodes, self.edges = nodes, edges
        both = Sizes(2 * nodes.scalars + edges.scalars, 2 * nodes.vectors + edges.vectors)
        wide = Sizes(4 * nodes.scalars, 2 * nodes.vectors)
        self.message = _stack([both] + [nodes] * message_depth, gate=gate)
        self.feedforward = _stack([nodes] + [wide] * (feedforward_depth - 1) + [nodes], gate=gate)
        self.norms = nn.ModuleList([GvpNorm(nodes), GvpNorm(nodes)])
        self.dropout = GvpDropout(dropout)

    def forward(self, scalars: Tensor, vectors: Tensor, edges: Edges) -> tuple[Tensor, Tensor]:
        """Map ``(N, S)`` and ``(N, 3, V)``."""
        scalars, vectors = self._add(0, scalars, vectors, self.messages(scalars, vectors, edges))
        more = scalars, vectors
        for perceptron in self.feedforward:
            more = perceptron(*more)
        return self._add(1, scalars, vectors, more)

    def _add(
        self, block: int, scalars: Tensor, vectors: Tensor, more: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor]:
        some = self.dropout(*more)
        found: tuple[Tensor, Tensor] = self.norms[block](scalars + some[0], vectors + some[1])
        return found

    def messages(self, scalars: Tensor, vectors: Tensor, edges: Edges) -> tuple[Tensor, Tensor]:
        """Return the weighted mean of the messages of the neighbours.

        The maps of the first perceptron are linear in sender, edge and receiver: those of
        residues are computed once for each residue, not for each edge.
        """
        first = cast(Gvp, self.message[0])
        s, v = self.nodes
        maps = first.scalars.weight[:, : first.takes.scalars].split([s, self.edges.scalars, s], 1)
        mixes = first.mix.weight.split([v, self.edges.vectors, v], 1)
        sent = F.linear(scalars, maps[0]), F.linear(vectors, mixes[0])
        got = F.linear(scalars, maps[2], first.scalars.bias), F.linear(vectors, mixes[2])
        rows = _GPU_ROWS if scalars.is_cuda else _ROWS
        if torch.is_grad_enabled():
            rows = max(1, len(scalars))
        found = []
        for at in range(0, max(1, len(scalars)), rows):
            part = slice(at, at + rows)
            some = Edges(*(values[part] for values in edges))
            mine = F.linear(some.scalars, maps[1]), F.linear(some.vectors, mixes[1])
            message = first.finish(
                *(_gather(sent[i], some.neighbours) + got[i][part, None] + mine[i] for i in (0, 1))
            )
            for perceptron in self.message[1:]:
                message = perceptron(*message)
            scalar_mean = (message[0] * some.weights[..., None]).sum(1)
            found.append((scalar_mean, (message[1] * some.weights[..., None, None]).sum(1)))
        return torch.cat([one[0] for one in found]), torch.cat([one[1] for one in found])


def _stack(sizes: list[Sizes], *, gate: bool) -> nn.ModuleList:
    """Return perceptrons from each size to the next; the last is not active."""
    pairs = list(zip(sizes, sizes[1:]))
    last = len(pairs) - 1
    return nn.ModuleList(
        Gvp(takes, gives, active=number < last, gate=gate)
        for number, (takes, gives) in enumerate(pairs)
    )


def _gather(values: Tensor, places: Tensor) -> Tensor:
    """Return ``values[places]``; the way back adds up without sorting."""
    return values.index_select(0, places.flatten()).unflatten(0, places.shape)
