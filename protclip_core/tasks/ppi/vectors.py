"""The proteins whose pairs are looked at: their vectors at unit length, by name.

Legend: N proteins, D width of a vector.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from protclip_core.errors import ModelError
from protclip_core.heads.card import HeadInput
from protclip_core.heads.head import Head
from protclip_core.heads.pair_features import unit_rows
from protclip_core.heads.seen import keys_of_digests, keys_of_texts
from protclip_core.progress import Progress
from protclip_core.records import Failure, printable
from protclip_core.vectors.block import NO_VECTOR, no_usable
from protclip_core.vectors.named import NamedRows
from protclip_core.vectors.source import open_vectors, read_all

__all__ = ["PairProteins", "VectorOptions", "load_proteins"]


@dataclass(frozen=True, kw_only=True)
class VectorOptions:
    """Where vectors come from.

    Attributes
    ----------
    inputs
        Stores and FASTA files, ``-`` for standard input.
    model
        Name or path, for FASTA files; default that of the head, else the default model.
    space
        For a head that is yet to be fitted: ``"joint"``, ``"encoder"``; None: joint where the
        model has that space.
    device, workers, on_error
        As `protclip_core.vectors.embed_job.EmbedRequest` has them.
    vectors_model
        Name for the model of vectors that do not say it.
    """

    inputs: tuple[str, ...]
    model: str | None = None
    space: str | None = None
    device: str = "auto"
    workers: int | None = None
    on_error: str = "fail"
    vectors_model: str | None = None


@dataclass(frozen=True, eq=False)
class PairProteins:
    """Proteins with their vectors.

    Attributes
    ----------
    name
        Name of the input, for messages.
    ids
        In input order.
    vectors
        Unit vectors ``(N, D)`` float32; NaN where there is none to use.
    keys
        Keys of the sequences ``(N,)`` uint64; of the ids where a store does not know sequences.
    by_sequence
        Whether all keys are those of sequences.
    input
        What the vectors are.
    named
        Rows by name.
    lengths
        Residues ``(N,)``, 0 where a store does not say.
    outside
        Why rows are unlike what the head was fitted on; see `leave_out`.
    num_failures, first_failures
        Records of a FASTA file without a vector.
    """

    name: str
    ids: list[str]
    vectors: npt.NDArray[np.float32]
    keys: npt.NDArray[np.uint64]
    by_sequence: bool
    input: HeadInput
    named: NamedRows
    lengths: npt.NDArray[np.int64]
    outside: dict[int, str] = field(default_factory=dict)
    num_failures: int = 0
    first_failures: list[Failure] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def rows(self) -> dict[str, int]:
        """Row of each id."""
        return self.named.rows

    @cached_property
    def usable(self) -> npt.NDArray[np.bool_]:
        """Which have a vector that can be used ``(N,)``."""
        return np.asarray(np.isfinite(self.vectors[:, 0]))

    def find(self, name: str) -> int | str:
        """Return the row of a name as `NamedRows` has it, or why there is no vector."""
        row = self.named.find(name)
        if isinstance(row, str) or self.usable[row]:
            return row
        return f"{printable(name)}: {self.outside.get(row, NO_VECTOR)}"

    def leave_out(self, head: Head) -> None:
        """Make rows that are unlike what the head was fitted on unusable."""
        rows = np.flatnonzero(self.usable)
        notes = head.outside(self.vectors[rows], self.lengths[rows])
        found = {row: note for row, note in zip(rows.tolist(), notes, strict=True) if note}
        self.outside.update(found)
        self.vectors[list(found)] = np.nan
        self.usable[list(found)] = False


def load_proteins(
    options: VectorOptions, progress: Progress, like: HeadInput | None = None
) -> PairProteins:
    """Read or compute the vectors of all proteins; memory holds ``4 N D`` bytes of them.

    Parameters
    ----------
    options
        Where from.
    progress
        Told of reading and embedding.
    like
        The vectors that a head takes, see `open_vectors`.

    Raises
    ------
    ModelError
        A store of other vectors, or one that does not say how it was made.
    InputError
        No proteins, an id twice, or no vector that can be used.
    UsageError
        Inputs with different vectors, or a space that the model does not have.
    """
    with open_vectors(
        options.inputs,
        like=like,
        model=options.model,
        device=options.device,
        workers=options.workers,
        on_error=options.on_error,
        space=options.space or "best",
        unusable="keep",
        vectors_model=options.vectors_model,
        several=True,
    ) as source:
        if like is not None and like.of_structures != source.spec.of_structures:
            kinds = ("sequences", "structures")
            raise ModelError(
                f"the head was fitted on {kinds[like.of_structures]}, these are vectors of "
                f"{kinds[not like.of_structures]}, for which its probabilities do not hold",
                code="model.head_mismatch",
                where=source.name,
                hint=f"embed the {kinds[like.of_structures]}, or fit a head on these",
            )
        found = read_all(source, progress)
        lengths, digests = found.columns()
    known = np.asarray(digests.any(axis=1))
    keys = keys_of_digests(digests)
    if not known.all():
        unknown = (id for id, one in zip(found.ids, known, strict=True) if not one)
        keys[~known] = keys_of_texts(unknown)
    proteins = PairProteins(
        name=source.name,
        ids=found.ids,
        vectors=unit_rows(found.vectors),
        keys=keys,
        by_sequence=bool(known.all()),
        input=source.input,
        named=NamedRows(source.name, found.ids),
        lengths=lengths,
        num_failures=source.num_failures,
        first_failures=source.first_failures,
    )
    if not proteins.usable.any():
        raise no_usable(source.name, len(proteins))
    return proteins
