"""Masked forward passes on one device: batches over worker threads, smaller where memory ends.

On a CPU each worker has one compute thread, as in `protclip_core.engines.local`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from functools import partial
from itertools import chain
from types import TracebackType
from typing import Self

import numpy as np
import torch

from protclip_core.engines.local import GPU_BATCH_TOKENS, usable_cores
from protclip_core.engines.memory import give_back_memory, is_out_of_memory, keep_freed_memory
from protclip_core.engines.pool import WorkerPool
from protclip_core.errors import ResourceError
from protclip_core.models.masked import MaskedReader, ReadJob, job_batches
from protclip_core.models.protein import DEFAULT_BATCH_TOKENS

__all__ = ["MaskedEngine"]

_log = logging.getLogger(__name__)


class MaskedEngine:
    """Runs the jobs of a `MaskedReader`; a context manager.

    Parameters
    ----------
    reader
        What reads a batch.
    workers
        Worker threads; default one for each usable core on a CPU, one on a GPU.
    batch_tokens
        Tokens of a batch; default by device. Halved whenever memory runs out.
    """

    def __init__(
        self,
        reader: MaskedReader,
        *,
        workers: int | None = None,
        batch_tokens: int | None = None,
    ) -> None:
        self.reader = reader
        on_cpu = reader.model.encoder.device.type == "cpu"
        self.workers = workers or (usable_cores() if on_cpu else 1)
        self.batch_tokens = batch_tokens or (DEFAULT_BATCH_TOKENS if on_cpu else GPU_BATCH_TOKENS)
        self._threads_each = 1 if on_cpu else torch.get_num_threads()
        self._lock = threading.Lock()
        self._pool: WorkerPool | None = None

    def __enter__(self) -> Self:
        keep_freed_memory()
        self._pool = WorkerPool(self.workers, partial(torch.set_num_threads, self._threads_each))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._pool is not None:
            self._pool.__exit__(kind, error, trace)
            self._pool = None

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
        for own, values in self._spread([jobs[group[0]] for group in owners]):
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

    def _spread(self, jobs: Sequence[ReadJob]) -> Iterator[tuple[int, np.ndarray]]:
        if (pool := self._pool) is None:
            msg = "use the engine in a with statement"
            raise RuntimeError(msg)
        batches = job_batches(jobs, self.batch_tokens)
        running: set[Future[list[tuple[int, np.ndarray]]]] = set()
        try:
            while True:
                while len(running) < 2 * self.workers and (batch := next(batches, None)):
                    running.add(pool.submit(self._read, batch, jobs))
                if not running:
                    return
                done, running = pool.first_finished(running)
                yield from chain.from_iterable(done)
        finally:
            pool.give_up(running)

    def _read(self, batch: list[int], jobs: Sequence[ReadJob]) -> list[tuple[int, np.ndarray]]:
        """Read one batch; on lack of memory its halves, down to a single job."""
        try:
            values = self.reader.read([jobs[i] for i in batch])
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
        else:
            return list(zip(batch, values, strict=True))
        give_back_memory()
        tokens = sum(len(jobs[i].tokens) for i in batch)
        if len(batch) == 1:
            raise ResourceError(
                f"memory does not suffice for a window of {tokens - 2:,} residues",
                hint="use a smaller model, or fewer --workers",
            )
        with self._lock:
            if tokens // 2 < self.batch_tokens:
                self.batch_tokens = max(1, tokens // 2)
                _log.warning(
                    "memory ran out: going on with batches of %s tokens", f"{self.batch_tokens:,}"
                )
        middle = len(batch) // 2
        return self._read(batch[:middle], jobs) + self._read(batch[middle:], jobs)
