"""What the readers of single records share: the error, and checks of fields."""

from __future__ import annotations

import re
from collections.abc import Iterable

__all__ = ["BrokenRecord", "check_level", "check_sequence", "go_ids"]

_RESIDUES = re.compile(r"[A-Z]+")
_GO = re.compile(r"GO:\d{7}")


class BrokenRecord(ValueError):  # noqa: N818 (it is what it is about, not how it ends)
    """A record that does not follow its format.

    Parameters
    ----------
    reason
        One clause with the value.
    line
        Lines between the start of the record and the one that is wrong.
    """

    def __init__(self, reason: str, *, line: int = 0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.line = line


def check_sequence(text: str) -> str:
    """Return the residues in upper case.

    Raises
    ------
    BrokenRecord
        There are none, or something else than letters is among them.
    """
    sequence = text.upper()
    if not _RESIDUES.fullmatch(sequence):
        wrong = sorted(set(re.sub("[A-Z]", "", sequence)))
        raise BrokenRecord(f"its sequence holds {wrong[0]!r}" if wrong else "it has no sequence")
    return sequence


def check_level(value: object) -> int | None:
    """Return a level of protein existence, ``None`` where there is none.

    Raises
    ------
    BrokenRecord
        It is something else than 1 to 5.
    """
    if value is None:
        return None
    if type(value) is not int or not 1 <= value <= 5:
        raise BrokenRecord(f"its protein existence is {value!r}, not 1 to 5")
    return value


def go_ids(values: Iterable[object]) -> tuple[str, ...]:
    """Return GO ids sorted, each once; anything else among them is not a GO id and breaks it."""
    ids = sorted({str(value).strip() for value in values} - {""})
    for id in ids:
        if not _GO.fullmatch(id):
            raise BrokenRecord(f"{id[:40]!r} is not a GO id")
    return tuple(ids)
