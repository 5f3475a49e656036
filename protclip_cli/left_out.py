"""Records that are in no result: named, counted, and told by the exit code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from protclip_cli.boundary import EXIT_PARTIAL, say

if TYPE_CHECKING:
    from protclip_core.records import Failure

__all__ = ["end_partial", "list_left_out"]


def list_left_out(count: int, first: Sequence[Failure]) -> None:
    """Name the first records that were left out, and how many there are."""
    for failure in first:
        say(f"warning: {failure.where}: {failure.reason}")
    say(f"warning: {count:,} record{'s' if count > 1 else ''} left out")


def end_partial(count: int, first: Sequence[Failure]) -> None:
    """Name records that were left out, if any, and end with the code for it."""
    if count:
        list_left_out(count, first)
        raise typer.Exit(EXIT_PARTIAL)
