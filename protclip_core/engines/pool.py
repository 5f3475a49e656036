"""Worker threads whose locks no signal cuts through."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from types import TracebackType
from typing import ParamSpec, Self, TypeVar

from protclip_core.interrupts import signals_deferred

__all__ = ["WorkerPool"]

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

#: Seconds that a signal waits at most while results are waited for.
_PATIENCE = 0.05


class WorkerPool:
    """A thread pool for a main thread in which handlers of signals raise; a context manager.

    The locks of `concurrent.futures` are Python code: a handler that raises in the midst of them
    leaves one closed for ever, so that the threads, and with them the program, never end, or it
    turns into a RuntimeError. So signals wait while the pool is at work for its caller, and strike
    between.

    Parameters
    ----------
    workers
        Threads.
    begin
        Called in each thread when it starts.
    """

    def __init__(self, workers: int, begin: Callable[[], object] | None = None) -> None:
        self._executor = ThreadPoolExecutor(workers, "protclip", initializer=begin)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give up what has not begun, and wait for what has."""
        with signals_deferred():
            self._executor.shutdown(wait=False, cancel_futures=True)
        # Here a signal may strike, so that a second one ends the program at once.
        self._executor.shutdown(wait=True)

    def submit(
        self,
        work: Callable[Arguments, Result],
        /,
        *arguments: Arguments.args,
        **options: Arguments.kwargs,
    ) -> Future[Result]:
        """Have a thread do it."""
        with signals_deferred():
            return self._executor.submit(work, *arguments, **options)

    def give_up(self, running: Iterable[Future[Result]]) -> None:
        """Do not begin what has not begun."""
        with signals_deferred():
            for future in running:
                future.cancel()

    def first_finished(
        self, running: Collection[Future[Result]]
    ) -> tuple[list[Result], set[Future[Result]]]:
        """Wait until at least one is finished.

        Parameters
        ----------
        running
            At least one.

        Returns
        -------
        tuple
            The results of those that are finished, and those that are not.

        Raises
        ------
        Exception
            What the work raised.
        """
        while True:
            with signals_deferred():
                done, left = wait(running, _PATIENCE, FIRST_COMPLETED)
                if done:
                    return [future.result() for future in done], left

    def result(self, future: Future[Result]) -> Result:
        """Wait for one; raises what the work raised."""
        (result,), _ = self.first_finished([future])
        return result
