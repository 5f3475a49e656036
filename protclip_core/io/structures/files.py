"""Where structure files come from: paths, folders of them, lists, tars, standard input."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import IO, Any, TypeVar

from protclip_core.errors import InputError
from protclip_core.io.streams import inflated, open_input, peek_input, source_name
from protclip_core.io.structures.formats import (
    SNIFF,
    named_as_structure,
    stem_of,
    structure_form,
)
from protclip_core.io.text_rows import lines_of, refuse_foreign
from protclip_core.records import printable

__all__ = ["StructureFile", "holds_structures", "structure_files"]

#: Bytes of one decompressed file; the largest entries of the PDB have about 0.5 GB.
_MOST = 1 << 30
_TAR_MAGIC_AT, _TAR_MAGIC = 257, b"ustar"
_GLANCE = 1 << 10
_TRIED = 20  # files of a folder or list that are looked at to tell what it holds


@dataclass(frozen=True, slots=True)
class StructureFile:
    """The bytes of one file, or why there are none.

    Attributes
    ----------
    source
        What it is called in messages; a file in a tar by both names.
    stem
        Its name without suffixes; empty for standard input.
    content
        Everything in it, decompressed.
    error
        Why it cannot be read.
    passed
        Why a file of a folder or tar is none to be read: ``"other"``, not a structure by name
        or content; ``"repeat"``, of the same name as the one before it.
    """

    source: str
    stem: str
    content: bytes = b""
    error: InputError | None = None
    passed: str = ""


def structure_files(inputs: Sequence[str | Path]) -> Iterator[StructureFile]:
    """Yield the files behind some inputs, one at a time.

    Parameters
    ----------
    inputs
        Paths; a folder stands for the files in it, in order of name; a tar, compressed or not,
        for those in it, in its order; ``@FILE`` for the paths that FILE lists; ``-`` is standard
        input. A file of a folder or tar that repeats the one before it in another format
        (``x.cif.gz``, ``x.pdb.gz``) is passed over.

    Raises
    ------
    InputError
        A list or folder that cannot be read. Whatever is wrong with a file comes out with it.
    """
    for given in map(str, inputs):
        for path in _listed(given[1:]) if _is_list(given) else (given,):
            if os.path.isdir(path):  # noqa: PTH112 - never raises
                for name, twin in _told_apart(_names(path), key=str):
                    file, stem = str(Path(path, name)), stem_of(name)
                    if twin:
                        yield StructureFile(source_name(file), stem, passed="repeat")
                    else:
                        yield from _read(file, stem, chosen=named_as_structure(name))
            else:
                yield from _read(path, "" if path == "-" else stem_of(path), chosen=True)


def holds_structures(path: str) -> bool:
    """Tell by content whether an input is a structure, a tar, or a folder or list of structures.

    Of a folder or list the first twenty files are looked at. Standard input is looked at without
    taking anything from it. False for what cannot be read: its reader says why.
    """
    try:
        if _is_list(path):
            paths = [] if path == "@-" else [p for p, _ in zip(_listed(path[1:]), range(_TRIED))]
            return any(map(holds_structures, paths))
        if os.path.isdir(path):  # noqa: PTH112 - never raises
            names = sorted(_names(path), key=lambda name: not named_as_structure(name))
            return any(holds_structures(str(Path(path, name))) for name in names[:_TRIED])
        # Long comments before a structure are rare, and there may be many files.
        return any(
            _is_tar(start) or structure_form(start) is not None
            for start in (peek_input(path, size) for size in (_GLANCE, SNIFF))
        )
    except (InputError, OSError):
        return False


def _is_list(given: str) -> bool:
    return given.startswith("@") and not os.path.exists(given)  # noqa: PTH110 - never raises


def _is_tar(start: bytes) -> bool:
    return start[_TAR_MAGIC_AT:].startswith(_TAR_MAGIC)


def _listed(path: str) -> Iterator[str]:
    name, count = source_name(path), 0
    with open_input(path) as stream:
        for count, (_, line) in enumerate(lines_of(stream, name), start=1):
            if count == 1:
                refuse_foreign(line, name, "a list of paths")
            yield line.strip()
    if count == 0:
        hint = "check what wrote it"
        raise InputError("lists no files", code="input.empty", where=name, hint=hint)


def _names(folder: str) -> list[str]:
    try:
        with os.scandir(folder) as found:
            return sorted(e.name for e in found if e.name[0] != "." and not e.is_dir())
    except OSError as error:
        reason = f"cannot be read: {error.strerror or error}"
        where = source_name(folder)
        raise InputError(reason, code="input.unreadable", where=where) from error


_Item = TypeVar("_Item")


def _told_apart(
    items: Iterable[_Item], key: Callable[[_Item], str]
) -> Iterator[tuple[_Item, bool]]:
    """Yield items, and whether each, by its name, is a structure called as the one before it."""
    last = None
    for item in items:
        stem = stem_of(key(item)) if named_as_structure(key(item)) else None
        yield item, stem is not None and stem == last
        last = stem


def _read(path: str, stem: str, *, chosen: bool) -> Iterator[StructureFile]:
    """Read a file or the files of a tar; ``chosen``: it has to be one, by whoever named it."""
    source = source_name(path)
    try:
        with open_input(path) as stream:
            start = _upto(stream, _TAR_MAGIC_AT + len(_TAR_MAGIC))
            if _is_tar(start):
                yield from _in_tar(_Rejoined(start, stream), source)
            else:
                yield _whole(stream, start, source, stem, chosen=chosen)
    except InputError as error:
        yield StructureFile(source, stem, error=error)


def _upto(stream: IO[bytes], size: int) -> bytes:
    """Return that many bytes, fewer only at the end."""
    found = bytearray()
    while len(found) < size and (piece := stream.read(size - len(found))):
        found += piece
    return bytes(found)


def _whole(
    stream: IO[bytes], start: bytes, source: str, stem: str, *, chosen: bool
) -> StructureFile:
    start += _upto(stream, SNIFF - len(start))
    if not chosen and structure_form(start) is None:
        return StructureFile(source, stem, passed="other")
    content = start + _upto(stream, _MOST + 1 - len(start))
    if len(content) > _MOST:
        raise InputError(f"has more than {_MOST >> 30} GiB", code="input.too_large", where=source)
    return StructureFile(source, stem, content)


class _Rejoined:
    """A stream from its start again, for tarfile, of which the first bytes were taken."""

    def __init__(self, start: bytes, stream: IO[bytes]) -> None:
        self._start, self._stream = start, stream

    def read(self, size: int) -> bytes:
        """Return the next bytes."""
        if not self._start:
            return self._stream.read(size)
        found, self._start = self._start[:size], self._start[size:]
        return found


def _in_tar(stream: _Rejoined, source: str) -> Iterator[StructureFile]:
    """Yield the files of a tar as they pass by."""
    plain: Any = stream
    try:
        with tarfile.open(fileobj=plain, mode="r|") as archive:
            files = (member for member in archive if not member.isdir())
            for member, twin in _told_apart(files, key=lambda member: member.name):
                name, stem = f"{source}/{printable(member.name, 200)}", stem_of(member.name)
                hidden = PurePath(member.name).name.startswith(".")  # macOS adds such files
                file = archive.extractfile(member) if member.isreg() and not hidden else None
                if file is None or twin:
                    yield StructureFile(name, stem, passed="repeat" if file else "other")
                    continue
                chosen = named_as_structure(member.name)
                try:
                    inner = inflated(file, name)
                    yield _whole(inner, b"", name, stem, chosen=chosen)
                except InputError as error:
                    if error.where != name:
                        raise  # it is the tar that is damaged
                    yield StructureFile(name, stem, error=error)
            # A checksum of what was compressed stands behind the last file.
            while stream.read(SNIFF):
                pass
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise InputError(
            f"the tar is damaged ({printable(str(error), 100)})",
            code="input.damaged",
            where=source,
            hint="fetch it again",
        ) from error
