"""Self-test of folders: can they be written, is there room, do locks hold."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from protclip_core.errors import ProtclipError, UsageError
from protclip_core.fetch.cache import CACHE_VARIABLE, cache_folder
from protclip_core.io.atomic import check_writable_target, disk_error, free_bytes
from protclip_core.tasks.doctor.checks import FAIL, OK, WARN, Check, gigabytes

__all__ = ["folder_checks"]

#: ProtCLIP's own checkpoint takes 2.6 GB to fetch and as much to install.
_LITTLE_ROOM = 6_000_000_000
#: A file that nobody has, to try whether it could be written.
_TRIAL = ".protclip-doctor"


def folder_checks(cache: str | Path | None = None) -> Iterator[Check]:
    """Yield the state of the cache folder, the temporary and the current folder."""
    try:
        folder = cache_folder(cache)
    except ProtclipError as error:
        yield Check.failed("cache folder", error)
    else:
        yield _cache(folder, cache)
        yield _locks(folder)
    try:
        place = Path(tempfile.gettempdir())
        yield _written("temporary folder", place, FAIL)
    except FileNotFoundError as error:
        found = (error.strerror or str(error)).lower()
        yield Check(
            name="temporary folder",
            status=FAIL,
            found=found,
            advice="set TMPDIR to a folder that can be written",
            trouble=UsageError,
        )
    try:
        yield _written("current folder", Path.cwd(), WARN)
    except FileNotFoundError:
        yield Check(
            name="current folder", status=WARN, found="was removed", advice="change to another"
        )


def _cache(folder: Path, chosen: str | Path | None) -> Check:
    source = "as asked for" if chosen is not None else "the default of this system"
    if chosen is None and os.environ.get(CACHE_VARIABLE):
        source = f"from {CACHE_VARIABLE}"
    found = f"{folder} ({source})"
    reason = _closed(folder)
    if reason:
        return Check(
            name="cache folder",
            status=FAIL,
            found=f"{found}: {reason}",
            advice=f"check its access rights, or set {CACHE_VARIABLE} to another folder",
            trouble=UsageError,
        )
    existing = _existing(folder)
    try:
        check_writable_target(existing / _TRIAL)
    except ProtclipError as error:
        # A cache that others filled can be read, and the models in it used.
        usable = folder.is_dir()
        return Check(
            name="cache folder",
            status=WARN if usable else FAIL,
            found=f"{found}: {error.message}",
            advice="no model can be fetched into it"
            if usable
            else f"set {CACHE_VARIABLE} to a folder that can be written",
            trouble=None if usable else type(error),
        )
    free = free_bytes(existing)
    little = free < _LITTLE_ROOM
    made = "" if folder.exists() else ", made when it is needed"
    return Check(
        name="cache folder",
        status=WARN if little else OK,
        found=f"{found}{made}, {gigabytes(free)} free",
        advice="too little for the largest models" if little else "",
    )


def _written(name: str, folder: Path, otherwise: str) -> Check:
    """Write into a folder and take it away again."""
    try:
        check_writable_target(folder / _TRIAL)
    except ProtclipError as error:
        trouble = type(error) if otherwise == FAIL else None
        return Check(
            name=name,
            status=otherwise,
            found=f"{folder}: {error.message}",
            advice=error.hint or "",
            trouble=trouble,
        )
    return Check(name=name, status=OK, found=f"{folder}, {gigabytes(free_bytes(folder))} free")


def _locks(folder: Path) -> Check:
    """Hold a lock twice, which must not work; some network file systems let it."""
    name, place = "file locks", _existing(folder)
    try:
        import fcntl
    except ImportError:
        return Check(name=name, status=OK, found="not tested on this system")
    try:
        with tempfile.TemporaryFile(dir=place) as first:
            fcntl.flock(first, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # A second opening of the same file, as by another process.
            with Path(f"/proc/self/fd/{first.fileno()}").open("rb") as second:
                fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return Check(name=name, status=OK, found=f"hold in {place}")
    except OSError as error:
        if isinstance(error, NotADirectoryError | PermissionError) or error.errno == 30:
            return Check(name=name, status=WARN, found=f"not tested: {place} cannot be written")
        found = disk_error(error, place)
        return Check(
            name=name,
            status=WARN,
            found=f"{place}: {found.message}",
            advice="keep the cache and outputs on another disk",
        )
    return Check(
        name=name,
        status=WARN,
        found=f"do not hold in {place}: two runs could write one file",
        advice="keep the cache and outputs on another disk",
    )


def _existing(folder: Path) -> Path:
    """Return the folder or its nearest parent that is there, be it a folder or not."""
    # os.path answers where Path.exists raises: names too long, folders closed to us. A link that
    # leads nowhere is there, and in the way.
    while not os.path.lexists(folder) and folder != folder.parent:
        folder = folder.parent
    return folder


def _closed(folder: Path) -> str:
    """Say why a cache folder cannot be read; empty where it can, or is yet to be made."""
    try:
        for place in (folder, folder / "models"):
            next(place.iterdir(), None)
    except FileNotFoundError:
        return ""
    except OSError as error:
        return f"cannot be read: {(error.strerror or str(error)).lower()}"
    return ""
