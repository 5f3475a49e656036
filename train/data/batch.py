"""A batch as towers and objectives see it.

Legend: B pairs of a rank's part of a batch, S text tokens (padded to the longest), K properties,
M properties that are there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from protclip_core.encoders.packing import PackedTokens
from protclip_core.encoders.structure.packing import PackedChains
from train.data.masking import Masked
from train.data.proteins import NO_KEY

__all__ = ["NO_KEY", "Batch", "View"]


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
