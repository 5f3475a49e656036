"""The configuration of a run of the text tower; see `train.pretrain_text`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from protclip_core.encoders.projection_form import ProjectionForm
from protclip_core.errors import UsageError
from train.config.augment import with_paths
from train.config.run import DataConfig, TextConfig, TrainConfig
from train.config.tables import Natural, check_keys, make, read_toml

__all__ = ["TextObjectives", "TextRunConfig", "load_text_config"]


#: Keys of ``model`` and ``data`` are fields of `TextRunConfig` itself.
_TABLES = ("text", "model", "objectives", "train", "data")


@dataclass(frozen=True, kw_only=True)
class TextObjectives:
    """Weights, and the size of a step."""

    words: float = 0.2
    wording: float = 0.5
    place: float = 1.5
    #: Of the contrast within ``place``, beside the cosine.
    place_contrast: float = 0.3
    #: Terms of a step, those with a second wording, and proteins.
    terms: int = 256
    wordings: int = 32
    proteins: int = 32
    #: Learning rate of the word vectors, as a multiple: each is seen in few texts.
    word_rate: float = 4.0
    #: Tokens of a text while training; longer ones are cut.
    max_tokens: int = 48
    #: Share of the words that are hidden, in this share of the texts.
    mask_share: float = 0.15
    masked_texts: float = 0.25


@dataclass(frozen=True, kw_only=True)
class TextRunConfig:
    """One run of the text tower."""

    name: Annotated[str, Meta(min_length=1)]
    text: TextConfig
    #: Joint width, and the width of the hidden layer of the projection.
    projection_dim: Annotated[int, Meta(ge=2, multiple_of=2)]
    projection_hidden: Natural
    objectives: TextObjectives = field(default_factory=TextObjectives)
    train: TrainConfig
    train_split: str = "train"
    valid_split: str = "valid"

    def form(self) -> ProjectionForm:
        """Return the form of the projection."""
        return ProjectionForm(form="skip", hidden_dim=self.projection_hidden)

    @property
    def max_tokens(self) -> int:
        """Tokens of a text at most."""
        return self.text.shape["max_tokens"]

    def pairs(self) -> DataConfig:
        """Return what opens the pairs; sizes of protein batches do not matter here."""
        return DataConfig(
            train_split=self.train_split,
            valid_split=self.valid_split,
            token_budget=2,
            max_pairs=2,
            crops=(1,),
            crop_shares=(1.0,),
        )


def load_text_config(path: Path) -> TextRunConfig:
    """Read a TOML file: ``name``, tables ``text``, ``model``, ``objectives``, ``train``, ``data``.

    Raises
    ------
    UsageError
        No such file, no TOML, or a key that is unknown, missing or of a wrong value.
    """
    content = with_paths(read_toml(path), path.parent)
    check_keys([*_TABLES, "name"], content, str(path))
    flat = {key: value for key, value in content.items() if key not in ("model", "data")}
    for table in ("model", "data"):
        flat |= content.get(table) or {}
    made = make(TextRunConfig, flat, str(path))
    if made.text.weights is not None:
        raise UsageError(
            "a text tower starts from a shape",
            code="usage.bad_value",
            where=f"{path}: [text] weights",
        )
    return made
