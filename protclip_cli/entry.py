"""The way in: ready for Ctrl-C before the first slow import."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

__all__ = ["run"]


def run() -> None:
    """Run the program; see `protclip_cli.main.run`.

    Until `protclip_cli.boundary` takes the signals over there is nothing to put away, so that an
    interrupt may end the process on the spot, without the traceback of whatever is imported.
    """
    # A signal that the caller ignores stays ignored.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)
    from protclip_cli.main import run as run_program

    run_program()


def _end(number: int, frame: FrameType | None) -> None:
    if sys.stderr is not None:
        os.write(2, b"error: stopped by SIGINT\n")
    os._exit(128 + number)
