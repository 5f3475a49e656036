"""Errors that protclip raises on purpose, each with its place and its way out.

Every class stands for one kind of trouble that a caller can act on. The terminal turns the
class into an exit code (`protclip_cli.boundary`); the library knows nothing of exit codes.

Every error has a code, ``kind.problem``: the kind is that of its class (``usage``, ``input``,
``model``, ``resource``, ``busy``, ``worker``), the problem a few words with underscores between
them: ``input.duplicate_id``. Code that has to tell errors apart looks at the code; the message is
for people and may change at any time.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = [
    "BusyError",
    "InputError",
    "ModelError",
    "ProtclipError",
    "ResourceError",
    "UsageError",
    "WorkerLostError",
]


class ProtclipError(Exception):
    """Base of all expected errors.

    Parameters
    ----------
    message
        What is wrong, with the value; one line, lower case, no full stop.
    code
        The problem by name, ``kind.problem``; see the module's description.
    where
        File, record or option, most general first: ``"x.fa:record 3 (P12345)"``.
    hint
        What to do about it; one clause.
    details
        Up to five further lines of the same kind (other bad records), shown before the message.

    Examples
    --------
    >>> from protclip_core import InputError
    >>> error = InputError("no records", code="input.no_records", where="x.fa")
    >>> error.code, str(error)
    ('input.no_records', 'x.fa: no records')
    """

    #: First part of the codes of this class.
    kind = "error"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        where: str | None = None,
        hint: str | None = None,
        details: Sequence[str] = (),
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or f"{self.kind}.other"
        self.where = where
        self.hint = hint
        self.details = tuple(details)

    def __str__(self) -> str:
        text = f"{self.where}: {self.message}" if self.where else self.message
        return f"{text}; {self.hint}" if self.hint else text


class UsageError(ProtclipError):
    """Options that contradict each other, or an output that may not be written."""

    kind = "usage"


class InputError(ProtclipError):
    """Input data that cannot be what the caller says it is."""

    kind = "input"


class ModelError(ProtclipError):
    """A model or data file that is missing, damaged, untrusted or of another kind."""

    kind = "model"


class ResourceError(ProtclipError):
    """Disk, memory or device that does not suffice."""

    kind = "resource"


class BusyError(ProtclipError):
    """Another process is writing the same file."""

    kind = "busy"


class WorkerLostError(ProtclipError):
    """A worker process ended without giving its result."""

    kind = "worker"
