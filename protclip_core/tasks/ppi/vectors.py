"""The proteins whose pairs are looked at: their vectors at unit length, by name.

Legend: N proteins, D width of a vector.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from protclip_core.errors import InputError, ModelError
from protclip_core.heads.card import HeadInput, check_input
from protclip_core.heads.pair_features import unit_rows
from protclip_core.heads.seen import keys_of_digests, keys_of_texts
from protclip_core.io.protein_names import ProteinNames
from protclip_core.models.info import DEFAULT_MODEL, describe_model
from protclip_core.progress import Progress
from protclip_core.records import Failure, printable
from protclip_core.store.format import duplicate_id
from protclip_core.store.reader import EmbeddingStore
from protclip_core.vectors.head_vectors import open_vectors, read_all
from protclip_core.vectors.protein_source import is_store
from protclip_core.vectors.store_model import StoreModel, StoreVectors

__all__ = ["PairProteins", "VectorOptions", "load_proteins"]

NO_VECTOR = "its vector is zero or not finite"


@dataclass(frozen=True, kw_only=True)
class VectorOptions:
    """Where vectors come from.

    Attributes
    ----------
    inputs
        FASTA files, ``-`` for standard input; or one store.
    model
        Name or path, for FASTA files; default that of the head, else the default model.
    space
        For a head that is yet to be fitted: ``"joint"``, ``"encoder"``; None: joint where the
        model has that space.
    device, workers, on_error
        As `protclip_core.vectors.embed_job.EmbedRequest` has them.
    """

    inputs: tuple[str, ...]
    model: str | None = None
    space: str | None = None
    device: str = "auto"
    workers: int | None = None
    on_error: str = "fail"


@dataclass(frozen=True, eq=False)
class PairProteins:
    """Proteins with their vectors.

    Attributes
    ----------
    name
        Of the input, for messages.
    ids
        In input order.
    vectors
        Unit vectors ``(N, D)`` float32; NaN where there is none to use.
    keys
        Of the sequences ``(N,)`` uint64; of the ids where a store does not know sequences.
    by_sequence
        Whether keys are those of sequences.
    input
        What the vectors are.
    num_failures, first_failures
        Records of a FASTA file without a vector.
    """

    name: str
    ids: list[str]
    vectors: npt.NDArray[np.float32]
    keys: npt.NDArray[np.uint64]
    by_sequence: bool
    input: HeadInput
    num_failures: int = 0
    first_failures: list[Failure] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def rows(self) -> dict[str, int]:
        """Row of each id."""
        return {id: row for row, id in enumerate(self.ids)}

    @cached_property
    def _names(self) -> ProteinNames:
        return ProteinNames(self.ids)

    @cached_property
    def usable(self) -> npt.NDArray[np.bool_]:
        """Which have a vector that can be used ``(N,)``."""
        return np.asarray(np.isfinite(self.vectors[:, 0]))

    def find(self, name: str) -> int | str:
        """Return the row of a name, or why there is none.

        A name is an id, or stands for one as `ProteinNames` has it: ``P69905`` for
        ``sp|P69905|HBA_HUMAN``.
        """
        row = self.rows.get(name)
        if row is None:
            match = self._names.find(name)
            if match.id is None:
                if " fits " in match.reason:
                    return match.reason.replace("the FASTA file", self.name)
                return f"no protein {printable(name)!r} in {self.name}"
            row = self.rows[match.id]
        return row if self.usable[row] else f"{printable(name)}: {NO_VECTOR}"


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
        The vectors that a head takes. FASTA files are embedded so; a store has to hold them, or
        vectors of the encoder where the joint space is wanted, which are then projected.

    Raises
    ------
    ModelError
        A store of other vectors (both are named), or one that does not say how it was made.
    InputError
        No proteins, an id twice, or no vector that can be used.
    UsageError
        A store among several inputs, or a space that the model does not have.
    """
    if len(options.inputs) == 1 and is_store(options.inputs[0]):
        return _of_store(Path(options.inputs[0]), options, like)
    source = open_vectors(
        options.inputs,
        like=like,
        model=options.model,
        space=_space(options, like),
        device=options.device,
        workers=options.workers,
        on_error=options.on_error,
    )
    with source:
        found = read_all(source, progress)
        return _proteins(
            source.name,
            found.ids,
            found.vectors,
            found.digests,
            source.input,
            (source.num_failures, source.first_failures),
        )


def _space(options: VectorOptions, like: HeadInput | None) -> str:
    if like is not None:
        return like.space
    if options.space is not None:
        return options.space
    info = describe_model(options.model or DEFAULT_MODEL)
    return "joint" if info.joint_dim else "encoder"


def _of_store(path: Path, options: VectorOptions, like: HeadInput | None) -> PairProteins:
    with EmbeddingStore.open(path) as store:
        if not len(store):
            raise InputError("holds no proteins", where=str(path), hint="embed some first")
        own = HeadInput.of_store(store.attributes, store.dim)
        model = StoreModel(store, options.model, options.device)
        wanted = like.space if like is not None else options.space
        if wanted is None and own.space == "encoder" and _projectable(model, own):
            wanted = "joint"
        if wanted == "joint" and own.space == "encoder" and _same_model(own, like):
            model.check_projectable()
            vectors = StoreVectors(model, "joint").read(slice(None))
            own = replace(own, space="joint", width=vectors.shape[1])
        else:
            vectors = store.read(slice(None))
        if like is not None:
            check_input(like, own, str(path))
        return _proteins(str(path), store.ids, vectors, store.digests, own, (0, []))


def _projectable(model: StoreModel, own: HeadInput) -> bool:
    try:
        info = model.info
    except ModelError:  # not here: the vectors are taken as they are
        return False
    return (
        bool(info.joint_dim)
        and own.layer == (info.num_layers or own.layer)
        and own.pooling == info.pooling
    )


def _same_model(own: HeadInput, like: HeadInput | None) -> bool:
    """Whether the head's model made the store; else the check of the input says what differs."""
    if like is None:
        return True
    names = ("weights_sha256", "config_sha256", "pooling", "layer")
    return all(getattr(own, name) == getattr(like, name) for name in names)


def _proteins(
    name: str,
    ids: list[str],
    vectors: npt.NDArray[np.float32],
    digests: npt.NDArray[np.uint8],
    own: HeadInput,
    failed: tuple[int, list[Failure]],
) -> PairProteins:
    known = np.asarray(digests.any(axis=1))
    keys = keys_of_digests(digests)
    if not known.all():
        keys[~known] = keys_of_texts(id for id, one in zip(ids, known, strict=True) if not one)
    found = PairProteins(name, ids, unit_rows(vectors), keys, bool(known.all()), own, *failed)
    if len(found.rows) != len(ids):
        twice = next(id for row, id in enumerate(ids) if found.rows[id] != row)
        raise duplicate_id(Path(name), twice)
    if not found.usable.any():
        raise InputError(
            f"none of its {len(ids):,} vectors can be used: they are zero or not finite",
            where=name,
        )
    return found
