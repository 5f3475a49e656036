"""Numbered lines of a text file, of bounded length, in UTF-8."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager

from protclip_core.errors import InputError, ModelError
from protclip_core.io.streams import looks_like, wide_encoding

__all__ = ["decoded", "foreign_content", "numbered_lines", "release_faults", "text_lines"]

#: Longest line that is read; the longest of a GO release has some 10,000 bytes.
MAX_LINE_BYTES = 1 << 20
_MARK = b"\xef\xbb\xbf"


def numbered_lines(stream: io.BufferedReader, name: str) -> Iterator[tuple[int, bytes]]:
    """Give each line with its number from 1, its line end still on it; no byte order mark.

    Raises
    ------
    InputError
        A line of more than `MAX_LINE_BYTES`, or UTF-16 or UTF-32; and what ``stream`` raises.
    """
    number = 0
    while line := stream.readline(MAX_LINE_BYTES + 1):
        number += 1
        if number == 1:
            if encoding := wide_encoding(line[:4]):
                raise InputError(
                    f"is encoded in {encoding}",
                    code="input.bad_encoding",
                    where=name,
                    hint=_convert(encoding, name),
                )
            line = line.removeprefix(_MARK)
        if len(line) > MAX_LINE_BYTES:
            raise InputError(
                f"has more than {MAX_LINE_BYTES:,} bytes without a line end",
                code="input.line_too_long",
                where=f"{name}:line {number}",
                hint="this is not a text file; fetch it again",
            )
        yield number, line


def decoded(line: bytes, where: str) -> str:
    """Return a line as text.

    Raises
    ------
    InputError
        It is not UTF-8, or has a NUL character; names the byte and its column from 1.
    """
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            f"byte 0x{line[error.start]:02x} at column {error.start + 1} is not UTF-8",
            code="input.bad_encoding",
            where=where,
            hint=_convert("LATIN1", where.split(":line ")[0]),
        ) from None
    if "\0" in text:
        raise InputError(
            "has a NUL character",
            code="input.damaged",
            where=where,
            hint="the file is damaged; fetch it again",
        )
    return text


def text_lines(stream: io.BufferedReader, name: str) -> Iterator[tuple[int, str]]:
    """Give each line with its number from 1, decoded, without its line end."""
    for number, line in numbered_lines(stream, name):
        yield number, decoded(line.rstrip(b"\r\n"), f"{name}:line {number}")


def foreign_content(start: bytes, name: str, wanted: str) -> InputError:
    """Say that a file is of another kind.

    Parameters
    ----------
    start
        Its first bytes that are not blank.
    name
        Of the file.
    wanted
        What it should be: ``"an OBO file"``.
    """
    look = "FASTA" if start.startswith(b">") else looks_like(start)[0]
    look = "XML or HTML" if look.startswith("XML") else look
    return InputError(
        f"is not {wanted} but {look}",
        code="input.other_format",
        where=name,
        hint=f"give {wanted}, or fetch it again",
    )


@contextmanager
def release_faults() -> Iterator[None]:
    """Turn faults of a file of GO, which is not an input of the user's, into `ModelError`."""
    try:
        yield
    except InputError as error:
        raise ModelError(
            error.message,
            code=f"{ModelError.kind}.{error.code.partition('.')[2]}",
            where=error.where,
            hint=error.hint,
            details=error.details,
        ) from error


def _convert(encoding: str, name: str) -> str:
    return f"convert it with: iconv -f {encoding} -t UTF-8 {name}"
