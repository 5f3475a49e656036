"""The long step: embed what no finished part holds, and commit parts as they fill."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import numpy as np

from protclip_core.engines.local import LocalEngine
from protclip_core.errors import UsageError
from protclip_core.models.protein import Embedded
from protclip_core.progress import Progress
from protclip_core.store.parts import PartStore
from protclip_core.store.reader import EmbeddingStore
from protclip_core.store.spool import PendingSequence, Spool
from protclip_core.vectors.embed_job import EmbedJob, EmbedReport

__all__ = ["check_same_settings", "compute_parts", "part_seconds"]

_log = logging.getLogger(__name__)

#: A window of sequences: the engine sorts within it, results of one window are in memory.
_WINDOW_SEQUENCES, _WINDOW_RESIDUES = 8192, 1_000_000
#: A part is committed when it is this large, or as old as `part_seconds` says.
_PART_BYTES = 32 << 20


def compute_parts(
    job: EmbedJob, spool: Spool, parts: PartStore, earlier: Path | None, progress: Progress
) -> EmbedReport:
    """Embed what neither a part nor the store that is added to (``earlier``) holds."""
    report = EmbedReport()
    for number, digests in parts.digests():
        report.reused += spool.mark_done(number, digests)
    if earlier is not None:
        report.reused += _take_over(spool, parts, earlier)
    if report.reused:
        _log.info("%s finished sequences are reused", f"{report.reused:,}")
    pending, residues = spool.count_pending()
    progress.start("embedding", residues, "residues")
    started = time.perf_counter()
    if pending:
        with job.engine() as engine:
            buffer = _PartBuffer(job, spool, parts)
            try:
                for window in spool.pending(_WINDOW_SEQUENCES, _WINDOW_RESIDUES):
                    _embed_window(job, engine, window, buffer, report, progress)
            finally:
                # Also on a signal or an error: what is finished stays finished.
                buffer.commit()
    report.seconds = time.perf_counter() - started
    progress.finish()
    return report


def _embed_window(
    job: EmbedJob,
    engine: LocalEngine,
    window: list[PendingSequence],
    buffer: _PartBuffer,
    report: EmbedReport,
    progress: Progress,
) -> None:
    sequences = [item.residues[: job.limit] for item in window]
    for index, result in engine.run(sequences, job.settings):
        item = window[index]
        if isinstance(result, str):
            buffer.fail(item, result)
        else:
            problem = buffer.add(item, len(sequences[index]), result)
            report.computed += problem is None
            report.residues += len(sequences[index])
        progress.advance(len(item.residues))


def part_seconds(elapsed: float) -> float:
    """Return how old a part may grow: a kill then costs at most a twentieth of a run's time.

    Two seconds at first; half a minute after ten, so that a long run makes no heap of tiny files.
    """
    return max(2.0, min(30.0, elapsed / 20))


class _PartBuffer:
    """Results on their way into the next part."""

    def __init__(self, job: EmbedJob, spool: Spool, parts: PartStore) -> None:
        self._job, self._spool, self._parts = job, spool, parts
        self._items: list[tuple[PendingSequence, int, Embedded]] = []
        self._bytes = 0
        self._began = self._since = time.monotonic()

    def add(self, item: PendingSequence, length: int, result: Embedded) -> str | None:
        """Take a result; returns why it cannot be stored, or ``None``."""
        if self._job.request.store_dtype == "float16":
            arrays = (result.vector, result.residues)
            if any(a is not None and np.abs(a).max() > np.finfo(np.float16).max for a in arrays):
                problem = "its vector is too large for float16"
                self.fail(item, problem)
                return problem
        self._items.append((item, length, result))
        self._bytes += result.vector.nbytes
        self._bytes += result.residues.nbytes if result.residues is not None else 0
        now = time.monotonic()
        old = now - self._since >= part_seconds(now - self._began)
        if old or self._bytes >= _PART_BYTES:
            self.commit()
        return None

    def fail(self, item: PendingSequence, problem: str) -> None:
        """Note that a sequence has no vector."""
        self._spool.mark_failed(item.key, problem)

    def commit(self) -> None:
        """Make a part of what is there; afterwards it survives a kill."""
        if self._items:
            items = self._items
            digest = np.frombuffer(b"".join(i.digest for i, _, _ in items), np.uint8).reshape(
                -1, 32
            )
            kind = np.dtype(self._job.request.store_dtype)
            residues = None
            if self._job.settings.per_residue:
                found = [r.residues for _, _, r in items if r.residues is not None]
                residues = np.concatenate(found).astype(kind, copy=False)
            number = self._parts.append(
                digest,
                np.stack([r.vector for _, _, r in items]).astype(kind, copy=False),
                np.array([length for _, length, _ in items], np.int64),
                np.zeros(len(items), np.uint16),
                residues,
            )
            self._spool.mark_done(number, digest)
            # Last, so that a signal in between loses nothing: a part may well be there twice.
            self._items, self._bytes = [], 0
        self._since = time.monotonic()


def check_same_settings(job: EmbedJob, output: Path) -> None:
    """Refuse to add to a store whose vectors were made another way."""
    with EmbeddingStore.open(output) as store:
        key = job.key()
        have = {**store.attributes, "per_residue": int(store.per_residue)}
    other = {name: have.get(name) for name in key if have.get(name) != key[name]}
    if other:
        differences = ", ".join(f"{name} is {v!r}, now {key[name]!r}" for name, v in other.items())
        raise UsageError(
            f"was made with other settings ({differences})",
            where=str(output),
            hint="choose another -o, or replace it with --overwrite",
        )


def _take_over(spool: Spool, parts: PartStore, earlier: Path) -> int:
    """Copy the vectors of an existing store that the run asks for into parts."""
    taken = 0
    with EmbeddingStore.open(earlier) as store:
        for start in range(0, len(store), 1024):
            end = min(start + 1024, len(store))
            rows = start + np.flatnonzero(spool.wanted(store.digests[start:end]))
            if not len(rows):
                continue
            residues = None
            if store.per_residue:
                residues = np.concatenate([store.residues_stored(int(row)) for row in rows])
            digests = store.digests[rows]
            number = parts.append(
                digests, store.read_stored(rows), store.lengths[rows], store.flags[rows], residues
            )
            taken += spool.mark_done(number, digests)
    return taken
