"""The vectors that are compared: of a store or of FASTA files, each in a temporary file.

All pairs of a large input need each vector many times. In a file that is mapped into memory they
can be read in any order, and memory holds only what is being looked at.

Legend: N proteins, D width of the encoder's space, P width of the space that is compared.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self, cast

import numpy as np
import numpy.typing as npt

from protclip_core.errors import InputError, ModelError, UsageError
from protclip_core.io.atomic import disk_error, require_space
from protclip_core.io.protein_names import ProteinNames
from protclip_core.io.streams import source_name
from protclip_core.measure.composition import RESIDUES, composition
from protclip_core.measure.nearest import block_rows, usable_rows
from protclip_core.models.info import DEFAULT_MODEL, describe_model
from protclip_core.progress import Progress
from protclip_core.records import Failure, printable
from protclip_core.store.format import duplicate_id
from protclip_core.store.reader import EmbeddingStore
from protclip_core.vectors.embed_job import EmbedJob, EmbedReport
from protclip_core.vectors.embed_request import EmbedRequest
from protclip_core.vectors.embed_rows import embed_rows
from protclip_core.vectors.protein_source import is_store
from protclip_core.vectors.store_model import StoreModel, StoreVectors, resolve_space

__all__ = ["Proteins", "Vectors", "open_proteins"]

_KEPT_FAILURES = 5
Floats = npt.NDArray[np.float32]


class Vectors:
    """Vectors ``(N, P)`` float32 in a temporary file, which is gone when they are closed.

    Attributes
    ----------
    space
        ``"joint"`` or ``"encoder"``.
    usable
        Which have a direction, ``(N,)`` bool: not zero, and finite.
    """

    def __init__(self, blocks: Iterator[Floats], count: int | None, width: int, space: str) -> None:
        self.space = space
        folder = tempfile.gettempdir()
        if count is not None:
            require_space(Path(folder) / "protclip-vectors", 4 * count * width)
        usable: list[npt.NDArray[np.bool_]] = []
        try:
            self._file = cast(BinaryIO, tempfile.TemporaryFile(prefix="protclip-"))  # noqa: SIM115
        except OSError as error:
            raise disk_error(error, folder) from error
        try:
            for block in blocks:
                usable.append(usable_rows(block))
                width = block.shape[1]
                self._write(block, folder)
            self.usable = np.concatenate([np.zeros(0, bool), *usable])
            shape = (len(self.usable), width)
            self._values: Any = np.zeros(shape, np.float32)
            if self._values.size:
                self._values = np.memmap(self._file, np.float32, "r", shape=shape)
        except BaseException:
            self._file.close()
            raise

    def _write(self, block: Floats, folder: str) -> None:
        try:
            self._file.write(np.ascontiguousarray(block, np.float32).tobytes())
            self._file.flush()
        except OSError as error:
            raise disk_error(error, folder) from error

    def __len__(self) -> int:
        return len(self.usable)

    @property
    def width(self) -> int:
        """P."""
        return int(self._values.shape[1])

    def read(self, rows: slice | npt.NDArray[np.int64]) -> Floats:
        """Return vectors ``(n, P)``; NaN where they are not usable."""
        found = np.array(self._values[rows])
        found[~self.usable[rows]] = np.nan
        return found

    def close(self) -> None:
        """Give the file up."""
        self._values = np.zeros((0, self.width), np.float32)
        self._file.close()


class Proteins:
    """Proteins by number and by name; a context manager.

    Attributes
    ----------
    name
        Of the input, for messages.
    ids, lengths
        Of the proteins, in input order; a length is 0 where a foreign store does not say it.
    weights_sha256
        Of the model; empty for a store that does not name it.
    shares
        Shares of the twenty residues ``(N, 20)`` float32, where the sequences are known.
    embedded
        What others have to be embedded with to be comparable: fields of `EmbedRequest`.
    failures, num_failures
        The first five records that have no vector, and how many there are.
    """

    def __init__(self, name: str, ids: Sequence[str], lengths: npt.ArrayLike) -> None:
        self.name, self.ids = name, list(ids)
        self.lengths = np.asarray(lengths, np.int64)
        self.weights_sha256 = ""
        self.shares: Floats | None = None
        self.embedded: dict[str, Any] = {}
        self.failures: list[Failure] = []
        self.num_failures = 0
        self._rows = {id: row for row, id in enumerate(self.ids)}
        self._names: ProteinNames | None = None
        self._open: list[Any] = []
        self._is_counted = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: object, _trace: TracebackType | None
    ) -> None:
        for one in self._open:
            one.close()

    def __len__(self) -> int:
        return len(self.ids)

    def find(self, name: str) -> int | str:
        """Return the row of a name, or why there is none.

        A name is an id, or stands for one as `ProteinNames` has it: ``P69905`` for
        ``sp|P69905|HBA_HUMAN``.
        """
        if (row := self._rows.get(name)) is not None:
            return row
        if self._names is None:
            self._names = ProteinNames(self.ids)
        match = self._names.find(name)
        if match.id is not None:
            return self._rows[match.id]
        if " fits " in match.reason:
            return match.reason.replace("the FASTA file", self.name)
        return f"no protein {printable(name)!r} in {self.name}"

    def vectors(self, space: str | None, progress: Progress) -> Vectors:
        """Return the vectors in a space: ``"joint"``, ``"encoder"``, or None for the better one.

        Raises
        ------
        UsageError, ModelError
            As `protclip_core.vectors.store_model.resolve_space`.
        ResourceError
            There is no room for temporary files.
        """
        raise NotImplementedError

    def _keep(self, vectors: Vectors) -> Vectors:
        """Close vectors with the proteins, and name those that cannot be compared."""
        self._open.append(vectors)
        if not self._is_counted:
            self._is_counted = True
            rows = np.flatnonzero(~vectors.usable)
            self.num_failures += len(rows)
            reason = "its vector is zero or not finite"
            for row in rows[: _KEPT_FAILURES - len(self.failures)].tolist():
                self.failures.append(Failure(self.name, row + 1, self.ids[row], reason))
        if not vectors.usable.any():
            raise InputError(
                f"none of its {len(vectors):,} vectors can be used: they are zero or not finite",
                where=self.name,
            )
        return vectors


class _StoreProteins(Proteins):
    """Proteins of a store."""

    def __init__(self, path: Path, model: str | None, device: str) -> None:
        self._store = EmbeddingStore.open(path)
        try:
            if not len(self._store):
                raise InputError("holds no proteins", where=str(path), hint="embed some first")
            super().__init__(str(path), self._store.ids, self._store.lengths)
            if len(self._rows) != len(self.ids):
                twice = next(id for row, id in enumerate(self.ids) if self._rows[id] != row)
                raise duplicate_id(path, twice)
            self._model = StoreModel(self._store, model, device)
            made = self._store.attributes
            self.weights_sha256 = str(made.get("weights_sha256", ""))
            known = ("model", "pooling", "layer", "max_residues", "long")
            self.embedded = {name: made[name] for name in known if name in made}
            if model is not None:
                self.embedded["model"] = model
            if model is not None:
                _ = self._model.info  # one that did not make the store is refused
        except BaseException:
            self._store.close()
            raise
        self._open.append(self._store)

    def vectors(self, space: str | None, progress: Progress) -> Vectors:
        """See `Proteins`."""
        space = resolve_space(self._model, space, texts=False)
        source = StoreVectors(self._model, space)
        progress.start("reading", len(self._store), "proteins")

        def blocks() -> Iterator[Floats]:
            for block in source.blocks():
                yield block
                progress.advance(len(block))

        found = Vectors(blocks(), len(self._store), self._store.dim, space)
        progress.finish()
        return self._keep(found)


class _FastaProteins(Proteins):
    """Proteins of FASTA files, embedded once in the encoder's space."""

    def __init__(self, paths: Sequence[str], options: dict[str, Any]) -> None:
        self._info = describe_model(options["model"])
        self._request = EmbedRequest(inputs=tuple(paths), **options)
        self._encoder: Vectors | None = None
        self._job: Any = None
        super().__init__(source_name(paths[0]), [], [])
        self.embedded = {"model": options["model"]}

    def vectors(self, space: str | None, progress: Progress) -> Vectors:
        """See `Proteins`."""
        if space not in (None, "joint", "encoder"):
            raise UsageError(f"space {space!r} is not known", hint="use joint or encoder")
        has_joint = self._info.joint_dim is not None
        if space == "joint" and not has_joint:
            raise UsageError(
                f"model {self._info.name} has no joint space", hint="use --space encoder"
            )
        if self._encoder is None:
            self._encoder = self._embed(progress)
        if space == "encoder" or not (has_joint and (space or self._info.text_encoder)):
            return self._encoder
        encoder, model = self._encoder, self._job.model
        size = block_rows(encoder.width)

        def blocks() -> Iterator[Floats]:
            for start in range(0, len(encoder), size):
                yield model.project(encoder.read(slice(start, start + size)))

        return self._keep(Vectors(blocks(), len(encoder), self._info.joint_dim or 0, "joint"))

    def _embed(self, progress: Progress) -> Vectors:
        ids: list[str] = []
        lengths: list[int] = []

        shares: list[Floats] = [np.zeros((0, len(RESIDUES)), np.float32)]

        def see(job: EmbedJob, sequences: list[str]) -> None:
            self._job = job
            shares.append(composition(sequences)[:, : len(RESIDUES)])

        def blocks() -> Iterator[Floats]:
            for block in embed_rows(self._request, progress, see=see):
                if isinstance(block, EmbedReport):
                    self.num_failures = block.num_failures
                    self.failures = block.first_failures
                elif block[0]:
                    ids.extend(record.id for record in block[0])
                    lengths.extend(record.length for record in block[0])
                    yield block[1]

        found = Vectors(blocks(), None, 0, "encoder")
        self.ids, self.lengths = ids, np.array(lengths, np.int64)
        self.shares = np.concatenate(shares)
        self._rows = {id: row for row, id in enumerate(ids)}
        self.weights_sha256 = self._job.model.weights_sha256
        return self._keep(found)


