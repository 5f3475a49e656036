"""Unpacking archives that come from elsewhere: all of it, inside one folder, or nothing.

Names, kinds and stated sizes are looked at before the first byte is written, and the bytes that
are really written are counted, since a small archive can hold any number of zeros.
"""

from __future__ import annotations

import secrets
import shutil
import stat
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from protclip_core.errors import InputError, ModelError
from protclip_core.io.atomic import disk_error
from protclip_core.io.streams import open_input

__all__ = ["extract", "is_archive"]

_MOST_MEMBERS, _MEMBER_OVERHEAD = 10_000, 4096
_TOO_MANY = f"has more than {_MOST_MEMBERS:,} members"
#: What a file system takes; the rest of a path is left to the folder of the caller.
_LONGEST_PART, _LONGEST_NAME, _DEEPEST = 255, 1024, 64
_BLOCK = 1 << 20
_TAR_MAGIC_AT, _TAR_MAGIC = 257, b"ustar"
_BROKEN = (
    InputError,
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
)


@dataclass(frozen=True)
class _Member:
    """A file of an archive: where it goes, its stated size, and how it is opened."""

    name: str
    size: int
    handle: Any


class _Limited:
    """A tar as it is decompressed; it ends where it holds more than it may.

    The name of a member may be of any length, and tarfile keeps it in memory.
    """

    def __init__(self, path: Path, raw: IO[bytes], max_bytes: int) -> None:
        self._path, self._raw, self._max_bytes = path, raw, max_bytes
        self._left = max_bytes + _MOST_MEMBERS * _MEMBER_OVERHEAD

    def read(self, size: int) -> bytes:
        """Return the next bytes."""
        block = self._raw.read(size)
        self._left -= len(block)
        if self._left < 0:
            raise _refused(self._path, f"holds more than {self._max_bytes:,} bytes")
        return block


def is_archive(path: Path) -> bool:
    """Tell by its content whether a file is a zip or tar archive.

    A tar may be compressed with gzip, bzip2, xz or zstandard. A zip that torch wrote (its
    checkpoints are zip files) is a model, not an archive. A file that cannot be read is not one.
    """
    try:
        with open_input(path) as plain:
            start = plain.read(512)
        if start.startswith((b"PK\x03\x04", b"PK\x05\x06")):
            return zipfile.is_zipfile(path) and not _is_torch_zip(path)
        return start[_TAR_MAGIC_AT:].startswith(_TAR_MAGIC)
    except (OSError, *_BROKEN):
        return False


def extract(path: Path, folder: Path, *, max_bytes: int) -> list[Path]:
    """Unpack an archive into a folder that does not exist yet.

    Parameters
    ----------
    path
        A file of which `is_archive` says yes.
    folder
        Made as a whole at the end: after any error it does not exist.
    max_bytes
        Most bytes that all files together may have, stated or real.

    Returns
    -------
    list of pathlib.Path
        The files, in the order of the archive; folders and empty names are not listed.

    Raises
    ------
    ModelError
        Damaged, or it holds what has no place in one: an absolute path, ``..``, a link, a
        device, a name twice (in whatever case or form of Unicode), a name of more than 255
        bytes or 64 levels, more than 10,000 members, or more than ``max_bytes``.
    ResourceError
        The disk cannot hold it.
    """
    temp = folder.with_name(f".{folder.name}.{secrets.token_hex(8)}.tmp")
    try:
        temp.mkdir(parents=True)
        with ExitStack() as stack:
            written = _unpack(path, temp, max_bytes, stack)
        temp.rename(folder)
    except _BROKEN as error:
        raise _damaged(path, error) from error
    except OSError as error:
        # Damage to bzip2 data is an OSError too, one that has no number.
        raise (disk_error(error, folder) if error.errno else _damaged(path, error)) from error
    finally:
        shutil.rmtree(temp, ignore_errors=True)
    return [folder / name for name in written]


