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

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from protclip_core.models.alphabet import BOS, EOS
from protclip_core.models.packing import PackedTokens, pack
from train.composer import PROPERTY_TAGS, TextComposer
from train.config import DataConfig, ObjectivesConfig
from train.masking import Masked, mask_batch
from train.objectives.gc import hash_texts
from train.pairs import PairSource, read_proteins

__all__ = ["Batch", "EpochPlan", "PairData", "full_batch", "read_proteins"]

# First words of the seeds, so that no two uses share a stream of random numbers.
_PLAN, _ROW, _MASK = 1, 2, 3
# Proteins of a batch are cropped to the shortest, which may be this much shorter than any.
_STRETCH = 1.25


@dataclass(frozen=True, eq=False)
class Batch:
    """``B`` pairs of one rank.

    Attributes
    ----------
    masked
        Whole, masked and segment-masked proteins, as far as the objectives ask for them.
    text_ids, text_mask
        Shape ``(B, S)``, int64; the mask is 1 at real tokens.
    text_keys
        ``(B,)`` int64, equal where texts are; see `hash_texts`.
    property_ids, property_mask
        Texts of the properties that are there, ``(M, S)``; of no rows without PDA.
    present
        Whether each protein has each property, ``(B, K)`` bool.
    go
        Pairs (row, term) that are right, ``(2, X)`` int64; terms are numbers in the table.
    tokens, pairs
        Protein tokens (BOS and EOS counted) and pairs of all ranks together.
    """

    masked: Masked
    text_ids: Tensor
    text_mask: Tensor
    text_keys: Tensor
    property_ids: Tensor
    property_mask: Tensor
    present: Tensor
    go: Tensor
    tokens: int
    pairs: int

    @property
    def proteins(self) -> PackedTokens:
        """The proteins as they are."""
        return self.masked.whole

    def to(self, device: torch.device) -> Batch:
        """Return the same batch on another device."""
        if device.type == "cpu":
            return self
        moved = {item.name: getattr(self, item.name) for item in fields(self)}
        for name, value in moved.items():
            if isinstance(value, Tensor):
                moved[name] = value.to(device, non_blocking=True)
        return Batch(**{**moved, "masked": self.masked.to(device)})


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
        windows, own_texts = [], []
        parts: list[tuple[int, list[int], list[list[int] | None]]] = []
        for place, (row, length) in enumerate(zip(rows.tolist(), lengths.tolist())):
            rng = np.random.default_rng((self.seed, _ROW, epoch, position, row))
            windows.append(self._window(self.source.residues(row), length, rng))
            if place % self.ranks == self.rank:
                found = self.source.parts(row)
                whole = self.config.texts == "whole"
                text = self.texts.whole(found) if whole else self.texts.sample(found, rng)
                properties = self.texts.properties(found) if self.objectives.pda else []
                parts.append((row, text, properties))
                own_texts.append(text)
        packed = _packed(windows)
        generator = self._mask_generator(epoch, position)
        masked = mask_batch(packed, self.objectives, generator)
        mine = slice(self.rank, None, self.ranks)
        go = [self.source.go(row) for row, _, _ in parts] if self.objectives.go else []
        return _make_batch(
            masked.part(range(len(rows))[mine]),
            own_texts,
            [properties for _, _, properties in parts],
            go,
            self.texts,
            tokens=len(packed.tokens),
            pairs=len(rows),
        )

    def _make_plan(self, epoch: int) -> EpochPlan:
        rng = np.random.default_rng((self.seed, _PLAN, epoch))
        config, number = self.config, len(self.source.lengths)
        wanted = rng.choice(config.crops, size=number, p=config.crop_shares)
        length = np.minimum(self.source.lengths, wanted)
        order = rng.permutation(number)
        # By length; the stable sort leaves those of equal length shuffled.
        order = order[np.argsort(length[order], kind="stable")]
        length = length[order]
        least = max(2, self.ranks)
        bounds, start = [], 0
        while start < number:
            stop = self._end(length, start, least)
            if stop - start >= least:
                bounds.append((start, stop))
                if config.equal_lengths:
                    length[start:stop] = length[start]
            start = stop
        table = np.array(bounds, dtype=np.int64).reshape(-1, 2)
        return EpochPlan(order, length, table[rng.permutation(len(table))])

    def _end(self, length: np.ndarray, start: int, least: int) -> int:
        """Where the batch that begins here ends; lengths rise."""
        most = length[start : start + self.config.max_pairs]
        if self.config.equal_lengths:
            fits = self.config.token_budget // (int(most[0]) + 2)
            alike = int(np.searchsorted(most, _STRETCH * most[0], side="right"))
            return start + min(max(least, fits), alike)
        fits = int(np.searchsorted(np.cumsum(most + 2), self.config.token_budget, side="right"))
        return start + min(max(least, fits), len(most))

    def _mask_generator(self, epoch: int, position: int) -> torch.Generator:
        seed = np.random.SeedSequence((self.seed, _MASK, epoch, position)).generate_state(1)
        return torch.Generator().manual_seed(int(seed[0]))

    def _window(self, residues: np.ndarray, crop: int, rng: np.random.Generator) -> np.ndarray:
        start = int(rng.integers(len(residues) - crop + 1))
        if rng.random() < self.config.n_terminal_share:
            start = 0
        return residues[start : start + crop]


def full_batch(
    source: PairSource, rows: Sequence[int], texts: TextComposer, max_residues: int
) -> Batch:
    """Pairs for evaluation: whole texts, and proteins from residue 1 to the limit; no masks."""
    packed = _packed([source.residues(row)[:max_residues] for row in rows])
    text_rows = [texts.whole(source.parts(row)) for row in rows]
    whole = Masked(whole=packed)
    size = len(packed.tokens)
    return _make_batch(whole, text_rows, [], [], texts, tokens=size, pairs=len(rows))


def _packed(windows: list[np.ndarray]) -> PackedTokens:
    return pack(np.concatenate(([BOS], window, [EOS])) for window in windows)


def _make_batch(
    masked: Masked,
    text_rows: list[list[int]],
    properties: list[list[list[int] | None]],
    go: list[np.ndarray],
    texts: TextComposer,
    *,
    tokens: int,
    pairs: int,
) -> Batch:
    ids, mask = texts.pad_rows(text_rows)
    present = torch.zeros(len(properties), len(PROPERTY_TAGS), dtype=torch.bool)
    there = []
    for row, own in enumerate(properties):
        for place, text in enumerate(own):
            if text is not None:
                present[row, place] = True
                there.append(text)
    property_ids, property_mask = texts.pad_rows(there)
    owner = np.repeat(np.arange(len(go)), [len(own) for own in go])
    right = np.stack([owner, np.concatenate(go)]) if go else np.empty((2, 0))
    return Batch(
        masked=masked,
        text_ids=ids,
        text_mask=mask,
        text_keys=hash_texts(ids, mask),
        property_ids=property_ids,
        property_mask=property_mask,
        present=present,
        go=torch.from_numpy(right.astype(np.int64)),
        tokens=tokens,
        pairs=pairs,
    )
