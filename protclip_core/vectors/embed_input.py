"""Read the whole input of a run into its spool, and report what was found."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from itertools import islice

from protclip_core.errors import InputError
from protclip_core.io.fasta import InputSummary, read_fasta
from protclip_core.io.fasta_forms import FastaForm
from protclip_core.models.info import ModelInfo
from protclip_core.progress import Progress
from protclip_core.records import Failure, RecordFlag, counted
from protclip_core.store.spool import Spool
from protclip_core.vectors.embed_request import EmbedRequest

__all__ = ["InputReport", "read_inputs"]

_log = logging.getLogger(__name__)


@dataclass
class InputReport:
    """What the input holds, and the first repeated record."""

    summary: InputSummary = field(default_factory=InputSummary)
    first_repeat: str = ""


def read_inputs(
    request: EmbedRequest,
    info: ModelInfo,
    spool: Spool,
    progress: Progress,
) -> InputReport:
    """Read FASTA files into a spool.

    Parameters
    ----------
    request
        Its inputs, read one after the other; how records are to be read; and its ``on_error``.
        ``"fail"``: bad records end the run, but only once the whole input is read, so that all
        of them are counted; ``"skip"``: they are left out and listed by the spool.
    info
        The model, which may have no way to read a record.
    spool
        Takes the records.

    Raises
    ------
    InputError
        A file that is not FASTA, damaged or empty; bad records (the first five and the count);
        with ``"skip"``, only if no record is left.
    """
    found, form = InputReport(), FastaForm(request.gaps, request.chains)
    uninformative = 0
    progress.start("reading", 0, "records")
    for source in request.inputs:
        records = read_fasta(source, on_failure=spool.refuse, summary=found.summary, form=form)
        for record in records:
            if not info.can_read(record.sequence):
                uninformative += 1
                record = replace(record, flags=record.flags | RecordFlag.UNINFORMATIVE)
            try:
                earlier = spool.add(record)
            except InputError as error:
                reason = f"{error.message}; {error.hint}" if error.hint else error.message
                code = error.code.replace("input.", "record.")
                spool.refuse(Failure(record.source, record.number, record.id, reason, code))
                continue
            finally:
                progress.advance(1)
            if earlier is not None and not found.first_repeat:
                found.first_repeat = f"{record.where} repeats {earlier}"
    progress.finish()
    if spool.num_refused and (request.on_error == "fail" or spool.num_records == 0):
        raise _refusal(spool)
    _tell(found, spool, uninformative, info.name)
    return found


def _tell(found: InputReport, spool: Spool, uninformative: int, model: str) -> None:
    """Say what was noticed about the records that are used."""
    _log.log(
        logging.WARNING if found.summary.is_changed else logging.INFO,
        "%s",
        found.summary.describe(),
    )
    if uninformative:
        _log.warning(
            "%s that model %s cannot tell from others of the same length (flag uninformative): "
            "too short, or without a stretch of known residues",
            counted(uninformative, "record"),
            model,
        )
    if found.summary.nucleotide_like:
        looks = counted(found.summary.nucleotide_like, "record looks", "records look")
        _log.warning("%s like DNA or RNA", looks)
    if spool.num_repeated:
        what = counted(spool.num_repeated, "repeated record")
        _log.warning("%s (same id, same sequence) kept once: %s", what, found.first_repeat)


def _refusal(spool: Spool) -> InputError:
    """One error for all refused records: the first five and the count."""
    first = list(islice(spool.failures(), 5))
    if spool.num_refused == 1:
        code = first[0].code.replace("record.", "input.")
        return InputError(first[0].reason, code=code, where=first[0].where)
    count, others = f"{spool.num_refused:,}", spool.num_records > 0
    return InputError(
        f"{count} records cannot be used" if others else f"none of the {count} records can be used",
        code="input.bad_records",
        hint="correct them, or leave them out with --on-error skip" if others else "correct them",
        details=[f"{failure.where}: {failure.reason}" for failure in first],
    )
