"""From the name or path of a model to what it is, without loading a weight.

A model is the name of a bundle that ships with protclip or was installed, a bundle directory, a
directory that transformers wrote (ESM-2: EsmModel or EsmForMaskedLM), or a ``.pt`` file of
fair-esm (ESM-2, ESM-1b, ESM-1v), by its path or by its name in torch's cache. No torch is
imported here.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from protclip_core.encoders.kmer_config import KmerConfig
from protclip_core.encoders.projection_form import ProjectionForm
from protclip_core.encoders.shapes import (
    ProteinShape,
    ResidueHeadsShape,
    StructureShape,
    TextShape,
    protein_words,
    read_shape,
    read_shapes,
)
from protclip_core.errors import ModelError, UsageError
from protclip_core.fetch.cache import cache_folder, installed_models, is_name
from protclip_core.fetch.needed_files import refuse_remote_code
from protclip_core.models.importers.configs import esm2_encoder, read_config
from protclip_core.weights.bundle import MANIFEST, Bundle, open_bundle
from protclip_core.weights.names import refuse_adapter

__all__ = [
    "BUNDLED",
    "DEFAULT_MODEL",
    "ModelInfo",
    "describe_model",
    "find_in_torch_hub",
    "require_protein_encoder",
    "require_structure_encoder",
    "require_text_encoder",
]

BUNDLED = Path(__file__).resolve().parent.parent / "bundled"
DEFAULT_MODEL = "protclip-mini"
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[\w.-]{1,96}")


@dataclass(frozen=True, kw_only=True)
class ModelInfo:
    """What a model is.

    Attributes
    ----------
    name
        Short name for people.
    kind
        ``"bundle"``, ``"transformers"`` or ``"fair-esm"``.
    path
        Bundle directory, transformers directory or ``.pt`` file.
    encoder
        Shape of the protein encoder. ``None`` for fair-esm files, whose shape is inside, and for
        models of text alone.
    text_encoder
        Shape of the text encoder; ``None`` where there is none.
    residue_heads
        Which heads on residues there are; mostly none.
    pooling
        Pooling that the model was trained with, ``"residues"`` or ``"tokens"``.
    joint_dim
        Width of the joint space; ``None`` for a model without one.
    projection
        Form of the projections into it; ``None`` for the plain one, or where there are none.
    structure_encoder, structure_projection
        Shape of the structure encoder, ``None`` where there is none; and the form of its
        projection, ``None`` for the plain one.
    license
        SPDX name or the publisher's words; ``None`` where unknown.
    source
        Where an imported model came from: ``kind``, ``origin``, ``files``; else empty.
    bundle
        The opened bundle, for kind ``"bundle"``.
    config_sha256
        Hash of what besides the weights makes the numbers: the encoder as its file describes it,
        the joint width, and the form of the projections where it is not the plain one. A fair-esm
        file holds all of it, so there the hash of the weights says it all. The structure encoder
        does not count, since sequences and texts know nothing of it.
    """

    name: str
    kind: str
    path: Path
    encoder: ProteinShape | None = None
    text_encoder: TextShape | None = None
    residue_heads: ResidueHeadsShape = ResidueHeadsShape()
    pooling: str = "residues"
    joint_dim: int | None = None
    projection: ProjectionForm | None = None
    structure_encoder: StructureShape | None = None
    structure_projection: ProjectionForm | None = None
    license: str | None = None
    source: dict[str, Any] = field(default_factory=dict)
    bundle: Bundle | None = None
    config_sha256: str = field(default_factory=lambda: _config_sha256({}, None, None))

    @property
    def contents(self) -> str:
        """What it encodes: ``"protein"``, ``"text"``, ``"protein and text"``.

        With a structure encoder, ``"protein, structure and text"`` or the like.
        """
        *others, last = self.modalities
        return f"{', '.join(others)} and {last}" if others else last

    @property
    def modalities(self) -> tuple[str, ...]:
        """What it encodes: some of ``"protein"``, ``"structure"`` and ``"text"``, in this order."""
        there = {
            "protein": self.encoder is not None or self.text_encoder is None,
            "structure": self.structure_encoder is not None,
            "text": self.text_encoder is not None,
        }
        return tuple(name for name, has in there.items() if has)

    @property
    def structure_config_sha256(self) -> str:
        """Hash of what besides the weights makes the vectors of structures."""
        assert self.bundle is not None
        encoder = self.bundle.config.get("structure_encoder") or {}
        return _config_sha256(encoder, self.joint_dim, self.structure_projection)

    @property
    def origin(self) -> str | None:
        """Where an imported model came from, in one word; ``None`` where that is not known."""
        return str(self.source["origin"]) if self.source.get("origin") else None

    @property
    def architecture(self) -> str:
        """Type of the protein encoder, such as ``"esm2"``; empty where there is none to tell."""
        return "" if self.encoder is None else str(self.encoder.__struct_config__.tag)

    @property
    def num_layers(self) -> int | None:
        """Layers of the protein encoder; ``None`` where only the weights file knows."""
        return None if self.encoder is None else self.encoder.num_layers

    @property
    def hidden_dim(self) -> int | None:
        """Width of the protein encoder; ``None`` where only the weights file knows."""
        return None if self.encoder is None else self.encoder.hidden_dim

    @property
    def ffn_dim(self) -> int | None:
        """Inner width of the protein encoder's layers; ``None`` where only the file knows."""
        return None if self.encoder is None else self.encoder.ffn_dim

    @property
    def max_residues(self) -> int | None:
        """Residues of one window, as the model says; ``None`` where it does not."""
        return None if self.encoder is None else self.encoder.max_residues

    def can_read(self, sequence: str) -> bool:
        """Tell whether a sequence holds anything by which the encoder knows it from others.

        A k-mer encoder gives all sequences of one length without a k-mer the same vector; every
        encoder those of X alone.
        """
        if isinstance(self.encoder, KmerConfig):
            return self.encoder.can_read(sequence)
        return bool(sequence.strip("X"))

    def facts(self) -> list[tuple[str, str | int | None]]:
        """Return what is known as pairs of a name and a value, for people."""
        rows: list[tuple[str, str | int | None]] = [
            ("name", self.name),
            ("contents", self.contents),
            ("format", self.kind),
            ("path", str(self.path)),
        ]
        if "protein" in self.modalities:
            rows += [
                ("protein encoder", protein_words(self.encoder)),
                ("pooling", self.pooling),
            ]
        if text := self.text_encoder:
            layers = f"{text.num_hidden_layers} layers of width {text.hidden_size}"
            rows.append(("text encoder", f"bert, {layers}, {text.max_tokens} tokens"))
        if self.structure_encoder is not None:
            rows.append(("structure encoder", self.structure_encoder.in_words()))
        rows.append(("joint space", self.joint_dim))
        if self.projection is not None:
            rows.append(("projection", self.projection.in_words()))
        if heads := self.residue_heads.names():
            rows.append(("residue heads", ", ".join(heads)))
        rows += [("license", self.license), ("source", self.origin)]
        if self.bundle is not None:
            rows.append(("weights sha256", self.bundle.weights_sha256))
            if self.bundle.structure_sha256 is not None:
                rows.append(("structure sha256", self.bundle.structure_sha256))
        return rows


