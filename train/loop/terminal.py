"""The edge to the terminal: errors as one line, exit codes, signals, progress on standard error."""

from __future__ import annotations

import errno
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from types import FrameType

from protclip_core.errors import (
    BusyError,
    InputError,
    ModelError,
    ProtclipError,
    ResourceError,
    UsageError,
    WorkerLostError,
)
from protclip_core.records import printable

__all__ = ["SIGNALS", "LineProgress", "Lines", "Signals", "Stopped", "guarded", "say"]

#: As the command line's: docs of ``protclip_cli.boundary`` list them.
_CODES = {UsageError: 2, InputError: 3, ModelError: 4, ResourceError: 5, BusyError: 7}
_CODES |= {WorkerLostError: 8}
_LINE_SECONDS = 10.0
_IMPATIENT = 1.0


class Stopped(BaseException):
    """A signal asks the process to end; its argument is the signal's number."""


class Signals:
    """What to do on Ctrl-C and SIGTERM: end at once, or note it until the work can stop.

    Attributes
    ----------
    asked
        The signal that came while `deferred`; 0 for none.
    """

    def __init__(self) -> None:
        self.asked = 0
        self._deferred = False
        self._first = 0.0

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Take a signal; the handler that `guarded` sets."""
        if not self._deferred:
            raise Stopped(number)
        if not self.asked:
            self.asked, self._first = number, time.monotonic()
        # A launcher sends SIGTERM after the Ctrl-C that all processes of a terminal get: only a
        # second Ctrl-C, and of a person, means that even the last checkpoint can go.
        elif number == signal.SIGINT and time.monotonic() - self._first > _IMPATIENT:
            raise Stopped(number)

    def __enter__(self) -> Signals:
        """Note signals from now on."""
        self._deferred = True
        return self

    def __exit__(self, *_: object) -> None:
        self._deferred = False


#: Those of the program; `guarded` installs its handler.
SIGNALS = Signals()


def guarded(
    work: Callable[[], int],
    *,
    kept: str = "finished shards are kept",
    tell: Callable[[], bool] = lambda: True,
) -> int:
    """Run a program and return its exit code; an expected error becomes one line.

    Parameters
    ----------
    work
        Returns the exit code; whatever is not a `ProtclipError` and no trouble with an output or
        a signal is a bug and keeps its traceback.
    kept
        What a signal leaves behind, for its line.
    tell
        Asked when an error ends the program: whether its line is to be shown.
    """
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number, handler in before.items():
        if handler != signal.SIG_IGN:
            signal.signal(number, SIGNALS.handle)
    try:
        code = work()
        sys.stdout.flush()
    except ProtclipError as error:
        if tell():
            say(f"error: {error}")
        return next((code for kind, code in _CODES.items() if isinstance(error, kind)), 1)
    except Stopped as stopped:
        number = stopped.args[0]
        if tell():
            say(f"error: stopped by {signal.Signals(number).name}; {kept}")
        return 128 + int(number)
    except BrokenPipeError:
        # The interpreter's own last flush must find somewhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        if error.errno is None:
            raise
        say(f"error: {error.filename or 'standard output'}: {(error.strerror or '').lower()}")
        return 5 if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO) else 2
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return code


def say(text: str) -> None:
    """Write one line to standard error, with control characters made visible."""
    print(printable(text, 10_000), file=sys.stderr, flush=True)


class Lines(logging.Handler):
    """Shows log records as lines of the program."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        prefix = "warning: " if record.levelno >= logging.WARNING else ""
        say(prefix + record.getMessage())


class LineProgress:
    """A line on standard error every ten seconds."""

    def start(self, what: str, total: int, unit: str) -> None:
        """Begin a stage."""
        self._what, self._total, self._unit = what, total, unit
        self._done = 0
        self._began = self._told = time.monotonic()

    def advance(self, amount: int) -> None:
        """Count, and now and then say so."""
        self._done += amount
        # The clock is asked for every hundredth record: there are hundreds of millions.
        if amount == 1 and self._done % 100:
            return
        now = time.monotonic()
        if now - self._told >= _LINE_SECONDS:
            self._told = now
            self._tell(now)

    def finish(self) -> None:
        """Say how it ended."""
        self._tell(time.monotonic())

    def _tell(self, now: float) -> None:
        rate = self._done / max(now - self._began, 1e-9)
        of = f" of {self._total:,}" if self._total else ""
        say(f"{self._what}: {self._done:,}{of} {self._unit}, {rate:,.0f} per second")
