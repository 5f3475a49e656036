"""What the programs of the trainer add to the command line's edge to the terminal."""

from __future__ import annotations

import logging
import signal
import threading
import time
import traceback
from collections.abc import Callable
from types import FrameType
from typing import Any

from protclip_cli import boundary
from protclip_cli.boundary import Stopped, say
from protclip_core.errors import ProtclipError

__all__ = ["DeferredSignals", "guarded", "log_to_terminal", "start_program"]

_IMPATIENT = 1.0


class DeferredSignals:
    """While it is entered, Ctrl-C and SIGTERM are noted until the work can stop.

    Attributes
    ----------
    asked
        The signal that came; 0 for none.
    """

    def __init__(self) -> None:
        self.asked = 0
        self._first = 0.0
        self._before: dict[int, Any] = {}

    def _note(self, number: int, frame: FrameType | None) -> None:
        if not self.asked:
            self.asked, self._first = number, time.monotonic()
        # A launcher sends SIGTERM after the Ctrl-C that all processes of a terminal get: only a
        # second Ctrl-C, and of a person, means that even the last checkpoint can go.
        elif number == signal.SIGINT and time.monotonic() - self._first > _IMPATIENT:
            raise Stopped(number)

    def __enter__(self) -> DeferredSignals:
        """Note signals from now on; one that the caller ignores stays ignored."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                if signal.getsignal(number) != signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


def guarded(
    work: Callable[[], object],
    *,
    kept: str = "finished shards are kept",
    tell: Callable[[], bool] = lambda: True,
) -> int:
    """Run a program and return its exit code; an expected error becomes one line.

    Parameters
    ----------
    work
        The program; returns an exit code, or nothing for 0. An exception that is not expected is
        a bug and keeps its traceback.
    kept
        What a signal leaves behind, for its line.
    tell
        Called when an error ends the program: whether to print its line.
    """

    def traced() -> None:
        try:
            if code := work():
                raise SystemExit(code)
        except (ProtclipError, OSError):
            raise
        except Exception:  # noqa: BLE001 (a bug: its traceback, and exit code 1)
            traceback.print_exc()
            raise SystemExit(1) from None

    return boundary.guarded(traced, kept=kept, tell=tell)


def start_program(threads: int | None = None) -> None:
    """Set up a process: processor threads, memory, log lines on standard error."""
    import torch

    from protclip_core.engines.memory import keep_freed_memory

    if threads is not None:
        torch.set_num_threads(threads)
    keep_freed_memory()
    log_to_terminal()


def log_to_terminal(*, quiet: bool = False) -> None:
    """Show log records as lines of the program; only errors if quiet."""
    for name in ("train", "protclip_core"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [_Lines()], False
        logger.setLevel(logging.ERROR if quiet else logging.INFO)


class _Lines(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        prefix = "warning: " if record.levelno >= logging.WARNING else ""
        say(prefix + record.getMessage())
