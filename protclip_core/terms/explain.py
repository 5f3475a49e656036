"""Which residues make a protein like a term: its dynamic segments, found without the term's text.

ProtCLIP (AAAI 2025) compares a property with every residue of a protein, stretches the
similarities to the range from 0 to 1 over that protein, and takes the residues above a threshold
as the property's dynamic segment. Here the similarity of a residue is what its surroundings add
to the cosine of protein and term: the cosine of the whole protein less the cosine of its mean
vector without a window around the residue. A projection that was trained on means sees means
only, so this holds for encoders whose residues know nothing of each other (k-mer tables) as for
those whose residues know all (ESM-2). `docs/explain.md` has the comparison with other choices.

Legend: L residues, D encoder width, P joint width, C terms.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from protclip_core.models.protein import ProteinModel

__all__ = [
    "GAP",
    "LEAST_LENGTH",
    "THRESHOLD",
    "WINDOW",
    "TermResidues",
    "as_ranges",
    "explain_terms",
    "find_segments",
    "stretch",
    "window_shifts",
]

#: Residues of the window that is left out, the residue in its middle.
WINDOW = 9
#: Of the stretched similarity; the paper's 0.3 weighs residues, this marks those that stand out.
THRESHOLD = 0.7
#: Segments with so many unmarked residues between them, or fewer, are one.
GAP = 3
#: A segment of fewer residues is none.
LEAST_LENGTH = 5
#: What is more than this share of a protein does not stand out in it.
MOST_MARKED = 1 / 3
#: Cosines in float32 differ by so much without a reason.
_ALIKE = 1e-6
_ROWS = 1024

#: First and last residue, from 1.
Segment = tuple[int, int]


@dataclass(frozen=True, eq=False)
class TermResidues:
    """Where in a protein its similarity to one term lies.

    Attributes
    ----------
    profile
        Similarity of each residue, stretched to 0 to 1 over the protein; ``(L,)`` float32. Zeros
        where all residues are alike.
    segments
        What stands out; empty if nothing does.
    cosine
        Of the protein with the term.
    cosine_without
        The same when the marked residues are left out of the mean; None if there are none.
    """

    profile: npt.NDArray[np.float32]
    segments: tuple[Segment, ...]
    cosine: float
    cosine_without: float | None


def explain_terms(
    model: ProteinModel,
    pooled: npt.NDArray[np.float32],
    residues: npt.NDArray[np.float32],
    terms: npt.NDArray[np.float32],
    *,
    pooling: str,
) -> list[TermResidues]:
    """Find the residues of one protein that some terms owe their cosine to.

    Parameters
    ----------
    model
        One with a joint space.
    pooled, residues
        Of the protein in the encoder's space, ``(D,)`` and ``(L, D)``; L is at least 1.
    terms
        Unit vectors ``(C, P)``.
    pooling
        How ``pooled`` was made: ``"residues"`` or ``"tokens"``.

    Returns
    -------
    list of TermResidues
        One for each term. Depends on protein and term alone.
    """
    terms = np.asarray(terms, np.float64)
    shifts = window_shifts(model, pooled, residues, pooling=pooling)
    whole = model.project(pooled[None])[0].astype(np.float64)
    found = []
    for term in terms:
        effects = shifts @ term
        segments = find_segments(effects)
        without = None
        if segments:
            kept = np.ones(len(residues), dtype=bool)
            for first, last in segments:
                kept[first - 1 : last] = False
            rest = _mean_without(pooled, residues, ~kept, pooling)
            without = float(model.project(rest[None])[0].astype(np.float64) @ term)
        profile = stretch(effects).astype(np.float32)
        found.append(TermResidues(profile, segments, float(whole @ term), without))
    return found


def window_shifts(
    model: ProteinModel,
    pooled: npt.NDArray[np.float32],
    residues: npt.NDArray[np.float32],
    *,
    pooling: str,
    window: int = WINDOW,
) -> npt.NDArray[np.float64]:
    """Tell how the surroundings of each residue move the protein's vector.

    Parameters
    ----------
    model, pooled, residues, pooling
        As for `explain_terms`.
    window
        Residues that are left out together, an odd number; fewer at the ends, and at most half
        of the protein.

    Returns
    -------
    numpy.ndarray
        Unit vector of the protein less that of the protein without the window, ``(L, P)``; its
        product with a term is what the window adds to the cosine. Zeros for fewer than three
        residues, which leave nothing to compare.

    Raises
    ------
    UsageError
        The model has no joint space.
    """
    number = len(residues)
    whole = model.project(pooled[None])[0].astype(np.float64)
    found = np.zeros((number, len(whole)))
    reach = min(window // 2, (number // 2 - 1) // 2)
    if reach < 0:
        return found
    count = _counted(number, pooling)
    total = pooled.astype(np.float64) * count
    for start in range(0, number, _ROWS):
        places = np.arange(start, min(start + _ROWS, number))
        first = np.maximum(places - reach, 0)
        last = np.minimum(places + reach + 1, number)
        # Sums of neighbours from running sums, in float64 and of this part only.
        part = residues[first[0] : last[-1]].astype(np.float64)
        sums = np.concatenate([np.zeros((1, part.shape[1])), np.cumsum(part, axis=0)])
        inside = sums[last - first[0]] - sums[first - first[0]]
        means = (total - inside) / (count - (last - first))[:, None]
        found[places] = whole - model.project(means.astype(np.float32))
    return found


def stretch(effects: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Stretch numbers ``(L,)`` to the range from 0 to 1, as PDA does; zeros where all are alike."""
    if not len(effects) or np.ptp(effects) <= _ALIKE:
        return np.zeros(len(effects))
    low = effects.min()
    stretched: npt.NDArray[np.float64] = (effects - low) / (effects.max() - low)
    return stretched


