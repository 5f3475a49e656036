"""The ESM-2 protein encoder as a padding-free module (Lin et al. 2023, Science 379:1123).

This is the readable form: plain PyTorch, differentiable, used for training and as the twin of
the inference path in `protclip_core.encoders.esm2_inference`. Attention stays within each protein,
because proteins are packed behind one another and attended to run by run.

Legend: T tokens of the batch (BOS and EOS counted), D encoder width, H heads, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from protclip_core.encoders.alphabet import MASK, TOKENS
from protclip_core.encoders.packing import PackedTokens
from protclip_core.encoders.shapes import Esm2Config

__all__ = ["Esm2", "Esm2Config", "Esm2Layer", "token_dropout_scale"]

#: Share of positions that were masked in ESM-2's training: 15 %, of which 80 % by the mask token.
MASK_SHARE_IN_TRAINING = 0.15 * 0.8


class Esm2Layer(nn.Module):
    """One pre-LayerNorm transformer block."""

    def __init__(self, config: Esm2Config) -> None:
        super().__init__()
        dim, eps = config.hidden_dim, config.layer_norm_eps
        self.attention_norm = nn.LayerNorm(dim, eps=eps)
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(dim, dim)
        self.value = nn.Linear(dim, dim)
        self.attention_out = nn.Linear(dim, dim)
        self.ffn_norm = nn.LayerNorm(dim, eps=eps)
        self.ffn_up = nn.Linear(dim, config.ffn_dim)
        self.ffn_down = nn.Linear(config.ffn_dim, dim)
        self.num_heads = config.num_heads

    def forward(self, x: Tensor, batch: PackedTokens, cos: Tensor, sin: Tensor) -> Tensor:
        """Map token vectors ``(T, D)`` to token vectors ``(T, D)``."""
        normed = self.attention_norm(x)
        heads = (x.shape[0], self.num_heads, -1)
        query = _rotate(self.query(normed).view(heads), cos, sin)
        key = _rotate(self.key(normed).view(heads), cos, sin)
        value = self.value(normed).view(heads)
        x = x + self.attention_out(_attend(query, key, value, batch).flatten(1))
        return x + self.ffn_down(F.gelu(self.ffn_up(self.ffn_norm(x))))


class Esm2(nn.Module):
    """ESM-2: token ids of packed proteins to token vectors and masked-LM logits.

    Parameters
    ----------
    config
        Shape of the encoder.
    lm_head
        Whether the masked-LM head is there (the official ProtCLIP checkpoint has none).
    """

    def __init__(self, config: Esm2Config, *, lm_head: bool = True) -> None:
        super().__init__()
        self.config = config
        dim = config.hidden_dim
        self.embedding = nn.Embedding(len(TOKENS), dim)
        self.layers = nn.ModuleList([Esm2Layer(config) for _ in range(config.num_layers)])
        self.final_norm = nn.LayerNorm(dim, eps=config.layer_norm_eps)
        self.lm_head = MaskedLmHead(config) if lm_head else None

    def forward(
        self, batch: PackedTokens, layers: Sequence[int] | None = None
    ) -> dict[int, Tensor]:
        """Encode a packed batch.

        Parameters
        ----------
        batch
            Packed token ids; `MASK` marks masked residues.
        layers
            Layers to return: 0 is the embedding, ``num_layers`` the last one, which alone has
            the final LayerNorm behind it (as in fair-esm). Default: the last.

        Returns
        -------
        dict
            Layer number to token vectors, shape ``(T, D)``.
        """
        last = self.config.num_layers
        wanted = {last} if layers is None else set(layers)
        x = self.embed(batch)
        cos, sin = rotary_table(batch.positions(), self.config.head_dim, x.dtype)
        found = {0: x} if 0 in wanted else {}
        for number, layer in enumerate(self.layers, start=1):
            x = layer(x, batch, cos, sin)
            if number in wanted and number != last:
                found[number] = x
        if last in wanted:
            found[last] = self.final_norm(x)
        return found

    def embed(self, batch: PackedTokens) -> Tensor:
        """Input vectors ``(T, D)``, with ESM-2's token dropout where the config asks for it."""
        x: Tensor = self.embedding(batch.tokens)
        if self.config.token_dropout:
            x = x.masked_fill((batch.tokens == MASK).unsqueeze(-1), 0.0)
            x = x * token_dropout_scale(batch).to(x.dtype).unsqueeze(-1)
        return x

    def logits(self, hidden: Tensor) -> Tensor:
        """Masked-LM logits ``(T, V)`` from vectors ``(T, D)`` of the last layer."""
        if self.lm_head is None:
            msg = "this encoder has no masked-LM head"
            raise ValueError(msg)
        result: Tensor = self.lm_head(hidden, self.embedding.weight)
        return result


