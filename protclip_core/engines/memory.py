"""How the process holds memory: how much there is, allocator thresholds, lack of it by its name."""

from __future__ import annotations

import ctypes
import logging
import mmap
import sys
from contextlib import suppress
from pathlib import Path

__all__ = [
    "available_memory",
    "give_back_memory",
    "is_out_of_memory",
    "keep_freed_memory",
    "memory_limit",
]

_log = logging.getLogger(__name__)

# Parameter numbers of glibc's mallopt(3).
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8
_THRESHOLD_BYTES = 1 << 30
_OLD_LIMIT_BYTES = 32 << 20
_DEFAULT_BYTES = 128 << 10  # of both, by glibc itself
#: Address space, never written to, that is let go when memory runs out. oneDNN writes a kernel for
#: each new shape into a mapping of its own; where the heap has taken all there is and cannot
#: shrink, because something small lies at its end, proteins of a new length would fail however
#: small their batch.
_RESERVE_BYTES = 64 << 20
_reserve: mmap.mmap | None = None


def keep_freed_memory() -> bool:
    """Let glibc keep large freed blocks instead of handing them back to the system.

    A forward pass allocates and frees the same few megabytes over and over. With glibc's own
    thresholds each such block is mapped, faulted in page by page and unmapped again. Raising
    the thresholds to 1 GiB leaves the blocks in the heap for the next layer. It is the same as
    setting ``MALLOC_MMAP_THRESHOLD_`` and ``MALLOC_TRIM_THRESHOLD_``, from inside the process.

    Returns
    -------
    bool
        Whether it took effect; ``False`` without glibc (macOS, Windows, musl), where nothing
        happens.
    """
    libc = _glibc()
    if libc is None:
        return False
    # Newer glibc takes any mmap threshold; older ones refuse more than half a heap, 32 MiB.
    _keep_reserve()
    # One heap for all threads: each more takes 64 MB of address space, and hoards what it frees.
    libc.mallopt(_M_ARENA_MAX, 1)
    trim = libc.mallopt(_M_TRIM_THRESHOLD, _THRESHOLD_BYTES)
    return bool(trim) and any(
        libc.mallopt(_M_MMAP_THRESHOLD, size) for size in (_THRESHOLD_BYTES, _OLD_LIMIT_BYTES)
    )


def give_back_memory() -> bool:
    """Hand freed memory back to the system, and keep none from here on.

    For when memory ran out: what the heap keeps is in pieces, and no use to what maps its own,
    such as the kernels that oneDNN writes. Without this, small proteins fail after a large batch.

    Returns
    -------
    bool
        Whether anything could be done, see `keep_freed_memory`.
    """
    global _reserve
    libc = _glibc()
    if libc is None:
        return False
    if _reserve is not None:
        _reserve.close()
        _reserve = None
    for parameter in (_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD):
        libc.mallopt(parameter, _DEFAULT_BYTES)
    libc.malloc_trim(0)
    return True


def _keep_reserve() -> None:
    global _reserve
    if _reserve is None:
        with suppress(OSError, ValueError):
            flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
            _reserve = mmap.mmap(-1, _RESERVE_BYTES, flags=flags)


def _glibc() -> ctypes.CDLL | None:
    if not sys.platform.startswith("linux"):
        return None
    try:
        libc = ctypes.CDLL("libc.so.6")
        _ = libc.mallopt, libc.malloc_trim
    except (OSError, AttributeError):
        return None
    return libc


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error means that memory ran out.

    torch raises `torch.OutOfMemoryError` on CUDA, but a plain `RuntimeError` on the CPU, which
    only its words give away; NumPy raises `MemoryError`. oneDNN, which torch multiplies with on
    many processors, gives no reason when it finds no room for its kernels.
    """
    if isinstance(error, MemoryError):
        return True
    if type(error).__name__ == "OutOfMemoryError":
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and (
        "can't allocate memory" in text
        or "not enough memory" in text
        or "out of memory" in text
        or "std::bad_alloc" in text
        or "alloc_failed" in text  # cuBLAS and cuDNN, for their workspaces
        or "can't start new thread" in text
        or text.endswith(("could not create a primitive", "could not create a memory object"))
    )


def available_memory() -> int | None:
    """Bytes that may still be used, under the limit of a container too; ``None`` if unknown."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        table = dict(line.split(":", 1) for line in lines if ":" in line)
        free = int(table["MemAvailable"].split()[0]) * 1024
    except (OSError, ValueError, KeyError, IndexError):
        return None
    if (limit := memory_limit()) is not None:
        used = _number(Path("/sys/fs/cgroup/memory.current")) or 0
        free = min(free, max(0, limit - used))
    return free


def memory_limit() -> int | None:
    """Bytes that the container of this process may use; ``None`` where there is no limit."""
    return _number(Path("/sys/fs/cgroup/memory.max"))


def _number(path: Path) -> int | None:
    """Read a number from a file of the kernel; ``max``, like no file, is none."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None
