"""The proteins of a store or of a table of vectors, some at a time.

Legend: N proteins of a block, D width of a vector.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import numpy as np
import numpy.typing as npt

from protclip_core.errors import ModelError
from protclip_core.heads.card import HeadInput, check_input
from protclip_core.measure.nearest import usable_rows
from protclip_core.models.info import ModelInfo
from protclip_core.progress import Progress
from protclip_core.vector_spec import VectorSpec
from protclip_core.vectors.block import KEPT_FAILURES, Source, VectorBlock, no_usable, no_vector
from protclip_core.vectors.store_model import StoreModel, StoreVectors, resolve_space

__all__ = ["StoreSource"]

_STORE_ROWS = 1024


class StoreSource(Source):
    """A store, projected on the way where it holds vectors of the encoder and others are wanted."""

    def __init__(
        self, model: StoreModel, space: str | None, like: VectorSpec | None, unusable: str
    ) -> None:
        super().__init__(str(model.store.path), model.spec)
        self._model, self._store, self._keeps = model, model.store, unusable == "keep"
        if isinstance(like, HeadInput):
            space = "stored"
            before = replace(like, space="encoder")
            if like.of_structures != self.spec.of_structures:
                own = ("pooling", "layer", "modality", "structure_sha256")
                before = replace(before, **{name: getattr(self.spec, name) for name in own})
            if like.space == "joint" and not self.spec.diff(before):
                space = "joint"
        if space != "stored":
            self.spec = replace(self.spec, space=self.resolve(space))
        if isinstance(like, HeadInput):
            check_input(like, self.input, self.name)
        if unusable == "fail":
            self._refuse_unusable()

    def close(self) -> None:
        """See `Source`."""
        self._store.close()

    @property
    def num_bytes(self) -> int:
        """See `Source`."""
        return 4 * len(self._store) * self._store.dim

    @property
    def info(self) -> ModelInfo:
        """The model that made the store; errors as `StoreModel.info`."""
        return self._model.info

    @property
    def input(self) -> HeadInput:
        """See `Source`."""
        width = StoreVectors(self._model, self.spec.space).width
        if self.spec.is_named or not self._model.is_given:
            return HeadInput.of_store(self.spec.to_attributes(), width, where=self.name)
        return HeadInput.of(self.spec, width)

    def resolve(self, space: str | None) -> str:
        """See `Source`."""
        if space == "best":
            return "joint" if self._model.has_joint_space else self._model.spec.space
        return resolve_space(self._model, space, texts=False)

    def blocks(self, progress: Progress, space: str | None = None) -> Iterator[VectorBlock]:
        """See `Source`."""
        for _ in self._store.iter_ids():
            pass  # damaged ids are known after the last one, and rows may be printed before
        self.num_failures, self.first_failures = 0, []
        vectors, start = StoreVectors(self._model, space or self.spec.space), 0
        progress.start("reading", len(self._store), "proteins")
        for ids in self._store.iter_ids(_STORE_ROWS):
            rows = np.arange(start, start + len(ids))
            found = vectors.read(slice(start, start + len(ids)))
            usable = usable_rows(found)
            usable |= self._keeps
            if not usable.all():
                self._fail(start, ids, usable)
                ids = [ids[row] for row in np.flatnonzero(usable)]
                found, rows = found[usable], rows[usable]
            start += len(usable)
            if ids:
                yield VectorBlock(ids, found, partial(self._columns, rows))
            progress.advance(len(usable))
        progress.finish()
        if start and self.num_failures == start:
            raise no_usable(self.name, start)

    def _columns(
        self, rows: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
        return self._store.lengths[rows], self._store.digests[rows]

    def _fail(self, start: int, ids: list[str], usable: npt.NDArray[np.bool_]) -> None:
        for row in np.flatnonzero(~usable).tolist():
            self.num_failures += 1
            if len(self.first_failures) < KEPT_FAILURES:
                self.first_failures.append(no_vector(self.name, start + row, ids[row]))

    def _refuse_unusable(self) -> None:
        """Look at all vectors before the first result is written."""
        start = 0
        for ids in self._store.iter_ids(_STORE_ROWS):
            self._fail(start, ids, usable_rows(self._store.read(slice(start, start + len(ids)))))
            start += len(ids)
        if not self.num_failures:
            return
        raise ModelError(
            f"{self.num_failures:,} of its {start:,} vectors cannot be used: they are zero or not "
            "finite",
            code="model.unusable_vectors",
            where=self.name,
            hint="embed these proteins again, or leave them out with --on-error skip",
            details=[f"{failure.where}: {failure.reason}" for failure in self.first_failures],
        )
