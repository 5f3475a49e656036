"""What ``config.json`` of a bundle says about its encoders: checked, and read in one way.

A bundle is data from elsewhere. Numbers that are none are found here, by name, before anything
is built from them. No torch here.
"""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from typing import Any

from protclip_core.encoders.kmer_config import KmerConfig
from protclip_core.encoders.projection_form import ProjectionForm
from protclip_core.errors import ModelError
from protclip_core.io.json_fields import one_line

__all__ = [
    "BERT_ACTIVATIONS",
    "BERT_NUMBERS",
    "check_encoders",
    "protein_shape",
    "protein_words",
]

#: Activations of BERT's feed-forward layers that we let a configuration ask for.
BERT_ACTIVATIONS = ("gelu", "gelu_new", "relu", "silu")
BERT_NUMBERS = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "max_position_embeddings",
    "type_vocab_size",
)
_ESM2_NUMBERS = ("num_layers", "hidden_dim", "num_heads", "ffn_dim")
#: Residues of one window where a configuration does not say it.
_DEFAULT_WINDOW = 1022
#: Positions that a protein encoder with learned ones needs at least: a window of 16 residues.
_FEWEST_POSITIONS = 18
#: Far above every model there is, and low enough that nothing is built for hours before the
#: tensors are seen not to fit.
_MOST_LAYERS, _MOST_WIDTH, _MOST_ROWS = 1_000, 100_000, 10_000_000
_MOST_WEIGHTS = 10**12
_LAYERS = ("num_layers", "num_hidden_layers", "layers")
_ROWS = (
    "vocab_size",
    "max_position_embeddings",
    "max_positions",
    "max_residues",
    "max_tokens",
    "prototypes",
)


def protein_shape(encoder: Mapping[str, Any]) -> dict[str, int]:
    """Return ``num_layers``, ``hidden_dim``, ``ffn_dim`` and ``max_residues``, whatever the type.

    Empty for an empty ``encoder``; ``max_residues`` only where the configuration limits it.
    """
    kind = encoder.get("type")
    if kind == "bert":
        most = encoder["max_position_embeddings"] - 2
        return {
            "num_layers": encoder["num_hidden_layers"],
            "hidden_dim": encoder["hidden_size"],
            "ffn_dim": encoder["intermediate_size"],
            "max_residues": encoder.get("max_residues", min(_DEFAULT_WINDOW, most)),
        }
    if kind == "esm1":
        plain = _esm1_arguments(encoder)
        return {
            "num_layers": plain["layers"],
            "hidden_dim": plain["embed_dim"],
            "ffn_dim": plain["ffn_embed_dim"],
            "max_residues": plain.get("max_positions", _DEFAULT_WINDOW + 2) - 2,
        }
    if kind == "kmer":
        config = KmerConfig.from_dict(encoder)
        return {
            "num_layers": config.num_layers,
            "hidden_dim": config.hidden_dim,
            "ffn_dim": config.inner_dim,
            "max_residues": config.max_residues,
        }
    names = ("num_layers", "hidden_dim", "ffn_dim", "max_residues")
    return {name: encoder[name] for name in names if name in encoder}


def protein_words(encoder: Mapping[str, Any]) -> str:
    """Describe a protein encoder in a line, for people."""
    kind = str(encoder.get("type", "inside the file"))
    shape = protein_shape(encoder)
    if "num_layers" not in shape:
        return kind
    layers = f"{shape['num_layers']} layers of width {shape['hidden_dim']}"
    if kind != "kmer":
        return f"{kind}, {layers}"
    config = KmerConfig.from_dict(encoder)
    inputs = ", ".join(
        [f"{table.pattern} in {len(table.groups)} letters" for table in config.tables]
        + [f"windows of {window.width}" for window in config.windows]
    )
    return f"{kind} ({inputs}), {layers}, sees {config.reach} residues to each side"


def check_encoders(config: Mapping[str, Any], where: str) -> None:
    """Check the parts of a configuration that models are built from.

    Raises
    ------
    ModelError
        No encoder at all, one of an unknown type, a number that is missing or none, or
        projections of an unknown form or that read what the protein encoder does not give.
    """
    protein, text = config.get("protein_encoder"), config.get("text_encoder")
    if protein is None and text is None:
        raise ModelError("names neither a protein nor a text encoder", where=where)
    _flag(config, "logit_scale", "", where)
    if protein is not None:
        _check_protein(protein, where)
    if text is not None:
        if not isinstance(text, dict) or text.get("type") != "bert":
            raise _unknown("text encoder", text, "'bert'", where)
        _check_bert(text, "text_encoder", where)
        _number(text, "max_tokens", "text_encoder", where)
        if text["max_tokens"] > text["max_position_embeddings"]:
            raise ModelError(
                f"text_encoder.max_tokens {text['max_tokens']} is more than its "
                f"{text['max_position_embeddings']} positions",
                where=where,
            )
    if config.get("projection_dim") is not None:
        _number(config, "projection_dim", "", where)
    if config.get("pooling", "residues") not in ("residues", "tokens"):
        raise ModelError(f"pooling {_shown(config['pooling'])} is not known", where=where)
    _check_projection(config, where)
    _check_heads(config, where)


