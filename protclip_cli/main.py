"""The ``protclip`` program: the list of commands, and the way in.

Commands, and the library that they use, are imported when they run, so that ``protclip --help``
answers in a fraction of a second.
"""

from __future__ import annotations

import io
import sys
from typing import Annotated

import typer

from protclip_cli.boundary import guarded
from protclip_cli.groups import Entry, new_group
from protclip_core._version import __version__
from protclip_core.errors import UsageError

__all__ = ["app", "run"]


def _print_version(wanted: bool) -> None:  # noqa: FBT001 (typer calls it so)
    if wanted:
        typer.echo(f"protclip {__version__}")
        raise typer.Exit


_HERE = "protclip_cli.commands"
app = new_group(
    "Embed, annotate, search and compare proteins on the command line.\n\n"
    "Results go to standard output, all else to standard error; '-' is stdin or stdout. "
    "After an error, rows printed before it hold; files appear whole or not at all.\n\n"
    "Exit codes: 0 done, 2 usage, 3 bad input, 4 bad model or data file, 5 disk or memory, "
    "6 done but some records were skipped, 7 another process writes the file.",
    {
        "embed": Entry(f"{_HERE}.embed:embed", help="Embed proteins: FASTA in, vectors out."),
        "search": Entry(f"{_HERE}.search:search", help="Search a store by words or by likeness."),
        "annotate": Entry(
            f"{_HERE}.annotate.command:annotate",
            help="Annotate proteins with GO terms, EC numbers, locations, keywords or phrases.",
        ),
        "mutate": Entry(
            f"{_HERE}.mutate:mutate_group", help="Score protein variants, or scan a protein."
        ),
        "similarity": Entry(
            f"{_HERE}.similarity:similarity_group", help="Compare proteins by their vectors."
        ),
        "doctor": Entry(f"{_HERE}.doctor:doctor", help="Test this installation."),
        "classify": Entry(
            f"{_HERE}.classify:classify_group", help="Fit a protein classifier to your own labels."
        ),
        "data": Entry(f"{_HERE}.data:data_group", help="Fetch and prepare data."),
        "models": Entry(
            f"{_HERE}.models:models_group", help="List, fetch, import, check and remove models."
        ),
        "ppi": Entry(f"{_HERE}.ppi:ppi_group", help="Predict which proteins interact."),
        "store": Entry(
            f"{_HERE}.store:store_group", help="Inspect, check, export and join embedding stores."
        ),
    },
    completion=True,
    version=(
        Annotated[
            bool,
            typer.Option(
                "--version",
                is_eager=True,
                callback=_print_version,
                help="Print the version and stop.",
            ),
        ],
        False,
    ),
)


def run() -> None:
    """Run the program on the process's arguments and end it with the right exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Results are UTF-8 whatever the locale says, and file names pass as the bytes they are.
        sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape")
    sys.exit(guarded(_run_app, debug="--debug" in sys.argv))


def _run_app() -> None:
    """Let typer read the arguments; its own errors take three lines, ours one."""
    try:
        code = app.main(prog_name="protclip", standalone_mode=False)
    except Exception as error:
        # click's exceptions have no name that all versions of typer share.
        said = getattr(error, "format_message", None)
        if said is None:
            raise
        context = getattr(error, "ctx", None)
        if not str(said()).isprintable():  # the help, where there are no arguments
            typer.echo(said(), err=True)
            raise SystemExit(2) from None
        command = context.command_path if context is not None else "protclip"
        text = str(said()).rstrip(".")
        raise UsageError(
            text[:1].lower() + text[1:], code="usage.bad_option", hint=f"see {command} --help"
        ) from error
    if code:
        raise SystemExit(code)
