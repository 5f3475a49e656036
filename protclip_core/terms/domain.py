"""For which proteins the probabilities of terms hold: those like the ones they were fitted on.

A calibration was fitted on whole proteins. It says nothing about a peptide or a stretch of one
residue, of which the model makes some vector all the same.

The thresholds come from the 2,401 proteins of the split ``valid`` of the annotated UniProt set, of
which 10 (0.4 %) are outside:

- Residues: at least 30. Valid proteins have 21 to 4,684. Random sequences of 8 residues get 4.9
  rare terms (share below 0.05) at a probability of 0.3 or more, of 15 residues 2.4, of 20 2.5, of
  30 1.05; beyond that it does not fall (60 residues 1.05, 100 1.35), while whole proteins of 30 to
  120 residues get 2.0, of which 73 are true where 89 are expected.
- Readable residues (the 20 standard letters): a share of at least 0.9. All valid proteins have
  0.936 or more.
- Effective number of kinds of residues, ``exp(entropy)`` of the composition: at least 5. The
  lowest of a valid protein is 5.8, the median 16.8; ten lysines or 50 glycines have 1.
"""

from __future__ import annotations

import math

import numpy as np

__all__ = ["LEAST_KINDS", "LEAST_READABLE", "LEAST_RESIDUES", "why_outside"]

LEAST_RESIDUES, LEAST_READABLE, LEAST_KINDS = 30, 0.9, 5.0
_STANDARD = np.frombuffer(b"ACDEFGHIKLMNPQRSTVWYacdefghiklmnpqrstvwy", np.uint8)


def why_outside(length: int, sequence: str | None = None) -> str | None:
    """Say why the probabilities of a protein's terms do not hold.

    Parameters
    ----------
    length
        Residues of the protein.
    sequence
        The residues, where they are at hand (a store has only the length).

    Returns
    -------
    str or None
        A few words; None for a protein that is like those of the calibration.

    Examples
    --------
    >>> why_outside(8, "SIINFEKL")
    '8 residues, fewer than 30'
    >>> why_outside(200) is None
    True
    """
    if length < LEAST_RESIDUES:
        return f"{length} residues, fewer than {LEAST_RESIDUES}"
    if sequence is None:
        return None
    letters = np.frombuffer(sequence.encode("latin-1", "replace"), np.uint8)
    counts = np.bincount(letters, minlength=256)[_STANDARD].reshape(2, 20).sum(axis=0)
    readable = int(counts.sum())
    if readable < LEAST_READABLE * len(letters):
        return f"{readable / max(1, len(letters)):.0%} standard residues, less than 90%"
    shares = counts[counts > 0] / readable
    kinds = math.exp(-float((shares * np.log(shares)).sum()))
    if kinds < LEAST_KINDS:
        return f"only {kinds:.1f} kinds of residues (effective number), fewer than {LEAST_KINDS:g}"
    return None