def describe_model(model: str | Path, cache: str | Path | None = None) -> ModelInfo:
    """Find a model by name or path.

    A name is looked for among the bundled models, then the installed ones; then as a path; then
    among the files that fair-esm has left in torch's cache.

    Parameters
    ----------
    model
        Name or path.
    cache
        Cache folder of installed models, see `protclip_core.fetch.cache.cache_folder`.

    Raises
    ------
    ModelError
        No such model, or a file or directory that is none of the known kinds.
    """
    name = str(model)
    if name == "":
        raise ModelError(
            "the model's name is empty", code="model.bad_model_name", hint=_available(name, cache)
        )
    if is_name(name):
        for folder in (BUNDLED / name, cache_folder(cache) / "models" / name):
            if _is_file(folder / MANIFEST):
                return _describe_bundle(open_bundle(folder))
    path = Path(model)
    if os.path.isdir(path):  # noqa: PTH112 (as in `_is_file`)
        if _is_file(path / MANIFEST):
            return _describe_bundle(open_bundle(path))
        return _describe_transformers(path)
    if _is_file(path):
        if path.suffix == ".pt":
            return ModelInfo(name=path.stem, kind="fair-esm", path=path)
        raise ModelError(
            "not a model",
            code="model.unknown_kind",
            where=str(path),
            hint="give a directory, or a .pt file of fair-esm",
        )
    found = find_in_torch_hub(name.removesuffix(".pt"))
    if found is not None:
        return ModelInfo(name=found.stem, kind="fair-esm", path=found)
    raise ModelError(
        "no model of this name or path",
        code="model.not_found",
        where=name,
        hint=_available(name, cache),
    )


def find_in_torch_hub(name: str) -> Path | None:
    """Return the file of this name that fair-esm has downloaded into torch's cache, if any.

    Parameters
    ----------
    name
        Name of a model of fair-esm, such as ``"esm2_t33_650M_UR50D"``.
    """
    if not is_name(name):
        return None
    home = os.environ.get("TORCH_HOME") or Path(
        os.environ.get("XDG_CACHE_HOME") or "~/.cache", "torch"
    )
    path = Path(os.path.expanduser(home), "hub", "checkpoints", f"{name}.pt")  # noqa: PTH111
    return path if _is_file(path) else None


