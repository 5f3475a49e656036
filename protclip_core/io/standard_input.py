"""Standard input that can be read twice."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from protclip_core.errors import ProtclipError
from protclip_core.io.atomic import disk_error
from protclip_core.io.streams import open_input, source_name

__all__ = ["rereadable"]


@contextmanager
def rereadable(inputs: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Give inputs that can be read twice: standard input becomes a temporary file.

    Errors that leave the block name standard input, not that file.

    Raises
    ------
    ResourceError
        The disk of temporary files is full.
    """
    if "-" not in inputs:
        yield tuple(inputs)
        return
    with tempfile.TemporaryDirectory(prefix="protclip-") as folder:
        path = Path(folder) / "stdin"
        try:
            with open_input("-") as source, path.open("wb") as file:
                shutil.copyfileobj(source, file)
        except OSError as error:
            raise disk_error(error, folder) from error
        try:
            yield tuple(str(path) if one == "-" else one for one in inputs)
        except ProtclipError as error:
            # The user knows nothing of that file.
            shown = source_name("-")
            error.where = error.where and error.where.replace(str(path), shown)
            error.details = tuple(line.replace(str(path), shown) for line in error.details)
            raise
