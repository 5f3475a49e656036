"""Read the whole input of a run into its spool, and report what was found."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice, repeat

from protclip_core.errors import InputError
from protclip_core.io.fasta import InputSummary, read_fasta
from protclip_core.io.proteins import chain_sequence
from protclip_core.io.structures import StructureSummary, read_structures
from protclip_core.io.structures.packed import pack_chain
from protclip_core.progress import Progress
from protclip_core.records import Failure, ProteinRecord, counted
from protclip_core.store.spool import Spool

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
    inputs: Sequence[str],
    spool: Spool,
    on_error: str,
    progress: Progress,
    *,
    structures: Collection[str] = (),
    chains: Collection[str] = (),
    whole: bool = False,
) -> InputReport:
    """Read FASTA and structure files into a spool.

    Parameters
    ----------
    inputs
        Paths, ``-`` for standard input; read one after the other.
    spool
        Takes the records.
    on_error
        ``"fail"``: bad records end the run, but only once the whole input is read, so that all
        of them are counted; ``"skip"``: they are left out and listed by the spool.
    structures
        Those inputs that hold structures.
    chains
        Chains to read of those; all if empty.
    whole
        Whether chains are added with their coordinates, not as sequences alone.

    Raises
    ------
    InputError
        A FASTA file that is none, damaged or empty; bad records (the first five and the count);
        with ``"skip"``, only if no record is left.
    """
    found = InputReport()
    progress.start("reading", 0, "records")
    for source in inputs:
        records: Iterable[tuple[ProteinRecord, bytes | None]] = (
            _chains_of(source, spool, found, chains, whole=whole)
            if source in structures
            else zip(
                read_fasta(source, on_failure=spool.refuse, summary=found.summary), repeat(None)
            )
        )
        for record, content in records:
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
    if spool.num_refused and (on_error == "fail" or spool.num_records == 0):
        raise _refusal(spool)
    _tell(found)
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
    notable = summary.unusual or summary.stops_stripped or summary.lowercase_records
    left = structures.passed or structures.dropped or structures.several_models
    _log.log(logging.WARNING if notable or left else logging.INFO, "%s", found.describe())
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
    return InputError(
        f"{spool.num_refused:,} records cannot be used",
        code="input.bad_records",
        hint="correct them, or leave them out with --on-error skip",
        details=[f"{failure.where}: {failure.reason}" for failure in first],
    )
