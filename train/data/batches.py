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
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from protclip_core.encoders.alphabet import BOS, EOS
from protclip_core.encoders.packing import PackedTokens, pack
from protclip_core.encoders.structure.packing import PackedChains
from protclip_core.errors import UsageError
from train.config.run import DataConfig, ObjectivesConfig
from train.data.composer import PROPERTY_TAGS, TextComposer, hash_texts
from train.data.masking import Masked, mask_batch, mask_residues
from train.data.pairs import NO_KEY, PairSource, TokenPart, read_proteins
from train.data.structure_views import Piece, StructureViews
from train.data.substitutions import mutate
from train.data.text_variants import TextVariants

__all__ = ["NO_KEY", "Batch", "EpochPlan", "PairData", "View", "full_batch", "read_proteins"]

# First words of the seeds, so that no two uses share a stream of random numbers.
_PLAN, _ROW, _MASK, _STRUCTURE, _VIEW = 1, 2, 3, 4, 5
# Proteins of a batch are cropped to the shortest, which may be this much shorter than any.
_STRETCH = 1.25


@dataclass(frozen=True, eq=False)
class View:
    """The same proteins once more, for contrast within a modality; ``None`` for what nobody reads.

    Attributes
    ----------
    proteins
        With masked residues.
    structures
        Other pieces, of the rows of `Batch.structure_rows`.
    text_ids, text_mask, text_keys, text_vectors, text_pooled
        Other texts, as those of `Batch`.
    """

    proteins: PackedTokens | None
    structures: PackedChains | None
    text_ids: Tensor
    text_mask: Tensor
    text_keys: Tensor
    text_vectors: Tensor | None = None
    text_pooled: Tensor | None = None

    def to(self, device: torch.device) -> View:
        """Return the same on another device."""
        return View(**_moved(self, device))


