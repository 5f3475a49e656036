"""Embed FASTA files: into a store that survives a kill, or as rows for a pipe.

The order of work: read and check the whole input (`Spool`), see that the disk suffices, load the
model, compute what no finished part holds, commit parts as they fill, assemble the store. Only
the last step writes the output's path, by a rename.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from protclip_core.errors import UsageError
from protclip_core.io.atomic import check_writable_target, file_lock, require_space
from protclip_core.io.outputs import check_outputs, lock_name
from protclip_core.models.info import describe_model
from protclip_core.progress import Progress, SilentProgress
from protclip_core.store.journal import mark_replaces, read_journal, replaces
from protclip_core.store.parts import PartStore, partial_folder
from protclip_core.store.spool import Spool
from protclip_core.tasks.embed.assemble import assemble_store, failures_path, list_failures
from protclip_core.tasks.embed.compute import check_same_settings, compute_parts
from protclip_core.vectors.embed_input import read_inputs
from protclip_core.vectors.embed_job import (
    EmbedReport,
    apply_long_policy,
    check_early,
    disk_bytes,
    load_job,
    refuse_nothing,
    settings_without_weights,
    width_of,
)
from protclip_core.vectors.embed_request import EmbedRequest

__all__ = ["embed_to_store"]

_log = logging.getLogger(__name__)


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
        Contradicting options, an output that is there already, or a resume with other settings.
    ModelError, ResourceError, BusyError
        As their names say. Finished proteins are kept for ``resume``.

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
    info = describe_model(request.model)
    check_early(request, info)
    folder = partial_folder(output)
    records = output.with_name(f".{output.name}.records")
    check_outputs(
        (*request.inputs, request.model),
        (output, failures_path(output), lock_name(output), records),
        folders=(folder,),
        hint="choose another -o",
    )
    check_writable_target(output)
    _refuse_existing(request, output, folder)
    with ExitStack() as stack:
        stack.enter_context(file_lock(output))
        _refuse_existing(request, output, folder)  # another process may have finished meanwhile
        earlier = _store_added_to(request, output, folder)
        spool = stack.enter_context(Spool(records))
        found = read_inputs(request.inputs, spool, request.on_error, progress)
        early = settings_without_weights(request, info)
        if early is not None:
            apply_long_policy(request, early, spool)
            needed = disk_bytes(spool, width_of(info, early), request, early)
            require_space(output, needed + _old_bytes(spool, earlier, folder))
        job = load_job(request, info)
        if early is None:
            apply_long_policy(request, job.settings, spool)
            needed = disk_bytes(spool, job.dim, request, job.settings)
            require_space(output, needed + _old_bytes(spool, earlier, folder))
        if earlier is not None:
            check_same_settings(job, earlier)
        with _closing_parts(output, folder):
            parts = PartStore.open(
                folder, job.key(), resume=request.resume, overwrite=request.overwrite
            )
            if request.overwrite and output.exists():
                mark_replaces(folder, output)
            report = compute_parts(job, spool, parts, earlier, progress)
            refuse_nothing(spool, str(output))
            # Before the store appears: where it is, the list of what it lacks is beside it.
            list_failures(spool, output, report)
            report.records = assemble_store(job, spool, parts, output, earlier, found)
            parts.discard()
    return report


def _refuse_existing(request: EmbedRequest, output: Path, folder: Path) -> None:
    """Refuse what is there already, be it finished or not, unless told what to do with it."""
    if output.exists() and not (request.resume or request.overwrite):
        raise UsageError(
            "is there already",
            where=str(output),
            hint="choose another -o, add to it with --resume, or replace it with --overwrite",
        )
    finished = sum(entry.n for entry in read_journal(folder)[0].values())
    if finished and not (request.resume or request.overwrite):
        raise UsageError(
            f"{finished:,} proteins are already finished by an earlier run",
            where=str(folder),
            hint="continue it with --resume, or discard it with --overwrite",
        )


def _store_added_to(request: EmbedRequest, output: Path, folder: Path) -> Path | None:
    """Return the output if its records are to be kept, ``None`` if it is new or replaced."""
    adds = request.resume and output.exists() and not replaces(folder, output)
    return output if adds else None


def _old_bytes(spool: Spool, earlier: Path | None, folder: Path) -> int:
    """Bytes to add to what a run needs: less by what it has written, more by a store added to."""
    kept = earlier.stat().st_size if earlier is not None else 0
    entries = read_journal(folder)[0].values()
    return kept - spool.bytes_on_disk - sum(entry.bytes for entry in entries)


@contextmanager
def _closing_parts(output: Path, folder: Path) -> Iterator[None]:
    """When a run ends early: tell that its finished proteins are kept, if there are any."""
    try:
        yield
    except UsageError:
        raise  # of `PartStore.open`: what is there belongs to another run
    except BaseException:
        if read_journal(folder)[0]:
            _log.warning("finished proteins of %s are kept; go on with --resume", output)
        else:
            PartStore(folder, {}).discard()
        raise
