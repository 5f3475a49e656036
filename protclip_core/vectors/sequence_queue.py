"""Sequences that wait until their proteins come out of an annotation."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from types import TracebackType
from typing import BinaryIO, Self, cast

from protclip_core.io.atomic import disk_error
from protclip_core.vectors.job import EmbedJob

__all__ = ["SequenceQueue"]


class SequenceQueue:
    """First in, first out, by way of a temporary file; a context manager.

    Where all proteins are seen before the first is listed, they cannot wait in memory.

    Attributes
    ----------
    job
        What embeds the sequences, with its model; None before the first.
    """

    def __init__(self) -> None:
        self.job: EmbedJob | None = None
        self._read = 0
        try:
            self._file = cast(BinaryIO, tempfile.TemporaryFile(prefix="protclip-"))  # noqa: SIM115
        except OSError as error:
            raise disk_error(error, tempfile.gettempdir()) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: object, _trace: TracebackType | None
    ) -> None:
        self._file.close()

    def put(self, job: EmbedJob, sequences: Sequence[str]) -> None:
        """Append sequences.

        Raises
        ------
        ResourceError
            The disk of temporary files is full.
        """
        self.job = job
        try:
            self._file.seek(0, 2)
            self._file.write("".join(f"{sequence}\n" for sequence in sequences).encode())
            self._file.flush()
        except OSError as error:
            raise disk_error(error, tempfile.gettempdir()) from error

    def take(self) -> str:
        """Return the next sequence.

        Raises
        ------
        IndexError
            There is none.
        """
        self._file.seek(self._read)
        line = self._file.readline()
        if not line:
            raise IndexError("no sequence is left")
        self._read += len(line)
        return line[:-1].decode()
