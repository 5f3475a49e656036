"""Property-guided dynamic segments (PDA): which residues belong to which property.

Source: ProtCLIP (AAAI 2025), weight 1. The text of each property becomes a prototype, a mixture
of a bank of vectors. The residues that are most like it are the property's dynamic segment, as
in the grouping of image patches by words of SPARC (Bica et al. 2024). Among the properties of one
protein, each segment is to be most like its own prototype, and each prototype most like its own
segment. Absent properties, BOS and EOS take no part.

As in the paper, the caller encodes the texts of the properties without gradient (`torch.no_grad`
around the text encoder, not around the projection); given one with gradient, it flows.

Legend: B proteins, T tokens of a packed batch (BOS and EOS counted), L residues of all proteins
together, K properties, P joint width.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from protclip_core.encoders.packing import PackedTokens
from protclip_core.encoders.residue_heads import PrototypeBank
from train.data.batch import Batch
from train.objectives.mean_over_ranks import mean_over_ranks
from train.objectives.objective import Context, Objective, Outputs
from train.objectives.precision import full_precision

__all__ = ["DynamicSegments", "pda_loss", "segment_vectors", "segment_weights"]

#: Residues whose similarities differ by less than this share of the largest product that their
#: lengths allow are alike: float32 knows no better.
_ALIKE = 1e-6


class DynamicSegments(Objective):
    """Segments of a protein against the prototypes of its properties."""

    name = "pda"
    reads = frozenset({"whole"})
    trains = frozenset({"protein_projection", "text_projection"})

    def forward(self, batch: Batch, outputs: Outputs, context: Context) -> dict[str, Tensor]:
        """Return the loss."""
        towers, heads = context.towers, context.towers.residue_heads
        # As in the paper, the texts of the properties are encoded without gradient.
        with torch.no_grad():
            pooled = towers.text_pooled(batch.property_ids, batch.property_mask)
        projected = towers.text_projection(pooled)
        properties = projected.new_zeros((*batch.present.shape, projected.shape[-1]))
        properties[batch.present] = projected
        loss = pda_loss(
            towers.protein_projection(outputs["whole"]),
            batch.close.whole,
            properties,
            batch.present,
            bank=heads.prototypes,
            scale=heads.segment_logit_scale.exp(),
            threshold=self.config.theta,
            temperature=self.config.prototype_temperature,
            gumbel=self.config.gumbel,
            generator=context.generator,
            ranks=context.ranks,
        )
        return {self.name: loss}


@full_precision
def pda_loss(
    residues: Tensor,
    batch: PackedTokens,
    properties: Tensor,
    present: Tensor,
    *,
    bank: PrototypeBank,
    scale: Tensor | float,
    threshold: float = 0.3,
    temperature: float = 0.9,
    gumbel: bool = False,
    generator: torch.Generator | None = None,
    ranks: dist.ProcessGroup | None = None,
) -> Tensor:
    """Contrast of dynamic segments with prototypes among the properties of each protein.

    Parameters
    ----------
    residues
        Projected token vectors of the unmasked proteins, shape ``(T, P)``.
    batch
        The packed proteins they belong to.
    properties
        Mean text vector of each property, projected, shape ``(B, K, P)``.
    present
        ``(B, K)`` bool, false where the protein lacks the property; what stands there in
        ``properties`` has no influence.
    bank
        The bank of prototypes.
    scale
        Factor of the cosines, above 0: ``exp(segment_logit_scale)``, which starts at 1 / 0.1.
        A scalar, or shape ``(2,)``: of segments against prototypes, and of prototypes against
        segments.
    threshold
        See `segment_weights`.
    temperature
        Of the choice of prototypes.
    gumbel
        Whether that choice is a random draw: on in training, off in evaluation.
    generator
        Source of its noise, on the device of the vectors.
    ranks
        Processes that share the batch; see `mean_over_ranks`.

    Returns
    -------
    Tensor
        Mean over a protein's properties and both directions, then over the proteins with at least
        two properties; a scalar. Proteins with fewer have nothing to tell apart and contribute
        nothing: 0 (with a gradient of 0) where there are no others.
    """
    _check_shapes(residues, batch, properties, present)
    present = present.bool()
    properties = properties.masked_fill(~present.unsqueeze(-1), 0.0)
    shares = bank.assign(properties, gumbel=gumbel, temperature=temperature, generator=generator)
    prototypes = shares @ bank.weight
    weights = segment_weights(residues, prototypes, batch, threshold=threshold)
    segments = segment_vectors(residues, weights, batch)
    cosines = F.normalize(segments, dim=-1) @ F.normalize(prototypes, dim=-1).transpose(1, 2)

    number = present.sum(dim=1)
    taking_part = present & (number > 1).unsqueeze(1)
    factors = torch.as_tensor(scale, dtype=cosines.dtype, device=cosines.device).expand(2)
    total = cosines.new_zeros(())
    for factor, table in zip(factors, (cosines, cosines.transpose(1, 2))):
        # The least number instead of infinity: a row of absent properties shall not give NaN.
        absent = ~present.unsqueeze(1)
        logits = (factor * table).masked_fill(absent, torch.finfo(table.dtype).min)
        each = -F.log_softmax(logits, dim=-1).diagonal(dim1=1, dim2=2)
        each = each.masked_fill(~taking_part, 0.0).sum(dim=1) / number.clamp(min=1)
        total = total + each.sum() / 2
    return mean_over_ranks(total, (number > 1).sum(), ranks)


@full_precision
def segment_weights(
    residues: Tensor, prototypes: Tensor, batch: PackedTokens, *, threshold: float = 0.3
) -> Tensor:
    """How much each residue belongs to each property of its protein.

    The products of a prototype with the residues of the protein are stretched to the range from
    0 to 1 (the least like it, the most like it); what is below the threshold becomes 0; the rest
    is divided by its sum.

    Parameters
    ----------
    residues
        Projected token vectors, shape ``(T, P)``.
    prototypes
        Of the properties, shape ``(B, K, P)``.
    batch
        The packed proteins.
    threshold
        Theta of the paper, in [0, 1].

    Returns
    -------
    Tensor
        Shape ``(T, K)``: 0 or more; over the tokens of a protein they add up to 1, BOS and EOS
        having 0. Residues that are all alike, or a single one, share equally, and then no
        gradient flows through the weights. Meaningless (but finite) for a prototype of an absent
        property.

    Raises
    ------
    ValueError
        Shapes that do not fit together, or a threshold out of range.
    """
    if len(residues) != len(batch.tokens) or len(prototypes) != len(batch):
        msg = (
            f"got {len(residues)} token vectors and prototypes of {len(prototypes)} proteins for "
            f"a batch of {len(batch.tokens)} tokens and {len(batch)} proteins"
        )
        raise ValueError(msg)
    if not 0 <= threshold <= 1:
        msg = f"threshold must be in [0, 1], got {threshold}"
        raise ValueError(msg)
    similarity, places, owner = _similarities(residues, prototypes, batch)
    low, high = (_extreme(similarity, owner, len(batch), kind) for kind in ("amin", "amax"))
    span = high - low
    with torch.no_grad():
        longest = _extreme(residues[places].norm(dim=1, keepdim=True), owner, len(batch), "amax")
        alike = span <= _ALIKE * longest * prototypes.norm(dim=-1)
    # Divide by 1 where the result is thrown away: a quotient of zeros would poison the gradient.
    stretched = (similarity - low[owner]) / span.masked_fill(alike, 1.0)[owner]
    kept = stretched.masked_fill(stretched < threshold, 0.0).masked_fill(alike[owner], 1.0)
    # At least 1: the residue that is most like the prototype is always kept.
    total = torch.zeros_like(low).index_add(0, owner, kept)
    return residues.new_zeros(len(residues), kept.shape[1]).index_copy(
        0, places, kept / total[owner]
    )


def segment_vectors(residues: Tensor, weights: Tensor, batch: PackedTokens) -> Tensor:
    """Weighted sums of the token vectors of each protein.

    Parameters
    ----------
    residues, weights
        Shapes ``(T, P)`` and ``(T, K)``.
    batch
        The packed proteins.

    Returns
    -------
    Tensor
        Shape ``(B, K, P)``.
    """
    blocks = zip(_blocks(weights, batch), _blocks(residues, batch))
    return torch.cat([weight.transpose(1, 2) @ vectors for weight, vectors in blocks])


def _blocks(values: Tensor, batch: PackedTokens) -> list[Tensor]:
    """Cut ``(T, X)`` into one block ``(count, length, X)`` for each run of equal lengths.

    By one split, whose gradient is one concatenation: slice by slice, each would fill a tensor of
    the size of the whole.
    """
    parts = values.split([count * length for _, count, length in batch.runs])
    return [
        part.unflatten(0, (count, length)) for part, (_, count, length) in zip(parts, batch.runs)
    ]


def _similarities(
    residues: Tensor, prototypes: Tensor, batch: PackedTokens
) -> tuple[Tensor, Tensor, Tensor]:
    """Products of residues with the prototypes of their protein, BOS and EOS left out.

    Returns
    -------
    tuple
        Products ``(L, K)``; the residues' places among the tokens ``(L,)``; their proteins
        ``(L,)``.
    """
    properties = prototypes.split([count for _, count, _ in batch.runs])
    found = [
        (block[:, 1:-1] @ own.transpose(1, 2)).flatten(0, 1)
        for block, own in zip(_blocks(residues, batch), properties)
    ]
    lengths = torch.tensor(batch.lengths, device=residues.device)
    owner = torch.repeat_interleave(torch.arange(len(batch), device=residues.device), lengths)
    position = batch.positions()
    places = ((position > 0) & (position < lengths[owner] - 1)).nonzero().squeeze(1)
    return torch.cat(found), places, owner[places]


def _extreme(values: Tensor, owner: Tensor, number: int, kind: str) -> Tensor:
    """Least or greatest of the values ``(L, K)`` of each protein: ``(B, K)``, 0 for none."""
    index = owner.unsqueeze(1).expand_as(values)
    return values.new_zeros(number, values.shape[1]).scatter_reduce(
        0, index, values, kind, include_self=False
    )


def _check_shapes(
    residues: Tensor, batch: PackedTokens, properties: Tensor, present: Tensor
) -> None:
    if properties.ndim != 3 or present.shape != properties.shape[:2] or residues.ndim != 2:
        msg = (
            "need residues (T, P), properties (B, K, P) and present (B, K), got "
            f"{tuple(residues.shape)}, {tuple(properties.shape)} and {tuple(present.shape)}"
        )
        raise ValueError(msg)
    if len(residues) != len(batch.tokens) or len(properties) != len(batch):
        msg = (
            f"got {len(residues)} token vectors and properties of {len(properties)} proteins for "
            f"a batch of {len(batch.tokens)} tokens and {len(batch)} proteins"
        )
        raise ValueError(msg)
