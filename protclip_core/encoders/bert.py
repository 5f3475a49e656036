"""BertModel of transformers, built from a bundle's configuration and never from chance.

Importing transformers takes seconds, so it waits until a module is really built; that the tensors
fit is checked before, from the names and shapes that `bert_shapes` knows by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from protclip_core.encoders.shapes import BERT_NUMBERS, BertShape
from protclip_core.weights.tensors import make_filled

__all__ = ["bert_shapes", "build_bert"]


def bert_shapes(config: BertShape) -> dict[str, tuple[int, ...]]:
    """Return the names and shapes of the tensors of a BertModel without a pooling layer.

    Parameters
    ----------
    config
        A text encoder, or a BERT of residues.
    """
    width, inner = config.hidden_size, config.intermediate_size

    def norm(name: str) -> dict[str, tuple[int, ...]]:
        return {f"{name}.weight": (width,), f"{name}.bias": (width,)}

    def linear(name: str, rows: int, columns: int) -> dict[str, tuple[int, ...]]:
        return {f"{name}.weight": (rows, columns), f"{name}.bias": (rows,)}

    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (config.vocab_size, width),
        "embeddings.position_embeddings.weight": (config.max_position_embeddings, width),
        "embeddings.token_type_embeddings.weight": (config.type_vocab_size, width),
        **norm("embeddings.LayerNorm"),
    }
    for number in range(config.num_hidden_layers):
        layer = f"encoder.layer.{number}"
        for part in ("query", "key", "value"):
            shapes |= linear(f"{layer}.attention.self.{part}", width, width)
        shapes |= linear(f"{layer}.attention.output.dense", width, width)
        shapes |= norm(f"{layer}.attention.output.LayerNorm")
        shapes |= linear(f"{layer}.intermediate.dense", inner, width)
        shapes |= linear(f"{layer}.output.dense", width, inner)
        shapes |= norm(f"{layer}.output.LayerNorm")
    return shapes


def build_bert(
    config: BertShape, tensors: Mapping[str, Tensor], where: str, prefix: str = ""
) -> nn.Module:
    """Build a BertModel in float32, in evaluation mode, every value of it from ``tensors``.

    Parameters
    ----------
    config
        Fields of BertConfig.
    tensors
        Names as in `bert_shapes`, to values of any float type.
    where
        File for messages.
    prefix
        What stands before the names in that file.

    Raises
    ------
    ModelError
        Tensors that do not fit.
    """
    from transformers import BertConfig, BertModel

    fields: dict[str, Any] = {name: getattr(config, name) for name in BERT_NUMBERS}
    fields["attn_implementation"] = "sdpa"
    shape = BertConfig(
        **fields,
        hidden_act=config.hidden_act,
        layer_norm_eps=config.layer_norm_eps,
        pad_token_id=config.pad_token_id,
    )
    module: nn.Module = make_filled(
        lambda: BertModel(shape, add_pooling_layer=False), tensors, where, prefix
    )
    for name, buffer in module.named_buffers():
        # Both are no part of the weights, and empty now: places in the text, and segment 0.
        if name == "embeddings.position_ids":
            buffer.copy_(torch.arange(buffer.shape[-1]).expand_as(buffer))
        else:
            buffer.zero_()
    return module
