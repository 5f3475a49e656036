"""Heads on single residues, as ProtCLIP trains them beside the contrast of whole proteins.

``mlm`` restores masked residues from the protein encoder alone; ``segment_decoder`` with
``segment_head`` restores masked segments with the help of the text; ``prototypes`` turn the text
of a property into one of a bank of vectors, with which residues are compared. All are plain,
differentiable modules without state beyond their weights.

Legend: R residues (or tokens of proteins), S text tokens, B pairs, D width of the input, P joint
width, K prototypes, V vocabulary of residues.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["PrototypeBank", "ResidueHead", "ResidueHeads", "SegmentDecoder"]

#: Temperature of the soft choice of a prototype (ProtCLIP).
PROTOTYPE_TEMPERATURE = 0.9


class ResidueHead(nn.Sequential):
    """Linear, GELU, LayerNorm, Linear: vectors ``(..., D)`` to logits ``(..., V)``.

    Parameters
    ----------
    width_in
        Width of the input, ``D``.
    width
        Width between the two linear maps.
    vocab
        Tokens to choose from, ``V``.
    """

    def __init__(self, width_in: int, width: int, vocab: int) -> None:
        super().__init__(
            nn.Linear(width_in, width), nn.GELU(), nn.LayerNorm(width), nn.Linear(width, vocab)
        )


class SegmentDecoder(nn.Module):
    """Residues that look into the text of their protein: attention of one head.

    Parameters
    ----------
    dim
        Width of residues and text tokens, both in the joint space: ``P``.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(dim, dim)
        self.value = nn.Linear(dim, dim)

    def forward(self, residues: Tensor, text: Tensor, text_mask: Tensor | None = None) -> Tensor:
        """Return for each residue the text that matters to it.

        Parameters
        ----------
        residues
            Shape ``(B, R, P)``.
        text
            Token vectors, shape ``(B, S, P)``.
        text_mask
            True at real tokens, shape ``(B, S)``; default all. A pair without a single real
            token gives zeros.

        Returns
        -------
        Tensor
            Shape ``(B, R, P)``: weighted means of the text's values. The weights of a residue
            add up to 1 over the real tokens.
        """
        if text_mask is not None:
            # A weight of 0 alone would let what is not finite through.
            text = text.masked_fill(~text_mask.bool().unsqueeze(-1), 0.0)
        query, key, value = self.query(residues), self.key(text), self.value(text)
        scores = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5
        if text_mask is None:
            return F.softmax(scores, dim=-1) @ value
        padding = ~text_mask.bool().unsqueeze(-2)
        # The least number instead of infinity: a text of padding alone shall not give NaN.
        scores = scores.masked_fill(padding, torch.finfo(scores.dtype).min)
        return F.softmax(scores, dim=-1).masked_fill(padding, 0.0) @ value


class PrototypeBank(nn.Module):
    """A bank of vectors to choose from, softly while training.

    Parameters
    ----------
    count
        Number of prototypes, ``K``.
    dim
        Width of each, ``P``.
    """

    def __init__(self, count: int, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(count, dim) * dim**-0.5)

    def similarities(self, vectors: Tensor) -> Tensor:
        """Products of vectors ``(..., P)`` with all prototypes: ``(..., K)``."""
        return F.linear(vectors, self.weight)

    def assign(
        self,
        vectors: Tensor,
        *,
        gumbel: bool = False,
        temperature: float = PROTOTYPE_TEMPERATURE,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return the share of each prototype: ``(..., K)``, adding up to 1.

        Parameters
        ----------
        vectors
            Shape ``(..., P)``.
        gumbel
            Add Gumbel noise to the similarities first, so that the choice is a random draw.
        temperature
            Divides the similarities; towards 0 the choice becomes hard.
        generator
            Source of the noise; default torch's own.
        """
        scores = self.similarities(vectors)
        if gumbel:
            # Minus the logarithm of an exponential variate has the Gumbel distribution.
            noise = torch.empty_like(scores).exponential_(generator=generator)
            scores = scores - noise.clamp_min(torch.finfo(noise.dtype).tiny).log()
        return F.softmax(scores / temperature, dim=-1)

    def forward(
        self, vectors: Tensor, *, gumbel: bool = False, generator: torch.Generator | None = None
    ) -> Tensor:
        """Replace vectors ``(..., P)`` by their mixtures of prototypes ``(..., P)``."""
        return self.assign(vectors, gumbel=gumbel, generator=generator) @ self.weight

    def nearest(self, vectors: Tensor) -> Tensor:
        """Index of the prototype of greatest similarity, ``(...)``; the first of equals."""
        # torch does not promise which of equals argmax returns.
        scores = self.similarities(vectors)
        best = scores == scores.amax(dim=-1, keepdim=True)
        places = torch.arange(scores.shape[-1], device=scores.device)
        return torch.where(best, places, scores.shape[-1]).amin(dim=-1)


class ResidueHeads(nn.Module):
    """All heads of a checkpoint; those that it lacks are ``None``.

    Parameters
    ----------
    encoder_dim
        Width of the protein encoder, ``D``.
    joint_dim
        Width of the joint space, ``P``; also that between the linear maps of a head.
    vocab
        Residue tokens, ``V``.
    mlm
        Whether there is the head of masked residues.
    segments
        Whether there are segment decoder and segment head.
    prototypes
        Number of prototypes; 0 for no bank. With it comes ``segment_logit_scale`` of shape
        ``(2,)``: logarithms of the scales of the contrast of segments with prototypes.
    """

    def __init__(
        self,
        encoder_dim: int,
        joint_dim: int,
        vocab: int,
        *,
        mlm: bool = False,
        segments: bool = False,
        prototypes: int = 0,
    ) -> None:
        super().__init__()
        self.mlm = ResidueHead(encoder_dim, joint_dim, vocab) if mlm else None
        self.segment_decoder = SegmentDecoder(joint_dim) if segments else None
        self.segment_head = ResidueHead(joint_dim, joint_dim, vocab) if segments else None
        self.prototypes = PrototypeBank(prototypes, joint_dim) if prototypes else None
        # It starts at the logarithm of 1 / 0.1.
        scale = nn.Parameter(torch.full((2,), 10.0).log()) if prototypes else None
        self.segment_logit_scale = scale
