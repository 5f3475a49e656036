"""Collections of strings in an HDF5 file that the HDF5 library would read for ever.

HDF5 keeps strings of variable length in heap collections: a header, then objects one after the
other, each with its size. Where damage leaves an object of no size, the library (2.0, and those
before it) goes on from the same place without end, in compiled code that no signal interrupts. So
the collections are walked through before the library sees the file.
"""

from __future__ import annotations

import mmap
import re
from typing import BinaryIO

__all__ = ["has_endless_heap"]

#: Signature, version and three reserved bytes.
_COLLECTION = re.compile(rb"GCOL\x01\0\0\0")
_SIGNATURE = b"\x89HDF\r\n\x1a\n"
#: Bytes of a file that are searched: a tenth of a second. Beyond, strings are not checked.
_MOST = 64 << 20


def has_endless_heap(file: BinaryIO) -> bool:
    """Tell whether a collection of strings in an HDF5 file has an object of no size.

    Parameters
    ----------
    file
        Open for reading, on the disk. Of one larger than 64 MiB the beginning is looked at.
    """
    try:
        content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError):  # empty, or no plain file
        return False
    with content:
        width = _size_width(content)
        found = _COLLECTION.finditer(content, 0, min(len(content), _MOST))
        # The iterator holds the file, so it has to be used up before that is closed.
        starts = [one.start() for one in found]
        return any(_is_endless(content, start, width) for start in starts)


def _size_width(content: mmap.mmap) -> int:
    """Return how many bytes a size takes; the superblock says it, at one of two places."""
    start = next((at for at in (0, 512, 1024, 2048) if content[at : at + 8] == _SIGNATURE), None)
    if start is None or start + 16 > len(content):
        return 8
    place = 14 if content[start + 8] < 2 else 10
    return content[start + place] if content[start + place] in (2, 4, 8) else 8


def _is_endless(content: mmap.mmap, start: int, width: int) -> bool:
    """Walk through the objects of a collection; its size stands where those of objects do."""
    header = _aligned(8 + width)
    size = int.from_bytes(content[start + 8 : start + 8 + width], "little")
    end = min(start + size, len(content))
    place = start + header
    while place + header <= end:
        index = int.from_bytes(content[place : place + 2], "little")
        length = int.from_bytes(content[place + 8 : place + 8 + width], "little")
        # Number 0 is what is left over; its size has the header in it. The library's sums wrap.
        step = (header + _aligned(length)) % (1 << 64) if index else length
        if not step or step >> 63:  # not at all, or backwards
            return True
        place += step
    return False


def _aligned(size: int) -> int:
    return -(-size // 8) * 8
