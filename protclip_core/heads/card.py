"""What a head says of itself: its task, its labels, and which vectors it takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from protclip_core.errors import ModelError
from protclip_core.heads.calibration import HeadCalibration
from protclip_core.vector_spec import IDENTITY, VectorSpec

__all__ = ["EMBEDDING", "HeadCard", "HeadInput", "card_from", "check_input"]

#: Features of a head that takes an embedding as it is.
EMBEDDING = "embedding"


@dataclass(frozen=True, kw_only=True)
class HeadInput(VectorSpec):
    """The vectors that a head takes.

    Attributes
    ----------
    width
        Numbers of what the head takes, F.
    features
        How that is made of vectors; ``"embedding"``: it is one.
    """

    width: int
    features: str = EMBEDDING

    @classmethod
    def of(cls, spec: VectorSpec, width: int, features: str = EMBEDDING) -> HeadInput:
        """Make it for vectors of a kind and width."""
        known: dict[str, Any] = dict(spec.to_dict())
        return cls(**known, width=width, features=features)

    @classmethod
    def of_store(
        cls,
        attributes: Mapping[str, Any],
        width: int,
        features: str = EMBEDDING,
        *,
        where: str | None = None,
    ) -> HeadInput:
        """Read it from the attributes of the embedding store at ``where``.

        Raises
        ------
        ModelError
            The store does not say how it was made: another program wrote it.
        """
        spec = VectorSpec.from_attributes(attributes)
        known = spec.to_dict()
        if lacking := [name for name in ("model", *IDENTITY) if name not in known]:
            raise ModelError(
                f"the embeddings do not say their {lacking[0]}",
                code="model.unknown_vectors",
                where=where,
                hint="embed with protclip, or name their model with --vectors-model",
            )
        return cls.of(spec, width, features)

    def __str__(self) -> str:
        made = "" if self.features == EMBEDDING else f", features {self.features}"
        if not self.is_named:
            return f"{self.model} (of another program, width {self.width}{made})"
        return (
            f"model {self.model} (weights {self.weights_sha256[:12]}, width {self.width}, "
            f"pooling {self.pooling}, space {self.space}, layer {self.layer}{made})"
        )


@dataclass(frozen=True, kw_only=True)
class HeadCard:
    """What a head is, for people and for checks.

    Attributes
    ----------
    task
        What it predicts, one line.
    labels
        Names of the columns of its probabilities; of a
        regression, the name of its value.
    multilabel
        Whether each label is a yes or no of its own; else exactly one class is right.
    regression
        Whether it gives a value, and no probabilities.
    calibration
        Turns the raw probabilities into those of the head; None: they are used as they are.
    input
        The vectors that it takes.
    training_data
        Provenance of the data: source, release, split, licence.
    note
        Command line that made it, or another remark.
    training_sha256
        Of the data that it was fitted on: ids or sequences, and labels.
    trained_on
        Keys of what it was fitted on, see `protclip_core.heads.seen`; may be empty.
    fit
        How it was fitted: kind, parameters, seed and what else is plain.
    metrics
        Name to figure, with the data in the name (``"auroc_test"``).
    versions
        Of protclip and scikit-learn when it was saved; `save_head` fills it in.
    """

    task: str
    labels: tuple[str, ...]
    multilabel: bool = False
    regression: bool = False
    calibration: HeadCalibration | None = None
    input: HeadInput
    training_data: str = ""
    training_sha256: str = ""
    trained_on: str = ""
    fit: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)


def card_from(content: Mapping[str, Any]) -> HeadCard:
    """Read a card from plain data, each field of its type.

    Raises
    ------
    KeyError, TypeError, ValueError, AttributeError, OverflowError
        What Python raises on bad data; the caller knows the file.
    """
    given = content["input"]
    # The oldest heads lack this and what else is asked for with `get`.
    plain = content.get("calibration")
    calibration = None if plain is None else HeadCalibration.of_plain(plain)
    if calibration is not None and len(calibration.offsets) != len(content["labels"]):
        raise ValueError(f"a calibration of {len(calibration.offsets)} labels")
    return HeadCard(
        input=HeadInput.of(
            VectorSpec.from_dict({**given, **{name: given[name] for name in ("model", *IDENTITY)}}),
            int(given["width"]),
            str(given.get("features", EMBEDDING)),
        ),
        task=str(content["task"]),
        labels=tuple(str(label) for label in content["labels"]),
        multilabel=bool(content["multilabel"]),
        regression=bool(content.get("regression", False)),
        calibration=calibration,
        training_data=str(content["training_data"]),
        training_sha256=str(content.get("training_sha256", "")),
        trained_on=str(content.get("trained_on", "")),
        fit=dict(content.get("fit", {})),
        note=str(content["note"]),
        metrics={str(k): float(v) for k, v in content["metrics"].items()},
        versions={str(k): str(v) for k, v in content["versions"].items()},
    )


def check_input(own: HeadInput, given: HeadInput, where: str) -> None:
    """Refuse a head for vectors that it was not made for.

    Raises
    ------
    ModelError
        Anything but the model's name differs; both are named.
    """
    if differing := given.diff(own, (*IDENTITY, "width", "features")):
        ours = (
            f"embed with {own.model} in that way" if own.is_named else f"give those of {own.model}"
        )
        raise ModelError(
            f"the head is for vectors of {own}, these are of {given} "
            f"(they differ in {'; '.join(differing)})",
            code="model.head_mismatch",
            where=where,
            hint=f"{ours}, or use a head for {given.model}",
        )
