"""ESM-2 where a few tokens of each protein are requested: the last layer computes only these.

Keys and values of the last layer are needed of all tokens; its queries, its feed-forward part and
the final norm only of those that are read. In a scan of a protein one token is read of each pass.

Legend: T tokens of the batch, R tokens that are read, B proteins, K tokens read of each, H heads,
d width of a head, D width.
"""

from __future__ import annotations

from contextlib import nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor

from protclip_core.encoders.esm2_inference import Esm2Inference, _Layer
from protclip_core.encoders.kernels import onednn_products
from protclip_core.encoders.packing import PackedTokens

__all__ = ["hidden_at"]


@torch.inference_mode()
def hidden_at(encoder: Esm2Inference, batch: PackedTokens, rows: Tensor) -> Tensor:
    """Last-layer vectors of some tokens; the rows of `Esm2Inference.hidden`.

    Parameters
    ----------
    encoder
        The encoder.
    batch
        Packed proteins.
    rows
        Tokens to read, ``(R,)``, ascending; as many, ``K``, of each protein.

    Returns
    -------
    Tensor
        Shape ``(R, D)``, float32.
    """
    chunked = encoder.kernels.attention == "chunked"
    with onednn_products() if chunked else nullcontext():
        batch = batch.to(encoder.device)
        x = encoder._embed(batch)
        rotation = encoder._rotation(batch)
        attend = encoder._attention(batch)
        for layer in encoder._layers[:-1]:
            layer.apply_(x, rotation, attend, batch)
        if not encoder._layers:
            return encoder._final_norm(x[rows])
        layer = encoder._layers[-1]
        mixed = layer.query_key_value(layer.attention_norm(x)).to(layer.attention_dtype)
        mixed = mixed.view(-1, 3, *layer.heads)
        rotation(mixed[:, :2])
        query, key, value = mixed.unbind(1)
        seen = _attend_rows(query[rows], key, value, batch)
        return encoder._final_norm(_finish(layer, x[rows], seen))


def _finish(layer: _Layer, x: Tensor, seen: Tensor) -> Tensor:
    """Add what attention saw and the feed-forward part to ``x (R, D)``."""
    x = x + layer.attention_out(seen)
    inner = layer.ffn_up(layer.ffn_norm(x))
    return x + layer.ffn_down(F.gelu(inner))


def _attend_rows(query: Tensor, key: Tensor, value: Tensor, batch: PackedTokens) -> Tensor:
    """Attention of the tokens that are read, ``(R, H, d)``, to their proteins: ``(R, D)``."""
    each = query.shape[0] // max(1, len(batch))
    results = []
    done = 0
    for start, count, length in batch.runs:
        block = slice(start, start + count * length)
        k, v = (t[block].unflatten(0, (count, length)).transpose(1, 2) for t in (key, value))
        own = query[done : done + count * each]
        q = own.unflatten(0, (count, each)).transpose(1, 2)
        done += count * each
        attended = F.scaled_dot_product_attention(q, k, v, scale=1.0)
        results.append(attended.transpose(1, 2).reshape(count * each, -1))
    return torch.cat(results) if len(results) > 1 else results[0]
