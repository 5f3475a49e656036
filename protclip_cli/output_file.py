"""Results that go to a file: refused early, and there only when they are whole."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from protclip_cli.output import stdout
from protclip_core.errors import UsageError

__all__ = ["checked_output", "open_output", "refuse_existing"]


def refuse_existing(path: Path, *, overwrite: bool, other: str = "-o") -> None:
    """Refuse a file that is there, unless it may be replaced; ``other`` says what to choose anew.

    Raises
    ------
    UsageError
        It is there already.
    """
    if path.exists() and not overwrite:
        hint = f"choose another {other}, or replace it with --overwrite"
        raise UsageError("is there already", where=str(path), hint=hint)


def checked_output(
    output: str | None, *, overwrite: bool, inputs: Sequence[str] = ()
) -> Path | None:
    """Return the file of ``-o``, None for standard output; refuse early what cannot be written.

    Raises
    ------
    UsageError
        It cannot be written, is one of the inputs, or is there already.
    """
    if output in (None, "-"):
        return None
    from protclip_core.io.atomic import check_writable_target

    path = Path(str(output))
    check_writable_target(path)
    if inputs:
        from protclip_core.io.outputs import refuse_input_as_output

        refuse_input_as_output(tuple(inputs), path)
    refuse_existing(path, overwrite=overwrite)
    return path


@contextmanager
def open_output(path: Path | None) -> Iterator[TextIO]:
    """Give standard output, or a file that appears when all is written."""
    if path is None:
        yield stdout()
        return
    from protclip_core.io.atomic import open_atomic

    with open_atomic(path) as file:
        # Nothing waits in the text layer: after an error it would be written to a closed file.
        text = io.TextIOWrapper(
            file, encoding="utf-8", errors="surrogateescape", newline="\n", write_through=True
        )
        yield text
        text.flush()
        text.detach()
