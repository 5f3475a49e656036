"""The list of files that a source offers, and the copy of that list beside the downloads.

With the copy a download that was interrupted, or not installed, can be used without a network:
names, sizes and hashes are known from the last time. One file for each source,
``.listing.HEX.json``; no file of a model begins with a dot. No token is ever written.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from msgspec import Meta, Struct
from msgspec.structs import asdict as asdict_struct

from protclip_core.errors import ModelError
from protclip_core.fetch.needed_files import some_names
from protclip_core.io.json_fields import Bytes, Text, one_line, read_as

if TYPE_CHECKING:
    from protclip_core.fetch.download import RemoteFile

__all__ = ["Listing", "Source", "list_files", "save_listings"]

_log = logging.getLogger(__name__)

_FORMAT = "protclip-listing-1"


@dataclass(frozen=True, kw_only=True)
class Listing:
    """What a source said.

    Attributes
    ----------
    files
        The files to fetch.
    license
        What the publisher states, in one line; ``None`` where nothing is stated.
    commit
        The commit that a revision stood for; ``None`` for sources that have none.
    mirror
        Address of the mirror that said it, in the place of the origin; else ``None``.
    """

    files: tuple[RemoteFile, ...]
    license: str | None = None
    commit: str | None = None
    mirror: str | None = None


@dataclass(kw_only=True)
class Source:
    """Where the files of a model come from.

    Attributes
    ----------
    license
        What the publisher states, in one line, once `files` was called; ``None`` where nothing
        is stated.
    listed
        All that was said then; ``None`` before, and for a source that is not asked.
    """

    license: str | None = field(default=None, init=False, compare=False)
    listed: Listing | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def text(self) -> str:
        """Origin in one word, as `parse_source` reads it; after `files` with what was resolved."""
        raise NotImplementedError

    @property
    def page(self) -> str:
        """Where a person finds the files."""
        return self.text

    @property
    def request(self) -> str:
        """What is requested, whatever was resolved: the key of a kept list of files."""
        return self.text

    @property
    def pins(self) -> Mapping[str, str]:
        """The sha256 of files that is known without asking, by file name."""
        raise NotImplementedError

    def files(self, *, offline: bool = False, listing: Path | None = None) -> list[RemoteFile]:
        """Ask what there is to fetch.

        Parameters
        ----------
        offline
            Send no request.
        listing
            Folder in which `save_listings` kept what the same source said before: that is the
            answer when offline.

        Raises
        ------
        ModelError
            The source cannot be reached, does not have the files, or contradicts the catalog;
            or it would have to be asked although it may not.
        """
        from protclip_core.fetch.retries import refuse_offline

        if offline:
            found = _read(listing, self.request) if listing is not None else None
            if found is None or not self._agrees(found):
                raise refuse_offline(self._address())
        else:
            found = self._ask()
        self.listed, self.license = found, found.license
        return list(found.files)

    def _address(self) -> str:
        """URL that is asked."""
        raise NotImplementedError

    def _ask(self) -> Listing:
        raise NotImplementedError

    def _agrees(self, found: Listing) -> bool:
        """Tell whether a kept list has no other hash than the pinned ones."""
        return all(self.pins.get(f.name, f.sha256) == f.sha256 for f in found.files)


def list_files(
    sources: Sequence[Source], *, offline: bool = False, listing: Path | None = None
) -> list[RemoteFile]:
    """Ask several sources what there is to fetch; see `Source.files`.

    One warning names the mirrors that state hashes of their own files, and the files that nobody
    else vouches for.
    """
    files: list[RemoteFile] = []
    believed: dict[str, list[str]] = {}
    for source in sources:
        found = source.files(offline=offline, listing=listing)
        files += found
        free = [file.name for file in found if file.name not in source.pins]
        if source.listed is not None and source.listed.mirror and free:
            believed.setdefault(source.listed.mirror, []).extend(free)
    if believed:
        told = "; ".join(f"{mirror} for {some_names(free)}" for mirror, free in believed.items())
        _log.warning("hashes come from the mirror itself: %s; pull only from one you trust", told)
    return files


def save_listings(sources: Sequence[Source], folder: Path) -> None:
    """Keep what the sources said, for `Source.files` without a network.

    Raises
    ------
    UsageError or ResourceError
        The folder cannot be written, or the disk is full.
    """
    for source in sources:
        if source.listed is not None:
            _save(folder, source.request, source.listed)


def _save(folder: Path, request: str, listing: Listing) -> None:
    from protclip_core.io.atomic import disk_error, write_atomic

    content = {"format": _FORMAT, "request": request, **asdict(listing)}
    for file in content["files"]:
        del file["token"]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise disk_error(error, folder) from error
    write_atomic(_path(folder, request), json.dumps(content, indent=1).encode())


def _read(folder: Path, request: str) -> Listing | None:
    """Return what a source said when it was asked last; ``None`` if that is not known.

    A file that cannot be read, or is not what `save_listings` wrote, is treated as missing; the log
    says so.
    """
    path = _path(folder, request)
    try:
        content = json.loads(path.read_bytes())
        return _listing(content, request, str(path))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ModelError as error:
        _log.warning("%s: it is not used", error)
    except (OSError, ValueError, RecursionError) as error:
        _log.warning("%s: cannot be read (%s): it is not used", path, one_line(str(error)))
    return None


class _KeptFile(Struct):
    name: Text
    url: Text
    size: Bytes | None = None
    sha256: Annotated[str, Meta(pattern=r"\A[0-9a-fA-F]{64}\Z")] | None = None
    md5: Annotated[str, Meta(pattern=r"\A[0-9a-fA-F]{32}\Z")] | None = None
    git_sha1: Annotated[str, Meta(pattern=r"\A[0-9a-fA-F]{40}\Z")] | None = None


class _Kept(Struct):
    format: str
    request: str
    files: list[_KeptFile]
    license: str | None = None
    commit: Annotated[str, Meta(pattern=r"\A[0-9a-f]{40}\Z")] | None = None
    mirror: str | None = None


def _listing(content: Any, request: str, where: str) -> Listing:
    from protclip_core.fetch.remote_file import RemoteFile

    kept = read_as(_Kept, content, "list of files", where)
    if (kept.format, kept.request) != (_FORMAT, request):
        raise ModelError(
            "lists the files of another source or version",
            code="model.other_version",
            where=where,
        )
    return Listing(
        files=tuple(RemoteFile(**asdict_struct(file)) for file in kept.files),
        license=one_line(kept.license) if kept.license else None,
        commit=kept.commit,
        mirror=kept.mirror,
    )


def _path(folder: Path, request: str) -> Path:
    return folder / f".listing.{hashlib.sha256(request.encode()).hexdigest()[:16]}.json"
