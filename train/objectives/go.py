"""Proteins against a bank of GO terms, in one of three forms.

Beyond the paper. ``softmax`` and ``sigmoid`` are those of `train.objectives.multi_positive`,
``prior`` is that of `train.objectives.prior`.

Legend: B proteins, N terms of the bank, D width of the text encoder, P joint width.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from train.config.run import ObjectivesConfig
from train.data.batch import Batch
from train.data.go_bank import GoBank, vectors_of_terms
from train.data.go_targets import GoTargets
from train.objectives.multi_positive import multi_positive_sigmoid, multi_positive_softmax
from train.objectives.objective import Context, Objective, Outputs
from train.objectives.prior import prior_loss
from train.towers.two_towers import TwoTowers, exp_of

__all__ = ["TermContrast"]


class TermContrast(Objective):
    """Each protein against the terms of the bank; its scale, and a bias, are learnt.

    Attributes
    ----------
    vectors
        Of the bank, without gradient: pooled text vectors ``(texts, D)``, or, where the text side
        is frozen, unit vectors of the terms ``(N, P)``.
    """

    name = "go"
    reads = frozenset({"proteins"})
    trains = frozenset({"protein_projection", "text_projection"})

    def __init__(self, config: ObjectivesConfig, bank: GoBank | None = None) -> None:
        super().__init__(config, bank)
        if bank is None:
            raise ValueError("needs a bank of GO terms")
        self.targets = GoTargets(bank, config.go_aspect_weights)
        start = config.go_scale or 1 / config.temperature
        self.logit_scale = nn.Parameter(torch.full((1,), math.log(start)))
        sigmoid = config.go_form == "sigmoid"
        self.bias = nn.Parameter(torch.full((1,), -6.0)) if sigmoid else None
        self.vectors = torch.empty(0)

    @property
    def prior(self) -> bool:
        """Whether terms begin at their share of the training proteins."""
        return self.config.go_form == "prior"

    @property
    def scale(self) -> float:
        """Factor of the cosines; all ranks of a sharded model ask for it together."""
        return exp_of(self.logit_scale)

    def figures(self) -> dict[str, float]:
        """Return ``go_scale`` where it belongs to a score."""
        return {"go_scale": self.scale} if self.prior else {}

    def refresh(self, step: int, encode: Callable[[GoBank], Tensor]) -> None:
        """Encode the texts of the bank where it is time, by the step: a resumed run does so too."""
        every = self.config.go_every
        if self.bank is not None and (not len(self.vectors) or (every and not step % every)):
            self.vectors = encode(self.bank)

    def forward(self, batch: Batch, outputs: Outputs, context: Context) -> dict[str, Tensor]:
        """Return the loss; with a prior, also its parts ``go_prior`` and ``go_rank``.

        An aspect in which a protein has no term of the bank is not known.
        """
        proteins, targets, on = outputs["proteins"], self.targets, self.config
        targets.to(proteins.device)
        row, column = targets.right(batch.go)
        chosen = times = None
        if self.prior and on.go_negatives:
            chosen, times = targets.draw(column, on.go_negatives, context.generator)
        positive, known = targets.masks(len(proteins), row, column, chosen)
        terms = self._terms(context.towers, chosen)
        options: dict[str, Any] = {
            "scale": self.logit_scale.exp(),
            "positive": positive,
            "known": known,
            "ranks": context.ranks,
        }
        if self.bias is not None:
            return {self.name: multi_positive_sigmoid(proteins, terms, bias=self.bias, **options)}
        if not self.prior:
            return {self.name: multi_positive_softmax(proteins, terms, **options)}
        every = slice(None) if chosen is None else chosen
        odds, rank = prior_loss(
            proteins,
            terms,
            log_prior=targets.log_prior[every],
            counts=targets.counts[every],
            stands_for=times,
            weights=targets.weights[every],
            **options,
        )
        loss = odds + on.go_rank_weight * rank
        return {self.name: loss, "go_prior": odds, "go_rank": rank}

    def _terms(self, towers: TwoTowers, chosen: Tensor | None) -> Tensor:
        """Return unit vectors of the terms of the bank, or of some of them."""
        texts, owner, number = self.vectors, self.targets.owner, len(self.targets)
        if towers.text_frozen:
            return texts if chosen is None else texts[chosen]
        if chosen is not None:
            number = len(chosen)
            if owner is None:
                texts = texts[chosen]
            else:
                kept = torch.isin(owner, chosen)
                texts, owner = texts[kept], torch.searchsorted(chosen, owner[kept])
        return vectors_of_terms(towers.text_projection(texts), owner, number)
