"""Variants by what they do to a protein's vector in the joint space of proteins and texts.

The score is the cosine of the mutated and the wild-type vector less 1: 0 where nothing moves, and
the more negative the farther the vector moves. Towards a text: how much the cosine to that text
grows. Insertions and deletions are scored alike.

Legend: P joint width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from protclip_core.engines.local import LocalEngine
from protclip_core.errors import UsageError
from protclip_core.models.info import DEFAULT_MODEL
from protclip_core.models.protein import ProteinModel
from protclip_core.models.settings import resolve_settings
from protclip_core.tasks.mutate.scores import ProteinAsked, ProteinScores

__all__ = ["ShiftScorer"]


class ShiftScorer:
    """Scores variants by the shift of the vector.

    Parameters
    ----------
    model
        The loaded model; it needs a joint space.
    engine
        Entered, of the model.
    toward
        A text; None for none.

    Raises
    ------
    UsageError
        The model has no joint space, or takes no texts and one is given.
    """

    def __init__(self, model: ProteinModel, engine: LocalEngine, toward: str | None) -> None:
        info = model.info
        if info.joint_dim is None:
            raise UsageError(
                f"model {info.name} has no joint space to be shifted in",
                code="usage.no_joint_space",
                hint=f"use a ProtCLIP model, such as {DEFAULT_MODEL}",
            )
        self._engine = engine
        self._settings = resolve_settings(info, model.encoder.num_layers, space="joint")
        self._text = None if toward is None else model.embed_text([toward])[0].astype(np.float64)

    def num_passes(self, asked: ProteinAsked) -> int:
        """Proteins that are embedded."""
        return 1 + len(asked.variants)

    def score(
        self, asked: ProteinAsked, advance: Callable[[int], None] | None = None
    ) -> tuple[ProteinScores, np.ndarray]:
        """Score the variants of one protein; percentiles are not taken.

        Returns
        -------
        tuple
            The scores, and for each variant the change of the cosine to the text (NaN where there
            is no text).
        """
        mutated = [variant.apply(asked.sequence, asked.offset) for variant in asked.variants]
        vectors, reasons = self._embed([asked.sequence, *mutated], advance)
        wild_type = vectors[0]
        result = ProteinScores(vectors[1:] @ wild_type - 1.0)
        result.placed = np.full(len(mutated), np.nan)
        result.reasons = {i - 1: reason for i, reason in reasons.items() if i > 0}
        if 0 in reasons:
            result.reasons = dict.fromkeys(range(len(mutated)), reasons[0])
        toward = np.full(len(mutated), np.nan)
        if self._text is not None:
            toward = (vectors[1:] - wild_type) @ self._text
        for index, sequence in enumerate(mutated):
            if sequence == asked.sequence:  # rounding of two batches is no shift
                result.scores[index], toward[index] = 0.0, 0.0 * toward[index]
        return result, toward

    def _embed(
        self, sequences: Sequence[str], advance: Callable[[int], None] | None
    ) -> tuple[np.ndarray, dict[int, str]]:
        """Return unit vectors ``(N, P)`` float64, NaN where there is a reason; and the reasons."""
        vectors: list[np.ndarray | None] = [None] * len(sequences)
        reasons: dict[int, str] = {}
        for index, found in self._engine.run(sequences, self._settings):
            if isinstance(found, str):
                reasons[index] = found
            else:
                vector = found.vector.astype(np.float64)
                vectors[index] = vector / np.linalg.norm(vector)
            if advance is not None:
                advance(1)
        width = next((len(v) for v in vectors if v is not None), 1)
        empty = np.full(width, np.nan)
        return np.stack([empty if v is None else v for v in vectors]), reasons
