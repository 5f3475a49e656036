"""Log lines of the library on standard error: ``warning: …`` and, with -v, more."""

from __future__ import annotations

import logging
import sys
from typing import TextIO

from protclip_cli.progress import TIME_FORM, print_above
from protclip_core.records import printable

__all__ = ["set_up_logs"]


class _Handler(logging.StreamHandler[TextIO]):
    """Writes through whatever `sys.stderr` is at that moment, above a progress bar."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:
        return sys.stderr

    @stream.setter
    def stream(self, value: TextIO) -> None:
        pass

    def emit(self, record: logging.LogRecord) -> None:
        text = self.format(record)
        if not print_above(text) and sys.stderr is not None:
            super().emit(record)


class _Format(logging.Formatter):
    """A line for each message, with its time where ``timed``."""

    def __init__(self, *, timed: bool) -> None:
        super().__init__(datefmt=TIME_FORM)
        self._timed = timed

    def format(self, record: logging.LogRecord) -> str:
        time = f"{self.formatTime(record, self.datefmt)} " if self._timed else ""
        return printable(f"{time}{record.levelname.lower()}: {record.getMessage()}", 10_000)


def set_up_logs(verbosity: int) -> None:
    """Attach the one handler.

    Parameters
    ----------
    verbosity
        0: warnings (loss of data and the like); 1: information; 2: everything. From 1 on, lines
        begin with their time.
    """
    logger = logging.getLogger("protclip_core")
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
    handler = _Handler()
    handler.setFormatter(_Format(timed=verbosity > 0))
    logger.addHandler(handler)
    logger.propagate = False
    logger.setLevel([logging.WARNING, logging.INFO, logging.DEBUG][min(verbosity, 2)])
