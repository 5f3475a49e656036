"""Batches over worker threads of one device, halved where memory ends.

On a CPU the work is spread over worker threads of this process, each with one compute thread of
its own: one protein's products are too small to be shared well between cores, and threads of one
process share the weights. On a GPU there is one worker.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Generic, Self, TypeVar

import torch

from protclip_core.engines.memory import give_back_memory, is_out_of_memory, keep_freed_memory
from protclip_core.engines.pool import WorkerPool
from protclip_core.models.protein import DEFAULT_BATCH_TOKENS

__all__ = ["GPU_BATCH_TOKENS", "BatchEngine", "BatchWork", "usable_cores"]

_log = logging.getLogger(__name__)

#: Tokens of one batch on a GPU, before memory has its say.
GPU_BATCH_TOKENS = 32_768

Item = TypeVar("Item")
Made = TypeVar("Made")


@dataclass(frozen=True, kw_only=True)
class BatchWork(Generic[Item, Made]):
    """What is done to items; all of it is called from several threads.

    Attributes
    ----------
    run
        Does it: items, and the tokens that pieces of a long item may have; a result for each item.
    cost
        Tokens of an item.
    least
        Tokens that `run` can cut an item down to where memory is short; default its cost.
    kind
        A number: items that differ in it are never in one batch.
    """

    run: Callable[[Sequence[Item], int], Sequence[Made]]
    cost: Callable[[Item], int]
    least: Callable[[Item], int] | None = None
    kind: Callable[[Item], int] = lambda _item: 0


class BatchEngine:
    """Runs work in batches; a context manager.

    Parameters
    ----------
    device
        Where the work computes.
    workers
        Worker threads; default one for each usable core on a CPU, one on a GPU.
    batch_tokens
        Tokens of one batch; default by device. Halved whenever memory runs out.
    threads_each
        Compute threads of a worker; default one on a CPU.
    """

    def __init__(
        self,
        device: torch.device,
        *,
        workers: int | None = None,
        batch_tokens: int | None = None,
        threads_each: int | None = None,
    ) -> None:
        on_cpu = device.type == "cpu"
        self._on_gpu = device.type == "cuda"
        self.workers = workers or (usable_cores() if on_cpu else 1)
        self.batch_tokens = batch_tokens or (DEFAULT_BATCH_TOKENS if on_cpu else GPU_BATCH_TOKENS)
        self._threads_each = threads_each or (1 if on_cpu else torch.get_num_threads())
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

    def spread(
        self, work: BatchWork[Item, Made], items: Sequence[Item]
    ) -> Iterator[tuple[int, Made | None]]:
        """Yield the index and result of each item, in the order in which they are finished.

        The result is None where memory does not suffice even for this item alone.

        Raises
        ------
        Exception
            What the work raises, but for a lack of memory.
        """
        if (pool := self._pool) is None:
            msg = "use the engine in a with statement"
            raise RuntimeError(msg)
        batches = self.batches(work, items)
        running: set[Future[list[tuple[int, Made | None]]]] = set()
        postponed: list[int] = []
        try:
            while True:
                while len(running) < 2 * self.workers and (batch := next(batches, None)):
                    running.add(pool.submit(self._run, work, batch, items))
                if not running:
                    break
                done, running = pool.first_finished(running)
                for index, result in chain.from_iterable(done):
                    # The neighbours may have held the memory: such an item gets its chance alone.
                    if result is None and self.workers > 1:
                        postponed.append(index)
                    else:
                        yield index, result
            for index in postponed:
                yield from pool.result(pool.submit(self._run, work, [index], items))
        finally:
            pool.give_up(running)

    def batches(self, work: BatchWork[Item, Made], items: Sequence[Item]) -> Iterator[list[int]]:
        """Group neighbours of one kind up to the token budget, as it is at that moment.

        Longest first: memory runs out at the start or not at all, and the short ones fill the gaps
        at the end. An item beyond the budget is alone.
        """
        order = sorted(range(len(items)), key=lambda i: (work.kind(items[i]), -work.cost(items[i])))
        group: list[int] = []
        total = 0
        for index in order:
            tokens = work.cost(items[index])
            if group and (
                total + tokens > self.batch_tokens
                or work.kind(items[group[0]]) != work.kind(items[index])
            ):
                yield group
                group, total = [], 0
            group.append(index)
            total += tokens
        if group:
            yield group

    def _run(
        self, work: BatchWork[Item, Made], batch: list[int], items: Sequence[Item]
    ) -> list[tuple[int, Made | None]]:
        """Run one batch; on lack of memory its halves, down to a single item."""
        budget = self.batch_tokens
        try:
            found = work.run([items[i] for i in batch], budget)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            reason = str(error).partition("\n")[0]
        else:
            return list(zip(batch, found, strict=True))
        if self._on_gpu:
            torch.cuda.empty_cache()
        else:
            give_back_memory()
        tokens = sum(work.cost(items[i]) for i in batch)
        least = (work.least or work.cost)(items[batch[0]])
        can_be_cut = len(batch) == 1 and least < tokens
        # What was too much is this batch, made under a budget that may have shrunk since.
        self._shrink((min(budget, tokens) if can_be_cut else tokens) // 2)
        if len(batch) > 1:
            middle = len(batch) // 2
            return [
                result
                for half in (batch[:middle], batch[middle:])
                for result in self._run(work, half, items)
            ]
        if can_be_cut and budget > least:
            return self._run(work, batch, items)
        _log.debug("out of memory: %s", reason)
        return [(batch[0], None)]

    def _shrink(self, batch_tokens: int) -> None:
        with self._lock:
            smaller = max(1, min(self.batch_tokens, batch_tokens))
            if smaller < self.batch_tokens:
                self.batch_tokens = smaller
                _log.warning("memory ran out: going on with batches of %s tokens", f"{smaller:,}")


def usable_cores() -> int:
    """Cores that this process may use.

    The least of affinity, the CPU quota of a container, and what a user or scheduler has set in
    ``OMP_NUM_THREADS`` or ``SLURM_CPUS_PER_TASK``.
    """
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS, Windows
        cores = os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        if quota != "max":
            cores = min(cores, max(1, int(quota) // int(period)))
    except (OSError, ValueError):
        pass
    for name in ("OMP_NUM_THREADS", "SLURM_CPUS_PER_TASK"):
        first = os.environ.get(name, "").split(",")[0].strip()  # OMP_NUM_THREADS=4,2: per level
        if first.isascii() and first.isdigit() and int(first) > 0:
            cores = min(cores, int(first))
    return cores
