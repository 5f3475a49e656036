"""The model that made a store: found by name, checked by hash, loaded when it is needed.

Legend: N proteins or texts, D width of a store's vectors, P joint width.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from protclip_core.errors import ModelError, UsageError
from protclip_core.measure.nearest import block_rows, usable_rows
from protclip_core.models.info import DEFAULT_MODEL, ModelInfo, describe_model
from protclip_core.records import printable
from protclip_core.store.reader import EmbeddingStore

if TYPE_CHECKING:
    from protclip_core.models.protein import ProteinModel

__all__ = ["StoreModel", "StoreVectors", "resolve_space"]

_log = logging.getLogger(__name__)

Floats = npt.NDArray[np.float32]


class StoreModel:
    """The model that made the vectors of a store.

    Nothing is looked for until it is asked for: proteins can be compared with each other in a
    store whose model is not here.

    Parameters
    ----------
    store
        The store.
    model
        Name or path of the model; ``None`` for the name that the store states.
    device
        Where it is to run.
    """

    def __init__(self, store: EmbeddingStore, model: str | None, device: str) -> None:
        self.store, self._given, self._device = store, model, device

    @property
    def is_named(self) -> bool:
        """Whether the store says what made it."""
        return bool(self.store.attributes.get("weights_sha256"))

    @cached_property
    def info(self) -> ModelInfo:
        """What the model is.

        Raises
        ------
        ModelError
            The store does not name its model, the model is not here, or one of this name has
            other weights than those that made the store.
        """
        where, made = str(self.store.path), self.store.attributes
        if not self.is_named:
            raise ModelError(
                "does not say which model made it",
                where=where,
                hint="embed its proteins with protclip embed",
            )
        name = self._given or str(made.get("model", ""))
        try:
            info = describe_model(name)
        except ModelError as error:
            if self._given:
                raise
            raise ModelError(
                f"was made by model {printable(name)!r} (weights {_short(made)}), "
                "and none of this name is here",
                where=where,
                hint="give its path with --model",
            ) from error
        if info.bundle is not None:
            self._check(info, info.bundle.weights_sha256)
        return info

    def _check(self, info: ModelInfo, weights_sha256: str) -> None:
        """Refuse a model whose vectors are not to be compared with those of the store."""
        made = self.store.attributes
        for what, own, stored in (
            ("weights", weights_sha256, made["weights_sha256"]),
            ("configuration", info.config_sha256, made.get("config_sha256")),
        ):
            if stored is not None and own != stored:
                raise ModelError(
                    f"was made by a model with {what} {str(stored)[:16]}…, "
                    f"but {info.name} has {own[:16]}…",
                    where=str(self.store.path),
                    hint="name the model that made it with --model, or embed the proteins again",
                )

    @cached_property
    def protein(self) -> ProteinModel:
        """The loaded model."""
        from protclip_core.models.loading import load_model

        model = load_model(self.info, device=self._device)
        self._check(self.info, model.weights_sha256)
        return model

    def embed_text(self, texts: Sequence[str]) -> Floats:
        """Embed texts in the joint space ``(N, P)``.

        The protein side is loaded only where the store's vectors are yet to be projected.
        """
        from protclip_core.models.loading import load_text_model

        if self.store.attributes.get("space") != "joint":
            return self.protein.embed_text(texts)
        return load_text_model(self.info, device=self._device).embed(texts, space="joint")

    def require_texts(self) -> None:
        """Refuse texts where the model does not take them into one space with proteins.

        Raises
        ------
        UsageError
            It does not; the message says what can be done instead.
        """
        if not self.info.text_encoder or self.info.joint_dim is None:
            raise UsageError(
                f"was made by model {self.info.name}, which takes no texts",
                where=str(self.store.path),
                hint=f"search it with --like, or embed with a ProtCLIP model, such as "
                f"{DEFAULT_MODEL}",
            )

    def check_projectable(self) -> None:
        """Refuse encoder vectors that the projection was not trained for.

        Raises
        ------
        UsageError
            The model has no joint space, or the vectors are of an inner layer.
        """
        made, info, where = self.store.attributes, self.info, str(self.store.path)
        if info.joint_dim is None:
            raise UsageError(
                f"was made by model {info.name}, which has no joint space",
                where=where,
                hint="use --space encoder",
            )
        if made.get("layer", info.num_layers) != info.num_layers:
            raise UsageError(
                f"holds vectors of layer {made['layer']}, the joint space belongs to layer "
                f"{info.num_layers}",
                where=where,
                hint="search it with --like and --space encoder, or embed without --layer",
            )
        if made.get("pooling", info.pooling) != info.pooling:
            _log.warning(
                "%s: vectors are means over %s, model %s was trained on means over %s",
                where,
                made["pooling"],
                info.name,
                info.pooling,
            )


def resolve_space(model: StoreModel, asked: str | None, *, texts: bool) -> str:
    """Choose in which space to compare: ``"joint"``, or ``"encoder"`` for vectors as stored.

    Parameters
    ----------
    model
        The store's model.
    asked
        What the caller wants, if anything.
    texts
        Whether texts are compared with proteins, which the joint space alone allows. Else it is
        taken where the model has both.

    Raises
    ------
    UsageError
        The store or its model does not have what is asked for.
    ModelError
        As `StoreModel.info`, where the model is needed.
    """
    if asked not in (None, "joint", "encoder"):
        raise UsageError(f"space {asked!r} is not known", hint="use joint or encoder")
    joint = model.store.attributes.get("space") == "joint"
    if texts and asked == "encoder":
        raise UsageError("texts are in the joint space only", hint="drop --space encoder")
    if asked == "encoder" and joint:
        raise UsageError(
            "holds vectors of the joint space", where=str(model.store.path), hint="drop --space"
        )
    if asked == "encoder" or not (texts or asked or joint or model.is_named):
        return "encoder"
    if texts:
        model.require_texts()
    if joint:
        return "joint"
    if asked is None and not (model.info.text_encoder and model.info.joint_dim):
        return "encoder"
    model.check_projectable()
    return "joint"


class StoreVectors:
    """The vectors of a store in the space of a search, projected on the way where need be.

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
        self.projects = space == "joint" and self.store.attributes.get("space") != "joint"

    def read(self, rows: Any) -> Floats:  # noqa: ANN401 (as `EmbeddingStore.read`)
        """Return vectors ``(n, P)`` or ``(n, D)``; NaN for those that the model cannot have made.

        A projection would make something of zeros as well.
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


def _short(made: dict[str, Any]) -> str:
    return f"{str(made['weights_sha256'])[:16]}…"
