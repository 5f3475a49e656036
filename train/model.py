"""The trained model: two encoders, two projections, one temperature, heads on residues.

Tensor names are those of a bundle (`protclip_core.models.bundle`), so that an export renames
nothing. Legend: B pairs, T protein tokens, S text tokens (padded), D encoder width, P joint width.
"""

from __future__ import annotations

import math
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import BertConfig, BertModel

from protclip_core.models.packing import PackedTokens, pool
from protclip_core.models.residue_heads import ResidueHeads

__all__ = ["MAX_LOGIT_SCALE", "ProteinEncoder", "TwoTowers", "bundle_config", "make_bert"]
__all__ += ["initialise_bert", "initialise_esm2", "initialise_projection"]

#: The temperature may not fall below 1/100 (Radford et al. 2021).
MAX_LOGIT_SCALE = math.log(100.0)


class ProteinEncoder(Protocol):
    """What a protein encoder offers; `protclip_core.models.esm2.Esm2` is one."""

    config: Any

    def __call__(self, batch: PackedTokens) -> dict[int, Tensor]:
        """Token vectors ``(T, D)`` by layer; the last is ``config.num_layers``."""

    def logits(self, hidden: Tensor) -> Tensor:
        """Masked-LM logits ``(T, V)``."""


class TwoTowers(nn.Module):
    """Protein encoder, text encoder and their projections into the joint space.

    Parameters
    ----------
    protein_encoder, text_encoder
        The encoders; the text encoder is a BertModel without pooling layer.
    projection_dim
        P.
    pooling
        ``"residues"`` or ``"tokens"``.
    temperature
        Start of the inverse of the scale of similarities.
    residue_heads
        Heads on residues, if any objective needs them.
    """

    def __init__(
        self,
        protein_encoder: nn.Module,
        text_encoder: nn.Module,
        projection_dim: int,
        *,
        pooling: str = "residues",
        temperature: float = 0.07,
        residue_heads: ResidueHeads | None = None,
    ) -> None:
        super().__init__()
        self.protein_encoder: Any = protein_encoder
        self.text_encoder: Any = text_encoder
        self.pooling = pooling
        width, text_width = protein_encoder.config.hidden_dim, text_encoder.config.hidden_size  # type: ignore[union-attr]
        self.protein_projection = _projection(int(width), projection_dim)  # type: ignore[arg-type]
        self.text_projection = _projection(int(text_width), projection_dim)  # type: ignore[arg-type]
        # Of one element, since a sharded parameter must have a first dimension.
        self.logit_scale = nn.Parameter(torch.full((1,), math.log(1 / temperature)))
        self.residue_heads = residue_heads

    def protein_hidden(self, batch: PackedTokens) -> Tensor:
        """Return the token vectors of the last layer, ``(T, D)``."""
        found: Tensor = self.protein_encoder(batch)[self.protein_encoder.config.num_layers]
        return found

    def protein_embedding(self, hidden: Tensor, batch: PackedTokens) -> Tensor:
        """Return unit vectors ``(B, P)`` from token vectors ``(T, D)``."""
        return F.normalize(self.protein_projection(pool(hidden, batch, self.pooling)), dim=-1)

    def text_hidden(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return the text encoder's token vectors ``(B, S, D)``."""
        if not len(ids):
            return next(self.text_projection.parameters()).new_zeros(
                (*ids.shape, self.text_encoder.config.hidden_size)
            )
        found: Tensor = self.text_encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        return found

    def text_embedding(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return unit vectors ``(B, P)`` of ids and mask ``(B, S)``."""
        return F.normalize(self.text_projection(self.text_pooled(ids, mask)), dim=-1)

    def text_pooled(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Average the text encoder's vectors over the real tokens, ``(B, D)``."""
        return mean_of_tokens(self.text_hidden(ids, mask), mask)

    def bundle_tensors(self) -> dict[str, Tensor]:
        """Return the tensors as a bundle has them."""
        found = dict(self.state_dict())
        found["logit_scale"] = found["logit_scale"].reshape(())
        return found


def mean_of_tokens(hidden: Tensor, mask: Tensor) -> Tensor:
    """Average ``(B, S, D)`` over the tokens whose mask ``(B, S)`` is 1."""
    weight = mask.unsqueeze(-1).to(hidden.dtype)
    result: Tensor = (hidden * weight).sum(dim=1) / weight.sum(dim=1)
    return result


def make_bert(
    *, vocab_size: int, hidden_dim: int, num_layers: int, num_heads: int, max_tokens: int
) -> BertModel:
    """Build a fresh text encoder without dropout."""
    config = BertConfig(
        vocab_size=vocab_size,
        hidden_size=hidden_dim,
        num_hidden_layers=num_layers,
        num_attention_heads=num_heads,
        intermediate_size=4 * hidden_dim,
        max_position_embeddings=max_tokens,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    return BertModel(config, add_pooling_layer=False)


# Fresh weights are drawn such that pooled vectors differ between inputs from the start: biases
# begin at 0, and residues and words outweigh what all tokens have in common (positions,
# segments). Else the means over tokens are nearly the same for all inputs, the contrast has next
# to no gradient, and training from scratch stays where it is.


def initialise_esm2(encoder: nn.Module, num_layers: int) -> None:
    """Draw the weights of an ESM-2 from scratch."""
    # What is added to the residual stream is less with depth (as in GPT-2).
    for name, parameter in encoder.named_parameters():
        added = "attention_out" in name or "ffn_down" in name
        std = 0.02 / math.sqrt(2 * num_layers) if added else 0.02
        _draw(name, parameter, 0.1 if name == "embedding.weight" else std)


def initialise_bert(encoder: nn.Module) -> None:
    """Draw the weights of a text encoder from scratch."""
    for name, parameter in encoder.named_parameters():
        _draw(name, parameter, 0.1 if name == "embeddings.word_embeddings.weight" else 0.02)


def initialise_projection(projection: nn.Module) -> None:
    """Draw the weights of two plain layers without a norm: keep the size of what passes."""
    for name, parameter in projection.named_parameters():
        _draw(name, parameter, parameter.shape[-1] ** -0.5)


def _draw(name: str, parameter: Tensor, std: float) -> None:
    if name.endswith("bias"):
        nn.init.zeros_(parameter)
    elif parameter.ndim > 1:
        nn.init.normal_(parameter, std=std)


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


def bundle_config(model: TwoTowers, name: str, kind: str, max_tokens: int) -> dict[str, Any]:
    """Return the content of a bundle's ``config.json`` for this model.

    Parameters
    ----------
    model
        The model.
    name
        Of the bundle.
    kind
        Of the protein encoder: ``esm2`` or ``kmer``.
    max_tokens
        Of a text.
    """
    text = model.text_encoder.config
    last: Any = model.protein_projection[2]
    heads = model.residue_heads
    found = {
        "format": "protclip-bundle",
        "format_version": 1,
        "name": name,
        "license": "Apache-2.0",
        "pooling": model.pooling,
        "projection_dim": last.out_features,
        "protein_encoder": {
            "type": kind,
            "lm_head": getattr(model.protein_encoder, "lm_head", None) is not None,
            **model.protein_encoder.config.to_dict(),
        },
        "text_encoder": {
            "type": "bert",
            "max_tokens": max_tokens,
            **{field: getattr(text, field) for field in _BERT_FIELDS},
        },
    }
    if heads is not None:
        found["residue_heads"] = {
            "mlm": heads.mlm is not None,
            "segments": heads.segment_head is not None,
            "prototypes": 0 if heads.prototypes is None else len(heads.prototypes.weight),
        }
    return found
