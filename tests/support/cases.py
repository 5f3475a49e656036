"""Inputs as users bring them, with the run that meets each and how it must end."""

from __future__ import annotations

import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path

from tests.support.inprocess import run_here

DATA = Path(__file__).parents[1] / "data" / "cases"


@dataclass(frozen=True)
class Case:
    """A command line; those before the last `` && `` only prepare it.

    ``code`` is that of the error; ``said`` and ``unsaid`` are values that stand, or do not, in
    its results or messages.
    """

    id: str
    command: str
    rc: int = 0
    code: str = ""
    said: tuple[str, ...] = ()
    unsaid: tuple[str, ...] = ()

    def check(self, folder):
        *before, last = (shlex.split(part) for part in self.command.split(" && "))
        for command in before:
            done = run_here(*command, cwd=folder)
            assert done.rc == 0, done.err
        done = run_here(*last, cwd=folder)
        assert done.rc == self.rc, done.err
        assert done.err.rstrip().endswith(f"[{self.code}]") is bool(self.code), done.err
        text = done.out + done.err
        assert [value for value in self.said if value not in text] == [], text
        assert [value for value in self.unsaid if value in text] == [], text


def copied(name, to):
    """Copy the files of a command, for runs that write next to them."""
    return Path(shutil.copytree(DATA / name, to / name))
