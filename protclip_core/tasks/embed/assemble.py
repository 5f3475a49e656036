"""The last step: gather the finished vectors in order, and list the records without one."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from protclip_core._version import __version__
from protclip_core.io.atomic import write_atomic
from protclip_core.io.input_summary import InputSummary
from protclip_core.records import RecordFlag, counted, printable
from protclip_core.store.reader import EmbeddingStore
from protclip_core.store.spool import Spool, SpooledRecord
from protclip_core.store.work import Work
from protclip_core.store.writer import StoreWriter
from protclip_core.vectors.embed_input import InputReport
from protclip_core.vectors.embed_job import EmbedReport, count_failures
from protclip_core.vectors.job import EmbedJob

__all__ = ["assemble_store", "failures_path", "list_failures", "note_provenance"]

_log = logging.getLogger(__name__)

_Blocks = Iterator[list[SpooledRecord]]


def assemble_store(
    job: EmbedJob, work: Work, output: Path, earlier: EmbeddingStore | None, found: InputReport
) -> int:
    """Gather the vectors and publish the store.

    The records of the store that is added to (``earlier``) come first, in their order, those that
    the input names with its sequence; then the other records of the input; then those of an
    interrupted run that the input does not name. A record of ``earlier`` is left out if the input
    names it in a record that failed: a vector that may be of another sequence is worse than none.

    Returns
    -------
    int
        Records in the store.
    """
    settings, request = job.settings, job.request
    _log.info("writing %s", output)
    size = 64 if settings.per_residue else 4096
    content, told = work.content_sha256, found.describe()
    if earlier is not None or work.resumed:
        content, summary = _account(_blocks(work, earlier, size), earlier)
        told = summary.describe()
    # `per_residue` is an attribute of the format itself.
    key = {name: value for name, value in job.key().items() if name != "per_residue"}
    attributes: dict[str, Any] = {
        "created_by": f"protclip {__version__}",
        "model": job.info.name,
        **key,
        "normalized": int(settings.space == "joint"),
        "input": " ".join(work.note("input")),
        "input_sha256": content,
        "input_summary": told,
        "command": " && ".join(work.note("command")),
    }
    count = 0
    with StoreWriter(
        output,
        job.dim,
        request.store_dtype,
        attributes,
        per_residue=settings.per_residue,
        layout=request.layout,
        is_cut=request.long == "truncate",
        num_proteins=work.output_residues()[0] + (len(earlier) if earlier is not None else 0),
    ) as writer:
        for block in filter(None, _blocks(work, earlier, size)):
            _write_block(job, work, earlier, writer, block)
            count += len(block)
    return count


def note_provenance(job: EmbedJob, work: Work, earlier: EmbeddingStore | None) -> None:
    """Note the inputs and commands of all runs whose records are in the output."""
    request = job.request
    inputs = [printable(name, 200) for name in request.inputs]
    for name, now in (("input", inputs), ("command", [request.command] if request.command else [])):
        before = work.note(name, []) if work.resumed else []
        if earlier is not None and (told := earlier.attributes.get(name)):
            before = [told, *(value for value in before if value != told)]
        work.set_note(name, [*before, *(value for value in now if value not in before)])


def _blocks(work: Work, earlier: EmbeddingStore | None, size: int) -> _Blocks:
    """Yield the records of the output, in order."""
    if earlier is None:
        yield from work.records(size)
        return
    for start in range(0, len(earlier), size):
        ids = earlier.ids[start : start + size]
        names = work.names(ids)
        yield [
            record or _record(earlier, row)
            for row, named, record in zip(
                range(start, start + len(ids)), names, work.find(ids), strict=True
            )
            if record is not None or not named
        ]
    for block in work.records(size):
        yield [record for record in block if record.id not in earlier]


def _record(store: EmbeddingStore, row: int) -> SpooledRecord:
    flags = RecordFlag(int(store.flags[row]))
    # Of a sequence that an earlier version cut, only what was embedded is known.
    length = int(store.sequence_lengths[row]) or int(store.lengths[row])
    return SpooledRecord(store.ids[row], flags, length, store.digests[row].tobytes(), row=row)


def _account(blocks: _Blocks, earlier: EmbeddingStore | None) -> tuple[str, InputSummary]:
    """Return the content hash and the counts of all records; warn about those of the store."""
    digest, summary, kept, found = hashlib.sha256(), InputSummary(), 0, 0
    for record in (record for block in blocks for record in block):
        digest.update(record.id.encode() + b"\0" + record.digest)
        summary.records += 1
        summary.residues += record.length
        summary.longest = max(summary.longest, record.length)
        summary.add_flags(record.flags)
        kept += record.key < 0
        found += earlier is not None and record.id in earlier
    if earlier is not None and kept:
        what = counted(kept, "record")
        _log.warning("%s of %s kept that the input does not name", what, earlier.path)
    if earlier is not None and (lost := len(earlier) - found):
        what = f"{counted(lost, 'record')} of {earlier.path}"
        _log.warning("%s left out now, since the input's record of that id failed", what)
    return digest.hexdigest(), summary


def _write_block(
    job: EmbedJob,
    work: Work,
    earlier: EmbeddingStore | None,
    writer: StoreWriter,
    block: list[SpooledRecord],
) -> None:
    dtype, per_residue = np.dtype(job.request.store_dtype), job.settings.per_residue
    vectors = np.empty((len(block), job.dim), dtype)
    residues: list[np.ndarray] = [np.empty((0, job.dim), dtype)] * len(block)
    stored = [i for i, record in enumerate(block) if record.row >= 0]
    if earlier is not None and stored:
        vectors[stored] = earlier.read_stored([block[i].row for i in stored])
        if per_residue:
            for i in stored:
                residues[i] = earlier.residues_stored(block[i].row)
    for i, record in enumerate(block):
        if record.row < 0:
            values = work.read(record.key, job.dim, dtype)
            vectors[i], residues[i] = values[0], values[1:]
    writer.write(
        [record.id for record in block],
        vectors,
        np.array([job.length(record) for record in block], np.int64),
        np.array([int(job.flags(record)) for record in block], np.uint16),
        np.frombuffer(b"".join(record.digest for record in block), np.uint8).reshape(-1, 32),
        np.concatenate(residues) if per_residue else None,
        _whole_lengths(block, earlier) if writer.is_cut else None,
    )


def _whole_lengths(block: list[SpooledRecord], earlier: EmbeddingStore | None) -> np.ndarray:
    """Return the lengths of whole sequences, 0 where an earlier version did not keep them."""
    lengths = [
        int(earlier.sequence_lengths[record.row])
        if earlier is not None and record.key < 0
        else record.length
        for record in block
    ]
    return np.array(lengths, np.int64)


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
