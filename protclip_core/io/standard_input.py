"""Standard input that can be read more than once."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from protclip_core.io.atomic import disk_error
from protclip_core.io.streams import keep_standard_input, open_input

__all__ = ["rereadable"]


@contextmanager
def rereadable(inputs: Sequence[str]) -> Iterator[None]:
    """Let ``-`` among inputs be read more than once: standard input goes to a temporary file.

    Raises
    ------
    ResourceError
        The disk of temporary files is full.
    """
    if "-" not in inputs:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="protclip-") as folder:
        path = Path(folder) / "stdin"
        try:
            with open_input("-") as source, path.open("wb") as file:
                shutil.copyfileobj(source, file)
        except OSError as error:
            raise disk_error(error, folder) from error
        with keep_standard_input(path):
            yield
