"""The inference path of ESM-2: the same numbers as `protclip_core.encoders.esm2`, faster.

What is done once, when the weights are prepared: the three projections of attention become one
product, the query scale moves into its weights, and the rows of each query and key head are
reordered so that the two halves of a rotary pair are neighbours; a rotation is then one complex
multiplication in place. Weights may be laid out for oneDNN, see `kernels`.

Precision: ``float32`` is float32 throughout. ``bfloat16`` multiplies matrices in bfloat16 and
keeps the residual stream, LayerNorm, rotation and (on a CPU) attention in float32.

Legend: T tokens of the batch, D width, H heads, d width of one head, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from protclip_core.encoders.alphabet import MASK, TOKENS, encode
from protclip_core.encoders.esm2 import (
    Esm2,
    Esm2Config,
    Esm2Layer,
    rotary_table,
    token_dropout_scale,
)
from protclip_core.encoders.kernels import (
    CpuKernels,
    attend_chunked,
    attend_runs,
    attend_varlen,
    choose_cpu_kernels,
    onednn_products,
    packed_linear,
    varlen_available,
)
from protclip_core.encoders.packing import PackedTokens

__all__ = ["Esm2Inference"]

Attend = Callable[[Tensor, Tensor, Tensor, PackedTokens], Tensor]


class Esm2Inference:
    """ESM-2 with prepared weights; not differentiable, safe to call from several threads.

    Parameters
    ----------
    model
        The encoder whose weights are taken; it is not changed and may be dropped afterwards.
    device
        ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``.
    dtype
        `torch.float32` or `torch.bfloat16`, see the module's text.
    kernels
        CPU kernels; default by processor.
    """

    tokens = TOKENS
    encode = staticmethod(encode)

    def __init__(
        self,
        model: Esm2,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        kernels: CpuKernels | None = None,
    ) -> None:
        self.config: Esm2Config = model.config
        self.device = torch.device(device)
        self.dtype = dtype
        self.on_cpu = self.device.type == "cpu"
        self.kernels = (kernels or choose_cpu_kernels()) if self.on_cpu else CpuKernels()
        # Attention in bfloat16 pays only where a GPU has fused kernels for it.
        self._attention_dtype = torch.float32 if self.on_cpu else dtype
        self._use_varlen = dtype != torch.float32 and varlen_available(
            self.device, model.config.head_dim
        )
        self._embedding = self._weight(model.embedding.weight)
        self._layers = [_Layer(cast(Esm2Layer, layer), self) for layer in model.layers]
        self._final_norm = self._norm(model.final_norm)
        head = model.lm_head
        self._lm_head = None if head is None else (
            self._linear(head.dense.weight, head.dense.bias),
            self._norm(head.norm),
            self._linear(model.embedding.weight, head.bias),
        )  # fmt: skip

    @property
    def num_layers(self) -> int:
        """Number of transformer layers."""
        return self.config.num_layers

    @property
    def hidden_dim(self) -> int:
        """Width of a token vector."""
        return self.config.hidden_dim

    @property
    def has_lm_head(self) -> bool:
        """Whether `logits` can be asked for."""
        return self._lm_head is not None

    @torch.inference_mode()
    def hidden(self, batch: PackedTokens, layers: Sequence[int] | None = None) -> dict[int, Tensor]:
        """Encode a packed batch; arguments and result as `Esm2.forward`, always float32."""
        last = self.config.num_layers
        wanted = {last} if layers is None else set(layers)
        if self.kernels.attention == "chunked":
            with onednn_products():
                return self._hidden(batch, last, wanted)
        return self._hidden(batch, last, wanted)

    def _hidden(self, batch: PackedTokens, last: int, wanted: set[int]) -> dict[int, Tensor]:
        batch = batch.to(self.device)
        x = self._embed(batch)
        rotation = self._rotation(batch)
        attend = self._attention(batch)
        found = {0: x.clone()} if 0 in wanted else {}
        for number, layer in enumerate(self._layers, start=1):
            layer.apply_(x, rotation, attend, batch)
            if number in wanted and number != last:
                found[number] = x.clone()
        if last in wanted:
            found[last] = self._final_norm(x)
        return found

    @torch.inference_mode()
    def logits(self, hidden: Tensor) -> Tensor:
        """Masked-LM logits ``(T, V)`` from vectors ``(T, D)`` of the last layer, float32."""
        if self._lm_head is None:
            msg = "this encoder has no masked-LM head"
            raise ValueError(msg)
        dense, norm, output = self._lm_head
        return output(norm(F.gelu(dense(hidden)).float())).float()

    def _embed(self, batch: PackedTokens) -> Tensor:
        x = F.embedding(batch.tokens, self._embedding)
        if self.config.token_dropout:
            x.mul_(token_dropout_scale(batch).unsqueeze(-1))
            masked = batch.tokens == MASK
            if bool(masked.any()):
                x[masked] = 0.0
        return x

    def _rotation(self, batch: PackedTokens) -> Callable[[Tensor], None]:
        """Return the function that turns query and key ``(T, 2, H, d)`` in place."""
        cos, sin = rotary_table(batch.positions(), self.config.head_dim)
        if self.on_cpu:
            turn = torch.complex(cos, sin).unsqueeze(1)

            def rotate_complex(query_key: Tensor) -> None:
                torch.view_as_complex(query_key.unflatten(-1, (-1, 2))).mul_(turn)

            return rotate_complex
        cos, sin = cos.unsqueeze(1), sin.unsqueeze(1)

        def rotate_real(query_key: Tensor) -> None:
            pairs = query_key.unflatten(-1, (-1, 2))
            first, second = pairs[..., 0].float(), pairs[..., 1].float()
            # Both results first: in float32 `first` and `second` are views of what is written.
            turned = first * cos - second * sin, second * cos + first * sin
            pairs[..., 0], pairs[..., 1] = turned

        return rotate_real

    def _attention(self, batch: PackedTokens) -> Attend:
        if self._use_varlen:
            ends = torch.tensor([*batch.starts, batch.tokens.shape[0]], dtype=torch.int32)
            bounds = ends.to(self.device)
            return lambda q, k, v, packed: attend_varlen(q, k, v, packed, bounds)
        return attend_chunked if self.kernels.attention == "chunked" else attend_runs

    def _weight(self, weight: Tensor) -> Tensor:
        return weight.detach().to(self.device, torch.float32).contiguous()

    def _linear(self, weight: Tensor, bias: Tensor) -> Callable[[Tensor], Tensor]:
        """Prepare a linear map that takes float32 whatever it multiplies in.

        On a CPU it gives float32 as well; on a GPU it leaves its result in the narrow type,
        since the next step (attention, GELU, adding to the residual stream) takes that.
        """
        w, b = self._weight(weight).to(self.dtype), self._weight(bias).to(self.dtype)
        product = packed_linear(w, b, self.kernels.linear)
        if self.dtype == torch.float32:
            return product
        if self.on_cpu:
            return lambda x: product(x.to(self.dtype)).float()
        return lambda x: product(x.to(self.dtype))

    def _norm(self, norm: torch.nn.LayerNorm) -> Callable[[Tensor], Tensor]:
        weight, bias = self._weight(norm.weight), self._weight(norm.bias)
        return lambda x: F.layer_norm(x, weight.shape, weight, bias, norm.eps)


class _Layer:
    """One transformer block with prepared weights."""

    def __init__(self, layer: Esm2Layer, owner: Esm2Inference) -> None:
        config = owner.config
        self.heads = (config.num_heads, config.head_dim)
        self.attention_dtype = owner._attention_dtype
        self.in_place = owner.on_cpu
        order = _pair_order(config.num_heads, config.head_dim)
        scale = config.head_dim**-0.5
        query, key, value = layer.query, layer.key, layer.value
        weight = torch.cat([query.weight[order] * scale, key.weight[order], value.weight])
        bias = torch.cat([query.bias[order] * scale, key.bias[order], value.bias])
        self.query_key_value = owner._linear(weight, bias)
        self.attention_norm = owner._norm(layer.attention_norm)
        self.attention_out = owner._linear(
            layer.attention_out.weight,
            layer.attention_out.bias,
        )
        self.ffn_norm = owner._norm(layer.ffn_norm)
        self.ffn_up = owner._linear(layer.ffn_up.weight, layer.ffn_up.bias)
        self.ffn_down = owner._linear(layer.ffn_down.weight, layer.ffn_down.bias)

    def apply_(
        self,
        x: Tensor,
        rotate: Callable[[Tensor], None],
        attend: Attend,
        batch: PackedTokens,
    ) -> None:
        """Add this block's two contributions to the residual stream ``x (T, D)`` in place."""
        mixed = self.query_key_value(self.attention_norm(x)).to(self.attention_dtype)
        mixed = mixed.view(-1, 3, *self.heads)
        rotate(mixed[:, :2])
        query, key, value = mixed.unbind(1)
        x.add_(self.attention_out(attend(query, key, value, batch)))
        inner = self.ffn_up(self.ffn_norm(x))
        x.add_(self.ffn_down(torch.ops.aten.gelu_(inner) if self.in_place else F.gelu(inner)))


def _pair_order(num_heads: int, head_dim: int) -> Tensor:
    """Row order that puts rotary partners (i, i + d / 2) of every head side by side.

    Query and key are reordered alike, so their products stay the same.
    """
    within = torch.arange(head_dim).view(2, -1).t().flatten()
    heads = torch.arange(num_heads).unsqueeze(1) * head_dim
    return (heads + within).flatten()