def find_segments(
    effects: npt.NDArray[np.float64],
    *,
    threshold: float = THRESHOLD,
    gap: int = GAP,
    least: int = LEAST_LENGTH,
) -> tuple[Segment, ...]:
    """Mark the residues that stand out.

    Marked are residues whose stretched similarity is at least the threshold and which raise the
    cosine. Short gaps are closed, then short segments dropped.

    Parameters
    ----------
    effects
        What each residue adds to the cosine, ``(L,)``.
    threshold
        In [0, 1].
    gap, least
        Unmarked residues that are closed over at most, and residues of a segment at least.

    Returns
    -------
    tuple
        First and last residue of each segment, from 1, in order. Empty if all residues are
        alike, none raises the cosine, or segments would be more than a third of the protein:
        then it is like the term as a whole.
    """
    stretched = stretch(effects)
    marked = (stretched >= threshold) & (effects > 0) & (stretched > 0)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], marked, [False]])))
    joined: list[list[int]] = []
    for start, stop in edges.reshape(-1, 2).tolist():
        if joined and start - joined[-1][1] <= gap:
            joined[-1][1] = stop
        else:
            joined.append([start, stop])
    kept = [(start + 1, stop) for start, stop in joined if stop - start >= least]
    if sum(last - first + 1 for first, last in kept) > MOST_MARKED * len(effects):
        return ()
    return tuple(kept)


def as_ranges(segments: Sequence[Segment]) -> str:
    """Write segments as ``12-19,45-60``; an empty text for none.

    Examples
    --------
    >>> as_ranges([(12, 19), (45, 60)])
    '12-19,45-60'
    """
    return ",".join(f"{first}-{last}" for first, last in segments)


def _mean_without(
    pooled: npt.NDArray[np.float32],
    residues: npt.NDArray[np.float32],
    left_out: npt.NDArray[np.bool_],
    pooling: str,
) -> npt.NDArray[np.float32]:
    """Return the protein's mean vector ``(D,)`` without some residues."""
    count = _counted(len(residues), pooling)
    total = pooled.astype(np.float64) * count - residues[left_out].sum(axis=0, dtype=np.float64)
    mean: npt.NDArray[np.float32] = (total / (count - left_out.sum())).astype(np.float32)
    return mean


def _counted(number: int, pooling: str) -> int:
    """Vectors that a mean is over: those of BOS and EOS count with the pooling of tokens."""
    return number + (2 if pooling == "tokens" else 0)
