"""Files that appear whole or not at all, room on the disk, and one writer per file.

Whatever moment a process is killed at, a path written here holds its old or its new content,
complete. A killed process may leave a temporary file ``.NAME.<hex>.tmp`` or a lock file
``.NAME.lock`` next to it; the next process that writes the same path removes them.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import re
import secrets
import shutil
import socket
import stat
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from protclip_core.errors import BusyError, ProtclipError, ResourceError, UsageError
from protclip_core.interrupts import signals_deferred

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
    temp: Path | None = None
    try:
        with signals_deferred():  # what is made is also noted, to be removed
            fd, temp = open_temp(target)
            opened = os.fdopen(fd, "wb")
        with opened as handle:
            try:
                yield handle
                handle.flush()
                os.fsync(handle.fileno())
            except OSError as error:
                # Any other error of the block may concern another file: it goes out as it came.
                if error.errno in _FULL:
                    with suppress(OSError):  # what waits in the buffer has no room either
                        handle.close()
                    raise disk_error(error, target) from error
                raise
            # While it is open, it is locked: nobody takes it for the file of a killed writer.
            publish(temp, target)
    finally:
        if temp is not None:
            temp.unlink(missing_ok=True)


def open_temp(target: Path) -> tuple[int, Path]:
    """Create an empty temporary file next to ``target``, open for reading and writing.

    Temporary files that killed writers of ``target`` left are removed first.

    Returns
    -------
    tuple
        The file descriptor and the path. Permissions are those of an existing ``target``, else
        the default of the umask. The file counts as in use while the descriptor is open, so
        `publish` it before you close it.

    Raises
    ------
    UsageError
        The folder does not accept the file, or ``target`` is not a regular file.
    ResourceError
        The disk is full.
    """
    _refuse_special(target)
    remove_stale_temps(target)
    while True:
        temp = target.with_name(f".{target.name}.{secrets.token_hex(8)}.tmp")
        try:
            fd = os.open(temp, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise disk_error(error, target) from error
        # Without locks on this file system nobody removes leftovers either. With them, another
        # process may take it for one before it is locked; then make another.
        locked = True
        with suppress(OSError):
            locked = _lock(fd) and os.fstat(fd).st_nlink > 0
        if locked:
            break
        os.close(fd)
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
    """Remove temporary files that killed writers of ``path`` left; those in use stay."""
    target = _real(path)
    start = f".{target.name}."
    pattern = re.compile(re.escape(start) + r"[0-9a-f]{16}\.tmp")
    with suppress(OSError), os.scandir(target.parent) as entries:
        names = [e.name for e in entries if e.name.startswith(start) and pattern.fullmatch(e.name)]
        for name in names:
            temp = target.with_name(name)
            fd = os.open(temp, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                if _lock(fd):
                    temp.unlink(missing_ok=True)
            finally:
                os.close(fd)


def disk_error(error: OSError, path: str | Path) -> ProtclipError:
    """Translate an error of the operating system while writing ``path`` into one of ours."""
    reason, where = (error.strerror or str(error)).lower(), str(path)
    if error.errno in _FULL:
        problem = f"no room to write it: {reason} ({_mb(free_bytes(path))} MB free on its disk)"
        hint = "make room or raise the quota or file-size limit, then run again"
        return ResourceError(problem, code="resource.disk_full", where=where, hint=hint)
    if error.errno == errno.EIO:
        problem, hint = f"the disk failed: {reason}", "choose another disk"
        return ResourceError(problem, code="resource.disk_failed", where=where, hint=hint)
    problem, hint = f"cannot be written: {reason}", "choose another output path"
    return UsageError(problem, code="usage.not_writable", where=where, hint=hint)


def free_bytes(path: str | Path) -> int:
    """Return the bytes that this user may still write on the file system of ``path``.

    ``path`` need not exist: its nearest existing parent is asked. Quotas are not seen.
    """
    place = _real(path)
    while not place.exists() and place != place.parent:
        place = place.parent
    return shutil.disk_usage(place).free


def require_space(path: str | Path, needed_bytes: int) -> None:
    """Refuse before the work starts if the disk of ``path`` cannot hold the result.

    Raises
    ------
    ResourceError
        Less than ``needed_bytes`` are free; names both figures in MB (10^6 bytes).
    """
    free = free_bytes(path)
    if free < needed_bytes:
        raise ResourceError(
            f"{_mb(needed_bytes)} MB needed, {_mb(free)} MB free on its disk",
            code="resource.disk_full",
            where=str(path),
            hint="make room or choose another output path",
        )


def check_writable_target(path: str | Path) -> None:
    """Refuse early an output path that cannot be written; leaves nothing behind.

    Raises
    ------
    UsageError
        The folder is missing, not a folder or not writable, or ``path`` is itself a folder or
        something else that is not a regular file (a device, a pipe).
    ResourceError
        The disk is so full that not even an empty file can be made.
    """
    target = _real(path)
    folder, where, other = target.parent, str(path), "choose another output path"
    if not folder.exists():
        problem, hint = "its folder does not exist", f"create it with: mkdir -p {folder}"
        raise UsageError(problem, code="usage.no_such_folder", where=where, hint=hint)
    if not folder.is_dir():
        problem = f"{folder} is not a folder"
        raise UsageError(problem, code="usage.not_a_folder", where=where, hint=other)
    # os.access says yes to root even on a read-only mount, so a file is really made.
    fd, temp = open_temp(target)
    os.close(fd)
    temp.unlink(missing_ok=True)


@contextmanager
def file_lock(path: str | Path) -> Iterator[None]:
    """Be the only process that writes ``path`` while the block runs.

    The lock is a kernel lock (flock) on the file ``.NAME.lock`` next to ``path``. It does not
    depend on HDF5's own locks, and the kernel frees it when its holder dies, even by kill -9.
    The holder removes the file at the end. A thread may nest locks of one path.

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
    fd = -1
    try:
        with signals_deferred():  # what is locked is also freed
            fd = _lock_file(note, path)
            if gone := _holder(note):
                _log.warning("%s: took over the lock of a process%s that ended early", path, gone)
            # Only for messages: a full disk must not keep anyone from the lock.
            with suppress(OSError):
                os.truncate(fd, 0)
                os.pwrite(fd, f"{os.getpid()} on {socket.gethostname()}".encode(), 0)
            with _guard:
                _held[key] = me
        yield
    finally:
        if fd >= 0:
            _free(key, note, fd)


