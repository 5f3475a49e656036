"""Options that mean the same in every command."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from enum import StrEnum

from protclip_core.errors import UsageError

__all__ = [
    "Format",
    "GlobalOptions",
    "inputs_or_pipe",
    "parse_batch_tokens",
]


@dataclass(frozen=True, kw_only=True)
class GlobalOptions:
    """Options before the command."""

    quiet: bool = False
    debug: bool = False


class Format(StrEnum):
    """Form of results on standard output."""

    AUTO = "auto"
    TABLE = "table"
    TSV = "tsv"
    JSONL = "jsonl"


def inputs_or_pipe(inputs: list[str] | None) -> tuple[str, ...]:
    """Return the inputs; standard input if there are none and something is piped in.

    Raises
    ------
    UsageError
        No input, and standard input is a terminal or closed; or ``-`` given twice.
    """
    if not inputs:
        if sys.stdin is None or sys.stdin.isatty():
            raise UsageError("no input", hint="give a FASTA file, or pipe one in")
        return ("-",)
    if inputs.count("-") > 1:
        raise UsageError("standard input (-) can be read once only")
    return tuple(inputs)


def parse_batch_tokens(text: str) -> int | None:
    """Read ``auto`` or a positive number of tokens.

    Raises
    ------
    UsageError
        Anything else.
    """
    if text == "auto":
        return None
    if text.isascii() and text.isdigit() and int(text) > 0:
        return int(text)
    raise UsageError(f"--batch-tokens {text!r} is not a number", hint="use auto or a number")
