"""What a substitution does on the average, whatever the protein: BLOSUM62 and hydropathy.

The prior of a substitution is the sum of two numbers of equal weight, each standardised over the
380 substitutions: its BLOSUM62 score (Henikoff and Henikoff 1992), and how much more hydropathic
the new residue is than the old one (Kyte and Doolittle 1982), since cores suffer more from a
charge than surfaces from a methyl group. No weight is fitted on measured variants; but this form
was chosen among some thirty with the ProteinGym assays in view, so the gain on these is flattered.

A weak model's probabilities mostly tell how common residues are, which says nothing of harm. So
where the prior is added, the shares of residues are taken off the model's log ratio first: what
is left is what the model knows about the place.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from protclip_core.variants.residues import LETTERS, NUM_STANDARD

__all__ = ["HYDROPATHY", "PRIORS", "blosum62", "prior_table", "resolve_prior", "share_ratios"]

#: What can be requested.
PRIORS = ("auto", "blosum62", "none")

#: Hydropathy of the 20 residues in the order of their letters (Kyte and Doolittle 1982).
HYDROPATHY = (
    1.8, 2.5, -3.5, -3.5, 2.8, -0.4, -3.2, 4.5, -3.9, 3.8,
    1.9, -3.5, -1.6, -3.5, -4.5, -0.8, -0.7, 4.2, -0.9, -1.3,
)  # fmt: skip
#: Shares of the 20 residues in parts of 10,000 (Robinson and Robinson 1991).
_SHARES = (
    780, 192, 536, 629, 385, 738, 219, 514, 574, 901,
    224, 448, 520, 426, 512, 711, 584, 644, 133, 321,
)  # fmt: skip


@cache
def blosum62() -> np.ndarray:
    """BLOSUM62 of wild type (rows) and new residue, ``(20, 20)`` float64."""
    from Bio.Align import substitution_matrices

    matrix = substitution_matrices.load("BLOSUM62")
    standard = LETTERS[:NUM_STANDARD]
    return np.array([[float(matrix[a][b]) for b in standard] for a in standard])


def share_ratios() -> np.ndarray:
    """Log ratio of the shares of new residue and wild type, ``(20, 20)`` float64."""
    shares = np.log(np.array(_SHARES) / sum(_SHARES))
    return np.asarray(shares[None, :] - shares[:, None])


@cache
def prior_table() -> np.ndarray:
    """Prior of each substitution less the log ratio of shares, to be added to a model's score.

    Returns
    -------
    numpy.ndarray
        Wild type by new residue, ``(A, A)`` float64 in the order of `LETTERS`; 0 on the diagonal
        and for letters that are none of the 20 residues.
    """
    hydropathy = np.array(HYDROPATHY)
    other = ~np.eye(NUM_STANDARD, dtype=bool)
    found = -share_ratios()
    for part in (blosum62(), hydropathy[None, :] - hydropathy[:, None]):
        found += (part - part[other].mean()) / part[other].std()
    table = np.zeros((len(LETTERS), len(LETTERS)))
    table[:NUM_STANDARD, :NUM_STANDARD] = np.where(other, found, 0.0)
    return table


def resolve_prior(asked: str, encoder_type: str) -> bool:
    """Whether the prior is added.

    Parameters
    ----------
    asked
        One of `PRIORS`; ``auto``: for encoders of k-mers, whose heads know little more than how
        common residues are.
    encoder_type
        ``type`` of the protein encoder; empty where only its file knows.
    """
    return asked == "blosum62" or (asked == "auto" and encoder_type == "kmer")