def _check_protein(encoder: Any, where: str) -> None:  # noqa: ANN401
    kind = encoder.get("type") if isinstance(encoder, dict) else None
    if kind is not None:
        _flag(encoder, "lm_head", "protein_encoder", where)
    if kind == "esm2":
        for name in _ESM2_NUMBERS:
            _number(encoder, name, "protein_encoder", where)
        if encoder["hidden_dim"] % (2 * encoder["num_heads"]):
            raise ModelError(
                f"hidden_dim {encoder['hidden_dim']} is no even multiple of "
                f"num_heads {encoder['num_heads']}",
                where=where,
            )
        if "max_residues" in encoder:
            _number(encoder, "max_residues", "protein_encoder", where)
        _flag(encoder, "token_dropout", "protein_encoder", where)
        _epsilon(encoder, "protein_encoder", where)
    elif kind == "bert":
        _check_bert(encoder, "protein_encoder", where)
        tokens = encoder.get("tokens")
        if (
            not isinstance(tokens, list)
            or not all(isinstance(token, str) for token in tokens)
            or len(set(tokens)) != encoder["vocab_size"]
            or len(tokens) != encoder["vocab_size"]
        ):
            raise ModelError(
                f"protein_encoder.tokens is no list of {encoder['vocab_size']} distinct tokens",
                where=where,
            )
        _enough_positions(encoder["max_position_embeddings"], where)
        if "max_residues" in encoder:
            _number(encoder, "max_residues", "protein_encoder", where)
            if encoder["max_residues"] > encoder["max_position_embeddings"] - 2:
                raise ModelError("protein_encoder.max_residues exceeds its positions", where=where)
    elif kind == "esm1":
        if not isinstance(encoder.get("arguments"), dict):
            raise ModelError("protein_encoder does not say 'arguments'", where=where)
        part, plain = "protein_encoder.arguments", _esm1_arguments(encoder)
        for name in ("layers", "embed_dim", "ffn_embed_dim", "attention_heads"):
            _number(plain, name, part, where)
        if "max_positions" in plain:
            _number(plain, "max_positions", part, where)
            _enough_positions(plain["max_positions"], where)
        _flag(plain, "token_dropout", part, where)
    elif kind == "kmer":
        _check_kmer(encoder, where)
    else:
        raise _unknown("protein encoder", encoder, "'esm2', 'kmer', 'bert' and 'esm1'", where)


def _check_kmer(encoder: Mapping[str, Any], where: str) -> None:
    try:
        config = KmerConfig.from_dict(encoder)
    # Beside its own words, what numbers of hundreds of digits bring about.
    except (ValueError, TypeError, OverflowError) as error:
        raise ModelError(f"protein_encoder: {one_line(str(error))}", where=where) from error
    for name in ("hidden_dim", "max_residues", "kernel"):
        _number({name: getattr(config, name)}, name, "protein_encoder", where)
    if config.num_layers:
        _number({"num_layers": config.num_layers}, "num_layers", "protein_encoder", where)
    if config.num_weights > _MOST_WEIGHTS:
        raise ModelError(
            f"protein_encoder has {config.num_weights:.2g} weights, more than the "
            f"{_MOST_WEIGHTS:,} that protclip takes",
            where=where,
        )


def _esm1_arguments(encoder: Mapping[str, Any]) -> dict[str, Any]:
    """Return the training arguments without the prefix that some of them have."""
    return {name.removeprefix("encoder_"): value for name, value in encoder["arguments"].items()}


def _enough_positions(number: int, where: str) -> None:
    if number < _FEWEST_POSITIONS:
        raise ModelError(
            f"protein_encoder has fewer than {_FEWEST_POSITIONS} positions", where=where
        )


