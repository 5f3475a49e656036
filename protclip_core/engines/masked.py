"""Masked forward passes on one device."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np

from protclip_core.engines.batching import BatchEngine, BatchWork
from protclip_core.errors import ResourceError
from protclip_core.models.masked import MaskedReader, ReadJob

__all__ = ["MaskedEngine"]


class MaskedEngine(BatchEngine):
    """Runs the jobs of a `MaskedReader`; a context manager.

    Parameters
    ----------
    reader
        What reads a batch.
    workers, batch_tokens
        As in `BatchEngine`.
    """

    def __init__(
        self,
        reader: MaskedReader,
        *,
        workers: int | None = None,
        batch_tokens: int | None = None,
    ) -> None:
        device = reader.model.encoder.device
        super().__init__(device, workers=workers, batch_tokens=batch_tokens)
        self.reader = reader
        self.work: BatchWork[ReadJob, np.ndarray] = BatchWork(
            run=lambda jobs, _budget: list(self.reader.read(jobs)),
            cost=lambda job: len(job.tokens),
            kind=lambda job: len(job.places),  # so that batches are dense blocks
        )

    def run(
        self, jobs: Sequence[ReadJob], advance: Callable[[int], None] | None = None
    ) -> list[np.ndarray]:
        """Run jobs; equal ones once.

        Parameters
        ----------
        jobs
            Any number, of any shapes.
        advance
            Called in this thread with the number of jobs that are done.

        Returns
        -------
        list of numpy.ndarray
            For each job ``(K, A)`` float64, see `MaskedReader.read`.

        Raises
        ------
        ResourceError
            Memory does not suffice even for one job.
        """
        distinct: dict[tuple[bytes, tuple[int, ...]], list[int]] = {}
        for index, job in enumerate(jobs):
            distinct.setdefault((job.tokens.tobytes(), job.places), []).append(index)
        owners = list(distinct.values())
        found: list[np.ndarray | None] = [None] * len(jobs)
        firsts = [jobs[group[0]] for group in owners]
        for own, values in self.spread(self.work, firsts):
            if values is None:
                raise ResourceError(
                    "memory does not suffice for a window of "
                    f"{len(firsts[own].tokens) - 2:,} residues",
                    code="resource.out_of_memory",
                    hint="use a smaller model, or fewer --workers",
                )
            for index in owners[own]:
                found[index] = values
            if advance is not None:
                advance(len(owners[own]))
        return [values for values in found if values is not None]

    def seconds_each(self, job: ReadJob) -> float:
        """Measure one pass of this kind, with all workers at it: wall time divided by passes.

        The first batch warms up and does not count.
        """
        size = max(1, self.batch_tokens // len(job.tokens))
        self.reader.read([job])
        began = time.perf_counter()
        self.reader.read([job] * size)
        return (time.perf_counter() - began) / size / self.workers
