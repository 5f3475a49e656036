"""The tables of a run in two stages: ``[stage.one]`` and ``[stage.two]``."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from train.config.tables import Above0, Count, Natural, NotNegative

__all__ = ["StageConfig", "StagesConfig"]

_LIMITS = ("max_steps", "max_epochs", "max_minutes")


@dataclass(frozen=True, kw_only=True)
class StageConfig:
    """What a stage has for itself; a key that is not given is that of ``[train]``.

    Limits, warm-up and the curve of the learning rate are counted from the beginning of the stage.
    """

    #: Encoders that stay as they are. Projections and temperatures learn in every stage.
    frozen: tuple[Literal["protein", "text", "structure"], ...] | None = None
    #: The stage ends after this many steps, passes or minutes.
    max_steps: Natural | None = None
    max_epochs: Above0 | None = None
    max_minutes: Above0 | None = None
    warmup_steps: Count | None = None
    warmup_share: NotNegative | None = None
    learning_rate: Above0 | None = None
    encoder_share: NotNegative | None = None
    final_share: float | None = None

    def settings(self) -> dict[str, Any]:
        """Return what takes the place of keys of ``[train]``; one limit replaces all."""
        given = {name: value for name, value in asdict(self).items() if value is not None}
        del given["frozen"]
        if not given.keys().isdisjoint(_LIMITS):
            given = {**dict.fromkeys(_LIMITS), **given}
        return given


@dataclass(frozen=True, kw_only=True)
class StagesConfig:
    """Stage one with frozen encoders, then stage two with all that learns."""

    one: StageConfig
    two: StageConfig | None = None

    def each(self) -> list[StageConfig]:
        """Return the stages, their defaults resolved.

        Stage one leaves protein and text encoder as they are; stage two leaves none, and encoders
        have a tenth of the learning rate.
        """
        one = replace(self.one, frozen=_or(self.one.frozen, ("protein", "text")))
        if self.two is None:
            return [one]
        share = _or(self.two.encoder_share, 0.1)
        return [one, replace(self.two, frozen=_or(self.two.frozen, ()), encoder_share=share)]


def _or(value: Any, other: Any) -> Any:
    return other if value is None else value
