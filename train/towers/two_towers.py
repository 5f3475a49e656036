"""The trained model: encoders and their projections, one temperature, heads on residues.

Tensor names are those of a bundle (`protclip_core.weights.bundle`), so that an export renames
nothing. Legend: B pairs, T protein tokens, S text tokens (padded), D encoder width, P joint width.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import BertConfig, BertModel

from protclip_core.encoders.packing import PackedTokens, pool
from protclip_core.encoders.projection import (
    ProjectionForm,
    SkipProjection,
    initialise_skip,
    make_projection,
)
from protclip_core.encoders.residue_heads import ResidueHeads
from protclip_core.encoders.structure import (
    RESIDUE_CODES,
    GvpConfig,
    PackedChains,
    StructureEncoder,
)

__all__ = [
    "MAX_LOGIT_SCALE",
    "OF_PROTEINS",
    "ProteinEncoder",
    "TwoTowers",
    "bert_fields",
    "bundle_config",
]
__all__ += ["exp_of", "initialise_bert", "initialise_esm2", "initialise_projection", "make_bert"]
__all__ += ["structure_fields"]

#: Outputs for which proteins are encoded; see `train.towers.passes`.
OF_PROTEINS = frozenset({"proteins", "proteins_view", "whole", "residues", "segments"})
#: The temperature may not fall below 1/100 (Radford et al. 2021).
MAX_LOGIT_SCALE = math.log(100.0)


class ProteinEncoder(Protocol):
    """What a protein encoder offers; `protclip_core.encoders.esm2.Esm2` is one."""

    config: Any

    def __call__(self, batch: PackedTokens) -> dict[int, Tensor]:
        """Token vectors ``(T, D)`` by layer; the last is ``config.num_layers``."""

    def logits(self, hidden: Tensor) -> Tensor:
        """Masked-LM logits ``(T, V)``."""


class TwoTowers(nn.Module):
    """Protein encoder, text encoder and their projections into the joint space.

    A structure encoder may stand beside them, with a projection of its own.

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
    projection
        Form of both projections; ``None`` for the plain one.
    projection_dropout
        Of the form with a skip connection; see `train_projections`.
    structure_encoder
        The third one, if there is one.
    structure_projection
        Form of its projection, and the dropout in it.
    structure_head
        Whether a linear head tells residue types from its vectors, for training alone.

    Raises
    ------
    ValueError
        The form reads an input that the protein encoder does not put first, or dropout in the
        plain form.
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
        projection: ProjectionForm | None = None,
        projection_dropout: float = 0.0,
        structure_encoder: StructureEncoder | None = None,
        structure_projection: tuple[ProjectionForm | None, float] = (None, 0.0),
        structure_head: bool = False,
    ) -> None:
        super().__init__()
        _check_reads(projection, protein_encoder)
        self.projection_form, self.projection_dim = projection, projection_dim
        self.protein_encoder: Any = protein_encoder
        self.text_encoder: Any = text_encoder
        self.pooling = pooling
        proteins: Any = protein_encoder.config
        texts: Any = text_encoder.config
        self.protein_projection = make_projection(
            int(proteins.hidden_dim), projection_dim, projection, projection_dropout
        )
        self.text_projection = make_projection(
            int(texts.hidden_size),
            projection_dim,
            None if projection is None else projection.for_texts(),
            projection_dropout,
        )
        # Of one element, since a sharded parameter must have a first dimension.
        self.logit_scale = nn.Parameter(torch.full((1,), math.log(1 / temperature)))
        self.residue_heads: Any = residue_heads
        self.structure_encoder: Any = structure_encoder
        self.structure_projection: Any = None
        self.structure_form = structure_projection[0]
        if structure_encoder is not None:
            self.structure_projection = make_projection(
                structure_encoder.hidden_dim, projection_dim, *structure_projection
            )
        self.structure_head: Any = None
        if structure_encoder is not None and structure_head:
            width = structure_encoder.config.scalar_dim
            self.structure_head = nn.Linear(width, len(RESIDUE_CODES))

    @property
    def reads_input(self) -> bool:
        """Whether the protein projection needs no more than the encoder's input.

        Then `protein_embedding` takes what ``protein_encoder.embed`` gives, ``(T, input_dim)``,
        in place of the vectors of a layer, with the same result.
        """
        return self.projection_form is not None and self.projection_form.protein_dim is not None

    def layers(self) -> list[nn.Module]:
        """Return the layers of both encoders, as far as they have some."""
        text = getattr(self.text_encoder, "encoder", None)
        found = (getattr(self.protein_encoder, "layers", None), getattr(text, "layer", None))
        return [one for layers in found if isinstance(layers, nn.ModuleList) for one in layers]

    @property
    def encoders_frozen(self) -> tuple[bool, bool]:
        """Whether the protein encoder and the text encoder stay as they are."""
        return not _learns(self.protein_encoder), not _learns(self.text_encoder)

    @property
    def text_frozen(self) -> bool:
        """Whether text encoder and text projection stay as they are."""
        return not (_learns(self.text_encoder) or _learns(self.text_projection))

    def switch_dropout(self, *, learning: bool) -> None:
        """Switch dropout on or off; it stays off in what is frozen, and in the text encoder."""
        own = (self.protein_encoder, self.protein_projection, self.text_projection)
        third = (self.structure_encoder, self.structure_projection)
        for part in (*own, *(part for part in third if part is not None)):
            part.train(learning and _learns(part))

    def protein_hidden(self, batch: PackedTokens) -> Tensor:
        """Return the token vectors of the last layer, ``(T, D)``."""
        found: Tensor = self.protein_encoder(batch)[self.protein_encoder.config.num_layers]
        return found

    def protein_vectors(self, batch: PackedTokens) -> Tensor:
        """Return unit vectors ``(B, P)`` of proteins; from the input alone, if that is read."""
        return F.normalize(self.protein_projection(self.protein_pooled(batch)), dim=-1)

    def protein_pooled(self, batch: PackedTokens) -> Tensor:
        """Return what `protein_vectors` projects, ``(B, D)``."""
        encode = self.protein_encoder.embed if self.reads_input else self.protein_hidden
        return pool(encode(batch), batch, self.pooling)

    def structure_vectors(
        self, batch: PackedChains, generator: torch.Generator | None = None
    ) -> Tensor:
        """Return unit vectors ``(B, P)`` of structures; noise in training is of ``generator``."""
        return self.structure_outputs(batch, generator)[0]

    def structure_outputs(
        self, batch: PackedChains, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return `structure_vectors` and the vectors of the residues, ``(N, S)``."""
        encoder = self.structure_encoder
        if len(batch):
            # Coordinates are no numbers for half precision, nor are the products inside.
            with torch.autocast(batch.backbone.device.type, enabled=False):
                graph = encoder.graph(batch, generator)
                residues = encoder.residues(graph)
            found = self.structure_projection(encoder.pool(residues, graph))
            return F.normalize(found, dim=-1), residues
        # No structure, and yet a gradient of 0 for all that learns: other ranks have some.
        parts = (encoder, self.structure_projection)
        nothing = sum(p.sum() * 0.0 for part in parts for p in part.parameters())
        empty = batch.backbone.new_zeros((0, 1)) + nothing
        width = encoder.config.scalar_dim
        return empty.expand(0, self.projection_dim), empty.expand(0, width)

    def residue_logits(self, hidden: Tensor) -> Tensor:
        """Return logits ``(M, V)`` of residues at token vectors ``(M, D)``."""
        own = None if self.residue_heads is None else self.residue_heads.mlm
        found: Tensor = (own or self.protein_encoder.logits)(hidden)
        return found

    def protein_embedding(self, hidden: Tensor, batch: PackedTokens) -> Tensor:
        """Return unit vectors ``(B, P)`` from token vectors ``(T, D)``; see `reads_input`."""
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
        whole = self.state_dict().items()
        found = {name: v for name, v in whole if not name.startswith("structure_head.")}
        found["logit_scale"] = found["logit_scale"].reshape(())
        return found


def _learns(module: nn.Module) -> bool:
    return any(parameter.requires_grad for parameter in module.parameters())


def exp_of(parameter: nn.Parameter) -> float:
    """Return the exponential of a parameter of one element, which may be sharded."""
    value: Any = parameter.detach()
    return float((value.full_tensor() if hasattr(value, "full_tensor") else value).exp())


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
    """Draw the weights of a projection of either form: keep the size of what passes."""
    if isinstance(projection, SkipProjection):
        initialise_skip(projection)
        return
    for name, parameter in projection.named_parameters():
        _draw(name, parameter, parameter.shape[-1] ** -0.5)


def _draw(name: str, parameter: Tensor, std: float) -> None:
    if name.endswith("bias"):
        nn.init.zeros_(parameter)
    elif parameter.ndim > 1:
        nn.init.normal_(parameter, std=std)


def _check_reads(form: ProjectionForm | None, encoder: Any) -> None:
    if form is None or form.protein_dim is None:
        return
    config = encoder.config
    if not getattr(config, "keep_input", False) or config.input_dim != form.protein_dim:
        raise ValueError(f"protein_dim {form.protein_dim} is not an input that the encoder keeps")


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


def bert_fields(config: Any) -> dict[str, Any]:
    """Return what a bundle says of the shape of a text encoder, from its `BertConfig`."""
    return {field: getattr(config, field) for field in _BERT_FIELDS}


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
    heads = model.residue_heads
    found = {
        "format": "protclip-bundle",
        "format_version": 1,
        "name": name,
        "license": "Apache-2.0",
        "pooling": model.pooling,
        "projection_dim": model.projection_dim,
        "protein_encoder": {
            "type": kind,
            "lm_head": getattr(model.protein_encoder, "lm_head", None) is not None,
            **model.protein_encoder.config.to_dict(),
        },
        "text_encoder": {
            "type": "bert",
            "max_tokens": max_tokens,
            **bert_fields(text),
        },
    }
    if model.projection_form is not None:
        found["projection"] = model.projection_form.to_dict()
    if heads is not None:
        found["residue_heads"] = {
            "mlm": heads.mlm is not None,
            "segments": heads.segment_head is not None,
            "prototypes": 0 if heads.prototypes is None else len(heads.prototypes.weight),
        }
    if model.structure_encoder is not None:
        shape = model.structure_encoder.config.to_dict()
        found |= structure_fields(shape, model.structure_form)
    return found


def structure_fields(shape: Mapping[str, Any], form: ProjectionForm | None) -> dict[str, Any]:
    """Return what ``config.json`` says of a structure encoder of this shape and its projection."""
    found = {"structure_encoder": {"type": "gvp", **GvpConfig.from_dict(shape).to_dict()}}
    return found if form is None else found | {"structure_projection": form.to_dict()}
