"""What a run is made of, read from TOML into dataclasses; a key that nothing reads is an error."""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from protclip_core.errors import UsageError

__all__ = ["DataConfig", "ModelConfig", "RunConfig", "TrainConfig", "load_config"]
__all__ += ["load_saved_config"]


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Shapes of the two encoders and of the joint space."""

    protein_layers: int
    protein_dim: int
    protein_heads: int
    text_layers: int
    text_dim: int
    text_heads: int
    projection_dim: int
    #: Residues of one inference window; training crops are shorter.
    max_residues: int = 1022


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """How pairs become batches."""

    #: Entries of the WordPiece vocabulary, trained on the training texts.
    vocab_size: int
    #: Text tokens, [CLS] and [SEP] counted; longer texts are cut.
    max_text_tokens: int
    #: Protein tokens of a batch, BOS and EOS counted.
    token_budget: int
    #: Proteins of a batch at most.
    max_pairs: int
    #: Crop lengths in residues, and the probability of each.
    crops: tuple[int, ...]
    crop_shares: tuple[float, ...]
    #: Share of windows that begin at residue 1, where signals for targeting stand.
    n_terminal_share: float = 0.25
    #: Share of texts without their tags, since a query is typed without them.
    tag_dropout: float = 0.25
    #: GO names of one text at most.
    max_go_names: int = 4

    def __post_init__(self) -> None:
        if len(self.crops) != len(self.crop_shares) or abs(sum(self.crop_shares) - 1) > 1e-6:
            msg = "crop_shares must give each of crops a probability, adding up to 1"
            raise UsageError(msg, where="[data]")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Optimisation, evaluation and checkpoints."""

    seed: int
    #: The run ends after this many steps, or minutes of training where these are given; the
    #: learning rate follows the one that is further along. Only steps make a run repeatable.
    max_steps: int
    max_minutes: float | None = None
    warmup_steps: int
    learning_rate: float
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    mlm_weight: float = 0.3
    mask_share: float = 0.15
    #: Share of the proteins of a batch that are masked; the others are seen whole.
    masked_proteins: float = 0.5
    evaluate_every: int
    evaluate_pairs: int = 500
    #: Residues of a protein in evaluation; the rest is cut.
    evaluate_residues: int = 512
    checkpoint_seconds: float = 120.0


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """One training run."""

    name: str
    model: ModelConfig
    data: DataConfig
    train: TrainConfig


def load_config(path: str | Path) -> RunConfig:
    """Read a TOML file with ``name`` and the tables ``model``, ``data`` and ``train``.

    Raises
    ------
    UsageError
        An unknown or missing key, named with its table.
    """
    with Path(path).open("rb") as file:
        content = tomllib.load(file)
    return _run_config(content, str(path))


def load_saved_config(path: str | Path) -> RunConfig:
    """Read the ``config.json`` of a run directory."""
    return _run_config(json.loads(Path(path).read_text(encoding="utf-8")), str(path))


def _run_config(content: dict[str, Any], where: str) -> RunConfig:
    tables = {"model": ModelConfig, "data": DataConfig, "train": TrainConfig}
    made = {
        key: _make(cls, content.get(key, {}), f"{where}: [{key}]") for key, cls in tables.items()
    }
    result: RunConfig = _make(RunConfig, content | made, where)
    return result


def _make(cls: Any, content: dict[str, Any], where: str) -> Any:  # noqa: ANN401
    unknown = sorted(set(content) - {item.name for item in fields(cls)})
    if unknown:
        raise UsageError(f"unknown key {unknown[0]!r}", where=where)
    values = {key: tuple(v) if isinstance(v, list) else v for key, v in content.items()}
    try:
        return cls(**values)
    except TypeError as error:
        raise UsageError(str(error).partition("() ")[2], where=where) from error
