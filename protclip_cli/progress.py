"""Progress on standard error: a bar on a terminal, else a line every 30 seconds."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Any

from protclip_core.progress import time_span

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

__all__ = [
    "TIME_FORM",
    "BarProgress",
    "LineProgress",
    "close_bars",
    "make_progress",
    "print_above",
]

LINE_SECONDS = 30.0
#: How lines of a log say when they were written.
TIME_FORM = "%Y-%m-%d %H:%M:%S"
_active: list[RichProgress] = []


def make_progress(*, quiet: bool, timed: bool = False) -> BarProgress | LineProgress:
    """Choose by what standard error is: a bar for people, lines for logs, nothing if quiet.

    ``timed`` puts the time before each line.
    """
    stderr = sys.stderr
    on_terminal = stderr is not None and stderr.isatty()
    if on_terminal and not quiet and not os.environ.get("CI") and os.environ.get("TERM") != "dumb":
        return BarProgress()
    return LineProgress(quiet=quiet or stderr is None, timed=timed)


def print_above(text: str) -> bool:
    """Print a line above the bar that is shown; ``False`` if none is."""
    if not _active:
        return False
    _active[-1].console.print(text, markup=False, highlight=False, soft_wrap=True)
    return True


def close_bars() -> None:
    """Take away bars that an error left on the terminal."""
    while _active:
        _active.pop().stop()


class LineProgress:
    """A plain line every 30 seconds, and nothing for work that is done before."""

    def __init__(self, *, quiet: bool = False, timed: bool = False) -> None:
        self._quiet, self._timed = quiet, timed

    def start(self, what: str, total: int, unit: str) -> None:
        """Begin a stage."""
        self._what, self._total, self._unit = what, total, unit
        self._done = 0
        self._began = self._told = time.monotonic()

    def advance(self, amount: int) -> None:
        """Count, and now and then say so."""
        self._done += amount
        now = time.monotonic()
        if self._quiet or now - self._told < LINE_SECONDS:
            return
        self._told = now
        rate = self._done / (now - self._began)
        text = f"{self._what}: {self._done:,} {self._unit}, {rate:,.0f} per second"
        if self._total:
            left = (self._total - self._done) / rate if rate else 0
            share = self._done / self._total
            text = f"{text}, {share:.0%} of {self._total:,}, {time_span(left)} left"
        if self._timed:
            text = f"{time.strftime(TIME_FORM)} {text}"
        if sys.stderr is not None:
            sys.stderr.write(text + "\n")
            sys.stderr.flush()

    def finish(self) -> None:
        """End the stage."""


class BarProgress:
    """A rich bar with residues per second and the time left."""

    def __init__(self) -> None:
        self._bar: RichProgress | None = None
        self._task: Any = None

    def start(self, what: str, total: int, unit: str) -> None:
        """Show the bar of a stage."""
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            Progress,
            ProgressColumn,
            TextColumn,
            TimeRemainingColumn,
        )

        self.finish()
        rate = _RateColumn.of(unit)
        columns: list[ProgressColumn] = [TextColumn("{task.description}")]
        if total:
            columns += [BarColumn(), TextColumn("{task.percentage:>3.0f}%")]
        columns += [rate, TimeRemainingColumn()] if total else [rate]
        self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
        self._task = self._bar.add_task(what, total=total or None)
        self._bar.start()
        _active.append(self._bar)

    def advance(self, amount: int) -> None:
        """Move the bar."""
        if self._bar is not None:
            self._bar.advance(self._task, amount)

    def finish(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            if self._bar in _active:
                _active.remove(self._bar)
            self._bar.stop()
            self._bar = None


class _RateColumn:
    """Makes a rich column such as ``5,120 residues/s``."""

    @staticmethod
    def of(unit: str) -> Any:
        from rich.progress import ProgressColumn, Task
        from rich.text import Text

        class Rate(ProgressColumn):
            def render(self, task: Task) -> Text:
                speed = task.speed or task.finished_speed
                return Text(f"{speed:,.0f} {unit}/s" if speed else "")

        return Rate()
