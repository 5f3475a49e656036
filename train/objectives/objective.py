"""What an objective is: it takes what the towers make of a batch, and returns losses.

A new objective is a new file with a subclass of `Objective`, a line in `train.objectives.registry`
and a weight in `train.config.run.ObjectivesConfig`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from train.config.run import ObjectivesConfig
from train.data.batch import Batch
from train.data.go_bank import GoBank
from train.towers.two_towers import TwoTowers

__all__ = ["Context", "Objective", "Outputs"]

#: What the towers make of a batch, by name; `train.towers.passes` lists the names.
Outputs = dict[str, Tensor]


@dataclass(frozen=True, eq=False)
class Context:
    """What all objectives of a step share.

    Attributes
    ----------
    towers
        The model, for its projections, heads and temperature.
    ranks
        Processes that share the batch; see `train.objectives`. ``None`` for this one alone.
    generator
        Source of random numbers, on the device of the model.
    """

    towers: TwoTowers
    ranks: dist.ProcessGroup | None = None
    generator: torch.Generator | None = None


class Objective(nn.Module):
    """Base of the objectives; parameters of its own are trained and kept with the model.

    Parameters
    ----------
    config
        Settings of all objectives.
    bank
        GO terms of the bank; ``None`` where there are none.

    Attributes
    ----------
    name
        Key of its weight in the configuration, and of its loss.
    reads
        Names of the outputs that it needs.
    trains
        Parts of the model that it can move, beyond the input layer of the protein encoder.
        Parts that no objective of a run can move are frozen.
    """

    name: ClassVar[str]
    reads: ClassVar[frozenset[str]]
    trains: ClassVar[frozenset[str]]

    def __init__(self, config: ObjectivesConfig, bank: GoBank | None = None) -> None:
        super().__init__()
        self.config, self.bank = config, bank

    def forward(self, batch: Batch, outputs: Outputs, context: Context) -> dict[str, Tensor]:
        """Return scalars by name: its loss under `name`, and further figures of the step."""
        raise NotImplementedError

    def refresh(self, step: int, encode: Callable[[GoBank], Tensor]) -> None:
        """Prepare for a step; ``encode`` gives the pooled vectors of a bank of texts."""

    def figures(self) -> dict[str, float]:
        """Return what the metrics say of its state; all ranks call it."""
        return {}
