"""The plan of an epoch, and its batches.

Everything random is drawn from a generator that is derived from the seed, the epoch, the place
in it and the protein, never carried along: a resumed run sees the batch that it would have seen
anyway, with nothing to store but those numbers. A batch is planned, cropped and masked as a whole
on every rank, and each rank takes every W-th protein of it: whatever the number of ranks, they
see together what one process would see, and come to an end at the same step.

Legend: B pairs of a rank's part of a batch, S text tokens (padded to the longest), K properties,
M properties that are there, W ranks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from protclip_core.errors import UsageError
from train.config.run import DataConfig, ObjectivesConfig
from train.data.assemble import Own, make_batch, pack_windows
from train.data.batch import Batch
from train.data.composer import TextComposer
from train.data.masking import Masked, mask_batch, mask_residues
from train.data.pairs import PairSource, TokenPart
from train.data.structure_views import StructureViews
from train.data.substitutions import mutate
from train.data.text_variants import TextVariants

__all__ = ["EpochPlan", "PairData"]

# First words of the seeds, so that no two uses share a stream of random numbers.
_PLAN, _ROW, _MASK, _STRUCTURE, _VIEW = 1, 2, 3, 4, 5
# Proteins of a batch are cropped to the shortest, which may be this much shorter than any.
_STRETCH = 1.25


@dataclass(frozen=True, eq=False)
class EpochPlan:
    """Which proteins each batch of an epoch has, and how long their crops are.

    Attributes
    ----------
    rows, lengths
        Proteins and crop lengths in residues, batch behind batch.
    bounds
        First and last place of each batch in these, ``(batches, 2)``.
    """

    rows: np.ndarray
    lengths: np.ndarray
    bounds: np.ndarray

    def __len__(self) -> int:
        return len(self.bounds)

    def __getitem__(self, position: int) -> tuple[np.ndarray, np.ndarray]:
        """Return rows and crop lengths of a batch."""
        first, last = self.bounds[position]
        return self.rows[first:last], self.lengths[first:last]


class PairData:
    """Batches of a split, each a function of the seed and of its place in the run.

    Parameters
    ----------
    source, texts
        The pairs, and what makes texts of them.
    config, objectives
        Sizes, crops, masks.
    seed
        Of the run.
    rank, ranks
        Which part of each batch is taken.

    Attributes
    ----------
    variants
        Kept vectors of texts; ``None``: texts are given for encoding.
    pooled
        Kept vectors of proteins, ``(N, D)``; ``None``: there are none.
    views
        Structures; ``None``: nobody asks for them.

    Raises
    ------
    UsageError
        Fewer ``residue_pairs`` than ranks, each of which needs one.
    """

    def __init__(
        self,
        source: PairSource,
        texts: TextComposer,
        config: DataConfig,
        objectives: ObjectivesConfig,
        seed: int,
        *,
        rank: int = 0,
        ranks: int = 1,
    ) -> None:
        self.source, self.texts, self.config, self.seed = source, texts, config, seed
        self.objectives, self.rank, self.ranks = objectives, rank, ranks
        self._planned: tuple[int, EpochPlan] | None = None
        self.variants: TextVariants | None = None
        self.pooled: np.ndarray | None = None
        self.views: StructureViews | None = None
        self._few = config.residue_pairs if objectives.on_residues else 0
        if 0 < self._few < ranks:
            raise UsageError(
                f"{self._few} are too few for {ranks} ranks",
                code="usage.bad_value",
                where="[data] residue_pairs",
            )

    def plan(self, epoch: int) -> EpochPlan:
        """Return the batches of an epoch in training order.

        Every protein comes once, except for a few that are left over: a contrast needs two, and
        each rank at least one.
        """
        if self._planned is None or self._planned[0] != epoch:
            self._planned = epoch, self._make_plan(epoch)
        return self._planned[1]

    def batch(self, epoch: int, position: int) -> Batch:
        """Crop, mask and put together this rank's part of a batch of the plan."""
        rows, lengths = self.plan(epoch)[position]
        windows, close, own = [], [], Own()
        for place, (row, length) in enumerate(zip(rows.tolist(), lengths.tolist())):
            rng = np.random.default_rng((self.seed, _ROW, epoch, position, row))
            window = self._window(self.source.residues(row), length, rng)
            if self.config.mutate:
                window = mutate(window, self.config.mutate, rng)
            windows.append(window)
            if place < self._few:
                start = int(rng.integers(max(1, len(window) - self.config.residue_crop + 1)))
                close.append(window[start : start + self.config.residue_crop])
            if place % self.ranks == self.rank:
                self._add(own, row, rng, close=not self._few or place < self._few)
                self._add_modalities(own, row, (epoch, position, row))
        packed = pack_windows(windows)
        generator = self._mask_generator(_MASK, epoch, position)
        few = None
        if close:
            masked = Masked(whole=packed)
            few = mask_batch(pack_windows(close), self.objectives, generator)
            few = few.part(range(len(close))[self.rank :: self.ranks])
        else:
            masked = mask_batch(packed, self.objectives, generator)
        mine = range(len(rows))[self.rank :: self.ranks]
        masked = masked.part(mine)
        if self.objectives.intra_sequence:
            share = self.objectives.view_mask_share
            generator = self._mask_generator(_VIEW, epoch, position)
            other, _ = mask_residues(packed, share, generator)
            own.masked = Masked(whole=other).part(mine).whole
        size = len(packed.tokens)
        return make_batch(
            masked, own, self.texts, tokens=size, pairs=len(rows), few=few, views=self.views
        )

    def _add(self, own: Own, row: int, rng: np.random.Generator, *, close: bool) -> None:
        """Add what belongs to a protein to this rank's part of a batch."""
        on = self.objectives
        variant = None
        if self.variants is not None:
            variant = self.variants.choose(rng)
            own.first.add_kept(self.variants, row, variant)
        as_text = self.variants is None or bool(on.bsr and close)
        parts = self.source.parts(row) if as_text or on.pda else []
        if as_text:
            own.first.texts.append(self._text(parts, row, rng))
        if close:
            own.properties.append(self.texts.properties(parts) if on.pda else [])
        if on.go:
            own.go.append(self.source.go(row))
        if on.intra_text and self.variants is not None:
            own.second.add_kept(self.variants, row, self.variants.choose(rng, other=variant))
        elif on.intra_text:
            own.second.texts.append(self._text(parts, row, rng))

    def _text(self, parts: list[TokenPart], row: int, rng: np.random.Generator) -> list[int]:
        if self.config.texts == "whole":
            return self.texts.whole(parts)
        return self.texts.sample(parts, rng, self.source.accession(row))

    def _add_modalities(self, own: Own, row: int, place: tuple[int, int, int]) -> None:
        """Add a protein's cluster, kept vector and pieces of its structure."""
        own.clusters.append(int(self.source.clusters[row]))
        if self.pooled is not None:
            own.pooled.append(self.pooled[row])
        if self.views is None:
            return
        own.has_text.append(bool(self.source.has_text(row)))
        rng = np.random.default_rng((self.seed, _STRUCTURE, *place))
        name = self.source.accession(row)
        piece = self.views.draw(name, rng)
        if piece is not None:
            own.structure_rows.append(len(own.clusters) - 1)
            own.pieces.append(piece)
            if self.objectives.intra_structure:
                own.other_pieces.append(self.views.draw(name, rng) or piece)

    def _make_plan(self, epoch: int) -> EpochPlan:
        rng = np.random.default_rng((self.seed, _PLAN, epoch))
        config, number = self.config, len(self.source.lengths)
        wanted = rng.choice(config.crops, size=number, p=config.crop_shares)
        length = np.minimum(self.source.lengths, wanted)
        order = rng.permutation(number)
        if config.by_length:
            # The stable sort leaves those of equal length shuffled.
            order = order[np.argsort(length[order], kind="stable")]
        length = length[order]
        least = max(2, self.ranks)
        bounds, start = [], 0
        while start < number:
            stop = self._end(length, start, least)
            if stop - start >= least:
                bounds.append((start, stop))
                if config.equal_lengths and config.by_length:
                    length[start:stop] = length[start]
            start = stop
        table = np.array(bounds, dtype=np.int64).reshape(-1, 2)
        return EpochPlan(order, length, table[rng.permutation(len(table))])

    def _end(self, length: np.ndarray, start: int, least: int) -> int:
        """Where the batch that begins here ends; lengths rise, if they are in order at all."""
        most = length[start : start + self.config.max_pairs]
        if self.config.equal_lengths and self.config.by_length:
            fits = self.config.token_budget // (int(most[0]) + 2)
            alike = int(np.searchsorted(most, _STRETCH * most[0], side="right"))
            return start + min(max(least, fits), alike)
        fits = int(np.searchsorted(np.cumsum(most + 2), self.config.token_budget, side="right"))
        return start + min(max(least, fits), len(most))

    def _mask_generator(self, use: int, epoch: int, position: int) -> torch.Generator:
        seed = np.random.SeedSequence((self.seed, use, epoch, position)).generate_state(1)
        return torch.Generator().manual_seed(int(seed[0]))

    def _window(self, residues: np.ndarray, crop: int, rng: np.random.Generator) -> np.ndarray:
        start = int(rng.integers(len(residues) - crop + 1))
        if rng.random() < self.config.n_terminal_share:
            start = 0
        return residues[start : start + crop]
