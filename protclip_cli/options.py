"""Options that mean the same in every command, each with the help that it has everywhere."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from protclip_core.errors import UsageError
from protclip_core.records import printable

__all__ = [
    "FORMAT",
    "RESAMPLES",
    "CurvesOption",
    "DeviceOption",
    "EmbeddingsOption",
    "FitModelOption",
    "Format",
    "FormatOption",
    "GlobalOptions",
    "HeadModelOption",
    "HeadOutputOption",
    "InputsArgument",
    "ModelOption",
    "OnError",
    "OnErrorOption",
    "OutputOption",
    "OverwriteOption",
    "OverwritePictureOption",
    "ResamplesOption",
    "SeedOption",
    "Space",
    "ThreadsOption",
    "WorkersOption",
    "command_line",
    "inputs_or_pipe",
    "parse_batch_tokens",
]

#: Resamples of a figure of a head.
RESAMPLES = 1000


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


class OnError(StrEnum):
    """What to do with bad records."""

    FAIL = "fail"
    SKIP = "skip"


class Space(StrEnum):
    """Whose vectors, and so where they are compared."""

    ENCODER = "encoder"
    JOINT = "joint"


#: For the enumerations of commands that have further forms.
FORMAT = typer.Option("--format", help="auto: table on a terminal, TSV elsewhere.")
FormatOption = Annotated[Format, FORMAT]

InputsArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="INPUT...",
        help="A store, or FASTA files, plain or compressed; '-' or nothing and a pipe: stdin.",
        show_default=False,
    ),
]
EmbeddingsOption = Annotated[
    list[str],
    typer.Option(
        "--embeddings",
        metavar="STORE|FASTA",
        help="A store, or FASTA files (repeatable) or '-'.",
        show_default=False,
    ),
]
OutputOption = Annotated[
    str | None,
    typer.Option("-o", "--output", help="File; default standard output.", show_default=False),
]
HeadOutputOption = Annotated[
    Path, typer.Option("-o", "--output", metavar="HEAD", help="File.", show_default=False)
]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]
OverwritePictureOption = Annotated[
    bool, typer.Option("--overwrite", help="Replace a picture that is there.")
]
CurvesOption = Annotated[
    Path | None,
    typer.Option(
        "--plot", metavar="DIR", help="Draw curves there: precision and recall, calibration."
    ),
]
ModelOption = Annotated[
    str | None,
    typer.Option(
        help="Name or path of a model.", show_default="the store's own, else protclip-mini"
    ),
]
FitModelOption = Annotated[
    str | None,
    typer.Option(help="Name or path of a model, for FASTA.", show_default="protclip-mini"),
]
HeadModelOption = Annotated[
    str | None,
    typer.Option(help="Name or path of a model, for FASTA.", show_default="the head's"),
]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]
WorkersOption = Annotated[
    int | None, typer.Option(min=1, help="CPU workers.", show_default="one a core")
]
OnErrorOption = Annotated[
    OnError,
    typer.Option(help="Bad records: end without results, or leave them out and name them."),
]
#: Of commands that compare proteins: there a pair without a vector still has its row or reason.
PairOnErrorOption = Annotated[
    OnError,
    typer.Option(
        help="Bad FASTA records: end without results, or leave them out and name them; vectors "
        "of a store that are zero or not finite are always left out and named."
    ),
]
SeedOption = Annotated[int, typer.Option(min=0, help="Of all that is drawn.")]
ThreadsOption = Annotated[int, typer.Option(min=1, help="Threads of the fit.")]
ResamplesOption = Annotated[
    int, typer.Option(min=0, help="Resamples of the 95 % intervals; 0: none.")
]


def command_line() -> str:
    """Return the command as it was given, for what files say of their making."""
    return printable(shlex.join(["protclip", *sys.argv[1:]]), 10_000)


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
