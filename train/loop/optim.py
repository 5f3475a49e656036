"""The optimizer's groups and the learning rate."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import nn

from train.config.run import TrainConfig

__all__ = [
    "Progress",
    "learning_rate",
    "make_optimizer",
    "make_text_optimizer",
    "set_learning_rate",
    "share_done",
]

_ENCODERS = ("towers.protein_encoder.", "towers.text_encoder.", "towers.structure_encoder.")
_WORDS = "text_encoder.embeddings.word_embeddings.weight"
_TABLES = ("towers.protein_encoder.tables.", "towers.protein_encoder.gates.")


@dataclass
class Progress:
    """Where a run stands.

    Attributes
    ----------
    step
        Steps done.
    epoch, position
        Place of the next batch.
    batches
        Batches of this epoch; 0 before it is planned.
    seconds
        Time of training so far, as the first rank has it.
    stage
        Number of the stage, from 0.
    began
        Steps, passes and seconds at its beginning.
    """

    step: int = 0
    epoch: int = 0
    position: int = 0
    batches: int = 0
    seconds: float = 0.0
    stage: int = 0
    began: tuple[int, float, float] = (0, 0.0, 0.0)

    def next_stage(self) -> Progress:
        """Return the beginning of the next stage: here."""
        began = self.step, self.epochs, self.seconds
        return replace(self, stage=self.stage + 1, began=began)

    @property
    def epochs(self) -> float:
        """Passes over the data, with the part of the present one."""
        return self.epoch + self.position / max(self.batches, 1)


def make_optimizer(model: nn.Module, settings: TrainConfig) -> torch.optim.AdamW:
    """AdamW; biases, norms and temperatures do not decay, encoders may learn more slowly.

    Tables of k-mers may have a rate of their own: each of their rows is met in few steps.

    Parameters
    ----------
    model
        A `Trainee`; its frozen parameters are left out.
    settings
        Rates and decay.
    """

    def share(name: str) -> tuple[float, bool]:
        if settings.table_share != 1 and name.startswith(_TABLES):
            return settings.table_share, False
        return (settings.encoder_share if name.startswith(_ENCODERS) else 1.0), True

    return _adamw(model, settings, share)


def make_text_optimizer(
    tower: nn.Module, settings: TrainConfig, word_rate: float
) -> torch.optim.AdamW:
    """AdamW for a text tower; word vectors learn ``word_rate`` times faster, and do not decay."""
    return _adamw(tower, settings, lambda n: (word_rate, False) if n == _WORDS else (1.0, True))


def _adamw(
    model: nn.Module, settings: TrainConfig, share: Callable[[str], tuple[float, bool]]
) -> torch.optim.AdamW:
    """Group what learns by its share of the rate, and by whether it decays."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            own, decays = share(name)
            decay = settings.weight_decay if decays and parameter.ndim > 1 else 0.0
            groups.setdefault((own, decay), []).append(parameter)
    listed = [
        {"params": parameters, "weight_decay": decay, "share": own}
        for (own, decay), parameters in groups.items()
    ]
    # The fused form knows nothing of sharded parameters on a CPU.
    fused = settings.parallel == "ddp"
    first, second = settings.betas
    return torch.optim.AdamW(listed, lr=settings.learning_rate, betas=(first, second), fused=fused)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give each group its share of a rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["share"]


def learning_rate(progress: Progress, settings: TrainConfig) -> float:
    """Linear warm-up, then half a cosine down to ``final_share`` of the peak."""
    share, step = share_done(progress, settings), progress.step - progress.began[0]
    if step < settings.warmup_steps:
        return settings.learning_rate * (step + 1) / settings.warmup_steps
    if share < settings.warmup_share:
        # Not 0, which would make the first step one of nothing.
        return settings.learning_rate * max(share / settings.warmup_share, 0.01)
    curve = 0.5 * (1 + math.cos(math.pi * share))
    return settings.learning_rate * (settings.final_share + (1 - settings.final_share) * curve)


def share_done(progress: Progress, settings: TrainConfig) -> float:
    """Return how much of the stage is done, 0 to 1: the greatest share of its limits."""
    shares, (step, epochs, seconds) = [0.0], progress.began
    if settings.max_steps is not None:
        shares.append((progress.step - step) / settings.max_steps)
    if settings.max_epochs is not None:
        shares.append((progress.epochs - epochs) / settings.max_epochs)
    if settings.max_minutes is not None:
        shares.append((progress.seconds - seconds) / (60 * settings.max_minutes))
    return min(max(shares), 1.0)
