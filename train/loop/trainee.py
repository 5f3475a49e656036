"""The forward pass of training: a batch in, the losses of the objectives that are on out.

All of it is one module with one ``forward``, for that is where DistributedDataParallel and FSDP
hang their work; `Trainee.forward` also takes the other jobs that need the encoders (texts of the
GO bank, embeddings for evaluation).

Legend: B pairs of this rank, K properties, N terms of the bank, D width of the text encoder,
P joint width.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from protclip_core.encoders.packing import PackedTokens
from train.config.run import ObjectivesConfig
from train.data.batches import Batch
from train.data.go_bank import GoBank, vectors_of_terms
from train.data.go_targets import GoTargets
from train.objectives import total_loss
from train.objectives.bsr import bsr_loss
from train.objectives.gc import distributed_contrastive_loss
from train.objectives.mlm import IGNORED, mlm_loss
from train.objectives.multi_positive import multi_positive_sigmoid, multi_positive_softmax
from train.objectives.pda import pda_loss
from train.objectives.prior import prior_loss
from train.towers.two_towers import TwoTowers, mean_of_tokens

__all__ = ["Trainee", "exp_of"]


class Trainee(nn.Module):
    """The two towers with what only training needs.

    Parameters
    ----------
    towers
        The model.
    config
        Objectives and their weights.
    bank
        GO terms of the bank; ``None`` without the objective, or for its weights alone.
    bf16
        Whether products are taken in bfloat16 (autocast).

    Attributes
    ----------
    text_frozen
        Whether text encoder and text projection stay as they are.
    bank_vectors
        Of the bank, without gradient: pooled text vectors ``(texts, D)``, or, where the text side
        is frozen, unit vectors of the terms ``(N, P)``.
    every_vectors
        Unit vectors of all terms that evaluation scores, where the text side is frozen.
    """

    def __init__(
        self,
        towers: TwoTowers,
        config: ObjectivesConfig,
        bank: GoBank | None = None,
        *,
        bf16: bool = False,
    ) -> None:
        super().__init__()
        self.towers, self.config, self.bf16 = towers, config, bf16
        sides = (towers.text_encoder, towers.text_projection)
        self.text_frozen = not any(p.requires_grad for side in sides for p in side.parameters())
        self.go_logit_scale: nn.Parameter | None = None
        self.go_bias: nn.Parameter | None = None
        self._targets = None
        if config.go and bank is not None:
            self._targets = GoTargets(bank, config.go_aspect_weights)
        if config.go:
            start = config.go_scale or 1 / config.temperature
            self.go_logit_scale = nn.Parameter(torch.full((1,), math.log(start)))
            if config.go_form == "sigmoid":
                self.go_bias = nn.Parameter(torch.full((1,), -6.0))
        self.bank_vectors = torch.empty(0)
        self.every_vectors = torch.empty(0)

    @property
    def go_scale(self) -> float:
        """Factor of the cosines of GO; all ranks of a sharded model ask for it together."""
        assert self.go_logit_scale is not None
        return exp_of(self.go_logit_scale)

    def forward(self, job: str, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        """Do a job by its name: ``losses``, ``encode_texts``, ``embed`` and others."""
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

        With a prior on GO, its two parts come along as ``go_prior`` and ``go_rank``.

        Parameters
        ----------
        batch
            This rank's pairs.
        ranks
            Processes that share the batch; see `train.objectives`.
        generator
            Source of the noise of PDA and of the wrong terms of GO, on the device of the model.
        """
        on, towers, found = self.config, self.towers, {}
        learns = any(p.requires_grad for p in towers.protein_encoder.parameters())
        towers.protein_encoder.train(learns)
        towers.train_projections()
        proteins, whole, residues, segments = self._proteins(batch)
        if on.bsr or (on.gc and batch.text_vectors is None):
            text = self._text_hidden(batch.text_ids, batch.text_mask)
        if on.gc:
            texts = batch.text_vectors
            if texts is None:
                pooled = mean_of_tokens(text, batch.text_mask)
                texts = F.normalize(towers.text_projection(pooled), dim=-1)
            found["gc"] = distributed_contrastive_loss(
                proteins,
                texts,
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
        parts: dict[str, Tensor] = {}
        if on.go:
            found["go"], parts = self._go(proteins, batch, ranks, generator)
        loss = total_loss(found, {name: on.weights[name] for name in found})
        return {"loss": loss, **found, **parts}

    @torch.no_grad()
    def encode_texts(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return pooled vectors of texts, before the projection, ``(B, D)`` float32."""
        return self.towers.text_pooled(ids, mask).float()

    @torch.no_grad()
    def embed(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return unit vectors of proteins and of texts, each ``(B, P)`` float32."""
        self._rest()
        proteins = self._whole(batch.proteins)
        texts = self.towers.text_embedding(batch.text_ids, batch.text_mask)
        return proteins.float(), texts.float()

    @torch.no_grad()
    def embed_texts(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return unit vectors of texts, ``(B, P)`` float32."""
        self._rest()
        return self.towers.text_embedding(ids, mask).float()

    @torch.no_grad()
    def restore(self, masked: PackedTokens, targets: Tensor) -> Tensor:
        """Return the MLM loss of masked proteins, a mean in nats."""
        self._rest()
        chosen = targets != IGNORED
        hidden = self.towers.protein_hidden(masked)[chosen]
        return mlm_loss(self._residue_logits(hidden), targets[chosen])

    @torch.no_grad()
    def project_texts(self, pooled: Tensor, owner: Tensor | None = None, number: int = 0) -> Tensor:
        """Return unit vectors ``(N, P)`` float32 of what `encode_texts` gave.

        Several texts may be of one of ``number`` owners; see `vectors_of_terms`.
        """
        self._rest()
        return vectors_of_terms(self.towers.text_projection(pooled).float(), owner, number)

    def _rest(self) -> None:
        """Switch off what only learning does."""
        self.towers.protein_encoder.eval()
        self.towers.train_projections(learning=False)

    def _proteins(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Encode the proteins: unit vectors, and token vectors for PDA, MLM and BSR.

        What no objective asks for may be empty.
        """
        on, towers, close = self.config, self.towers, batch.close
        nothing = towers.logit_scale.new_empty(0)
        contrast = bool(on.gc or on.go)
        if towers.reads_input:
            return self._by_input(batch, nothing)
        if batch.few is None:
            parts = close.split(towers.protein_hidden(close.passes()))
            vectors = towers.protein_embedding(parts[0], close.whole) if contrast else nothing
            return vectors, *parts
        vectors = self._whole(batch.proteins) if contrast else nothing
        whole = bool(on.pda)
        parts = close.split(towers.protein_hidden(close.passes(whole=whole)), whole=whole)
        return vectors, *parts

    def _by_input(self, batch: Batch, nothing: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Do the same where projections read the encoder's input: its layers are for MLM alone."""
        on, towers, close = self.config, self.towers, batch.close
        embed, together = towers.protein_encoder.embed, batch.few is None
        residues, segments = (
            close.whole if part is None else part for part in (close.residues, close.segments)
        )
        contrast = bool(on.gc or on.go)
        whole = embed(close.whole) if on.pda or (contrast and together) else nothing
        vectors = nothing
        if contrast:
            hidden = whole if together else embed(batch.proteins)
            vectors = towers.protein_embedding(hidden, batch.proteins)
        return (
            vectors,
            whole,
            towers.protein_hidden(residues) if on.mlm else nothing,
            embed(segments) if on.bsr else nothing,
        )

    def _whole(self, batch: PackedTokens) -> Tensor:
        """Return unit vectors of proteins, ``(B, P)``; from the input alone, where that is read."""
        towers = self.towers
        if towers.reads_input:
            return towers.protein_embedding(towers.protein_encoder.embed(batch), batch)
        return towers.protein_embedding(towers.protein_hidden(batch), batch)

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
        targets = batch.close.residue_targets
        assert targets is not None
        chosen = targets != IGNORED
        return mlm_loss(self._residue_logits(hidden[chosen]), targets[chosen], ranks=ranks)

    def _bsr(
        self, hidden: Tensor, batch: Batch, text: Tensor, ranks: dist.ProcessGroup | None
    ) -> Tensor:
        targets, heads = batch.close.segment_targets, self.towers.residue_heads
        assert targets is not None
        assert heads is not None
        assert heads.segment_decoder is not None
        assert heads.segment_head is not None
        # The texts of the proteins that are looked at are the first.
        text, mask = text[: len(batch.close.whole)], batch.text_mask[: len(batch.close.whole)]
        return bsr_loss(
            self.towers.protein_projection(hidden[targets != IGNORED]),
            targets,
            batch.close.whole,
            self.towers.text_projection(text),
            mask,
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
            batch.close.whole,
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

    def _go(
        self,
        proteins: Tensor,
        batch: Batch,
        ranks: dist.ProcessGroup | None,
        generator: torch.Generator | None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Proteins against the bank; an aspect in which a protein has no term is not known."""
        targets, on = self._targets, self.config
        assert self.go_logit_scale is not None
        assert targets is not None
        targets.to(proteins.device)
        row, column = targets.right(batch.go)
        chosen = times = None
        if on.go_form == "prior" and on.go_negatives:
            chosen, times = targets.draw(column, on.go_negatives, generator)
        positive, known = targets.masks(len(proteins), row, column, chosen)
        options: dict[str, Any] = {
            "scale": self.go_logit_scale.exp(),
            "positive": positive,
            "known": known,
            "ranks": ranks,
        }
        bank = self._bank(chosen)
        if on.go_form == "softmax":
            return multi_positive_softmax(proteins, bank, **options), {}
        if self.go_bias is not None:
            return multi_positive_sigmoid(proteins, bank, bias=self.go_bias, **options), {}
        every = slice(None) if chosen is None else chosen
        odds, rank = prior_loss(
            proteins,
            bank,
            log_prior=targets.log_prior[every],
            counts=targets.counts[every],
            stands_for=times,
            weights=targets.weights[every],
            **options,
        )
        return odds + on.go_rank_weight * rank, {"go_prior": odds, "go_rank": rank}

    def _bank(self, chosen: Tensor | None) -> Tensor:
        """Return unit vectors of the bank's terms, or of some of them."""
        assert self._targets is not None
        if self.text_frozen:
            return self.bank_vectors if chosen is None else self.bank_vectors[chosen]
        texts, owner, number = self.bank_vectors, self._targets.owner, len(self._targets)
        if chosen is not None:
            number = len(chosen)
            if owner is None:
                texts = texts[chosen]
            else:
                kept = torch.isin(owner, chosen)
                texts, owner = texts[kept], torch.searchsorted(chosen, owner[kept])
        return vectors_of_terms(self.towers.text_projection(texts), owner, number)


def exp_of(parameter: nn.Parameter) -> float:
    """Return the exponential of a parameter of one element, which may be sharded."""
    value: Any = parameter.detach()
    return float((value.full_tensor() if hasattr(value, "full_tensor") else value).exp())
