"""Configurations in TOML to dataclasses, with errors that name the table and the key."""

from __future__ import annotations

import dataclasses
import difflib
import sys
import tomllib
import typing
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta

from protclip_core.errors import UsageError
from protclip_core.io.json_fields import problem_of

__all__ = ["Above0", "BelowOne", "Count", "Natural", "NotNegative", "Share"]
__all__ += ["check_keys", "make", "read_toml"]

_MOST = sys.float_info.max
NotNegative = Annotated[float, Meta(ge=0, le=_MOST)]
Above0 = Annotated[float, Meta(gt=0, le=_MOST)]
Share = Annotated[float, Meta(ge=0, le=1)]
BelowOne = Annotated[float, Meta(ge=0, lt=1)]
Count = Annotated[int, Meta(ge=0)]
Natural = Annotated[int, Meta(ge=1)]

Config = TypeVar("Config")


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
    _check(cls, content, file, table)
    try:
        return msgspec.convert(content, cls)
    except msgspec.ValidationError as error:
        raise UsageError(
            problem_of(error, content, table), code="usage.bad_value", where=file
        ) from error


def check_keys(known: Collection[str], content: Mapping[str, Any], where: str) -> None:
    """Refuse an unknown key, with the known one that is nearest to it."""
    for key in content:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            hint = f"did you mean {near[0]!r}" if near else None
            raise UsageError(
                f"unknown key {key!r}", code="usage.unknown_key", where=where, hint=hint
            )


def _check(cls: Any, content: Mapping[str, Any], file: str, table: str) -> None:
    """Look at what `msgspec` does not: unknown keys, and what a value may be one of."""
    hints, where = typing.get_type_hints(cls), f"{file}: [{table}]" if table else file
    check_keys(hints, content, where)
    for key, value in content.items():
        choices = typing.get_args(hints[key])
        if typing.get_origin(hints[key]) is Literal and value not in choices:
            raise UsageError(
                f"{key} must be one of {', '.join(map(repr, choices))}, not {value!r}",
                code="usage.bad_value",
                where=where,
            )
        kinds = (hints[key], *choices)
        inner = next((kind for kind in kinds if dataclasses.is_dataclass(kind)), None)
        if inner is not None and isinstance(value, dict):
            _check(inner, value, file, f"{table}.{key}" if table else key)
