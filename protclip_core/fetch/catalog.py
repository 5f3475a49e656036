"""The models that protclip knows by name: where each comes from and what it must be.

The catalog is data. A commit stands for the content of a whole repository, and where a sha256
is written here as well, it is compared with what the hub says and with the file that arrived.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from protclip_core.encoders.shapes import read_shapes
from protclip_core.errors import ModelError
from protclip_core.fetch.listing import Source
from protclip_core.fetch.sources import HubSource, ZenodoSource

__all__ = ["CATALOG", "CatalogEntry", "check_against_entry", "find_entry", "suggest"]


@dataclass(frozen=True, kw_only=True)
class CatalogEntry:
    """A model that has a name.

    Attributes
    ----------
    name
        What users type.
    summary
        One line.
    kind
        ``"protein"``, ``"text"`` or ``"protein and text"``: the encoders that it has.
    parameters
        Number of parameters of its encoders, with the head that restores masked residues.
    license
        SPDX name of the licence of the weights.
    license_notes
        Where the licence is stated, and what is known beyond its name.
    sources
        Where the files come from, in the order in which they are fetched. Empty for the model
        that ships with protclip.
    download_bytes
        Size of the weights, in bytes; ``None`` where it is known only when asked.
    config
        Configuration of the checkpoint, for one that comes without its own.
    expected
        What the model's shape must be, whoever sends it: ``type``, ``num_layers`` and
        ``hidden_dim`` of the protein encoder, ``num_hidden_layers`` and ``hidden_size`` of the
        text encoder, ``projection_dim``. See `check_against_entry`.
    """

    name: str
    summary: str
    kind: str
    parameters: int
    license: str
    license_notes: str
    sources: tuple[Source, ...] = ()
    download_bytes: int | None = None
    config: Mapping[str, Any] | None = None
    expected: Mapping[str, Any] = field(default_factory=dict)


_ESM2_LICENSE = "https://github.com/facebookresearch/esm (MIT, as its model cards say)"
_PUBMEDBERT = "microsoft/BiomedNLP-BiomedBERT-base-uncased-abstract"
_PUBMEDBERT_COMMIT = "d673b8835373c6fa116d6d8006b33d48734e305d"

#: The checkpoint of the authors comes without a configuration; this is what it was made with.
_OFFICIAL_CONFIG: Mapping[str, Any] = {
    "model_type": "FST",
    "projection_dim": 512,
    "proto_num": 512,
    "proto_dim": 512,
    "logit_scale_init": 0.07,
    "protein_model_config": {
        "model_type": "esm",
        "vocab_size": 33,
        "hidden_size": 1280,
        "num_hidden_layers": 33,
        "num_attention_heads": 20,
        "intermediate_size": 5120,
        "hidden_act": "gelu",
        "max_position_embeddings": 1026,
        "position_embedding_type": "rotary",
        "emb_layer_norm_before": False,
        "token_dropout": True,
        "layer_norm_eps": 1e-05,
        "pad_token_id": 1,
        "mask_token_id": 32,
    },
    "text_model_config": {
        "model_type": "bert",
        "vocab_size": 30_522,
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
        "hidden_act": "gelu",
        "max_position_embeddings": 512,
        "type_vocab_size": 2,
        "layer_norm_eps": 1e-12,
        "pad_token_id": 0,
    },
}


def _esm2(
    size: str,
    repo: str,
    commit: str,
    parameters: int,
    *,
    shape: tuple[int, int],
    download_bytes: int | None = None,
    sha256: str | None = None,
) -> CatalogEntry:
    layers, width = shape
    return CatalogEntry(
        name=f"esm2-{size}",
        summary=f"ESM-2 {size.upper()}: protein language model trained on UniRef50",
        kind="protein",
        parameters=parameters,
        license="MIT",
        license_notes=_ESM2_LICENSE,
        sources=(
            HubSource(
                repo=f"facebook/{repo}",
                revision=commit,
                sha256={"model.safetensors": sha256} if sha256 else {},
            ),
        ),
        download_bytes=download_bytes,
        expected={"type": "esm2", "num_layers": layers, "hidden_dim": width},
    )


_ENTRIES = (
    CatalogEntry(
        name="protclip-mini",
        summary="small dual encoder that ships with protclip: GO terms and words, in seconds",
        kind="protein and text",
        parameters=7_225_505,
        license="Apache-2.0",
        license_notes="part of protclip",
        expected={
            "type": "kmer",
            "num_layers": 2,
            "hidden_dim": 640,
            "num_hidden_layers": 1,
            "hidden_size": 256,
            "projection_dim": 512,
        },
    ),
    CatalogEntry(
        name="protclip-650m",
        summary="ProtCLIP as published: ESM-2 650M and PubMedBERT, aligned on ProtAnno",
        kind="protein and text",
        parameters=760_000_000,
        license="Apache-2.0",
        license_notes=(
            "Apache-2.0 is that of the authors' code, as its README says; the Zenodo record "
            "states that of the weights; ESM-2, which they grew from, and the vocabulary: MIT"
        ),
        sources=(
            ZenodoSource(doi="10.5281/zenodo.15245588", names=("model.safetensors",)),
            HubSource(repo=_PUBMEDBERT, revision=_PUBMEDBERT_COMMIT, names=("vocab.txt",)),
        ),
        config=_OFFICIAL_CONFIG,
        expected={
            "type": "esm2",
            "num_layers": 33,
            "hidden_dim": 1280,
            "num_hidden_layers": 12,
            "hidden_size": 768,
            "projection_dim": 512,
        },
    ),
    _esm2(
        "8m",
        "esm2_t6_8M_UR50D",
        "c731040fcd8d73dceaa04b0a8e6329b345b0f5df",
        7_512_353,
        shape=(6, 320),
        download_bytes=31_384_292,
        sha256="24c5fa474c48f3b754b86efe752d5f189d2bcd88190fa2270fc92b2ef3034189",
    ),
    _esm2(
        "35m",
        "esm2_t12_35M_UR50D",
        "6fbf070e65b0b7291e7bbcd451118c216cff79d8",
        33_501_153,
        shape=(12, 480),
    ),
    _esm2(
        "150m",
        "esm2_t30_150M_UR50D",
        "a695f6045e2e32885fa60af20c13cb35398ce30c",
        148_139_553,
        shape=(30, 640),
        download_bytes=595_257_706,
        sha256="c3f1da8aea53bddd32c246c86168c23b9fd72341fb9db9a94436f855f5053566",
    ),
    _esm2(
        "650m",
        "esm2_t33_650M_UR50D",
        "08e4846e537177426273712802403f7ba8261b6c",
        651_042_593,
        shape=(33, 1280),
        download_bytes=2_609_506_392,
        sha256="a08adabb949fa67ad3c14b509d04fd60368b35007b0095e3358f81200c4f4db0",
    ),
    _esm2(
        "3b",
        "esm2_t36_3B_UR50D",
        "476b639933c8baad5ad09a60ac1a87f987b656fc",
        2_839_004_193,
        shape=(36, 2560),
        download_bytes=11_367_082_474,
    ),
    _esm2(
        "15b",
        "esm2_t48_15B_UR50D",
        "5fbca39631164edc1d402a5aa369f982f72ee282",
        15_129_098_273,
        shape=(48, 5120),
    ),
    CatalogEntry(
        name="protbert",
        summary="ProtBERT: BERT of residues trained on UniRef100",
        kind="protein",
        parameters=419_933_214,
        license="AFL-3.0",
        license_notes="https://github.com/agemagician/ProtTrans; its model card names no licence",
        sources=(
            HubSource(
                repo="Rostlab/prot_bert", revision="7a894481acdc12202f0a415dd567f6cfdb698908"
            ),
        ),
        expected={"type": "bert", "num_layers": 30, "hidden_dim": 1024},
    ),
    CatalogEntry(
        name="pubmedbert",
        summary="PubMedBERT (BiomedBERT): BERT of biomedical abstracts, the text side of ProtCLIP",
        kind="text",
        parameters=109_482_240,
        license="MIT",
        license_notes=f"https://huggingface.co/{_PUBMEDBERT}",
        sources=(HubSource(repo=_PUBMEDBERT, revision=_PUBMEDBERT_COMMIT),),
        expected={"num_hidden_layers": 12, "hidden_size": 768},
    ),
)

CATALOG: dict[str, CatalogEntry] = {entry.name: entry for entry in _ENTRIES}


def find_entry(name: str) -> CatalogEntry | None:
    """Return the entry of this name, in whatever case it is written; ``None`` if there is none."""
    return CATALOG.get(name.strip().lower())


def check_against_entry(entry: CatalogEntry, config: Mapping[str, Any], where: str) -> None:
    """Refuse a model that is not the one that the catalog means by this name.

    Where nobody but a mirror vouches for the files, this keeps a model of another kind or size
    from being installed under a known name. It cannot tell apart two models of one shape.

    Parameters
    ----------
    entry
        What it should be.
    config
        Content of ``config.json`` of its bundle.
    where
        The file, for the message.

    Raises
    ------
    ModelError
        It has other encoders, or encoders of another shape; names what it has and what it should.
        Or the configuration is none.
    """
    shapes = read_shapes(config, where)
    protein, text = shapes.protein_encoder, shapes.text_encoder
    kind = " and ".join(name for name, part in (("protein", protein), ("text", text)) if part)
    found = {
        "type": protein and protein.__struct_config__.tag,
        "num_layers": protein and protein.num_layers,
        "hidden_dim": protein and protein.hidden_dim,
        "num_hidden_layers": text and text.num_hidden_layers,
        "hidden_size": text and text.hidden_size,
        "projection_dim": shapes.projection_dim,
    }
    differs = [key for key, value in entry.expected.items() if found[key] != value]
    if kind == entry.kind and not differs:
        return
    pairs: list[tuple[str, Any, Any]]
    pairs = [("encoders", kind, entry.kind)] if kind != entry.kind else []
    pairs += [(key, found[key], entry.expected[key]) for key in differs]
    has = ", ".join(f"{name} {value if value is not None else 'none'}" for name, value, _ in pairs)
    should = ", ".join(f"{name} {value}" for name, _, value in pairs)
    raise ModelError(
        f"is not {entry.name}: it has {has}; {entry.name} has {should}",
        where=where,
        hint="install it under another name, or fetch it from where the catalog says",
    )


def suggest(name: str) -> str:
    """Return a clause for a message: the name that was probably meant, else all names."""
    close = difflib.get_close_matches(name.strip().lower(), CATALOG, n=1)
    if close:
        return f"did you mean {close[0]}?"
    return f"there are {', '.join(CATALOG)}"
