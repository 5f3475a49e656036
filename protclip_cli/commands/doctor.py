"""``protclip doctor``: the self-test."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from protclip_cli.options import Format
from protclip_cli.output import Value, write_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from protclip_core.tasks.doctor.task import Check

EPILOG = "Example:\n\n  protclip doctor --format tsv > report.tsv     to send with a question"


def doctor(
    *,
    cache: Annotated[
        Path | None,
        typer.Option(
            "--cache",
            metavar="DIR",
            help="Where models are kept; default PROTCLIP_CACHE, else the system's place.",
            show_default=False,
        ),
    ] = None,
    form: Annotated[Format, typer.Option("--format", help="Form of the rows.")] = Format.AUTO,
) -> None:
    """Test this installation: versions, devices, folders, and whether the numbers are right.

    Asks no server. Ends with 0 if nothing failed, warnings or not; else with the code of the most
    serious failure: 4 for a library or a model, 5 for disk or memory, 2 for a folder.
    """
    from protclip_core.tasks.doctor.task import run_checks, verdict

    seen: list[Check] = []

    def rows() -> Iterator[dict[str, Value]]:
        for check in run_checks(cache=cache):
            seen.append(check)
            yield {
                "check": check.name,
                "status": check.status,
                "found": check.found,
                "advice": check.advice,
            }

    write_rows(rows(), ["check", "status", "found", "advice"], form)
    if error := verdict(seen):
        raise error
