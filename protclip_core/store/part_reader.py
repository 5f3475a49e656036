"""Read single proteins out of finished parts; the parts are `protclip_core.store.parts`.

Parts come in order of length and outputs in order of the input, so every block of an output asks
for a few rows of very many parts. Only the bytes of those rows are read.
"""

from __future__ import annotations

import json
import math
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from protclip_core.errors import ModelError

__all__ = ["PartFile", "PartReader", "PartRow"]

_DTYPES = {"F32": "<f4", "F16": "<f2", "I64": "<i8", "U16": "<u2", "U8": "|u1"}


class PartRow(NamedTuple):
    """One protein of a part: ``vector (D)``, its length L and, per residue, ``residues (L, D)``."""

    vector: npt.NDArray[Any]
    length: int
    residues: npt.NDArray[Any] | None


class PartFile:
    """The file of one part, open for reading rows.

    Parameters
    ----------
    path
        A file whose sha256 was checked, so that its header is what this package wrote.

    Raises
    ------
    OSError, EOFError, ValueError
        The file was removed, cut or changed since. EOFError may come from `read` too.
    """

    def __init__(self, path: Path) -> None:
        # Not mapped into memory: a mapped file that is cut, or whose disk fails, kills the process.
        self._handle = path.open("rb")
        try:
            size = int.from_bytes(self._handle.read(8), "little")
            self._header: dict[str, Any] = json.loads(self._handle.read(size))
            self._start = 8 + size
            lengths = self._read("lengths", 0, None)
        except BaseException:
            self._handle.close()
            raise
        self._ends = np.cumsum(lengths)
        self._lengths = lengths

    def read(self, row: int) -> PartRow:
        """Return the protein of a row."""
        length, end = int(self._lengths[row]), int(self._ends[row])
        residues = self._read("residues", end - length, end) if "residues" in self._header else None
        return PartRow(self._read("vectors", row, row + 1)[0], length, residues)

    def close(self) -> None:
        """Close the file."""
        self._handle.close()

    def _read(self, name: str, start: int, stop: int | None) -> npt.NDArray[Any]:
        """Return rows of an array; to its end if ``stop`` is None."""
        entry = self._header[name]
        n, *tail = entry["shape"]
        array = np.empty(((n if stop is None else stop) - start, *tail), _DTYPES[entry["dtype"]])
        row_bytes = math.prod(tail) * array.itemsize
        self._handle.seek(self._start + entry["data_offsets"][0] + start * row_bytes)
        if self._handle.readinto(array.data) != array.nbytes:
            raise EOFError(f"the file ends within its {name}")
        return array


class PartReader:
    """Reader of the proteins of all parts; a context manager that closes their files.

    Parameters
    ----------
    locate
        Gives the file of a part by its number, checked against its sha256; may raise.
    most_open
        Most files that stay open for parts that may be asked for again.
    """

    def __init__(self, locate: Callable[[int], Path], most_open: int = 64) -> None:
        self._locate = locate
        self._most_open = most_open
        self._files: OrderedDict[int, PartFile] = OrderedDict()

    def read(self, part: int, row: int) -> PartRow:
        """Return one protein of a part.

        Raises
        ------
        KeyError
            No such part, or one that was dropped.
        ModelError
            The file is damaged; a resumed run computes its proteins again.
        """
        path = None if part in self._files else self._locate(part)
        try:
            if path is not None:
                self._open(part, path)
            self._files.move_to_end(part)
            return self._files[part].read(row)
        except (OSError, EOFError, ValueError) as error:
            raise ModelError(
                f"part {part} changed while it was in use ({error})",
                where=str(path or self._locate(part)),
                hint="run again with --resume",
            ) from error

    def close(self) -> None:
        """Close all files."""
        while self._files:
            self._files.popitem()[1].close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: object, _trace: TracebackType | None
    ) -> None:
        self.close()

    def _open(self, part: int, path: Path) -> None:
        while len(self._files) >= self._most_open:
            self._files.popitem(last=False)[1].close()
        self._files[part] = PartFile(path)
