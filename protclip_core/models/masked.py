"""Probabilities of residues at places that are masked: the kernel behind the scores of variants.

A *job* is one sequence in which some places are masked and read. Jobs are packed without padding.
Of the last layer of ESM-2 only what is read is computed, see `protclip_core.encoders.esm2_masked`.

A protein beyond one window is cut so that the place that is read stands in the middle, as far as
the protein reaches. An encoder of finite reach (k-mers) sees no more than that of a protein, so it
gets no more: the numbers are those of the whole protein.

Legend: B jobs of a batch, K places read in a job, L residues, T tokens of a batch, A letters.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from protclip_core.encoders.encoder import Encoder
from protclip_core.encoders.esm2_inference import Esm2Inference
from protclip_core.encoders.esm2_masked import hidden_at
from protclip_core.encoders.kmer_inference import KmerInference
from protclip_core.encoders.packing import PackedTokens, pack
from protclip_core.errors import UsageError
from protclip_core.models.protein import ProteinModel
from protclip_core.models.settings import resolve_settings
from protclip_core.variants.residues import LETTERS

__all__ = ["MaskedReader", "ReadJob"]

_MASKS = ("<mask>", "[MASK]")


@dataclass(frozen=True, slots=True)
class ReadJob:
    """Tokens of one forward pass, and where its logits are read.

    Attributes
    ----------
    tokens
        Ids with their masks, BOS and EOS included, ``(T,)``.
    places
        Tokens to read, counted from BOS, ``(K,)``; ascending.
    """

    tokens: np.ndarray
    places: tuple[int, ...]


class MaskedReader:
    """Reads log probabilities of residues off a model; safe to call from several threads.

    Parameters
    ----------
    model
        The loaded model.

    Attributes
    ----------
    window
        Residues that a job holds at most.
    is_local
        Whether the window is the reach of the encoder, so that cutting changes no number.

    Raises
    ------
    UsageError
        The model has no head for residues, or no token that masks one.
    """

    def __init__(self, model: ProteinModel) -> None:
        self.model = model
        self._encoder: Encoder = model.encoder
        self._head: Callable[[Tensor], Tensor] = model._residue_head()
        self._mask = _mask_token(model)
        settings = resolve_settings(model.info, self._encoder.num_layers)
        self.window = settings.max_residues
        reach = _reach(self._encoder)
        self.is_local = reach is not None and 2 * reach + 1 <= self.window
        if self.is_local:
            assert reach is not None
            self.window = 2 * reach + 1
        tokens = model.residue_tokens
        known = [tokens.index(a) if a in tokens else -1 for a in LETTERS]
        self._columns = torch.tensor(known)

    def jobs(self, sequence: str, masked: Sequence[int]) -> list[ReadJob]:
        """Forward passes that tell about places of a sequence, all of them masked at once.

        Parameters
        ----------
        sequence
            Upper-case residues.
        masked
            Places from 0, ascending and distinct.

        Returns
        -------
        list of ReadJob
            One that reads all, where the sequence fits the window; else one for each place, with
            that place in the middle and all masked places of its window masked.
        """
        if len(sequence) <= self.window:
            return [self._job(sequence, masked, masked, 0)]
        found = []
        for place in masked:
            start = min(max(place - self.window // 2, 0), len(sequence) - self.window)
            inside = [p for p in masked if start <= p < start + self.window]
            found.append(self._job(sequence[start : start + self.window], inside, (place,), start))
        return found

    def is_windowed(self, sequence: str) -> bool:
        """Whether a sequence is cut in a way that may change numbers."""
        return not self.is_local and len(sequence) > self.window

    @torch.inference_mode()
    def read(self, jobs: Sequence[ReadJob]) -> np.ndarray:
        """Run one batch.

        Parameters
        ----------
        jobs
            All of one number of places ``K``; neighbours of one length are the faster.

        Returns
        -------
        numpy.ndarray
            Logarithms of probabilities among all tokens, ``(B, K, A)`` float64; columns as
            `LETTERS`, NaN for a letter without a token.
        """
        batch = pack(job.tokens for job in jobs)
        rows = torch.tensor(
            [start + p for start, job in zip(batch.starts, jobs, strict=True) for p in job.places],
            device=self._encoder.device,
        )
        # In double precision on the CPU: not every device has it.
        logits = self._head(self._hidden(batch, rows).float()).cpu().double()
        logs = torch.log_softmax(logits, dim=-1)[:, self._columns]
        logs[:, self._columns < 0] = torch.nan
        found: np.ndarray = logs.view(len(jobs), -1, len(LETTERS)).numpy()
        return found

    def read_unmasked(self, sequence: str) -> np.ndarray:
        """Log probabilities ``(L, A)`` from the sequence as it is, nothing masked; float64.

        Of a protein beyond one window, the vectors of overlapping windows are averaged, see
        `ProteinModel.residue_logits`.
        """
        logits = torch.from_numpy(self.model.residue_logits([sequence])[0][1:-1]).double()
        logs = torch.log_softmax(logits, dim=-1)[:, self._columns]
        logs[:, self._columns < 0] = torch.nan
        found: np.ndarray = logs.numpy()
        return found

    def flops(self, num_residues: int) -> int:
        """Operations of one forward pass over a protein of so many residues, about."""
        tokens = min(num_residues, self.window) + 2
        config = getattr(self._encoder, "config", None)
        if hasattr(config, "flops"):
            return int(config.flops(tokens))  # type: ignore[union-attr]
        width = self._encoder.hidden_dim
        return 24 * self._encoder.num_layers * tokens * width * width

    def _job(
        self, residues: str, masked: Sequence[int], read: Sequence[int], start: int
    ) -> ReadJob:
        tokens = self._encoder.encode(residues).copy()
        tokens[[p - start + 1 for p in masked]] = self._mask
        return ReadJob(tokens, tuple(p - start + 1 for p in read))

    def _hidden(self, batch: PackedTokens, rows: Tensor) -> Tensor:
        if isinstance(self._encoder, Esm2Inference):
            return hidden_at(self._encoder, batch, rows)
        return self._encoder.hidden(batch)[self._encoder.num_layers][rows]


def _reach(encoder: Encoder) -> int | None:
    """Residues to each side that a token's logits depend on; None for the whole protein."""
    if isinstance(encoder, KmerInference) and not encoder.config.gate:
        return encoder.config.reach
    return None


def _mask_token(model: ProteinModel) -> int:
    for name in _MASKS:
        if name in model.residue_tokens:
            return model.residue_tokens.index(name)
    raise UsageError(
        f"model {model.info.name} has no token that masks a residue",
        code="usage.no_mlm_head",
        hint="use --method wt-marginals, or a masked language model such as ESM-2",
    )
