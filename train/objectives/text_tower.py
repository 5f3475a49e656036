"""Losses of the text tower's own training: hidden words, two wordings, the place of each text.

Legend: G terms, N proteins, R texts of a step, D encoder width, P joint width.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from train.data.text_views import TextViews, Views
from train.objectives.gc import contrastive_loss
from train.towers.text_tower import TextTower

__all__ = ["PlaceLoss", "wording_loss", "words_loss"]

#: Terms against which a text's place is contrasted, in addition to those of the batch.
_OTHERS = 2_048


def words_loss(tower: TextTower, hidden: list[tuple[Tensor, Tensor]]) -> Tensor:
    """Cross-entropy of the hidden words, in nats; ``hidden`` is what `encode_rows` gives."""
    vectors, ids = (torch.cat(parts) for parts in zip(*hidden))
    if not len(ids):
        return vectors.sum() * 0
    return F.cross_entropy(tower.words(vectors), ids)


def wording_loss(tower: TextTower, vectors: Tensor, views: Views) -> Tensor:
    """Contrast of both wordings, of terms and of proteins; equal texts are no negatives."""
    scale, total, done = tower.pair_scale.exp(), vectors.new_zeros(()), 0
    again, own = len(views.terms), len(views.terms) + len(views.again)
    other = own + len(views.proteins)
    wordings = [
        (views.again, np.arange(again, own)),
        (np.arange(own, other), np.arange(other, len(views.rows))),
    ]
    for first, second in wordings:
        if len(first) > 1:
            keys = torch.tensor([hash(tuple(views.rows[place])) for place in second])
            total = total + contrastive_loss(
                vectors[torch.from_numpy(first)],
                vectors[torch.from_numpy(second)],
                scale=scale,
                same_text=keys.unsqueeze(1) == keys,
            )
            done += 1
    return total / max(done, 1)


class PlaceLoss:
    """Where texts lie, against where they should: cosine, and contrast with other terms.

    Parameters
    ----------
    views
        The corpus, with the places ``space`` of terms and ``targets`` of proteins.
    contrast
        Weight of the contrast.
    """

    def __init__(self, views: TextViews, contrast: float) -> None:
        self.space, self.contrast = torch.from_numpy(views.space), contrast
        self._targets = torch.from_numpy(views.targets)
        self._common = torch.from_numpy(views.common)

    def __call__(
        self, tower: TextTower, vectors: Tensor, views: Views, generator: torch.Generator
    ) -> Tensor:
        """Return the loss of unit vectors ``(R, P)`` of the texts of a step."""
        terms, again = torch.from_numpy(views.terms), torch.from_numpy(views.again)
        told = torch.cat([terms, terms[again]])
        own = self._targets[torch.from_numpy(views.proteins)]
        aims = torch.cat([self.space[told], own, own])
        known = aims.norm(dim=1) > 0.5
        cosine = (1 - (vectors * aims).sum(dim=1))[known].mean()
        number = len(self._common)
        drawn = torch.randint(number, (min(_OTHERS, number),), generator=generator)
        candidates = torch.cat([terms, self._common[drawn]])
        logits = tower.place_scale.exp() * vectors[: len(told)] @ self.space[candidates].T
        right = torch.cat([torch.arange(len(terms)), again])
        twice = candidates.unsqueeze(0) == told.unsqueeze(1)
        twice[torch.arange(len(told)), right] = False
        contrast = F.cross_entropy(logits.masked_fill(twice, -1e4), right)
        found: Tensor = cosine + self.contrast * contrast
        return found
