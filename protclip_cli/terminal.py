"""The terminal as commands see it: what may be said on it, and what is read from it."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

from protclip_cli.boundary import EXIT_PARTIAL, say
from protclip_cli.logs import set_up_logs
from protclip_core.errors import UsageError
from protclip_core.records import counted, printable

if TYPE_CHECKING:
    from protclip_cli.progress import BarProgress, LineProgress
    from protclip_core.records import Failure

__all__ = ["Terminal", "command_line", "end_partial", "inputs_or_pipe", "list_left_out"]


@dataclass(frozen=True)
class Terminal:
    """The global options, and what follows from them."""

    quiet: bool = False
    verbose: int = 0
    debug: bool = False

    @classmethod
    def of(cls, context: Any, given: dict[str, Any]) -> Terminal:
        """Add the global options of a command to those before it, and set up the log."""
        before = context.parent.obj if context.parent is not None else None
        before = before if isinstance(before, Terminal) else cls()
        terminal = cls(
            quiet=given.pop("quiet") or before.quiet,
            verbose=given.pop("verbose") + before.verbose,
            debug=given.pop("debug") or before.debug,
        )
        set_up_logs(2 if terminal.debug else terminal.verbose)
        return terminal

    def progress(self, beside: TextIO | None = None) -> BarProgress | LineProgress:
        """Return a progress bar; none where rows go to a terminal, which would overwrite it."""
        from protclip_cli.progress import make_progress

        quiet = self.quiet or (beside is not None and beside.isatty())
        return make_progress(quiet=quiet, timed=self.verbose > 0)

    def tell(self, text: str) -> None:
        """Say a line on standard error, unless ``--quiet`` is given."""
        if not self.quiet:
            if sys.stdout is not None:
                sys.stdout.flush()
            say(text)


def command_line() -> str:
    """Return the command as it was given, for what files say of their making."""
    return printable(shlex.join(["protclip", *sys.argv[1:]]), 10_000)


def inputs_or_pipe(inputs: Sequence[str] | None) -> tuple[str, ...]:
    """Return the inputs; standard input if there are none and something is piped in.

    Raises
    ------
    UsageError
        No input, and standard input is a terminal or closed; or ``-`` given twice.
    """
    if not inputs:
        if sys.stdin is None or sys.stdin.isatty():
            hint = "give a FASTA file, or pipe one in"
            raise UsageError("no input", code="usage.no_input", hint=hint)
        return ("-",)
    if list(inputs).count("-") > 1:
        raise UsageError("standard input (-) can be read only once", code="usage.stdin_twice")
    return tuple(inputs)


def list_left_out(count: int, first: Sequence[Failure]) -> None:
    """Name the first records that were left out, and how many there are."""
    for failure in first:
        say(f"warning: {failure.where}: {failure.reason}")
    say(f"warning: {counted(count, 'record')} left out")


def end_partial(count: int, first: Sequence[Failure]) -> None:
    """Name records that were left out, if any, and end with the code for it."""
    if count:
        list_left_out(count, first)
        raise SystemExit(EXIT_PARTIAL)
