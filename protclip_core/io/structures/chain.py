"""One protein chain of a structure file, as everything else here works with it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["BACKBONE", "Chain"]

#: The atoms of a residue that are kept, in this order.
BACKBONE = ("N", "CA", "C", "O")


@dataclass(frozen=True, slots=True, eq=False)
class Chain:
    """The observed residues of a protein chain.

    Attributes
    ----------
    id
        Name under which its vector is stored.
    sequence
        One letter for each of the L residues that have a CA atom; modified residues as their
        parents, `X` where there is none.
    backbone
        Coordinates in ångström, float32 of shape (L, 4, 3): N, CA, C, O. NaN for an atom that the
        file does not have; CA is always there.
    starts
        Shape (L,): whether the residue does not follow its predecessor in the chain, because
        residues in between were not observed. True for the first residue.
    confidence
        pLDDT of a predicted structure, 0 to 100, float32 of shape (L,); None if it was not
        predicted.
    """

    id: str
    sequence: str
    backbone: NDArray[np.float32]
    starts: NDArray[np.bool_]
    confidence: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        length = len(self.sequence)
        if self.backbone.shape != (length, len(BACKBONE), 3) or self.starts.shape != (length,):
            raise ValueError(f"{self.id}: {length} residues, coordinates of {self.backbone.shape}")
        if self.confidence is not None and self.confidence.shape != (length,):
            raise ValueError(f"{self.id}: pLDDT of {len(self.confidence)} residues, not {length}")

    def __len__(self) -> int:
        return len(self.sequence)