@dataclass(frozen=True, eq=False)
class Batch:
    """``B`` pairs of one rank.

    Attributes
    ----------
    masked
        Whole, masked and segment-masked proteins, as far as the objectives ask for them; whole
        alone where there are ``few``.
    text_ids, text_mask
        Shape ``(B, S)``, int64; the mask is 1 at real tokens. With ``text_vectors``, only what
        BSR asks for: maybe of no rows.
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
    few
        The first proteins of the batch, cropped, where MLM, BSR and PDA look at no others; their
        texts and properties are then the first ones, and there are none behind them.
    text_vectors
        Unit vectors of the texts, ``(B, P)`` float32, where they are kept; see `TextVariants`.
    text_pooled
        Likewise, the text encoder's vectors ``(B, Dt)``, where its projection learns.
    protein_pooled
        The protein encoder's vectors ``(B, D)`` of whole proteins, where they are kept.
    clusters
        ``(B,)`` int64, equal where proteins are of one cluster; `NO_KEY` where nothing is known.
    has_text
        ``(B,)`` bool; ``None``: all have.
    structures, structure_rows
        Structures of those that have one, or pieces of them, and which rows they are, rising.
        ``None`` where nobody reads them.
    view
        For contrast within a modality.
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
    few: Masked | None = None
    text_vectors: Tensor | None = None
    text_pooled: Tensor | None = None
    protein_pooled: Tensor | None = None
    clusters: Tensor | None = None
    has_text: Tensor | None = None
    structures: PackedChains | None = None
    structure_rows: Tensor | None = None
    view: View | None = None

    @property
    def proteins(self) -> PackedTokens:
        """The proteins as they are."""
        return self.masked.whole

    @property
    def close(self) -> Masked:
        """The proteins whose residues are looked at."""
        return self.masked if self.few is None else self.few

    def to(self, device: torch.device) -> Batch:
        """Return the same batch on another device."""
        return self if device.type == "cpu" else Batch(**_moved(self, device))

    def with_modalities(self, sides: Sequence[str]) -> Tensor:
        """Return the rows that have all of some modalities, rising, ``(M,)`` int64."""
        device = self.text_keys.device
        has = torch.ones(len(self.text_keys), dtype=torch.bool, device=device)
        if "text" in sides and self.has_text is not None:
            has &= self.has_text
        if "structure" in sides:
            assert self.structure_rows is not None
            has &= torch.zeros_like(has).index_fill(0, self.structure_rows, value=True)
        return has.nonzero().squeeze(1)

    def keys(self, rows: Tensor, *, texts: bool) -> Tensor:
        """Return what tells which of some rows are alike, ``(M, 2)``: their clusters, and texts.

        Without ``texts``, the second column says nothing.
        """
        unknown = torch.full_like(self.text_keys, NO_KEY)
        clusters = unknown if self.clusters is None else self.clusters
        return torch.stack([clusters, self.text_keys if texts else unknown], dim=1)[rows]


def _moved(item: Batch | View, device: torch.device) -> dict[str, Any]:
    """Return the fields of a batch, on another device."""
    moved = {one.name: getattr(item, one.name) for one in fields(item)}
    for name, value in moved.items():
        if isinstance(value, Tensor):
            moved[name] = value.to(device, non_blocking=True)
        elif hasattr(value, "to"):
            moved[name] = value.to(device)
    return moved


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
        windows, close, own = [], [], _Own()
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
        packed = _packed(windows)
        generator = self._mask_generator(_MASK, epoch, position)
        few = None
        if close:
            masked = Masked(whole=packed)
            few = mask_batch(_packed(close), self.objectives, generator)
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
        return _make_batch(
            masked, own, self.texts, tokens=size, pairs=len(rows), few=few, views=self.views
        )

    def _add(self, own: _Own, row: int, rng: np.random.Generator, *, close: bool) -> None:
        """Add what belongs to a protein to this rank's part of a batch."""
        on = self.objectives
        variant = None
        if self.variants is not None:
            variant = self.variants.choose(rng)
            own.first.add_kept(self.variants, row, variant)
        as_text = self.variants is None or bool(on.bsr and close)
        parts = self.source.parts(row) if as_text or on.pda else []
        if as_text:
            own.first.texts.append(self._text(parts, rng))
        if close:
            own.properties.append(self.texts.properties(parts) if on.pda else [])
        if on.go:
            own.go.append(self.source.go(row))
        if on.intra_text and self.variants is not None:
            own.second.add_kept(self.variants, row, self.variants.choose(rng, other=variant))
        elif on.intra_text:
            own.second.texts.append(self._text(parts, rng))

    def _text(self, parts: list[TokenPart], rng: np.random.Generator) -> list[int]:
        whole = self.config.texts == "whole"
        return self.texts.whole(parts) if whole else self.texts.sample(parts, rng)

    def _add_modalities(self, own: _Own, row: int, place: tuple[int, int, int]) -> None:
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


def full_batch(
    source: PairSource,
    rows: Sequence[int],
    texts: TextComposer,
    max_residues: int,
    views: StructureViews | None = None,
) -> Batch:
    """Pairs for evaluation: whole texts, and proteins from residue 1 to the limit; no masks.

    Structures are those of the first chain of each, likewise.
    """
    packed = _packed([source.residues(row)[:max_residues] for row in rows])
    own = _Own(clusters=source.clusters[list(rows)].tolist())
    own.first.texts = [texts.whole(source.parts(row)) for row in rows]
    own.has_text = [bool(source.has_text(row)) for row in rows]
    for place, row in enumerate(rows):
        piece = None if views is None else views.whole(source.accession(row), max_residues)
        if piece is not None:
            own.structure_rows.append(place)
            own.pieces.append(piece)
    size = len(packed.tokens)
    masked = Masked(whole=packed)
    return _make_batch(masked, own, texts, tokens=size, pairs=len(rows), views=views)