def _unpack(path: Path, temp: Path, max_bytes: int, stack: ExitStack) -> list[PurePosixPath]:
    with path.open("rb") as handle:
        start = handle.read(8)
    members = _zip_members if start.startswith(b"PK") else _tar_members
    written: list[PurePosixPath] = []
    taken: set[str] = set()
    total = 0
    for number, member in enumerate(members(path, max_bytes, stack)):
        if number >= _MOST_MEMBERS:
            raise _refused(path, _TOO_MANY)
        if member.handle is None and not PurePosixPath(member.name).parts:
            continue  # the folder itself, as in: tar c .
        name = _checked_name(path, member.name)
        same = _folded(str(name))
        if same in taken:
            raise _refused(path, f"has {member.name[:200]!r} twice")
        taken.add(same)
        if member.handle is None:
            continue
        if total + member.size > max_bytes:
            raise _refused(path, f"holds more than {max_bytes:,} bytes")
        target = temp / name
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            out = target.open("xb")
        except (FileExistsError, NotADirectoryError):
            raise _refused(path, f"has {member.name!r} as a file and as a folder") from None
        with out, member.handle() as source:
            total += _copy(path, source, out, max_bytes - total, max_bytes)
        written.append(name)
    return written


def _copy(path: Path, source: IO[bytes], out: IO[bytes], left: int, max_bytes: int) -> int:
    """Copy a member, and count: what it states of its size need not be true."""
    done = 0
    while block := source.read(min(_BLOCK, left - done + 1)):
        done += len(block)
        if done > left:
            raise _refused(path, f"holds more than {max_bytes:,} bytes")
        out.write(block)
    return done


def _zip_members(path: Path, max_bytes: int, stack: ExitStack) -> Iterator[_Member]:
    archive = stack.enter_context(zipfile.ZipFile(path))
    infos = archive.infolist()
    if len(infos) > _MOST_MEMBERS:
        raise _refused(path, _TOO_MANY)
    for info in infos:
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise _refused(path, f"has {info.filename!r}, which is a link or a device")
        if info.flag_bits & 1:
            raise _refused(path, f"has {info.filename!r}, which is encrypted")
        handle = None if info.is_dir() else lambda info=info: archive.open(info)
        yield _Member(info.orig_filename, info.file_size, handle)


def _tar_members(path: Path, max_bytes: int, stack: ExitStack) -> Iterator[_Member]:
    plain = stack.enter_context(open_input(path))
    # As a stream: a header is looked at before what follows it is decompressed, so an archive
    # of many members or of large ones is refused early.
    limited: Any = _Limited(path, plain, max_bytes)
    archive = stack.enter_context(tarfile.open(fileobj=limited, mode="r|"))  # noqa: SIM115
    for info in archive:
        if not (info.isreg() or info.isdir()) or info.issparse():
            raise _refused(path, f"has {info.name!r}, which is a link or a device")
        handle = None if info.isdir() else lambda info=info: archive.extractfile(info)
        yield _Member(info.name, info.size, handle)
    while limited.read(_BLOCK):
        pass  # to the end, where the checksum of what was compressed stands


def _checked_name(path: Path, name: str) -> PurePosixPath:
    """Return where a member goes, relative to the folder; refuse any way out of it."""
    parts = PurePosixPath(name).parts
    outside = name.startswith("/") or ".." in parts or "\\" in name or ":" in name
    if outside or not parts or any(ord(sign) < 32 for sign in name):
        raise _refused(path, f"has {name[:200]!r}, which is not a name inside a folder")
    lengths = [len(part.encode("utf-8", "surrogateescape")) for part in parts]
    if len(parts) > _DEEPEST:
        raise _refused(path, f"has {name[:60]!r}…, more than {_DEEPEST} folders deep")
    if max(lengths) > _LONGEST_PART or sum(lengths) + len(parts) > _LONGEST_NAME:
        raise _refused(path, f"has {name[:60]!r}…, a name too long for a file")
    return PurePosixPath(*parts)


def _folded(name: str) -> str:
    """Return what is equal for names of which one would overwrite the other.

    Some file systems do not tell upper from lower case, or an accented letter from a letter and
    its accent.
    """
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _is_torch_zip(path: Path) -> bool:
    with zipfile.ZipFile(path) as archive:
        return any(PurePosixPath(name).name == "data.pkl" for name in archive.namelist()[:100])


def _damaged(path: Path, error: Exception) -> ModelError:
    reason = getattr(error, "message", str(error)).lower() or type(error).__name__
    return ModelError(
        f"the archive is damaged ({reason[:100]})",
        code="model.damaged_archive",
        where=str(path),
        hint="fetch it again",
    )


def _refused(path: Path, what: str) -> ModelError:
    return ModelError(
        f"the archive {what}: nothing was unpacked",
        code="model.unsafe_archive",
        where=str(path),
        hint="unpack it by hand if you trust it, and import the folder",
    )
