"""What a run of the text tower is made of; see `train.pretrain_text`."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from protclip_core.encoders.projection_form import ProjectionForm
from protclip_core.errors import UsageError
from train.config.run import DataConfig, TextConfig, TrainConfig
from train.config.tables import check_keys, make_table

__all__ = ["TextObjectives", "TextRunConfig", "load_text_config"]


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

    name: str
    text: TextConfig
    #: Joint width, and the width of the hidden layer of the projection.
    projection_dim: int
    projection_hidden: int
    objectives: TextObjectives
    train: TrainConfig
    train_split: str = "train"
    valid_split: str = "valid"

    def form(self) -> ProjectionForm:
        """Return the form of the projection."""
        return ProjectionForm(form="skip", hidden_dim=self.projection_hidden)

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
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        reason = (error.strerror or "cannot be read").lower()
        raise UsageError(reason, where=str(path), hint="give a file of train/configs") from error
    except ValueError as error:
        raise UsageError(f"is not TOML ({error})", where=str(path)) from error
    check_keys(content, ["name", "text", "model", "objectives", "train", "data"], str(path))
    tables: dict[str, dict[str, Any]] = {
        name: dict(content.get(name) or {}) for name in ("text", "objectives", "train")
    }
    flat = {"name": content.get("name"), **content.get("model", {}), **content.get("data", {})}
    kinds = {"text": TextConfig, "objectives": TextObjectives, "train": TrainConfig}
    for name, kind in kinds.items():
        flat[name] = make_table(kind, tables[name], f"{path}: [{name}]")
    made: TextRunConfig = _make(flat, str(path))
    if made.text.weights is not None:
        raise UsageError("a text tower starts from a shape", where=f"{path}: [text] weights")
    if made.projection_dim % 2:
        raise UsageError("must be even", where=f"{path}: [model] projection_dim")
    return made


def _make(content: dict[str, Any], where: str) -> TextRunConfig:
    plain = {k: v for k, v in content.items() if k not in ("text", "objectives", "train")}
    kinds: dict[str, type] = {"name": str, "train_split": str, "valid_split": str}
    kinds |= {"projection_dim": int, "projection_hidden": int}
    check_keys(plain, list(kinds), where)
    for key, kind in kinds.items():
        if key in ("train_split", "valid_split") and key not in plain:
            continue
        if type(plain.get(key)) is not kind or not plain[key]:
            raise UsageError(f"key {key!r} is missing or of a wrong kind", where=where)
    return TextRunConfig(**content)
