"""Chains from structure files of any kind: streamed, every one given or named.

What is read
    PDB, mmCIF and BinaryCIF, told by content, plain or compressed; the first model.
What becomes a chain
    The residues of a protein chain that have a CA atom. Of conformers the one of the highest
    occupancy, of equals the first by its letter; one residue for each number and insertion
    code; modified residues by the letter of their parent.
What is passed over, and counted
    Chains of nucleic acid, ligands or water beside one of protein; residues without CA.
What is a fault of one file
    It cannot be read, or has no chain of protein with three residues or more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from protclip_core.errors import InputError
from protclip_core.io.structures.chain import Chain
from protclip_core.io.structures.entry import Entry, parse_structure
from protclip_core.io.structures.files import StructureFile, structure_files
from protclip_core.io.structures.residues import Found, read_model
from protclip_core.records import Failure, counted, record_place

__all__ = ["ChainRecord", "StructureSummary", "read_structures"]

#: Below this share of its sequence, a chain is called incomplete.
_WHOLE = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class ChainRecord:
    """A chain and where it comes from.

    Attributes
    ----------
    chain
        Its id is the name of the file without suffixes, and ``_`` with the authors' id of the
        chain where the file has several chains of protein.
    source, number
        Name of the file, and place among its chains from 1.
    name
        The authors' id of the chain.
    models
        Models in the file.
    expected
        Residues of its sequence by the file (SEQRES), observed or not; 0 if it does not say.
    dropped
        Residues left out because they have no CA atom.
    """

    chain: Chain
    source: str
    number: int
    name: str
    models: int = 1
    expected: int = 0
    dropped: int = 0

    @property
    def where(self) -> str:
        """Place of the chain for a message: ``1abc.cif:record 2 (1abc_B)``."""
        return record_place(self.source, self.number, self.chain.id)

    @property
    def incomplete(self) -> bool:
        """Whether the structure shows less than half of the chain's sequence."""
        return len(self.chain) < _WHOLE * self.expected


@dataclass(slots=True)
class StructureSummary:
    """Counts over what was read, for one line to the user.

    Attributes
    ----------
    files, chains, residues
        Files with a chain, and what they gave.
    refused
        Files and chains that were handed to ``on_failure``.
    predicted, several_models, broken, incomplete
        Chains with pLDDT; files of which only the first model is read; chains that are not
        observed in one piece; chains of which less than half is.
    dropped, unobserved
        Residues without CA; residues of the full sequences that the structures do not show.
    passed
        Chains passed over beside others, by code.
    other_files, repeated_files
        Files of a folder or tar that are not structures; that repeat the one before them.
    """

    files: int = 0
    chains: int = 0
    residues: int = 0
    refused: int = 0
    predicted: int = 0
    several_models: int = 0
    broken: int = 0
    incomplete: int = 0
    dropped: int = 0
    unobserved: int = 0
    passed: Counter[str] = field(default_factory=Counter)
    other_files: int = 0
    repeated_files: int = 0
    first_incomplete: str = ""

    def count(self, found: _Outcome) -> None:
        """Count a file."""
        self.files += bool(found.records)
        self.refused += len(found.failures)
        self.several_models += any(record.models > 1 for record in found.records)
        self.passed.update(failure.code for failure in found.passed)

    def add(self, record: ChainRecord) -> None:
        """Count a chain."""
        self.chains += 1
        self.residues += len(record.chain)
        self.predicted += record.chain.confidence is not None
        self.broken += int(record.chain.starts.sum()) > 1
        self.dropped += record.dropped
        self.unobserved += max(0, record.expected - len(record.chain))
        if record.incomplete:
            self.incomplete += 1
            self.first_incomplete = self.first_incomplete or (
                f"{record.where} shows {len(record.chain):,} of {record.expected:,} residues"
            )

    def describe(self) -> str:
        """Return one line for the user; what did not occur is left out."""
        not_protein = self.passed["record.not_protein"]
        texts = (
            (self.predicted, f"{self.predicted:,} predicted"),
            (self.broken, f"{self.broken:,} with breaks"),
            (
                self.unobserved,
                f"{counted(self.unobserved, 'residue')} of their sequences not observed",
            ),
            (self.dropped, f"{counted(self.dropped, 'residue')} without CA left out"),
            (self.several_models, f"first of several models read in {self.several_models:,}"),
            (not_protein, f"{counted(not_protein, 'chain')} passed over, not protein"),
            (
                self.passed.total() - not_protein,
                f"{counted(self.passed.total() - not_protein, 'other chain')} passed over",
            ),
            (self.other_files, f"{counted(self.other_files, 'file')} passed over, no structure"),
            (self.repeated_files, f"{counted(self.repeated_files, 'file')} of another format too"),
        )
        chains, files = counted(self.chains, "chain"), counted(self.files, "structure file")
        parts = [f"{chains} of {files}, {counted(self.residues, 'residue')}"]
        parts += [text for count, text in texts if count]
        return "; ".join(parts)


