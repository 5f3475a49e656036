"""The structure encoder of a run: fresh, or from a model that has one."""

from __future__ import annotations

from torch import Tensor

from protclip_core.encoders.gvp_config import GvpConfig
from protclip_core.encoders.projection_form import ProjectionForm
from protclip_core.encoders.structure import StructureEncoder
from protclip_core.errors import UsageError
from protclip_core.models.info import ModelInfo, describe_model
from protclip_core.weights.bundle import STRUCTURE_WEIGHTS, Bundle
from protclip_core.weights.tensors import fill_module
from train.config.run import RunConfig
from train.config.structure import StructureConfig

__all__ = ["build_structure_encoder", "projection_form", "projection_tensors", "structure_shape"]


def structure_shape(own: StructureConfig) -> GvpConfig:
    """Return the shape of the encoder, also of one that comes from a model.

    Raises
    ------
    UsageError
        The model has none, or one of 3Di letters.
    """
    if own.weights is None:
        return GvpConfig.from_dict(own.shape)
    shape = _model(own.weights)[0].structure_encoder
    assert isinstance(shape, GvpConfig)
    return shape


def build_structure_encoder(config: RunConfig) -> StructureEncoder | None:
    """Build the encoder, where the objectives look at structures.

    Raises
    ------
    ModelError, UsageError
        A model to start from that is damaged, or has no such encoder.
    """
    own = config.structure
    if own is None or not config.objectives.on_structures:
        return None
    encoder = StructureEncoder(structure_shape(own))
    if own.weights is not None:
        bundle = _model(own.weights)[1]
        tensors = bundle.tensors("structure_encoder.", file=STRUCTURE_WEIGHTS)
        fill_module(encoder, tensors, str(bundle.path), "structure_encoder.")
    return encoder


def projection_form(own: StructureConfig) -> ProjectionForm | None:
    """Return the form of the projection: that of the model, or of the configuration."""
    return own.projection if own.weights is None else _model(own.weights)[0].structure_projection


def projection_tensors(own: StructureConfig, joint_dim: int) -> dict[str, Tensor]:
    """Return the projection of the model to start from; empty where it is of another width."""
    if own.weights is None:
        return {}
    info, bundle = _model(own.weights)
    if info.joint_dim != joint_dim:
        return {}
    found = bundle.tensors("structure_projection.", file=STRUCTURE_WEIGHTS)
    return {name: value.float() for name, value in found.items()}


def _model(name: str) -> tuple[ModelInfo, Bundle]:
    info = describe_model(name)
    if info.bundle is None or not isinstance(info.structure_encoder, GvpConfig):
        raise UsageError(
            f"model {info.name} has no structure encoder that can be trained further",
            code="usage.no_structure_encoder",
            where="[structure] weights",
        )
    return info, info.bundle
