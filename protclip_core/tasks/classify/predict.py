"""Predict the labels of proteins with a head; any number of them, block by block."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt

from protclip_core.errors import UsageError
from protclip_core.heads import load_head
from protclip_core.heads.targets import VALUES
from protclip_core.progress import Progress, SilentProgress
from protclip_core.records import Failure, counted
from protclip_core.tasks.classify.request import PredictRequest
from protclip_core.vectors.source import open_vectors

__all__ = ["Predicting", "Prediction"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Prediction:
    """A label of a protein.

    Attributes
    ----------
    label
        Of the head; of a regression, the name of the value.
    probability
        Of the label; of a regression, the value. NaN for a protein that is unlike those that the
        head was fitted on; its label is empty.
    rank
        From 1 by probability, equals in the order of the head's labels; None without a label.
    note
        Why there is no answer.
    """

    protein_id: str
    label: str
    probability: float
    rank: int | None
    note: str = ""


class Predicting:
    """Predictions that are ready to be made; a context manager.

    Attributes
    ----------
    head
        The head.
    proteins, listed
        Proteins that were looked at, and those with a label in the list, so far.
    outside
        Proteins that are unlike those that the head was fitted on, so far.

    Raises
    ------
    UsageError
        Options that are out of range or that a regression cannot do.
    ModelError
        A head that cannot be loaded, or vectors that it was not made for.
    """

    def __init__(self, request: PredictRequest) -> None:
        self._request = request
        _check(request)
        self.head = load_head(request.head)
        self.proteins = self.listed = self.outside = 0
        chosen = request.top_k or request.min_probability is not None or request.prevalence
        if self.is_regression and chosen:
            raise UsageError(
                "the head gives values, which have no labels and no probabilities",
                code="usage.conflicting_options",
                where=str(request.head),
                hint="drop --top-k, --min-probability and --prevalence",
            )
        if not self.is_regression:  # refuses before any work
            self._corrected(np.zeros((1, len(self.head.card.labels))))
        with ExitStack() as stack:
            self._source = stack.enter_context(
                open_vectors(
                    request.inputs,
                    like=self.head.card.input,
                    model=request.model,
                    vectors_model=request.vectors_model,
                    device=request.device,
                    workers=request.workers,
                    on_error=request.on_error,
                    unusable=request.on_error,
                    modality=request.modality,
                    several=True,
                )
            )
            self._refuse_other_modality()
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: object, _trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def is_calibrated(self) -> bool:
        """Whether the probabilities hold: the head was fitted on the kind of what is predicted."""
        return self._source.spec.of_structures == self.head.card.input.of_structures

    def _refuse_other_modality(self) -> None:
        """Refuse what needs probabilities where there are none."""
        least, prevalence = self._request.min_probability, self._request.prevalence
        if not self.is_calibrated and (least is not None or prevalence):
            name = "--prevalence" if prevalence else "--min-probability"
            raise UsageError(
                f"{name} needs probabilities, and {self._other_modality}",
                code="usage.no_calibration",
                where=self._source.name,
                hint="drop it: labels are in the order of their scores",
            )

    @property
    def _other_modality(self) -> str:
        fitted = "structures" if self.head.card.input.of_structures else "sequences"
        return f"the head was fitted on {fitted}, so its probabilities do not hold here"

    @property
    def is_regression(self) -> bool:
        """Whether values are predicted."""
        return self.head.task == VALUES

    @property
    def num_failures(self) -> int:
        """Proteins without a vector, once `predictions` has ended."""
        return self._source.num_failures

    @property
    def first_failures(self) -> list[Failure]:
        """The first five of them."""
        return self._source.first_failures

    def predictions(self, progress: Progress | None = None) -> Iterator[Prediction]:
        """Yield the labels of all proteins, in input order, the most probable first; once.

        Raises
        ------
        InputError, ModelError, ResourceError
            As `open_vectors` and `protclip_core.vectors.embed_rows.embed_rows`.
        """
        names = self.head.card.labels
        for block in self._source.blocks(progress or SilentProgress()):
            self.proteins += len(block.ids)
            notes = self.head.outside(block.vectors, block.columns()[0])
            self.outside += sum(map(bool, notes))
            if self.is_regression:
                self.listed += notes.count("")
                values = self.head.predict(block.vectors).tolist()
                for id, value, note in zip(block.ids, values, notes, strict=True):
                    yield Prediction(id, names[0], np.nan if note else value, 1, note)
                continue
            table = self._corrected(self.head.predict_proba(block.vectors))
            order = np.argsort(-table, axis=1, kind="stable")[:, : self._most(len(names))]
            answers = zip(block.ids, table, order.tolist(), notes, strict=True)
            for id, chances, columns, note in answers:
                if note:
                    yield Prediction(id, "", np.nan, None, note)
                    continue
                found = [c for c in columns if chances[c] >= (self._request.min_probability or 0)]
                self.listed += bool(found)
                for rank, column in enumerate(found, 1):
                    if self.is_calibrated:
                        yield Prediction(id, names[column], float(chances[column]), rank)
                    else:
                        yield Prediction(id, names[column], np.nan, rank, self._other_modality)

        if self.outside:
            _log.warning(
                "no answer for %s of %s: unlike the proteins the head was fitted on",
                f"{self.outside:,}",
                counted(self.proteins, "protein"),
            )

    def _corrected(self, said: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
        wanted = self._request.prevalence
        return said if wanted is None else self.head.at_prevalence(said, wanted)

    def _most(self, labels: int) -> int:
        if self._request.top_k is not None:
            return self._request.top_k
        return 1 if self._request.min_probability is None else labels


def _check(request: PredictRequest) -> None:
    if request.top_k is not None and request.top_k < 1:
        raise UsageError(
            f"--top-k {request.top_k} lists nothing", code="usage.bad_value", hint="use 1 or more"
        )
    least = request.min_probability
    if least is not None and not 0 <= least <= 1:
        raise UsageError(
            f"--min-probability {least:g} is out of range",
            code="usage.bad_value",
            hint="use 0 to 1",
        )