@dataclass(slots=True)
class _Outcome:
    """What came of a file: chains, faults, and chains passed over."""

    records: list[ChainRecord] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    passed: list[Failure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def read_structures(
    inputs: Sequence[str | Path],
    *,
    chains: Collection[str] = (),
    on_failure: Callable[[Failure], None] | None = None,
    on_pass: Callable[[Failure], None] | None = None,
    summary: StructureSummary | None = None,
) -> Iterator[ChainRecord]:
    """Read the protein chains of structure files, one file at a time.

    Parameters
    ----------
    inputs
        Paths of files, folders or tars, ``@FILE`` for a list of paths, ``-`` for standard input.
    chains
        Authors' ids of the chains to read; all if empty.
    on_failure
        Called with each file or chain that cannot be used; reading goes on with the next file.
        Without it the first raises.
    on_pass
        Called with each chain passed over in a file that has others of protein.
    summary
        Filled as files are read.

    Yields
    ------
    ChainRecord
        In the order of inputs, files and chains.

    Raises
    ------
    InputError
        On iteration. A list or folder that cannot be read; without ``on_failure`` the first file
        or chain that cannot be used.
    """
    seen = summary if summary is not None else StructureSummary()
    for file in structure_files(inputs):
        if file.passed:
            seen.other_files += file.passed == "other"
            seen.repeated_files += file.passed == "repeat"
            continue
        try:
            found = _of_file(file, chains)
        except InputError as error:
            reason = f"{error.message}; {error.hint}" if error.hint else error.message
            code = error.code.replace("input.", "record.")
            found = _Outcome(failures=[Failure(file.source, 0, file.stem, reason, code)])
        seen.count(found)
        for failure in found.failures:
            (on_failure or _raise)(failure)
        if on_pass is not None:
            for passed in found.passed:
                on_pass(passed)
        for record in found.records:
            seen.add(record)
            yield record


def _raise(failure: Failure) -> None:
    code = failure.code.replace("record.", "input.")
    raise InputError(failure.reason, code=code, where=failure.where)


def _of_file(file: StructureFile, chosen: Collection[str]) -> _Outcome:
    """Return what comes of the chains of a file."""
    if file.error is not None:
        raise file.error
    found = _Outcome()
    entries = list(parse_structure(file.content, file.source))
    for entry in entries:
        own = entry.name or "stdin"
        _sort(
            entry, file.stem if file.stem and len(entries) == 1 else own, file.source, chosen, found
        )
    return found


def _sort(entry: Entry, stem: str, source: str, chosen: Collection[str], into: _Outcome) -> None:
    """Put each chain of an entry where it belongs."""
    models, first = len(entry.structure), len(into.records) + len(into.passed) + 1
    chains = list(enumerate(read_model(entry.structure, entry.predicted), start=first))
    several = sum(found.chain is not None for _, found in chains) > 1
    passed: list[Failure] = []
    count = len(into.records)
    for number, found in chains:
        is_alone = found.chain is not None and not several
        id = stem if is_alone or not found.name else f"{stem}_{found.name}"
        if chosen and found.name not in chosen:
            continue
        if found.chain is None:
            passed.append(
                Failure(source, number, id, f"chain {found.name} {found.reason}", found.code)
            )
            continue
        chain = replace(found.chain, id=id)
        into.records.append(
            ChainRecord(chain, source, number, found.name, models, found.expected, found.dropped)
        )
    for name in () if chosen else entry.listed:
        reason = f"chain {name} has a sequence but no atoms"
        passed.append(
            Failure(source, len(chains) + 1, f"{stem}_{name}", reason, code="record.no_atoms")
        )
    missing = sorted(set(chosen) - {found.name for _, found in chains})
    if len(into.records) == count:
        into.failures.append(_nothing(stem, source, passed, missing, chains))
        return
    into.passed += passed
    into.notes += entry.notes


def _nothing(
    stem: str,
    source: str,
    passed: list[Failure],
    missing: list[str],
    chains: list[tuple[int, Found]],
) -> Failure:
    """Return the one failure of an entry that gives no chain."""
    if missing and not passed:
        has = ", ".join(found.name for _, found in chains[:_SHOWN])
        reason = f"has no chain {', '.join(missing)}; its chains are {has}"
        return Failure(source, 0, stem, reason, code="record.no_such_chain")
    more = f" and {len(passed) - _SHOWN:,} more" if len(passed) > _SHOWN else ""
    reason = "; ".join(failure.reason for failure in passed[:_SHOWN]) + more
    # What is nearest to a protein names the whole.
    codes = [failure.code for failure in passed]
    code = next((c for c in _NEAREST if c in codes), "record.not_protein")
    return Failure(source, 0, stem, f"no chain of protein can be used: {reason}", code)


_SHOWN = 5
_NEAREST = ("record.too_short", "record.no_ca", "record.no_atoms")
