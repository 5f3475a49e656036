"""The trained model: two encoders, two projections, one temperature.

Tensor names are those of a bundle (`protclip_core.models.bundle`), so that an export renames
nothing. Legend: B pairs, T protein tokens, S text tokens (padded), D encoder width, P joint width.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import BertConfig, BertModel

from protclip_core.models.esm2 import Esm2, Esm2Config
from protclip_core.models.packing import PackedTokens, pool
from train.config import ModelConfig

__all__ = ["MAX_LOGIT_SCALE", "TwoTowers", "bundle_config"]

#: The temperature may not fall below 1/100 (Radford et al. 2021).
MAX_LOGIT_SCALE = math.log(100.0)
#: Residues are averaged, BOS and EOS left out.
POOLING = "residues"


class TwoTowers(nn.Module):
    """Protein encoder, text encoder and their projections into the joint space."""

    def __init__(self, config: ModelConfig, *, vocab_size: int, max_text_tokens: int) -> None:
        super().__init__()
        self.protein_encoder = Esm2(
            Esm2Config(
                num_layers=config.protein_layers,
                hidden_dim=config.protein_dim,
                num_heads=config.protein_heads,
                ffn_dim=4 * config.protein_dim,
                max_residues=config.max_residues,
            )
        )
        self.text_encoder = BertModel(
            BertConfig(
                vocab_size=vocab_size,
                hidden_size=config.text_dim,
                num_hidden_layers=config.text_layers,
                num_attention_heads=config.text_heads,
                intermediate_size=4 * config.text_dim,
                max_position_embeddings=max_text_tokens,
                # No dropout: the run sees its data a few times at most, and stays exact.
                hidden_dropout_prob=0.0,
                attention_probs_dropout_prob=0.0,
            ),
            add_pooling_layer=False,
        )
        joint = config.projection_dim
        self.protein_projection = _projection(config.protein_dim, joint)
        self.text_projection = _projection(config.text_dim, joint)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def initialise(self) -> None:
        """Draw fresh weights, such that pooled vectors differ between inputs from the start.

        Biases begin at 0, and residues and words outweigh what all tokens have in common
        (positions, segments): else the means over tokens are nearly the same for all inputs,
        the contrast has next to no gradient, and training from scratch stays where it is.
        """
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            elif parameter.ndim > 1:
                nn.init.normal_(parameter, std=self._standard_deviation(name, parameter.shape[1]))

    def _standard_deviation(self, name: str, fan_in: int) -> float:
        if "projection" in name:
            # Two plain layers without a norm: keep the size of what passes through.
            return fan_in**-0.5
        if name in {
            "protein_encoder.embedding.weight",
            "text_encoder.embeddings.word_embeddings.weight",
        }:
            return 0.1
        if "attention_out" in name or "ffn_down" in name:
            # What is added to the residual stream, less with depth (as in GPT-2).
            return 0.02 / math.sqrt(2 * self.protein_encoder.config.num_layers)
        return 0.02

    def protein_hidden(self, batch: PackedTokens) -> Tensor:
        """Return the token vectors of the last layer, ``(T, D)``."""
        return self.protein_encoder(batch)[self.protein_encoder.config.num_layers]

    def protein_embedding(self, hidden: Tensor, batch: PackedTokens) -> Tensor:
        """Return unit vectors ``(B, P)`` from token vectors ``(T, D)``."""
        return F.normalize(self.protein_projection(pool(hidden, batch, POOLING)), dim=-1)

    def text_embedding(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return unit vectors ``(B, P)`` of ids and mask ``(B, S)``."""
        return F.normalize(self.text_projection(self.text_pooled(ids, mask)), dim=-1)

    def text_pooled(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Average the text encoder's vectors over the real tokens, ``(B, D)``."""
        hidden = self.text_encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        weight = mask.unsqueeze(-1).to(hidden.dtype)
        result: Tensor = (hidden * weight).sum(dim=1) / weight.sum(dim=1)
        return result


def _projection(width: int, joint: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, joint), nn.ReLU(), nn.Linear(joint, joint))


_BERT_FIELDS = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "hidden_act",
    "max_position_embeddings",
    "type_vocab_size",
    "layer_norm_eps",
    "pad_token_id",
)


def bundle_config(model: TwoTowers, name: str) -> dict[str, Any]:
    """Return the content of a bundle's ``config.json`` for this model."""
    text = model.text_encoder.config
    return {
        "format": "protclip-bundle",
        "format_version": 1,
        "name": name,
        "license": "Apache-2.0",
        "pooling": POOLING,
        "projection_dim": model.protein_projection[2].out_features,
        "protein_encoder": {
            "type": "esm2",
            "lm_head": True,
            **model.protein_encoder.config.to_dict(),
        },
        "text_encoder": {
            "type": "bert",
            "max_tokens": text.max_position_embeddings,
            **{field: getattr(text, field) for field in _BERT_FIELDS},
        },
    }
