"""Read the whole input of a run into its spool, and report what was found."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice

from protclip_core.errors import InputError
from protclip_core.io.fasta import InputSummary, read_fasta
from protclip_core.progress import Progress
from protclip_core.records import Failure, counted
from protclip_core.store.spool import Spool

__all__ = ["InputReport", "read_inputs"]

_log = logging.getLogger(__name__)


@dataclass
class InputReport:
    """What the input holds, and the first repeated record."""

    summary: InputSummary = field(default_factory=InputSummary)
    first_repeat: str = ""


def read_inputs(
    inputs: Sequence[str], spool: Spool, on_error: str, progress: Progress
) -> InputReport:
    """Read FASTA files into a spool.

    Parameters
    ----------
    inputs
        Paths, ``-`` for standard input; read one after the other.
    spool
        Takes the records.
    on_error
        ``"fail"``: bad records end the run, but only once the whole input is read, so that all
        of them are counted; ``"skip"``: they are left out and listed by the spool.

    Raises
    ------
    InputError
        A file that is not FASTA, damaged or empty; bad records (the first five and the count);
        with ``"skip"``, only if no record is left.
    """
    found = InputReport()
    progress.start("reading", 0, "records")
    for source in inputs:
        for record in read_fasta(source, on_failure=spool.refuse, summary=found.summary):
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
    if spool.num_refused and (on_error == "fail" or spool.num_records == 0):
        raise _refusal(spool)
    _log.info("%s", found.summary.describe())
    if found.summary.unusual or found.summary.stops_stripped or found.summary.lowercase_records:
        _log.warning("%s", found.summary.describe())
    if found.summary.nucleotide_like:
        looks = counted(found.summary.nucleotide_like, "record looks", "records look")
        _log.warning("%s like DNA or RNA", looks)
    if spool.num_repeated:
        what = counted(spool.num_repeated, "repeated record")
        _log.warning("%s (same id, same sequence) kept once: %s", what, found.first_repeat)
    return found


def _refusal(spool: Spool) -> InputError:
    """One error for all refused records: the first five and the count."""
    first = list(islice(spool.failures(), 5))
    if spool.num_refused == 1:
        code = first[0].code.replace("record.", "input.")
        return InputError(first[0].reason, code=code, where=first[0].where)
    return InputError(
        f"{spool.num_refused:,} records cannot be used",
        code="input.bad_records",
        hint="correct them, or leave them out with --on-error skip",
        details=[f"{failure.where}: {failure.reason}" for failure in first],
    )
