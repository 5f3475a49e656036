"""Amino-acid composition: what can be told of a protein without any model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["COMPOSITION_WIDTH", "RESIDUES", "composition"]

RESIDUES = "ACDEFGHIKLMNPQRSTVWY"
COMPOSITION_WIDTH = len(RESIDUES) + 1


def composition(sequences: Sequence[str]) -> np.ndarray:
    """Give the share of each of the 20 residues and the logarithm of the length.

    Parameters
    ----------
    sequences
        Upper-case residues, not empty; others than the 20 count for the length alone.

    Returns
    -------
    numpy.ndarray
        Shape ``(N, 21)`` float32.
    """
    found = np.zeros((len(sequences), COMPOSITION_WIDTH), np.float32)
    codes = np.frombuffer(RESIDUES.encode(), np.uint8)
    for row, sequence in enumerate(sequences):
        counts = np.bincount(np.frombuffer(sequence.encode("ascii"), np.uint8), minlength=128)
        found[row, :-1] = counts[codes] / len(sequence)
        found[row, -1] = np.log(len(sequence))
    return found
