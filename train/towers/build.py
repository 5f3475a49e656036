"""Build the model of a configuration, from fresh encoders or from existing models."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from msgspec.structs import replace
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from protclip_core.encoders.alphabet import TOKENS
from protclip_core.encoders.bert import build_bert
from protclip_core.encoders.esm2 import Esm2, Esm2Config
from protclip_core.encoders.kmer_config import KmerConfig
from protclip_core.encoders.projection import ProjectionForm
from protclip_core.encoders.residue_heads import ResidueHeads
from protclip_core.encoders.shapes import TextShape
from protclip_core.errors import UsageError
from protclip_core.models.from_bundle import TOKENIZER, build_esm2
from protclip_core.models.info import describe_model
from protclip_core.weights.bundle import Bundle
from protclip_core.weights.names import transformers_names
from protclip_core.weights.tensors import fill_module, read_transformers_weights
from train.config.run import RunConfig
from train.objectives.registry import outputs_read, trained_parts
from train.towers.structure_tower import (
    build_structure_encoder,
    projection_form,
    projection_tensors,
)
from train.towers.two_towers import (
    OF_PROTEINS,
    TwoTowers,
    initialise_bert,
    initialise_esm2,
    initialise_projection,
    make_bert,
)

__all__ = ["build_towers", "recompute", "text_limit", "tokenizer_of"]

_log = logging.getLogger(__name__)


def build_towers(config: RunConfig, vocab_size: int) -> TwoTowers:
    """Build the model of a run, as it stands at step 0.

    Heads that no objective trains are not built, and frozen parts want no gradient. Where both
    encoders come from one ProtCLIP model, its projections (and heads) come along if they fit;
    where the text encoder alone comes from a model, its text projection does.

    Parameters
    ----------
    config
        The run.
    vocab_size
        Of the tokenizer.

    Raises
    ------
    ModelError
        A model to start from that is missing or damaged.
    UsageError
        One of another kind.
    """
    objectives, joint = config.objectives, config.model.projection_dim
    own_head = bool(objectives.mlm) and config.model.mlm_head == "encoder"
    protein = _protein_encoder(config, lm_head=own_head)
    text = _text_encoder(config, vocab_size)
    heads = ResidueHeads(
        int(protein.config.hidden_dim),  # type: ignore[union-attr, arg-type]
        joint,
        len(TOKENS),
        mlm=bool(objectives.mlm) and not own_head,
        segments=bool(objectives.bsr),
        prototypes=config.model.prototypes if objectives.pda else 0,
    )
    towers = TwoTowers(
        protein,
        text,
        joint,
        pooling=config.model.pooling,
        temperature=objectives.temperature,
        residue_heads=heads if any(True for _ in heads.parameters()) else None,
        projection=_projection_form(config, protein),
        projection_dropout=config.model.projection_dropout,
        structure_encoder=build_structure_encoder(config),
        structure_projection=_structure_projection(config),
        structure_head=bool(objectives.design),
    )
    for projection in (towers.protein_projection, towers.text_projection):
        initialise_projection(projection)
    if config.structure is not None and towers.structure_projection is not None:
        initialise_projection(towers.structure_projection)
        brought = projection_tensors(config.structure, joint)
        if brought:
            towers.structure_projection.load_state_dict(brought)
    text_space = _bring_along(towers, config)
    towers.requires_grad_(requires_grad=True)
    towers.protein_encoder.requires_grad_(not config.protein.frozen)
    towers.text_encoder.requires_grad_(not config.text.stays)
    towers.protein_projection.requires_grad_(not config.protein.projection_frozen)
    towers.text_projection.requires_grad_(not _projection_stays(config, brought=text_space))
    if config.structure is not None and towers.structure_encoder is not None:
        towers.structure_encoder.requires_grad_(not config.structure.frozen)
    _freeze_unused(towers, config)
    if config.train.recompute:
        for layer in towers.layers():
            recompute(layer)
        if towers.structure_encoder is not None:
            towers.structure_encoder.recompute = True
    # A text encoder that comes with dropout shall not use it; steps switch on that of a protein
    # encoder that learns.
    return towers.eval()


def tokenizer_of(config: RunConfig) -> Tokenizer | None:
    """Return the tokenizer that the configuration names; ``None`` where one is to be trained.

    Raises
    ------
    ModelError, UsageError
        It cannot be read.
    """
    if config.text.weights is not None:
        bundle, _ = _text_model(config.text.weights)
        bundle.verify((TOKENIZER,))
        path = bundle.path / TOKENIZER
    elif config.text.tokenizer is not None:
        path = Path(config.text.tokenizer)
    else:
        return None
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:
        raise UsageError(
            "is not a readable tokenizer", code="usage.bad_tokenizer", where=str(path)
        ) from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def text_limit(config: RunConfig) -> int:
    """Return the tokens of a text at most."""
    if config.text.weights is None:
        return config.text.shape["max_tokens"]
    most = _text_model(config.text.weights)[1].max_tokens
    return min(most, config.text.max_tokens or most)


def recompute(layer: nn.Module) -> None:
    """Let a layer forget its activations, and compute them again in the backward pass."""
    forward: Callable[..., Any] = layer.forward

    def forgetting(*args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*args, **kwargs)
        return checkpoint(forward, *args, use_reentrant=False, **kwargs)

    layer.forward = forgetting


def _protein_encoder(config: RunConfig, *, lm_head: bool) -> nn.Module:
    protein = config.protein
    if protein.weights is not None:
        return _weights_of_protein(protein.weights, lm_head=lm_head)
    if protein.kind == "kmer":
        from protclip_core.encoders.kmer import KmerEncoder
        from protclip_core.encoders.kmer_start import start_alike

        kmer = KmerEncoder(KmerConfig.from_dict(protein.shape), lm_head=lm_head)
        if protein.start == "alike":
            start_alike(kmer, seed=config.train.seed)
        return kmer
    try:
        shape = Esm2Config(**protein.shape)
    except (TypeError, ValueError) as error:
        reason = str(error).partition("() ")[2] or str(error)
        raise UsageError(reason, code="usage.bad_value", where="[protein]") from error
    encoder = Esm2(shape, lm_head=lm_head)
    initialise_esm2(encoder, shape.num_layers)
    return encoder


def _structure_projection(config: RunConfig) -> tuple[ProjectionForm | None, float]:
    own = config.structure
    return (None, 0.0) if own is None else (projection_form(own), own.projection_dropout)


def _weights_of_protein(name: str, *, lm_head: bool) -> nn.Module:
    info = describe_model(name)
    where = str(info.path)
    shape = info.encoder
    if info.kind == "transformers":
        tensors = transformers_names(read_transformers_weights(info.path)[0])
    elif info.bundle is not None and isinstance(shape, Esm2Config | KmerConfig):
        tensors = info.bundle.tensors("protein_encoder.")
    else:
        raise UsageError(
            f"model {info.name} has no protein encoder that can be trained further",
            code="usage.no_protein_encoder",
            where="[protein] weights",
            hint="give an ESM-2, or make a bundle of it with: protclip models import",
        )
    has_head = any(part.startswith("lm_head.") for part in tensors)
    if lm_head and not has_head:
        raise UsageError(
            f"model {info.name} has no masked-LM head",
            code="usage.no_mlm_head",
            where="[model] mlm_head",
            hint="choose mlm_head = 'separate'",
        )
    if not lm_head:
        tensors = {n: v for n, v in tensors.items() if not n.startswith("lm_head.")}
    if isinstance(shape, KmerConfig):
        from protclip_core.encoders.kmer import KmerEncoder

        encoder = KmerEncoder(shape, lm_head=lm_head)
        fill_module(encoder, tensors, where, "protein_encoder.")
        return encoder
    assert isinstance(shape, Esm2Config)
    return build_esm2(shape, tensors, where, lm_head=lm_head)


def _projection_form(config: RunConfig, protein: nn.Module) -> ProjectionForm | None:
    model, shape = config.model, protein.config
    if model.projection == "plain":
        return None
    form = ProjectionForm(form="skip", hidden_dim=model.projection_hidden)
    if model.protein_reads == "all":
        return form
    if not getattr(shape, "keep_input", False):
        raise UsageError(
            "the protein encoder does not keep its input",
            code="usage.bad_value",
            where="[model] protein_reads",
            hint="use 'all', or an encoder of kind 'kmer' with keep_input = true",
        )
    return replace(form, protein_dim=int(shape.input_dim))  # type: ignore[union-attr, arg-type]


def _text_encoder(config: RunConfig, vocab_size: int) -> nn.Module:
    text = config.text
    if text.weights is not None:
        bundle, shape = _text_model(text.weights)
        tensors = bundle.tensors("text_encoder.")
        return build_bert(shape, tensors, str(bundle.path), "text_encoder.")
    encoder = make_bert(vocab_size=vocab_size, **text.shape)
    initialise_bert(encoder)
    return encoder


def _text_model(name: str) -> tuple[Bundle, TextShape]:
    """Return the bundle of a model with a text encoder, and the encoder's shape."""
    info = describe_model(name)
    if info.bundle is None or not info.text_encoder:
        raise UsageError(
            f"model {info.name} has no text encoder",
            code="usage.no_text_encoder",
            where="[text] weights",
            hint="protclip models import makes a bundle of a BERT",
        )
    return info.bundle, info.text_encoder


