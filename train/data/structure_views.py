"""Pieces of the structures of proteins, as batches have them.

A piece is cut out first, and its graph is made of what is left: a user's structure is embedded
whole, so whoever trains on pieces evaluates on whole chains as well.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from protclip_core.encoders.structure import PackedChains, describe, pack_chains
from protclip_core.io.structures.chain import Chain
from train.data.structures import StructureSet

__all__ = ["Piece", "StructureViews"]

#: A piece of a chain, and what describes the whole one, ``(34,)``, where that is asked for.
Piece = tuple[Chain, np.ndarray | None]


class StructureViews:
    """Draws pieces of the structures that a protein has.

    Parameters
    ----------
    structures
        The chains.
    crops
        Lengths of pieces in residues, one drawn for each; 0 is a whole chain.
    described
        Whether descriptors of the whole chains come along; else the encoder describes the pieces.
    """

    def __init__(self, structures: StructureSet, crops: Sequence[int], *, described: bool) -> None:
        self.structures, self.crops, self._described = structures, tuple(crops), described
        self._known: dict[int, np.ndarray] = {}

    def draw(self, accession: str, rng: np.random.Generator) -> Piece | None:
        """Return a random piece of a random structure of a protein; ``None`` where it has none."""
        rows = self.structures.rows(accession)
        if not rows:
            return None
        row = rows[int(rng.integers(len(rows)))]
        length = int(self.structures.lengths[row])
        crop = self.crops[int(rng.integers(len(self.crops)))] or length
        first = int(rng.integers(max(1, length - crop + 1)))
        return self.structures.chain(row, first, crop), self._descriptor(row)

    def whole(self, accession: str, limit: int) -> Piece | None:
        """Return the first structure of a protein up to residue ``limit``; ``None`` for none."""
        rows = self.structures.rows(accession)
        if not rows:
            return None
        chain = self.structures.chain(rows[0], 0, limit)
        return chain, self._descriptor(rows[0])

    def pack(self, pieces: Sequence[Piece]) -> PackedChains:
        """Put pieces together."""
        known = [own for _, own in pieces if own is not None] if self._described else []
        chains = [chain for chain, _ in pieces]
        return pack_chains(chains, descriptors=np.stack(known) if known else None)

    def descriptors(self, rows: Sequence[int]) -> torch.Tensor:
        """Return the descriptors of some chains, ``(S, 34)``."""
        return torch.cat([describe(pack_chains([self.structures.chain(row)])) for row in rows])

    def _descriptor(self, row: int) -> np.ndarray | None:
        if not self._described:
            return None
        if row not in self._known:
            self._known[row] = self.descriptors([row])[0].numpy()
        return self._known[row]
