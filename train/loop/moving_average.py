"""A moving average of the parameters that learn."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule

__all__ = ["Averages"]


class Averages:
    """Exponential moving average of a module's parameters.

    Parameters
    ----------
    model
        On its device, and sharded where it is to be: each rank averages its own part. Parameters
        that do not learn are left out.
    decay
        Share of the past at each step, below 1; 0 keeps nothing, and nothing is done.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._model, self.decay = model, decay
        self._values: list[Tensor] = []
        self.take()

    @torch.no_grad()
    def take(self) -> None:
        """Begin anew, with the parameters as they are."""
        if self.decay:
            self._values = [value.clone() for value in self._present()]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move towards the parameters after a step, ``step`` counted from 1.

        The decay is at most ``(1 + step) / (10 + step)``, so that the start is soon forgotten.
        """
        if self.decay:
            decay = min(self.decay, (1 + step) / (10 + step))
            torch._foreach_lerp_(self._values, self._present(), 1 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Let the model have the averages for a while."""
        if not self.decay:
            yield
            return
        with torch.no_grad():
            kept = [value.clone() for value in self._present()]
            torch._foreach_copy_(self._present(), self._values)
        try:
            yield
        finally:
            with torch.no_grad():
                torch._foreach_copy_(self._present(), kept)

    def _present(self) -> list[Tensor]:
        """Return this rank's part of each parameter that learns, sharing its memory."""
        for module in self._model.modules():
            # After a forward pass alone, parameters are still gathered; what is written then
            # would be lost, or stay.
            if isinstance(module, FSDPModule):
                module.reshard()
        return [_local(value) for value in self._model.parameters() if value.requires_grad]


def _local(parameter: Any) -> Tensor:
    value = parameter.detach()
    part: Tensor = value.to_local() if hasattr(value, "to_local") else value
    return part
