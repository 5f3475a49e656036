"""JSON from elsewhere, checked against a declared type: an error names the field and its value.

The types are `msgspec.Struct` classes, which stand where they are used; `read_as` checks a whole
document at once.
"""

from __future__ import annotations

import re
import reprlib
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from protclip_core.errors import ModelError

__all__ = ["Bytes", "Sha256", "Text", "one_line", "problem_of", "read_as"]

_MOST_SIGNS = 200
T = TypeVar("T")

Text = Annotated[str, Meta(min_length=1)]
Bytes = Annotated[int, Meta(ge=0)]
Sha256 = Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]


def one_line(text: str, most: int = _MOST_SIGNS) -> str:
    """Return text from elsewhere as one line that is safe to show.

    Parameters
    ----------
    text
        Any text.
    most
        Characters that are kept; a longer text ends with ``…``.

    Returns
    -------
    str
        Without characters that cannot be printed (control codes, line ends, tabs, marks that turn
        the direction of writing): each run of them, and of blanks, becomes one blank.
    """
    shown = "".join(sign if sign.isprintable() else " " for sign in text[: 20 * most])
    line = " ".join(shown.split())
    return line if len(line) <= most else line[: most - 1] + "…"


def read_as(kind: type[T], content: Any, what: str, where: str, at: str = "") -> T:
    """Return the content of a JSON document as ``kind``.

    Parameters
    ----------
    kind
        A `msgspec.Struct`, or any other type that msgspec knows. Fields that it does not declare
        are ignored, unless it forbids them.
    content
        What `json.loads` returned.
    what
        What it should be, for the message: ``"model manifest"``.
    where
        File or URL, for the message.
    at
        Path of the content in the document, where it is only a part.

    Raises
    ------
    ModelError
        ``model.bad_field``: a field is missing or of another kind; names it and shows its value.
    """
    try:
        return msgspec.convert(content, kind)
    except msgspec.ValidationError as error:
        raise ModelError(
            f"not a valid {what}: {problem_of(error, content, at)}",
            code="model.bad_field",
            where=where,
        ) from None


def problem_of(error: msgspec.ValidationError, content: Any, at: str = "") -> str:
    """Say in a line which field of ``content`` is wrong, and how.

    Parameters
    ----------
    error
        What `msgspec.convert` raised.
    content
        What it was given.
    at
        Path of ``content`` in its document.
    """
    message, _, place = str(error).partition(" - at `$")
    place = place.rstrip("`")
    path = ".".join(part for part in (at, place.lstrip(".")) if part)
    if missing := re.fullmatch(r"Object missing required field `(.+)`", message):
        return f"{one_line(f'{path}.{missing[1]}'.lstrip('.'), 80)} is missing"
    if unknown := re.fullmatch(r"Object contains unknown field `(.+)`", message, re.DOTALL):
        return f"{path or 'it'} has an unknown field {one_line(repr(unknown[1]), 60)}"
    if message[:1].islower():  # a check of our own, which shows the value itself
        return one_line(f"{path}: {message}" if path else message)
    value = one_line(reprlib.repr(_value_at(content, place)), 80)
    return f"{path or 'it'} is {value} ({one_line(message[0].lower() + message[1:], 80)})"


def _value_at(content: Any, place: str) -> Any:
    for key, number in re.findall(r"\.([^.\[]+)|\[(\d+)\]", place):
        try:
            content = content[int(number)] if number else content[key]
        except (LookupError, TypeError):
            return content
    return content
