"""Log lines of the library on standard error: ``warning: …`` and, with -v, more."""

from __future__ import annotations

import logging
import sys
from typing import TextIO

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
        from protclip_cli.progress import print_above

        text = self.format(record)
        if not print_above(text) and sys.stderr is not None:
            super().emit(record)


class _Format(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return printable(f"{record.levelname.lower()}: {record.getMessage()}", 10_000)


def set_up_logs(verbosity: int) -> None:
    """Attach the one handler.

    Parameters
    ----------
    verbosity
        0: warnings (loss of data and the like); 1: information; 2: everything.
    """
    logger = logging.getLogger("protclip_core")
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
    handler = _Handler()
    handler.setFormatter(_Format())
    logger.addHandler(handler)
    logger.propagate = False
    logger.setLevel([logging.WARNING, logging.INFO, logging.DEBUG][min(verbosity, 2)])
