"""Signals that wait until what must not be cut through is done."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

__all__ = ["signals_deferred"]

#: Those that end a program, and the alarm by which one that was lost comes again.
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM)


@contextmanager
def signals_deferred() -> Iterator[None]:
    """Let signals with a Python handler wait until the block ends, then deliver them.

    Python runs handlers in the main thread only, so elsewhere there is nothing to do. Signals
    whose action is the system's (kill -9, or SIGTERM without a handler) act at once.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    pending: list[int] = []

    def keep(number: int, _frame: FrameType | None) -> None:
        pending.append(number)

    replaced: dict[signal.Signals, Any] = {}
    try:
        for number in _SIGNALS:
            if callable(handler := signal.getsignal(number)):
                replaced[number] = handler
                signal.signal(number, keep)
        yield
    finally:
        for number, handler in replaced.items():
            signal.signal(number, handler)
        for caught in dict.fromkeys(pending):
            signal.raise_signal(caught)
