"""How long work tells its caller where it is; the terminal has its own implementation."""

from __future__ import annotations

from typing import Protocol

__all__ = ["Progress", "SilentProgress", "time_span"]


class Progress(Protocol):
    """Receives the state of a long computation. Calls come from one thread."""

    def start(self, what: str, total: int, unit: str) -> None:
        """Begin a stage of ``total`` units; 0 where the total is not known."""

    def advance(self, amount: int) -> None:
        """Add units done."""

    def finish(self) -> None:
        """End the stage."""


class SilentProgress:
    """Progress that nobody looks at."""

    def start(self, what: str, total: int, unit: str) -> None:
        """Do nothing."""

    def advance(self, amount: int) -> None:
        """Do nothing."""

    def finish(self) -> None:
        """Do nothing."""


def time_span(seconds: float) -> str:
    """Write a time span in its largest two units.

    Examples
    --------
    >>> time_span(3725), time_span(75), time_span(4)
    ('1 h 2 min', '1 min 15 s', '4 s')
    """
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
