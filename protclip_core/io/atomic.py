"""Files that appear whole or not at all, room on the disk, and one writer per file.

Whatever moment a process is killed at, a path written here holds its old or its new content,
complete. What may be left behind is a temporary file ``.NAME.<hex>.tmp`` next to it, which
`remove_stale_temps` clears on the next run, and the empty lock file ``.NAME.lock``.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import secrets
import shutil
import socket
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock, Timeout

from protclip_core.errors import BusyError, ProtclipError, ResourceError, UsageError

__all__ = [
    "check_writable_target",
    "disk_error",
    "file_lock",
    "free_bytes",
    "fsync_folder",
    "open_atomic",
    "open_temp",
    "publish",
    "remove_stale_temps",
    "require_space",
    "write_atomic",
]

_log = logging.getLogger(__name__)

# EFBIG is what a file-size limit (ulimit -f) gives; for the user it is the same trouble.
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})

_guard = threading.Lock()
_held: dict[str, tuple[int, int]] = {}  # real path -> (process, thread) that holds its lock


def write_atomic(path: str | Path, data: bytes | memoryview) -> None:
    """Write a file so that ``path`` holds its old or its new content, never a part.

    Parameters
    ----------
    path
        Target. A symbolic link is followed: the file it names is replaced, the link stays.
    data
        Content; may be empty.

    Raises
    ------
    ResourceError
        Disk, quota or file-size limit reached; names the free space. The old file is untouched.
    UsageError
        The target cannot be written.
    """
    with open_atomic(path) as handle:
        handle.write(data)


@contextmanager
def open_atomic(path: str | Path) -> Iterator[BinaryIO]:
    """Give a binary handle whose content replaces ``path`` when the block ends without an error.

    Parameters and errors are those of `write_atomic`. Use it where the content is made in pieces.
    """
    target = _real(path)
    fd, temp = open_temp(target)
    try:
        try:
            with os.fdopen(fd, "wb") as handle:
                yield handle
                handle.flush()
                os.fsync(handle.fileno())
        except OSError as error:
            # Any other error of the block may concern another file: it goes out as it came.
            if error.errno in _FULL:
                raise disk_error(error, target) from error
            raise
        publish(temp, target)
    finally:
        temp.unlink(missing_ok=True)


def open_temp(target: Path) -> tuple[int, Path]:
    """Create an empty temporary file next to ``target``, open for reading and writing.

    Returns
    -------
    tuple
        The file descriptor and the path. Access rights are those of an existing ``target``, else
        those that the umask gives.

    Raises
    ------
    UsageError
        The folder does not take the file, or ``target`` is not a plain file.
    ResourceError
        The disk is full.
    """
    _refuse_special(target)
    temp = target.with_name(f".{target.name}.{secrets.token_hex(8)}.tmp")
    try:
        fd = os.open(temp, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise disk_error(error, target) from error
    with suppress(OSError):
        os.fchmod(fd, stat.S_IMODE(target.stat().st_mode))
    return fd, temp


def publish(temp: Path, target: Path) -> None:
    """Rename a finished temporary file onto its target and make the rename durable."""
    try:
        temp.replace(target)
    except OSError as error:
        raise disk_error(error, target) from error
    fsync_folder(target.parent)


def fsync_folder(folder: Path) -> None:
    """Make renames and removals in a folder durable, where the file system can."""
    # Some network file systems refuse fsync on a folder. The rename itself has happened by now,
    # so the file is whole either way, and there is nothing the caller could do better.
    with suppress(OSError):
        fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def remove_stale_temps(path: str | Path) -> None:
    """Remove temporary files that killed writers of ``path`` left; call it under `file_lock`."""
    target = _real(path)
    pattern = re.compile(re.escape(f".{target.name}.") + r"[0-9a-f]{16}\.tmp")
    for entry in target.parent.iterdir():
        if pattern.fullmatch(entry.name):
            entry.unlink(missing_ok=True)


def disk_error(error: OSError, path: str | Path) -> ProtclipError:
    """Translate an error of the operating system on writing ``path`` into one of ours."""
    reason = (error.strerror or str(error)).lower()
    if error.errno in _FULL:
        return ResourceError(
            f"no room to write it: {reason} ({_mb(free_bytes(path))} MB free on its disk)",
            where=str(path),
            hint="make room or raise the quota or file-size limit, then run again",
        )
    if error.errno == errno.EIO:
        return ResourceError(
            f"the disk failed: {reason}", where=str(path), hint="choose another disk"
        )
    return UsageError(
        f"cannot be written: {reason}", where=str(path), hint="choose another output path"
    )


def free_bytes(path: str | Path) -> int:
    """Return the bytes that this user may still write on the file system of ``path``.

    ``path`` need not exist: its nearest existing parent is asked. Quotas are not seen.
    """
    place = _real(path)
    while not place.exists() and place != place.parent:
        place = place.parent
    return shutil.disk_usage(place).free


def require_space(path: str | Path, needed_bytes: int) -> None:
    """Refuse before the work starts where the disk of ``path`` cannot hold the result.

    Raises
    ------
    ResourceError
        Less than ``needed_bytes`` are free; names both figures in MB (10^6 bytes).
    """
    free = free_bytes(path)
    if free < needed_bytes:
        raise ResourceError(
            f"{_mb(needed_bytes)} MB needed, {_mb(free)} MB free on its disk",
            where=str(path),
            hint="make room or choose another output path",
        )


def check_writable_target(path: str | Path) -> None:
    """Refuse early an output path that cannot be written; leaves nothing behind.

    Raises
    ------
    UsageError
        The folder is missing, not a folder or not writable, or ``path`` is itself a folder or
        another thing that is not a plain file (a device, a pipe).
    ResourceError
        The disk is so full that not even an empty file can be made.
    """
    target = _real(path)
    folder = target.parent
    if not folder.exists():
        raise UsageError(
            "its folder does not exist", where=str(path), hint=f"create it with: mkdir -p {folder}"
        )
    if not folder.is_dir():
        raise UsageError(
            f"{folder} is not a folder", where=str(path), hint="choose another output path"
        )
    # os.access says yes to root even on a read-only mount, so a file is really made.
    fd, temp = open_temp(target)
    os.close(fd)
    temp.unlink(missing_ok=True)


@contextmanager
def file_lock(path: str | Path) -> Iterator[None]:
    """Be the only process that writes ``path`` while the block runs.

    The lock is a kernel lock (flock) on the file ``.NAME.lock`` next to ``path``, so it is
    independent of HDF5's own locks and their environment variable, and the kernel frees it when
    its holder dies, by kill -9 too. A thread may nest locks of one path.

    The lock file stays: were it removed, a process that had opened it just before could lock the
    removed file while another locks a new one, and both would hold the lock.

    Raises
    ------
    BusyError
        At once, if another process (or another thread) holds the lock.
    UsageError
        The lock file cannot be made.
    """
    target = _real(path)
    key, me = str(target), (os.getpid(), threading.get_ident())
    with _guard:
        nested = _held.get(key) == me
    if nested:
        yield
        return
    note = target.with_name(f".{target.name}.lock")
    lock = FileLock(note)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise BusyError(
            f"another process{_holder(note)} is writing it",
            where=str(path),
            hint="wait for it to end, or choose another output path",
        ) from None
    except OSError as error:
        raise disk_error(error, path) from error
    try:
        if gone := _holder(note):
            _log.warning("%s: took over the lock of a process%s that ended early", path, gone)
        _sign(note, f"{os.getpid()} on {socket.gethostname()}")
        with _guard:
            _held[key] = me
        yield
    finally:
        with _guard:
            _held.pop(key, None)
        _sign(note, "")
        lock.release()


def _sign(note: Path, text: str) -> None:
    """Say in the lock file who holds it; an empty file means that the last holder ended well."""
    # Only for messages: a full disk must not keep anyone from the lock.
    with suppress(OSError), note.open("r+", encoding="utf-8") as handle:
        handle.truncate(0)
        handle.write(text)


def _holder(note: Path) -> str:
    try:
        text = note.read_text(encoding="utf-8", errors="replace")[:100].strip()
    except OSError:
        return ""
    return f" ({text})" if text else ""


def _refuse_special(target: Path) -> None:
    try:
        mode = target.stat().st_mode
    except OSError:
        return
    if stat.S_ISDIR(mode):
        raise UsageError("is a folder", where=str(target), hint="give the name of a file")
    if not stat.S_ISREG(mode):
        # A rename would replace the device or pipe itself, such as /dev/null.
        raise UsageError("is not a plain file", where=str(target), hint="give the name of a file")


def _real(path: str | Path) -> Path:
    """Follow symbolic links, so that the temporary file lies on the disk of the real target."""
    return Path(os.path.realpath(path))


def _mb(n_bytes: int) -> int:
    return -(-n_bytes // 1_000_000)
