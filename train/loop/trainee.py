"""What is trained: towers, and the objectives that are on. A batch in, losses out.

`Trainee.forward` is one step's forward pass, top to bottom; DistributedDataParallel and FSDP hang
their work there. The other methods look at the model as it is, for evaluation.

Legend: B pairs of this rank, N terms of the bank, D width of the text encoder, P joint width.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Concatenate, ParamSpec, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from protclip_core.encoders.packing import PackedTokens
from train.data.batch import Batch
from train.data.go_bank import GoBank, vectors_of_terms
from train.data.masking import IGNORED
from train.objectives.go import TermContrast
from train.objectives.mlm import mlm_loss
from train.objectives.objective import Context, Objective, Outputs
from train.towers.passes import PASSES
from train.towers.two_towers import TwoTowers

__all__ = ["LOOKS", "Trainee"]

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")
#: Methods other than `forward` that need whole parameters of a sharded model.
LOOKS: tuple[str, ...] = ("embed", "embed_structures", "embed_texts", "encode_proteins")
LOOKS += ("encode_texts", "project_texts", "restore")


def _look(
    method: Callable[Concatenate[Trainee, Parameters], Result],
) -> Callable[Concatenate[Trainee, Parameters], Result]:
    """Let a method look at the model as it is: without gradient and dropout."""

    @functools.wraps(method)
    def looking(self: Trainee, *args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        self.towers.switch_dropout(learning=False)
        with torch.no_grad(), self.precision():
            return method(self, *args, **kwargs)

    return looking


class Trainee(nn.Module):
    """Towers and objectives.

    Parameters
    ----------
    towers
        The model.
    objectives
        Those that are on, in order.
    weights
        Of each objective, by name.
    bf16
        Whether products are taken in bfloat16 (autocast).

    Attributes
    ----------
    every_vectors
        Unit vectors of all terms that evaluation scores, where the text side is frozen.
    """

    def __init__(
        self,
        towers: TwoTowers,
        objectives: Sequence[Objective],
        weights: Mapping[str, float],
        *,
        bf16: bool = False,
    ) -> None:
        super().__init__()
        self.objectives = nn.ModuleDict({one.name: one for one in objectives})
        self._each = tuple(objectives)
        self.towers, self.weights, self.bf16 = towers, weights, bf16
        self.reads: frozenset[str] = frozenset().union(*(one.reads for one in objectives))
        self.every_vectors = torch.empty(0)

    @property
    def go(self) -> TermContrast | None:
        """The objective of GO, where it is on."""
        return next((one for one in self._each if isinstance(one, TermContrast)), None)

    def precision(self) -> torch.autocast:
        """Return the context in which the towers work."""
        device = self.towers.logit_scale.device.type
        return torch.autocast(device, dtype=torch.bfloat16, enabled=self.bf16)

    def forward(
        self,
        batch: Batch,
        ranks: dist.ProcessGroup | None = None,
        generator: torch.Generator | None = None,
    ) -> dict[str, Tensor]:
        """Return ``loss``, the weighted sum, and what each objective found.

        Parameters
        ----------
        batch
            This rank's pairs.
        ranks
            Processes that share the batch; see `train.objectives`.
        generator
            Source of the noise of PDA and of the wrong terms of GO, on the device of the model.
        """
        with self.precision():
            self.towers.switch_dropout(learning=True)
            outputs: Outputs = {}
            for make in PASSES:
                outputs |= make(self.towers, batch, self.reads, generator)
            context = Context(self.towers, ranks, generator)
            found: dict[str, Tensor] = {}
            for objective in self._each:
                found |= objective(batch, outputs, context)
            loss = sum(self.weights[name] * found[name] for name in self.objectives)
            return {"loss": torch.as_tensor(loss), **found}

    def refresh(self, step: int) -> None:
        """Let the objectives prepare for a step; a text side that is frozen has prepared before."""
        if not self.towers.text_frozen:
            for objective in self._each:
                objective.refresh(step, self.encode_bank)

    def figures(self) -> dict[str, float]:
        """Return what the metrics say of the state of the objectives."""
        return {k: v for one in self._each for k, v in one.figures().items()}

    @_look
    def encode_texts(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return pooled vectors of texts, before the projection, ``(B, D)`` float32."""
        return self.towers.text_pooled(ids, mask).float()

    @_look
    def embed(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return unit vectors of proteins and of texts, each ``(B, P)`` float32."""
        texts = self.towers.text_embedding(batch.text_ids, batch.text_mask)
        return self.towers.protein_vectors(batch.proteins).float(), texts.float()

    @_look
    def embed_structures(self, batch: Batch) -> Tensor:
        """Return unit vectors of the structures of a batch, ``(M, P)`` float32."""
        assert batch.structures is not None
        return self.towers.structure_vectors(batch.structures).float()

    @_look
    def encode_proteins(self, proteins: PackedTokens) -> Tensor:
        """Return pooled vectors of proteins, before the projection, ``(B, D)`` float32."""
        return self.towers.protein_pooled(proteins).float()

    @_look
    def embed_texts(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return unit vectors of texts, ``(B, P)`` float32."""
        return self.towers.text_embedding(ids, mask).float()

    @_look
    def restore(self, masked: PackedTokens, targets: Tensor) -> Tensor:
        """Return the MLM loss of masked proteins, a mean in nats."""
        chosen = targets != IGNORED
        hidden = self.towers.protein_hidden(masked)[chosen]
        return mlm_loss(self.towers.residue_logits(hidden), targets[chosen])

    @_look
    def project_texts(self, pooled: Tensor, owner: Tensor | None = None, number: int = 0) -> Tensor:
        """Return unit vectors ``(N, P)`` float32 of what `encode_texts` gave.

        Several texts may be of one of ``number`` owners; see `vectors_of_terms`.
        """
        return vectors_of_terms(self.towers.text_projection(pooled).float(), owner, number)

    def encode_bank(self, bank: GoBank) -> Tensor:
        """Return the pooled text vectors of a bank, ``(texts, D)``, without gradient."""
        device = self.towers.logit_scale.device
        parts = [
            self.encode_texts(ids.to(device), mask.to(device)) for _, ids, mask in bank.batches
        ]
        rows = torch.cat([rows for rows, _, _ in bank.batches]).to(device)
        vectors = torch.cat(parts)
        return torch.empty_like(vectors).index_copy(0, rows, vectors)

    def unit_bank(self, bank: GoBank) -> Tensor:
        """Return unit vectors of the terms of a bank, ``(N, P)`` float32, without gradient."""
        pooled = self.encode_bank(bank)
        owner = None if bank.owner is None else torch.from_numpy(bank.owner).to(pooled.device)
        return self.project_texts(pooled, owner, len(bank.columns))
