"""The data set on disk: gzipped JSON Lines in shards, each with the place of every line.

::

    DIR/index.json                     what there is: shards, their sha256, sources, options
    DIR/README.md                      the data set card
    DIR/counts.tsv  [counts.png]       entries before and after sampling
    DIR/shards/protanno-000000.jsonl.gz
    DIR/shards/protanno-000000.idx

**Why not tars of webdataset.** Those are made for pictures and sound, where a sample is several
files. Here a sample is one line of about 1,000 bytes; as a member of a tar it takes 512 bytes of
header and is padded to the next 512, is found at random only through an index that the tar does
not have, and is read by few other programs. JSON Lines are read by everything (``zcat | jq``).
What plain gzip lacks, random access, BGZF gives: the blocked gzip of samtools and ``bgzip``, which
any gzip program reads as it stands, and which Biopython writes and seeks in. The ``.idx`` is
the virtual offset of each line, little-endian unsigned 64 bit, as BGZF defines it. The same
entries give the same bytes, on every run.

A shard is made in memory (so its size in entries is bounded) and appears whole or not at all.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from Bio import bgzf

from protclip_core.errors import InputError, ModelError
from protclip_core.io.atomic import remove_stale_temps, write_atomic
from protclip_core.io.streams import open_input
from train.protanno.entries import Entry

__all__ = ["FORMAT", "ShardInfo", "ShardSet", "ShardWriter", "read_lines", "read_shards"]

FORMAT = {"format": "protclip-protanno", "format_version": 1}
_OFFSET = np.dtype("<u8")
_MOST_OPEN = 8
_AGAIN = "build the data set again, or fetch it again"


@dataclass(frozen=True, slots=True)
class ShardInfo:
    """One shard as the index has it.

    Attributes
    ----------
    name
        Of the files, without ``.jsonl.gz`` and ``.idx``.
    entries
        How many lines.
    bytes
        Size of the ``.jsonl.gz``.
    sha256, offsets_sha256
        Of the two files.
    splits
        Entries of each split; those without one are under the empty name.
    """

    name: str
    entries: int
    bytes: int
    sha256: str
    offsets_sha256: str
    splits: Mapping[str, int]

    def to_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return asdict(self)

    def paths(self, folder: Path) -> tuple[Path, Path]:
        """Paths of the lines and of their offsets."""
        return folder / f"{self.name}.jsonl.gz", folder / f"{self.name}.idx"

    def present(self, folder: Path) -> bool:
        """Tell whether both files are there in full size."""
        lines, offsets = self.paths(folder)
        return (
            lines.is_file()
            and lines.stat().st_size == self.bytes
            and offsets.is_file()
            and offsets.stat().st_size == self.entries * _OFFSET.itemsize
        )


class ShardWriter:
    """Cuts a stream of entries into shards.

    Parameters
    ----------
    folder
        Where they go; it exists.
    size
        Entries of a shard; the last may have fewer.
    first
        Number of the first shard.

    Raises
    ------
    ResourceError
        From `add` and `close`: the disk is full. Earlier shards are whole; this one is not there.
    """

    def __init__(self, folder: Path, size: int, *, first: int = 0) -> None:
        self._folder, self._size, self._number = folder, size, first
        # What a killed writer may have left is of the shard that comes now.
        for path in ShardInfo(self._name, 0, 0, "", "", {}).paths(folder):
            remove_stale_temps(path)
        self._begin()

    @property
    def _name(self) -> str:
        return f"protanno-{self._number:06d}"

    def add(self, line: str, split: str) -> ShardInfo | None:
        """Add an entry as its line of JSON; return the shard that it completed."""
        self._offsets.append(self._lines.tell())
        self._lines.write(line.encode() + b"\n")
        self._splits[split] += 1
        return self._publish() if len(self._offsets) >= self._size else None

    def close(self) -> ShardInfo | None:
        """Write what is left; ``None`` if that is nothing."""
        return self._publish() if self._offsets else None

    def _begin(self) -> None:
        self._data = _KeptBytes()
        self._lines = bgzf.BgzfWriter(fileobj=self._data)
        self._offsets: list[int] = []
        self._splits: Counter[str] = Counter()

    def _publish(self) -> ShardInfo:
        self._lines.close()
        lines, offsets = self._data.getvalue(), np.array(self._offsets, _OFFSET).tobytes()
        info = ShardInfo(
            self._name,
            len(self._offsets),
            len(lines),
            hashlib.sha256(lines).hexdigest(),
            hashlib.sha256(offsets).hexdigest(),
            dict(sorted(self._splits.items())),
        )
        for path, data in zip(info.paths(self._folder), (lines, offsets)):
            write_atomic(path, data)
        self._number += 1
        self._begin()
        return info


class _KeptBytes(io.BytesIO):
    """Bytes that are still there when their writer has closed them."""

    def close(self) -> None:
        """Do nothing."""


class ShardSet:
    """A finished data set: a sequence of entries with access at random, by number.

    Parameters
    ----------
    folder
        Of the data set.

    Raises
    ------
    ModelError
        There is none, it is of another format, or a shard is missing or cut. Damage inside of a
        shard comes out on reading, and in `verify`.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.index = read_index(self.folder)
        self.shards = tuple(ShardInfo(**shard) for shard in self.index["shards"])
        self._shard_folder = self.folder / "shards"
        for info in self.shards:
            if not info.present(self._shard_folder):
                where = str(info.paths(self._shard_folder)[0])
                raise ModelError(
                    "a shard is missing or cut", code="model.damaged", where=where, hint=_AGAIN
                )
        self._starts = np.cumsum([0, *(info.entries for info in self.shards)])
        # By process as well: a forked reader must not move the place of its parent's file.
        self._open: OrderedDict[tuple[int, int], tuple[Any, np.ndarray]] = OrderedDict()

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, number: int) -> Entry:
        """Return an entry by its place, from 0; negative from the end."""
        place = number + len(self) if number < 0 else number
        if not 0 <= place < len(self):
            raise IndexError(f"no entry {number} among {len(self)}")
        shard = int(np.searchsorted(self._starts, place, side="right")) - 1
        reader, offsets = self._reader(shard)
        try:
            reader.seek(int(offsets[place - self._starts[shard]]))
            return Entry.from_json(reader.readline())
        except (ValueError, TypeError, OSError) as error:
            raise self._damaged(shard) from error

    def entries(self, split: str | None = None) -> Iterator[Entry]:
        """Give all entries in order, or those of one split.

        Shards without an entry of the split are not read.
        """
        for number, info in enumerate(self.shards):
            if split is not None and not info.splits.get(split):
                continue
            found = map(Entry.from_json, read_lines(self._shard_folder, info))
            while (entry := self._next(found, number)) is not None:
                if split is None or entry.split == split:
                    yield entry

    def verify(self) -> None:
        """Compare the sha256 of every file with the index.

        Raises
        ------
        ModelError
            Names the first that differs.
        """
        for number, info in enumerate(self.shards):
            found = [_sha256(path) for path in info.paths(self._shard_folder)]
            if found != [info.sha256, info.offsets_sha256]:
                raise self._damaged(number)

    def close(self) -> None:
        """Close the files that access at random has opened; the next access opens them again."""
        while self._open:
            self._open.popitem()[1][0].close()

    def __getstate__(self) -> dict[str, Any]:
        """Leave the open files behind: a copy in another process opens its own."""
        return {**self.__dict__, "_open": OrderedDict()}

    def __enter__(self) -> ShardSet:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _next(self, entries: Iterator[Entry], shard: int) -> Entry | None:
        try:
            return next(entries, None)
        except (InputError, ValueError, TypeError) as error:
            raise self._damaged(shard) from error

    def _reader(self, shard: int) -> tuple[Any, np.ndarray]:
        key = os.getpid(), shard
        if key not in self._open:
            lines, offsets = self.shards[shard].paths(self._shard_folder)
            self._open[key] = (
                bgzf.BgzfReader(str(lines), "rb", max_cache=16),
                np.memmap(offsets, _OFFSET, "r"),
            )
            while len(self._open) > _MOST_OPEN:
                self._open.popitem(last=False)[1][0].close()
        self._open.move_to_end(key)
        return self._open[key]

    def _damaged(self, shard: int) -> ModelError:
        where = str(self.shards[shard].paths(self._shard_folder)[0])
        return ModelError("the shard is damaged", code="model.damaged", where=where, hint=_AGAIN)


