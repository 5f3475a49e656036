"""Embedding structures on one device of this machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from protclip_core.engines.batching import BatchEngine, BatchWork
from protclip_core.engines.local import NOT_FINITE, OUT_OF_MEMORY, Problem
from protclip_core.io.structures.chain import Chain
from protclip_core.models.structure import StructureModel

__all__ = ["StructureEngine"]

Vector = npt.NDArray[np.float32]


class StructureEngine(BatchEngine):
    """Run a structure encoder over chains; a context manager.

    Parameters
    ----------
    model
        The loaded encoder, which knows the device.
    workers, batch_tokens, threads_each
        As in `BatchEngine`; a token is a residue.
    """

    def __init__(
        self,
        model: StructureModel,
        *,
        workers: int | None = None,
        batch_tokens: int | None = None,
        threads_each: int | None = None,
    ) -> None:
        super().__init__(
            model.device, workers=workers, batch_tokens=batch_tokens, threads_each=threads_each
        )
        self.model = model

    def run(
        self, chains: Sequence[Chain], space: str = "joint"
    ) -> Iterator[tuple[int, Vector | Problem]]:
        """Embed chains, in the order in which they are finished.

        Parameters
        ----------
        chains
            At least one residue each.
        space
            ``"joint"`` or ``"encoder"``.

        Yields
        ------
        tuple
            Index into ``chains`` and its vector, or the `Problem` in its place: memory does not
            suffice even for this chain alone, or its numbers are not finite.
        """
        work: BatchWork[Chain, Vector | Problem] = BatchWork(
            run=lambda items, _budget: [
                row if np.isfinite(row).all() else NOT_FINITE
                for row in self.model.embed_batch(items, space)
            ],
            cost=len,
        )
        for index, result in self.spread(work, chains):
            if result is None:
                residues = f"{len(chains[index]):,} residues"
                result = Problem(f"memory does not suffice for its {residues}", OUT_OF_MEMORY)
            yield index, result
