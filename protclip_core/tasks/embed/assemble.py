"""The last step: gather the finished vectors in input order, and list what is missing."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np

from protclip_core._version import __version__
from protclip_core.io.atomic import write_atomic
from protclip_core.records import printable
from protclip_core.store.part_reader import PartReader
from protclip_core.store.parts import PartStore
from protclip_core.store.reader import EmbeddingStore
from protclip_core.store.spool import Spool, SpooledRecord
from protclip_core.store.writer import StoreWriter
from protclip_core.vectors.embed_input import InputReport
from protclip_core.vectors.embed_job import EmbedJob, EmbedReport, count_failures

__all__ = ["assemble_store", "list_failures"]

_log = logging.getLogger(__name__)


def assemble_store(
    job: EmbedJob,
    spool: Spool,
    parts: PartStore,
    output: Path,
    earlier: Path | None,
    found: InputReport,
) -> int:
    """Gather the vectors in input order and publish the store.

    Records of the store that is added to (``earlier``) that the input does not name are kept,
    behind those of the input. Those that it names in a record that failed are not: a vector
    whose sequence may be another by now is worse than none.

    Returns
    -------
    int
        Records in the store.
    """
    settings, request = job.settings, job.request
    # `per_residue` is an attribute of the format itself.
    key = {name: value for name, value in job.key().items() if name != "per_residue"}
    attributes: dict[str, Any] = {
        "created_by": f"protclip {__version__}",
        "model": job.model.info.name,
        **key,
        "normalized": int(settings.space == "joint"),
        "input": " ".join(printable(name, 200) for name in request.inputs),
        "input_sha256": spool.content_sha256,
        "input_summary": found.summary.describe(),
        "command": request.command,
    }
    writer = StoreWriter(
        output,
        job.dim,
        request.store_dtype,
        attributes,
        per_residue=settings.per_residue,
        layout=request.layout,
        num_proteins=spool.output_residues()[0],
    )
    count = 0
    with writer, parts.reader() as reader:
        for block in spool.records(64 if settings.per_residue else 4096):
            _write_block(job, reader, writer, block)
            count += len(block)
        if earlier is not None:
            count += _keep_others(spool, earlier, writer)
    return count


def _keep_others(spool: Spool, earlier: Path, writer: StoreWriter) -> int:
    """Copy the records of the existing store that the input does not name."""
    kept = lost = 0
    with EmbeddingStore.open(earlier) as store:
        size = 64 if store.per_residue else 4096
        for start in range(0, len(store), size):
            ids = store.ids[start : start + size]
            rows = start + np.flatnonzero(~spool.names(ids))
            lost += int(spool.leaves_out(ids).sum())
            if not len(rows):
                continue
            residues = None
            if store.per_residue:
                residues = np.concatenate([store.residues_stored(int(row)) for row in rows])
            writer.write(
                [store.ids[row] for row in rows],
                store.read_stored(rows),
                store.lengths[rows],
                store.flags[rows],
                store.digests[rows],
                residues,
            )
            kept += len(rows)
    if kept:
        _log.warning("%s records of %s that the input does not name are kept", f"{kept:,}", earlier)
    if lost:
        what = f"{lost:,} record{' of' if lost == 1 else 's of'} {earlier}"
        how = "is" if lost == 1 else "are"
        _log.warning("%s %s left out now, since the input's record of that id failed", what, how)
    return kept


def _write_block(
    job: EmbedJob,
    reader: PartReader,
    writer: StoreWriter,
    block: list[SpooledRecord],
) -> None:
    vectors = np.empty((len(block), job.dim), np.dtype(job.request.store_dtype))
    lengths = np.empty(len(block), np.int64)
    residues: list[np.ndarray] = [np.empty(0)] * len(block)
    # Part by part, so that each is opened once at most for the block.
    for i in sorted(range(len(block)), key=lambda i: (block[i].part, block[i].row)):
        record = block[i]
        row = reader.read(record.part, record.row)
        vectors[i], lengths[i] = row.vector, row.length
        if row.residues is not None:
            residues[i] = row.residues
    writer.write(
        [record.id for record in block],
        vectors,
        lengths,
        np.array([int(job.flags(record)) for record in block], np.uint16),
        np.frombuffer(b"".join(record.digest for record in block), np.uint8).reshape(-1, 32),
        np.concatenate(residues) if job.settings.per_residue else None,
    )


def failures_path(output: Path) -> Path:
    """Return the table of failed records of a store: ``OUT.h5.failed.tsv`` next to it."""
    return output.with_name(f"{output.name}.failed.tsv")


def list_failures(spool: Spool, output: Path, report: EmbedReport) -> None:
    """Write the table of failed records next to the output, or remove an old one."""
    path = failures_path(output)
    count_failures(spool, report)
    if report.num_failures == 0:
        path.unlink(missing_ok=True)
        return
    lines = ["source\trecord\tprotein_id\treason\n"]
    lines += [
        f"{printable(f.source, 500)}\t{f.number}\t{printable(f.id, 500)}\t{f.reason}\n"
        for f in spool.failures()
    ]
    write_atomic(path, "".join(lines).encode())
    report.failures_path = path
