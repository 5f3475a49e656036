"""Tensor names of transformers and fair-esm under the names of `Esm2`.

Only names change here; that all tensors are there, in the right shapes, is seen to by
`protclip_core.weights.tensors.fill_module`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from protclip_core.errors import ModelError

__all__ = ["adapter_not_merged", "fair_esm_names", "modern_names"]
__all__ += ["refuse_adapter", "transformers_names"]

T = TypeVar("T")


def adapter_not_merged(what: str, path: Path) -> ModelError:
    """Return the error for what PEFT wrote: changes to a model, and not the model."""
    return ModelError(
        what,
        code="model.adapter_not_merged",
        where=str(path),
        hint="merge it first with PEFT: model.merge_and_unload().save_pretrained(FOLDER)",
    )


def refuse_adapter(folder: Path) -> None:
    """Refuse a folder that holds a LoRA adapter instead of a model.

    Raises
    ------
    ModelError
        ``model.adapter_not_merged``.
    """
    if (folder / "adapter_config.json").is_file():
        raise adapter_not_merged("holds a LoRA adapter without its model", folder)


#: Tensors of a transformers or fair-esm file that an encoder does not need.
_NOT_NEEDED = re.compile(
    r"^(?:(?:esm\.)?(?:contact_head|pooler|classifier)\..*"
    # A table of positions that releases of transformers before 4.53 store unused with ESM-2.
    r"|(?:esm\.)?embeddings\.position_embeddings\.weight"
    r"|(?:.*\.)?position_ids|(?:.*\.)?rotary_embeddings\.inv_freq|(?:.*\.)?rot_emb\.inv_freq"
    r"|lm_head\.decoder\.bias|lm_head\.decoder\.weight|lm_head\.weight)$"
)

_TRANSFORMERS = (
    (r"^embeddings\.word_embeddings\.weight$", "embedding.weight"),
    (r"^encoder\.emb_layer_norm_after\.", "final_norm."),
    (r"^encoder\.layer\.(\d+)\.attention\.self\.(query|key|value)\.", r"layers.\1.\2."),
    (r"^encoder\.layer\.(\d+)\.attention\.output\.dense\.", r"layers.\1.attention_out."),
    (r"^encoder\.layer\.(\d+)\.attention\.LayerNorm\.", r"layers.\1.attention_norm."),
    (r"^encoder\.layer\.(\d+)\.LayerNorm\.", r"layers.\1.ffn_norm."),
    (r"^encoder\.layer\.(\d+)\.intermediate\.dense\.", r"layers.\1.ffn_up."),
    (r"^encoder\.layer\.(\d+)\.output\.dense\.", r"layers.\1.ffn_down."),
    (r"^lm_head\.layer_norm\.", "lm_head.norm."),
    (r"^lm_head\.(dense\.weight|dense\.bias|bias)$", r"lm_head.\1"),
)
_FAIR_ESM = (
    (r"^embed_tokens\.weight$", "embedding.weight"),
    (r"^emb_layer_norm_after\.", "final_norm."),
    (r"^layers\.(\d+)\.self_attn\.q_proj\.", r"layers.\1.query."),
    (r"^layers\.(\d+)\.self_attn\.k_proj\.", r"layers.\1.key."),
    (r"^layers\.(\d+)\.self_attn\.v_proj\.", r"layers.\1.value."),
    (r"^layers\.(\d+)\.self_attn\.out_proj\.", r"layers.\1.attention_out."),
    (r"^layers\.(\d+)\.self_attn_layer_norm\.", r"layers.\1.attention_norm."),
    (r"^layers\.(\d+)\.final_layer_norm\.", r"layers.\1.ffn_norm."),
    (r"^layers\.(\d+)\.fc1\.", r"layers.\1.ffn_up."),
    (r"^layers\.(\d+)\.fc2\.", r"layers.\1.ffn_down."),
    (r"^lm_head\.layer_norm\.", "lm_head.norm."),
    (r"^lm_head\.(dense\.weight|dense\.bias|bias)$", r"lm_head.\1"),
)


def transformers_names(tensors: Mapping[str, T]) -> dict[str, T]:
    """Rename the tensors of an EsmModel, or of one with a head, to those of `Esm2`.

    Parameters
    ----------
    tensors
        Name to value; the values are not looked at.
    """
    plain = {name.removeprefix("esm."): value for name, value in modern_names(tensors).items()}
    return _rename(plain, _TRANSFORMERS)


def modern_names(tensors: Mapping[str, T]) -> dict[str, T]:
    """Rename tensors as transformers names them today.

    ``gamma`` and ``beta`` of a LayerNorm become ``weight`` and ``bias``, and what PEFT puts around
    the names of a model that it has changed (LoRA) goes.
    """
    old = (
        (r"\.gamma$", ".weight"),
        (r"\.beta$", ".bias"),
        (r"^base_model\.model\.", ""),
        (r"\.base_layer\.(weight|bias)$", r".\1"),
    )
    plain = {}
    for name, value in tensors.items():
        for pattern, replacement in old:
            name = re.sub(pattern, replacement, name)
        plain[name] = value
    return plain


def fair_esm_names(tensors: Mapping[str, T]) -> dict[str, T]:
    """Rename the tensors of a fair-esm ESM-2 file to those of `Esm2`."""
    prefix = re.compile(r"^(?:encoder\.sentence_encoder\.|encoder\.)")
    return _rename({prefix.sub("", name): value for name, value in tensors.items()}, _FAIR_ESM)


def _rename(tensors: Mapping[str, T], rules: tuple[tuple[str, str], ...]) -> dict[str, T]:
    renamed: dict[str, T] = {}
    for name, value in tensors.items():
        if _NOT_NEEDED.match(name):
            continue
        for pattern, replacement in rules:
            new, count = re.subn(pattern, replacement, name)
            if count:
                renamed[new] = value
                break
        else:
            renamed[name] = value  # `fill_module` reports it by its own name
    return renamed
