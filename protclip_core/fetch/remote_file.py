"""What is known of a file before it is fetched, and whether what came is that file."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from protclip_core.errors import ModelError
from protclip_core.fetch.retries import shown

__all__ = ["RemoteFile", "file_hashes", "is_sound", "verify"]

_log = logging.getLogger(__name__)

_BLOCK = 1 << 20


@dataclass(frozen=True, kw_only=True)
class RemoteFile:
    """A file on a server, and what is known of it beforehand.

    Attributes
    ----------
    name
        Name in the folder that it is fetched into; one plain file name.
    url
        https, or http on a loopback address.
    size
        Bytes; ``None`` where unknown.
    sha256, md5, git_sha1
        Hashes in hexadecimal; the last one is that of the git blob. All that are known are
        compared.
    token
        Sent as a bearer token to the host of ``url``, and to no other that it redirects to.
    """

    name: str
    url: str
    size: int | None = None
    sha256: str | None = None
    md5: str | None = None
    git_sha1: str | None = None
    token: str | None = field(default=None, repr=False)

    @property
    def hashes(self) -> dict[str, str]:
        """The known hashes, kind to lower-case hexadecimal."""
        known = {"sha256": self.sha256, "md5": self.md5, "git_sha1": self.git_sha1}
        return {kind: value.lower() for kind, value in known.items() if value}


def verify(file: RemoteFile, path: Path) -> None:
    """Compare a complete file with all that is known of it; remove it if it is not the one.

    Raises
    ------
    ModelError
        Its size or a hash differs; names the wanted and the found one.
    """
    size = path.stat().st_size
    found = file_hashes(path, {*file.hashes, *(() if file.hashes else ("sha256",))})
    if not file.hashes:
        _warn_unchecked(path.with_name(file.name), found["sha256"])
    differs = (
        [f"size mismatch, expected {file.size:,}, got {size:,}"]
        if (file.size is not None and size != file.size)
        else []
    )
    differs += [
        f"{kind.replace('_', ' ')} mismatch, expected {wanted}, got {found[kind]}"
        for kind, wanted in file.hashes.items()
        if found[kind] != wanted
    ]
    if differs:
        path.unlink(missing_ok=True)
        path.with_name(f"{path.name}.json").unlink(missing_ok=True)
        raise ModelError(
            differs[0],
            code="model.hash_mismatch",
            where=shown(file.url),
            hint="what came was deleted: run again, or fetch it elsewhere and use: "
            "protclip models import",
        )


def is_sound(file: RemoteFile, path: Path) -> bool:
    """Tell whether a finished file is the one; a hash that differs is said."""
    if file.size is not None and path.stat().st_size != file.size:
        found: dict[str, str] = {}
    elif not file.hashes:
        # It got its name when it was complete, so there is nothing more to find out.
        return True
    else:
        found = file_hashes(path, set(file.hashes))
    if found == file.hashes and found:
        return True
    _log.warning("%s: is not the file that is wanted: it is fetched anew", path)
    return False


def _warn_unchecked(path: Path, sha256: str) -> None:
    _log.warning(
        "%s: no hash of it is known, so it could not be checked; its sha256 is %s", path, sha256
    )


def file_hashes(path: Path, kinds: Collection[str]) -> dict[str, str]:
    """Return hashes of a file, kind to lower-case hexadecimal.

    Parameters
    ----------
    path
        The file; it is read once, in constant memory.
    kinds
        Of ``"sha256"``, ``"md5"`` and ``"git_sha1"`` (that of the git blob).
    """
    makers = {kind: _new_hash(kind, path.stat().st_size) for kind in kinds}
    with path.open("rb") as handle:
        while block := handle.read(_BLOCK):
            for maker in makers.values():
                maker.update(block)
    return {kind: maker.hexdigest() for kind, maker in makers.items()}


def _new_hash(kind: str, size: int) -> Any:
    if kind == "sha256":
        return hashlib.sha256()
    if kind == "md5":
        return hashlib.md5(usedforsecurity=False)
    # git hashes a file together with its length.
    return hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