@dataclass
class _Texts:
    """Texts of the proteins of a rank's part of a batch, or what is kept of them."""

    texts: list[list[int]] = field(default_factory=list)
    vectors: list[np.ndarray] = field(default_factory=list)
    keys: list[int] = field(default_factory=list)
    pooled: bool = False

    def add_kept(self, variants: TextVariants, row: int, variant: int) -> None:
        """Add a variant of a protein's text."""
        self.vectors.append(variants.vectors[row, variant])
        self.keys.append(int(variants.keys[row, variant]))
        self.pooled = variants.pooled

    def fields(self, texts: TextComposer) -> dict[str, Tensor | None]:
        """Return them by the names that they have in `Batch` and in `View`."""
        ids, mask = texts.pad_rows(self.texts)
        kept = None
        if self.vectors:
            kept = torch.from_numpy(np.stack(self.vectors).astype(np.float32))
        return {
            "text_ids": ids,
            "text_mask": mask,
            "text_keys": torch.tensor(self.keys) if self.keys else hash_texts(ids, mask),
            "text_vectors": None if self.pooled else kept,
            "text_pooled": kept if self.pooled else None,
        }


@dataclass
class _Own:
    """What belongs to the proteins of a rank's part of a batch, row by row."""

    first: _Texts = field(default_factory=_Texts)
    second: _Texts = field(default_factory=_Texts)
    properties: list[list[list[int] | None]] = field(default_factory=list)
    go: list[np.ndarray] = field(default_factory=list)
    clusters: list[int] = field(default_factory=list)
    has_text: list[bool] = field(default_factory=list)
    pooled: list[np.ndarray] = field(default_factory=list)
    structure_rows: list[int] = field(default_factory=list)
    pieces: list[Piece] = field(default_factory=list)
    other_pieces: list[Piece] = field(default_factory=list)
    masked: PackedTokens | None = None


def _packed(windows: list[np.ndarray]) -> PackedTokens:
    return pack(np.concatenate(([BOS], window, [EOS])) for window in windows)


def _make_batch(
    masked: Masked,
    own: _Own,
    texts: TextComposer,
    *,
    tokens: int,
    pairs: int,
    few: Masked | None = None,
    views: StructureViews | None = None,
) -> Batch:
    present = torch.zeros(len(own.properties), len(PROPERTY_TAGS), dtype=torch.bool)
    there = []
    for row, properties in enumerate(own.properties):
        for place, text in enumerate(properties):
            if text is not None:
                present[row, place] = True
                there.append(text)
    property_ids, property_mask = texts.pad_rows(there)
    owner = np.repeat(np.arange(len(own.go)), [len(terms) for terms in own.go])
    right = np.stack([owner, np.concatenate(own.go)]) if own.go else np.empty((2, 0))
    return Batch(
        masked=masked,
        **own.first.fields(texts),  # type: ignore[arg-type]
        property_ids=property_ids,
        property_mask=property_mask,
        present=present,
        go=torch.from_numpy(right.astype(np.int64)),
        tokens=tokens,
        pairs=pairs,
        few=few,
        **_modalities(own, texts, views),
    )


def _modalities(own: _Own, texts: TextComposer, views: StructureViews | None) -> dict[str, Any]:
    """Return the fields of `Batch` that are of three modalities and of a second view."""
    found: dict[str, Any] = {"clusters": torch.tensor(own.clusters, dtype=torch.int64)}
    if own.has_text and not all(own.has_text):
        found["has_text"] = torch.tensor(own.has_text)
    if own.pooled:
        found["protein_pooled"] = torch.from_numpy(np.stack(own.pooled).astype(np.float32))
    if views is not None:
        found["structures"] = views.pack(own.pieces)
        found["structure_rows"] = torch.tensor(own.structure_rows, dtype=torch.int64)
    if own.masked is not None or own.second.texts or own.second.keys or own.other_pieces:
        found["view"] = View(
            proteins=own.masked,
            structures=None if views is None else views.pack(own.other_pieces),
            **own.second.fields(texts),  # type: ignore[arg-type]
        )
    return found
