"""Which terms of the bank are right for the proteins of a batch, and which are looked at.

Legend: B proteins, N terms of the bank, M of them in a batch, X right pairs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from train.data.go_bank import GoBank, log_odds

__all__ = ["GoTargets"]


class GoTargets:
    """The bank as the loss of GO needs it.

    Parameters
    ----------
    bank
        Its terms.
    of_aspects
        Weights of MF, BP and CC.

    Attributes
    ----------
    log_prior, counts, weights
        Of each term, ``(N,)``; see `train.objectives.prior`.
    owner
        Term of each text, ``(texts,)``; ``None`` where each has one.
    """

    def __init__(self, bank: GoBank, of_aspects: Sequence[float] = (1.0, 1.0, 1.0)) -> None:
        place = np.full(int(bank.columns.max()) + 1, -1)
        place[bank.columns] = np.arange(len(bank.columns))
        self._place = torch.from_numpy(place)
        self._aspects = torch.from_numpy(bank.aspects).long()
        self.weights = torch.tensor(of_aspects)[self._aspects]
        self.counts = torch.from_numpy(bank.counts.astype(np.float32))
        self.log_prior = torch.from_numpy(log_odds(bank.counts, bank.annotated))
        self.owner = None if bank.owner is None else torch.from_numpy(bank.owner)

    def __len__(self) -> int:
        return len(self._aspects)

    def to(self, device: torch.device) -> None:
        """Move to where the proteins are."""
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                setattr(self, name, value.to(device))

    def right(self, go: Tensor) -> tuple[Tensor, Tensor]:
        """Turn pairs (row, term) ``(2, X)`` into rows and places in the bank, as far as inside."""
        row, term = go
        inside = term < len(self._place)
        row, column = row[inside], self._place[term[inside]]
        return row[column >= 0], column[column >= 0]

    def draw(
        self, column: Tensor, number: int, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        """Choose the terms of a batch: all that are right for any protein, and some others.

        Parameters
        ----------
        column
            Places of the right ones.
        number
            How many others, at most.
        generator
            Source of the random numbers, on the device of the bank.

        Returns
        -------
        tuple
            Places ``(M,)``, rising, and how many terms each of them stands for, float32.
        """
        right = torch.zeros(len(self), dtype=torch.bool, device=column.device)
        right[column] = True
        others = (~right).nonzero().squeeze(1)
        shuffled = torch.randperm(len(others), generator=generator, device=column.device)
        drawn = others[shuffled[:number]]
        times = torch.zeros(len(self), device=column.device)
        times[right] = 1.0
        times[drawn] = len(others) / max(len(drawn), 1)
        chosen = times.nonzero().squeeze(1)
        return chosen, times[chosen]

    def masks(
        self, proteins: int, row: Tensor, column: Tensor, chosen: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return which terms are right and which are known, each ``(B, N)`` bool.

        An aspect in which a protein has no term of the bank is not known. With ``chosen``, for
        these terms only, ``(B, M)``.
        """
        device = column.device
        positive = torch.zeros(proteins, len(self), dtype=torch.bool, device=device)
        positive[row, column] = True
        annotated = torch.zeros(proteins, 3, dtype=torch.bool, device=device)
        annotated[row, self._aspects[column]] = True
        if chosen is None:
            return positive, annotated[:, self._aspects]
        return positive[:, chosen], annotated[:, self._aspects[chosen]]
