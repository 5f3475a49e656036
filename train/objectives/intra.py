"""Contrast within a modality: two views of a protein against those of the others.

Source: Align-Pro (ACL 2025) names intra-modal terms, but not their positives. Here a view is, as
in SimCLR (Chen et al. 2020), what a harmless change leaves: a sequence with masked residues, a
piece of a structure with noise on its atoms, another text of the same protein.

Legend: M proteins that have the modality, P joint width.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from train.data.batch import Batch
from train.objectives.objective import Context, Outputs
from train.objectives.pairs import OUTPUTS, Contrast

__all__ = ["IntraSequence", "IntraStructure", "IntraText"]


class IntraContrast(Contrast):
    """Both views of the proteins that have a modality; see `masked_contrast`."""

    side: ClassVar[str]

    def forward(self, batch: Batch, outputs: Outputs, context: Context) -> dict[str, Tensor]:
        """Return the loss; 0 where no rank has a protein with the modality."""
        output = OUTPUTS[self.side]
        one, other = outputs[output], outputs[f"{output}_view"]
        rows = batch.with_modalities((self.side,))
        if self.side == "text":
            one, other = one[rows], other[rows]
        keys = batch.keys(rows, texts=self.side == "text")
        if self.side == "text" and batch.view is not None:
            # A second view may be the very text of another protein.
            keys = torch.cat([keys, batch.view.text_keys[rows].unsqueeze(1)], dim=1)
        return {self.name: self.contrast(one, other, keys, context)}


class IntraSequence(IntraContrast):
    """A protein as it is, and with masked residues."""

    name, side = "intra_sequence", "sequence"
    reads = frozenset({"proteins", "proteins_view"})
    trains = frozenset({"protein_projection"})


class IntraStructure(IntraContrast):
    """Two pieces of a structure, each with noise of its own."""

    name, side = "intra_structure", "structure"
    reads = frozenset({"structures", "structures_view"})
    trains = frozenset({"structure_encoder", "structure_projection"})


class IntraText(IntraContrast):
    """Two texts of a protein."""

    name, side = "intra_text", "text"
    reads = frozenset({"texts", "texts_view"})
    trains = frozenset({"text_projection", "text_encoder"})
