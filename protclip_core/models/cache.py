"""Where fetched models live: one folder a user, a bundle a name.

``CACHE/models/NAME`` is an installed bundle; ``CACHE/downloads/NAME`` holds what is being fetched
for it, and goes when the bundle stands.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from protclip_core.errors import UsageError

__all__ = [
    "CACHE_VARIABLE",
    "cache_folder",
    "check_name",
    "downloads_folder",
    "installed_models",
    "is_installed",
    "model_folder",
]

CACHE_VARIABLE = "PROTCLIP_CACHE"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")


def cache_folder(chosen: str | Path | None = None) -> Path:
    """Return the cache folder; it need not exist.

    Parameters
    ----------
    chosen
        What the user asked for; else the variable ``PROTCLIP_CACHE``, else the place where this
        system keeps such things (``~/.cache/protclip`` on Linux).
    """
    if chosen is None:
        chosen = os.environ.get(CACHE_VARIABLE) or None
    if chosen is not None:
        return Path(chosen).expanduser().absolute()
    from platformdirs import user_cache_path

    return user_cache_path("protclip", appauthor=False)


def check_name(name: str) -> str:
    """Return ``name`` if a model may have it: one folder, and no way out of it.

    Raises
    ------
    UsageError
        It has other characters than letters, digits, ``.``, ``_`` and ``-``, begins with a sign,
        or is longer than 80.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} is no name for a model", hint="use letters, digits, '.', '_' and '-'"
        )
    return name


def model_folder(name: str, cache: str | Path | None = None) -> Path:
    """Return where the bundle of this name is or would be installed."""
    return cache_folder(cache) / "models" / check_name(name)


def downloads_folder(name: str, cache: str | Path | None = None) -> Path:
    """Return where the files of this model are kept while they are fetched."""
    return cache_folder(cache) / "downloads" / check_name(name)


def installed_models(cache: str | Path | None = None) -> dict[str, Path]:
    """Return the installed bundles, name to folder, in the order of their names."""
    try:
        folders = sorted((cache_folder(cache) / "models").iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return {}
    return {
        folder.name: folder
        for folder in folders
        if _NAME.fullmatch(folder.name) and (folder / "manifest.json").is_file()
    }


def is_installed(name: str, cache: str | Path | None = None) -> bool:
    """Tell whether there is a folder of this name, sound or not; false for what is no name."""
    if not _NAME.fullmatch(name):
        return False
    return os.path.isdir(model_folder(name, cache))  # noqa: PTH112 (false where one may not look)
