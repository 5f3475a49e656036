"""One row of the self-test."""

from __future__ import annotations

from dataclasses import dataclass

from protclip_core.errors import ModelError, ProtclipError

__all__ = ["FAIL", "OK", "WARN", "Check", "gigabytes"]

OK, WARN, FAIL = "ok", "warn", "fail"


@dataclass(frozen=True, kw_only=True)
class Check:
    """What a check found.

    Attributes
    ----------
    name
        What was looked at.
    status
        ``"ok"``, ``"warn"`` (works, but look at it) or ``"fail"``.
    found
        What there is, with figures.
    advice
        What to do; empty where nothing is to be done.
    trouble
        Kind of error that a failure is.
    """

    name: str
    status: str
    found: str
    advice: str = ""
    trouble: type[ProtclipError] | None = None

    @classmethod
    def failed(cls, name: str, error: ProtclipError) -> Check:
        """Make a row of an error."""
        found = f"{error.where}: {error.message}" if error.where else error.message
        trouble = type(error) if type(error) is not ProtclipError else ModelError
        return cls(name=name, status=FAIL, found=found, advice=error.hint or "", trouble=trouble)


def gigabytes(n_bytes: float) -> str:
    """Show bytes in GB (10^9)."""
    return f"{n_bytes / 1e9:.1f} GB"
