"""Several inputs as one: stores, tables and FASTA files with vectors of one kind."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from protclip_core.errors import InputError, UsageError
from protclip_core.heads.card import HeadInput
from protclip_core.models.info import ModelInfo
from protclip_core.progress import Progress
from protclip_core.records import counted, printable
from protclip_core.vector_spec import IDENTITY
from protclip_core.vectors.block import KEPT_FAILURES, Source, VectorBlock

__all__ = ["JoinedSource", "refuse_other_vectors"]

_log = logging.getLogger(__name__)


class JoinedSource(Source):
    """The proteins of several sources, one source after the other.

    A protein that is in several of them, with one id and one sequence, is given once.

    Parameters
    ----------
    parts
        The sources, in input order; they are closed with this one.
    first
        The one of them whose vectors the others have to match: a store.
    """

    def __init__(self, parts: Sequence[Source], first: Source) -> None:
        super().__init__(", ".join(part.name for part in parts), first.spec)
        self._parts, self._first = list(parts), first

    def close(self) -> None:
        """See `Source`."""
        for part in self._parts:
            part.close()

    @property
    def num_bytes(self) -> int:
        """See `Source`."""
        return sum(part.num_bytes for part in self._parts)

    @property
    def info(self) -> ModelInfo:
        """See `Source`."""
        return self._first.info

    @property
    def input(self) -> HeadInput:
        """See `Source`."""
        return self._first.input

    def resolve(self, space: str | None) -> str:
        """See `Source`."""
        return self._first.resolve(space)

    def blocks(self, progress: Progress, space: str | None = None) -> Iterator[VectorBlock]:
        """See `Source`.

        Raises
        ------
        UsageError
            Vectors of different kinds.
        InputError
            An id that stands for different sequences, or for ones that are not known.
        """
        self.num_failures, self.first_failures = 0, []
        seen: dict[str, tuple[int, bytes]] = {}
        repeated = 0
        for number, part in enumerate(self._parts):
            is_checked = part is self._first
            for block in part.blocks(progress, space or self.spec.space):
                if not is_checked:
                    refuse_other_vectors(part, self._first, in_one_space=space is not None)
                    is_checked = True
                new = self._new_rows(number, block, seen)
                repeated += len(block.ids) - int(new.sum())
                if new.all():
                    yield block
                elif new.any():
                    yield _taken(block, np.flatnonzero(new))
            self.num_failures += part.num_failures
            self.first_failures += part.first_failures
        del self.first_failures[KEPT_FAILURES:]
        if repeated:
            _log.warning("%s in several inputs: taken once", counted(repeated, "protein"))

    def _new_rows(
        self, number: int, block: VectorBlock, seen: dict[str, tuple[int, bytes]]
    ) -> npt.NDArray[np.bool_]:
        """Tell which proteins of a block have not come before ``(N,)``.

        An id that one input has twice is left to whoever reads them.
        """
        new = np.ones(len(block.ids), bool)
        for row, (id, digest) in enumerate(zip(block.ids, block.columns()[1], strict=True)):
            own = digest.tobytes()
            before, other = seen.setdefault(id, (number, own))
            if before == number:
                continue
            if own != other or not any(own):
                raise InputError(
                    f"{printable(id)} is also in {self._parts[before].name}, and "
                    + (
                        "has another sequence there" if any(own) else "no sequence tells them apart"
                    ),
                    code="input.duplicate_id",
                    where=self._parts[number].name,
                    hint="give each protein its own id",
                )
            new[row] = False
        return new


def refuse_other_vectors(part: Source, first: Source, *, in_one_space: bool = False) -> None:
    """Refuse vectors that cannot be compared with those of the first.

    Parameters
    ----------
    part, first
        The two.
    in_one_space
        Whether both are read in one space, whichever theirs is.

    Raises
    ------
    UsageError
        They were made in another way; the message says in which.
    """
    names = [name for name in IDENTITY if name != "space"] if in_one_space else [*IDENTITY, "width"]
    if differing := part.input.diff(first.input, names):
        raise UsageError(
            f"holds other vectors than {first.name} ({'; '.join(differing)})",
            code="usage.other_vectors",
            where=part.name,
            hint="embed both with one model and the same settings",
        )


def _taken(block: VectorBlock, rows: npt.NDArray[np.int64]) -> VectorBlock:
    """Give some rows of a block."""
    lengths, digests = block.columns()
    sequences = block.sequences
    return replace(
        block,
        ids=[block.ids[row] for row in rows],
        vectors=block.vectors[rows],
        columns=lambda: (lengths[rows], digests[rows]),
        sequences=None if sequences is None else [sequences[row] for row in rows],
    )
