"""A space of residues in which distance follows BLOSUM62 (Henikoff and Henikoff 1992)."""

from __future__ import annotations

import numpy as np

from protclip_core.encoders.alphabet import TOKENS
from protclip_core.encoders.kmer_config import RESIDUES

__all__ = ["residue_vectors"]


def residue_vectors(dim: int = len(RESIDUES)) -> np.ndarray:
    """Place residues so that their distances follow BLOSUM62.

    Parameters
    ----------
    dim
        How many axes to keep, the longest first; at most 20.

    Returns
    -------
    numpy.ndarray
        Shape ``(33, dim)``, float32, a row for each token; zero for those that are none of the
        20 residues. With all axes the mean square length of a residue is 1.
    """
    from Bio.Align import substitution_matrices

    matrix = substitution_matrices.load("BLOSUM62")
    scores = np.array([[matrix[a][b] for b in RESIDUES] for a in RESIDUES], dtype=np.float64)
    values, axes = np.linalg.eigh(scores)
    # The sign of an axis is the library's choice: fix it, so that a start can be repeated.
    axes *= np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(len(RESIDUES))])
    places = axes * np.sqrt(np.maximum(values, 0.0))
    places -= places.mean(axis=0)
    places /= np.sqrt((places**2).sum(axis=1).mean())
    vectors = np.zeros((len(TOKENS), dim), dtype=np.float32)
    for residue, place in zip(RESIDUES, places, strict=True):
        vectors[TOKENS.index(residue)] = place[::-1][:dim]
    return vectors
