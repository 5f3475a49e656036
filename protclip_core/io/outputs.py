"""Paths that results are written to: what they must not be."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from protclip_core.errors import UsageError

__all__ = ["refuse_input_as_output"]


def refuse_input_as_output(inputs: Sequence[str], output: Path) -> None:
    """Refuse to replace an input by the result.

    Raises
    ------
    UsageError
        ``output`` is one of the inputs.
    """
    for source in inputs:
        if source != "-" and output.exists() and Path(source).exists() and output.samefile(source):
            raise UsageError(
                "is an input as well as the output",
                where=str(output),
                hint="choose another -o",
            )
