"""The official ProtCLIP release (AAAI 2025, Zenodo record 15245588) as a bundle.

Its ``model.safetensors`` holds ESM-2, PubMedBERT, their projections, the heads on residues, and
parts that only its training loss used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from protclip_core.encoders.shapes import TextShape, read_shapes
from protclip_core.errors import ModelError
from protclip_core.models.importers.configs import bert_encoder, esm2_encoder
from protclip_core.models.importers.converted import (
    ESM2_TOKENS,
    Converted,
    Layout,
    esm2_layout,
    projection_layout,
    residue_head_layout,
    take,
)
from protclip_core.models.importers.vocabulary import (
    check_special_tokens,
    find_vocabulary,
    tokenizer_bytes,
)
from protclip_core.weights.names import modern_names

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["convert_official"]

_ENCODER_LEAVINGS = (
    (r"protein_model\.contact_head\..*", "contact head, which embeddings do not use"),
    (r"(?:protein|text)_model\.pooler\..*", "pooler, which embeddings do not use"),
    (r"(?:protein|text)_model\..*position_ids", "position numbers, which are computed"),
    (r"protein_model\..*rotary_embeddings\.inv_freq", "rotary frequencies, which are computed"),
    (
        r"protein_model\.embeddings\.position_embeddings\.weight",
        "position table, which rotary positions replace",
    ),
)
_TRAINING_LEAVINGS = (
    (r"local_cross_attention\..*", "cross attention of the training loss on segments"),
    (r"predictor\..*", "predictor of the training loss on segments"),
    (r"(?:fusion_model|mmp_protein_head|mmp_text_head)\..*", "multimodal fusion heads"),
)
_NO_SCALE = "prototypes without the scale that they were trained with"
_CITATIONS = (
    "ProtCLIP: AAAI 2025, arXiv 2412.20014",
    "ESM-2 (protein encoder): Lin et al. 2023, Science 379:1123",
    "PubMedBERT (text encoder): Gu et al. 2021, doi:10.1145/3458754",
)


def convert_official(
    files: Sequence[Path],
    config: Mapping[str, Any],
    where: str,
    *,
    folder: Path,
    tokenizer: Path | None = None,
) -> Converted:
    """Convert the official release.

    Parameters
    ----------
    files
        Its weights.
    config
        Content of its ``config.json``.
    where
        Where that stands, for messages.
    folder
        Where the tokenizer is looked for.
    tokenizer
        ``vocab.txt`` or ``tokenizer.json``, which go before those in ``folder``.

    Raises
    ------
    ModelError
        A configuration or tensors that do not fit, or no tokenizer.
    """
    from protclip_core.weights.tensors import read_weights_files

    ours = _bundle_config(config, where)
    vocabulary = find_vocabulary(folder, tokenizer)
    if vocabulary is None:
        raise ModelError(
            "has no tokenizer of its text encoder (vocab.txt or tokenizer.json)",
            code="model.missing_file",
            where=str(folder),
            hint="give PubMedBERT's vocab.txt with --tokenizer, or run: "
            "protclip models pull protclip-650m",
        )
    data, sources = tokenizer_bytes(vocabulary, ours["text_encoder"])
    notes = check_special_tokens(vocabulary, ours["text_encoder"])
    weights = str(files[0])
    tensors = modern_names(read_weights_files(files))
    heads, layout, leavings = _heads(tensors, config, ours)
    ours["residue_heads"] = heads
    shapes = read_shapes(ours, where)
    kept, left_out = take(
        _plain_scale(tensors),
        {**_towers(ours, shapes.text_encoder), **layout},
        (*_ENCODER_LEAVINGS, *_TRAINING_LEAVINGS, *leavings),
        weights,
    )
    if not heads["mlm"]:
        notes.append("has no mlm_head: it cannot score residues")
    return Converted(
        kind="official ProtCLIP checkpoint",
        source_kind="protclip-official",
        config=ours,
        tensors=kept,
        left_out=left_out,
        sources=[*files, *sources],
        files={"tokenizer.json": data},
        notes=notes,
        citations=_CITATIONS,
    )


def _bundle_config(config: Mapping[str, Any], where: str) -> dict[str, Any]:
    nested = []
    for name in ("protein_model_config", "text_model_config"):
        value = config.get(name)
        if not isinstance(value, Mapping):
            raise ModelError(f"does not say {name!r}", code="model.bad_field", where=where)
        nested.append(value)
    text = bert_encoder(nested[1], where)
    # Where a number is missing or none, read_shapes says so below.
    positions = text.get("max_position_embeddings")
    text["max_tokens"] = min(512, positions) if isinstance(positions, int) else 512
    ours = {
        "pooling": "tokens",
        "projection_dim": config.get("projection_dim"),
        "logit_scale": True,
        "protein_encoder": {**esm2_encoder(nested[0], where), "lm_head": False},
        "text_encoder": text,
    }
    if ours["projection_dim"] is None:
        raise ModelError("does not say 'projection_dim'", code="model.bad_field", where=where)
    read_shapes(ours, where)
    return ours


def _towers(ours: Mapping[str, Any], shape: TextShape | None) -> Layout:
    """Both encoders, both projections and the scale: what every release has."""
    from protclip_core.encoders.bert import bert_shapes

    protein, text, joint = ours["protein_encoder"], ours["text_encoder"], ours["projection_dim"]
    assert shape is not None
    bert = bert_shapes(shape)
    return {
        **esm2_layout(protein, "protein_model.", lm_head=False),
        **{f"text_model.{name}": (f"text_encoder.{name}", s) for name, s in bert.items()},
        **projection_layout("protein_projection", protein["hidden_dim"], joint),
        **projection_layout("text_projection", text["hidden_size"], joint),
        "logit_scale": ("logit_scale", ()),
    }


def _heads(
    tensors: Mapping[str, Tensor], config: Mapping[str, Any], ours: Mapping[str, Any]
) -> tuple[dict[str, Any], Layout, tuple[tuple[str, str], ...]]:
    """Lay out the heads on residues that this release was trained with."""
    width, joint = ours["protein_encoder"]["hidden_dim"], ours["projection_dim"]

    def any_of(*prefixes: str) -> bool:
        return any(name.startswith(prefixes) for name in tensors)

    layout: Layout = {}
    heads: dict[str, Any] = {"mlm": any_of("mlm_head."), "segments": False, "prototypes": 0}
    if heads["mlm"]:
        layout |= residue_head_layout("mlm_head", "mlm", width, joint, ESM2_TOKENS)
    heads["segments"] = any_of("t2p_mlm_head.", "decoder.")
    if heads["segments"]:
        layout |= residue_head_layout("t2p_mlm_head", "segment_head", joint, joint, ESM2_TOKENS)
        for part in ("query", "key", "value"):
            theirs, own = f"decoder.{part}", f"residue_heads.segment_decoder.{part}"
            layout[f"{theirs}.weight"] = (f"{own}.weight", (joint, joint))
            layout[f"{theirs}.bias"] = (f"{own}.bias", (joint,))
    bank, scale = "proto_bank.prototype.weight", "local_logit_scale"
    # The release has a bank in any case, and its scale only if segments were contrasted.
    trained = scale in tensors or bool(config.get("local_contrast", scale in tensors))
    if bank not in tensors and not trained:
        return heads, layout, ()
    if not trained:
        return heads, layout, ((r"proto_bank\..*", _NO_SCALE),)
    count = config.get("proto_num")
    if not isinstance(count, int) or isinstance(count, bool) or count < 1:
        found = tensors.get(bank)
        count = int(found.shape[0]) if found is not None and found.ndim else 1
    heads["prototypes"] = count
    layout[bank] = ("residue_heads.prototypes.weight", (count, joint))
    layout[scale] = ("residue_heads.segment_logit_scale", (2,))
    return heads, layout, ()


def _plain_scale(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Give the scale as a number without dimensions, which some writers store as one of one."""
    scale = tensors.get("logit_scale")
    if scale is not None and tuple(scale.shape) == (1,):
        return {**tensors, "logit_scale": scale.reshape(())}
    return tensors
