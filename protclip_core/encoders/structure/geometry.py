"""Angles and directions along a chain, each with a mark where it is not known.

Legend: N residues of the batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor

from protclip_core.encoders.structure.packing import PackedChains

__all__ = ["Geometry", "dihedral", "measure_backbone", "unit"]

#: Below this a direction or a plane is none; in ångström, and of planes in ångström^4.
_NOTHING = 1e-6


@dataclass(frozen=True, eq=False)
class Geometry:
    """What a residue looks like from its own backbone; unknown values are zero.

    Attributes
    ----------
    angles
        Cosine and sine of phi, psi, omega (to the next residue) and of the virtual dihedral of
        four CA (from the one before to two behind), shape ``(N, 4, 2)``; signs as IUPAC has them.
    angles_known
        Shape ``(N, 4)``, bool.
    bend
        Cosine of the angle of three CA, shape ``(N,)``.
    directions
        Unit vectors to the CA behind and before, and to where a side chain leaves, ``(N, 3, 3)``:
        coordinates, then these three.
    directions_known
        Shape ``(N, 3)``, bool. The bend is known where the first two are.
    """

    angles: Tensor
    angles_known: Tensor
    bend: Tensor
    directions: Tensor
    directions_known: Tensor


@torch.no_grad()
def measure_backbone(batch: PackedChains) -> Geometry:
    """Measure all residues; nothing reaches across the ends of chains or across breaks."""
    n, ca, c = batch.backbone[:, :3].unbind(1)
    follows = ~batch.starts
    followed = _followed(follows)
    ca_next, ca_last = _after(ca), _before(ca)
    four = follows & followed & _followed(followed)
    measured = [
        (dihedral(_before(c), n, ca, c), follows),
        (dihedral(n, ca, c, _after(n)), followed),
        (dihedral(ca, c, _after(n), ca_next), followed),
        (dihedral(ca_last, ca, ca_next, _after(ca_next)), four),
    ]
    known = torch.stack([ok & value[:, 0].isfinite() for value, ok in measured], 1)
    angles = torch.stack([value for value, _ in measured], 1)
    ahead, behind, side = unit(ca_next - ca), unit(ca_last - ca), _side_chain(n, ca, c)
    directions = torch.stack([ahead, behind, side], 2)
    allowed = torch.stack([followed, follows, torch.ones_like(follows)], 1)
    directions_known = allowed & directions.isfinite().all(1)
    directions = directions.where(directions_known[:, None], 0)
    return Geometry(
        angles.where(known[:, :, None], 0),
        known,
        (directions[:, :, 0] * directions[:, :, 1]).sum(1),
        directions,
        directions_known,
    )


def dihedral(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    """Return cosine and sine of the dihedral of four points.

    Parameters
    ----------
    a, b, c, d
        Shape ``(N, 3)``.

    Returns
    -------
    Tensor
        Shape ``(N, 2)``; the sign is IUPAC's. NaN where a point is, or where three are in line.
    """
    first, axis, last = b - a, c - b, d - c
    plane = torch.linalg.cross(axis, last, dim=-1)
    cosine = (torch.linalg.cross(first, axis, dim=-1) * plane).sum(-1)
    sine = (first * plane).sum(-1) * axis.norm(dim=-1)
    both = torch.stack([cosine, sine], -1)
    size = both.norm(dim=-1, keepdim=True)
    return (both / size).where(size > _NOTHING, torch.nan)


def unit(vectors: Tensor) -> Tensor:
    """Scale vectors ``(N, 3)`` to length 1; NaN where there is no direction."""
    size = vectors.norm(dim=-1, keepdim=True)
    return (vectors / size).where(size > _NOTHING, torch.nan)


def _side_chain(n: Tensor, ca: Tensor, c: Tensor) -> Tensor:
    """Return where a side chain leaves a residue of L-amino acids, ``(N, 3)``."""
    to_c, to_n = unit(c - ca), unit(n - ca)
    across = unit(torch.linalg.cross(to_c, to_n, dim=-1))
    return -sqrt(1 / 3) * unit(to_c + to_n) - sqrt(2 / 3) * across


def _followed(follows: Tensor) -> Tensor:
    """Return for each residue what the next one says; false for the last."""
    return torch.cat([follows[1:], torch.zeros_like(follows[:1])])


def _after(values: Tensor) -> Tensor:
    """Return the value of the next residue; at the end the last one's own."""
    return torch.cat([values[1:], values[-1:]])


def _before(values: Tensor) -> Tensor:
    """Return the value of the residue before; at the beginning the first one's own."""
    return torch.cat([values[:1], values[:-1]])