def require_protein_encoder(info: ModelInfo) -> None:
    """Refuse a model that takes no proteins.

    Raises
    ------
    UsageError
        It is a text encoder alone.
    """
    if "protein" not in info.modalities:
        raise UsageError(
            f"model {info.name} is a text encoder and takes no proteins",
            code="usage.no_protein_encoder",
            hint=f"use a protein model or a ProtCLIP model, such as {DEFAULT_MODEL}",
        )


def require_text_encoder(info: ModelInfo) -> None:
    """Refuse a model that takes no texts.

    Raises
    ------
    UsageError
        It has no text encoder.
    """
    if not info.text_encoder:
        raise UsageError(
            f"model {info.name} is a protein encoder and takes no texts",
            code="usage.model_without_texts",
            hint=f"use a ProtCLIP model, such as {DEFAULT_MODEL}",
        )


def require_structure_encoder(info: ModelInfo) -> None:
    """Refuse a model that takes no structures.

    Raises
    ------
    UsageError
        It has no structure encoder.
    """
    if info.structure_encoder is None:
        raise UsageError(
            f"model {info.name} takes no structures",
            code="usage.no_structure_encoder",
            hint="use a model with a structure encoder (protclip models info NAME says it), "
            "or give the sequences",
        )


def _is_file(path: Path) -> bool:
    """Like `Path.is_file`, but also false for names too long and folders closed to us."""
    return os.path.isfile(path)  # noqa: PTH113


def _available(name: str, cache: str | Path | None) -> str:
    """Say which name was probably meant, and what there is."""
    from protclip_core.fetch.catalog import CATALOG, entry_of_publisher, find_entry

    entry = find_entry(name) or entry_of_publisher(name)
    if entry is not None and entry.sources:
        return f"run: protclip models pull {entry.name}"
    if _HUB_NAME.fullmatch(name) and not Path(name).parent.exists():
        return f"for a model of the hub run: protclip models pull NAME --from hub:{name}"
    try:
        installed = list(installed_models(cache))
    except OSError:
        installed = []
    here = sorted({p.parent.name for p in BUNDLED.glob(f"*/{MANIFEST}")} | set(installed))
    close = difflib.get_close_matches(name.strip().lower(), [*here, *CATALOG], n=1)
    if close:
        return f"did you mean {close[0]}? Else give the path of a model"
    return f"there are {', '.join(here) or 'none'}, or give the path of a model"


def _describe_bundle(bundle: Bundle) -> ModelInfo:
    config = bundle.config
    where = str(bundle.path / "config.json")
    shapes = read_shapes(config, where)
    return ModelInfo(
        name=bundle.name,
        kind="bundle",
        path=bundle.path,
        encoder=shapes.protein_encoder,
        text_encoder=shapes.text_encoder,
        residue_heads=shapes.residue_heads or ResidueHeadsShape(),
        pooling=shapes.pooling,
        joint_dim=shapes.projection_dim,
        projection=shapes.projection,
        structure_encoder=shapes.structure_encoder,
        structure_projection=shapes.structure_projection,
        license=str(config["license"]) if config.get("license") else None,
        source=config["source"] if isinstance(config.get("source"), dict) else {},
        bundle=bundle,
        config_sha256=_config_sha256(
            config.get("protein_encoder") or {}, shapes.projection_dim, shapes.projection
        ),
    )


def _config_sha256(
    encoder: dict[str, Any], joint_dim: int | None, projection: ProjectionForm | None
) -> str:
    parts: list[Any] = [encoder, joint_dim]
    if projection is not None:
        parts.append(projection.to_dict())
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _describe_transformers(path: Path) -> ModelInfo:
    where = path / "config.json"
    if not where.is_file():
        refuse_adapter(path)
        raise ModelError(
            "neither a bundle (manifest.json) nor a transformers model (config.json)",
            code="model.unknown_kind",
            where=str(path),
        )
    config = read_config(where)
    refuse_remote_code(config, str(where))
    if config.get("model_type") != "esm":
        raise ModelError(
            f"model_type {config.get('model_type')!r} is not ESM-2",
            code="model.unsupported_architecture",
            where=str(where),
            hint="protclip models import makes a bundle of the kinds that it knows",
        )
    encoder = esm2_encoder(config, str(where))
    return ModelInfo(
        name=path.resolve().name,
        kind="transformers",
        path=path,
        encoder=read_shape(encoder, str(where)),
        config_sha256=_config_sha256(encoder, None, None),
    )
