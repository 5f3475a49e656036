"""A file object that never fails towards HDF5.

A write that fails inside the HDF5 library, and equally a Python exception such as
KeyboardInterrupt inside a file object that HDF5 writes to, ends in a segmentation fault while the
file is closed. Python cannot catch that. So the library is only ever told that all went well; the
error is kept, and raised by `GuardedFile.check` once control is back in Python. Signals wait
meanwhile: `protclip_core.interrupts`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

__all__ = ["GuardedFile"]


class GuardedFile:
    """File object for ``h5py.File`` over an open descriptor.

    On the first error the file stops touching the disk: the error is remembered, and all later
    writes are kept in memory so that HDF5 reads back what it wrote. The owner calls `check` after
    each block, so no more than one block is held.

    Parameters
    ----------
    fd
        Descriptor open for reading and writing; closed by `close`.
    """

    def __init__(self, fd: int) -> None:
        self.error: BaseException | None = None
        self._fd = fd
        self._position = 0
        self._size = os.fstat(fd).st_size
        self._unwritten: list[tuple[int, bytes]] = []  # (offset, data), in order of writing
        self._discarding = False

    def check(self) -> None:
        """Raise the remembered error, if there is one."""
        if self.error is not None:
            raise self.error

    def discard(self) -> None:
        """Stop writing to the disk: the file is going to be thrown away."""
        self._discarding = True

    def close(self) -> None:
        """Close the descriptor."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._fd

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to an offset, as ``io.RawIOBase.seek``."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        """Return the current offset."""
        return self._position

    def write(self, data: Any) -> int:
        """Write all of ``data`` (a buffer) at the current offset; never fails."""
        view = memoryview(data).cast("B")
        start = self._position
        if not self._guarded(lambda: _write_all(self._fd, view, start)):
            self._unwritten.append((start, bytes(view)))
        self._position = start + len(view)
        self._size = max(self._size, self._position)
        return len(view)

    def readinto(self, buffer: Any) -> int:
        """Fill ``buffer`` from the current offset; bytes past the end or unreadable are zero."""
        view = memoryview(buffer).cast("B")
        start, length = self._position, len(view)
        view[:] = bytes(length)
        try:
            _read_all(self._fd, view, start)
        except BaseException as error:  # noqa: BLE001 - HDF5 must not see any exception
            self._remember(error)
        for offset, data in self._unwritten:
            low, high = max(start, offset), min(start + length, offset + len(data))
            if low < high:
                view[low - start : high - start] = data[low - offset : high - offset]
        self._position = start + length
        return length

    def read(self, size: int = -1) -> bytes:
        """Return ``size`` bytes (all that are left if negative) from the current offset."""
        left = max(0, self._size - self._position)
        buffer = bytearray(left if size < 0 else min(size, left))
        self.readinto(buffer)
        return bytes(buffer)

    def truncate(self, size: int | None = None) -> int:
        """Set the length of the file; never fails."""
        length = self._position if size is None else size
        self._guarded(lambda: os.ftruncate(self._fd, length))
        self._size = length
        return length

    def flush(self) -> None:
        """Do nothing: no data is buffered here."""

    def _guarded(self, action: Callable[[], None]) -> bool:
        """Run a write; True if it reached the disk."""
        if self._discarding or self.error is not None:
            return False
        try:
            action()
        except BaseException as error:  # noqa: BLE001 - HDF5 must not see any exception
            self._remember(error)
            return False
        return True

    def _remember(self, error: BaseException) -> None:
        if self.error is None:
            self.error = error


def _write_all(fd: int, view: memoryview, offset: int) -> None:
    while view:
        n = os.pwrite(fd, view, offset)
        view, offset = view[n:], offset + n


def _read_all(fd: int, view: memoryview, offset: int) -> None:
    while view:
        n = os.preadv(fd, [view], offset)
        if n == 0:
            return
        view, offset = view[n:], offset + n
