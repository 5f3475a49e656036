"""What ``config.json`` of a bundle says about its encoders: the types of it, checked when read.

A bundle is data from elsewhere. Numbers of no use are found here, by name, before anything is
built from them. No torch here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType
from msgspec.structs import asdict, force_setattr

from protclip_core.encoders.gvp_config import GvpConfig
from protclip_core.encoders.kmer_config import KmerConfig, Layers, Width
from protclip_core.encoders.projection_form import ProjectionForm
from protclip_core.errors import ModelError
from protclip_core.io.json_fields import problem_of, read_as

__all__ = [
    "BERT_NUMBERS",
    "BertShape",
    "Esm1Shape",
    "Esm2Config",
    "Esm2Shape",
    "GvpShape",
    "KmerShape",
    "LetterShape",
    "ModelShape",
    "ProtBertShape",
    "ProteinShape",
    "StructureShape",
    "TextShape",
    "protein_words",
    "read_shape",
    "read_shapes",
]

BERT_NUMBERS = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "max_position_embeddings",
    "type_vocab_size",
)
#: Residues of one window where a configuration does not say it.
_DEFAULT_WINDOW = 1022
#: Positions that a protein encoder with learned ones needs at least: a window of 16 residues.
_FEWEST_POSITIONS = 18
_MOST_WEIGHTS = 10**12

Rows = Annotated[int, Meta(ge=1, le=10_000_000)]
Epsilon = Annotated[float, Meta(ge=0, lt=1)]


class Esm2Config(Struct, frozen=True, kw_only=True):
    """Shape of an ESM-2 encoder; the numbers that make one model differ from another."""

    num_layers: Layers
    hidden_dim: Width
    num_heads: Width
    ffn_dim: Width
    token_dropout: bool = True
    layer_norm_eps: Epsilon = 1e-5
    #: Residues of one window; ESM-2 was trained on 1,024 tokens and has no hard limit.
    max_residues: Rows = _DEFAULT_WINDOW

    def __post_init__(self) -> None:
        if self.hidden_dim % self.num_heads or (self.hidden_dim // self.num_heads) % 2:
            raise ValueError(
                f"hidden_dim {self.hidden_dim} must be an even multiple of "
                f"num_heads {self.num_heads}"
            )

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.hidden_dim // self.num_heads

    def flops(self, num_tokens: int) -> int:
        """Floating-point operations of one forward pass over one protein.

        Matrix products of the layers and of attention; a multiplication and an addition are
        two. Embedding, normalisation and masked-LM head are left out.
        """
        linear = 2 * num_tokens * self.hidden_dim * (4 * self.hidden_dim + 2 * self.ffn_dim)
        attention = 4 * num_tokens * num_tokens * self.hidden_dim
        return self.num_layers * (linear + attention)

    @property
    def num_weights(self) -> int:
        """Numbers in the matrices of the layers."""
        return self.num_layers * self.hidden_dim * (4 * self.hidden_dim + 2 * self.ffn_dim)

    @property
    def token_width(self) -> int:
        """Numbers that one token needs at a time, about."""
        return 2 * self.ffn_dim + 8 * self.hidden_dim

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain data for ``config.json``."""
        return {name: getattr(self, name) for name in Esm2Config.__struct_fields__}


class Esm2Shape(
    Esm2Config, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag="esm2"
):
    """`Esm2Config` as a bundle states it; without ``lm_head`` the tensors tell."""

    lm_head: bool | UnsetType = UNSET


class KmerShape(
    KmerConfig, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag="kmer"
):
    """`KmerConfig` as a bundle states it; without ``lm_head`` the tensors tell."""

    lm_head: bool | UnsetType = UNSET

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_weights > _MOST_WEIGHTS:
            raise ValueError(f"{self.num_weights:.2g} weights are more than {_MOST_WEIGHTS:,}")

    @property
    def ffn_dim(self) -> int:
        """Inner width of the blocks."""
        return self.inner_dim


class BertShape(Struct, frozen=True, kw_only=True, tag_field="type", tag="bert"):
    """Fields of BertConfig."""

    vocab_size: Rows
    hidden_size: Width
    num_hidden_layers: Layers
    num_attention_heads: Width
    intermediate_size: Width
    max_position_embeddings: Rows
    type_vocab_size: Width
    hidden_act: Literal["gelu", "gelu_new", "relu", "silu"] = "gelu"
    layer_norm_eps: Epsilon = 1e-12
    pad_token_id: Annotated[int, Meta(ge=0)] = 0

    def __post_init__(self) -> None:
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size {self.hidden_size} is not a multiple of "
                f"num_attention_heads {self.num_attention_heads}"
            )
        if self.pad_token_id >= self.vocab_size:
            raise ValueError(
                f"pad_token_id {self.pad_token_id} is not one of its {self.vocab_size:,} tokens"
            )


