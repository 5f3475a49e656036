"""The text vectors of a bank of GO terms, by the model that is trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from train.data.go_bank import GoBank

if TYPE_CHECKING:
    from train.loop.trainee import Trainee

__all__ = ["encode_bank", "unit_bank"]


def encode_bank(model: Trainee, bank: GoBank) -> Tensor:
    """Return the pooled text vectors of the bank, ``(M, D)``, without gradient."""
    device = model.towers.logit_scale.device
    parts = [
        model("encode_texts", ids.to(device), mask.to(device)) for _, ids, mask in bank.batches
    ]
    rows = torch.cat([rows for rows, _, _ in bank.batches]).to(device)
    vectors = torch.cat(parts)
    return torch.empty_like(vectors).index_copy(0, rows, vectors)


def unit_bank(model: Trainee, bank: GoBank) -> Tensor:
    """Return unit vectors of the terms, ``(N, P)`` float32, without gradient."""
    pooled = encode_bank(model, bank)
    owner = None if bank.owner is None else torch.from_numpy(bank.owner).to(pooled.device)
    found: Tensor = model("project_texts", pooled, owner, len(bank.columns))
    return found
