"""The one way from any input to vectors: a store, a table of another program, or FASTA files.

Vectors come in blocks, so that any number of proteins takes little memory.

Legend: N proteins of a block, D width of a vector.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt

from protclip_core.errors import InputError, ModelError, UsageError
from protclip_core.heads.card import HeadInput, check_input
from protclip_core.io.inputs import expand_inputs
from protclip_core.io.streams import source_name
from protclip_core.models.info import DEFAULT_MODEL, ModelInfo, describe_model
from protclip_core.options import Space
from protclip_core.progress import Progress
from protclip_core.store.format import FORMAT, HDF5_SIGNATURE
from protclip_core.store.reader import EmbeddingStore
from protclip_core.store.spool import SpooledRecord
from protclip_core.vector_spec import STRUCTURE, VectorSpec
from protclip_core.vectors.block import Source, VectorBlock
from protclip_core.vectors.embed_job import EmbedReport
from protclip_core.vectors.embed_request import EmbedRequest
from protclip_core.vectors.embed_rows import embed_rows
from protclip_core.vectors.job import EmbedJob
from protclip_core.vectors.joined import JoinedSource, refuse_other_vectors
from protclip_core.vectors.modality import choose_modality
from protclip_core.vectors.store_model import StoreModel, unknown_space
from protclip_core.vectors.store_source import StoreSource
from protclip_core.vectors.tables import AnyStore, VectorTable, table_form

__all__ = ["FastaSource", "is_store", "open_vectors", "read_all", "stored_ids"]

_log = logging.getLogger(__name__)

Floats = npt.NDArray[np.float32]


def open_vectors(
    inputs: Sequence[str],
    *,
    space: str | None = "stored",
    like: VectorSpec | None = None,
    model: str | None = None,
    device: str = "auto",
    workers: int | None = None,
    on_error: str = "fail",
    unusable: str = "skip",
    vectors_model: str | None = None,
    modality: Literal["auto", "sequence", "structure"] = "auto",
    several: bool = False,
) -> Source:
    """Open proteins.

    Parameters
    ----------
    inputs
        FASTA or structure files, ``-`` for standard input; or one store or table, told by its
        content; or, with ``several``, any of them together.
    space
        ``"joint"`` or ``"encoder"``; ``"stored"``: what a store holds, and FASTA files in the
        encoder's; None: joint where the model takes texts; ``"best"``: joint where the model is
        here and has it.
    like
        The vectors to be comparable with. FASTA files are embedded in the same way. A `HeadInput`
        decides on the space and is checked: a store has to hold such vectors, or vectors of the
        encoder that can be projected into them.
    model
        Name or path; by default that of the store or of ``like``, or the default model.
    device, workers, on_error
        As in `protclip_core.vectors.embed_request.EmbedRequest`.
    unusable
        A store's vectors that are zero or not finite: ``"skip"`` leaves them out as failures,
        ``"fail"`` refuses the store, ``"keep"`` yields them as they are.
    vectors_model
        Name for the model of vectors that do not say it.
    modality
        What is embedded of structure files, see `choose_modality`. Structures have vectors of the
        joint space alone.
    several
        Whether stores may come with other inputs: FASTA files are then embedded as the first
        store was, and the others have to hold such vectors.

    Raises
    ------
    UsageError
        A store among several inputs that may not be there, or that differ; a space that the
        model does not have; or ``vectors_model`` for vectors that protclip makes or made.
    ModelError
        A model that is not installed or not the store's; a store that is damaged or holds other
        vectors than ``like``.
    """
    stores = [path for path in inputs if is_store(path) or _names_store(path)]
    if stores and len(inputs) > 1 and not several:
        raise UsageError(
            "is a store, and there are other inputs",
            code="usage.store_and_others",
            where=stores[0],
            hint="give it alone, or join stores with protclip store merge",
        )

    def of_fasta(some: Sequence[str], space: str | None, like: VectorSpec | None) -> Source:
        request = EmbedRequest(
            inputs=tuple(some),
            model=model or (like and like.model) or DEFAULT_MODEL,
            device=device,
            workers=workers,
            on_error=on_error,
            modality=modality,
        )
        return FastaSource(request, space, like)

    def of_store(path: str, space: str | None, like: VectorSpec | None) -> Source:
        store = _opened(path)
        try:
            made_by = StoreModel(store, model, device, _name_of(store, vectors_model, like))
            if model is not None:
                _ = made_by.info  # a model that did not make the store is refused, needed or not
            return StoreSource(made_by, space, like, unusable)
        except BaseException:
            store.close()
            raise

    if stores and len(inputs) > 1:
        return _joined(inputs, stores, of_fasta, of_store, space, like)
    if stores:
        return of_store(stores[0], space, like)
    if vectors_model is not None:
        raise UsageError(
            "--vectors-model is for files of vectors",
            code="usage.conflicting_options",
            where=source_name(inputs[0]),
            hint="drop it",
        )
    return of_fasta(inputs, space, like)


def _joined(
    inputs: Sequence[str],
    stores: Sequence[str],
    of_fasta: Callable[[Sequence[str], str | None, VectorSpec | None], Source],
    of_store: Callable[[str, str | None, VectorSpec | None], Source],
    space: str | None,
    like: VectorSpec | None,
) -> Source:
    """Open stores and FASTA files; unless a head decides, the first store is the measure."""
    parts: list[Source] = []
    with ExitStack() as stack:
        first = stack.enter_context(of_store(stores[0], space, like))
        spec, own = first.input, like
        if not isinstance(like, HeadInput):
            space, own = spec.space, VectorSpec.from_dict(spec.to_dict())
        for is_stored, grouped in groupby(inputs, key=lambda path: path in stores):
            some = list(grouped)
            if not is_stored:
                if not spec.is_named:
                    raise UsageError(
                        f"no sequences can be embedded like the vectors of {first.name}, which "
                        "another program made",
                        code="usage.other_vectors",
                        where=source_name(some[0]),
                        hint="give its vectors of these sequences too",
                    )
                parts.append(stack.enter_context(of_fasta(some, space, own)))
                _refuse_other_modality(parts[-1], first)
                continue
            for path in some:
                if path == stores[0] and first not in parts:
                    parts.append(first)
                    continue
                parts.append(stack.enter_context(of_store(path, space, own)))
                _refuse_other_modality(parts[-1], first)
                refuse_other_vectors(parts[-1], first)
        stack.pop_all()
    return JoinedSource(parts, first)


def _refuse_other_modality(part: Source, first: Source) -> None:
    """Refuse structures beside sequences: what is said of the one does not hold for the other."""
    if part.spec.of_structures != first.spec.of_structures:
        kinds = ("sequences", "structures")
        raise UsageError(
            f"holds {kinds[part.spec.of_structures]}, and {first.name} "
            f"{kinds[first.spec.of_structures]}",
            code="usage.mixed_modalities",
            where=part.name,
            hint="give them one after the other",
        )


def read_all(source: Source, progress: Progress) -> VectorBlock:
    """Read all proteins of a source, for a head, into one block.

    Raises
    ------
    InputError
        It does not have any.
    ModelError
        It does not say how its vectors were made.
    """
    blocks = list(source.blocks(progress))
    _ = source.input if blocks else None
    if not blocks:
        raise InputError("holds no proteins", code="input.empty", where=source.name)
    columns = [block.columns() for block in blocks]
    known = [block.sequences for block in blocks if block.sequences is not None]
    lengths, digests = (np.concatenate(some) for some in zip(*columns, strict=True))
    return VectorBlock(
        [id for block in blocks for id in block.ids],
        np.concatenate([block.vectors for block in blocks]),
        lambda: (lengths, digests),
        [one for some in known for one in some] if len(known) == len(blocks) else None,
    )


def is_store(path: str) -> bool:
    """Tell whether a file holds vectors: HDF5, or a table of them, by its content."""
    if path == "-" or not Path(path).is_file():
        return False
    try:
        with Path(path).open("rb") as file:
            start = file.read(2048 + len(HDF5_SIGNATURE))
    except OSError:
        return False  # whoever reads it says why
    places = (0, 512, 1024, 2048)  # the signature may stand behind a block of the user's
    signed = any(start.startswith(HDF5_SIGNATURE, place) for place in places)
    return signed or start.startswith(FORMAT.encode()) or table_form(path) is not None


def stored_ids(path: str) -> list[str]:
    """Return the ids of a store or table of vectors, in its order.

    Raises
    ------
    InputError, ModelError
        A file that is damaged or of another kind.
    """
    store = _opened(path)
    try:
        return list(store.ids)
    finally:
        store.close()


def _opened(path: str) -> AnyStore:
    form = table_form(path)
    return EmbeddingStore.open(path) if form is None else VectorTable(path, form)


def _names_store(path: str) -> bool:
    """Tell whether a missing file was meant to be a store."""
    return path.endswith((".h5", ".hdf5")) and not Path(path).exists()


def _name_of(store: AnyStore, given: str | None, like: VectorSpec | None) -> str | None:
    """Return the name for vectors of another program: the user's, or that of the head."""
    if given is not None or like is None or like.is_named or not like.model:
        return given
    if VectorSpec.from_attributes(store.attributes).is_named:
        return None
    _log.warning(
        "%s: does not say which model made it; taken as vectors of %s", store.path, like.model
    )
    return like.model


