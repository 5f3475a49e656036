"""What the towers make of a batch: named outputs, as far as an objective reads them.

==================  ========================================================
proteins            unit vectors of the proteins, ``(B, P)``
whole               their token vectors, ``(T, D)``
residues            likewise, single residues masked; ``residue_targets``: their ids, ``(T,)``
segments            likewise, runs of residues masked; ``segment_targets``: their ids, ``(T,)``
texts               unit vectors of the texts, ``(B, P)``
text_tokens         token vectors of the texts, ``(B, S, D)``
==================  ========================================================

T are the tokens of the proteins whose residues are looked at (`Batch.close`). A third tower is a
function more in `PASSES`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

from train.data.batches import Batch
from train.towers.two_towers import TwoTowers, mean_of_tokens

__all__ = ["PASSES", "protein_pass", "text_pass"]


def protein_pass(towers: TwoTowers, batch: Batch, reads: frozenset[str]) -> dict[str, Tensor]:
    """Encode the proteins of a batch: whole, masked and segmented ones in one go."""
    close, together = batch.close, batch.few is None
    targets = {"residue_targets": close.residue_targets, "segment_targets": close.segment_targets}
    found = {name: value for name, value in targets.items() if value is not None}
    if towers.reads_input:
        return found | _pass_of_input(towers, batch, reads)
    if "proteins" in reads and not together:
        found["proteins"] = towers.protein_vectors(batch.proteins)
    whole = together or "whole" in reads
    parts = close.split(towers.protein_hidden(close.passes(whole=whole)), whole=whole)
    if "proteins" in reads and together:
        found["proteins"] = towers.protein_embedding(parts[0], close.whole)
    return found | dict(zip(("whole", "residues", "segments"), parts))


def _pass_of_input(towers: TwoTowers, batch: Batch, reads: frozenset[str]) -> dict[str, Tensor]:
    """Do so where projections read the encoder's input: its layers are for MLM alone."""
    close, embed, found = batch.close, towers.protein_encoder.embed, {}
    if "whole" in reads or ("proteins" in reads and batch.few is None):
        found["whole"] = embed(close.whole)
    if "proteins" in reads:
        hidden = found["whole"] if batch.few is None else embed(batch.proteins)
        found["proteins"] = towers.protein_embedding(hidden, batch.proteins)
    if "residues" in reads:
        found["residues"] = towers.protein_hidden(close.residues or close.whole)
    if "segments" in reads:
        found["segments"] = embed(close.segments or close.whole)
    return found


def text_pass(towers: TwoTowers, batch: Batch, reads: frozenset[str]) -> dict[str, Tensor]:
    """Encode the texts of a batch, where their vectors are not kept."""
    found, kept = {}, batch.text_vectors
    if "text_tokens" in reads or ("texts" in reads and kept is None):
        found["text_tokens"] = towers.text_hidden(batch.text_ids, batch.text_mask)
    if kept is not None:
        found["texts"] = kept
    elif "texts" in reads:
        pooled = mean_of_tokens(found["text_tokens"], batch.text_mask)
        found["texts"] = F.normalize(towers.text_projection(pooled), dim=-1)
    return found


#: In this order; each takes the towers, a batch, and the names that objectives read.
PASSES: tuple[Callable[[TwoTowers, Batch, frozenset[str]], dict[str, Tensor]], ...] = (
    protein_pass,
    text_pass,
)