def read_shards(folder: str | Path, split: str | None = None) -> Iterator[Entry]:
    """Give the entries of a data set in order, or those of one split; constant memory.

    Raises
    ------
    ModelError
        See `ShardSet`.
    """
    return ShardSet(folder).entries(split)


def read_lines(folder: Path, info: ShardInfo) -> Iterator[bytes]:
    """Give the lines of a shard."""
    with open_input(info.paths(folder)[0]) as reader:
        yield from reader


def read_index(folder: Path) -> dict[str, Any]:
    """Read ``index.json``.

    Raises
    ------
    ModelError
        It is missing, damaged, or of another format or version.
    """
    path = folder / "index.json"
    try:
        index = json.loads(path.read_bytes())
    except OSError as error:
        raise ModelError(
            "no data set here, or its build is not finished",
            code="model.not_found",
            where=str(folder),
            hint="give the folder that train.protanno.build wrote; --resume finishes a build",
        ) from error
    except ValueError as error:
        raise ModelError(
            "is damaged", code="model.damaged", where=str(path), hint=_AGAIN
        ) from error
    if not isinstance(index, dict) or {k: index.get(k) for k in FORMAT} != FORMAT:
        raise ModelError(
            "is not an index of format protclip-protanno 1",
            code="model.unknown_format",
            where=str(path),
            hint=_AGAIN,
        )
    return index


def _sha256(path: Path) -> str:
    """Return the hex sha256 of a file; empty if it cannot be read."""
    try:
        with path.open("rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()
    except OSError:
        return ""
