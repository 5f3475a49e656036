"""JSON from elsewhere, read field by field: the right kind of value, or an error by its name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from protclip_core.errors import ModelError

__all__ = ["Fields", "one_line"]

_MOST_SIGNS = 200
_ANY, _SOME = r"(?s).*", r"(?s).+"


def one_line(text: str, most: int = _MOST_SIGNS) -> str:
    """Return what a stranger wrote as one line that may be shown.

    Parameters
    ----------
    text
        Any text.
    most
        Signs that are kept; a longer text ends with ``…``.

    Returns
    -------
    str
        Without signs that cannot be printed (control codes, line ends, tabs, marks that turn the
        direction of writing): each run of them, and of blanks, becomes one blank.
    """
    shown = "".join(sign if sign.isprintable() else " " for sign in text[: 20 * most])
    line = " ".join(shown.split())
    return line if len(line) <= most else line[: most - 1] + "…"


class Fields:
    """An object of JSON.

    Parameters
    ----------
    content
        What the JSON gave.
    what
        What it should be, for messages: ``"answer of a hub"``.
    where
        File or URL, for messages.
    path
        Its own place in the whole, such as ``"files[2]"``; empty for the whole.

    Raises
    ------
    ModelError
        It is no object; so do the methods for a field of another kind, by its name.
    """

    def __init__(self, content: Any, what: str, where: str, path: str = "") -> None:
        self._what, self._where, self._path = what, where, path
        if not isinstance(content, dict):
            raise self._error(path or "the whole", content, "an object")
        self._content = content

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names of its fields."""
        return iter(self._content)

    def has(self, key: str) -> bool:
        """Tell whether there is such a field, and not as ``null``."""
        return self._content.get(key) is not None

    def text(self, key: str, pattern: str = _SOME) -> str:
        """Return a text that ``pattern`` matches as a whole."""
        value = self._content.get(key)
        if not isinstance(value, str) or not re.fullmatch(pattern, value):
            kind = "a text" if pattern in (_ANY, _SOME) else "a text of the right form"
            raise self._error(self._name(key), value, kind)
        return value

    def text_or_none(self, key: str, pattern: str = _ANY) -> str | None:
        """Return a text, or ``None`` where there is no such field."""
        return self.text(key, pattern) if self.has(key) else None

    def size_or_none(self, key: str) -> int | None:
        """Return a number of bytes, or ``None`` where there is no such field."""
        value = self._content.get(key)
        if value is None:
            return None
        # A bool is an int to Python.
        if type(value) is not int or value < 0:
            raise self._error(self._name(key), value, "a number of bytes")
        return value

    def texts(self, key: str) -> list[str]:
        """Return a list of texts; empty where there is no such field."""
        values = self._list(key) if self.has(key) else []
        for number, value in enumerate(values):
            if not isinstance(value, str):
                raise self._error(f"{self._name(key)}[{number}]", value, "a text")
        return values

    def object(self, key: str) -> Fields:
        """Return an object."""
        return self._fields(self._content.get(key), self._name(key))

    def objects(self, key: str) -> list[Fields]:
        """Return a list of objects."""
        return [
            self._fields(value, f"{self._name(key)}[{number}]")
            for number, value in enumerate(self._list(key))
        ]

    def _list(self, key: str) -> list[Any]:
        value = self._content.get(key)
        if not isinstance(value, list):
            raise self._error(self._name(key), value, "a list")
        return value

    def _fields(self, value: Any, path: str) -> Fields:
        return Fields(value, self._what, self._where, path)

    def _name(self, key: str) -> str:
        return f"{self._path}.{key}" if self._path else key

    def _error(self, name: str, value: Any, wanted: str) -> ModelError:
        found = "missing" if value is None else one_line(repr(value), 60)
        return ModelError(
            f"is no {self._what} ({name} is {found}, not {wanted})", where=self._where
        )
