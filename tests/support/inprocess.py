"""The program within this process: for usage errors and other runs that need no process."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
from pathlib import Path
from unittest import mock

from tests.support.warm import Outcome


def run_here(*arguments, cwd, stdin="", env=None):
    """Run ``protclip`` in ``cwd`` without a new process; what it says and how it ends."""
    from protclip_cli.main import run

    out, err, before = io.StringIO(), io.StringIO(), Path.cwd()
    logger = logging.getLogger("protclip_core")
    state = (list(logger.handlers), logger.propagate, logger.level)
    argv = ["protclip", *map(str, arguments)]
    os.chdir(cwd)
    try:
        with (
            mock.patch.object(sys, "argv", argv),
            mock.patch.object(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode()))),
            mock.patch.dict(os.environ, env or {}),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            try:
                run()
                code = 0
            except SystemExit as end:
                code = end.code or 0
    finally:
        os.chdir(before)
        logger.handlers[:], logger.propagate = state[0], state[1]
        logger.setLevel(state[2])
    return Outcome(code, out.getvalue(), err.getvalue())
