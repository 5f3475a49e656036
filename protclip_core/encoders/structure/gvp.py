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
        return self.finish(
            F.linear(scalars, self.weights()[0], self.scalars.bias), self.mix(vectors)
        )

    def weights(self) -> tuple[Tensor, Tensor]:
        """Return what scalars, and what lengths of vectors are multiplied with."""
        inputs = [self.takes.scalars, self.inner]
        of_scalars, of_lengths = self.scalars.weight.split(inputs, 1)
        return of_scalars, of_lengths

    def finish(self, scalars: Tensor, mixed: Tensor) -> tuple[Tensor, Tensor]:
        """Do what is left, from scalars without the lengths, and from the mixed vectors.

        The lengths are added in ``scalars`` itself.
        """
        _add_product(scalars, _lengths(mixed), self.weights()[1])
        if not self.gives.vectors:
            return (scalars.relu() if self.active else scalars), mixed[..., :0]
        vectors = self.vectors(mixed)
        if self.gate is not None:
            vectors = vectors * self.gate(scalars).sigmoid().unsqueeze(-2)
        elif self.active:
            vectors = vectors * _lengths(vectors).sigmoid().unsqueeze(-2)
        return (scalars.relu() if self.active else scalars), vectors

    def mean(self, scalars: Tensor, vectors: Tensor, shares: Tensor) -> tuple[Tensor, Tensor]:
        """Return the weighted mean over neighbours of what `forward` gives, if it is not active.

        Its scalars are linear, so the mean is taken before the map; only what the gate reads is
        computed for each edge.

        Parameters
        ----------
        scalars, vectors, shares
            Shapes ``(N, K, S)``, ``(N, K, 3, V)`` and ``(N, K)``.
        """
        mixed = self.mix(vectors)
        lengths = _lengths(mixed)
        maps = self.weights()
        found = F.linear(_average(scalars, shares), maps[0])
        found = found + F.linear(_average(lengths, shares), maps[1])
        found = found + shares.sum(1, keepdim=True) * self.scalars.bias
        vectors = self.vectors(mixed)
        if self.gate is not None:
            gate = self.gate.weight
            gates = F.linear(scalars, gate @ maps[0], self.gate(self.scalars.bias))
            _add_product(gates, lengths, gate @ maps[1])
            vectors = vectors * gates.sigmoid().unsqueeze(-2)
        return found, _average(vectors, shares)


def _lengths(vectors: Tensor) -> Tensor:
    """Return the lengths of vectors ``(..., 3, V)``, shape ``(..., V)``."""
    return (vectors.square().sum(-2) + _EPS).sqrt()


def _add_product(total: Tensor, values: Tensor, weight: Tensor) -> None:
    """Add ``values`` times the transpose of ``weight`` to ``total``, which is contiguous."""
    total.view(-1, total.shape[-1]).addmm_(values.flatten(0, -2), weight.T)


def _average(values: Tensor, shares: Tensor) -> Tensor:
    """Return the weighted mean of ``(N, K, ...)`` over K; shares are ``(N, K)``."""
    total = torch.bmm(shares[:, None], values.flatten(2)).squeeze(1)
    return total.unflatten(1, values.shape[2:])


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
        first, *others = (cast(Gvp, perceptron) for perceptron in self.message)
        s, v = self.nodes
        maps = first.weights()[0].split([s, self.edges.scalars, s], 1)
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
            message = first.finish(
                _joined(sent[0], got[0][part], some, some.scalars, maps[1]),
                _joined(sent[1], got[1][part], some, some.vectors, mixes[1]),
            )
            if not others:
                found.append(
                    (_average(message[0], some.weights), _average(message[1], some.weights))
                )
                continue
            for perceptron in others[:-1]:
                message = perceptron(*message)
            found.append(others[-1].mean(*message, some.weights))
        return torch.cat([one[0] for one in found]), torch.cat([one[1] for one in found])


def _stack(sizes: list[Sizes], *, gate: bool) -> nn.ModuleList:
    """Return perceptrons from each size to the next; the last is not active."""
    pairs = list(zip(sizes, sizes[1:]))
    last = len(pairs) - 1
    return nn.ModuleList(
        Gvp(takes, gives, active=number < last, gate=gate)
        for number, (takes, gives) in enumerate(pairs)
    )


def _joined(sent: Tensor, got: Tensor, edges: Edges, own: Tensor, weight: Tensor) -> Tensor:
    """Return the sum of what is sent, what receives it, and the map of what the edge has."""
    near = edges.neighbours
    # The way back of index_select adds up without sorting.
    total = sent.index_select(0, near.flatten()).unflatten(0, near.shape)
    total += got[:, None]
    _add_product(total, own, weight)
    return total
