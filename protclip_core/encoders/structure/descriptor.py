"""34 numbers that say roughly what a chain looks like, without anything learned.

Most of what tells AlphaFold models apart is secondary structure, disorder and length; an encoder
that is not better than these numbers has learned nothing. They can also stand beside its vector.

Legend: B chains, L residues of one chain.
"""

from __future__ import annotations

from math import pi

import torch
from scipy.spatial import cKDTree
from torch import Tensor

from protclip_core.encoders.structure.geometry import measure_backbone
from protclip_core.encoders.structure.neighbours import chain_slices
from protclip_core.encoders.structure.packing import PackedChains

__all__ = ["describe"]

_BINS = 12
#: Radii of contacts, in ångström, and how many there are about, so that numbers are about 1.
_CONTACTS = ((10.0, 15.0), (15.0, 40.0))


@torch.no_grad()
def describe(batch: PackedChains) -> Tensor:
    """Describe each chain.

    Returns
    -------
    Tensor
        Shape ``(B, 34)``, in the type of the coordinates: mean cosine and sine of phi, psi and
        omega (6); shares of phi in 12 sectors from -180°, then of psi (24); mean number of CA
        within 10 and 15 Å, divided by 15 and 40 (2); logarithms of the length and of the radius
        of gyration in ångström, at least 1 (2). The first 32 can be told from a piece. Angles
        that nobody knows are left out of means and shares; all of them unknown gives 0.
    """
    seen = measure_backbone(batch)
    rows = []
    for place in chain_slices(batch.lengths):
        angles, known = seen.angles[place, :3], seen.angles_known[place, :3]
        means = (angles.sum(0) / known.sum(0).clamp(min=1)[:, None]).flatten()
        shares = [_shares(angles[:, which][known[:, which]]) for which in (0, 1)]
        rows.append(torch.cat([means, *shares, _sizes(batch.backbone[place, 1])]))
    return torch.stack(rows) if rows else batch.backbone.new_empty((0, 34))


def _shares(angles: Tensor) -> Tensor:
    """Return the share of each sector, from cosines and sines ``(M, 2)``."""
    turned = (torch.atan2(angles[:, 1], angles[:, 0]) + pi) / (2 * pi / _BINS)
    counts = torch.bincount(turned.long().clamp(0, _BINS - 1), minlength=_BINS)
    return (counts / max(1, len(angles))).to(angles.dtype)


def _sizes(ca: Tensor) -> Tensor:
    """Return contacts, length and radius of gyration."""
    places = ca.double().cpu().numpy()
    tree = cKDTree(places)
    near = [
        (tree.count_neighbors(tree, radius) / len(places) - 1) / usual
        for radius, usual in _CONTACTS
    ]
    radius = max(1.0, float(places.var(axis=0).sum() ** 0.5))
    size = [*near, torch.tensor(float(len(places))).log().item(), torch.tensor(radius).log().item()]
    return torch.tensor(size, dtype=ca.dtype, device=ca.device)
