"""Batches from where a run stands, without end: made by the rank itself, or by data processes."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing import active_children
from threading import current_thread, main_thread
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from protclip_core.errors import WorkerLostError
from train.data.batch import Batch
from train.data.batches import PairData
from train.loop.optim import Progress

__all__ = ["Place", "feed", "lost_worker", "stop_watching"]

#: How long a process may take to die once its connection has broken.
_DYING_SECONDS = 5.0
_LOST = re.compile(r"DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\)")


@dataclass(frozen=True)
class Place:
    """Where a batch stands: epoch, position in it, and batches of that epoch."""

    epoch: int
    position: int
    batches: int

    def noise(self, seed: int, rank: int, device: torch.device) -> torch.Generator:
        """Return random numbers of this batch, and of a rank's part of it."""
        own = hash((seed, self.epoch, self.position, rank)) % (1 << 62)
        return torch.Generator(device).manual_seed(own)

    def passed(self, progress: Progress) -> None:
        """Move a run past this batch."""
        progress.epoch, progress.position = self.epoch, self.position + 1
        progress.batches = self.batches
        if progress.position == self.batches:
            progress.epoch, progress.position = self.epoch + 1, 0


def feed(data: PairData, progress: Progress, workers: int) -> Iterator[tuple[Place, Batch]]:
    """Give batches from the place where a run stands.

    Parameters
    ----------
    data
        The batches, each a function of its place.
    progress
        Where to begin; not changed.
    workers
        Processes that put batches together ahead of time; 0 for none. What comes is the same.
    """
    places = _Places(data, progress.epoch, progress.position)
    if not workers:
        for place in places:
            yield place, data.batch(place.epoch, place.position)
        return
    # Forked, so that the pairs are there without a copy; batches come through shared memory.
    loader: DataLoader[Any] = DataLoader(
        _Batches(data),
        batch_size=None,
        sampler=places,
        num_workers=workers,
        collate_fn=_as_it_is,
        multiprocessing_context="fork",
        prefetch_factor=2,
    )
    batches = iter(loader)
    alive = {process.pid for process in active_children()}
    while True:
        try:
            item = next(batches)
        except (RuntimeError, OSError, EOFError) as error:
            # One that dies while a batch is under way in shared memory leaves all kinds of errors.
            gone = _gone(alive)
            if gone and lost_worker(error) is None:
                stop_watching()
                raise _lost(", ".join(sorted(map(str, gone)))) from error
            raise
        yield item


def _gone(alive: set[int | None]) -> set[int | None]:
    """Return which processes have ended; a connection may break before its process is dead."""
    deadline = time.monotonic() + _DYING_SECONDS
    while True:
        gone = alive - {process.pid for process in active_children()}
        if gone or time.monotonic() > deadline:
            return gone
        time.sleep(0.05)


def lost_worker(error: BaseException) -> WorkerLostError | None:
    """Translate torch's error about a process of `feed` that has ended; ``None`` for others.

    torch raises it wherever the program is when the signal comes, so it may be the cause of
    another error.
    """
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, RuntimeError) and (found := _LOST.search(str(seen))):
            return _lost(found.group(1))
        seen = seen.__cause__ or seen.__context__
    return None


def stop_watching() -> None:
    """Let torch raise no more errors about processes of `feed`: call it once one was lost.

    Its signal handler speaks again whenever another one ends, as they do in the clean-up, and its
    error then takes the place of what is to be told.
    """
    if current_thread() is main_thread():
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def _lost(pids: str) -> WorkerLostError:
    return WorkerLostError(
        f"the data process {pids} was lost",
        code="worker.lost_process",
        hint="start again with --resume",
    )


class _Places(Sampler[Place]):
    def __init__(self, data: PairData, epoch: int, position: int) -> None:
        self._data, self._epoch, self._position = data, epoch, position

    def __iter__(self) -> Iterator[Place]:
        epoch, position = self._epoch, self._position
        while True:
            batches = len(self._data.plan(epoch))
            while position < batches:
                yield Place(epoch, position, batches)
                position += 1
            epoch, position = epoch + 1, 0


class _Batches(Dataset[Any]):
    def __init__(self, data: PairData) -> None:
        self._data = data

    def __getitem__(self, place: Any) -> tuple[Place, Batch]:
        return place, self._data.batch(place.epoch, place.position)


def _as_it_is(item: Any) -> Any:
    return item
