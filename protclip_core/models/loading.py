"""Loading a model by name or path: find it, read its weights, prepare them for inference."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from protclip_core.encoders.esm2_inference import Esm2Inference
from protclip_core.encoders.kernels import cpu_has_bfloat16
from protclip_core.encoders.shapes import Esm2Shape, read_shape
from protclip_core.errors import ModelError, UsageError
from protclip_core.models.from_bundle import (
    build_esm2,
    load_bundle,
    load_bundle_structure,
    load_bundle_text,
)
from protclip_core.models.info import (
    DEFAULT_MODEL,
    ModelInfo,
    describe_model,
    require_protein_encoder,
    require_structure_encoder,
    require_text_encoder,
)
from protclip_core.models.protein import ProteinModel
from protclip_core.models.text import TextModel
from protclip_core.weights.bundle import count_parameters, sha256_of
from protclip_core.weights.names import fair_esm_names, transformers_names
from protclip_core.weights.tensors import load_pickled_tensors, read_transformers_weights

if TYPE_CHECKING:
    from protclip_core.models.structure import StructureModel

__all__ = ["load_model", "load_structure_model", "load_text_model", "resolve_device"]

_log = logging.getLogger(__name__)
T = TypeVar("T")


def load_model(
    model: str | Path | ModelInfo = DEFAULT_MODEL, *, device: str = "auto", dtype: str = "float32"
) -> ProteinModel:
    """Load a model that takes proteins, by name or path.

    Parameters
    ----------
    model
        Name of a bundled or installed model, path of a bundle, of a transformers ESM-2 directory
        or of a fair-esm ``.pt`` file (ESM-2, ESM-1b, ESM-1v); or what `describe_model` returned.
    device
        ``"auto"`` (CUDA, then MPS, then the CPU), or a device name.
    dtype
        ``"float32"``, or ``"bfloat16"`` (ESM-2 only): matrix products in bfloat16, the rest in
        float32. Texts are embedded in float32 whatever it is.

    Returns
    -------
    ProteinModel
        A `protclip_core.models.protclip.ProtclipModel` where the model takes texts as well.

    Raises
    ------
    ModelError
        Missing, damaged, untrusted or unsuitable weights.
    UsageError
        A device or type that is not there, or a model of text alone.

    Examples
    --------
    >>> from protclip_core import load_model
    >>> model = load_model(device="cpu")
    >>> model.embed(["MKTAYIAKQR", "MSLLTEVETY"]).shape
    (2, 640)
    """
    info = model if isinstance(model, ModelInfo) else describe_model(model)
    require_protein_encoder(info)
    where = resolve_device(device)
    kind = {"float32": torch.float32, "bfloat16": torch.bfloat16}.get(dtype)
    if kind is None:
        raise UsageError(
            f"type {dtype!r} is not known",
            code="usage.unknown_value",
            hint="use float32 or bfloat16",
        )
    if kind == torch.bfloat16 and where.type == "cpu" and not cpu_has_bfloat16():
        _log.warning("this processor only emulates bfloat16: float32 is several times faster")
    loaded = _load(info, where, kind)
    if _log.isEnabledFor(logging.INFO):
        _log.info("model %s", _figures(loaded, where))
    return loaded


def _figures(model: ProteinModel, device: torch.device) -> str:
    """Describe a loaded model in a line: name, parameters, width, weights, device."""
    bundle = model.info.bundle
    size = f"{count_parameters(bundle):,} parameters, " if bundle is not None else ""
    return (
        f"{model.info.name}: {size}width {model.encoder.hidden_dim}, "
        f"weights sha256 {model.weights_sha256[:12]}…, {device}"
    )


def _load(info: ModelInfo, device: torch.device, dtype: torch.dtype) -> ProteinModel:
    if info.kind == "bundle":
        return load_bundle(info, device, dtype)
    if info.kind == "transformers":
        tensors, weights_sha256 = read_transformers_weights(info.path)
        renamed = transformers_names(tensors)
        assert isinstance(info.encoder, Esm2Shape)
        encoder = build_esm2(info.encoder, renamed, str(info.path), lm_head=_has_head(renamed))
        fast = Esm2Inference(encoder, device=device, dtype=dtype)
        return ProteinModel(info, fast, weights_sha256)
    return _load_fair_esm(info, device, dtype)


def load_text_model(
    model: str | Path | ModelInfo = DEFAULT_MODEL, *, device: str = "auto"
) -> TextModel:
    """Load a model that takes texts: a text encoder, or the text side of a ProtCLIP model.

    Parameters
    ----------
    model
        Name or path of a bundle, or what `describe_model` returned.
    device
        As for `load_model`.

    Raises
    ------
    ModelError
        Missing or damaged files, or tensors that do not fit.
    UsageError
        A device that is not there, or a model of proteins alone.

    Examples
    --------
    >>> from protclip_core import load_text_model
    >>> model = load_text_model(device="cpu")
    >>> model.embed(["zinc transporter"], space="joint").shape
    (1, 512)
    """
    info = model if isinstance(model, ModelInfo) else describe_model(model)
    require_text_encoder(info)
    return load_bundle_text(info, resolve_device(device))


def load_structure_model(
    model: str | Path | ModelInfo = DEFAULT_MODEL, *, device: str = "auto"
) -> StructureModel:
    """Load the structure side of a model that has one, and nothing else.

    Parameters
    ----------
    model
        Name or path of a bundle, or what `describe_model` returned.
    device
        As for `load_model`.

    Raises
    ------
    ModelError
        Missing or damaged files, or tensors that do not fit.
    UsageError
        A device that is not there, or a model without a structure encoder.
    """
    info = model if isinstance(model, ModelInfo) else describe_model(model)
    require_structure_encoder(info)
    return load_bundle_structure(info, resolve_device(device))


def _load_fair_esm(info: ModelInfo, device: torch.device, dtype: torch.dtype) -> ProteinModel:
    """Load a ``.pt`` file: ESM-2 into our encoder, ESM-1b and ESM-1v into fair-esm's own."""
    content = load_pickled_tensors(info.path)
    weights_sha256 = sha256_of(info.path)
    if "args" not in content or "model" not in content:
        plain = _named_errors(_fair_esm_shape, content, str(info.path))
        shape = read_shape(plain, str(info.path))
        assert isinstance(shape, Esm2Shape)
        tensors = fair_esm_names(content["model"])
        encoder = build_esm2(shape, tensors, str(info.path), lm_head=_has_head(tensors))
        fast = Esm2Inference(encoder, device=device, dtype=dtype)
        return ProteinModel(info, fast, weights_sha256)
    # Here, because fair-esm is slow to import and needed for these two only.
    from protclip_core.encoders.esm1 import Esm1Inference, build_esm1

    if dtype != torch.float32:
        raise UsageError(
            "ESM-1b and ESM-1v compute in float32 only",
            code="usage.unsupported_dtype",
            hint="drop --dtype",
        )
    module = _named_errors(build_esm1, content, str(info.path))
    return ProteinModel(info, Esm1Inference(module, device=device), weights_sha256)


