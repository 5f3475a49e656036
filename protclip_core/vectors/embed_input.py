"""Read the whole input of a run into its spool, and report what was found."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice, repeat

from protclip_core.errors import InputError
from protclip_core.io.fasta import read_fasta
from protclip_core.io.fasta_forms import FastaForm
from protclip_core.io.input_summary import InputSummary
from protclip_core.io.proteins import chain_sequence
from protclip_core.io.structures import StructureSummary, read_structures
from protclip_core.io.structures.packed import pack_chain
from protclip_core.models.info import ModelInfo
from protclip_core.progress import Progress
from protclip_core.records import Failure, ProteinRecord, RecordFlag, counted
from protclip_core.store.spool import Spool
from protclip_core.vector_spec import STRUCTURE
from protclip_core.vectors.embed_request import EmbedRequest

__all__ = ["InputReport", "read_inputs"]

_log = logging.getLogger(__name__)


@dataclass
class InputReport:
    """What the input holds, and the first repeated record and chain that was passed over."""

    summary: InputSummary = field(default_factory=InputSummary)
    structures: StructureSummary = field(default_factory=StructureSummary)
    first_repeat: str = ""
    first_passed: str = ""

    def describe(self) -> str:
        """Return one line for the user."""
        if not self.structures.files:
            return self.summary.describe()
        told = self.summary.describe()
        if self.summary.records == self.structures.chains:
            told = told.partition("; ")[2]  # without counts, which the structures have
        return "; ".join(filter(None, [self.structures.describe(), told]))

    def pass_over(self, failure: Failure) -> None:
        """Note a chain that is not of protein."""
        self.first_passed = self.first_passed or f"{failure.where}: {failure.reason}"


def read_inputs(
    request: EmbedRequest,
    info: ModelInfo,
    spool: Spool,
    progress: Progress,
    structures: Collection[str] = (),
) -> InputReport:
    """Read FASTA and structure files into a spool.

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
    structures
        Those inputs that hold structures; chains are added with their coordinates if the
        request's modality is that, else as sequences alone.

    Raises
    ------
    InputError
        A FASTA file that is none, damaged or empty; bad records (the first five and the count);
        with ``"skip"``, only if no record is left.
    """
    found, form = InputReport(), FastaForm(request.gaps, request.complexes)
    uninformative = 0
    progress.start("reading", 0, "records")
    whole = request.modality == STRUCTURE
    for source in request.inputs:
        records: Iterable[tuple[ProteinRecord, bytes | None]] = (
            _chains_of(source, spool, found, request.chains or (), whole=whole)
            if source in structures
            else zip(
                read_fasta(source, on_failure=spool.refuse, summary=found.summary, form=form),
                repeat(None),
            )
        )
        for record, content in records:
            if not whole and not info.can_read(record.sequence):
                uninformative += 1
                record = replace(record, flags=record.flags | RecordFlag.UNINFORMATIVE)
            try:
                earlier = spool.add(record, content)
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
    _tell(found)
    if uninformative:
        _log.warning(
            "%s that model %s cannot tell from others of the same length (flag uninformative): "
            "too short, or without a stretch of known residues",
            counted(uninformative, "record"),
            info.name,
        )
    if found.summary.nucleotide_like:
        looks = counted(found.summary.nucleotide_like, "record looks", "records look")
        _log.warning("%s like DNA or RNA", looks)
    if spool.num_repeated:
        what = counted(spool.num_repeated, "repeated record")
        _log.warning("%s (same id, same sequence) kept once: %s", what, found.first_repeat)
    return found


def _chains_of(
    source: str, spool: Spool, found: InputReport, chains: Collection[str], *, whole: bool
) -> Iterator[tuple[ProteinRecord, bytes | None]]:
    """Yield the chains of structure files as their sequences and, if wanted, as a whole."""
    for record in read_structures(
        [source],
        chains=chains,
        on_failure=spool.refuse,
        on_pass=found.pass_over,
        summary=found.structures,
    ):
        sequence = chain_sequence(record)
        found.summary.add(sequence)
        yield sequence, pack_chain(record.chain) if whole else None


def _tell(found: InputReport) -> None:
    """Say what was read, with a warning of what was changed or left out."""
    summary, structures = found.summary, found.structures
    left = structures.passed or structures.dropped or structures.several_models
    _log.log(
        logging.WARNING if summary.is_changed or left else logging.INFO, "%s", found.describe()
    )
    if found.first_passed:
        _log.warning("passed over, the first: %s", found.first_passed)
    if structures.incomplete:
        what = counted(structures.incomplete, "chain shows", "chains show")
        first = structures.first_incomplete
        _log.warning("%s less than half of the sequence, the first: %s", what, first)


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
