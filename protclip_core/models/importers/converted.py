"""A checkpoint of somebody else, turned into the parts of a bundle; every tensor accounted for.

A layout says which tensor of the file becomes which tensor of the bundle, and of what shape it
is. What a layout does not name is left out for a reason that is known beforehand, or refused.
No torch is imported here before a tensor is there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from protclip_core.errors import ModelError
from protclip_core.weights.names import fair_esm_names, transformers_names

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "ESM2_TOKENS",
    "Converted",
    "Layout",
    "check_tied",
    "esm2_layout",
    "projection_layout",
    "residue_head_layout",
    "take",
]

#: Name in the file to name in the bundle and shape.
Layout = dict[str, tuple[str, tuple[int, ...]]]
#: Size of ESM-2's vocabulary.
ESM2_TOKENS = 33


@dataclass(kw_only=True)
class Converted:
    """What an importer found.

    Attributes
    ----------
    kind
        For people: ``"official ProtCLIP checkpoint"``, ``"ESM-2 of fair-esm"``.
    source_kind
        ``"protclip-official"``, ``"transformers"`` or ``"fair-esm"``.
    config
        The part of a bundle's configuration that says what the model is.
    tensors
        Under the bundle's names, in the types of the file.
    left_out
        Reason to the names of tensors that the bundle does not hold.
    sources
        Files that were read; their hashes go into the configuration.
    files
        Further files of the bundle: name to content.
    notes
        What a user should know.
    citations
        What to cite.
    """

    kind: str
    source_kind: str
    config: dict[str, Any]
    tensors: dict[str, Tensor]
    left_out: dict[str, list[str]]
    sources: Sequence[Path]
    files: dict[str, bytes] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    citations: tuple[str, ...] = ()


def take(
    tensors: Mapping[str, Tensor],
    layout: Layout,
    reasons: Iterable[tuple[str, str]],
    where: str,
) -> tuple[dict[str, Tensor], dict[str, list[str]]]:
    """Rename the tensors that a layout names and sort out the others.

    Parameters
    ----------
    tensors
        Content of the file.
    layout
        What must be there.
    reasons
        Pairs of a pattern for whole names and the reason why such a tensor is not needed.
    where
        File for messages.

    Returns
    -------
    tuple
        Tensors under the bundle's names, in their types, and reason to the names left out.

    Raises
    ------
    ModelError
        Missing, unknown or wrong-shaped tensors, NaN or infinity, or whole numbers in place of
        weights, each by its name in the file.
    """
    from protclip_core.weights.tensors import check_tensors

    patterns = [(re.compile(pattern), reason) for pattern, reason in reasons]
    rest: dict[str, Tensor] = {}
    left_out: dict[str, list[str]] = {}
    for name, value in tensors.items():
        reason = None
        if name not in layout:
            reason = next((why for pattern, why in patterns if pattern.fullmatch(name)), None)
        if reason is None:
            rest[name] = value
        else:
            left_out.setdefault(reason, []).append(name)
    check_tensors({name: shape for name, (_, shape) in layout.items()}, rest, where)
    kept = {layout[name][0]: value for name, value in rest.items()}
    return kept, {reason: sorted(names) for reason, names in sorted(left_out.items())}


def check_tied(tensors: Mapping[str, Tensor], name: str, source: str, where: str) -> None:
    """Refuse a tensor that should be a copy of another and is not; it may be absent.

    Raises
    ------
    ModelError
        Both are there and differ: leaving one out would change the model.
    """
    import torch

    if name in tensors and source in tensors and not torch.equal(tensors[name], tensors[source]):
        raise ModelError(
            f"tensor {name} differs from {source}, which it should equal",
            code="model.tensors_differ",
            where=where,
            hint="the file is of another model or damaged",
        )


def esm2_layout(
    encoder: Mapping[str, Any], prefix: str, *, lm_head: bool, fair_esm: bool = False
) -> Layout:
    """Lay out an ESM-2 encoder under the names of transformers, or of fair-esm.

    Parameters
    ----------
    encoder
        ``protein_encoder`` of the bundle's configuration.
    prefix
        What stands before the encoder's names in the file; the head has no prefix.
    lm_head
        Whether the masked-LM head is there.
    fair_esm
        Which of the two libraries wrote the file.
    """
    dim, inner = encoder["hidden_dim"], encoder["ffn_dim"]
    layer, word = (
        ("layers", "embed_tokens") if fair_esm else ("encoder.layer", "embeddings.word_embeddings")
    )
    parts = {
        "self_attn.q_proj": "attention.self.query",
        "self_attn.k_proj": "attention.self.key",
        "self_attn.v_proj": "attention.self.value",
        "self_attn.out_proj": "attention.output.dense",
        "self_attn_layer_norm": "attention.LayerNorm",
        "final_layer_norm": "LayerNorm",
        "fc1": "intermediate.dense",
        "fc2": "output.dense",
    }
    widths = {"fc1": (inner, dim), "fc2": (dim, inner)}
    shapes: dict[str, tuple[int, ...]] = {f"{word}.weight": (ESM2_TOKENS, dim)}
    for number in range(encoder["num_layers"]):
        for theirs, others in parts.items():
            name = f"{layer}.{number}.{theirs if fair_esm else others}"
            norm = "norm" in theirs
            shapes[f"{name}.weight"] = (dim,) if norm else widths.get(theirs, (dim, dim))
            shapes[f"{name}.bias"] = (widths.get(theirs, (dim, dim))[0],)
    last = "emb_layer_norm_after" if fair_esm else "encoder.emb_layer_norm_after"
    shapes |= {f"{last}.weight": (dim,), f"{last}.bias": (dim,)}
    names = [prefix + name for name in shapes]
    values = list(shapes.values())
    if lm_head:
        head = {"dense.weight": (dim, dim), "dense.bias": (dim,), "bias": (ESM2_TOKENS,)}
        head |= {"layer_norm.weight": (dim,), "layer_norm.bias": (dim,)}
        names += [f"lm_head.{name}" for name in head]
        values += list(head.values())
    rename = fair_esm_names if fair_esm else transformers_names
    bare = [n if n.startswith("lm_head.") else n.removeprefix(prefix) for n in names]
    # Renaming keeps the order, so that the lists stay side by side.
    ours = list(rename(dict.fromkeys(bare)))
    return {
        name: (f"protein_encoder.{our}", shape)
        for name, our, shape in zip(names, ours, values, strict=True)
    }


def projection_layout(part: str, width: int, joint: int) -> Layout:
    """Lay out a projection into the joint space; both sides call it the same."""
    shapes = {"0.weight": (joint, width), "0.bias": (joint,)}
    shapes |= {"2.weight": (joint, joint), "2.bias": (joint,)}
    return {f"{part}.{name}": (f"{part}.{name}", shape) for name, shape in shapes.items()}


def residue_head_layout(theirs: str, ours: str, width: int, joint: int, tokens: int) -> Layout:
    """Lay out a head on residues: Linear, GELU, LayerNorm, Linear."""
    shapes: dict[str, tuple[int, ...]] = {"0.weight": (joint, width), "0.bias": (joint,)}
    shapes |= {"2.weight": (joint,), "2.bias": (joint,)}
    shapes |= {"3.weight": (tokens, joint), "3.bias": (tokens,)}
    return {f"{theirs}.{n}": (f"residue_heads.{ours}.{n}", shape) for n, shape in shapes.items()}
