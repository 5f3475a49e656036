"""What the towers make of a batch: named outputs, as far as an objective reads them.

==================  ========================================================
proteins            unit vectors of the proteins, ``(B, P)``
whole               their token vectors, ``(T, D)``
residues            likewise, single residues masked; ``residue_targets``: their ids, ``(T,)``
segments            likewise, runs of residues masked; ``segment_targets``: their ids, ``(T,)``
texts               unit vectors of the texts, ``(B, P)``
text_tokens         token vectors of the texts, ``(B, S, D)``
structures          unit vectors of the structures, ``(M, P)``; `Batch.structure_rows` says whose
structure_residues  the encoder's vectors of their residues, ``(R, S)``
proteins_view, texts_view, structures_view
                    likewise, of `Batch.view`
==================  ========================================================

T are the tokens of the proteins whose residues are looked at (`Batch.close`). A further tower is a
function more in `PASSES`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from train.data.batch import Batch
from train.towers.two_towers import OF_PROTEINS, TwoTowers, mean_of_tokens

__all__ = ["PASSES", "protein_pass", "structure_pass", "text_pass", "view_pass"]

#: Source of the noise of a step.
Noise = torch.Generator | None


def protein_pass(
    towers: TwoTowers, batch: Batch, reads: frozenset[str], noise: Noise = None
) -> dict[str, Tensor]:
    """Encode the proteins of a batch: whole, masked and segmented ones in one go."""
    if batch.protein_pooled is not None:
        return {"proteins": F.normalize(towers.protein_projection(batch.protein_pooled), dim=-1)}
    if reads.isdisjoint(OF_PROTEINS):
        return {}
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


def text_pass(
    towers: TwoTowers, batch: Batch, reads: frozenset[str], noise: Noise = None
) -> dict[str, Tensor]:
    """Encode the texts of a batch, where their vectors are not kept."""
    found, kept, pooled = {}, batch.text_vectors, batch.text_pooled
    asked = "texts" in reads
    if "text_tokens" in reads or (asked and kept is None and pooled is None):
        found["text_tokens"] = towers.text_hidden(batch.text_ids, batch.text_mask)
    if kept is not None:
        found["texts"] = kept
    elif asked:
        if pooled is None:
            pooled = mean_of_tokens(found["text_tokens"], batch.text_mask)
        found["texts"] = F.normalize(towers.text_projection(pooled), dim=-1)
    return found


def structure_pass(
    towers: TwoTowers, batch: Batch, reads: frozenset[str], noise: Noise = None
) -> dict[str, Tensor]:
    """Encode the structures of those proteins that have one."""
    if reads.isdisjoint(("structures", "structure_residues")):
        return {}
    assert batch.structures is not None
    found = towers.structure_outputs(batch.structures, noise)
    return dict(zip(("structures", "structure_residues"), found))


def view_pass(
    towers: TwoTowers, batch: Batch, reads: frozenset[str], noise: Noise = None
) -> dict[str, Tensor]:
    """Encode the second view of each modality."""
    found, view = {}, batch.view
    if "proteins_view" in reads:
        assert view is not None
        assert view.proteins is not None
        found["proteins_view"] = towers.protein_vectors(view.proteins)
    if "texts_view" in reads:
        assert view is not None
        if view.text_vectors is not None:
            found["texts_view"] = view.text_vectors
        elif view.text_pooled is not None:
            found["texts_view"] = F.normalize(towers.text_projection(view.text_pooled), dim=-1)
        else:
            found["texts_view"] = towers.text_embedding(view.text_ids, view.text_mask)
    if "structures_view" in reads:
        assert view is not None
        assert view.structures is not None
        found["structures_view"] = towers.structure_vectors(view.structures, noise)
    return found


#: In this order; each takes the towers, a batch, the names that objectives read, and a source of
#: noise.
PASSES: tuple[Callable[[TwoTowers, Batch, frozenset[str], Noise], dict[str, Tensor]], ...] = (
    protein_pass,
    text_pass,
    structure_pass,
    view_pass,
)
