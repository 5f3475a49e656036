"""Work that is done in threads while its results are taken, in order and within bounds."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from typing import TypeVar

from protclip_core.engines.pool import WorkerPool

__all__ = ["compute_ahead"]

Work = TypeVar("Work")
Result = TypeVar("Result")


def compute_ahead(
    works: Iterable[Work], compute: Callable[[Work], Result], workers: int
) -> Iterator[tuple[Work, Result]]:
    """Yield each piece of work with its result, in order.

    Parameters
    ----------
    works
        Taken in the caller's thread, one by one.
    compute
        Called in threads, which help where it leaves Python's lock alone.
    workers
        Threads; as many pieces are waiting at most.

    Raises
    ------
    Exception
        What ``works`` and ``compute`` raise; pieces that have not begun are then given up.
    """
    with WorkerPool(workers) as pool:  # which gives up what is left when an error leaves it
        waiting: deque[tuple[Work, Future[Result]]] = deque()
        for work in works:
            waiting.append((work, pool.submit(compute, work)))
            if len(waiting) > workers:
                done, future = waiting.popleft()
                yield done, pool.result(future)
        while waiting:
            done, future = waiting.popleft()
            yield done, pool.result(future)
