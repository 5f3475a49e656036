"""Sequences for the proteins of a store, which holds only their hashes."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from protclip_core.errors import InputError
from protclip_core.io.fasta import read_fasta
from protclip_core.io.streams import source_name
from protclip_core.records import printable
from protclip_core.tasks.classify.data import LabelledProteins

__all__ = ["with_sequences"]


def with_sequences(proteins: LabelledProteins, path: str) -> LabelledProteins:
    """Read the sequences of proteins from a FASTA file, found by their hash, not by their id.

    Parameters
    ----------
    proteins
        Those of a store.
    path
        FASTA file, plain or compressed, or ``-``; may hold others too.

    Raises
    ------
    InputError
        A file that cannot be read, or that lacks the sequence of a protein.
    """
    wanted = {digest.tobytes() for digest in proteins.digests}
    found: dict[bytes, str] = {}
    for record in read_fasta(path):
        digest = hashlib.sha256(record.sequence.encode("ascii")).digest()
        if digest in wanted:
            found[digest] = record.sequence
    keys = [digest.tobytes() for digest in proteins.digests]
    if lacking := [id for id, key in zip(proteins.ids, keys, strict=True) if key not in found]:
        raise InputError(
            f"lacks the sequences of {len(lacking):,} of {len(keys):,} proteins, such as "
            f"{printable(lacking[0])}",
            code="input.no_sequence",
            where=source_name(path),
            hint="give the file that they were embedded from",
        )
    return replace(proteins, sequences=[found[key] for key in keys])