@signals_deferred()
def _free(key: str, note: Path, fd: int) -> None:
    """Give a lock back."""
    with _guard:
        _held.pop(key, None)
    # Before the lock is freed: whoever waits for this very file then finds it gone.
    with suppress(OSError):
        note.unlink(missing_ok=True)
    os.close(fd)


def _lock_file(note: Path, path: str | Path) -> int:
    """Return the descriptor of the lock file ``note``, locked and still under its name."""
    while True:
        try:
            fd = os.open(note, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            with ExitStack() as opened:
                opened.callback(os.close, fd)
                if not _lock(fd):
                    raise BusyError(
                        f"another process{_holder(note)} is writing it",
                        code="busy.output",
                        where=str(path),
                        hint="wait for it to finish, or choose another output path",
                    )
                # Its last holder may have removed it meanwhile: then it guards nothing.
                with suppress(FileNotFoundError):
                    if os.path.samestat(os.fstat(fd), note.stat()):
                        opened.pop_all()
                        return fd
        except OSError as error:
            raise disk_error(error, path) from error


def _lock(fd: int) -> bool:
    """Lock a file for as long as it is open; ``False`` if another descriptor has locked it."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


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
    if not stat.S_ISREG(mode):
        # A rename would replace the device or pipe itself, such as /dev/null.
        where, hint = str(target), "give the name of a file"
        if stat.S_ISDIR(mode):
            raise UsageError("is a folder", code="usage.is_directory", where=where, hint=hint)
        problem = "is not a regular file"
        raise UsageError(problem, code="usage.not_a_file", where=where, hint=hint)


def _real(path: str | Path) -> Path:
    """Follow symbolic links, so that the temporary file lies on the disk of the real target."""
    return Path(os.path.realpath(path))


def _mb(n_bytes: int) -> int:
    return -(-n_bytes // 1_000_000)
