"""The long step: embed what has no vector yet, and commit finished vectors as they come."""

from __future__ import annotations

import logging
import time

import numpy as np

from protclip_core.engines.local import Problem
from protclip_core.errors import UsageError
from protclip_core.models.protein import Embedded
from protclip_core.progress import Progress
from protclip_core.records import counted
from protclip_core.store.reader import EmbeddingStore
from protclip_core.store.spool import PendingSequence
from protclip_core.store.work import Work
from protclip_core.vector_spec import SEQUENCE
from protclip_core.vectors.embed_job import EmbedReport
from protclip_core.vectors.job import EmbedJob, Engine

__all__ = ["check_same_settings", "compute_parts", "part_seconds"]

_log = logging.getLogger(__name__)

#: A window of sequences: the engine sorts within it, results of one window are in memory.
_WINDOW_SEQUENCES, _WINDOW_RESIDUES = 8192, 1_000_000
#: Vectors are committed when there are this many, or as old as `part_seconds` says.
_PART_BYTES = 32 << 20


def compute_parts(
    job: EmbedJob, work: Work, earlier: EmbeddingStore | None, progress: Progress
) -> EmbedReport:
    """Embed what neither the working file nor the store that is added to (``earlier``) holds."""
    report = EmbedReport(modality=job.spec.modality or SEQUENCE)
    if earlier is not None:
        work.mark_stored(earlier.digests)
    report.reused = work.count_done()
    if report.reused:
        _log.info("%s reused", counted(report.reused, "finished sequence"))
    pending, residues = work.count_pending()
    _log.info("embedding %s, %s", counted(pending, "sequence"), counted(residues, "residue"))
    progress.start("embedding", residues, "residues")
    started = time.perf_counter()
    if pending:
        with job.engine() as engine:
            buffer = _PartBuffer(job, work)
            try:
                for window in work.pending(_WINDOW_SEQUENCES, _WINDOW_RESIDUES):
                    _embed_window(job, engine, window, buffer, report, progress)
            finally:
                # Also on a signal or an error: what is finished stays finished.
                buffer.commit()
    report.seconds = time.perf_counter() - started
    progress.finish()
    return report


def _embed_window(
    job: EmbedJob,
    engine: Engine,
    window: list[PendingSequence],
    buffer: _PartBuffer,
    report: EmbedReport,
    progress: Progress,
) -> None:
    sequences = [job.unpack(item.content) for item in window]
    for index, result in engine.run(sequences, job.settings):
        if buffer.add(window[index], result):
            report.computed += 1
            report.residues += len(sequences[index])
        progress.advance(window[index].length)


def part_seconds(elapsed: float) -> float:
    """Return the longest time between commits: a kill costs at most a twentieth of a run's time.

    Two seconds at first; half a minute after ten, so that a long run does not commit too often.
    """
    return max(2.0, min(30.0, elapsed / 20))


class _PartBuffer:
    """Results on their way into the next commit."""

    def __init__(self, job: EmbedJob, work: Work) -> None:
        self._work = work
        self._dtype = np.dtype(job.request.store_dtype)
        self._items: list[tuple[int, np.ndarray, np.ndarray | None]] = []
        self._bytes = 0
        self._began = self._since = time.monotonic()

    def add(self, item: PendingSequence, result: Embedded | Problem) -> bool:
        """Take a result; returns whether there is a vector that can be stored."""
        if not isinstance(result, Problem) and not self._fits(result):
            result = Problem("its vector is too large for float16", "record.too_large")
        if isinstance(result, Problem):
            self._work.mark_failed(item.digest, result, result.code)
            return False
        residues = None if result.residues is None else result.residues.astype(self._dtype)
        vector = result.vector.astype(self._dtype)
        self._items.append((item.key, vector, residues))
        self._bytes += vector.nbytes + (0 if residues is None else residues.nbytes)
        now = time.monotonic()
        old = now - self._since >= part_seconds(now - self._began)
        if old or self._bytes >= _PART_BYTES:
            self.commit()
        return True

    def commit(self) -> None:
        """Put what is there into the working file; afterwards it survives a kill."""
        if self._items:
            self._work.commit(self._items)
            # Last, so that a signal in between loses nothing: a vector may be stored twice.
            self._items, self._bytes = [], 0
        self._since = time.monotonic()

    def _fits(self, result: Embedded) -> bool:
        if self._dtype != np.float16:
            return True
        most = np.finfo(np.float16).max
        arrays = (result.vector, result.residues)
        return all(a is None or np.abs(a).max() <= most for a in arrays)


def check_same_settings(job: EmbedJob, store: EmbeddingStore) -> None:
    """Refuse to add to a store whose vectors were made with other settings."""
    key = {"modality": SEQUENCE, **job.key()}
    have = {"modality": SEQUENCE, **store.attributes, "per_residue": int(store.per_residue)}
    other = {name: have.get(name) for name in key if have.get(name) != key[name]}
    if other:
        differences = ", ".join(f"{name} is {v!r}, now {key[name]!r}" for name, v in other.items())
        raise UsageError(
            f"was made with other settings ({differences})",
            code="usage.other_settings",
            where=str(store.path),
            hint="choose another -o, or replace it with --overwrite",
        )
