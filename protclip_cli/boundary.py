"""The error boundary: what leaves the library becomes one line and an exit code.

======  =====================================================================
code    meaning
======  =====================================================================
0       done
1       a bug of ours
2       usage
3       bad input data
4       model or data file bad, missing or untrusted
5       disk or memory
6       finished, some records were skipped and are listed
7       another process writes the file
8       a worker was lost
129     hang-up, 130 Ctrl-C, 143 termination; finished work is kept
141     the reader of standard output went away (as ``SIGPIPE`` would say)
======  =====================================================================
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Self

from protclip_cli.progress import close_bars
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

__all__ = ["EXIT_PARTIAL", "OutputClosed", "Stopped", "guarded", "report_error", "say"]

EXIT_PARTIAL = 6
#: Seconds until a signal that was lost comes again.
_SOON = 0.02
_CODES: tuple[tuple[type[ProtclipError], int], ...] = (
    (UsageError, 2),
    (InputError, 3),
    (ModelError, 4),
    (ResourceError, 5),
    (BusyError, 7),
    (WorkerLostError, 8),
)


class Stopped(BaseException):
    """A signal asks the process to end; not an `Exception`, so that nothing swallows it."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class OutputClosed(BaseException):
    """The reader of standard output went away; not an `Exception`, for the same reason."""


def guarded(
    work: Callable[[], None],
    *,
    debug: bool = False,
    kept: str = "",
    tell: Callable[[], bool] = lambda: True,
) -> int:
    """Run a command and return its exit code; whatever happens, no traceback without ``debug``.

    Parameters
    ----------
    work
        The command; it may raise anything. `SystemExit` passes its code on.
    debug
        Show the traceback of any error before its line.
    kept
        What a signal leaves behind, for its line.
    tell
        Called when an expected error or a signal ends the command: whether to print its line.
    """
    signals = _Signals()
    try:
        with signals:
            code = _run(work)
        return code if _flush_output() or code else 5
    except (BrokenPipeError, OutputClosed):
        code = 141
    except Stopped as stop:
        code = _report_stopped(stop.number, kept, tell)
    except Exception as error:  # noqa: BLE001 (the boundary)
        _show_traceback(debug)
        if signals.caught is not None:  # what it cut through may have failed in another way
            code = _report_stopped(signals.caught, kept, tell)
        elif isinstance(error, ProtclipError):
            code = next((c for kind, c in _CODES if isinstance(error, kind)), 1)
            if tell():
                report_error(error)
        else:
            code = _report_unexpected(error)
    _silence_output()
    return code


def _report_stopped(number: int, kept: str, tell: Callable[[], bool]) -> int:
    if tell():
        say(f"error: stopped by {signal.Signals(number).name}" + (f"; {kept}" if kept else ""))
    return 128 + number


def _report_unexpected(error: Exception) -> int:
    """Say what the library did not foresee: lack of memory or room, a failing disk, a bug."""
    from protclip_core.engines.memory import is_out_of_memory

    if is_out_of_memory(error) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        hint = "use a smaller --batch-tokens, or fewer --workers"
        say(f"error: memory ran out; {hint} [resource.out_of_memory]")
        return 5
    if isinstance(error, OSError) and error.errno is not None:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
        where = error.filename or "standard output"
        hint = "make room and run again" if full else "check the path and its access rights"
        code = " [resource.disk_full]" if full else ""
        say(f"error: {where}: {(error.strerror or str(error)).lower()}; {hint}{code}")
        return 5 if full else 2
    say(f"error: {_one_line(error)}; this is a bug of protclip: please report it with --debug")
    return 1


def report_error(error: ProtclipError) -> None:
    """Print an expected error: its details, then its line, with the code at its end."""
    for detail in error.details:
        say(f"error: {detail}")
    say(f"error: {error} [{error.code}]")


def _run(work: Callable[[], None]) -> int:
    try:
        work()
    except SystemExit as end:
        if isinstance(end.code, int) or end.code is None:
            return end.code or 0
        say(f"error: {end.code}")
        return 1
    finally:
        close_bars()
    return 0


class _Signals:
    """Turns the signals that end a process into exceptions, so that work is put away first.

    By default SIGTERM and SIGHUP end Python without running a single ``finally``. A second
    signal ends the process at once. What a handler raises is lost where nothing can be raised,
    as in the weak references and destructors that h5py is full of: then it comes again.

    Attributes
    ----------
    caught
        The first signal; None where there was none.
    """

    def __init__(self) -> None:
        self.caught: int | None = None
        wanted = (signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM))
        # A signal that the caller ignores stays ignored (nohup ignores SIGHUP).
        self._before = {
            n: handler for n in wanted if (handler := signal.getsignal(n)) != signal.SIG_IGN
        }
        self._hook = sys.unraisablehook

    def __enter__(self) -> Self:
        for number in self._before:
            signal.signal(number, self._stop)
        sys.unraisablehook = self._again
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: object, _trace: TracebackType | None
    ) -> None:
        if self.caught is not None and hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, 0)
        sys.unraisablehook = self._hook
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self.caught = number
        for other in self._before:
            signal.signal(other, self._end)
        raise Stopped(number)

    def _end(self, number: int, frame: FrameType | None) -> None:
        os._exit(128 + number)

    def _again(self, lost: sys.UnraisableHookArgs) -> None:
        if not isinstance(lost.exc_value, Stopped):
            self._hook(lost)
        elif hasattr(signal, "setitimer"):
            signal.signal(signal.SIGALRM, self._raise)
            signal.setitimer(signal.ITIMER_REAL, _SOON)

    def _raise(self, number: int, frame: FrameType | None) -> None:
        assert self.caught is not None
        raise Stopped(self.caught)


def _flush_output() -> bool:
    """Flush standard output; ``False`` and a message if it could not take everything."""
    if sys.stdout is None:
        return True
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        say(f"error: standard output: {reason}; the results are incomplete")
        _silence_output()
        return False
    return True


def _silence_output() -> None:
    """Drop what is buffered for standard output, so that the interpreter's last flush is quiet."""
    if sys.stdout is None:
        return
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def _show_traceback(debug: bool) -> None:  # noqa: FBT001
    if debug and sys.stderr is not None:
        traceback.print_exc()


def say(text: str) -> None:
    """Write one line to standard error; a closed one is no reason to fail.

    Ids and paths are data from elsewhere: no escape code of theirs may reach a terminal.
    """
    if sys.stderr is None:
        return
    # Python's standard error shows what its encoding lacks as escapes, so this never fails.
    with suppress(OSError, ValueError):
        sys.stderr.write(printable(text, 10_000) + "\n")
        sys.stderr.flush()


def _one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".replace("\n", " ")[:300]
