"""How the ranks share the work: DistributedDataParallel, or FSDP for what does not fit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.nn.parallel import DistributedDataParallel

from train.loop.ranks import Ranks
from train.loop.trainee import LOOKS, Trainee

__all__ = ["clip_gradients", "gradients_wait", "share_work"]


def share_work(model: Trainee, parallel: str, ranks: Ranks) -> nn.Module:
    """Return the module whose ``forward`` the steps call.

    Parameters
    ----------
    model
        On the device of the rank. With ``"fsdp"`` its parameters are sharded in place, layer by
        layer, and gathered while a layer is at work.
    parallel
        ``"ddp"`` or ``"fsdp"``; neither does anything in a run of one.
    ranks
        Those who share it.
    """
    if ranks.group is None:
        return model
    if parallel == "fsdp":
        for layer in model.towers.layers():
            fully_shard(layer)
        fully_shard(model)
        for name in LOOKS:
            register_fsdp_forward_method(model, name)
        return model
    devices = [ranks.device] if ranks.device.type == "cuda" else None
    return DistributedDataParallel(model, device_ids=devices, gradient_as_bucket_view=True)


def gradients_wait(module: nn.Module, *, wait: bool) -> AbstractContextManager[Any]:
    """Keep gradients on their rank, for all batches of a step but the last."""
    if isinstance(module, DistributedDataParallel) and wait:
        return module.no_sync()
    if isinstance(module, FSDPModule):
        return _unsynced(module, wait=wait)
    return nullcontext()


def clip_gradients(module: nn.Module, limit: float) -> Tensor:
    """Clip the gradients to a common norm, and return what it was."""
    norm = torch.nn.utils.clip_grad_norm_(module.parameters(), limit)
    return norm.full_tensor() if hasattr(norm, "full_tensor") else norm


@contextmanager
def _unsynced(module: FSDPModule, *, wait: bool) -> Iterator[None]:
    module.set_requires_gradient_sync(not wait)
    yield
