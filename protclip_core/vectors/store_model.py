"""The model that made a store: found by name, checked by hash, loaded when it is needed.

Legend: N proteins or texts, D width of a store's vectors, P joint width.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from protclip_core.errors import ModelError, UsageError
from protclip_core.measure.nearest import block_rows, usable_rows
from protclip_core.models.info import DEFAULT_MODEL, ModelInfo, describe_model
from protclip_core.records import printable
from protclip_core.vector_spec import VectorSpec
from protclip_core.vectors.tables import AnyStore

if TYPE_CHECKING:
    from protclip_core.models.protein import ProteinModel
    from protclip_core.models.text import TextModel

__all__ = ["StoreModel", "StoreVectors", "resolve_space", "unknown_space"]

_log = logging.getLogger(__name__)

Floats = npt.NDArray[np.float32]


class StoreModel:
    """The model that made the vectors of a store.

    The model is looked up when it is first used: proteins of a store can be compared with each
    other where its model is not installed.

    Parameters
    ----------
    store
        The store, or a table of another program.
    model
        Name or path of the model; ``None`` for the name in the store.
    device
        Where the model runs.
    vectors_model
        Name that the user gives the vectors of another program.

    Attributes
    ----------
    spec
        How the vectors were made.
    is_given
        Whether the user gave their model a name.

    Raises
    ------
    UsageError
        ``vectors_model`` contradicts what the store says.
    """

    def __init__(
        self,
        store: AnyStore,
        model: str | None,
        device: str,
        vectors_model: str | None = None,
    ) -> None:
        self.store, self.device, self._given = store, device, model
        self.spec = VectorSpec.from_attributes(store.attributes)
        self.is_given = vectors_model is not None
        if vectors_model is not None and self.spec.is_named:
            if self.spec.model != vectors_model:
                raise UsageError(
                    f"says that model {printable(self.spec.model)!r} made it, not "
                    f"{printable(vectors_model)!r}",
                    code="usage.conflicting_options",
                    where=str(store.path),
                    hint="drop --vectors-model",
                )
        elif vectors_model is not None:
            self.spec = VectorSpec(model=vectors_model, space="encoder")

    @cached_property
    def info(self) -> ModelInfo:
        """The description of the model.

        Raises
        ------
        ModelError
            The store does not name its model, the model is not installed, or the one of this
            name has other weights than the one that made the store.
        """
        where, made = str(self.store.path), self.spec
        if not made.is_named:
            raise ModelError(
                "does not say which model made it",
                code="model.unknown_vectors",
                where=where,
                hint="embed its proteins with protclip embed",
            )
        try:
            info = describe_model(self._given or made.model)
        except ModelError as error:
            if self._given:
                raise
            raise ModelError(
                f"was made by model {printable(made.model)!r} (weights "
                f"{made.weights_sha256[:16]}…), which is not installed",
                code="model.not_found",
                where=where,
                hint="give its path with --model",
            ) from error
        if info.bundle is not None:
            self._check(info, info.bundle.weights_sha256)
        return info

    def _check(self, info: ModelInfo, weights_sha256: str) -> None:
        """Refuse a model whose vectors cannot be compared with those of the store."""
        for what, own, stored in (
            ("weights", weights_sha256, self.spec.weights_sha256),
            ("configuration", info.config_sha256, self.spec.config_sha256),
        ):
            if stored and own != stored:
                raise ModelError(
                    f"was made by a model with {what} {stored[:16]}…, "
                    f"but {info.name} has {own[:16]}…",
                    code="model.other_model",
                    where=str(self.store.path),
                    hint="name the model that made it with --model, or embed the proteins again",
                )

    @cached_property
    def protein(self) -> ProteinModel:
        """The loaded model."""
        from protclip_core.models.loading import load_model

        model = load_model(self.info, device=self.device)
        self._check(self.info, model.weights_sha256)
        return model

    def adopt(self, model: ProteinModel) -> None:
        """Take a model that is loaded already.

        Raises
        ------
        ModelError
            It is not the one that made the store.
        """
        self._check(self.info, model.weights_sha256)
        self.__dict__["protein"] = model  # where `protein` keeps what it has loaded

    def embed_text(self, texts: Sequence[str]) -> Floats:
        """Embed texts in the joint space ``(N, P)``.

        The protein side is loaded only where the store's vectors are yet to be projected.
        """
        if self.spec.space != "joint":
            return self.protein.embed_text(texts)
        return self.text_model.embed(texts, space="joint")

    @cached_property
    def text_model(self) -> TextModel:
        """The text side of a model that takes texts, loaded when it is first asked for."""
        from protclip_core.models.loading import load_text_model
        from protclip_core.models.protclip import ProtclipModel

        if self.spec.space != "joint" and isinstance(self.protein, ProtclipModel):
            return self.protein.text_model
        return load_text_model(self.info, device=self.device)

    def require_texts(self) -> None:
        """Refuse texts where the model does not have a space for both texts and proteins.

        Raises
        ------
        UsageError
            It does not; the message says what to do instead.
        """
        if not self.info.text_encoder or self.info.joint_dim is None:
            raise UsageError(
                f"was made by model {self.info.name}, which does not take texts",
                code="usage.model_without_texts",
                where=str(self.store.path),
                hint=f"search it with --like, or embed with a ProtCLIP model, such as "
                f"{DEFAULT_MODEL}",
            )

    @property
    def is_projectable(self) -> bool:
        """Whether the projection into the joint space was trained for exactly these vectors."""
        made, info = self.spec, self.info
        return (
            info.joint_dim is not None
            and not made.of_structures
            and made.layer in (None, info.num_layers)
            and made.pooling in ("", info.pooling)
        )

    @property
    def has_joint_space(self) -> bool:
        """Whether the vectors are in the joint space, or can be projected with what is here."""
        if self.spec.space == "joint":
            return True
        try:
            return self.is_projectable
        except ModelError:  # the model is not installed
            return False

    def check_projectable(self) -> None:
        """Refuse encoder vectors that the projection was not trained for.

        Raises
        ------
        UsageError
            The model does not have a joint space, or the vectors come from an inner layer.
        """
        made, info, where = self.spec, self.info, str(self.store.path)
        if info.joint_dim is None:
            raise UsageError(
                f"was made by model {info.name}, which does not have a joint space",
                code="usage.no_joint_space",
                where=where,
                hint="use --space encoder",
            )
        if made.of_structures:
            raise UsageError(
                "holds vectors of structures that are not in the joint space",
                code="usage.other_space",
                where=where,
                hint="embed the structures without --space encoder",
            )
        if made.layer not in (None, info.num_layers):
            raise UsageError(
                f"holds vectors of layer {made.layer}, the joint space belongs to layer "
                f"{info.num_layers}",
                code="usage.inner_layer",
                where=where,
                hint="search it with --like and --space encoder, or embed without --layer",
            )
        if not self.is_projectable:
            _log.warning(
                "%s: vectors are means over %s, model %s was trained on means over %s",
                where,
                made.pooling,
                info.name,
                info.pooling,
            )


def unknown_space(space: str) -> UsageError:
    """Return the error for the name of a space that does not exist."""
    return UsageError(
        f"space {space!r} is not known", code="usage.unknown_value", hint="use joint or encoder"
    )


def resolve_space(model: StoreModel, space: str | None, *, texts: bool) -> str:
    """Choose the space to compare in: ``"joint"``, or ``"encoder"`` for vectors as stored.

    Parameters
    ----------
    model
        The store's model.
    space
        The space that the user chose, if any.
    texts
        Whether texts are compared with proteins, which only the joint space allows. Otherwise it
        is chosen where the model takes texts.

    Raises
    ------
    UsageError
        The store or its model does not have that space.
    ModelError
        As `StoreModel.info`, where the model is needed.
    """
    if space not in (None, "joint", "encoder"):
        raise unknown_space(space)
    joint = model.spec.space == "joint"
    if texts and space == "encoder":
        raise UsageError(
            "texts are in the joint space only",
            code="usage.conflicting_options",
            hint="drop --space encoder",
        )
    if space == "encoder" and joint:
        raise UsageError(
            "holds vectors of the joint space",
            code="usage.other_space",
            where=str(model.store.path),
            hint="drop --space",
        )
    if space == "encoder" or not (texts or space or joint or model.spec.is_named):
        return "encoder"
    if texts:
        model.require_texts()
    if joint:
        return "joint"
    if space is None and not (model.info.text_encoder and model.info.joint_dim):
        return "encoder"
    model.check_projectable()
    return "joint"


class StoreVectors:
    """The vectors of a store in one space, projected as they are read where necessary.

    Parameters
    ----------
    model
        The store and its model.
    space
        From `resolve_space`.
    """

    def __init__(self, model: StoreModel, space: str) -> None:
        self.store, self.space = model.store, space
        self._model = model
        self.projects = space == "joint" and model.spec.space != "joint"

    @property
    def spec(self) -> VectorSpec:
        """How the vectors are made, in this space."""
        return replace(self._model.spec, space=self.space)

    @property
    def width(self) -> int:
        """Numbers of a vector."""
        width = self._model.info.joint_dim if self.projects else self.store.dim
        return width or 0

    def read(self, rows: Any) -> Floats:
        """Return vectors ``(n, P)`` or ``(n, D)``; NaN for those that no model gives.

        A projection would give numbers for zeros as well.
        """
        vectors = self.store.read(rows)
        if not self.projects:
            return vectors
        projected = self._model.protein.project(vectors)
        projected[~usable_rows(vectors)] = np.nan
        return projected

    def blocks(self) -> Iterator[Floats]:
        """Yield all vectors in order, some megabytes at a time."""
        size = block_rows(self.store.dim)
        for start in range(0, len(self.store), size):
            yield self.read(slice(start, start + size))
