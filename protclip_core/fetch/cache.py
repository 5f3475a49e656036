"""Where fetched models live: one folder a user, a bundle a name.

``CACHE/models/NAME`` is an installed bundle; ``CACHE/downloads/NAME`` holds what is being fetched
for it, and goes when the bundle stands.
"""

from __future__ import annotations

import logging
import os
import re
import stat
from pathlib import Path

from protclip_core.errors import ProtclipError, UsageError

__all__ = [
    "CACHE_VARIABLE",
    "cache_folder",
    "check_name",
    "downloads_folder",
    "find_installed",
    "installed_models",
    "is_installed",
    "is_name",
    "model_folder",
]

_log = logging.getLogger(__name__)

CACHE_VARIABLE = "PROTCLIP_CACHE"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")


def cache_folder(chosen: str | Path | None = None) -> Path:
    """Return the cache folder; it need not exist.

    Parameters
    ----------
    chosen
        What the user asked for; else the variable ``PROTCLIP_CACHE``, else the place where this
        system keeps such things (``~/.cache/protclip`` on Linux).

    Raises
    ------
    UsageError
        It begins with the ``~`` of a user whom this system does not know, or is relative to a
        current folder that was removed.
    """
    where = None if chosen is not None else CACHE_VARIABLE
    if chosen is None:
        chosen = os.environ.get(CACHE_VARIABLE) or None
    if chosen is not None:
        try:
            return Path(chosen).expanduser().absolute()
        except (RuntimeError, OSError) as error:
            reason = str(error) if isinstance(error, RuntimeError) else "no current folder"
            raise UsageError(
                f"{str(chosen)!r} is not a folder ({reason.lower().rstrip('.')})",
                code="usage.bad_cache",
                where=where,
                hint="give the whole path of the cache folder",
            ) from None
    from platformdirs import user_cache_path

    return user_cache_path("protclip", appauthor=False)


def is_name(text: str) -> bool:
    """Tell whether a model may have this name; see `check_name`."""
    return _NAME.fullmatch(text) is not None


def check_name(name: str) -> str:
    """Return ``name`` if a model may have it: one folder, and no way out of it.

    Raises
    ------
    UsageError
        It has other characters than letters, digits, ``.``, ``_`` and ``-``, begins with a sign,
        or is longer than 80.
    """
    if not is_name(name):
        raise UsageError(
            f"{name!r} cannot be the name of a model",
            code="usage.bad_model_name",
            hint="use letters, digits, '.', '_' and '-'",
        )
    return name


def model_folder(name: str, cache: str | Path | None = None) -> Path:
    """Return where the bundle of this name is or would be installed."""
    return cache_folder(cache) / "models" / check_name(name)


def downloads_folder(name: str, cache: str | Path | None = None) -> Path:
    """Return where the files of this model are kept while they are fetched."""
    return cache_folder(cache) / "downloads" / check_name(name)


def installed_models(cache: str | Path | None = None) -> dict[str, Path]:
    """Return the installed bundles, name to folder, in the order of their names.

    A bundle that may not be looked into is one of them; whoever opens it learns why. Where the
    whole folder cannot be read, there are none, and the log says so.

    Raises
    ------
    UsageError
        As `cache_folder`.
    """
    folder = cache_folder(cache)
    try:
        return find_installed(folder)
    except ProtclipError as error:
        _log.warning("%s", error)
        return {}


def find_installed(cache: str | Path | None = None) -> dict[str, Path]:
    """Return the same as `installed_models`, where a folder that cannot be read is an error.

    Raises
    ------
    UsageError
        The cache folder is there and cannot be read, or none of that name can be.
    """
    models = cache_folder(cache) / "models"
    try:
        folders = sorted(models.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise UsageError(
            f"installed models cannot be read: {(error.strerror or str(error)).lower()}",
            code="usage.not_readable",
            where=str(models),
            hint=f"check its access rights, or set {CACHE_VARIABLE} to another folder",
        ) from error
    return {f.name: f for f in folders if is_name(f.name) and _has_manifest(f)}


def _has_manifest(folder: Path) -> bool:
    try:
        return stat.S_ISREG((folder / "manifest.json").stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True  # closed to us, which is not the same as empty


def is_installed(name: str, cache: str | Path | None = None) -> bool:
    """Tell whether there is a folder of this name, sound or not; false for what is no name."""
    if not is_name(name):
        return False
    return os.path.isdir(model_folder(name, cache))  # noqa: PTH112 (false where one may not look)
