"""Projections from encoder vectors into the joint space, in two forms.

The plain form is Linear, ReLU, Linear, as in the published model (tensors ``0.*``, ``2.*``). The
form with a skip connection has a norm in front, a hidden layer of its own width, and a linear map
past it, so that what a linear map can carry over need not go through the hidden layer.

Legend: D width of the encoder, W entries that are read (D, if not said otherwise), H hidden
width, P joint width.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from protclip_core.encoders.projection_form import ProjectionForm

__all__ = ["ProjectionForm", "SkipProjection", "initialise_skip", "make_projection"]

#: Of the hidden layer's part at the start; the skip connection has the rest of the say.
_OUTPUT_SHARE = 0.5


class SkipProjection(nn.Module):
    """``output(GELU(hidden(norm(x)))) + skip(norm(x))``.

    Parameters
    ----------
    width
        W. Where it is less than D, the first W entries of a vector are read.
    joint_dim
        P.
    hidden_dim
        H.
    dropout
        Share of the hidden entries, behind the GELU, that training leaves out.
    cut
        Whether vectors may be wider than W.
    """

    def __init__(
        self,
        width: int,
        joint_dim: int,
        hidden_dim: int,
        *,
        dropout: float = 0.0,
        cut: bool = False,
    ) -> None:
        super().__init__()
        self.width, self.cut = width, cut
        self.norm = nn.LayerNorm(width)
        self.hidden = nn.Linear(width, hidden_dim)
        self.output = nn.Linear(hidden_dim, joint_dim)
        self.skip = nn.Linear(width, joint_dim, bias=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, vectors: Tensor) -> Tensor:
        """Map ``(..., D)`` to ``(..., P)``; with ``cut``, ``(..., W)`` gives the same."""
        read = self.norm(vectors[..., : self.width] if self.cut else vectors)
        made: Tensor = self.output(self.dropout(F.gelu(self.hidden(read)))) + self.skip(read)
        return made


def make_projection(
    width: int, joint: int, form: ProjectionForm | None, dropout: float = 0.0
) -> nn.Module:
    """Build a projection, not yet filled.

    Parameters
    ----------
    width
        D.
    joint
        P.
    form
        ``None`` for the plain form. ``protein_dim`` counts: give `ProjectionForm.for_texts` on
        the side of the texts.
    dropout
        Of the form ``"skip"``, from 0 to less than 1; the plain form has none.

    Raises
    ------
    ValueError
        ``protein_dim`` is more than the width, or dropout in the plain form.
    """
    if form is None:
        if dropout:
            raise ValueError("the plain form of the projection has no dropout")
        return nn.Sequential(nn.Linear(width, joint), nn.ReLU(), nn.Linear(joint, joint))
    read = form.protein_dim or width
    if read > width:
        raise ValueError(f"protein_dim {read} is more than the width {width}")
    return SkipProjection(read, joint, form.hidden_dim, dropout=dropout, cut=read < width)


def initialise_skip(projection: SkipProjection) -> None:
    """Draw the weights of a `SkipProjection` such that the size of what passes is kept.

    Normal values of deviation ``W^-0.5`` (hidden, skip) and ``0.5 H^-0.5`` (output); biases 0,
    the norm as it is. They come from torch's generator, in the order of the parameters.
    """
    for layer in (projection.hidden, projection.output, projection.skip):
        share = _OUTPUT_SHARE if layer is projection.output else 1.0
        nn.init.normal_(layer.weight, std=share * layer.in_features**-0.5)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
    nn.init.ones_(projection.norm.weight)
    nn.init.zeros_(projection.norm.bias)
