"""Configurations of transformers read as those of a bundle; what does not fit is refused by name.

No torch here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from protclip_core.encoders.shapes import BERT_NUMBERS
from protclip_core.errors import ModelError
from protclip_core.models.importers.converted import ESM2_TOKENS
from protclip_core.weights.file_kinds import describe_content

__all__ = ["bert_encoder", "esm2_encoder", "read_config"]

_BERT_DEFAULTS = {"max_position_embeddings": 512, "type_vocab_size": 2}


def read_config(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises
    ------
    ModelError
        Missing, or something else; says what it looks like.
    """
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise ModelError("no such file", code="model.not_found", where=str(path)) from None
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(
            f"is not JSON (it looks like {describe_content(path)})",
            code="model.bad_json",
            where=str(path),
            hint="fetch the file again",
        ) from error
    if not isinstance(content, dict):
        raise ModelError("is not a JSON object", code="model.bad_json", where=str(path))
    return content


def esm2_encoder(config: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Read an EsmConfig as a ``protein_encoder`` of type ``"esm2"``, without ``lm_head``.

    Raises
    ------
    ModelError
        Another architecture: ESM-1b, a folding model, another vocabulary.
    """
    positions = config.get("position_embedding_type", "absolute")
    if positions != "rotary" or config.get("emb_layer_norm_before"):
        raise ModelError(
            f"is not an ESM-2: its positions are {positions!r}",
            code="model.unsupported_architecture",
            where=where,
            hint="ESM-1b and ESM-1v load from fair-esm's .pt files",
        )
    if config.get("is_folding_model"):
        raise ModelError(
            "is a folding model (ESMFold)",
            code="model.unsupported_architecture",
            where=where,
            hint="import the ESM-2 that it is built on",
        )
    if config.get("vocab_size", ESM2_TOKENS) != ESM2_TOKENS:
        raise ModelError(
            f"vocabulary of {config['vocab_size']!r} tokens, not ESM-2's {ESM2_TOKENS}",
            code="model.bad_vocabulary",
            where=where,
        )
    names = {
        "num_layers": "num_hidden_layers",
        "hidden_dim": "hidden_size",
        "num_heads": "num_attention_heads",
        "ffn_dim": "intermediate_size",
    }
    lacking = [theirs for theirs in names.values() if theirs not in config]
    if lacking:
        raise ModelError(f"does not say {lacking[0]!r}", code="model.bad_field", where=where)
    return {
        "type": "esm2",
        **{ours: config[theirs] for ours, theirs in names.items()},
        "token_dropout": _or_default(config, "token_dropout", default=False),
        "layer_norm_eps": config.get("layer_norm_eps", 1e-12),
        "max_residues": 1022,
    }


def bert_encoder(config: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Read a BertConfig as the fields that text encoders and ProtBERT share.

    Raises
    ------
    ModelError
        A decoder, or positions of another kind; numbers are checked with the whole bundle.
    """
    positions = config.get("position_embedding_type", "absolute")
    if positions not in ("absolute", None):
        raise ModelError(
            f"positions {positions!r} are not supported",
            code="model.unsupported_architecture",
            where=where,
        )
    if config.get("is_decoder") or config.get("add_cross_attention"):
        raise ModelError(
            "is a decoder, not an encoder", code="model.unsupported_architecture", where=where
        )
    known = {**_BERT_DEFAULTS, **config}
    return {
        "type": "bert",
        **{name: known[name] for name in BERT_NUMBERS if name in known},
        "hidden_act": config.get("hidden_act", "gelu"),
        "layer_norm_eps": config.get("layer_norm_eps", 1e-12),
        "pad_token_id": _or_default(config, "pad_token_id", default=0),
    }


def _or_default(config: Mapping[str, Any], name: str, *, default: int) -> Any:
    """Return a value as it stands, of whatever kind; null is the default, as in transformers."""
    value = config.get(name)
    return default if value is None else value
