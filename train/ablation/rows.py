"""The rows of the table of ablations, and the configuration of each run."""

from __future__ import annotations

import dataclasses
import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from protclip_core.errors import UsageError
from protclip_core.models.info import describe_model
from train.ablation.samples import FORMS, LARGE, WITH_STRUCTURE
from train.config.augment import AugmentConfig
from train.config.run import RunConfig

__all__ = ["ROWS", "Row", "choose_rows", "config_of", "read_seeds", "with_text"]

_NEVER = 1_000_000_000
#: Texts of each protein, where they are drawn.
_VARIANTS = 4
_ALL = ("gc", "bsr", "mlm", "pda")
_SEQUENCE = ("sequence_structure", "intra_sequence", "intra_structure")
_TEXT = ("sequence_text", "structure_text", "intra_text")
_THREE = (*_SEQUENCE, *_TEXT)
_PLAIN = ("sequence_text", "intra_sequence", "intra_text")
_PAIRS = ("sequence_structure", "sequence_text", "structure_text")
_Texts = Literal["sample", "whole"]


@dataclass(frozen=True)
class Row:
    """A row of the table: what is trained, on which sample, and what it is compared with.

    ``texts`` takes the place of the recipe's.
    """

    name: str
    title: str
    objectives: tuple[str, ...]
    sample: str
    against: str | None
    texts: _Texts | None = None

    @property
    def on_structures(self) -> bool:
        """Whether it is one of those of three modalities, which need structures."""
        return self.sample == WITH_STRUCTURE


ROWS = (
    Row("gc", "GC", ("gc",), LARGE, None),
    Row("gc+bsr", "GC + BSR", ("gc", "bsr"), LARGE, "gc"),
    Row("gc+pda", "GC + PDA", ("gc", "pda"), LARGE, "gc"),
    Row("gc+mlm", "GC + MLM", ("gc", "mlm"), LARGE, "gc"),
    Row("all", "all objectives", _ALL, LARGE, "gc"),
    *(
        Row(form, f"all, {form} sample", _ALL, form, None if form == "uniform" else "uniform")
        for form in FORMS
    ),
    Row("three", "three modalities", _THREE, WITH_STRUCTURE, None, "sample"),
    Row("three-function", "without function", _SEQUENCE, WITH_STRUCTURE, "three", "sample"),
    Row("three-structure", "without structure", _PLAIN, WITH_STRUCTURE, "three", "sample"),
    Row("three-augmentation", "without augmentation", _THREE, WITH_STRUCTURE, "three", "whole"),
    Row("three-intra", "without intra-modal", _PAIRS, WITH_STRUCTURE, "three", "sample"),
)


def config_of(row: Row, seed: int, recipe: RunConfig, pairs: Path, go: Path) -> RunConfig:
    """Return the configuration of a run."""
    weights: dict[str, Any] = {
        name: weight if name in row.objectives else 0.0
        for name, weight in recipe.objectives.weights.items()
    }
    data = dataclasses.replace(recipe.data, pairs=str(pairs), go=str(go))
    text, on = recipe.text, recipe.objectives
    if row.on_structures:
        # No bank: to encode all terms at each evaluation costs more than the run.
        on = dataclasses.replace(on, go_min_count=_NEVER)
        # What the text side has to learn, it learns with its projection.
        text = dataclasses.replace(text, projection_frozen=False, cache_variants=_VARIANTS)
        data = dataclasses.replace(data, structures_only=True, texts=row.texts or data.texts)
        if data.texts == "whole":
            text = dataclasses.replace(text, augment=AugmentConfig())
    return dataclasses.replace(
        recipe,
        name=f"{row.name}-seed{seed}",
        data=data,
        text=text,
        objectives=dataclasses.replace(on, **weights),
        train=dataclasses.replace(recipe.train, seed=seed),
    )


def with_text(recipe: RunConfig, text: str, steps: int | None) -> RunConfig:
    """Put a text tower in, to whose form and width the projections are made."""
    info = describe_model(text)
    if info.bundle is None or not info.text_encoder or info.joint_dim is None:
        raise UsageError(
            f"model {info.name} has no text encoder with a projection",
            code="usage.no_text_encoder",
            where="--text",
            hint="give the bundle that python -m train.pretrain_text leaves in its run folder",
        )
    form = info.projection
    model = dataclasses.replace(
        recipe.model,
        projection_dim=info.joint_dim,
        projection="plain" if form is None else "skip",
        projection_hidden=recipe.model.projection_hidden if form is None else form.hidden_dim,
        projection_dropout=0.0 if form is None else recipe.model.projection_dropout,
    )
    number = steps or recipe.train.max_steps
    if number is None:
        raise UsageError(
            "the recipe has no max_steps",
            code="usage.missing_key",
            where="--config",
            hint="give --steps",
        )
    train = dataclasses.replace(
        recipe.train, max_steps=number, max_epochs=None, max_minutes=None, evaluate_every=number
    )
    weights = str(info.path.resolve())
    words = dataclasses.replace(recipe.text, weights=weights, frozen=True, projection_frozen=True)
    return dataclasses.replace(recipe, text=words, model=model, train=train)


def choose_rows(only: str | None, *, structures: bool = False) -> list[Row]:
    """Return the chosen rows, in the order of the table; by default those that can be trained."""
    if only is None:
        return [row for row in ROWS if structures or not row.on_structures]
    known = [row.name for row in ROWS]
    wanted = [name.strip() for name in only.split(",")]
    for name in wanted:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]!r}" if near else f"one of {', '.join(known)}"
            raise UsageError(
                f"unknown row {name!r}", code="usage.unknown_value", where="--only", hint=hint
            )
    found = [row for row in ROWS if row.name in wanted]
    if not structures and (needing := [row.name for row in found if row.on_structures]):
        raise UsageError(
            f"row {needing[0]!r} needs structures",
            code="usage.missing_option",
            where="--structures",
            hint="make them with python -m train.structures",
        )
    return found


def read_seeds(text: str) -> list[int]:
    """Read the numbers of ``--seeds``."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts) or len(set(parts)) < len(parts):
        raise UsageError(
            f"{text!r} is not a list of different numbers", code="usage.bad_value", where="--seeds"
        )
    return [int(part) for part in parts]
