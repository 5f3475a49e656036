"""One score of several models: the mean of what each says, in units of its own spread.

A model's scores of a protein are divided by the standard deviation of all single substitutions of
that protein under that model. Nothing is subtracted, so 0 stays the wild type, and a variant of
several substitutions stays the sum of them.

Legend: V variants, M models, L residues.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from protclip_core.tasks.mutate.scores import ProteinScores, percentiles

__all__ = ["Combined", "combine"]


@dataclass(frozen=True, eq=False)
class Combined:
    """Scores of the variants of one protein.

    Attributes
    ----------
    score
        ``(V,)``; that of the model, or the mean over models. NaN where there is none.
    percentile
        ``(V,)``, NaN where there is none.
    by_model
        ``(V, M)``, as each model gives them.
    reasons
        Index of a variant to why it has no score; the first of the models.
    singles
        As `ProteinScores.singles`, of the ensemble.
    by_wild_type
        Whether percentiles are those of wild-type marginals.
    """

    score: np.ndarray
    percentile: np.ndarray
    by_model: np.ndarray
    reasons: dict[int, str]
    singles: np.ndarray | None
    by_wild_type: bool


def combine(scores: Sequence[ProteinScores]) -> Combined:
    """Put the scores of models together; of one model they stay as they are."""
    by_model = np.stack([one.scores for one in scores], axis=1)
    reasons = {i: reason for one in reversed(scores) for i, reason in one.reasons.items()}
    units = [1.0] if len(scores) == 1 else [_spread(one) for one in scores]
    singles = None
    if all(one.singles is not None for one in scores):
        parts = [one.singles / u for one, u in zip(scores, units) if one.singles is not None]
        singles = np.mean(parts, axis=0)
    placed = np.mean([one.placed / u for one, u in zip(scores, units)], axis=0)
    score = (by_model / units).mean(axis=1)
    unknown = ~np.isfinite(score)
    for index in np.flatnonzero(unknown).tolist():
        reasons.setdefault(index, "the model gave NaN or infinity")
    score[list(reasons)] = np.nan
    return Combined(
        score=score,
        percentile=percentiles(placed, singles),
        by_model=by_model,
        reasons=reasons,
        singles=singles,
        by_wild_type=any(one.by_wild_type for one in scores),
    )


def _spread(scores: ProteinScores) -> float:
    """Give the standard deviation of single substitutions; 1 where all are equal."""
    assert scores.singles is not None
    known = scores.singles[np.isfinite(scores.singles)]
    found = float(known.std()) if len(known) else 0.0
    return found if found > 0 else 1.0
