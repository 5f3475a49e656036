"""The journal and the key of a working folder, which `protclip_core.store.parts` describes.

Reading is lenient where a kill can explain the damage (a torn last line, a part without its file)
and reports what it left out, so that the caller can warn and compute those proteins again.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from protclip_core.errors import ModelError
from protclip_core.io.atomic import write_atomic

__all__ = [
    "OWN_FILES",
    "JournalEntry",
    "differences",
    "file_sha256",
    "mark_replaces",
    "read_journal",
    "read_key",
    "replaces",
]

OWN_FILES = re.compile(
    r"part-\d{6,}\.safetensors|run\.json|journal\.jsonl"
    r"|\.(part-\d{6,}\.safetensors|run\.json|journal\.jsonl)\.[0-9a-f]{16}\.tmp"
)


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """One line of the journal: a part's file, the sha256 and number of its bytes, and n."""

    name: str
    sha256: str
    n: int
    bytes: int

    def line(self) -> str:
        """Return the entry as a line of the journal, with its line feed."""
        fields = {"name": self.name, "sha256": self.sha256, "n": self.n, "bytes": self.bytes}
        return json.dumps(fields) + "\n"


def read_journal(folder: Path) -> tuple[dict[int, JournalEntry], list[str]]:
    """Return the entries by part number, and a warning for each line that was left out.

    An entry counts if its file is there in full size. A folder that is absent or has no journal
    gives no entries.
    """
    entries: dict[int, JournalEntry] = {}
    dropped: list[str] = []
    path = folder / "journal.jsonl"
    data = path.read_bytes() if path.is_file() else b""
    for number, line in enumerate(data.splitlines(keepends=True), start=1):
        entry = _parse_line(line)
        if entry is None:
            dropped.append(f"journal.jsonl line {number} is torn and was dropped")
            continue
        file = folder / entry.name
        if not file.is_file() or file.stat().st_size != entry.bytes:
            dropped.append(
                f"{entry.name} is missing or cut; its {entry.n} proteins will be computed again"
            )
            continue
        entries[int(entry.name[5:].partition(".")[0])] = entry
    return entries, dropped


def _parse_line(line: bytes) -> JournalEntry | None:
    if not line.endswith(b"\n"):
        return None
    try:
        entry = JournalEntry(**json.loads(line))
        well_typed = isinstance(entry.n, int) and isinstance(entry.bytes, int)
        named = re.fullmatch(r"part-\d{6,}\.safetensors", entry.name)
        hashed = re.fullmatch(r"[0-9a-f]{64}", entry.sha256)
    except (ValueError, TypeError):
        return None
    return entry if well_typed and named and hashed else None


def read_key(folder: Path) -> dict[str, Any]:
    """Return the key of an earlier run that has finished parts.

    Raises
    ------
    ModelError
        ``run.json`` is damaged or missing.
    """
    path = folder / "run.json"
    try:
        key = json.loads(path.read_bytes())
    except (OSError, ValueError):
        key = None
    if not isinstance(key, dict):
        raise ModelError(
            "the settings of the earlier run are missing or damaged",
            where=str(path),
            hint="discard the earlier run with --overwrite",
        )
    key.pop("replaces", None)  # no setting: see `mark_replaces`
    return key


def mark_replaces(folder: Path, output: Path) -> None:
    """Note beside the key that the run is to replace this output, not to add to it."""
    note = {**read_key(folder), "replaces": _stamp(output)}
    write_atomic(folder / "run.json", json.dumps(note, indent=1, sort_keys=True).encode())


def replaces(folder: Path, output: Path) -> bool:
    """Tell whether an interrupted run with finished parts is to replace this very output.

    Any other output in its place, such as the run's own if it was killed just behind the rename,
    is not what its user wanted thrown away.
    """
    if not output.exists() or not read_journal(folder)[0]:
        return False
    try:
        note = json.loads((folder / "run.json").read_bytes())
    except (OSError, ValueError):
        return False  # `read_key` tells of it
    return isinstance(note, dict) and note.get("replaces") == _stamp(output)


def _stamp(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


def differences(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """Say each setting that differs: ``pooling is 'mean' there, 'cls' now``."""
    absent = "absent"
    return ", ".join(
        f"{name} is {json.dumps(found[name]) if name in found else absent} there, "
        f"{json.dumps(wanted[name]) if name in wanted else absent} now"
        for name in sorted(found.keys() | wanted.keys())
        if found.get(name, absent) != wanted.get(name, absent)
    )


def file_sha256(path: Path) -> str:
    """Return the hex sha256 of a file, read in pieces; empty if it cannot be read."""
    try:
        with path.open("rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()
    except OSError:
        return ""
