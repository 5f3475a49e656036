"""Paths that a command writes: never one that it reads, never in a folder that does not exist.

A command gives all paths that it reads and all that it is going to write (results, pictures, lists
of failures, locks, working files) to `check_outputs` before it opens any of them. Files are
compared by resolved name and by device and inode, so a symbolic or hard link to an input is the
input, and so is a file that standard input comes from.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from protclip_core.errors import UsageError
from protclip_core.records import printable

__all__ = ["check_outputs", "lock_name", "refuse_input_as_output"]

_Path = str | Path | None


def check_outputs(
    inputs: Iterable[_Path],
    outputs: Iterable[_Path],
    *,
    folders: Iterable[_Path] = (),
    hint: str = "choose another name for the output",
) -> None:
    """Refuse outputs that would destroy an input or each other, or that have no place to go.

    Parameters
    ----------
    inputs
        All that is read: paths, ``-`` for standard input, names of other things (which are not
        paths of files and are passed over), None. A folder stands for all files in it.
    outputs
        All files that will be written, removed or replaced, with those that the user did not
        name; ``-`` and None are passed over. Their folders must exist.
    folders
        Folders that will be cleared or removed with all they hold; they need not exist.
    hint
        What to do about an output that is an input.

    Raises
    ------
    UsageError
        ``usage.output_is_input``; ``usage.outputs_collide``, two outputs are one file;
        ``usage.no_such_folder``; ``usage.output_is_link_loop``, a symbolic link that leads to
        itself.
    """
    inputs = list(inputs)
    names: dict[str, str] = {}  # resolved name -> as the user wrote it
    inodes: dict[tuple[int, int], str] = {}
    for given, file in _files_read(inputs):
        names.setdefault(os.path.realpath(file), given)
        if (inode := _inode(file)) is not None:
            inodes.setdefault(inode, given)
    if "-" in map(str, inputs) and (inode := _inode_of_stdin()) is not None:
        inodes.setdefault(inode, "<stdin>")
    written: dict[str, Path] = {}
    for path in _paths(outputs):
        _require_place(path)
        real = os.path.realpath(path)
        read = names.get(real) or inodes.get(_inode(path) or (-1, -1))
        if read is not None:
            raise _is_input(path, read, hint)
        if real in written:
            raise UsageError(
                f"is also written as {printable(str(written[real]), 200)}",
                code="usage.outputs_collide",
                where=printable(str(path), 1000),
                hint="give each output a name of its own",
            )
        written[real] = path
    for folder in _paths(folders):
        inside = os.path.realpath(folder) + os.sep
        links = [inodes.get(_inode(file) or (-1, -1)) for _, file in _files_read([folder])]
        found = [given for name, given in names.items() if name.startswith(inside)]
        for given in filter(None, found + links):
            raise _is_input(folder, given, hint)


def refuse_input_as_output(inputs: Iterable[_Path], output: str | Path) -> None:
    """Apply `check_outputs` to a single output, and to the lock next to it."""
    check_outputs(inputs, (output, lock_name(output)), hint="choose another -o")


def lock_name(output: str | Path) -> Path:
    """Return the lock file of an output, as `protclip_core.io.atomic.file_lock` names it."""
    real = Path(os.path.realpath(output))
    return real.with_name(f".{real.name}.lock")


def _paths(given: Iterable[_Path]) -> Iterator[Path]:
    for path in given:
        if path is not None and str(path) != "-":
            yield Path(path)


def _files_read(inputs: Iterable[_Path]) -> Iterator[tuple[str, str]]:
    """Give each file that is read, with the input that it belongs to."""
    for path in _paths(inputs):
        yield str(path), str(path)
        if path.is_dir():
            for folder, _, files in os.walk(path):
                yield from ((str(path), str(Path(folder, file))) for file in files)


def _inode(path: str | Path) -> tuple[int, int] | None:
    """Return device and inode of what a path leads to; None where there is nothing."""
    try:
        found = Path(path).stat()
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino


def _inode_of_stdin() -> tuple[int, int] | None:
    """Return device and inode of the file that standard input comes from; None for a pipe."""
    try:
        found = os.fstat(0)
    except OSError:
        return None
    return (found.st_dev, found.st_ino) if stat.S_ISREG(found.st_mode) else None


def _require_place(path: Path) -> None:
    """Refuse a loop of links, and a file in a folder that does not exist."""
    where = printable(str(path), 1000)
    try:
        path.stat()
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise UsageError(
                "is a symbolic link that leads back to itself",
                code="usage.output_is_link_loop",
                where=where,
                hint="remove it, or choose another name",
            ) from error
    folder = Path(os.path.realpath(path)).parent
    if not folder.exists():
        raise UsageError(
            "its folder does not exist",
            code="usage.no_such_folder",
            where=where,
            hint=f"create it with: mkdir -p {folder}",
        )


def _is_input(path: Path, read: str, hint: str) -> UsageError:
    same = "" if str(path) == read else f" ({printable(read, 200)})"
    return UsageError(
        f"is an input as well as the output{same}",
        code="usage.output_is_input",
        where=printable(str(path), 1000),
        hint=hint,
    )
