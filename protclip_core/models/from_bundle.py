"""Loads a model from an opened bundle: every tensor of it is used, or the bundle is refused.

Those of the structure encoder, in a file of their own, are read when it is asked for. The others
are dealt out by the beginnings of their names; see `protclip_core.weights.bundle` for
these. What the configuration does not ask for may not be there either.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

import torch
from msgspec import UNSET
from msgspec.structs import asdict
from torch import Tensor, nn

from protclip_core.encoders.alphabet import TOKENS
from protclip_core.encoders.bert import bert_shapes, build_bert
from protclip_core.encoders.esm2 import Esm2
from protclip_core.encoders.esm2_inference import Esm2Inference
from protclip_core.encoders.projection import make_projection
from protclip_core.encoders.residue_heads import ResidueHeads
from protclip_core.encoders.shapes import (
    Esm1Shape,
    Esm2Config,
    Esm2Shape,
    GvpShape,
    KmerShape,
    ProtBertShape,
    ProteinShape,
    TextShape,
)
from protclip_core.errors import ModelError, UsageError
from protclip_core.models.info import ModelInfo
from protclip_core.models.protclip import ProtclipModel
from protclip_core.models.protein import Encoder, ProteinModel
from protclip_core.models.text import TextModel
from protclip_core.weights.bundle import STRUCTURE_WEIGHTS, Bundle
from protclip_core.weights.tensors import check_tensors, make_filled
from protclip_core.weights.tokenizer_file import read_tokenizer

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from protclip_core.models.structure import StructureModel

__all__ = [
    "build_esm2",
    "check_bundle",
    "load_bundle",
    "load_bundle_structure",
    "load_bundle_text",
]

_PARTS = (
    "protein_encoder",
    "text_encoder",
    "protein_projection",
    "text_projection",
    "residue_heads",
)
_SCALE = "logit_scale"
TOKENIZER = "tokenizer.json"

Parts = dict[str, dict[str, Tensor]]


def load_bundle(info: ModelInfo, device: torch.device, dtype: torch.dtype) -> ProteinModel:
    """Load a bundle that has a protein encoder.

    Returns
    -------
    ProteinModel
        A `ProtclipModel` where there are a text encoder and projections as well. A structure
        encoder is read when the first structure comes.

    Raises
    ------
    ModelError
        Damaged files, or tensors that do not fit the configuration, by name.
    UsageError
        bfloat16 with an encoder that computes in float32 only.
    """
    bundle, where = _bundle(info)
    parts = _deal_out(bundle.tensors(), info, where)
    encoder = _protein_encoder(parts["protein_encoder"], info, where, device, dtype)
    weights_sha256 = bundle.weights_sha256
    vocab = len(encoder.tokens)
    heads = _residue_heads(parts["residue_heads"], info, (encoder.hidden_dim, vocab), where)
    if heads is not None:
        heads.to(device)
    projection = None
    if info.joint_dim is not None:
        projection = _protein_projection(parts, encoder.hidden_dim, info, where).to(device)
    make_structure_model = (
        None if info.structure_encoder is None else partial(load_bundle_structure, info, device)
    )
    if (text := info.text_encoder) is None:
        return ProteinModel(
            info,
            encoder,
            weights_sha256,
            projection,
            heads,
            make_structure_model=make_structure_model,
        )
    # Checked now, built when a text comes: until then transformers need not be imported.
    check_tensors(bert_shapes(text), parts["text_encoder"], where, "text_encoder.")
    bundle.verify((_tokenizer_of(bundle),))
    if projection is None:
        return ProteinModel(info, encoder, weights_sha256, None, heads)
    text_parts = {name: parts[name] for name in ("text_encoder", "text_projection")}
    _text_projection(text_parts, info, where)
    return ProtclipModel(
        info,
        encoder,
        weights_sha256,
        projection,
        make_text_model=partial(_text_model, info, text_parts, device),
        logit_scale=float(parts[_SCALE][_SCALE]),
        residue_heads=heads,
        make_structure_model=make_structure_model,
    )


def load_bundle_text(info: ModelInfo, device: torch.device) -> TextModel:
    """Load the text side of a bundle that has one.

    Raises
    ------
    ModelError
        As `load_bundle`; of the protein side only the names of the tensors are looked at.
    """
    bundle, where = _bundle(info)
    return _text_model(info, _deal_out(bundle.tensors(), info, where), device)


def load_bundle_structure(info: ModelInfo, device: torch.device) -> StructureModel:
    """Load the structure encoder of a bundle that has one.

    Raises
    ------
    ModelError
        As `load_bundle`; the other tensors are not looked at.
    """
    from protclip_core.models.structure import StructureModel

    encoder, projection = _structure(info)
    return StructureModel(info, encoder, projection, device)


def check_bundle(info: ModelInfo) -> int:
    """See that the tensors of a bundle and its tokenizer are those that loading will ask for.

    Modules are laid out, but nothing is prepared to compute with, and the tensors stay in their
    file: the memory that it takes is little.

    Returns
    -------
    int
        Number of its tensors.

    Raises
    ------
    ModelError
        As `load_bundle`.
    """
    bundle, where = _bundle(info)
    parts = _deal_out(bundle.tensors(), info, where)
    if (protein := info.encoder) is not None:
        _check_protein_part(parts["protein_encoder"], protein, where)
        width = protein.hidden_dim
        vocab = len(protein.tokens if isinstance(protein, ProtBertShape) else TOKENS)
        _residue_heads(parts["residue_heads"], info, (width, vocab), where)
        if info.joint_dim is not None:
            _protein_projection(parts, width, info, where)
    if (text := info.text_encoder) is not None:
        check_tensors(bert_shapes(text), parts["text_encoder"], where, "text_encoder.")
        _tokenizer(info)
        if info.joint_dim is not None:
            _text_projection(parts, info, where)
    count = sum(map(len, parts.values()))
    if info.structure_encoder is not None:
        count += sum(len(module.state_dict()) for module in _structure(info))
    return count


def _check_protein_part(tensors: dict[str, Tensor], shape: ProteinShape, where: str) -> None:
    prefix = "protein_encoder."
    match shape:
        case Esm2Shape():
            _esm2(tensors, shape, where)
        case KmerShape():
            from protclip_core.encoders.kmer_inference import build_kmer

            build_kmer(shape, tensors, where, prefix=prefix)
        case ProtBertShape():
            from protclip_core.encoders.protein_bert import check_protein_bert

            check_protein_bert(shape, tensors, where, prefix=prefix)
        case Esm1Shape():
            from protclip_core.encoders.esm1 import build_esm1_module

            build_esm1_module(shape.arguments, tensors, where, prefix)


def build_esm2(
    shape: Esm2Config,
    tensors: dict[str, Tensor],
    where: str,
    *,
    lm_head: bool,
    prefix: str = "",
) -> Esm2:
    """Build the encoder and fill it."""
    if shape.num_layers > len(tensors):
        raise ModelError(
            f"has {len(tensors)} tensors, too few for {shape.num_layers} layers",
            code="model.tensors_differ",
            where=where,
        )
    return make_filled(lambda: Esm2(shape, lm_head=lm_head), tensors, where, prefix)


def _bundle(info: ModelInfo) -> tuple[Bundle, str]:
    assert info.bundle is not None
    if info.structure_encoder is None and STRUCTURE_WEIGHTS in info.bundle.files:
        names = info.bundle.tensors(file=STRUCTURE_WEIGHTS)
        raise _not_asked_for([*names], str(info.path / STRUCTURE_WEIGHTS))
    return info.bundle, str(info.path)


def _deal_out(tensors: Mapping[str, Tensor], info: ModelInfo, where: str) -> Parts:
    """Sort tensors by the parts of the model; refuse those that no part asks for."""
    joint = info.joint_dim is not None
    asked = {
        "protein_encoder": info.encoder is not None,
        "text_encoder": info.text_encoder is not None,
        "protein_projection": joint and info.encoder is not None,
        "text_projection": joint and info.text_encoder is not None,
        "residue_heads": bool(info.residue_heads.names()),
        _SCALE: joint,
    }
    parts: Parts = {name: {} for name in (*_PARTS, _SCALE)}
    unused = []
    for name, value in tensors.items():
        part, _, rest = name.partition(".")
        if asked.get(part) and bool(rest) != (part == _SCALE):
            parts[part][rest or _SCALE] = value
        else:
            unused.append(name)
    if unused:
        raise _not_asked_for(unused, where)
    scale = parts[_SCALE]
    if scale or {"protein", "text"} <= set(info.modalities):
        check_tensors({_SCALE: ()} if joint else {}, scale, where)
    return parts


def _not_asked_for(names: list[str], where: str) -> ModelError:
    shown = ", ".join(sorted(names)[:3]) + (", …" if len(names) > 3 else "")
    return ModelError(
        f"{len(names)} tensors that the configuration does not ask for ({shown})",
        code="model.tensors_differ",
        where=where,
        hint="the bundle is damaged, or made for a newer protclip",
    )


def _protein_encoder(
    tensors: dict[str, Tensor],
    info: ModelInfo,
    where: str,
    device: torch.device,
    dtype: torch.dtype,
) -> Encoder:
    shape, prefix = info.encoder, "protein_encoder."
    if isinstance(shape, Esm2Shape):
        return Esm2Inference(_esm2(tensors, shape, where), device=device, dtype=dtype)
    if dtype != torch.float32:
        raise UsageError(
            f"model {info.name} computes in float32 only",
            code="usage.unsupported_dtype",
            hint="drop --dtype",
        )
    if isinstance(shape, KmerShape):
        from protclip_core.encoders.kmer_inference import KmerInference, build_kmer

        return KmerInference(build_kmer(shape, tensors, where, prefix=prefix), device=device)
    if isinstance(shape, ProtBertShape):
        from protclip_core.encoders.protein_bert import build_protein_bert

        return build_protein_bert(shape, tensors, where, prefix=prefix, device=device)
    from protclip_core.encoders.esm1 import Esm1Inference, build_esm1_module

    assert isinstance(shape, Esm1Shape)
    return Esm1Inference(build_esm1_module(shape.arguments, tensors, where, prefix), device=device)


def _esm2(tensors: dict[str, Tensor], shape: Esm2Shape, where: str) -> Esm2:
    found = any(name.startswith("lm_head.") for name in tensors)
    lm_head = found if shape.lm_head is UNSET else bool(shape.lm_head)
    return build_esm2(shape, tensors, where, lm_head=lm_head, prefix="protein_encoder.")


def _residue_heads(
    tensors: dict[str, Tensor], info: ModelInfo, shape: tuple[int, int], where: str
) -> ResidueHeads | None:
    """Build the heads that the configuration names; ``None`` where it names none.

    ``shape`` is the encoder's width and the size of its vocabulary.
    """
    if not info.residue_heads.names():
        return None
    assert info.joint_dim is not None  # as `ModelShape` has seen to
    make = partial(
        ResidueHeads,
        shape[0],
        info.joint_dim,
        shape[1],
        **asdict(info.residue_heads),
    )
    return make_filled(make, tensors, where, "residue_heads.")


def _protein_projection(parts: Parts, width: int, info: ModelInfo, where: str) -> nn.Module:
    assert info.joint_dim is not None
    make = partial(make_projection, width, info.joint_dim, info.projection)
    return make_filled(make, parts["protein_projection"], where, "protein_projection.")


def _text_projection(parts: Parts, info: ModelInfo, where: str) -> nn.Module:
    assert info.joint_dim is not None
    form = None if info.projection is None else info.projection.for_texts()
    make = partial(make_projection, _text_shape(info).hidden_size, info.joint_dim, form)
    return make_filled(make, parts["text_projection"], where, "text_projection.")


def _structure(info: ModelInfo) -> tuple[nn.Module, nn.Module]:
    """Build the structure encoder and its projection, from the file that holds both."""
    # Here, because no other modality needs them.
    from protclip_core.encoders.structure.encoder import StructureEncoder
    from protclip_core.encoders.structure.letters import LetterEncoder

    bundle, _ = _bundle(info)
    where = str(bundle.path / STRUCTURE_WEIGHTS)
    shape, joint = info.structure_encoder, info.joint_dim
    assert shape is not None
    assert joint is not None  # as `ModelShape` has seen to
    kinds = ("structure_encoder.", "structure_projection.")
    parts: tuple[dict[str, Tensor], ...] = ({}, {})
    for name, value in bundle.tensors(file=STRUCTURE_WEIGHTS).items():
        kind = next((i for i, prefix in enumerate(kinds) if name.startswith(prefix)), None)
        if kind is None:
            raise _not_asked_for([name], where)
        parts[kind][name.removeprefix(kinds[kind])] = value

    def make() -> nn.Module:
        return StructureEncoder(shape) if isinstance(shape, GvpShape) else LetterEncoder(shape)

    project = partial(make_projection, shape.hidden_dim, joint, info.structure_projection)
    return (
        make_filled(make, parts[0], where, kinds[0]),
        make_filled(project, parts[1], where, kinds[1]),
    )


def _text_model(info: ModelInfo, parts: Parts, device: torch.device) -> TextModel:
    bundle, where = _bundle(info)
    tokenizer = _tokenizer(info)
    module = build_bert(_text_shape(info), parts["text_encoder"], where, "text_encoder.")
    projection = None if info.joint_dim is None else _text_projection(parts, info, where)
    return TextModel(info, module, tokenizer, bundle.weights_sha256, projection, device)


def _tokenizer(info: ModelInfo) -> Tokenizer:
    bundle, _ = _bundle(info)
    name = _tokenizer_of(bundle)
    bundle.verify((name,))
    path = bundle.path / name
    shape = _text_shape(info)
    return read_tokenizer(path.read_bytes(), shape.vocab_size, shape.max_tokens, str(path))


def _text_shape(info: ModelInfo) -> TextShape:
    assert info.text_encoder is not None
    return info.text_encoder


def _tokenizer_of(bundle: Bundle) -> str:
    if TOKENIZER not in bundle.files:
        raise ModelError(
            f"has a text encoder but no {TOKENIZER}",
            code="model.missing_file",
            where=str(bundle.path),
        )
    return TOKENIZER