def open_proteins(
    inputs: Sequence[str],
    *,
    model: str | None = None,
    device: str = "auto",
    workers: int | None = None,
    on_error: str = "fail",
    like: Proteins | None = None,
) -> Proteins:
    """Open proteins to be compared.

    Parameters
    ----------
    inputs
        FASTA files, ``-`` for standard input; or one store, told by its content.
    model
        Name or path; default the one that made the store, else the default model.
    device, workers, on_error
        As `protclip_core.vectors.embed_job.EmbedRequest` has them; for FASTA files.
    like
        Proteins that these are to be compared with: FASTA files are embedded as they were.

    Returns
    -------
    Proteins
        Of FASTA files; ids and lengths are there once their vectors were asked for.

    Raises
    ------
    UsageError
        A store among several inputs.
    ModelError
        No such model; a store that cannot be read, or was made by another model.
    InputError
        An empty store, or one that has an id twice.
    """
    stores = [path for path in inputs if is_store(path)]
    if stores and len(inputs) > 1:
        raise UsageError(
            "is a store, and other inputs are given too",
            where=stores[0],
            hint="compare with it by --against, or join stores with protclip store merge",
        )
    if stores:
        return _StoreProteins(Path(stores[0]), model, device)
    if not any(path == "-" or Path(path).exists() for path in inputs) and _names_store(inputs[0]):
        raise ModelError("no such file", where=inputs[0], hint="check the path")
    options: dict[str, Any] = {"model": DEFAULT_MODEL}
    options |= {} if like is None else like.embedded
    options |= {} if model is None else {"model": model}
    options |= {"device": device, "workers": workers, "on_error": on_error}
    return _FastaProteins(inputs, options)


def _names_store(path: str) -> bool:
    return path.endswith((".h5", ".hdf5"))
