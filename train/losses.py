"""The forward pass of training: a batch in, the losses of the objectives that are on out.

All of it is one module with one ``forward``, for that is where DistributedDataParallel and FSDP
hang their work; `Trainee.forward` also takes the other jobs that need the encoders (texts of the
GO bank, embeddings for evaluation).

Legend: B pairs of this rank, K properties, N terms of the bank, P joint width.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from protclip_core.models.packing import PackedTokens
from train.config import ObjectivesConfig
from train.data import Batch
from train.model import TwoTowers, mean_of_tokens
from train.objectives import total_loss
from train.objectives.bsr import bsr_loss
from train.objectives.gc import distributed_contrastive_loss
from train.objectives.mlm import IGNORED, mlm_loss
from train.objectives.multi_positive import multi_positive_sigmoid, multi_positive_softmax
from train.objectives.pda import pda_loss

__all__ = ["Trainee"]


class Trainee(nn.Module):
    """The two towers with what only training needs.

    Parameters
    ----------
    towers
        The model.
    config
        Objectives and their weights.
    bank
        GO terms of the bank, ``(N,)`` numbers in the table of terms, and the aspect of each;
        ``None`` without the objective.
    bf16
        Whether products are taken in bfloat16 (autocast).
    """

    def __init__(
        self,
        towers: TwoTowers,
        config: ObjectivesConfig,
        bank: tuple[np.ndarray, np.ndarray] | None = None,
        *,
        bf16: bool = False,
    ) -> None:
        super().__init__()
        self.towers, self.config, self.bf16 = towers, config, bf16
        self.go_logit_scale: nn.Parameter | None = None
        self.go_bias: nn.Parameter | None = None
        if config.go:
            assert bank is not None
            self.go_logit_scale = nn.Parameter(torch.full((1,), math.log(1 / config.temperature)))
            if config.go_form == "sigmoid":
                self.go_bias = nn.Parameter(torch.full((1,), -6.0))
            terms, aspects = bank
            place = np.full(int(terms.max()) + 1, -1)
            place[terms] = np.arange(len(terms))
            self._place, self._aspects = torch.from_numpy(place), torch.from_numpy(aspects).long()
        #: Pooled text vectors of the bank, ``(N, D)``, without gradient; see `encode_texts`.
        self.bank_vectors = torch.empty(0)

    def forward(self, job: str, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        """Do a job by its name: ``losses``, ``encode_texts``, ``embed``."""
        device = self.towers.logit_scale.device.type
        with torch.autocast(device, dtype=torch.bfloat16, enabled=self.bf16):
            return getattr(self, job)(*args, **kwargs)

    def losses(
        self,
        batch: Batch,
        ranks: dist.ProcessGroup | None = None,
        generator: torch.Generator | None = None,
    ) -> dict[str, Tensor]:
        """Return the loss of each objective and ``loss``, their weighted sum.

        Parameters
        ----------
        batch
            This rank's pairs.
        ranks
            Processes that share the batch; see `train.objectives`.
        generator
            Source of the noise of PDA, on the device of the model.
        """
        on, towers, found = self.config, self.towers, {}
        learns = any(p.requires_grad for p in towers.protein_encoder.parameters())
        towers.protein_encoder.train(learns)
        masked = batch.masked
        whole, residues, segments = masked.split(towers.protein_hidden(masked.passes()))
        if on.gc or on.bsr:
            text = self._text_hidden(batch.text_ids, batch.text_mask)
        if on.gc or on.go:
            proteins = towers.protein_embedding(whole, masked.whole)
        if on.gc:
            pooled = mean_of_tokens(text, batch.text_mask)
            found["gc"] = distributed_contrastive_loss(
                proteins,
                F.normalize(towers.text_projection(pooled), dim=-1),
                scale=towers.logit_scale.exp(),
                ranks=ranks,
                text_keys=batch.text_keys,
                form=on.gc_form,
            )
        if on.bsr:
            found["bsr"] = self._bsr(segments, batch, text, ranks)
        if on.mlm:
            found["mlm"] = self._mlm(residues, batch, ranks)
        if on.pda:
            found["pda"] = self._pda(whole, batch, ranks, generator)
        if on.go:
            found["go"] = self._go(proteins, batch, ranks)
        loss = total_loss(found, {name: on.weights[name] for name in found})
        return {"loss": loss, **found}

    @torch.no_grad()
    def encode_texts(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return pooled vectors of texts, before the projection, ``(B, D)`` float32."""
        return self.towers.text_pooled(ids, mask).float()

    @torch.no_grad()
    def embed(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return unit vectors of proteins and of texts, each ``(B, P)`` float32."""
        self.towers.protein_encoder.eval()
        hidden = self.towers.protein_hidden(batch.proteins)
        proteins = self.towers.protein_embedding(hidden, batch.proteins)
        texts = self.towers.text_embedding(batch.text_ids, batch.text_mask)
        return proteins.float(), texts.float()

    @torch.no_grad()
    def restore(self, masked: PackedTokens, targets: Tensor) -> Tensor:
        """Return the MLM loss of masked proteins, a mean in nats."""
        self.towers.protein_encoder.eval()
        chosen = targets != IGNORED
        hidden = self.towers.protein_hidden(masked)[chosen]
        return mlm_loss(self._residue_logits(hidden), targets[chosen])

    @torch.no_grad()
    def project_texts(self, pooled: Tensor) -> Tensor:
        """Return unit vectors ``(N, P)`` float32 of what `encode_texts` gave."""
        return F.normalize(self.towers.text_projection(pooled), dim=-1).float()

    def _text_hidden(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Text token vectors; without a graph where the encoder is frozen."""
        with torch.set_grad_enabled(self._text_learns and torch.is_grad_enabled()):
            return self.towers.text_hidden(ids, mask)

    @property
    def _text_learns(self) -> bool:
        return any(p.requires_grad for p in self.towers.text_encoder.parameters())

    def _residue_logits(self, hidden: Tensor) -> Tensor:
        heads = self.towers.residue_heads
        if heads is not None and heads.mlm is not None:
            found: Tensor = heads.mlm(hidden)
        else:
            found = self.towers.protein_encoder.logits(hidden)
        return found

    def _mlm(self, hidden: Tensor, batch: Batch, ranks: dist.ProcessGroup | None) -> Tensor:
        targets = batch.masked.residue_targets
        assert targets is not None
        chosen = targets != IGNORED
        return mlm_loss(self._residue_logits(hidden[chosen]), targets[chosen], ranks=ranks)

    def _bsr(
        self, hidden: Tensor, batch: Batch, text: Tensor, ranks: dist.ProcessGroup | None
    ) -> Tensor:
        targets, heads = batch.masked.segment_targets, self.towers.residue_heads
        assert targets is not None
        assert heads is not None
        assert heads.segment_decoder is not None
        assert heads.segment_head is not None
        return bsr_loss(
            self.towers.protein_projection(hidden[targets != IGNORED]),
            targets,
            batch.proteins,
            self.towers.text_projection(text),
            batch.text_mask,
            decoder=heads.segment_decoder,
            head=heads.segment_head,
            ranks=ranks,
        )

    def _pda(
        self,
        hidden: Tensor,
        batch: Batch,
        ranks: dist.ProcessGroup | None,
        generator: torch.Generator | None,
    ) -> Tensor:
        heads = self.towers.residue_heads
        assert heads is not None
        assert heads.prototypes is not None
        assert heads.segment_logit_scale is not None
        # As in the paper, the texts of the properties are encoded without gradient.
        with torch.no_grad():
            pooled = self.towers.text_pooled(batch.property_ids, batch.property_mask)
        projected = self.towers.text_projection(pooled)
        properties = projected.new_zeros((*batch.present.shape, projected.shape[-1]))
        properties[batch.present] = projected
        return pda_loss(
            self.towers.protein_projection(hidden),
            batch.proteins,
            properties,
            batch.present,
            bank=heads.prototypes,
            scale=heads.segment_logit_scale.exp(),
            threshold=self.config.theta,
            temperature=self.config.prototype_temperature,
            gumbel=self.config.gumbel,
            generator=generator,
            ranks=ranks,
        )

    def _go(self, proteins: Tensor, batch: Batch, ranks: dist.ProcessGroup | None) -> Tensor:
        """Proteins against the bank; an aspect in which a protein has no term is not known."""
        assert self.go_logit_scale is not None
        bank = F.normalize(self.towers.text_projection(self.bank_vectors), dim=-1)
        device = proteins.device
        self._place, self._aspects = self._place.to(device), self._aspects.to(device)
        row, term = batch.go
        inside = term < len(self._place)
        row, column = row[inside], self._place[term[inside]]
        row, column = row[column >= 0], column[column >= 0]
        positive = torch.zeros(len(proteins), len(bank), dtype=torch.bool, device=device)
        positive[row, column] = True
        annotated = torch.zeros(len(proteins), 3, dtype=torch.bool, device=device)
        annotated[row, self._aspects[column]] = True
        options: dict[str, Any] = {
            "scale": self.go_logit_scale.exp(),
            "positive": positive,
            "known": annotated[:, self._aspects],
            "ranks": ranks,
        }
        if self.go_bias is not None:
            return multi_positive_sigmoid(proteins, bank, bias=self.go_bias, **options)
        return multi_positive_softmax(proteins, bank, **options)
