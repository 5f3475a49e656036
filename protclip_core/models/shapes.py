"""What ``config.json`` of a bundle says about its encoders: checked, and read in one way.

A bundle is data from elsewhere. Numbers that are none are found here, by name, before anything
is built from them. No torch here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from protclip_core.errors import ModelError

__all__ = ["BERT_ACTIVATIONS", "BERT_NUMBERS", "check_encoders", "protein_shape"]

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
    names = ("num_layers", "hidden_dim", "ffn_dim", "max_residues")
    return {name: encoder[name] for name in names if name in encoder}


def check_encoders(config: Mapping[str, Any], where: str) -> None:
    """Check the parts of a configuration that models are built from.

    Raises
    ------
    ModelError
        No encoder at all, one of an unknown type, or a number that is missing or none.
    """
    protein, text = config.get("protein_encoder"), config.get("text_encoder")
    if protein is None and text is None:
        raise ModelError("names neither a protein nor a text encoder", where=where)
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
        raise ModelError(f"pooling {config['pooling']!r} is not known", where=where)
    _check_heads(config, where)


def _check_protein(encoder: Any, where: str) -> None:  # noqa: ANN401
    kind = encoder.get("type") if isinstance(encoder, dict) else None
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
        if encoder["max_position_embeddings"] < 18:
            raise ModelError("protein_encoder has fewer than 18 positions", where=where)
        if "max_residues" in encoder:
            _number(encoder, "max_residues", "protein_encoder", where)
            if encoder["max_residues"] > encoder["max_position_embeddings"] - 2:
                raise ModelError("protein_encoder.max_residues exceeds its positions", where=where)
    elif kind == "esm1":
        if not isinstance(encoder.get("arguments"), dict):
            raise ModelError("protein_encoder does not say 'arguments'", where=where)
        for name in ("layers", "embed_dim", "ffn_embed_dim", "attention_heads"):
            _number(_esm1_arguments(encoder), name, "protein_encoder.arguments", where)
        if "max_positions" in encoder["arguments"]:
            _number(encoder["arguments"], "max_positions", "protein_encoder.arguments", where)
    else:
        raise _unknown("protein encoder", encoder, "'esm2', 'bert' and 'esm1'", where)


def _esm1_arguments(encoder: Mapping[str, Any]) -> dict[str, Any]:
    """Return the training arguments without the prefix that some of them have."""
    return {name.removeprefix("encoder_"): value for name, value in encoder["arguments"].items()}


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
            f"{part}.hidden_act is {encoder['hidden_act']!r}; this protclip knows "
            f"{', '.join(BERT_ACTIVATIONS)}",
            where=where,
        )
    eps = encoder.get("layer_norm_eps", 1e-12)
    if isinstance(eps, bool) or not isinstance(eps, (int, float)) or not 0 <= eps < 1:
        raise ModelError(f"{part}.layer_norm_eps is {eps!r}, not a small number", where=where)


def _check_heads(config: Mapping[str, Any], where: str) -> None:
    heads = config.get("residue_heads")
    if not heads:
        return
    if not isinstance(heads, dict) or not set(heads) <= {"mlm", "segments", "prototypes"}:
        raise ModelError(
            f"residue_heads is {heads!r}; this protclip knows mlm, segments and prototypes",
            where=where,
            hint="install a newer protclip",
        )
    count = heads.get("prototypes", 0)
    if not isinstance(count, int) or count < 0:
        raise ModelError(f"residue_heads.prototypes is {count!r}, not a number", where=where)
    if config.get("projection_dim") is None or config.get("protein_encoder") is None:
        raise ModelError(
            "residue_heads need a protein encoder and a projection_dim", where=where
        )  # fmt: skip


def _number(values: Mapping[str, Any], name: str, part: str, where: str) -> None:
    """Refuse what is not a whole number of at least 1."""
    full = f"{part}.{name}" if part else name
    if name not in values:
        raise ModelError(f"does not say '{full}'", where=where)
    value = values[name]
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ModelError(f"{full} is {value!r}, not a whole number above 0", where=where)


def _unknown(what: str, found: object, known: str, where: str) -> ModelError:
    shown = found.get("type") if isinstance(found, dict) else found
    return ModelError(
        f"type of the {what} is {shown!r}; this protclip knows {known}",
        where=where,
        hint="install a newer protclip",
    )
