"""FASTA files to rows of vectors, block by block."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from protclip_core.engines.local import Problem
from protclip_core.progress import Progress, SilentProgress
from protclip_core.store.spool import Spool, SpooledRecord
from protclip_core.vectors.embed_job import (
    EmbedReport,
    count_failures,
    prepare,
    refuse_nothing,
    temporary_spool,
)
from protclip_core.vectors.embed_request import EmbedRequest
from protclip_core.vectors.job import EmbedJob, Engine

__all__ = ["embed_rows"]


def embed_rows(
    request: EmbedRequest,
    progress: Progress | None = None,
    *,
    see: Callable[[EmbedJob, list[str]], None] | None = None,
) -> Iterator[tuple[list[SpooledRecord], npt.NDArray[np.float32]] | EmbedReport]:
    r"""Embed and yield blocks of records with their vectors ``(n, D)``, in input order.

    Parameters
    ----------
    request
        What to embed; its output is ignored.
    progress
        Told of reading and computing.
    see
        Called with the job and the sequences of each block, in its order and as they were
        embedded, before the block is yielded.

    Yields
    ------
    tuple or EmbedReport
        Records and vectors; the last item is the report. The length of a record is that of its
        embedded residues, as in a store. Nothing is written but a temporary spool, so identical
        sequences are computed only once within a block.

    Raises
    ------
    ProtclipError
        As `protclip_core.tasks.embed.task.embed_to_store`.

    Examples
    --------
    >>> from pathlib import Path
    >>> from protclip_core import EmbedRequest, embed_rows
    >>> _ = Path("two.fasta").write_text(">a\nMKTAYIAK\n>b\nMSLLTEVE\n")
    >>> *blocks, report = embed_rows(EmbedRequest(inputs=("two.fasta",)))
    >>> [record.id for records, vectors in blocks for record in records]
    ['a', 'b']
    """
    progress = progress or SilentProgress()
    report = EmbedReport()
    with prepare(request, progress, temporary_spool()) as run, run.job.engine() as engine:
        job, spool = run.job, run.spool
        progress.start("embedding", spool.output_residues(job.limit)[1], "residues")
        started = time.perf_counter()
        # Small blocks first, so that `| head` has its lines at once.
        for block in _growing_blocks(spool.records(64)):
            found = _embed_block(job, engine, spool, block, report, progress)
            if see is not None:
                contents = spool.contents_of(found[0])
                see(job, [job.residues(contents[record.digest]) for record in found[0]])
            yield found
        report.seconds = time.perf_counter() - started
        progress.finish()
        refuse_nothing(spool, "standard output")
        count_failures(spool, report)
    yield report


def _growing_blocks(blocks: Iterator[list[SpooledRecord]]) -> Iterator[list[SpooledRecord]]:
    """Join small blocks into larger and larger ones: 64, 128, … up to 2,048 records."""
    size, block = 64, list[SpooledRecord]()
    for some in blocks:
        block += some
        if len(block) >= size:
            yield block
            size, block = min(2 * size, 2048), []
    if block:
        yield block


def _embed_block(
    job: EmbedJob,
    engine: Engine,
    spool: Spool,
    block: list[SpooledRecord],
    report: EmbedReport,
    progress: Progress,
) -> tuple[list[SpooledRecord], npt.NDArray[np.float32]]:
    """Embed one block of records; those that fail are marked and left out."""
    contents = spool.contents_of(block)
    digests = list(contents)
    sequences = [job.unpack(content) for content in contents.values()]
    vectors: dict[bytes, npt.NDArray[np.float32]] = {}
    for index, result in engine.run(sequences, job.settings):
        if isinstance(result, Problem):
            spool.mark_failed(digests[index], result, result.code)
        else:
            vectors[digests[index]] = result.vector
            report.computed += 1
            report.residues += len(sequences[index])
        progress.advance(len(sequences[index]))
    kept = [
        replace(r, flags=job.flags(r), length=job.length(r)) for r in block if r.digest in vectors
    ]
    report.records += len(kept)
    rows = [vectors[r.digest] for r in kept]
    return kept, np.stack(rows) if rows else np.empty((0, job.dim), np.float32)
