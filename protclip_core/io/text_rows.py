"""Lines of a text file that may hold anything, so that each can be answered by itself."""

from __future__ import annotations

import io
from collections.abc import Generator

from protclip_core.errors import InputError
from protclip_core.io.streams import looks_like, wide_encoding

__all__ = ["Line", "is_decoded", "lines_of", "made_visible", "refuse_foreign"]

#: Number from 1, and the text without its line end.
Line = tuple[int, str]

#: Longest line: one of a VCF file with thousands of samples and transcripts has some megabytes.
MAX_LINE = 1 << 26
# What `looks_like` says of texts that can well be tables or lists.
_TEXT = ("text of another kind", "a sequence without a header", "JSON", "data compressed")


def lines_of(stream: io.BufferedReader, name: str) -> Generator[Line, None, None]:
    r"""Give each line that is not blank, with its number; LF, CRLF and CR end lines.

    A byte order mark is taken off. Bytes that are not UTF-8 stay in the text as lone
    surrogates, see `is_decoded` and `made_visible`.

    Raises
    ------
    InputError
        On iteration: UTF-16 or UTF-32, a line of more than 64 Mi characters; and what
        ``stream`` raises.
    """
    if encoding := wide_encoding(stream.peek(4)[:4]):
        hint = f"convert it: iconv -f {encoding} -t UTF-8"
        raise InputError(
            f"is {encoding} text, not UTF-8", code="input.bad_encoding", where=name, hint=hint
        )
    text = io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline=None)
    try:
        number = 0
        while line := text.readline(MAX_LINE + 1):
            number += 1
            if len(line) > MAX_LINE:
                raise InputError(
                    f"has more than {MAX_LINE:,} characters without a line end",
                    code="input.line_too_long",
                    where=f"{name}:line {number}",
                    hint="this is not a text file",
                )
            if line.strip():
                yield number, line.rstrip("\n")
    finally:
        text.detach()  # the stream belongs to who opened it


def is_decoded(text: str) -> bool:
    """Whether a text from `lines_of` was UTF-8."""
    return text.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in text)


def made_visible(text: str) -> str:
    r"""Return the text with bytes that were not UTF-8 written as ``\xe9``.

    Examples
    --------
    >>> made_visible(b"caf\xe9".decode("utf-8", "surrogateescape"))
    'caf\\xe9'
    """
    if is_decoded(text):
        return text
    try:
        data = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # half a pair, which JSON can spell
        return text.encode("utf-8", "backslashreplace").decode("utf-8")
    return data.decode("utf-8", "backslashreplace")


def refuse_foreign(start: str, name: str, wanted: str) -> None:
    """Raise where a file is plainly of another kind.

    Parameters
    ----------
    start
        Its first line that is not blank.
    name
        Of the file.
    wanted
        What it should be: ``"a list of variants"``.

    Raises
    ------
    InputError
        FASTA, HTML, archives, structures, binary data.
    """
    shown = start[:512].lstrip()
    if shown.startswith(">"):
        look = "FASTA"
    else:
        look = looks_like(shown.encode("utf-8", "surrogateescape"))[0]
    if not look.startswith(_TEXT):
        raise InputError(
            f"is not {wanted} but {look}",
            code="input.other_format",
            where=name,
            hint=f"give {wanted}",
        )
