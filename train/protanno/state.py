"""The state of a build, and the journal from which a killed build continues.

A line is added to the journal behind each finished shard. It holds all that the rest of the
build depends on, so the last whole line is where it goes on, and shards behind it are written
again, to the same bytes. Nothing of the input has to be kept: the source is read again from its
start up to the record that the line names, and its bytes up to there must have the sha256 that
the line names.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from protclip_core.errors import UsageError
from protclip_core.io.atomic import disk_error, fsync_folder, remove_stale_temps, write_atomic
from protclip_core.store.work import differences
from train.protanno.sampling import new_counts
from train.protanno.shards import ShardInfo

__all__ = ["Journal", "SourceState", "State", "claim_folder"]

_SHOWN = 5


@dataclass
class SourceState:
    """What was read of one input.

    Attributes
    ----------
    name
        Of the file, without its folder.
    kind
        ``flat``, ``tsv`` or ``jsonl``; empty before it is opened.
    records
        Records so far, broken ones included.
    broken
        How many of them were skipped.
    sha256
        Of the plain (decompressed) bytes so far.
    """

    name: str
    kind: str = ""
    records: int = 0
    broken: int = 0
    sha256: str = ""


@dataclass
class State:
    """Where a build stands.

    Attributes
    ----------
    stage
        ``scan`` reads the sources, ``thin`` draws from the spool, ``done`` has all shards.
    sources
        The inputs read, the last of them perhaps in part.
    before, after
        Counts, (6, 5): entries read, entries kept.
    shards, spooled
        Finished shards of the data set and of the spool.
    thinned
        Entries of the spool that were drawn or not.
    broken
        The first few broken records.
    """

    stage: str = "scan"
    sources: list[SourceState] = field(default_factory=list)
    before: np.ndarray = field(default_factory=new_counts)
    after: np.ndarray = field(default_factory=new_counts)
    shards: list[ShardInfo] = field(default_factory=list)
    spooled: list[ShardInfo] = field(default_factory=list)
    thinned: int = 0
    broken: list[str] = field(default_factory=list)

    def note_broken(self, text: str) -> bool:
        """Count a broken record; true if it is one of the first, which are kept."""
        self.sources[-1].broken += 1
        if len(self.broken) < _SHOWN:
            self.broken.append(text)
            return True
        return False

    def line(self) -> dict[str, Any]:
        """Return all but the shards as JSON takes it."""
        return {
            "stage": self.stage,
            "sources": [asdict(source) for source in self.sources],
            "before": self.before.tolist(),
            "after": self.after.tolist(),
            "thinned": self.thinned,
            "broken": self.broken,
        }

    def update(self, line: Mapping[str, Any]) -> None:
        """Take over what `line` gave."""
        self.stage, self.thinned = line["stage"], line["thinned"]
        self.sources = [SourceState(**source) for source in line["sources"]]
        self.before = np.array(line["before"], dtype=np.int64)
        self.after = np.array(line["after"], dtype=np.int64)
        self.broken = line["broken"]


class Journal:
    """The journal of a build.

    Parameters
    ----------
    folder
        Of the unfinished build; made if it is not there.
    key
        Settings and inputs; a build goes on only with the same.
    resume
        Go on with an earlier one, if there is one.

    Raises
    ------
    UsageError
        There is an earlier build and ``resume`` is false, or its key differs.
    """

    def __init__(self, folder: Path, key: Mapping[str, Any], *, resume: bool) -> None:
        self.state = State()
        self._path = folder / "journal.jsonl"
        self._shards, self._spool = folder.parent / "shards", folder / "spool"
        wanted = json.loads(json.dumps(key))
        run = folder / "run.json"
        if run.exists():
            if not resume:
                raise UsageError(
                    "holds an unfinished build",
                    code="usage.unfinished_run",
                    where=str(folder.parent),
                    hint="finish it with --resume, or choose another folder",
                )
            found = json.loads(run.read_bytes())
            if found != wanted:
                raise UsageError(
                    f"the unfinished build has other settings: {differences(found, wanted)}",
                    code="usage.other_settings",
                    where=str(folder.parent),
                    hint="give the same inputs and options, or choose another folder",
                )
        try:
            for path in (folder.parent, folder, self._shards, self._spool):
                path.mkdir(parents=path == folder.parent, exist_ok=True)
        except OSError as error:
            raise disk_error(error, folder) from error
        for path in (run, self._path):
            remove_stale_temps(path)
        if not run.exists():
            write_atomic(run, json.dumps(wanted, indent=1).encode())
        self._restore()

    def add(self, *, shard: ShardInfo | None = None, spooled: ShardInfo | None = None) -> None:
        """Note the state, and the shard that was finished with it.

        Raises
        ------
        ResourceError
            The disk is full.
        """
        line = self.state.line()
        for name, info, held in (
            ("shard", shard, self.state.shards),
            ("spooled", spooled, self.state.spooled),
        ):
            if info is not None:
                held.append(info)
                line[name] = info.to_dict()
        try:
            with self._path.open("ab") as file:
                file.write(json.dumps(line).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
            fsync_folder(self._path.parent)
        except OSError as error:
            raise disk_error(error, self._path) from error

    def _restore(self) -> None:
        """Go through the journal up to the first line that is torn or whose shard is not there."""
        data = self._path.read_bytes() if self._path.exists() else b""
        whole = 0
        for text in data.splitlines(keepends=True):
            try:
                line = json.loads(text) if text.endswith(b"\n") else None
            except ValueError:
                line = None
            if line is None or not self._take(line):
                break
            whole += len(text)
        if whole < len(data):
            write_atomic(self._path, data[:whole])

    def _take(self, line: Mapping[str, Any]) -> bool:
        for name, folder, held in (
            ("shard", self._shards, self.state.shards),
            ("spooled", self._spool, self.state.spooled),
        ):
            if name in line:
                info = ShardInfo(**line[name])
                if not info.present(folder):
                    return False
                held.append(info)
        self.state.update(line)
        return True


def claim_folder(folder: Path, *, resume: bool) -> None:
    """Make the folder of a build, and refuse one with something else in it.

    Raises
    ------
    UsageError
        It holds other files, or a data set and ``resume`` is false; or it cannot be used.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(
            "is not a folder",
            code="usage.not_a_folder",
            where=str(folder),
            hint="choose another --out",
        )
    if (folder / "index.json").exists() and not resume:
        raise UsageError(
            "already holds a data set",
            code="usage.output_exists",
            where=str(folder),
            hint="choose another --out",
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        names = {path.name for path in folder.iterdir() if path.name != ".index.json.lock"}
    except OSError as error:
        raise UsageError(
            f"cannot be used: {error.strerror}", code="usage.not_writable", where=str(folder)
        ) from error
    if names and not names & {"index.json", "build"}:
        raise UsageError(
            "holds other files and no build",
            code="usage.output_exists",
            where=str(folder),
            hint="choose another --out",
        )
