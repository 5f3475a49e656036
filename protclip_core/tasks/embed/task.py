"""Embed FASTA files into a store; a run that is killed can be resumed.

The order of work: read and check the whole input, see that the disk suffices, load the model,
compute what the working file does not hold, commit as vectors come, assemble the store. Only the
last step writes the output's path, by a rename.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

from protclip_core.errors import UsageError
from protclip_core.io.atomic import check_writable_target, file_lock, require_space
from protclip_core.io.inputs import expand_inputs
from protclip_core.io.outputs import check_outputs, lock_name
from protclip_core.progress import Progress, SilentProgress
from protclip_core.store.reader import EmbeddingStore
from protclip_core.store.work import Work, partial_folder
from protclip_core.tasks.embed.assemble import (
    assemble_store,
    failures_path,
    list_failures,
    note_provenance,
)
from protclip_core.tasks.embed.compute import check_same_settings, compute_parts
from protclip_core.vectors.embed_job import EmbedReport, prepare, refuse_nothing
from protclip_core.vectors.embed_request import EmbedRequest

__all__ = ["embed_to_store"]


def embed_to_store(request: EmbedRequest, progress: Progress | None = None) -> EmbedReport:
    r"""Embed into ``request.output``.

    Parameters
    ----------
    request
        What to do; ``output`` is set.
    progress
        Told of reading and computing.

    Raises
    ------
    InputError
        Bad input; nothing is written. With ``on_error="skip"`` bad records are left out instead.
    UsageError
        Options that contradict each other, an output that already exists, or a resume with other
        settings.
    ModelError, ResourceError, BusyError
        A bad model or store, a full disk or memory, another writer. Finished proteins are kept
        for ``resume``.

    Examples
    --------
    >>> from pathlib import Path
    >>> from protclip_core import EmbedRequest, embed_to_store
    >>> _ = Path("two.fasta").write_text(">a\nMKTAYIAK\n>b\nMSLLTEVE\n")
    >>> request = EmbedRequest(inputs=("two.fasta",), output=Path("two.h5"), overwrite=True)
    >>> embed_to_store(request).records
    2
    """
    progress = progress or SilentProgress()
    output = request.output
    assert output is not None
    request = replace(request, inputs=expand_inputs(request.inputs))
    with prepare(request, progress, _claimed(request, output)) as run:
        work = run.spool
        assert isinstance(work, Work)
        adds = request.resume and output.exists() and work.note("replaces") != _stamp(output)
        with EmbeddingStore.open(output) if adds else nullcontext() as earlier:
            kept = output.stat().st_size if adds else 0
            require_space(output, run.disk_bytes() + kept - work.bytes_on_disk)
            job = run.job
            if earlier is not None:
                check_same_settings(job, earlier)
            if request.overwrite and output.exists():
                work.set_note("replaces", _stamp(output))
            note_provenance(job, work, earlier)
            work.begin(job.key())
            report = compute_parts(job, work, earlier, progress)
            refuse_nothing(work, str(output))
            # Before the store appears: wherever it is, the list of what it lacks is next to it.
            list_failures(work, output, report)
            report.records = assemble_store(job, work, output, earlier, run.found)
        work.finish()
    return report


@contextmanager
def _claimed(request: EmbedRequest, output: Path) -> Iterator[Work]:
    """Give the working file of an output that this run alone may write."""
    check_writable_target(output)
    check_outputs(
        (*request.inputs, request.model),
        (output, failures_path(output), lock_name(output)),
        folders=(partial_folder(output),),
        hint="choose another -o",
    )
    _refuse_existing(request, output)
    with file_lock(output):
        _refuse_existing(request, output)  # another process may have finished meanwhile
        with Work(output, resume=request.resume, overwrite=request.overwrite) as work:
            yield work


def _refuse_existing(request: EmbedRequest, output: Path) -> None:
    """Refuse an output that exists, unless told what to do with it."""
    if output.exists() and not (request.resume or request.overwrite):
        raise UsageError(
            "already exists",
            code="usage.output_exists",
            where=str(output),
            hint="choose another -o, add to it with --resume, or replace it with --overwrite",
        )


def _stamp(path: Path) -> list[int]:
    """Tell an output from any other in its place."""
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]
