"""Which residues each objective hides, in the three passes of the paper or in one.

Legend: T protein tokens of a packed batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from protclip_core.encoders.packing import PackedTokens
from train.config.run import ObjectivesConfig
from train.objectives.bsr import mask_segments
from train.objectives.mlm import IGNORED, mask_residues

__all__ = ["Masked", "mask_batch"]


@dataclass(frozen=True, eq=False)
class Masked:
    """The proteins of a batch as the objectives see them; ``None`` for what nobody asks for.

    Attributes
    ----------
    whole
        For GC, PDA and GO. With a shared pass it is not whole: it holds both kinds of masks.
    residues, residue_targets
        For MLM: the batch with single residues masked, and their ids in ``(T,)``. With a shared
        pass there are targets alone.
    segments, segment_targets
        For BSR, likewise, with runs masked.
    """

    whole: PackedTokens
    residues: PackedTokens | None = None
    residue_targets: Tensor | None = None
    segments: PackedTokens | None = None
    segment_targets: Tensor | None = None

    def part(self, rows: Sequence[int]) -> Masked:
        """Return the proteins of some rows."""
        index = [torch.arange(a, a + n) for a, n in zip(self.whole.starts, self.whole.lengths)]
        places = torch.cat([index[row] for row in rows])
        lengths = tuple(self.whole.lengths[row] for row in rows)
        found: dict[str, PackedTokens | Tensor | None] = {}
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, PackedTokens):
                value = PackedTokens(value.tokens[places], lengths)
            elif value is not None:
                value = value[places]
            found[item.name] = value
        return Masked(**found)  # type: ignore[arg-type]

    def to(self, device: torch.device) -> Masked:
        """Return the same on another device."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        moved = {k: None if v is None else v.to(device) for k, v in values.items()}
        return Masked(**moved)  # type: ignore[arg-type]

    def passes(self, *, whole: bool = True) -> PackedTokens:
        """Return all passes as one batch: proteins do not see each other, so it is the same.

        ``whole`` false leaves out that of the whole proteins, where there is another.
        """
        every = (self._first(whole=whole), self.residues, self.segments)
        found = [part for part in every if part is not None]
        if len(found) == 1:
            return found[0]
        tokens = torch.cat([part.tokens for part in found])
        return PackedTokens(tokens, self.whole.lengths * len(found))

    def split(self, hidden: Tensor, *, whole: bool = True) -> tuple[Tensor, Tensor, Tensor]:
        """Cut the token vectors of `passes` into those of the whole, masked and segmented."""
        size = len(self.whole.tokens)
        parts = iter(hidden.split(size))
        first = hidden[:0] if self._first(whole=whole) is None else next(parts)
        residues = first if self.residues is None else next(parts)
        return first, residues, first if self.segments is None else next(parts)

    def _first(self, *, whole: bool) -> PackedTokens | None:
        return self.whole if whole or (self.residues is None and self.segments is None) else None


def mask_batch(batch: PackedTokens, config: ObjectivesConfig, generator: torch.Generator) -> Masked:
    """Mask what the objectives that are switched on restore.

    Parameters
    ----------
    batch
        Whole proteins, on the CPU.
    config
        Weights and shares.
    generator
        Source of the random numbers.
    """
    share = config.mask_share
    if config.shared_pass:
        return _shared(batch, config, generator)
    found: dict[str, PackedTokens | Tensor] = {}
    if config.mlm:
        found["residues"], found["residue_targets"] = mask_residues(batch, share, generator)
    if config.bsr:
        masked = mask_segments(batch, share, config.longest_run, generator)
        found["segments"], found["segment_targets"] = masked
    return Masked(whole=batch, **found)  # type: ignore[arg-type]


def _shared(batch: PackedTokens, config: ObjectivesConfig, generator: torch.Generator) -> Masked:
    """One pass: some proteins carry masked residues, others masked segments, the rest nothing."""
    tokens, residue_targets, segment_targets = batch.tokens, None, None
    if config.mlm:
        masked, residue_targets = mask_residues(
            batch, config.mask_share, generator, proteins=config.masked_proteins
        )
        tokens = masked.tokens
    if config.bsr:
        masked, every = mask_segments(batch, config.mask_share, config.longest_run, generator)
        taken = torch.rand(len(batch), generator=generator) < config.segmented_proteins
        if residue_targets is not None:
            owner = torch.arange(len(batch)).repeat_interleave(torch.tensor(batch.lengths))
            taken[owner[residue_targets != IGNORED]] = False
        inside = taken.repeat_interleave(torch.tensor(batch.lengths))
        segment_targets = every.masked_fill(~inside, IGNORED)
        tokens = torch.where(inside, masked.tokens, tokens)
    return Masked(
        whole=PackedTokens(tokens, batch.lengths),
        residue_targets=residue_targets,
        segment_targets=segment_targets,
    )