class TextShape(BertShape, frozen=True, kw_only=True, tag_field="type", tag="bert"):
    """A text encoder."""

    #: Tokens of a text; longer ones are cut.
    max_tokens: Rows

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_tokens > self.max_position_embeddings:
            raise ValueError(
                f"max_tokens {self.max_tokens} is more than its "
                f"{self.max_position_embeddings} positions"
            )


class ProtBertShape(BertShape, frozen=True, kw_only=True, tag_field="type", tag="bert"):
    """A BERT of residues."""

    #: Token of each id.
    tokens: tuple[str, ...]
    #: Residues of one window; by default as many as there are positions, at most 1,022.
    max_residues: Rows = 0
    lm_head: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not len(self.tokens) == len(set(self.tokens)) == self.vocab_size:
            raise ValueError(f"tokens are not {self.vocab_size} distinct ones")
        _enough(self.max_position_embeddings, "max_position_embeddings")
        most = self.max_position_embeddings - 2
        if self.max_residues > most:
            raise ValueError(f"max_residues {self.max_residues} exceeds its positions")
        force_setattr(self, "max_residues", self.max_residues or min(_DEFAULT_WINDOW, most))

    @property
    def num_layers(self) -> int:
        """Layers."""
        return self.num_hidden_layers

    @property
    def hidden_dim(self) -> int:
        """Width of a token vector."""
        return self.hidden_size

    @property
    def ffn_dim(self) -> int:
        """Inner width of the layers."""
        return self.intermediate_size


class _Esm1Arguments(Struct, frozen=True, kw_only=True):
    layers: Layers
    embed_dim: Width
    ffn_embed_dim: Width
    attention_heads: Width
    max_positions: Rows = _DEFAULT_WINDOW + 2
    token_dropout: bool = False

    def __post_init__(self) -> None:
        _enough(self.max_positions, "max_positions")


class Esm1Shape(Struct, frozen=True, kw_only=True, tag_field="type", tag="esm1"):
    """ESM-1b or ESM-1v: the training arguments that fair-esm builds its module from."""

    #: With or without ``encoder_`` before a name.
    arguments: dict[str, Any]
    lm_head: bool = True

    def __post_init__(self) -> None:
        plain = {name.removeprefix("encoder_"): value for name, value in self.arguments.items()}
        try:
            msgspec.convert(plain, _Esm1Arguments)
        except msgspec.ValidationError as error:
            raise ValueError(problem_of(error, plain, "arguments")) from None

    @property
    def plain(self) -> dict[str, Any]:
        """The arguments without the prefix that some of them have."""
        return {name.removeprefix("encoder_"): value for name, value in self.arguments.items()}

    @property
    def num_layers(self) -> int:
        """Layers."""
        return int(self.plain["layers"])

    @property
    def hidden_dim(self) -> int:
        """Width of a token vector."""
        return int(self.plain["embed_dim"])

    @property
    def ffn_dim(self) -> int:
        """Inner width of the layers."""
        return int(self.plain["ffn_embed_dim"])

    @property
    def max_residues(self) -> int:
        """Residues of one window: positions are learned, there are none beyond these."""
        return int(self.plain.get("max_positions", _DEFAULT_WINDOW + 2)) - 2


ProteinShape = Esm2Shape | KmerShape | ProtBertShape | Esm1Shape


class GvpShape(
    GvpConfig, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag="gvp"
):
    """`GvpConfig` as a bundle states it."""

    def in_words(self) -> str:
        """Describe the encoder in a line, for people."""
        reads = [f"{self.neighbours} neighbours", "CA only" if self.atoms == "ca" else "backbone"]
        reads += ["pLDDT"] * self.confidence + ["residue types"] * self.residues
        if self.descriptor != "none":
            reads.append(f"{self.descriptor} descriptor")
        return f"gvp ({', '.join(reads)}), {self.num_layers} layers of width {self.scalar_dim}"


