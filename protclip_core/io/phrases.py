"""Lists of texts: one a line, with an id and a tab before it or without; or CSV."""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from protclip_core.errors import InputError
from protclip_core.io.streams import open_input, source_name, wide_encoding
from protclip_core.records import counted

__all__ = ["Phrase", "read_phrases"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Phrase:
    """A text and the name that stands for it in results.

    Attributes
    ----------
    id
        What is before the tab, or the text itself where there is none.
    text
        Never blank; tabs beyond the first are kept as they are.
    """

    id: str
    text: str


def read_phrases(path: str | Path) -> list[Phrase]:
    """Read texts from a file of lines ``text`` or ``id<TAB>text``.

    Blank lines are passed over; blanks at the ends of ids and texts are taken off, as is a UTF-8
    byte order mark. Lines end with LF, CRLF or CR. Lines that begin with ``#`` are comments: they
    are left out with a warning. In a file named ``.csv`` a comma stands for the tab, and cells
    may be quoted.

    Parameters
    ----------
    path
        Path of a file, plain or compressed (gz, bz2, xz, zst), or ``-`` for standard input.

    Returns
    -------
    list of Phrase
        In the order of the file, at least one. Ids and texts may repeat.

    Raises
    ------
    InputError
        The file is missing, damaged, not UTF-8 or has no text; or a line has an id and no text,
        or a tab and no id, by its number; or a line of CSV has more than two cells.
    """
    name = source_name(path)
    with open_input(path) as stream:
        data = stream.read()
    if encoding := wide_encoding(data[:4]):
        hint = f"convert it: iconv -f {encoding} -t UTF-8"
        raise InputError(
            f"is {encoding} text, not UTF-8", code="input.bad_encoding", where=name, hint=hint
        )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        place = data.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"byte 0x{data[error.start]:02x} is not UTF-8",
            code="input.bad_encoding",
            where=f"{name}:line {place}",
            hint="save the file as UTF-8",
        ) from error
    # Not `str.splitlines`, which also cuts at form feeds and the like within a text.
    lines = [(n, line) for n, line in enumerate(io.StringIO(text, newline=None), 1) if line.strip()]
    kept = [(number, line) for number, line in lines if not line.lstrip().startswith("#")]
    if comments := len(lines) - len(kept):
        _log.warning("%s: %s left out", name, counted(comments, "line that begins with #", _LINES))
    is_csv = name.lower().removesuffix(".gz").endswith(".csv")
    phrases = list((_csv_phrases if is_csv else _plain_phrases)(kept, name))
    if not phrases:
        raise InputError("has no text", code="input.empty", where=name, hint="give one text a line")
    return phrases


_LINES = "lines that begin with #"
_Lines = list[tuple[int, str]]


def _plain_phrases(lines: _Lines, name: str) -> Iterator[Phrase]:
    for number, line in lines:
        yield _phrase(*line.partition("\t"), f"{name}:line {number}")


def _csv_phrases(lines: _Lines, name: str) -> Iterator[Phrase]:
    for number, line in lines:
        where = f"{name}:line {number}"
        try:
            cells = next(csv.reader([line], strict=True))
        except csv.Error as error:
            hint = "close the quotes, or name the file .txt to take lines as they are"
            raise InputError(
                f"is not CSV ({error})", code="input.bad_line", where=where, hint=hint
            ) from None
        if len(cells) > 2:
            raise InputError(
                f"has {len(cells)} cells, not an id and a text",
                code="input.bad_line",
                where=where,
                hint="put texts with commas into quotes, or name the file .txt",
            )
        yield _phrase(cells[0], "".join(["," for _ in cells[1:]]), "".join(cells[1:]), where)


def _phrase(first: str, tab: str, rest: str, where: str) -> Phrase:
    id, text = first.strip(), rest.strip()
    if not tab:
        return Phrase(id, id)
    if not text:
        raise InputError(
            f"{id!r} has no text after the tab", code="input.no_text", where=where, hint="add one"
        )
    if not id:
        hint = "write 'id<TAB>text', or the text alone"
        raise InputError("a tab and no id before it", code="input.no_id", where=where, hint=hint)
    return Phrase(id, text)
