"""What the programs that train have in common: options, and their end."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from train.config.run import RunConfig
from train.loop.faults import named_faults
from train.loop.ranks import Ranks, join_ranks
from train.loop.terminal import guarded, log_to_terminal, start_program

__all__ = ["KEPT", "end", "run_on_ranks", "run_parser"]

#: What a signal leaves behind.
KEPT = "the newest checkpoint is kept, continue with --resume"


def run_parser(module: str, doc: str | None, *, data: bool = False) -> argparse.ArgumentParser:
    """Return the parser of ``python -m module``; ``data``: pairs and GO must be given."""
    parser = argparse.ArgumentParser(
        prog=f"python -m {module}",
        description=doc,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--config", required=True, type=Path, help="TOML file of the run")
    add("--run-dir", required=True, type=Path, help="directory of the run")
    add("--data", required=data, type=Path, help="pairs: JSON Lines, or a folder of ProtAnno")
    add("--go", required=data, type=Path, help="table of GO terms")
    add("--resume", action="store_true", help="continue from the newest checkpoint")
    add("--threads", type=int, default=1, help="processor threads (default 1)")
    add("--stop-at", type=int, help="stop after this step as if interrupted")
    return parser


def run_on_ranks(
    args: argparse.Namespace,
    load: Callable[[Path], RunConfig],
    work: Callable[[RunConfig, Ranks], object],
) -> int:
    """Read the configuration, meet the other ranks, train, and return the exit code."""
    start_program(args.threads)
    met: list[Ranks] = []

    def on_ranks() -> None:
        config = load(args.config)
        ranks = join_ranks(config.train.timeout_seconds, device=args.device)
        met.append(ranks)
        log_to_terminal(quiet=not ranks.first)
        # Again around the training: processes end, and are noticed, while it cleans up.
        with named_faults(ranks):
            work(config, ranks)
        ranks.part()

    # What all ranks have come to know, the first one says.
    return guarded(on_ranks, kept=KEPT, tell=lambda: not met or not met[0].first_has_told())


def end(code: int) -> NoReturn:
    """End the process; without the group's own farewell where a rank was lost, for it may hang."""
    if code:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(0)
