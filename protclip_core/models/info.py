"""From the name or path of a model to what it is, without loading a weight.

A model is the name of a bundle that ships with protclip, a bundle directory, a directory that
transformers wrote (ESM-2: EsmModel or EsmForMaskedLM), or a ``.pt`` file of fair-esm (ESM-2,
ESM-1b, ESM-1v). No torch is imported for the first three.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from protclip_core.errors import ModelError
from protclip_core.models.bundle import MANIFEST, Bundle, open_bundle

__all__ = ["BUNDLED", "DEFAULT_MODEL", "ModelInfo", "describe_model"]

BUNDLED = Path(__file__).resolve().parent.parent / "bundled"
DEFAULT_MODEL = "protclip-mini"


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
        Shape of the protein encoder as plain data: ``type`` is ``"esm2"`` or ``"esm1"``, the
        rest are the fields of `Esm2Config`. Empty for fair-esm files, whose shape is inside.
    pooling
        Pooling that the model was trained with, ``"residues"`` or ``"tokens"``.
    joint_dim
        Width of the joint space; ``None`` for a protein-only model.
    bundle
        The opened bundle, for kind ``"bundle"``.
    """

    name: str
    kind: str
    path: Path
    encoder: dict[str, Any] = field(default_factory=dict)
    pooling: str = "residues"
    joint_dim: int | None = None
    bundle: Bundle | None = None

    @property
    def config_sha256(self) -> str:
        """Hash of what beside the weights makes the numbers: the encoder's shape, the joint width.

        A fair-esm file holds both, so there the hash of the weights says it all.
        """
        content = json.dumps([self.encoder, self.joint_dim], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()


def describe_model(model: str | Path) -> ModelInfo:
    """Find a model by name or path.

    Raises
    ------
    ModelError
        No such model, or a file or directory that is none of the known kinds.
    """
    if str(model) == "":
        raise ModelError("the model's name is empty", hint=_available())
    bundled = BUNDLED / str(model)
    if Path(str(model)).name == str(model) and (bundled / MANIFEST).is_file():
        return _describe_bundle(open_bundle(bundled))
    path = Path(model)
    if path.is_dir():
        if (path / MANIFEST).is_file():
            return _describe_bundle(open_bundle(path))
        return _describe_transformers(path)
    if path.is_file():
        if path.suffix == ".pt":
            return ModelInfo(name=path.stem, kind="fair-esm", path=path)
        raise ModelError(
            "not a model", where=str(path), hint="give a directory, or a .pt file of fair-esm"
        )
    raise ModelError("no model of this name or path", where=str(model), hint=_available())


def _available() -> str:
    names = sorted(p.parent.name for p in BUNDLED.glob(f"*/{MANIFEST}"))
    return f"there are {', '.join(names) or 'none'}, or give the path of a model"


def _describe_bundle(bundle: Bundle) -> ModelInfo:
    config = bundle.config
    encoder = config.get("protein_encoder")
    if not isinstance(encoder, dict) or encoder.get("type") != "esm2":
        raise ModelError(
            f"protein encoder is {encoder!r}; this protclip knows the type 'esm2'",
            where=str(bundle.path / "config.json"),
        )
    return ModelInfo(
        name=bundle.name,
        kind="bundle",
        path=bundle.path,
        encoder=encoder,
        pooling=str(config.get("pooling", "residues")),
        joint_dim=config.get("projection_dim"),
        bundle=bundle,
    )


def _describe_transformers(path: Path) -> ModelInfo:
    try:
        config = json.loads((path / "config.json").read_bytes())
    except FileNotFoundError:
        raise ModelError(
            "neither a bundle (manifest.json) nor a transformers model (config.json)",
            where=str(path),
        ) from None
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot be read ({error})", where=str(path / "config.json")) from error
    kind = config.get("model_type") if isinstance(config, dict) else None
    positions = config.get("position_embedding_type") if isinstance(config, dict) else None
    if kind != "esm" or positions != "rotary" or config.get("emb_layer_norm_before"):
        raise ModelError(
            f"model_type {kind!r} with {positions!r} positions is not ESM-2",
            where=str(path / "config.json"),
            hint="ESM-1b and ESM-1v load from fair-esm's .pt files",
        )
    try:
        encoder = {
            "type": "esm2",
            "num_layers": config["num_hidden_layers"],
            "hidden_dim": config["hidden_size"],
            "num_heads": config["num_attention_heads"],
            "ffn_dim": config["intermediate_size"],
            "token_dropout": bool(config.get("token_dropout", False)),
            "layer_norm_eps": config.get("layer_norm_eps", 1e-5),
        }
    except KeyError as error:
        raise ModelError(f"does not say {error}", where=str(path / "config.json")) from None
    return ModelInfo(
        name=path.resolve().name, kind="transformers", path=path, encoder=encoder
    )  # fmt: skip
