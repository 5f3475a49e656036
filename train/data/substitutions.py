"""Random substitutions in training proteins, in the proportions of BLOSUM62.

Source: Henikoff and Henikoff 1992; a score is twice the logarithm (base 2) of how much more often
a pair is seen in alignments than chance would have it, so chance times ``2 ** (score / 2)`` gives
the frequencies back.

Legend: L residues of a protein.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from protclip_core.encoders.alphabet import TOKENS

__all__ = ["mutate", "substitutions"]

#: Share of each residue in proteins, in parts of 10,000 (Robinson and Robinson 1991).
_SHARES = {
    "A": 780, "R": 512, "N": 448, "D": 536, "C": 192, "Q": 426, "E": 629, "G": 738, "H": 219,
    "I": 514, "L": 901, "K": 574, "M": 224, "F": 385, "P": 520, "S": 711, "T": 584, "W": 133,
    "Y": 321, "V": 644,
}  # fmt: skip


@cache
def substitutions() -> np.ndarray:
    """Return the probability of each token in place of each.

    Returns
    -------
    numpy.ndarray
        Shape ``(33, 33)``, float64. The row of a residue adds up to 1 over the 19 others; rows
        and columns of what is none of the 20 residues are 0.
    """
    from Bio.Align import substitution_matrices

    matrix = substitution_matrices.load("BLOSUM62")
    found = np.zeros((len(TOKENS), len(TOKENS)))
    for residue in _SHARES:
        for other, share in _SHARES.items():
            if other != residue:
                weight = share * 2.0 ** (matrix[residue][other] / 2)
                found[TOKENS.index(residue), TOKENS.index(other)] = weight
    total = found.sum(axis=1, keepdims=True)
    return found / np.where(total > 0, total, 1.0)


def mutate(residues: np.ndarray, most: float, rng: np.random.Generator) -> np.ndarray:
    """Replace a random share of the residues.

    Parameters
    ----------
    residues
        Token ids without BOS and EOS, ``(L,)`` uint8; not changed.
    most
        The share is drawn uniformly between 0 and this, and each residue by itself then.
    rng
        Source of the random numbers.

    Returns
    -------
    numpy.ndarray
        Shape ``(L,)``, uint8. What is none of the 20 residues (X, U, …) stays.
    """
    chosen = np.flatnonzero(rng.random(len(residues)) < most * rng.random())
    chosen = chosen[_replaced()[residues[chosen]]]
    result = residues.copy()
    # The first token whose cumulated probability is above the number; never the residue itself,
    # whose step has no height.
    steps = np.cumsum(substitutions(), axis=1)[residues[chosen]]
    drawn = (rng.random((len(chosen), 1)) * steps[:, -1:] >= steps).sum(axis=1)
    result[chosen] = drawn
    return result


@cache
def _replaced() -> np.ndarray:
    """Whether each token is one of the 20 residues, ``(33,)``."""
    return np.asarray(substitutions().any(axis=1))
