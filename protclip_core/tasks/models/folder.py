"""Folders of installed models: one process at a time changes one, and no half of one is seen.

``NAME`` is the model, ``.NAME.new`` one on its way, ``.NAME.old`` one that is being replaced, and
``.NAME.lock`` the lock, which stays.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from protclip_core.io.atomic import disk_error
from protclip_core.weights.bundle import MANIFEST

__all__ = ["delete", "identity", "installing", "leftovers", "make_folder", "swap"]

_log = logging.getLogger(__name__)


@contextmanager
def installing(name: str, cache: Path) -> Iterator[None]:
    """Let one process at a time install a model; the others wait."""
    models = cache / "models"
    make_folder(models)
    lock = FileLock(models / f".{name}.lock")
    try:
        try:
            lock.acquire(blocking=False)
        except Timeout:
            _log.warning("%s: another process is installing it: waiting", name)
            lock.acquire()
    except OSError as error:
        raise disk_error(error, models) from error
    try:
        _sweep(models, name)
        yield
    finally:
        lock.release()


def _sweep(models: Path, name: str) -> None:
    """Put right what a process that was killed has left; the caller holds the lock."""
    target, old = models / name, models / f".{name}.old"
    if old.exists() and not target.exists():
        old.rename(target)  # it was killed between taking the old one away and the new one's coming
    for path in leftovers(models, name):
        delete(path)


def leftovers(models: Path, name: str) -> list[Path]:
    """Return what an interrupted installation of this name has left in the folder of models."""
    fixed = [models / f".{name}.{kind}" for kind in ("new", "old")]
    return [path for path in fixed if path.exists()] + sorted(models.glob(f"..{name}.new.*.tmp"))


def delete(path: Path) -> None:
    """Remove a folder, or the link that stands in its place."""
    if path.is_symlink():
        path.unlink()
    else:
        shutil.rmtree(path, ignore_errors=True)


def identity(target: Path) -> tuple[int, int] | None:
    """Tell one installed folder from another of the same name."""
    try:
        status = (target / MANIFEST).stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns


def make_folder(folder: Path) -> None:
    """Make a folder and its parents; what stands in the way is an error of ours."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise disk_error(error, folder) from error


def swap(fresh: Path, target: Path) -> None:
    """Put a finished folder in the place of another, which a reader may be using."""
    old = target.with_name(f".{target.name}.old")
    if target.exists():
        target.rename(old)
    fresh.rename(target)
    delete(old)
