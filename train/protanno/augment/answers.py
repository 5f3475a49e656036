"""The file of answers: JSON Lines that grow by one answer at a time and survive a kill.

The lines of an answer are written together and synced; each says how many there are. What a kill
left unfinished can only be the end of the file: it is cut off when the file is opened again, so
that question is asked once more and no other.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import TracebackType
from typing import Any

from protclip_core.errors import InputError
from protclip_core.io.atomic import disk_error

__all__ = ["Answers", "Key"]

#: Release, term, sha256 of the prompt, model.
Key = tuple[str, str, str, str]


class Answers:
    """A file of answers, open for more.

    Parameters
    ----------
    path
        The file; created where it is not there.

    Attributes
    ----------
    done
        Questions that it has an answer to.
    texts
        Number of texts in it.

    Raises
    ------
    InputError
        It is not a file of answers.
    ResourceError, UsageError
        It cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.done: set[Key] = set()
        self.texts = 0
        whole = self._read() if path.exists() else 0
        try:
            self._file = path.open("ab")
            self._file.truncate(whole)
        except OSError as error:
            raise disk_error(error, path) from error

    def add(self, key: Key, texts: list[str], facts: dict[str, Any]) -> None:
        """Write the texts of one answer; it is on the disk when this returns."""
        release, term, prompt, model = key
        lines = [
            json.dumps(
                {
                    "term_id": term,
                    "text": text,
                    "number": number,
                    "of": len(texts),
                    "release": release,
                    "prompt_sha256": prompt,
                    "model": model,
                    **facts,
                },
                ensure_ascii=False,
            )
            for number, text in enumerate(texts, start=1)
        ]
        try:
            self._file.write(("\n".join(lines) + "\n").encode())
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise disk_error(error, self.path) from error
        self.done.add(key)
        self.texts += len(texts)

    def __enter__(self) -> Answers:
        """Be open until the block ends."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def _read(self) -> int:
        """Note what is there; return the bytes up to the end of the last whole answer."""
        whole = place = 0
        open_since = 0
        with self.path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if not line.endswith(b"\n"):
                    break
                place += len(line)
                key, own, of = _parsed(line, f"{self.path}:line {number}")
                open_since += 1
                if own == of:
                    self.done.add(key)
                    self.texts += open_since
                    whole, open_since = place, 0
        return whole


def _parsed(line: bytes, where: str) -> tuple[Key, int, int]:
    try:
        content = json.loads(line)
        key = tuple(str(content[name]) for name in ("release", "term_id", "prompt_sha256", "model"))
        return key, int(content["number"]), int(content["of"])  # type: ignore[return-value]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            "is not a line of answers",
            code="input.bad_line",
            where=where,
            hint="give --out a file of its own; texts of another origin go into another file",
        ) from error
