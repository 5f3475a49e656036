"""What belongs to the proteins of a batch, gathered row by row and put together.

Legend: N pairs of a source, B rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from protclip_core.encoders.alphabet import BOS, EOS
from protclip_core.encoders.packing import PackedTokens, pack
from train.data.batch import Batch, View
from train.data.composer import PROPERTY_TAGS, TextComposer, hash_texts
from train.data.masking import Masked
from train.data.pairs import PairSource
from train.data.structure_views import Piece, StructureViews
from train.data.text_variants import TextVariants

__all__ = ["Own", "full_batch", "make_batch", "pack_windows"]


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
    packed = pack_windows([source.residues(row)[:max_residues] for row in rows])
    own = Own(clusters=source.clusters[list(rows)].tolist())
    own.first.texts = [texts.whole(source.parts(row)) for row in rows]
    own.has_text = [bool(source.has_text(row)) for row in rows]
    for place, row in enumerate(rows):
        piece = None if views is None else views.whole(source.accession(row), max_residues)
        if piece is not None:
            own.structure_rows.append(place)
            own.pieces.append(piece)
    size = len(packed.tokens)
    masked = Masked(whole=packed)
    return make_batch(masked, own, texts, tokens=size, pairs=len(rows), views=views)


@dataclass
class Texts:
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
class Own:
    """What belongs to the proteins of a rank's part of a batch, row by row."""

    first: Texts = field(default_factory=Texts)
    second: Texts = field(default_factory=Texts)
    properties: list[list[list[int] | None]] = field(default_factory=list)
    go: list[np.ndarray] = field(default_factory=list)
    clusters: list[int] = field(default_factory=list)
    has_text: list[bool] = field(default_factory=list)
    pooled: list[np.ndarray] = field(default_factory=list)
    structure_rows: list[int] = field(default_factory=list)
    pieces: list[Piece] = field(default_factory=list)
    other_pieces: list[Piece] = field(default_factory=list)
    masked: PackedTokens | None = None


def pack_windows(windows: list[np.ndarray]) -> PackedTokens:
    """Put BOS and EOS around pieces of proteins, and pack them."""
    return pack(np.concatenate(([BOS], window, [EOS])) for window in windows)


def make_batch(
    masked: Masked,
    own: Own,
    texts: TextComposer,
    *,
    tokens: int,
    pairs: int,
    few: Masked | None = None,
    views: StructureViews | None = None,
) -> Batch:
    """Put a batch together.

    Parameters
    ----------
    masked, few
        The proteins; see `Batch`.
    own
        What belongs to them.
    texts
        Composes.
    tokens, pairs
        Of all ranks together.
    views
        What packs structures; ``None``: nobody reads any.
    """
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


def _modalities(own: Own, texts: TextComposer, views: StructureViews | None) -> dict[str, Any]:
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
