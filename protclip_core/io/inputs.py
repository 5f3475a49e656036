"""Inputs that stand for several files: folders of FASTA files, and lists of paths.

Folders and tars of structures stay as they are: their reader goes through them one file at a time.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from protclip_core.errors import InputError
from protclip_core.io.streams import open_input, source_name
from protclip_core.io.structures import holds_structures
from protclip_core.io.text_rows import lines_of, refuse_foreign
from protclip_core.records import counted

__all__ = ["FASTA_SUFFIXES", "expand_inputs"]

_log = logging.getLogger(__name__)

#: Names of FASTA files in a folder; a suffix of `_PACKED` may follow.
FASTA_SUFFIXES = (".fa", ".fasta", ".faa", ".fas", ".fsa", ".pep", ".aa")
_PACKED = (".gz", ".bz2", ".zst", ".xz")


def expand_inputs(inputs: Sequence[str]) -> tuple[str, ...]:
    r"""Put files in the place of folders and lists; applying it again changes nothing.

    Parameters
    ----------
    inputs
        Paths. A folder stands for the FASTA files in it, told by their names, in order of name;
        other files and folders in it are passed over with a warning. A folder of structures
        stays. ``@FILE`` stands for the
        paths that FILE lists, one a line (``@-``: standard input), relative to the current folder.
        A file whose own name begins with ``@`` is that file.

    Raises
    ------
    InputError
        A folder without FASTA or structure files; a list that cannot be read, is empty or is
        FASTA itself.

    Examples
    --------
    >>> from pathlib import Path
    >>> Path("proteomes").mkdir()
    >>> _ = Path("proteomes/b.fa").write_text(">b\nMKV\n")
    >>> _ = Path("proteomes/a.faa.gz").write_text(">a\nMKV\n")
    >>> [Path(path).name for path in expand_inputs(["proteomes"])]
    ['a.faa.gz', 'b.fa']
    """
    found: list[str] = []
    for given in inputs:
        if given.startswith("@") and not os.path.exists(given):  # noqa: PTH110 - never raises
            for path in _listed(given[1:]):
                found += _files(path)
        else:
            found += _files(given)
    return tuple(found)


def _listed(path: str) -> Iterator[str]:
    """Yield the paths in a list."""
    name, count = source_name(path), 0
    with open_input(path) as stream:
        for count, (_, line) in enumerate(lines_of(stream, name), start=1):
            if count == 1:
                refuse_foreign(line, name, "a list of paths")
            yield line.strip()
    if count == 0:
        hint = "check what wrote it"
        raise InputError("lists no files", code="input.empty", where=name, hint=hint)


def _files(path: str) -> list[str]:
    """Return a path itself, or the FASTA files of a folder."""
    if not os.path.isdir(path):  # noqa: PTH112 - never raises
        return [path]
    try:
        names = sorted(file.name for file in Path(path).iterdir() if file.name[0] != ".")
    except OSError as error:
        reason = f"cannot be read: {error.strerror or error}"
        raise InputError(reason, code="input.unreadable", where=source_name(path)) from error
    chosen = [name for name in names if _is_fasta(Path(path, name))]
    if not chosen and holds_structures(path):
        return [path]
    if not chosen:
        raise InputError(
            f"a folder without FASTA files ({', '.join(FASTA_SUFFIXES)}) or structures",
            code="input.is_folder",
            where=source_name(path),
            hint="name the files themselves",
        )
    if others := len(names) - len(chosen):
        what = counted(others, "other file or folder in it is", "other files or folders in it are")
        _log.warning("%s: %s not read", source_name(path), what)
    return [str(Path(path, name)) for name in chosen]


def _is_fasta(path: Path) -> bool:
    inner = path.with_suffix("") if path.suffix.lower() in _PACKED else path
    return inner.suffix.lower() in FASTA_SUFFIXES and not path.is_dir()
