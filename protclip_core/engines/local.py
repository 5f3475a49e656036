"""Embedding on one device of this machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Self

import numpy as np

from protclip_core.engines.batching import GPU_BATCH_TOKENS, BatchEngine, BatchWork, usable_cores
from protclip_core.models.protein import Embedded, ProteinModel
from protclip_core.models.settings import EmbedSettings

__all__ = [
    "GPU_BATCH_TOKENS",
    "NOT_FINITE",
    "OUT_OF_MEMORY",
    "LocalEngine",
    "Problem",
    "usable_cores",
]

OUT_OF_MEMORY = "record.out_of_memory"


class Problem(str):
    """Why a protein has no vector: a clause with a code, as in `protclip_core.records.Failure`."""

    code: str

    def __new__(cls, reason: str, code: str) -> Self:
        """Make a string that carries a code."""
        problem = super().__new__(cls, reason)
        problem.code = code
        return problem


#: Why a protein has no vector although memory sufficed.
NOT_FINITE = Problem("the model gave NaN or infinity", "record.not_finite")

Result = tuple[int, Embedded | Problem]


class LocalEngine(BatchEngine):
    """Run a model over sequences; a context manager.

    Parameters
    ----------
    model
        The loaded model; its encoder knows the device.
    workers, batch_tokens, threads_each
        As in `BatchEngine`.
    """

    def __init__(
        self,
        model: ProteinModel,
        *,
        workers: int | None = None,
        batch_tokens: int | None = None,
        threads_each: int | None = None,
    ) -> None:
        super().__init__(
            model.encoder.device,
            workers=workers,
            batch_tokens=batch_tokens,
            threads_each=threads_each,
        )
        self.model = model

    def run(self, sequences: Sequence[str], settings: EmbedSettings) -> Iterator[Result]:
        """Embed sequences, in the order in which they are finished.

        Parameters
        ----------
        sequences
            Non-empty residue sequences.
        settings
            What to compute.

        Yields
        ------
        tuple
            Index into ``sequences`` and the result, or the `Problem` in its place: memory does not
            suffice even for this protein alone, or the model gave numbers that are not finite.
        """
        most = settings.max_residues  # of one window
        work: BatchWork[str, Embedded | Problem] = BatchWork(
            run=lambda items, budget: [
                _checked(one) for one in self.model.embed_batch(items, settings, budget)
            ],
            cost=lambda item: len(item) + 2,
            least=lambda item: min(len(item), most) + 2,
        )
        for index, result in self.spread(work, sequences):
            if result is None:
                residues = f"{len(sequences[index]):,} residues"
                result = Problem(f"memory does not suffice for its {residues}", OUT_OF_MEMORY)
            yield index, result


def _checked(result: Embedded) -> Embedded | Problem:
    """Pass a result on only if all its numbers are finite."""
    arrays = [result.vector] if result.residues is None else [result.vector, result.residues]
    if all(np.isfinite(array).all() for array in arrays):
        return result
    return NOT_FINITE
