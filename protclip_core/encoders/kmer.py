"""A protein encoder of k-mer tables and dilated convolutions, padding-free and cheap on a CPU.

Layer 0 looks up the k-mer around each residue in several tables of vectors (k-mers may have gaps
and reduced alphabets, see `protclip_core.encoders.kmer_config`); so its input tells proteins apart
from the first step of training. The layers behind it are residual blocks of dilated convolutions
in the manner of ByteNet (Kalchbrenner et al. 2016) and CARP (Yang et al. 2024, Cell Systems 15).

What stands at the borders: BOS and EOS are tokens like others and get a table's edge row, as does
each residue whose k-mer reaches beyond the protein. A k-mer that touches a masked residue gets
the mask row, so nothing of that residue, not even by its neighbours, reaches the encoder. Each
protein is computed as if it were alone.

Legend: T tokens of the batch (BOS and EOS counted), B proteins, D encoder width, V vocabulary,
C channels of a convolution.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from itertools import chain
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from protclip_core.encoders.alphabet import MASK, TOKENS
from protclip_core.encoders.kmer_config import (
    HASH_FACTOR,
    HASH_MODULUS,
    HASH_SHIFT,
    SPECIAL_ROWS,
    KmerConfig,
    KmerTable,
    token_groups,
)
from protclip_core.encoders.packing import PackedTokens
from protclip_core.encoders.residue_space import residue_vectors

__all__ = ["KmerEncoder", "PackedConv", "kmer_rows"]

#: Logarithms of gates stay within this.
_GATE_LIMIT = 3.0


class KmerEncoder(nn.Module):
    """Token ids of packed proteins to token vectors and masked-LM logits; used like `Esm2`.

    Parameters
    ----------
    config
        Shape of the encoder.
    lm_head
        Whether the masked-LM head is there.
    sparse
        Whether tables get sparse gradients (for `torch.optim.SparseAdam` and plain SGD).

    Notes
    -----
    Tables start at normal random values; `protclip_core.encoders.kmer_start.start_alike` gives
    them a better start.
    """

    def __init__(self, config: KmerConfig, *, lm_head: bool = True, sparse: bool = False) -> None:
        super().__init__()
        self.config = config
        rows = [table.num_rows + len(SPECIAL_ROWS) for table in config.tables]
        make = partial(nn.Embedding, sparse=sparse)
        self.tables = nn.ModuleList(
            [make(n, table.dim) for n, table in zip(rows, config.tables, strict=True)]
        )
        for table in self.tables:
            weight = cast(nn.Embedding, table).weight
            nn.init.normal_(weight, std=0.5)
            nn.init.zeros_(weight.detach()[-len(SPECIAL_ROWS) :])
        self.gates = nn.ModuleList([make(n, 1) for n in rows] if config.gate else [])
        for gate in self.gates:
            nn.init.zeros_(cast(nn.Embedding, gate).weight)
        self.windows = nn.ModuleList(
            [PackedConv(config.residue_dim, w.dim, w.width) for w in config.windows]
        )
        if config.windows:
            self.register_buffer("residues", torch.tensor(residue_vectors(config.residue_dim)))
            for window in self.windows:
                nn.init.normal_(cast(PackedConv, window).weight, std=0.5)
                nn.init.uniform_(cast(PackedConv, window).bias, 0.0, 2 * math.pi)
        dim, eps = config.stream_dim, config.layer_norm_eps
        self.projection = nn.Linear(config.input_dim, dim) if config.projection else None
        block = BottleneckBlock if config.block == "bottleneck" else PlainBlock
        self.layers = nn.ModuleList(
            [block(config, config.dilation(i)) for i in range(config.num_layers)]
        )
        self.final_norm = nn.LayerNorm(dim, eps=eps) if config.final_norm else None
        self.lm_head = KmerLmHead(dim, eps) if lm_head else None

    def forward(
        self, batch: PackedTokens, layers: Sequence[int] | None = None
    ) -> dict[int, Tensor]:
        """Encode a packed batch.

        Parameters
        ----------
        batch
            Packed token ids, each protein between BOS and EOS; `MASK` marks masked residues.
        layers
            Layers to return: 0 is the input, ``num_layers`` the last one, which alone has the
            final LayerNorm behind it (if the config has one). Default: the last. Nothing is
            computed beyond the highest of them.

        Returns
        -------
        dict
            Layer number to token vectors, shape ``(T, D)``.
        """
        last = self.config.num_layers
        wanted = {last} if layers is None else set(layers)
        inputs = self.embed(batch)
        x = inputs if self.projection is None else self.projection(inputs)
        found = {0: x} if 0 in wanted else {}
        for number, layer in enumerate(self.layers[: max(wanted, default=0)], start=1):
            x = layer(x, batch)
            if number in wanted:
                found[number] = x
        if last in wanted and self.final_norm is not None:
            found[last] = self.final_norm(x)
        if self.config.keep_input:
            found = {n: torch.cat([inputs, made.to(inputs.dtype)], 1) for n, made in found.items()}
        return found

    def embed(self, batch: PackedTokens) -> Tensor:
        """Tables and windows, joined: ``(T, input_dim)``, before any projection."""
        parts = [*self._table_parts(batch), *self._window_parts(batch)]
        return (
            torch.cat(parts, dim=1) if self.config.combine == "concat" else sum(parts[1:], parts[0])
        )

    def _table_parts(self, batch: PackedTokens) -> list[Tensor]:
        config = self.config
        rows = kmer_rows(batch, config.tables)
        parts = [table(row) for table, row in zip(self.tables, rows, strict=True)]
        if config.gate:
            gates = [gate(row) for gate, row in zip(self.gates, rows, strict=True)]
            weights = _mean_one(torch.cat(gates, dim=1), batch).to(parts[0].dtype).unbind(1)
            parts = [part * w.unsqueeze(1) for part, w in zip(parts, weights, strict=True)]
        if self.training and config.table_dropout > 0:
            kept = 1 - config.table_dropout
            drawn = torch.rand(len(parts), parts[0].shape[0], 1, device=parts[0].device) < kept
            parts = [part * keep / kept for part, keep in zip(parts, drawn, strict=True)]
        return parts

    def _window_parts(self, batch: PackedTokens) -> list[Tensor]:
        if not self.windows:
            return []
        residues = F.embedding(batch.tokens, cast(Tensor, self.residues))
        parts = []
        for window, shape in zip(self.windows, self.config.windows, strict=True):
            mixed = window(residues, batch)
            # The factor gives both kinds of input about the size of a fresh table's row.
            parts.append(
                math.sqrt(0.5) * mixed.cos() if shape.activation == "cos" else F.gelu(mixed)
            )
        return parts

    def logits(self, hidden: Tensor) -> Tensor:
        """Masked-LM logits ``(T, V)`` from vectors ``(T, D)`` of the last layer."""
        if self.lm_head is None:
            msg = "this encoder has no masked-LM head"
            raise ValueError(msg)
        return cast(Tensor, self.lm_head(hidden[:, -self.config.stream_dim :]))


class PackedConv(nn.Module):
    """A dilated convolution along each protein by itself, zeros beyond its ends."""

    def __init__(self, channels: int, out: int, kernel: int, dilation: int = 1) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out, channels, kernel))
        self.bias = nn.Parameter(torch.empty(out))
        self.dilation = dilation
        bound = (channels * kernel) ** -0.5
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, x: Tensor, batch: PackedTokens) -> Tensor:
        """Map ``(T, C)`` to ``(T, C_out)``.

        All proteins lie in one row with a gap of zeros between them, as long as the kernel
        reaches; results in the gaps are thrown away.
        """
        if not batch.lengths:
            return x.new_zeros(0, self.weight.shape[0])
        reach = self.weight.shape[2] // 2 * self.dilation
        gap = x.new_zeros(reach, x.shape[1])
        row = torch.cat([gap, *chain.from_iterable((p, gap) for p in x.split(batch.lengths))])
        mixed = F.conv1d(row.t().unsqueeze(0), self.weight, self.bias, dilation=self.dilation)
        sizes = [size for length in batch.lengths for size in (length, reach)][:-1]
        return torch.cat(mixed[0, :, : sum(sizes)].t().split(sizes)[::2])


class BottleneckBlock(nn.Module):
    """Narrow, convolve, widen, each behind LayerNorm and GELU; added to the input."""

    def __init__(self, config: KmerConfig, dilation: int) -> None:
        super().__init__()
        dim, inner, eps = config.stream_dim, config.inner_dim, config.layer_norm_eps
        self.down_norm = nn.LayerNorm(dim, eps=eps)
        self.down = nn.Linear(dim, inner)
        self.conv_norm = nn.LayerNorm(inner, eps=eps)
        self.conv = PackedConv(inner, inner, config.kernel, dilation)
        self.up_norm = nn.LayerNorm(inner, eps=eps)
        self.up = nn.Linear(inner, dim)

    def forward(self, x: Tensor, batch: PackedTokens) -> Tensor:
        """Map token vectors ``(T, D)`` to token vectors ``(T, D)``."""
        inner = self.down(F.gelu(self.down_norm(x)))
        inner = self.conv(F.gelu(self.conv_norm(inner)), batch)
        return x + cast(Tensor, self.up(F.gelu(self.up_norm(inner))))


class PlainBlock(nn.Module):
    """LayerNorm, GELU, convolution, GELU, 1x1; added to the input."""

    def __init__(self, config: KmerConfig, dilation: int) -> None:
        super().__init__()
        dim, inner = config.stream_dim, config.inner_dim
        self.norm = nn.LayerNorm(dim, eps=config.layer_norm_eps)
        self.conv = PackedConv(dim, inner, config.kernel, dilation)
        self.up = nn.Linear(inner, dim)

    def forward(self, x: Tensor, batch: PackedTokens) -> Tensor:
        """Map token vectors ``(T, D)`` to token vectors ``(T, D)``."""
        inner = self.conv(F.gelu(self.norm(x)), batch)
        return x + cast(Tensor, self.up(F.gelu(inner)))


class KmerLmHead(nn.Module):
    """Dense, GELU, LayerNorm and a linear map to the 33 tokens."""

    def __init__(self, dim: int, eps: float) -> None:
        super().__init__()
        self.dense = nn.Linear(dim, dim)
        self.norm = nn.LayerNorm(dim, eps=eps)
        self.output = nn.Linear(dim, len(TOKENS))

    def forward(self, hidden: Tensor) -> Tensor:
        """Map ``(T, D)`` to logits ``(T, V)``."""
        result: Tensor = self.output(self.norm(F.gelu(self.dense(hidden))))
        return result


def kmer_rows(batch: PackedTokens, tables: Sequence[KmerTable]) -> list[Tensor]:
    """Row of each token's k-mer in each table.

    Parameters
    ----------
    batch
        Packed token ids.
    tables
        The tables.

    Returns
    -------
    list of Tensor
        For each table ``(T,)``, int64: below `KmerTable.num_rows` for a k-mer, else
        ``num_rows`` (edge), ``num_rows + 1`` (mask) or ``num_rows + 2`` (unknown).
    """
    tokens = batch.tokens
    before, behind = _places(batch)
    masked = tokens == MASK
    lookup = [token_groups(table) for table in tables]
    groups = torch.tensor(lookup, device=tokens.device).reshape(len(tables), len(TOKENS))
    return [
        _rows(table, groups[number][tokens], masked, before, behind)
        for number, table in enumerate(tables)
    ]


def _rows(
    table: KmerTable, groups: Tensor, masked: Tensor, before: Tensor, behind: Tensor
) -> Tensor:
    first, last = table.offsets[0], table.offsets[-1]
    size, num_tokens = len(table.groups), groups.shape[0]
    # Ends are padded so that a shift is a view; what is read there is overruled by the edge.
    padded = F.pad(groups, (-first, last))
    touched = F.pad(masked, (-first, last))
    code = torch.zeros_like(groups)
    unknown, mask = torch.zeros_like(masked), torch.zeros_like(masked)
    for offset in table.offsets:
        here = slice(offset - first, offset - first + num_tokens)
        code.mul_(size).add_(padded[here])
        unknown |= padded[here] == size
        mask |= touched[here]
    if table.rows is not None:
        code = (((code % HASH_MODULUS) * HASH_FACTOR) >> HASH_SHIFT) % table.rows
    edge = (before + first < 1) | (behind - last < 1)
    code[unknown] = table.num_rows + SPECIAL_ROWS.index("unknown")
    code[mask] = table.num_rows + SPECIAL_ROWS.index("mask")
    code[edge] = table.num_rows + SPECIAL_ROWS.index("edge")
    return code


def _places(batch: PackedTokens) -> tuple[Tensor, Tensor]:
    """Tokens of the same protein before and behind each token, ``(T,)`` each."""
    before = batch.positions()
    lengths = torch.tensor(batch.lengths, device=before.device, dtype=torch.int64)
    return before, torch.repeat_interleave(lengths, lengths) - 1 - before


def _mean_one(logs: Tensor, batch: PackedTokens) -> Tensor:
    """Gates ``(T, tables)`` from their logarithms, with mean 1 over each protein's residues."""
    gates = logs.float().clamp(-_GATE_LIMIT, _GATE_LIMIT).exp()
    parts: list[Any] = []
    for part in gates.split(batch.lengths) if batch.lengths else ():
        residues = part[1:-1] if part.shape[0] > 2 else part
        parts.append(part / residues.mean(dim=0))
    return torch.cat(parts) if parts else gates
