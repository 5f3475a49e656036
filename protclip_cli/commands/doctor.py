"""``protclip doctor``: the self-test."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from protclip_cli.output import Format, Output, Value, target, write_rows
from protclip_cli.terminal import Terminal
from protclip_core.options import Opt, Overwrite

if TYPE_CHECKING:
    from collections.abc import Iterator

    from protclip_core.tasks.doctor.task import Check

EPILOG = """\
Example:
  protclip doctor --format tsv > report.tsv     to send with a question
    check   status  found                   advice
    python  ok      3.11.2, linux x86_64"""


def doctor(
    terminal: Terminal,
    *,
    cache: Annotated[
        Path | None,
        Opt(
            "Where models are kept.",
            "--cache",
            metavar="DIR",
            default="PROTCLIP_CACHE, else the system's cache folder",
        ),
    ] = None,
    format: Format = "auto",
    output: Output = None,
    overwrite: Overwrite = False,
) -> None:
    """Test this installation: versions, devices, folders, and whether the numbers are right.

    Asks no server. Ends with 0 if nothing failed, warnings or not; else with the code of the most
    serious failure: 4 for a library or a model, 5 for disk or memory, 2 for a folder.
    """
    from protclip_core.tasks.doctor.task import run_checks, verdict

    to = target(output, format, overwrite=overwrite)
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

    with to.open() as out:
        write_rows(rows(), ["check", "status", "found", "advice"], to.form, out)
    if error := verdict(seen):
        raise error
