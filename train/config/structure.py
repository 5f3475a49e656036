"""The table of the structure encoder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from protclip_core.encoders.gvp_config import GvpConfig
from protclip_core.encoders.projection_form import ProjectionForm
from protclip_core.errors import UsageError
from train.config.tables import BelowOne, Count

__all__ = ["StructureConfig", "split_gvp"]


@dataclass(frozen=True, kw_only=True)
class StructureConfig:
    """The structure encoder; further keys of ``[structure]`` are fields of its `GvpConfig`."""

    kind: Literal["gvp"] = "gvp"
    #: Name or path of a model to start from, in place of a shape.
    weights: str | None = None
    #: Whether it stays as it is.
    frozen: bool = False
    #: Form of its projection, as in ``[model]``; 0: the plain form.
    projection_hidden: Count = 0
    projection_dropout: BelowOne = 0.0
    #: Fields of the encoder's configuration.
    shape: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if bool(self.weights) == bool(self.shape):
            raise ValueError("give either weights or a shape (scalar_dim, vector_dim, …)")
        if self.projection_dropout and not (self.projection_hidden or self.weights):
            raise ValueError("projection_dropout needs projection_hidden")

    @property
    def projection(self) -> ProjectionForm | None:
        """Form of the projection; ``None`` for the plain one."""
        hidden = self.projection_hidden
        return ProjectionForm(form="skip", hidden_dim=hidden) if hidden else None


def split_gvp(table: dict[str, Any], where: str) -> dict[str, Any]:
    """Put the fields of the encoder's own configuration into ``shape``.

    Raises
    ------
    UsageError
        A field that is unknown, or a value that it cannot have.
    """
    own = {item.name for item in fields(StructureConfig)} - {"shape"}
    shape = {key: value for key, value in table.items() if key not in own}
    try:
        GvpConfig.from_dict(shape)
    except ValueError as error:
        place = f"{where}: [structure]"
        raise UsageError(str(error), code="usage.bad_value", where=place) from error
    return {key: value for key, value in table.items() if key in own} | {"shape": shape}