class FastaSource(Source):
    """FASTA or structure files, embedded on the way."""

    def __init__(self, request: EmbedRequest, space: str | None, like: VectorSpec | None) -> None:
        name = source_name(request.inputs[0])
        if isinstance(like, HeadInput) and not like.is_named:
            raise ModelError(
                f"the head is for vectors of {like.model}, which another program made",
                code="model.head_mismatch",
                where=name,
                hint="give a file of such vectors",
            )
        self._info = describe_model(request.model)
        request = replace(request, inputs=expand_inputs(request.inputs))
        chosen, _ = choose_modality(request.inputs, request.modality, self._info)
        request = replace(request, modality=chosen)
        self.is_structural = chosen == STRUCTURE
        self._job: EmbedJob | None = None
        self._like = like if isinstance(like, HeadInput) else None
        if self._like is not None:
            space = self._like.space
            self._check_model(self._like)
        super().__init__(
            name, VectorSpec(space=self.resolve(space), modality=STRUCTURE * self.is_structural)
        )
        self._refuse_other_modality(like)
        made: dict[str, Any] = {} if like is None else like.to_dict()
        same = [name for name in ("pooling", "layer", "max_residues", "long") if name in made]
        same *= not (self.is_structural or (like and like.of_structures))
        self._request = replace(
            request, space=cast(Space, self.spec.space), **{name: made[name] for name in same}
        )

    def _refuse_other_modality(self, like: VectorSpec | None) -> None:
        """Refuse to compare a structure with a sequence outside of the joint space."""
        if like is None or like.of_structures == self.is_structural:
            return
        if self.spec.space != "joint":
            raise UsageError(
                "sequences and structures can be compared in the joint space only",
                code="usage.other_space",
                where=self.name,
                hint="drop --space encoder",
            )

    def _check_model(self, like: HeadInput) -> None:
        """Refuse what is known to be another model than the head's before it is used."""
        if self._info.bundle is not None:
            given = replace(
                like,
                model=self._info.name,
                weights_sha256=self._info.bundle.weights_sha256,
                config_sha256=self._info.config_sha256,
            )
            check_input(like, given, self._info.name)

    @property
    def info(self) -> ModelInfo:
        """See `Source`."""
        return self._info

    @property
    def job(self) -> EmbedJob:
        """What embeds the proteins, once there is a block."""
        assert self._job is not None
        return self._job

    @property
    def input(self) -> HeadInput:
        """See `Source`."""
        return HeadInput.of(self.spec, self.job.dim)

    def resolve(self, space: str | None) -> str:
        """See `Source`."""
        if space not in (None, "joint", "encoder", "stored", "best"):
            raise unknown_space(space)
        if space == "joint" and self._info.joint_dim is None:
            raise UsageError(
                f"model {self._info.name} does not have a joint space",
                code="usage.no_joint_space",
                hint="use --space encoder",
            )
        if space in ("joint", "encoder"):
            return space
        if self.is_structural:
            return "joint"
        is_joint = self._info.joint_dim and (self._info.text_encoder or space == "best")
        return "joint" if is_joint and space != "stored" else "encoder"

    def blocks(self, progress: Progress, space: str | None = None) -> Iterator[VectorBlock]:
        """See `Source`."""
        sequences: list[str] = []

        def see(job: EmbedJob, residues: list[str]) -> None:
            sequences[:] = residues
            if self._job is None:
                self._job = job
                self.spec = job.spec
                if self._like is not None:
                    check_input(self._like, self.input, self.name)

        request = replace(self._request, space=cast(Space, space or self._request.space))
        for block in embed_rows(request, progress, see=see):
            if isinstance(block, EmbedReport):
                self.num_failures, self.first_failures = block.num_failures, block.first_failures
            elif block[0]:
                records, vectors = block
                columns = partial(_columns_of, records)
                yield VectorBlock([r.id for r in records], vectors, columns, list(sequences))


def _columns_of(
    records: list[SpooledRecord],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
    digests = np.frombuffer(b"".join(record.digest for record in records), np.uint8)
    lengths = np.array([record.length for record in records], np.int64)
    return lengths, digests.reshape(-1, 32)
