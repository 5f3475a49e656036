"""Which residues each objective hides, in the three passes of the paper or in one.

Legend: T protein tokens of a packed batch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from protclip_core.encoders.alphabet import BOS, EOS, MASK
from protclip_core.encoders.packing import PackedTokens
from train.config.run import ObjectivesConfig

__all__ = ["IGNORED", "Masked", "mask_batch", "mask_residues", "mask_segments"]


#: Target of a token that is not to be restored.
IGNORED = -100


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


def mask_residues(
    batch: PackedTokens,
    share: float = 0.15,
    generator: torch.Generator | None = None,
    *,
    proteins: float = 1.0,
) -> tuple[PackedTokens, Tensor]:
    """Replace a random share of the residues by the mask token.

    Parameters
    ----------
    batch
        Packed proteins.
    share
        Probability that a residue is masked, in [0, 1]; BOS and EOS never are.
    generator
        Source of the random numbers (on the CPU).
    proteins
        Probability that a protein is masked at all, in [0, 1].

    Returns
    -------
    masked : PackedTokens
        The batch with `MASK` in place of the chosen residues.
    targets : Tensor
        The original ids where masked, `IGNORED` elsewhere; shape ``(T,)``, int64.
    """
    tokens = batch.tokens
    draws = torch.rand(len(tokens), generator=generator).to(tokens.device)
    taken = torch.rand(len(batch), generator=generator) < proteins
    taken = taken.repeat_interleave(torch.tensor(batch.lengths)).to(tokens.device)
    chosen = (draws < share) & taken & (tokens != BOS) & (tokens != EOS)
    targets = tokens.masked_fill(~chosen, IGNORED)
    return PackedTokens(tokens.masked_fill(chosen, MASK), batch.lengths), targets


def mask_segments(
    batch: PackedTokens,
    share: float = 0.15,
    longest: int = 10,
    generator: torch.Generator | None = None,
) -> tuple[PackedTokens, Tensor]:
    """Replace random runs of residues by the mask token.

    In each protein, runs are drawn until they cover the share; the last one is cut so that they
    cover no more. Their places are random, all arrangements being equally likely; runs do not
    overlap, but may touch.

    Parameters
    ----------
    batch
        Packed proteins, each with BOS and EOS, which are never masked.
    share
        Share of the residues of each protein that is masked, in [0, 1]; rounded up to whole
        residues, but one residue always stays, so that a protein of one is left alone.
    longest
        Longest run, at least 1; the length of a run is random between half of it and itself.
    generator
        Source of the random numbers (on the CPU).

    Returns
    -------
    masked : PackedTokens
        The batch with `MASK` in place of the chosen residues.
    targets : Tensor
        The original ids where masked, `IGNORED` elsewhere; shape ``(T,)``, int64.

    Raises
    ------
    ValueError
        ``share`` or ``longest`` out of range.
    """
    if not 0 <= share <= 1 or longest < 1:
        msg = f"need a share in [0, 1] and a longest run of 1 or more, got {share} and {longest}"
        raise ValueError(msg)
    # One draw from torch seeds NumPy, whose small draws cost a tenth.
    seed = int(torch.randint(1 << 62, (), generator=generator))
    rng = np.random.default_rng(seed)
    chosen = np.zeros(len(batch.tokens), dtype=bool)
    for start, length in zip(batch.starts, batch.lengths):
        residues = length - 2
        # Less a hair, since 0.07 * 100 comes out above 7.
        wanted = min(math.ceil(share * residues - 1e-9), residues - 1)
        if wanted > 0:
            first = start + 1
            chosen[first : first + residues] = _random_runs(residues, wanted, longest, rng)
    where = torch.from_numpy(chosen).to(batch.tokens.device)
    targets = batch.tokens.masked_fill(~where, IGNORED)
    return PackedTokens(batch.tokens.masked_fill(where, MASK), batch.lengths), targets


def _random_runs(size: int, wanted: int, longest: int, rng: np.random.Generator) -> np.ndarray:
    """Choose ``wanted`` of ``size`` places in runs; bool, shape ``(size,)``."""
    shortest = max(1, longest // 2)
    lengths = rng.integers(shortest, longest + 1, size=-(-wanted // shortest))
    ends = lengths.cumsum()
    number = int(np.searchsorted(ends, wanted)) + 1
    lengths = lengths[:number]
    lengths[-1] -= ends[number - 1] - wanted
    rng.shuffle(lengths)
    # Shrink every run to one place; choose those; then let the runs grow again.
    slots = np.sort(rng.choice(size - wanted + number, number, replace=False))
    starts = slots + lengths.cumsum() - lengths - np.arange(number)
    step = np.zeros(size + 1, dtype=np.int64)
    np.add.at(step, starts, 1)
    np.add.at(step, starts + lengths, -1)
    return step[:size].cumsum() > 0