class LetterShape(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag="3di"
):
    """An encoder of 3Di letters, by an encoder that takes them for residues."""

    encoder: Esm2Shape | KmerShape

    @property
    def hidden_dim(self) -> int:
        """Width of the vector of a chain."""
        return self.encoder.hidden_dim

    def in_words(self) -> str:
        """Describe the encoder in a line, for people."""
        return f"3Di letters, {protein_words(self.encoder)}"

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain data for ``config.json``, its type left out."""
        return {"encoder": {"type": self.encoder.__struct_config__.tag, **self.encoder.to_dict()}}


StructureShape = GvpShape | LetterShape


class ResidueHeadsShape(Struct, frozen=True, forbid_unknown_fields=True):
    """Which heads on residues there are."""

    mlm: bool = False
    segments: bool = False
    prototypes: Annotated[int, Meta(ge=0, le=10_000_000)] = 0

    def names(self) -> list[str]:
        """Return those that there are."""
        return [name for name, value in asdict(self).items() if value]


class ModelShape(Struct, frozen=True, kw_only=True):
    """What a configuration says about the parts that a model is built from."""

    protein_encoder: ProteinShape | None = None
    text_encoder: TextShape | None = None
    projection_dim: Width | None = None
    projection: ProjectionForm | None = None
    structure_encoder: StructureShape | None = None
    structure_projection: ProjectionForm | None = None
    residue_heads: ResidueHeadsShape | None = None
    pooling: Literal["residues", "tokens"] = "residues"
    logit_scale: bool = False

    def __post_init__(self) -> None:
        protein, form = self.protein_encoder, self.projection
        if protein is None and self.text_encoder is None:
            raise ValueError("neither a protein_encoder nor a text_encoder")
        lone = self.projection_dim is None or protein is None
        if self.residue_heads not in (None, ResidueHeadsShape()) and lone:
            raise ValueError("residue_heads need a protein encoder and a projection_dim")
        self._check_structure()
        if form is None:
            return
        if self.projection_dim is None:
            raise ValueError("projection needs a projection_dim")
        if form.protein_dim is None:
            return
        if not isinstance(protein, KmerShape) or not protein.keep_input:
            raise ValueError(
                f"projection.protein_dim is {form.protein_dim}, but the protein encoder keeps no "
                "input to read alone; only type 'kmer' with keep_input does"
            )
        if form.protein_dim != protein.input_dim:
            raise ValueError(
                f"projection.protein_dim is {form.protein_dim}, not the {protein.input_dim} of "
                "the encoder's input"
            )

    def _check_structure(self) -> None:
        form = self.structure_projection
        if self.structure_encoder is not None and self.projection_dim is None:
            raise ValueError("structure_encoder needs a projection_dim")
        if form is not None and (self.structure_encoder is None or form.protein_dim is not None):
            raise ValueError("structure_projection needs a structure_encoder, and no protein_dim")


def read_shapes(config: Mapping[str, Any], where: str) -> ModelShape:
    """Read the parts of a configuration that models are built from.

    Parameters
    ----------
    config
        Content of ``config.json`` of a bundle.
    where
        The file, for messages.

    Raises
    ------
    ModelError
        ``model.bad_field``: no encoder at all, one of an unknown type, a value that is missing,
        of another kind or of no use, or projections that read what the protein encoder does not
        give; names the field.
    """
    try:
        return read_as(ModelShape, config, "model configuration", where)
    except ModelError as error:
        error.hint = "the model is damaged, or made for a newer protclip"
        raise


def read_shape(encoder: Mapping[str, Any], where: str) -> ProteinShape:
    """Read a protein encoder alone; errors as `read_shapes`."""
    shape = read_shapes({"protein_encoder": encoder}, where).protein_encoder
    assert shape is not None
    return shape


def protein_words(encoder: ProteinShape | None) -> str:
    """Describe a protein encoder in a line, for people."""
    if encoder is None:
        return "inside the file"
    kind = str(encoder.__struct_config__.tag)
    layers = f"{encoder.num_layers} layers of width {encoder.hidden_dim}"
    if not isinstance(encoder, KmerShape):
        return f"{kind}, {layers}"
    inputs = ", ".join(
        [f"{table.pattern} in {len(table.groups)} letters" for table in encoder.tables]
        + [f"windows of {window.width}" for window in encoder.windows]
    )
    return f"{kind} ({inputs}), {layers}, sees {encoder.reach} residues to each side"


def _enough(positions: int, name: str) -> None:
    if positions < _FEWEST_POSITIONS:
        raise ValueError(f"{name} is {positions}, fewer than {_FEWEST_POSITIONS}")