class MaskedLmHead(nn.Module):
    """Dense, GELU, LayerNorm, then the transposed embedding with a bias of its own."""

    def __init__(self, config: Esm2Config) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_dim, config.hidden_dim)
        self.norm = nn.LayerNorm(config.hidden_dim, eps=config.layer_norm_eps)
        self.bias = nn.Parameter(torch.zeros(len(TOKENS)))

    def forward(self, hidden: Tensor, embedding: Tensor) -> Tensor:
        """Map ``(T, D)`` to logits ``(T, V)``; ``embedding`` has shape ``(V, D)``."""
        return F.linear(self.norm(F.gelu(self.dense(hidden))), embedding, self.bias)


def token_dropout_scale(batch: PackedTokens) -> Tensor:
    """Factor of each token's input vector, shape ``(T,)``, float32.

    ESM-2 sets masked inputs to zero and rescales the rest of that protein, so that their sum
    keeps the size it had in training: ``(1 - 0.12) / (1 - k / n)`` for ``k`` masked of ``n``
    tokens, BOS and EOS counted. The counts are taken in float32 whatever the encoder's type,
    and a protein in which every token is masked gets the factor of an unmasked one instead of
    a division by zero.
    """
    lengths = torch.tensor(batch.lengths, device=batch.tokens.device)
    owner = torch.repeat_interleave(torch.arange(len(batch), device=lengths.device), lengths)
    masked = torch.zeros(len(batch), device=lengths.device)
    masked.index_add_(0, owner, (batch.tokens == MASK).float())
    kept = 1.0 - masked / lengths
    kept = torch.where(kept > 0, kept, torch.ones_like(kept))
    return ((1.0 - MASK_SHARE_IN_TRAINING) / kept)[owner]


def rotary_table(
    positions: Tensor, head_dim: int, dtype: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor]:
    """Cosine and sine of the rotary angles, each of shape ``(T, 1, head_dim / 2)``.

    The angles are computed in float32 and only then cast: at position 1,000 a bfloat16 angle
    would be off by whole radians.
    """
    step = torch.arange(0, head_dim, 2, device=positions.device, dtype=torch.float32)
    inverse_frequency = 1.0 / (10000 ** (step / head_dim))
    angles = torch.outer(positions.float(), inverse_frequency).unsqueeze(1)
    return angles.cos().to(dtype), angles.sin().to(dtype)


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn the pairs (i, i + head_dim / 2) of ``(T, H, head_dim)`` by their angles."""
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)


def _attend(query: Tensor, key: Tensor, value: Tensor, batch: PackedTokens) -> Tensor:
    """Attention within each protein; all of shape ``(T, H, head_dim)``.

    One split cuts all runs: its gradient is one concatenation, while each slice of its own would
    fill a tensor of the size of the whole batch.
    """
    sizes = [count * length for _, count, length in batch.runs]
    results = []
    for (_, count, length), *parts in zip(
        batch.runs, *(t.split(sizes) for t in (query, key, value))
    ):
        q, k, v = (part.unflatten(0, (count, length)).transpose(1, 2) for part in parts)
        attended = F.scaled_dot_product_attention(q, k, v)
        results.append(attended.transpose(1, 2).flatten(0, 1))
    return torch.cat(results) if results else value
