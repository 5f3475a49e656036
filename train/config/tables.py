"""Configurations in TOML to dataclasses, with errors that name the table and the key."""

from __future__ import annotations

import dataclasses
import difflib
import re
import sys
import tomllib
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from protclip_core.errors import UsageError

__all__ = ["Above0", "BelowOne", "Count", "Natural", "NotNegative", "Share"]
__all__ += ["WrongValueError", "make", "read_toml"]

_MOST = sys.float_info.max
NotNegative = Annotated[float, Meta(ge=0, le=_MOST)]
Above0 = Annotated[float, Meta(gt=0, le=_MOST)]
Share = Annotated[float, Meta(ge=0, le=1)]
BelowOne = Annotated[float, Meta(ge=0, lt=1)]
Count = Annotated[int, Meta(ge=0)]
Natural = Annotated[int, Meta(ge=1)]

Config = TypeVar("Config")
_KINDS = {"int": "a whole number", "float": "a number", "str": "text", "bool": "true or false"}
_KINDS |= {"array": "a list", "object": "a table"}


class WrongValueError(ValueError):
    """A value that a table does not allow, with its key; raised in ``__post_init__``."""

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(reason)
        self.key = key


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises
    ------
    UsageError
        It cannot be read, or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        reason = (error.strerror or "cannot be read").lower()
        hint = "give a file of train/configs"
        raise UsageError(reason, code="usage.no_such_file", where=str(path), hint=hint) from error
    except ValueError as error:
        raise UsageError(
            f"is not TOML ({error})", code="usage.not_toml", where=str(path)
        ) from error


def make(cls: type[Config], content: Mapping[str, Any], file: str, table: str = "") -> Config:
    """Make a dataclass of a table, whose fields may be tables again.

    Parameters
    ----------
    cls
        The dataclass; constraints of its values are in its annotations.
    content
        Keys and values, as TOML or JSON give them.
    file, table
        Where they are from, for errors.

    Raises
    ------
    UsageError
        A key that is unknown or missing, or a value of another type or out of range.
    """
    _check_keys(cls, content, file, table)
    try:
        return msgspec.convert(content, cls)
    except msgspec.ValidationError as error:
        said, _, path = str(error).partition(" - at `$")
        keys = [*filter(None, [table]), *re.findall(r"[A-Za-z_]\w*", path)]
        if isinstance(error.__cause__, WrongValueError):
            keys.append(error.__cause__.key)
        value: Any = content
        for key in keys[bool(table) :]:
            value = value[key]
        if missing := re.search(r"missing required field `(\w+)`", said):
            name = missing[1] if keys else f"[{missing[1]}]"
            raise _error(f"{name} is missing", "missing_key", file, keys) from error
        if "enum" in said:
            choices = typing.get_args(_hints(cls, keys[bool(table) :]))
            said = f"must be one of {', '.join(map(repr, choices))}, got {value!r}"
        elif wanted := re.match(
            r"Expected `(\w+).*?`( .. \S+)?(?: of (length .*?)(?:, got.*)?$)?", said
        ):
            parts = (_KINDS.get(wanted[1], wanted[1]), *wanted.groups()[1:])
            said = f"must be {' '.join(p.strip() for p in parts if p)}, got {value!r}"
        raise _error(said, "invalid_value", file, keys) from error


def _check_keys(cls: Any, content: Mapping[str, Any], file: str, table: str) -> None:
    """Refuse an unknown key, with the known one that is nearest to it."""
    hints = typing.get_type_hints(cls)
    for key, value in content.items():
        if key not in hints:
            near = difflib.get_close_matches(key, hints, 1)
            hint = f"did you mean {near[0]!r}" if near else None
            keys = [table] if table else []
            raise _error(f"unknown key {key!r}", "unknown_key", file, keys, hint)
        if dataclasses.is_dataclass(hints[key]) and isinstance(value, dict):
            _check_keys(hints[key], value, file, key)


def _hints(cls: Any, keys: list[str]) -> Any:
    for key in keys:
        cls = typing.get_type_hints(cls)[key]
    return cls


def _error(
    reason: str, code: str, file: str, keys: list[str], hint: str | None = None
) -> UsageError:
    """Return the error, its place as ``FILE: [table] key``."""
    where = f"{file}: [{keys[0]}] {' '.join(keys[1:])}".rstrip() if keys else file
    return UsageError(reason, code=f"usage.{code}", where=where, hint=hint)
