"""Embedding on one device of this machine.

On a CPU the work is spread over worker threads of this process, each with one compute thread of
its own: one protein's products are too small to be shared well between cores, and threads of one
process share the weights. On a GPU there is one worker.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from functools import partial
from itertools import chain
from pathlib import Path
from types import TracebackType

import numpy as np
import torch

from protclip_core.engines.memory import give_back_memory, is_out_of_memory, keep_freed_memory
from protclip_core.engines.pool import WorkerPool
from protclip_core.models.protein import DEFAULT_BATCH_TOKENS, Embedded, ProteinModel
from protclip_core.models.settings import EmbedSettings

__all__ = ["NOT_FINITE", "LocalEngine", "usable_cores"]

_log = logging.getLogger(__name__)

#: Tokens of one batch on a GPU, before memory has its say.
GPU_BATCH_TOKENS = 32_768

#: Why a protein has no vector although memory sufficed.
NOT_FINITE = "the model gave NaN or infinity"

Result = tuple[int, Embedded | str]


class LocalEngine:
    """Run a model over sequences; a context manager.

    Parameters
    ----------
    model
        The loaded model; its encoder knows the device.
    workers
        Worker threads; default one for each usable core on a CPU, one on a GPU.
    batch_tokens
        Tokens of one batch; default by device. Halved whenever memory runs out.
    threads_each
        Compute threads of a worker; default one on a CPU.
    """

    def __init__(
        self,
        model: ProteinModel,
        *,
        workers: int | None = None,
        batch_tokens: int | None = None,
        threads_each: int | None = None,
    ) -> None:
        self.model = model
        on_cpu = model.encoder.device.type == "cpu"
        self.workers = workers or (usable_cores() if on_cpu else 1)
        self.batch_tokens = batch_tokens or (DEFAULT_BATCH_TOKENS if on_cpu else GPU_BATCH_TOKENS)
        self._threads_each = threads_each or (1 if on_cpu else torch.get_num_threads())
        self._lock = threading.Lock()
        self._pool: WorkerPool | None = None

    def __enter__(self) -> LocalEngine:
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
            Index into ``sequences`` and the result, or in its place one clause saying why there
            is none: memory does not suffice even for this protein alone, or the model gave
            numbers that are not finite.
        """
        if (pool := self._pool) is None:
            msg = "use the engine in a with statement"
            raise RuntimeError(msg)
        # Longest first: memory runs out at the start or not at all, and the short ones fill
        # the gaps at the end.
        order = sorted(range(len(sequences)), key=lambda i: -len(sequences[i]))
        batches = self._batches(order, sequences)
        running: set[Future[list[Result]]] = set()
        postponed: list[int] = []
        try:
            while True:
                while len(running) < 2 * self.workers and (batch := next(batches, None)):
                    running.add(pool.submit(self._embed, batch, sequences, settings))
                if not running:
                    break
                done, running = pool.first_finished(running)
                for result in chain.from_iterable(done):
                    # The neighbours may have held the memory: such a protein gets its chance alone.
                    if self.workers > 1 and result[1] == _lacking(sequences[result[0]]):
                        postponed.append(result[0])
                    else:
                        yield result
            for index in postponed:
                yield from pool.result(pool.submit(self._embed, [index], sequences, settings))
        finally:
            pool.give_up(running)

    def _batches(self, order: list[int], sequences: Sequence[str]) -> Iterator[list[int]]:
        """Group neighbours up to the token budget, as it is at that moment."""
        group: list[int] = []
        total = 0
        for index in order:
            tokens = len(sequences[index]) + 2
            if group and total + tokens > self.batch_tokens:
                yield group
                group, total = [], 0
            group.append(index)
            total += tokens
        if group:
            yield group

    def _embed(
        self, batch: list[int], sequences: Sequence[str], settings: EmbedSettings
    ) -> list[Result]:
        """Embed one batch; on lack of memory its halves, down to a single protein."""
        budget = self.batch_tokens
        try:
            found = self.model.embed_batch([sequences[i] for i in batch], settings, budget)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            reason = str(error).partition("\n")[0]
        else:
            return [(i, _checked(result)) for i, result in zip(batch, found, strict=True)]
        if self.model.encoder.device.type == "cuda":
            torch.cuda.empty_cache()
        else:
            give_back_memory()
        tokens = sum(len(sequences[i]) + 2 for i in batch)
        windowed = len(batch) == 1 and len(sequences[batch[0]]) > settings.max_residues
        # What was too much is this batch, made under a budget that may have shrunk since.
        self._shrink((min(budget, tokens) if windowed else tokens) // 2)
        if len(batch) > 1:
            middle = len(batch) // 2
            return [
                result
                for half in (batch[:middle], batch[middle:])
                for result in self._embed(half, sequences, settings)
            ]
        if windowed and budget > settings.max_residues + 2:
            return self._embed(batch, sequences, settings)
        _log.debug("out of memory: %s", reason)
        return [(batch[0], _lacking(sequences[batch[0]]))]

    def _shrink(self, batch_tokens: int) -> None:
        with self._lock:
            smaller = max(1, min(self.batch_tokens, batch_tokens))
            if smaller < self.batch_tokens:
                self.batch_tokens = smaller
                _log.warning("memory ran out: going on with batches of %s tokens", f"{smaller:,}")


def usable_cores() -> int:
    """Cores that this process may use: affinity and, in a container, the CPU quota."""
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
    return cores


def _lacking(sequence: str) -> str:
    """Say that memory does not suffice for a protein."""
    return f"memory does not suffice for its {len(sequence):,} residues"


def _checked(result: Embedded) -> Embedded | str:
    """Pass a result on only if all its numbers are finite."""
    arrays = [result.vector] if result.residues is None else [result.vector, result.residues]
    if all(np.isfinite(array).all() for array in arrays):
        return result
    return NOT_FINITE