def _check_bert(encoder: Mapping[str, Any], part: str, where: str) -> None:
    for name in BERT_NUMBERS:
        _number(encoder, name, part, where)
    if encoder["hidden_size"] % encoder["num_attention_heads"]:
        raise ModelError(
            f"{part}.hidden_size {encoder['hidden_size']} is no multiple of "
            f"num_attention_heads {encoder['num_attention_heads']}",
            where=where,
        )
    if encoder.get("hidden_act", "gelu") not in BERT_ACTIVATIONS:
        raise ModelError(
            f"{part}.hidden_act is {_shown(encoder['hidden_act'])}; this protclip knows "
            f"{', '.join(BERT_ACTIVATIONS)}",
            where=where,
        )
    _epsilon(encoder, part, where)
    pad = encoder.get("pad_token_id", 0)
    if type(pad) is not int or not 0 <= pad < encoder["vocab_size"]:
        raise ModelError(
            f"{part}.pad_token_id is {_shown(pad)}, not one of its "
            f"{encoder['vocab_size']:,} tokens",
            where=where,
        )


def _check_projection(config: Mapping[str, Any], where: str) -> None:
    """Check the form of the projections; the encoders have been checked before."""
    if config.get("projection") is None:
        return
    try:
        form = ProjectionForm.from_dict(config["projection"])
    except ValueError as error:
        raise ModelError(
            f"projection: {one_line(str(error))}",
            where=where,
            hint="the bundle is damaged, or made for a newer protclip",
        ) from error
    _number(form.to_dict(), "hidden_dim", "projection", where)
    if config.get("projection_dim") is None:
        raise ModelError("projection needs a projection_dim", where=where)
    if form.protein_dim is None:
        return
    encoder, shown = config.get("protein_encoder") or {}, _shown(form.protein_dim)
    if encoder.get("type") != "kmer" or not encoder.get("keep_input"):
        raise ModelError(
            f"projection.protein_dim is {shown}, but the protein encoder keeps no input to read "
            "alone; only type 'kmer' with keep_input does",
            where=where,
        )
    width = KmerConfig.from_dict(encoder).input_dim
    if form.protein_dim != width:
        raise ModelError(
            f"projection.protein_dim is {shown}, not the {width} of the encoder's input",
            where=where,
        )


def _check_heads(config: Mapping[str, Any], where: str) -> None:
    heads = config.get("residue_heads")
    if heads is None or heads == {}:
        return
    if not isinstance(heads, dict) or not set(heads) <= {"mlm", "segments", "prototypes"}:
        raise ModelError(
            f"residue_heads is {_shown(heads)}; this protclip knows mlm, segments and prototypes",
            where=where,
            hint="install a newer protclip",
        )
    for name in ("mlm", "segments"):
        _flag(heads, name, "residue_heads", where)
    count = heads.get("prototypes", 0)
    if type(count) is not int or count < 0:
        raise ModelError(f"residue_heads.prototypes is {_shown(count)}, not a number", where=where)
    if count:
        _number(heads, "prototypes", "residue_heads", where)
    if config.get("projection_dim") is None or config.get("protein_encoder") is None:
        raise ModelError(
            "residue_heads need a protein encoder and a projection_dim", where=where
        )  # fmt: skip


def _number(values: Mapping[str, Any], name: str, part: str, where: str) -> None:
    """Refuse what is not a whole number of at least 1, or more than any model has."""
    full = f"{part}.{name}" if part else name
    if name not in values:
        raise ModelError(f"does not say '{full}'", where=where)
    value = values[name]
    if type(value) is not int or value < 1:
        raise ModelError(f"{full} is {_shown(value)}, not a whole number above 0", where=where)
    most = _MOST_LAYERS if name in _LAYERS else _MOST_ROWS if name in _ROWS else _MOST_WIDTH
    if value > most:
        raise ModelError(
            f"{full} is {_shown(value)}, more than the {most:,} that protclip takes", where=where
        )


def _flag(values: Mapping[str, Any], name: str, part: str, where: str) -> None:
    """Refuse what is there and neither true nor false."""
    if name in values and not isinstance(values[name], bool):
        full = f"{part}.{name}" if part else name
        raise ModelError(f"{full} is {_shown(values[name])}, not true or false", where=where)


def _epsilon(values: Mapping[str, Any], part: str, where: str) -> None:
    """Refuse a ``layer_norm_eps`` that is no small number; NaN is none."""
    eps = values.get("layer_norm_eps", 0)
    if type(eps) not in (int, float) or not 0 <= eps < 1:
        raise ModelError(f"{part}.layer_norm_eps is {_shown(eps)}, not a small number", where=where)


def _shown(value: object) -> str:
    """Return a stranger's value as a short line, however long or deep it is."""
    return one_line(reprlib.repr(value), 80)


def _unknown(what: str, found: object, known: str, where: str) -> ModelError:
    shown = found.get("type") if isinstance(found, dict) else found
    return ModelError(
        f"type of the {what} is {_shown(shown)}; this protclip knows {known}",
        where=where,
        hint="install a newer protclip",
    )
