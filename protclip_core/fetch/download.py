"""One file from a server into a folder: resumed after any interruption, checked, then in place.

What is being fetched stands under ``NAME.part``, with ``NAME.part.json`` next to it that says what
it is a part of. It becomes ``NAME`` only when it is complete and every known hash agrees, so a
file of that name is never a part or a stranger. One process at a time fetches a file; the lock
is one of the kernel on ``.NAME.lock``, which ends with the process that holds it.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from protclip_core.errors import ModelError
from protclip_core.fetch.http import Answer, ask
from protclip_core.fetch.remote_file import RemoteFile, is_sound, verify
from protclip_core.fetch.retries import (
    WAY_OUT,
    Patience,
    Retrier,
    TryFailedError,
    refuse_offline,
    shown,
)
from protclip_core.io.atomic import disk_error, publish, require_space, write_atomic
from protclip_core.progress import Progress, SilentProgress

__all__ = ["MOST_BYTES", "RemoteFile", "download"]

_log = logging.getLogger(__name__)

#: Most bytes of a file whose size nobody has stated beforehand.
MOST_BYTES = 200 * 10**9

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,199}")
_HTML = re.compile(rb"\s*(\xef\xbb\xbf)?\s*<(!doctype\s+html|html)", re.IGNORECASE)
_LFS = b"version https://git-lfs.github.com/spec/v1"
_PAGE, _POINTER = "a web page (HTML)", "a git-lfs pointer"


def download(
    file: RemoteFile,
    folder: Path,
    *,
    offline: bool = False,
    progress: Progress | None = None,
    patience: Patience | None = None,
    most_bytes: int = MOST_BYTES,
) -> Path:
    """Have a file in a folder; several processes may ask for it at once.

    Parameters
    ----------
    file
        What to fetch.
    folder
        Made if it is missing.
    offline
        Send no request: the file is there and as it should be, or this is an error.
    progress
        Gets a stage of bytes; bytes that a former run fetched count as done.
    patience
        Tries and timeouts; default `Patience.default`.
    most_bytes
        Cap for a file of unknown size.

    Returns
    -------
    pathlib.Path
        ``folder / file.name``. If it is there and its hashes agree, no request is made. A file
        of which no hash is known is taken as it is, with a warning that names its sha256.

    Raises
    ------
    ModelError
        It cannot be fetched, or is not what it should be; names the URL and the reason. After
        a hash that differs, nothing of it stays.
    ResourceError
        The disk cannot hold it. What was fetched is kept for the next run.
    """
    if not _NAME.fullmatch(file.name):
        raise ModelError(
            f"{file.name!r} is not a plain file name",
            code="model.bad_file_name",
            where=shown(file.url),
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise disk_error(error, folder) from error
    target = folder / file.name
    with _only_one(target):
        if target.is_file() and is_sound(file, target):
            return target
        if offline:
            raise refuse_offline(file.url)
        patience = patience or Patience.default()
        fetch = _Fetch(file, folder, progress or SilentProgress(), patience, most_bytes)
        try:
            fetch.run()
            verify(file, fetch.part)
        except OSError as error:
            raise disk_error(error, target) from error
        publish(fetch.part, target)
        fetch.note.unlink(missing_ok=True)
    return target


class _Fetch:
    """The way of one file to a complete ``.part``."""

    def __init__(
        self,
        file: RemoteFile,
        folder: Path,
        progress: Progress,
        patience: Patience,
        most_bytes: int,
    ) -> None:
        self.file = file
        self.part = folder / f"{file.name}.part"
        self.note = folder / f"{file.name}.part.json"
        self._most_bytes = most_bytes
        self._retrier = Retrier(file.url, patience)
        self._progress, self._told, self._started = progress, 0, False
        self._furthest = 0

    def run(self) -> None:
        """Fetch what is missing, in as many tries as it takes."""
        try:
            self._furthest = self._offset(self._read_note())
            self._retrier.run(self._once)
        finally:
            if self._started:
                self._progress.finish()

    def _once(self, timeout: float) -> None:
        note = self._read_note()
        offset = self._offset(note)
        if self.file.size is not None and offset == self.file.size:
            return
        headers = {}
        if offset:
            headers["Range"] = f"bytes={offset}-"
            # A weak tag may not be used here; then the answer's own tag is compared below.
            etag = note.get("etag")
            condition = etag if etag and not etag.startswith("W/") else note.get("last_modified")
            if condition:
                headers["If-Range"] = condition
        answer = ask(
            self.file.url,
            timeout=timeout,
            headers=headers,
            token=self.file.token,
            accept=frozenset({416}) if offset else frozenset(),
        )
        try:
            self._take(answer, offset, note)
        finally:
            answer.close()

    def _take(self, answer: Answer, offset: int, note: dict[str, Any]) -> None:
        """Write the body of an answer to its place."""
        if answer.status == 416:
            self._forget()
            raise TryFailedError("the server cannot go on where the last try ended (HTTP 416)")
        if answer.status != 206:
            start = 0
        elif self._continues(answer, offset, note):
            start = offset
        else:
            self._forget()
            raise TryFailedError("the file changed on the server while it was fetched")
        self._refuse_kind(answer)
        total = self._total(answer, start)
        with self.part.open("r+b" if self.part.exists() else "wb") as handle:
            handle.truncate(start)
            handle.seek(start)
            if not start:
                self._write_note(answer)
            self._tell(start, total)
            end = self._copy(answer, handle, start, total)
            handle.flush()
            os.fsync(handle.fileno())
        if total is not None and end < total:
            raise TryFailedError(f"the body was cut short at {end:,} of {total:,} bytes")

    def _copy(self, answer: Answer, handle: Any, start: int, total: int | None) -> int:
        """Copy the body; returns the length of the file, which may be less than ``total``."""
        position = start
        for chunk in answer.chunks():
            if position == 0:
                self._refuse_content(chunk)
            if position == start:
                self._check_sizes(total, start)
            position += len(chunk)
            most = self.file.size if self.file.size is not None else self._most_bytes
            if position > most:
                self._forget()
                raise self._too_long(position, most)
            handle.write(chunk)
            self._retrier.gained(max(0, position - self._furthest))
            self._furthest = max(self._furthest, position)
            self._tell(position, total)
        if position == start:
            self._check_sizes(total, start)
        return position

    def _check_sizes(self, total: int | None, start: int) -> None:
        """Compare the stated size with the known one, and the disk with both."""
        if total is None:
            return
        if self.file.size is not None and total != self.file.size:
            self._forget()
            raise ModelError(
                f"the server sends {total:,} bytes, the file should have {self.file.size:,}",
                code="model.download_size",
                where=shown(self.file.url),
                hint=WAY_OUT,
            )
        if self.file.size is None and total > self._most_bytes:
            raise self._too_long(total, self._most_bytes)
        require_space(self.part, total - start)

    def _too_long(self, found: int, most: int) -> ModelError:
        return ModelError(
            f"the server sends {found:,} bytes or more, at most {most:,} were expected",
            code="model.download_size",
            where=shown(self.file.url),
            hint=WAY_OUT,
        )

    def _refuse_kind(self, answer: Answer) -> None:
        encoding = answer.headers.get("Content-Encoding", "identity").lower()
        if encoding not in ("identity", ""):
            raise TryFailedError(
                f"the server sends it encoded ({encoding[:20]}) which nobody requested",
                again=False,
            )
        if answer.headers.get("Content-Type", "").lower().startswith("text/html"):
            raise self._strange(_PAGE)

    def _refuse_content(self, start: bytes) -> None:
        """Name what commonly comes in the place of a file, rather than that a hash differs."""
        what = _PAGE if _HTML.match(start) else _POINTER if start.startswith(_LFS) else None
        if what is not None:
            self._forget()
            raise self._strange(what)

    def _strange(self, what: str) -> ModelError:
        return ModelError(
            f"{what} came instead of the file",
            code="model.download_content",
            where=shown(self.file.url),
            hint=WAY_OUT,
        )

    def _total(self, answer: Answer, offset: int) -> int | None:
        """Return the size of the whole file as the answer, else as the file's entry, states it."""
        stated = answer.headers.get("Content-Range", "").rpartition("/")[2] if offset else ""
        if stated.isdecimal():
            return int(stated)
        length = answer.headers.get("Content-Length", "")
        return offset + int(length) if length.isdecimal() else self.file.size

    def _continues(self, answer: Answer, offset: int, note: dict[str, Any]) -> bool:
        """Tell whether a partial answer begins where we are, in the same content as before."""
        start = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range", ""))
        if not offset or start is None or int(start[1]) != offset:
            return False
        return all(
            not note.get(key)
            or not answer.headers.get(header)
            or note[key] == answer.headers[header]
            for key, header in (("etag", "ETag"), ("last_modified", "Last-Modified"))
        )

    def _tell(self, position: int, total: int | None) -> None:
        """Show how far it is; after a new beginning the bar waits until it is passed again."""
        if not self._started:
            self._started = True
            self._progress.start(f"downloading {self.file.name}", total or 0, "bytes")
        if position > self._told:
            self._progress.advance(position - self._told)
            self._told = position

    def _offset(self, note: dict[str, Any]) -> int:
        """Return how much of the part may be kept."""
        if note.get("expected") != self._expected():
            return 0
        # Without a mark of the content's version, and no hash to find out later, two contents
        # might be joined.
        if not (note.get("etag") or note.get("last_modified") or self.file.hashes):
            return 0
        try:
            length = self.part.stat().st_size
        except OSError:
            return 0
        return length if self.file.size is None or length <= self.file.size else 0

    def _expected(self) -> dict[str, Any]:
        same = {"size": self.file.size, **self.file.hashes}
        return same if self.file.hashes else {"url": self.file.url, **same}

    def _read_note(self) -> dict[str, Any]:
        try:
            note = json.loads(self.note.read_bytes())
        except (OSError, ValueError, RecursionError):
            return {}
        return note if isinstance(note, dict) else {}

    def _write_note(self, answer: Answer) -> None:
        note = {
            "expected": self._expected(),
            "etag": answer.headers.get("ETag"),
            "last_modified": answer.headers.get("Last-Modified"),
        }
        write_atomic(self.note, json.dumps(note).encode())

    def _forget(self) -> None:
        self.part.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)


@contextmanager
def _only_one(target: Path) -> Iterator[None]:
    """Be the only process that fetches ``target``; wait for another that does."""
    lock = FileLock(target.with_name(f".{target.name}.lock"))
    try:
        try:
            lock.acquire(blocking=False)
        except Timeout:
            _log.warning("%s: another process is downloading it: waiting", target)
            lock.acquire()
    except OSError as error:
        raise disk_error(error, target) from error
    try:
        yield
    finally:
        lock.release()
