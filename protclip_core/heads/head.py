"""A fitted head: good vectors in, probabilities or values out, and nothing for bad vectors.

Legend: N vectors, F numbers of a vector, C classes or labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt

from protclip_core.errors import ModelError, UsageError
from protclip_core.heads.card import HeadCard
from protclip_core.heads.domain import HeadDomain
from protclip_core.heads.form import LABELS as YES_OR_NO
from protclip_core.heads.form import VALUE, HeadForm
from protclip_core.heads.prevalence import at_prevalence, classes_at_prevalence
from protclip_core.heads.targets import CLASSES, LABELS, VALUES

__all__ = ["TOLERANCE", "Head"]

#: How far the probabilities of a loaded head may be from those stored with it.
TOLERANCE = 1e-6


class Head:
    """A fitted head; get one from `load_head`, `save_head` or `FittedHead.head`.

    Examples
    --------
    >>> from importlib.resources import files
    >>> from protclip_core import load_head
    >>> head = load_head(str(files("protclip_core") / "bundled/protclip-mini/ppi.head"))
    >>> head.task, head.card.input.model
    ('classes', 'protclip-mini')
    """

    def __init__(
        self,
        card: HeadCard,
        form: HeadForm,
        *,
        domain: HeadDomain | None = None,
        sha256: str = "",
        where: str = "head",
    ) -> None:
        self.card = card
        self.form = form
        #: What it was fitted on; None for an old head, which does not tell.
        self.domain = domain
        #: Of the file that it was read from.
        self.sha256 = sha256
        self._where = where
        if form.width != card.input.width:
            raise self._mismatch(f"arrays for {form.width} numbers, not {card.input.width}")
        if form.answers != len(card.labels):
            raise self._mismatch(f"answers of {form.answers} columns, not {len(card.labels)}")
        if (form.link == VALUE) != card.regression or (form.link == YES_OR_NO) != card.multilabel:
            raise self._mismatch(f"answers of kind {form.link!r}, which its card does not say")

    def _mismatch(self, what: str) -> ModelError:
        return ModelError(f"the head has {what}", code="model.bad_head", where=self._where)

    @property
    def task(self) -> str:
        """What it does, of `protclip_core.heads.targets.TASKS`."""
        if self.card.regression:
            return VALUES
        return LABELS if self.card.multilabel else CLASSES

    @cached_property
    def linear(self) -> HeadForm | None:
        """The head as one matrix product in float32; ``None`` where it is not linear."""
        return self.form.folded(self.card.calibration)

    def predict_proba(self, vectors: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
        """Give the probability of each class or label, calibrated where the head is.

        Parameters
        ----------
        vectors
            Shape ``(N, F)``, any real type; computed in float64. ``N`` may be 0.

        Returns
        -------
        numpy.ndarray
            Shape ``(N, C)``, float64, columns as ``card.labels``.

        Raises
        ------
        UsageError
            A regression, which has no probabilities.
        ModelError
            Another width, NaN, infinity, numbers beyond float32 or a vector of zeros, named by
            its place from 1: some estimators would answer with a number. Or an estimator whose
            answer is no probability.
        """
        if self.card.regression:
            raise UsageError(
                "a regression gives values, not probabilities",
                code="usage.regression_head",
                where=self._where,
            )
        checked = self._checked(vectors)
        count = len(self.card.labels)
        if not len(checked):
            return np.empty((0, count))
        result = self.form.predict(checked)
        # Whatever is not within bounds, NaN included, fails the comparison.
        within = result.shape == (len(checked), count) and bool(
            ((result >= -TOLERANCE) & (result <= 1 + TOLERANCE)).all()
        )
        if not within or not (
            self.card.multilabel or np.allclose(result.sum(1), 1, rtol=0, atol=1e-3)
        ):
            raise ModelError(
                f"the head does not give probabilities of {count} labels",
                code="model.head_answers",
                where=self._where,
            )
        if self.card.calibration is None:
            return result
        return self.card.calibration.apply(result, multilabel=self.card.multilabel)

    def outside(self, vectors: np.ndarray, lengths: np.ndarray | None = None) -> list[str]:
        """Say of each protein why it is unlike those that the head was fitted on.

        Probabilities and values mean nothing for such a protein.

        Parameters
        ----------
        vectors
            Of the proteins ``(N, D)``; for a head on pairs of one protein each.
        lengths
            Their residues ``(N,)``, 0 where that is not known.

        Returns
        -------
        list of str
            A clause with the figures; empty inside, and for a head that does not tell.
        """
        if self.domain is None or not len(vectors):
            return [""] * len(vectors)
        return self.domain.reasons(vectors, lengths)

    def at_prevalence(
        self, said: npt.NDArray[np.floating], prevalence: float | Sequence[float]
    ) -> npt.NDArray[np.floating]:
        """Correct probabilities of this head to the shares of classes where it is used.

        Parameters
        ----------
        said
            Probabilities ``(N, C)`` of `predict_proba`; of two classes also those of the second
            alone, ``(N, 1)``.
        prevalence
            Of two classes the share of the second; else of each class or label.

        Raises
        ------
        UsageError
            Shares that are not between 0 and 1, or not one for each class; or a head that does not
            say which shares it was calibrated for.
        """
        fitted = self.card.fit.get("prevalence")
        count = len(self.card.labels)
        try:
            own = np.array(fitted, np.float64)
        except (TypeError, ValueError):
            own = np.empty(0)
        if own.shape != (count,) or not ((own > 0) & (own < 1)).all():
            raise UsageError(
                "the head does not say the prevalence that it was calibrated for",
                code="usage.no_prevalence",
                where=self._where,
                hint="fit it again",
            )
        wanted = np.atleast_1d(np.asarray(prevalence, np.float64))
        if not self.card.multilabel and count == 2 and wanted.shape == (1,):
            if said.shape[1] == 1:
                return at_prevalence(said, own[1], wanted[0])
            wanted = np.array([1 - wanted[0], wanted[0]])
        if self.card.multilabel:
            if wanted.shape not in ((1,), (count,)):
                raise UsageError(
                    f"{len(wanted)} shares for {count} labels", code="usage.bad_prevalence"
                )
            return at_prevalence(said, own, wanted)
        return classes_at_prevalence(said, own, wanted)

    def predict(self, vectors: npt.NDArray[np.floating]) -> npt.NDArray[np.generic]:
        """Give the class of each vector, whether it has each label, or its value.

        Where there is a calibration, the most probable class, and the labels of a probability of
        0.5 or more; else what the estimator says.

        Returns
        -------
        numpy.ndarray
            Names of classes, shape ``(N,)``; for several labels bool, shape ``(N, C)``; for a
            regression float64, shape ``(N,)``.

        Raises
        ------
        ModelError
            As `predict_proba`; or an estimator whose answer is no number.
        """
        names = np.array(self.card.labels)
        if self.card.regression:
            return self._values(self._checked(vectors))
        found = self.predict_proba(vectors)
        if not len(found):
            return found.astype(bool) if self.card.multilabel else names[:0]
        if self.card.multilabel and self.card.calibration is not None:
            return found >= 0.5
        return found > 0.5 if self.card.multilabel else names[found.argmax(1)]

    def _values(self, checked: npt.NDArray[np.float64]) -> npt.NDArray[np.floating]:
        if not len(checked):
            return np.empty(0)
        found = self.form.predict(checked)
        if not np.isfinite(found).all():
            raise ModelError(
                "the head does not give a number for each vector",
                code="model.head_answers",
                where=self._where,
            )
        return found

    def _checked(self, vectors: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
        table, width = np.asarray(vectors), self.card.input.width
        if table.ndim != 2 or table.dtype.kind not in "fiu":
            raise ModelError(
                f"the head takes a table of numbers, not shape {table.shape}",
                code="model.head_mismatch",
            )
        if table.shape[1] != width:
            raise ModelError(
                f"vectors are {table.shape[1]} wide, the head takes {self.card.input}",
                code="model.head_mismatch",
                where=self._where,
                hint="embed with that model",
            )
        result = table.astype(np.float64)
        usable = np.isfinite(result) & (np.abs(result) <= np.finfo(np.float32).max)
        for what, bad in (
            ("holds NaN, infinity or a number beyond float32", ~usable.all(1)),
            ("is all zeros", ~result.any(1)),
        ):
            if bad.any():
                first = int(bad.argmax()) + 1
                raise ModelError(
                    f"vector {first} {what} ({int(bad.sum()):,} of {len(result):,} do)",
                    code="model.bad_vector",
                    hint="embed it again; no prediction is made from it",
                )
        return result