def _has_head(tensors: dict[str, Any]) -> bool:
    return any(name.startswith("lm_head.") for name in tensors)


def _named_errors(
    read: Callable[[dict[str, Any], str], T], content: dict[str, Any], where: str
) -> T:
    """Read a fair-esm file's own description; one that lacks something is a bad file, not a bug."""
    try:
        return read(content, where)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ModelError(
            f"is laid out like no model of fair-esm ({type(error).__name__}: {error})",
            code="model.unknown_layout",
            where=where,
        ) from error


def resolve_device(device: str) -> torch.device:
    """Turn ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps`` into a device that is there."""
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        found = torch.device(device)
    except RuntimeError:
        raise UsageError(
            f"device {device!r} is not known", code="usage.unknown_value", hint=_DEVICES
        ) from None
    present = {
        "cpu": True,
        "cuda": torch.cuda.is_available()
        and (found.index is None or found.index < torch.cuda.device_count()),
        "mps": torch.backends.mps.is_available(),
    }
    if not present.get(found.type, False):
        raise UsageError(
            f"device {device!r} does not exist here", code="usage.no_device", hint=_DEVICES
        )
    return found


_DEVICES = "use auto, cpu, cuda, cuda:N or mps"


def _fair_esm_shape(content: dict[str, object], where: str) -> dict[str, object]:
    """Read the encoder's shape from the training arguments of a fair-esm ESM-2 file."""
    config = content.get("cfg")
    arguments = config.get("model") if isinstance(config, dict) else None
    if arguments is None or not isinstance(content.get("model"), dict):
        raise ModelError(
            "neither an ESM-2 nor an ESM-1 file of fair-esm (no 'cfg' and 'model' inside)",
            code="model.unknown_layout",
            where=where,
        )
    values = vars(arguments) if not isinstance(arguments, dict) else arguments
    width = values["encoder_embed_dim"]
    return {
        "type": "esm2",
        "num_layers": values["encoder_layers"],
        "hidden_dim": width,
        "num_heads": values["encoder_attention_heads"],
        "ffn_dim": 4 * width,
        "token_dropout": bool(values.get("token_dropout", True)),
    }
