"""Directories of transformers as bundles: ESM-2, ProtBERT, and text encoders such as PubMedBERT."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from protclip_core.encoders.shapes import BertShape, ProtBertShape, read_shape, read_shapes
from protclip_core.errors import ModelError
from protclip_core.models.importers.configs import bert_encoder, esm2_encoder
from protclip_core.models.importers.converted import (
    Converted,
    Layout,
    check_tied,
    esm2_layout,
    take,
)
from protclip_core.models.importers.vocabulary import (
    find_vocabulary,
    in_order,
    is_of_residues,
    read_tokens,
    tokenizer_bytes,
)
from protclip_core.weights.names import modern_names

__all__ = ["convert_bert", "convert_esm2"]

_COPY = "copies of other tensors"
_COMPUTED = "numbers that are computed"
_ESM_LEAVINGS = (
    (r"(?:esm\.)?contact_head\..*", "contact head, which embeddings do not use"),
    (r"(?:esm\.)?pooler\..*", "pooler, which embeddings do not use"),
    (r"classifier\..*", "classification head, which embeddings do not use"),
    (r"(?:esm\.)?.*(?:position_ids|rotary_embeddings\.inv_freq)", _COMPUTED),
    (
        r"(?:esm\.)?embeddings\.position_embeddings\.weight",
        "position table, which rotary positions replace",
    ),
    (r"lm_head\.decoder\.(?:weight|bias)", _COPY),
)
_BERT_LEAVINGS = (
    (r"(?:bert\.)?pooler\..*", "pooler, which embeddings do not use"),
    (r"(?:bert\.)?embeddings\.position_ids", _COMPUTED),
    (r"cls\.seq_relationship\..*", "head of the training loss on pairs of sentences"),
)
_ESM2_PAPER = "ESM-2: Lin et al. 2023, Science 379:1123"
_PROTBERT_PAPER = "ProtBERT: Elnaggar et al. 2022, IEEE TPAMI 44:7112"
_BERT_PAPER = (
    "the authors of the text encoder; for PubMedBERT Gu et al. 2021, doi:10.1145/3458754",
)


def convert_esm2(
    files: Sequence[Path], config: Mapping[str, Any], where: str, *, folder: Path
) -> Converted:
    """Convert an EsmModel with the architecture of ESM-2, whatever head it has.

    Parameters
    ----------
    files, config, where, folder
        Weights, content of ``config.json``, where that stands, and the folder of both.

    Raises
    ------
    ModelError
        Another architecture or vocabulary, or tensors that do not fit.
    """
    from protclip_core.encoders.alphabet import TOKENS
    from protclip_core.weights.tensors import read_weights_files

    encoder = esm2_encoder(config, where)
    read_shapes({"protein_encoder": encoder}, where)
    vocabulary = folder / "vocab.txt"
    words = vocabulary.read_text("utf-8", "replace").split() if vocabulary.is_file() else TOKENS
    if tuple(words) != tuple(TOKENS):
        raise ModelError(
            "is not the vocabulary of ESM-2", code="model.bad_vocabulary", where=str(vocabulary)
        )
    tensors = modern_names(read_weights_files(files))
    weights = str(files[0])
    prefix = "esm." if any(name.startswith("esm.") for name in tensors) else ""
    lm_head = any(name.startswith("lm_head.") for name in tensors)
    embedding = f"{prefix}embeddings.word_embeddings.weight"
    check_tied(tensors, "lm_head.decoder.weight", embedding, weights)
    check_tied(tensors, "lm_head.decoder.bias", "lm_head.bias", weights)
    layout = esm2_layout(encoder, prefix, lm_head=lm_head)
    kept, left_out = take(tensors, layout, _ESM_LEAVINGS, weights)
    return Converted(
        kind="ESM-2 of transformers",
        source_kind="transformers",
        config={"pooling": "residues", "protein_encoder": {**encoder, "lm_head": lm_head}},
        tensors=kept,
        left_out=left_out,
        sources=files,
        notes=[] if lm_head else ["has no lm_head: it cannot score residues"],
        citations=(_ESM2_PAPER,),
    )


def convert_bert(
    files: Sequence[Path],
    config: Mapping[str, Any],
    where: str,
    *,
    folder: Path,
    tokenizer: Path | None = None,
) -> Converted:
    """Convert a BertModel or BertForMaskedLM: ProtBERT if its words are residues, else of text.

    Parameters
    ----------
    files, config, where, folder
        As for `convert_esm2`.
    tokenizer
        ``vocab.txt`` or ``tokenizer.json``, which go before those in ``folder``.

    Raises
    ------
    ModelError
        No vocabulary, or tensors that do not fit.
    """
    encoder = bert_encoder(config, where)
    vocabulary = find_vocabulary(folder, tokenizer)
    if vocabulary is None:
        raise ModelError(
            "is a BERT without its vocabulary (vocab.txt or tokenizer.json)",
            code="model.missing_file",
            where=str(folder),
            hint="put the file next to it, or give it with --tokenizer",
        )
    tokens = read_tokens(vocabulary)
    if is_of_residues(tokens):
        return _protbert(files, encoder, where, vocabulary, tokens)
    return _text_encoder(files, encoder, where, vocabulary)


def _protbert(
    files: Sequence[Path],
    encoder: dict[str, Any],
    where: str,
    vocabulary: Path,
    tokens: Mapping[str, int],
) -> Converted:
    from protclip_core.weights.tensors import read_weights_files

    ordered = list(in_order(tokens, str(vocabulary)))
    if len(ordered) != encoder.get("vocab_size"):
        raise ModelError(
            f"vocabulary has {len(ordered)} tokens, the encoder {encoder.get('vocab_size')}",
            code="model.bad_vocabulary",
            where=str(vocabulary),
        )
    tensors = modern_names(read_weights_files(files))
    lm_head = any(name.startswith("cls.predictions.") for name in tensors)
    encoder = {**encoder, "lm_head": lm_head, "tokens": ordered}
    shape = read_shape(encoder, where)
    assert isinstance(shape, ProtBertShape)
    weights, prefix = str(files[0]), _bert_prefix(tensors)
    layout = _bert_layout(shape, prefix, "protein_encoder.")
    if lm_head:
        bias = _head_bias(tensors, weights)
        embedding = f"{prefix}embeddings.word_embeddings.weight"
        check_tied(tensors, "cls.predictions.decoder.weight", embedding, weights)
        layout |= _head_layout(encoder, bias)
    leavings = (*_BERT_LEAVINGS, (r"cls\.predictions\.decoder\.(?:weight|bias)", _COPY))
    kept, left_out = take(tensors, layout, leavings, weights)
    return Converted(
        kind="ProtBERT of transformers",
        source_kind="transformers",
        config={"pooling": "residues", "protein_encoder": encoder},
        tensors=kept,
        left_out=left_out,
        sources=[*files, vocabulary],
        notes=[] if lm_head else ["has no masked-LM head: it cannot score residues"],
        citations=(_PROTBERT_PAPER,),
    )


def _text_encoder(
    files: Sequence[Path], encoder: dict[str, Any], where: str, vocabulary: Path
) -> Converted:
    from protclip_core.weights.tensors import read_weights_files

    positions = encoder.get("max_position_embeddings")
    encoder["max_tokens"] = min(512, positions) if isinstance(positions, int) else 512
    shape = read_shapes({"text_encoder": encoder}, where).text_encoder
    assert shape is not None
    data, sources = tokenizer_bytes(vocabulary, encoder)
    tensors = modern_names(read_weights_files(files))
    layout = _bert_layout(shape, _bert_prefix(tensors), "text_encoder.")
    head = (r"cls\.predictions\..*", "masked-LM head, which embeddings of texts do not use")
    kept, left_out = take(tensors, layout, (*_BERT_LEAVINGS, head), str(files[0]))
    return Converted(
        kind="text encoder of transformers (BERT)",
        source_kind="transformers",
        config={"text_encoder": encoder},
        tensors=kept,
        left_out=left_out,
        sources=[*files, *sources],
        files={"tokenizer.json": data},
        citations=_BERT_PAPER,
    )


def _bert_prefix(tensors: Mapping[str, object]) -> str:
    return "bert." if any(name.startswith("bert.") for name in tensors) else ""


def _bert_layout(encoder: BertShape, theirs: str, ours: str) -> Layout:
    from protclip_core.encoders.bert import bert_shapes

    return {theirs + name: (ours + name, shape) for name, shape in bert_shapes(encoder).items()}


def _head_layout(encoder: Mapping[str, Any], bias: str) -> Layout:
    width = encoder["hidden_size"]
    ours, theirs = "protein_encoder.lm_head", "cls.predictions.transform"
    return {
        f"{theirs}.dense.weight": (f"{ours}.dense.weight", (width, width)),
        f"{theirs}.dense.bias": (f"{ours}.dense.bias", (width,)),
        f"{theirs}.LayerNorm.weight": (f"{ours}.norm.weight", (width,)),
        f"{theirs}.LayerNorm.bias": (f"{ours}.norm.bias", (width,)),
        bias: (f"{ours}.bias", (encoder["vocab_size"],)),
    }


def _head_bias(tensors: Mapping[str, Any], where: str) -> str:
    """Return under which of two names the bias of the output is there; both are the same."""
    own, copy = "cls.predictions.bias", "cls.predictions.decoder.bias"
    check_tied(tensors, copy, own, where)
    return copy if copy in tensors and own not in tensors else own