def _bring_along(towers: TwoTowers, config: RunConfig) -> bool:
    """Start from whatever else the models of the encoders bring.

    From a model that both encoders are of: projections, temperature and heads. From that of the
    text encoder alone: the text projection.

    Returns
    -------
    bool
        Whether the text projection came with the text encoder alone.
    """
    name = config.text.weights
    if name is None:
        return False
    info = describe_model(name)
    if info.bundle is None or info.joint_dim != config.model.projection_dim:
        return False
    if name != config.protein.weights:
        return _bring_text_projection(towers, info.bundle, info.name)
    state = towers.state_dict()
    brought: dict[str, Tensor] = {}
    for key, value in info.bundle.tensors().items():
        room = key.partition(".")[0]
        if room in ("protein_encoder", "text_encoder") or key not in state:
            continue
        # Of two forms that share some tensors, one does not start from parts of the other.
        if room.endswith("_projection") and info.projection != towers.projection_form:
            continue
        if value.numel() == state[key].numel():
            brought[key] = value.float().reshape(state[key].shape)
    towers.load_state_dict(brought, strict=False)
    _log.info("started from %s: %d tensors of projections and heads", info.name, len(brought))
    return False


def _bring_text_projection(towers: TwoTowers, bundle: Bundle, name: str) -> bool:
    """Start from a text projection of the same form; any other is left out."""
    found = {key: v.float() for key, v in bundle.tensors("text_projection.").items()}
    wanted = towers.text_projection.state_dict()
    if {n: v.shape for n, v in found.items()} != {n: v.shape for n, v in wanted.items()}:
        if found:
            _log.warning("the text projection of %s has another form and is not used", name)
        return False
    towers.text_projection.load_state_dict(found)
    _log.info("started from %s: text encoder and text projection", name)
    return True


