"""Files of fair-esm as bundles: ESM-2, ESM-1b and ESM-1v."""

from __future__ import annotations

import re
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from protclip_core.encoders.shapes import read_shapes
from protclip_core.errors import ModelError
from protclip_core.models.importers.converted import Converted, check_tied, esm2_layout, take

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["convert_fair_esm"]

_PREFIX = re.compile(r"^(?:encoder\.sentence_encoder\.|encoder\.)")
_LEAVINGS = (
    (r"contact_head\..*", "contact head, which embeddings do not use"),
    (r".*rot_emb\.inv_freq", "rotary frequencies, which are computed"),
    (r"lm_head\.weight", "copies of other tensors"),
    (r"embed_out.*", "output matrix of an older head"),
)
#: What the module of ESM-1b and ESM-1v is built from; the rest is of its training.
_ARGUMENTS = (
    "layers",
    "embed_dim",
    "ffn_embed_dim",
    "attention_heads",
    "max_positions",
    "token_dropout",
)
_OTHERS = {
    "msa_transformer": "the MSA Transformer, which takes alignments and not single proteins",
    "protein_bert_base": "an ESM-1, older than ESM-1b",
    "gvp": "an inverse folding model (ESM-IF), which takes structures",
}
_SUPPORTED = "ESM-2, ESM-1b and ESM-1v are supported"


def convert_fair_esm(path: Path) -> Converted:
    """Convert a ``.pt`` file of fair-esm.

    Raises
    ------
    ModelError
        Not a file of fair-esm, another architecture, or tensors that do not fit.
    """
    from protclip_core.weights.tensors import load_pickled_tensors

    where = str(path)
    content = load_pickled_tensors(path)
    tensors = content.get("model")
    if not _is_table(tensors):
        raise ModelError(
            "is not a fair-esm model (no table 'model' of tensors inside)",
            code="model.unknown_layout",
            where=where,
            hint="for a model of transformers give its directory, with config.json",
        )
    assert tensors is not None
    plain = {_PREFIX.sub("", name): value for name, value in tensors.items()}
    if "args" in content:
        return _esm1(path, _values(content["args"], where), plain)
    settings = content.get("cfg")
    arguments = settings.get("model") if isinstance(settings, Mapping) else None
    if arguments is None:
        raise ModelError(
            "is not a fair-esm model (neither 'args' nor 'cfg' inside)",
            code="model.unknown_layout",
            where=where,
            hint=_SUPPORTED,
        )
    return _esm2(path, _values(arguments, where), plain)


def _esm2(path: Path, values: Mapping[str, Any], tensors: dict[str, Tensor]) -> Converted:
    where = str(path)
    names = {
        "num_layers": "encoder_layers",
        "hidden_dim": "encoder_embed_dim",
        "num_heads": "encoder_attention_heads",
    }
    lacking = [theirs for theirs in names.values() if theirs not in values]
    if lacking:
        raise ModelError(
            f"is not an ESM-2 (its arguments do not say {lacking[0]!r})",
            code="model.unsupported_architecture",
            where=where,
            hint=_SUPPORTED,
        )
    encoder = {"type": "esm2", **{ours: values[theirs] for ours, theirs in names.items()}}
    width = encoder["hidden_dim"]
    encoder |= {
        "ffn_dim": 4 * width if isinstance(width, int) else width,
        "token_dropout": values.get("token_dropout", True),
        "layer_norm_eps": 1e-5,
        "max_residues": 1022,
    }
    read_shapes({"protein_encoder": encoder}, where)
    lm_head = any(name.startswith("lm_head.") for name in tensors)
    check_tied(tensors, "lm_head.weight", "embed_tokens.weight", where)
    layout = esm2_layout(encoder, "", lm_head=lm_head, fair_esm=True)
    kept, left_out = take(tensors, layout, _LEAVINGS, where)
    return Converted(
        kind="ESM-2 of fair-esm",
        source_kind="fair-esm",
        config={"pooling": "residues", "protein_encoder": {**encoder, "lm_head": lm_head}},
        tensors=kept,
        left_out=left_out,
        sources=[path],
        citations=("ESM-2: Lin et al. 2023, Science 379:1123",),
    )


def _esm1(path: Path, values: Mapping[str, Any], tensors: dict[str, Tensor]) -> Converted:
    # Here, because fair-esm is slow to import and needed for these two only.
    from protclip_core.encoders.esm1 import build_esm1_module

    where = str(path)
    architecture = str(values.get("arch"))
    if architecture != "roberta_large":
        known = next((text for key, text in _OTHERS.items() if key in architecture), None)
        raise ModelError(
            f"is {known}" if known else f"architecture {architecture!r} is not supported",
            code="model.unsupported_architecture",
            where=where,
            hint=_SUPPORTED,
        )
    bare = {name.removeprefix("encoder_"): value for name, value in values.items()}
    arguments = {"arch": architecture}
    arguments |= {name: bare[name] for name in _ARGUMENTS if name in bare}
    encoder = {"type": "esm1", "lm_head": True, "arguments": arguments}
    read_shapes({"protein_encoder": encoder}, where)
    check_tied(tensors, "lm_head.weight", "embed_tokens.weight", where)
    patterns = [(re.compile(pattern), reason) for pattern, reason in _LEAVINGS]
    kept: dict[str, Tensor] = {}
    left_out: dict[str, list[str]] = {}
    for name, value in tensors.items():
        reason = next((why for pattern, why in patterns if pattern.fullmatch(name)), None)
        if reason is None:
            kept[f"protein_encoder.{name}"] = value
        else:
            left_out.setdefault(reason, []).append(name)
    # The module itself is the layout: building it finds every tensor that does not fit.
    build_esm1_module(
        arguments, {n.removeprefix("protein_encoder."): t for n, t in kept.items()}, where
    )
    return Converted(
        kind="ESM-1b or ESM-1v of fair-esm",
        source_kind="fair-esm",
        config={"pooling": "residues", "protein_encoder": encoder},
        tensors=kept,
        left_out=left_out,
        sources=[path],
        citations=(
            "ESM-1b: Rives et al. 2021, PNAS 118:e2016239118",
            "ESM-1v: Meier et al. 2021, NeurIPS",
        ),
    )


def _values(arguments: object, where: str) -> Mapping[str, Any]:
    """Training arguments as a table; files hold them in one of two forms."""
    table = vars(arguments) if isinstance(arguments, Namespace) else arguments
    if isinstance(table, Mapping) and all(isinstance(name, str) for name in table):
        return table
    raise ModelError(
        f"its training arguments are a {type(arguments).__name__}, not a table",
        code="model.unknown_layout",
        where=where,
    )


def _is_table(value: object) -> bool:
    """Whether a value maps names to tensors."""
    from torch import Tensor

    return isinstance(value, dict) and all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in value.items()
    )
