"""Blocks of proteins with their vectors, and what every source of them has.

Legend: N proteins of a block, D width of a vector.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import TracebackType

import numpy as np
import numpy.typing as npt

from protclip_core.errors import InputError
from protclip_core.heads.card import HeadInput
from protclip_core.models.info import ModelInfo
from protclip_core.progress import Progress
from protclip_core.records import Failure
from protclip_core.vector_spec import VectorSpec

__all__ = ["KEPT_FAILURES", "NO_VECTOR", "Source", "VectorBlock", "no_usable", "no_vector"]

Floats = npt.NDArray[np.float32]
#: Why a protein of a store has no usable vector.
NO_VECTOR = "its vector is zero or not finite"
#: Failures that are kept to be shown.
KEPT_FAILURES = 5


@dataclass(frozen=True, eq=False)
class VectorBlock:
    """Some proteins.

    Attributes
    ----------
    ids
        N ids.
    vectors
        ``(N, D)`` float32, finite and not zero, unless unusable ones are kept.
    columns
        Gives their lengths ``(N,)`` int64, 0 where a store does not say, and the sha256 of
        their sequences ``(N, 32)`` uint8, zeros where it does not say; while the source is open.
    sequences
        Residues; ``None`` from a store, which does not hold them.
    """

    ids: list[str]
    vectors: Floats
    columns: Callable[[], tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]]
    sequences: list[str] | None = None


class Source(AbstractContextManager["Source"]):
    """Proteins in input order, with their vectors; make one with `open_vectors`.

    Attributes
    ----------
    name
        Name of the input, for messages.
    spec
        How the vectors are made; of FASTA files complete after the first block.
    num_failures, first_failures
        Proteins without a vector, once `blocks` has ended; the first five of them.
    """

    def __init__(self, name: str, spec: VectorSpec) -> None:
        self.name, self.spec = name, spec
        self.num_failures, self.first_failures = 0, list[Failure]()

    def __exit__(
        self, _kind: type[BaseException] | None, _error: object, _trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the input."""

    @property
    def num_bytes(self) -> int:
        """Bytes of the vectors as they are stored, in float32; 0 for FASTA files."""
        return 0

    @property
    def info(self) -> ModelInfo:
        """The model."""
        raise NotImplementedError

    @property
    def input(self) -> HeadInput:
        """What a head that is fitted on these vectors takes; known as `spec` is."""
        raise NotImplementedError

    def resolve(self, space: str | None) -> str:
        """Choose a space: ``"joint"``, ``"encoder"``, None for joint where a model takes texts.

        Raises
        ------
        UsageError
            The input or its model does not have that space.
        """
        raise NotImplementedError

    def blocks(self, progress: Progress, space: str | None = None) -> Iterator[VectorBlock]:
        """Yield all proteins that have a vector, in the space of the source or another one."""
        raise NotImplementedError


def no_usable(name: str, count: int) -> InputError:
    """Return the error for an input without any usable vector."""
    return InputError(
        f"none of its {count:,} vectors can be used: they are zero or not finite",
        code="input.no_usable_vector",
        where=name,
    )


def no_vector(name: str, row: int, id: str) -> Failure:
    """Return the failure of a protein whose vector cannot be used, by its row in a store."""
    return Failure(name, row + 1, id, NO_VECTOR, "record.no_direction")