def _projection_stays(config: RunConfig, *, brought: bool) -> bool:
    """Whether the text projection is frozen, the default resolved."""
    stays, text = config.text.projection_frozen, config.text
    if stays is None:
        return brought and text.stays
    if stays and not brought and (text.weights is None or text.weights != config.protein.weights):
        _log.warning("[text] projection_frozen: a projection stays that no text model brought")
    return stays


#: Parts of the model that some objectives move, and others do not.
_PARTS: tuple[str, ...] = ("logit_scale", "protein_projection", "text_projection", "text_encoder")
_PARTS += ("structure_encoder", "structure_projection")


def _freeze_unused(towers: TwoTowers, config: RunConfig) -> None:
    """Take the gradient from what no objective that is on could move.

    A parameter that waits for a gradient which never comes is an error between ranks.
    """
    trains = trained_parts(config.objectives)
    for part in _PARTS:
        own = getattr(towers, part)
        if part not in trains and own is not None:
            own.requires_grad_(requires_grad=False)
    if outputs_read(config.objectives).isdisjoint(OF_PROTEINS):
        towers.protein_encoder.requires_grad_(requires_grad=False)
    if towers.reads_input and "protein_layers" not in trains:
        # Nothing goes through the layers then; see `train.towers.passes`.
        for name, parameter in towers.protein_encoder.named_parameters():
            if not name.startswith(("tables.", "gates.", "windows.")):
                parameter.requires_grad = False
