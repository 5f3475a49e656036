"""A request with its model: what makes vectors of sequences, or of structures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self

from protclip_core.encoders.encoder import Embedded
from protclip_core.engines.local import LocalEngine, Problem
from protclip_core.engines.structures import StructureEngine
from protclip_core.io.structures.chain import Chain
from protclip_core.io.structures.packed import unpack_chain
from protclip_core.models.info import ModelInfo
from protclip_core.models.protein import ProteinModel
from protclip_core.models.settings import EmbedSettings
from protclip_core.models.structure import StructureModel
from protclip_core.records import RecordFlag
from protclip_core.store.spool import SpooledRecord
from protclip_core.vector_spec import STRUCTURE, VectorSpec
from protclip_core.vectors.embed_request import EmbedRequest

__all__ = ["EmbedJob", "Engine", "SequenceJob", "StructureJob"]

#: What an item of work is: residues, or a chain.
Item = Any


class Engine(Protocol):
    """Where items become vectors; a context manager."""

    def __enter__(self) -> Self:
        """Start the workers."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop them."""

    def run(
        self, items: Sequence[Item], settings: EmbedSettings, /
    ) -> Iterator[tuple[int, Embedded | Problem]]:
        """Yield the index of each item and its result, in any order."""


class EmbedJob(Protocol):
    """A request with its model loaded and its settings resolved."""

    @property
    def request(self) -> EmbedRequest:
        """The request."""

    @property
    def settings(self) -> EmbedSettings:
        """What to compute."""

    @property
    def info(self) -> ModelInfo:
        """The model."""

    @property
    def limit(self) -> int | None:
        """Embed at most this many residues of a protein; ``None`` for all."""

    @property
    def dim(self) -> int:
        """Width of the vectors."""

    @property
    def protein(self) -> ProteinModel | None:
        """The loaded model of sequences; None where structures are embedded."""

    @property
    def spec(self) -> VectorSpec:
        """How the vectors are made."""

    def engine(self) -> Engine:
        """Make the engine for the request."""

    def unpack(self, content: str | bytes) -> Item:
        """Return what to embed of what a spool holds; its length is a number of residues."""

    def residues(self, content: str | bytes) -> str:
        """Return the residues that are embedded of what a spool holds."""

    def length(self, record: SpooledRecord) -> int:
        """Return how many residues of a record are embedded."""

    def flags(self, record: SpooledRecord) -> RecordFlag:
        """Return the flags of a record, and of what this run does to it."""

    def key(self) -> dict[str, Any]:
        """Return the settings that the stored numbers depend on: equal keys, equal vectors."""


def _key(job: EmbedJob) -> dict[str, Any]:
    made: dict[str, Any] = dict(job.spec.to_attributes())
    del made["model"]  # a name is not an identity
    late: dict[str, Any] = {
        n: made.pop(n) for n in ("long", "max_residues", "overlap") if n in made
    }
    return {
        **made,
        "store_dtype": job.request.store_dtype,
        "per_residue": int(job.settings.per_residue),
        **late,
    }


@dataclass(frozen=True)
class SequenceJob:
    """An `EmbedJob` of sequences."""

    request: EmbedRequest
    model: ProteinModel
    settings: EmbedSettings

    @property
    def info(self) -> ModelInfo:
        """See `EmbedJob`."""
        return self.model.info

    @property
    def protein(self) -> ProteinModel:
        """See `EmbedJob`."""
        return self.model

    @property
    def limit(self) -> int | None:
        """See `EmbedJob`."""
        return self.settings.max_residues if self.request.long == "truncate" else None

    @property
    def dim(self) -> int:
        """See `EmbedJob`."""
        return self.model.dim(self.settings)

    def engine(self) -> LocalEngine:
        """See `EmbedJob`."""
        request = self.request
        return LocalEngine(self.model, workers=request.workers, batch_tokens=request.batch_tokens)

    def unpack(self, content: str | bytes) -> str:
        """See `EmbedJob`."""
        assert isinstance(content, str)
        return content[: self.limit]

    def residues(self, content: str | bytes) -> str:
        """See `EmbedJob`."""
        return self.unpack(content)

    def length(self, record: SpooledRecord) -> int:
        """See `EmbedJob`."""
        return min(record.length, self.limit or record.length)

    def flags(self, record: SpooledRecord) -> RecordFlag:
        """See `EmbedJob`."""
        if record.length <= self.settings.max_residues:
            return record.flags
        truncated = self.request.long == "truncate"
        return record.flags | (RecordFlag.TRUNCATED if truncated else RecordFlag.WINDOWED)

    @property
    def spec(self) -> VectorSpec:
        """See `EmbedJob`."""
        # In bfloat16 a GPU rounds at more places than a CPU.
        dtype, device = self.request.dtype, self.model.encoder.device.type
        return VectorSpec(
            model=self.model.info.name,
            weights_sha256=self.model.weights_sha256,
            config_sha256=self.model.info.config_sha256,
            pooling=self.settings.pooling,
            space=self.settings.space,
            layer=self.settings.layer,
            dtype=dtype if dtype == "float32" else f"{dtype} ({device})",
            long="truncate" if self.request.long == "truncate" else "window",
            max_residues=self.settings.max_residues,
            overlap=self.settings.overlap,
        )

    def key(self) -> dict[str, Any]:
        """See `EmbedJob`."""
        return _key(self)


@dataclass(frozen=True)
class StructureJob:
    """An `EmbedJob` of structures: chains are embedded whole."""

    request: EmbedRequest
    model: StructureModel
    settings: EmbedSettings
    limit: None = None
    protein: None = None

    @property
    def info(self) -> ModelInfo:
        """See `EmbedJob`."""
        return self.model.info

    @property
    def dim(self) -> int:
        """See `EmbedJob`."""
        return self.model.dim(self.settings.space)

    def engine(self) -> _ChainEngine:
        """See `EmbedJob`."""
        request = self.request
        return _ChainEngine(self.model, workers=request.workers, batch_tokens=request.batch_tokens)

    def unpack(self, content: str | bytes) -> Chain:
        """See `EmbedJob`."""
        assert isinstance(content, bytes)
        return unpack_chain(content)

    def residues(self, content: str | bytes) -> str:
        """See `EmbedJob`."""
        return self.unpack(content).sequence

    def length(self, record: SpooledRecord) -> int:
        """See `EmbedJob`."""
        return record.length

    def flags(self, record: SpooledRecord) -> RecordFlag:
        """See `EmbedJob`."""
        return record.flags

    @property
    def spec(self) -> VectorSpec:
        """See `EmbedJob`."""
        return VectorSpec(
            model=self.info.name,
            weights_sha256=self.model.weights_sha256,
            config_sha256=self.info.config_sha256,
            pooling=self.settings.pooling,
            space=self.settings.space,
            layer=self.settings.layer,
            dtype="float32",
            modality=STRUCTURE,
            structure_sha256=self.model.structure_sha256 or "",
        )

    def key(self) -> dict[str, Any]:
        """See `EmbedJob`."""
        return _key(self)


class _ChainEngine(StructureEngine):
    """`StructureEngine` with results as an `Engine` gives them."""

    def run(  # type: ignore[override]
        self, chains: Sequence[Chain], settings: EmbedSettings
    ) -> Iterator[tuple[int, Embedded | Problem]]:
        """See `Engine`."""
        for index, result in super().run(chains, settings.space):
            yield index, result if isinstance(result, Problem) else Embedded(result)
