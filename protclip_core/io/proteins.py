"""Protein sequences of an input of any kind: FASTA, or the chains of structure files."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from protclip_core.io.fasta import read_fasta
from protclip_core.io.input_summary import UNUSUAL_RESIDUES, InputSummary
from protclip_core.io.structures import ChainRecord, holds_structures, read_structures
from protclip_core.records import Failure, ProteinRecord, RecordFlag

__all__ = ["chain_sequence", "read_proteins"]


def read_proteins(
    path: str | Path,
    *,
    chains: Collection[str] = (),
    on_failure: Callable[[Failure], None] | None = None,
    summary: InputSummary | None = None,
) -> Iterator[ProteinRecord]:
    """Read the protein records of an input, whose kind is told by its content.

    Parameters
    ----------
    path
        FASTA, a structure file, a tar or folder of those, or ``-``.
    chains
        Chains of structure files to read; all if empty.
    on_failure, summary
        As in `protclip_core.io.fasta.read_fasta`.

    Yields
    ------
    ProteinRecord
        Of a structure the observed residues of each chain.

    Raises
    ------
    InputError
        As `protclip_core.io.fasta.read_fasta`.
    """
    if not holds_structures(str(path)):
        yield from read_fasta(path, on_failure=on_failure, summary=summary)
        return
    for record in read_structures([path], chains=chains, on_failure=on_failure):
        found = chain_sequence(record)
        if summary is not None:
            summary.add(found)
        yield found


def chain_sequence(record: ChainRecord) -> ProteinRecord:
    """Return the sequence of a chain as a protein record."""
    chain = record.chain
    unusual = set(chain.sequence) & set(UNUSUAL_RESIDUES)
    flags = RecordFlag.UNUSUAL_RESIDUES if unusual else RecordFlag.NONE
    return ProteinRecord(chain.id, chain.sequence, "", record.source, record.number, flags)
