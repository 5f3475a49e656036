"""From inputs to a data set: scan, sample, write; resumable at any moment.

Sampling whose probabilities are known beforehand writes the shards while it scans. The others
spool what may be kept, in the same format, and draw from the spool when all is counted; the
spool needs disk, and is removed at the end. An accession that comes twice is not noticed: the
builder would have to remember all of them.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from protclip_core._version import __version__
from protclip_core.errors import InputError, UsageError
from protclip_core.io.atomic import file_lock, remove_stale_temps, write_atomic
from protclip_core.progress import Progress, SilentProgress
from train.protanno.card import data_card
from train.protanno.counts import cluster_rows, draw_counts, format_rows
from train.protanno.entries import Entry
from train.protanno.properties import make_entry
from train.protanno.records import BrokenRecord
from train.protanno.sampling import Sampling
from train.protanno.shards import FORMAT, ShardWriter, read_index, read_lines
from train.protanno.sources import Record, Source, check_inputs, open_source, stamp
from train.protanno.state import Journal, SourceState, claim_folder

__all__ = ["BuildOptions", "Built", "build"]

_log = logging.getLogger(__name__)
# Between two looks at the counts; an older bound is higher, so it only spools a little more.
_RECORDS_PER_BOUND = 1000
_OTHER_INPUT = "give the same input, or start again in another folder"


@dataclass(frozen=True, kw_only=True)
class BuildOptions:
    """What is made of the inputs.

    Attributes
    ----------
    sampling
        Which entries are kept.
    keep_evidence, all_names
        See `train.protanno.properties.make_entry`.
    go_only
        Keep entries without any property that have GO ids, too; without sampling only.
    skip_broken
        Pass over records that cannot be read, and count them; otherwise the first ends the build.
    shard_size
        Entries of a shard, 1 to 100,000. A shard is made in memory: 10,000 take about 6 MB.
    """

    sampling: Sampling = field(default_factory=Sampling)
    keep_evidence: bool = False
    all_names: bool = False
    go_only: bool = False
    skip_broken: bool = False
    shard_size: int = 10_000

    def __post_init__(self) -> None:
        if not 1 <= self.shard_size <= 100_000:
            message = f"{self.shard_size} entries is not 1 to 100,000"
            raise UsageError(message, code="usage.bad_value", where="--shard-size")
        if self.go_only and self.sampling.form != "none":
            raise UsageError(
                "no sampling can keep an entry without properties",
                code="usage.conflicting_options",
                where="--go-only",
                hint="leave it out, or use --sampling none",
            )

    def key(self) -> dict[str, Any]:
        """Return all settings as JSON takes them."""
        return {**asdict(self), "sampling": self.sampling.key()}


@dataclass(frozen=True)
class Built:
    """What a build gave: the index, lines of the table of counts, and how many were broken."""

    index: dict[str, Any]
    table: list[str]
    broken: int


def build(
    inputs: Sequence[str | Path],
    out: str | Path,
    options: BuildOptions,
    *,
    resume: bool = False,
    plot: str | Path | None = None,
    command: str = "",
    progress: Progress | None = None,
) -> Built:
    """Build a data set; see the module and `train.protanno.shards`.

    Parameters
    ----------
    inputs
        Files of entries, or ``-``; their order is that of the data set.
    out
        Its folder: new, empty, or that of an unfinished build with ``resume``.
    options
        What is made of them.
    resume
        Go on with an unfinished build; without one, start. A finished one is left as it is.
    plot
        PNG of the counts.
    command
        Command line, for the index.
    progress
        Told of every record.

    Raises
    ------
    InputError
        An input is no such file, is cut, has changed since an interrupted build, or has a broken
        record; or no entry at all was kept.
    UsageError
        The folder holds something else.
    ResourceError
        The disk is full; ``resume`` continues when there is space.
    BusyError
        Another process builds there.
    """
    if not inputs:
        raise UsageError(
            "no input", code="usage.no_input", hint="name a file, or - for standard input"
        )
    folder = Path(out)
    check_inputs(inputs)
    key = {"options": options.key(), "inputs": [stamp(path) for path in inputs]}
    claim_folder(folder, resume=resume)
    with file_lock(folder / "index.json"):
        if not (folder / "index.json").exists():
            work = _Work(inputs, folder, options, key, progress or SilentProgress(), resume=resume)
            work.run(command)
        else:
            _check_finished(folder, key)
        shutil.rmtree(folder / "build", ignore_errors=True)
        index = read_index(folder)
        before, after = (np.array(index["counts"][name]) for name in ("before", "after"))
        if plot is not None:
            title = f"ProtAnno, sampling: {options.sampling.form}"
            write_atomic(plot, draw_counts(before, after, title))
    broken = sum(source["broken"] for source in index["sources"])
    return Built(index, format_rows(cluster_rows(before, after, options.sampling)), broken)


class _Work:
    """One run of a build."""

    def __init__(
        self,
        inputs: Sequence[str | Path],
        folder: Path,
        options: BuildOptions,
        key: dict[str, Any],
        progress: Progress,
        *,
        resume: bool,
    ) -> None:
        self._inputs, self._folder, self._options, self._key = inputs, folder, options, key
        self._progress = progress
        self._journal = Journal(folder / "build", key, resume=resume)
        self._state = self._journal.state
        self._sampling = options.sampling
        self._spools = self._sampling.needs_counts

    def run(self, command: str) -> None:
        """Do what is not done yet, up to the index."""
        if self._state.stage == "scan":
            self._scan()
        if self._state.stage == "thin":
            self._thin()
        if not self._state.after.sum():
            for name in ("shards", "build"):
                shutil.rmtree(self._folder / name)
            raise InputError(
                f"none of {int(self._state.before.sum()):,} entries was kept",
                code="input.empty_sample",
                where=", ".join(source.name for source in self._state.sources),
                hint="another --sampling or a larger --target keeps more",
            )
        target = self._sampling.target
        if target is not None and self._state.after.sum() < target * 0.5:
            kept = int(self._state.after.sum())
            _log.warning("%d entries kept, fewer than half of the target %d", kept, target)
        self._publish(command)

    def _scan(self) -> None:
        """Read the sources; write shards, or the spool."""
        infos = self._state.spooled if self._spools else self._state.shards
        folder = self._folder / ("build/spool" if self._spools else "shards")
        writer = ShardWriter(folder, self._options.shard_size, first=len(infos))
        self._progress.start("reading", 0, "records")
        bounds = self._sampling.bounds(self._state.before)
        for number in range(max(0, len(self._state.sources) - 1), len(self._inputs)):
            with open_source(self._inputs[number]) as source:
                for record in self._unread(source, number):
                    here = self._state.sources[-1]
                    here.records += 1
                    if self._spools and here.records % _RECORDS_PER_BOUND == 0:
                        bounds = self._sampling.bounds(self._state.before)
                    entry = self._entry(source, record)
                    if entry is not None and self._choose(entry, bounds):
                        info = writer.add(entry.to_json(), entry.split)
                        if info is not None:
                            here.sha256 = source.sha256
                            self._journal.add(**{"spooled" if self._spools else "shard": info})
                self._state.sources[-1].sha256 = source.sha256
        self._progress.finish()
        self._state.stage = "thin" if self._spools else "done"
        self._journal.add(**{"spooled" if self._spools else "shard": writer.close()})

    def _unread(self, source: Source, number: int) -> Iterator[Record]:
        """Give the records behind those that an earlier run had, which must be the same."""
        if len(self._state.sources) <= number:
            name = os.path.basename(source.name)  # noqa: PTH119 (it may be <stdin>)
            self._state.sources.append(SourceState(name, source.kind))
            for note in source.notes:
                _log.warning("%s: %s", source.name, note)
        here = self._state.sources[-1]
        known, seen = here.records, 0
        for seen, record in enumerate(source.records(), start=1):
            self._progress.advance(1)
            if seen == known and source.sha256 != here.sha256:
                break
            if seen > known:
                yield record
        else:
            if seen >= known:
                return
        raise InputError(
            f"differs in its first {known:,} records from what the unfinished build read",
            code="input.changed_source",
            where=source.name,
            hint=_OTHER_INPUT,
        )

    def _entry(self, source: Source, record: Record) -> Entry | None:
        here = self._state.sources[-1]
        try:
            raw = source.parse(record)
        except BrokenRecord as error:
            where = source.where(record, error)
            if not self._options.skip_broken:
                raise InputError(
                    error.reason,
                    code="input.bad_record",
                    where=where,
                    hint="fix it, or skip it with --skip-broken",
                ) from error
            if self._state.note_broken(f"{where}: {error.reason}"):
                _log.warning("%s: %s; skipped", where, error.reason)
            return None
        return make_entry(
            raw,
            source=f"{here.name}:{here.records}",
            keep_evidence=self._options.keep_evidence,
            all_names=self._options.all_names,
        )

    def _choose(self, entry: Entry, bounds: np.ndarray) -> bool:
        """Count an entry and tell whether it goes on."""
        cluster = entry.existence or 0, entry.coverage
        self._state.before[cluster] += 1
        bound = bounds[cluster]
        kept = bound >= 1 or (bound > 0 and self._sampling.draw(entry.accession) < bound)
        kept = bool(kept or (self._options.go_only and not entry.coverage and entry.go))
        self._state.after[cluster] += kept and not self._spools
        return kept

    def _thin(self) -> None:
        """Draw from the spool with the final probabilities."""
        spool, state = self._folder / "build/spool", self._state
        probabilities = self._sampling.keep_probabilities(state.before)
        writer = ShardWriter(
            self._folder / "shards", self._options.shard_size, first=len(state.shards)
        )
        self._progress.start("sampling", sum(info.entries for info in state.spooled), "entries")
        passed, done = 0, state.thinned
        for info in state.spooled:
            if passed + info.entries <= done:
                passed += info.entries
                self._progress.advance(info.entries)
                continue
            for line in read_lines(spool, info):
                passed += 1
                self._progress.advance(1)
                if passed <= done:
                    continue
                state.thinned = passed
                entry = Entry.from_json(line)
                cluster = entry.existence or 0, entry.coverage
                if self._sampling.draw(entry.accession) < probabilities[cluster]:
                    state.after[cluster] += 1
                    shard = writer.add(line.decode().removesuffix("\n"), entry.split)
                    if shard is not None:
                        self._journal.add(shard=shard)
        self._progress.finish()
        state.stage = "done"
        self._journal.add(shard=writer.close())

    def _publish(self, command: str) -> None:
        """Write the card, the counts, and last the index, which makes the data set one."""
        state = self._state
        splits: dict[str, int] = {}
        for info in state.shards:
            for split, entries in info.splits.items():
                splits[split] = splits.get(split, 0) + entries
        index = {
            **FORMAT,
            "protclip_version": __version__,
            "command": command,
            "entries": sum(info.entries for info in state.shards),
            "splits": splits,
            "options": self._key["options"],
            "inputs": self._key["inputs"],
            "sources": [asdict(source) for source in state.sources],
            "broken": state.broken,
            "counts": {"before": state.before.tolist(), "after": state.after.tolist()},
            "shards": [info.to_dict() for info in state.shards],
        }
        table = format_rows(cluster_rows(state.before, state.after, self._sampling))
        files = {
            "counts.tsv": "\n".join(table) + "\n",
            "README.md": data_card(index, table),
            "index.json": json.dumps(index, indent=1, ensure_ascii=False) + "\n",
        }
        for name, text in files.items():
            remove_stale_temps(self._folder / name)
            write_atomic(self._folder / name, text.encode())


def _check_finished(folder: Path, key: dict[str, Any]) -> None:
    index = read_index(folder)
    if {name: index[name] for name in key} != json.loads(json.dumps(key)):
        raise UsageError(
            "holds a data set of other inputs or options",
            code="usage.output_exists",
            where=str(folder),
            hint="choose another --out",
        )
    _log.info("%s is finished already", folder)
