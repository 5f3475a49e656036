"""Tables of a configuration to dataclasses, with errors that name the table and the key."""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any, Literal

from protclip_core.errors import UsageError

__all__ = ["WrongValueError", "check_keys", "make_table", "typed"]


class WrongValueError(ValueError):
    """A value that a table does not allow, with its key; raised in ``__post_init__``."""

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(reason)
        self.key = key


def make_table(cls: Any, content: dict[str, Any], where: str) -> Any:  # noqa: ANN401
    """Make a dataclass from a table.

    Raises
    ------
    UsageError
        A key that is unknown, missing, of another type, or of a value that the class refuses.
    """
    hints = typing.get_type_hints(cls)
    check_keys(content, list(hints), where)
    for item in fields(cls):
        needed = item.default is MISSING and item.default_factory is MISSING
        if needed and item.name not in content:
            raise UsageError(f"key {item.name!r} is missing", where=where)
    values = {key: typed(value, hints[key], f"{where} {key}") for key, value in content.items()}
    try:
        return cls(**values)
    except WrongValueError as error:
        raise UsageError(str(error), where=f"{where} {error.key}") from error
    except ValueError as error:
        raise UsageError(str(error), where=where) from error


def check_keys(content: Mapping[str, Any], known: list[str], where: str) -> None:
    """Refuse a key that is not among the known ones, with the nearest of these."""
    for key in content:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            hint = f"did you mean {near[0]!r}" if near else None
            raise UsageError(f"unknown key {key!r}", where=where, hint=hint)


def typed(value: Any, kind: Any, where: str) -> Any:  # noqa: ANN401
    """Return the value as its field wants it; numbers may stand for their floats."""
    origin, choices = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in choices:
            return None
        return typed(value, next(c for c in choices if c is not type(None)), where)
    if origin is Literal:
        if value not in choices:
            shown = ", ".join(map(repr, choices))
            raise UsageError(f"must be one of {shown}, got {value!r}", where=where)
        return value
    if origin is tuple:
        if not isinstance(value, list | tuple) or not value:
            raise UsageError(f"must be a list, got {value!r}", where=where)
        return tuple(typed(item, choices[0], where) for item in value)
    if kind is float and type(value) is int:
        return float(value)
    if kind in (bool, int, float, str) and type(value) is not kind:
        names = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
        raise UsageError(f"must be {names[kind]}, got {value!r}", where=where)
    return value
