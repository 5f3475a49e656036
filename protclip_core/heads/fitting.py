"""Fit a head: try a few parameters, fit, and calibrate, on rows held out by group.

Every candidate is fitted on all folds but one and judged by what it says of that one, after
calibration; the best is fitted on all rows, and calibrated by what it said of the held-out ones.
The expected calibration error is that of rows which neither had seen. The same input gives the
same head: what is drawn is seeded, and the number of threads is fixed.

Legend: N rows, F numbers of a row, C classes or labels.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from protclip_core.errors import InputError, UsageError
from protclip_core.heads.calibration import HeadCalibration
from protclip_core.heads.card import HeadCard, HeadInput
from protclip_core.heads.convert import form_of
from protclip_core.heads.fit_calibration import (
    cross_fitted,
    expected_error,
    fit_calibration,
    log_loss,
)
from protclip_core.heads.fit_checks import (
    UNBALANCED,
    FitSettings,
    check_rows,
    check_settings,
)
from protclip_core.heads.folds import deal, strata
from protclip_core.heads.form import HeadForm
from protclip_core.heads.head import Head
from protclip_core.heads.kinds import candidates, make_estimator, resolve_kind
from protclip_core.heads.prevalence import thresholds
from protclip_core.heads.targets import CLASSES, LABELS, VALUES, Targets

__all__ = ["FitSettings", "FittedHead", "fit_head"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False, kw_only=True)
class FittedHead:
    """The result of `fit_head`.

    Attributes
    ----------
    estimator, calibration
        The head's; no calibration for a regression or where none was wanted.
    targets
        Names of classes or labels and the task; the table is that of the rows fitted on.
    fit
        Plain data for the card: kind, parameters, how they were chosen, calibration errors.
    held_out
        What was said of rows in folds, calibrated by other folds: ``(N, C)`` probabilities or
        ``(N,)`` values; NaN for rows that were in no fold.
    """

    estimator: Any
    calibration: HeadCalibration | None
    targets: Targets
    fit: dict[str, Any]
    held_out: npt.NDArray[np.floating]

    def card(self, *, task: str, input: HeadInput, **others: Any) -> HeadCard:
        """Make the card of the head; ``others`` are further fields of `HeadCard`."""
        return HeadCard(
            task=task,
            labels=self.targets.names,
            multilabel=self.targets.task == LABELS,
            regression=self.targets.task == VALUES,
            calibration=self.calibration,
            input=input,
            fit=self.fit,
            **others,
        )

    def answer(self, features: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
        """Give probabilities ``(n, C)``, calibrated, or values ``(n,)``; nothing is checked.

        For measuring; `Head` looks at what goes in.
        """
        if not len(features):
            return np.empty((0, *self.held_out.shape[1:]))
        said = _ask(self.estimator, features, self.targets)
        if self.calibration is None:
            return said
        return self.calibration.apply(said, multilabel=self.targets.task == LABELS)

    def head(self, card: HeadCard) -> Head:
        """Give the head for use without a file; `protclip_core.heads.save_head` writes one."""
        return Head(card, form_of(self.estimator))

    def linear(self) -> HeadForm | None:
        """Give the head as one matrix product; None where it is not linear."""
        return form_of(self.estimator).folded(self.calibration)


def fit_head(
    features: npt.NDArray[np.floating],
    targets: Targets,
    settings: FitSettings | None = None,
    *,
    groups: npt.NDArray[np.integer] | None = None,
    valid: tuple[npt.NDArray[np.floating], Targets] | None = None,
) -> FittedHead:
    """Fit a head.

    Parameters
    ----------
    features
        Shape ``(N, F)``, float32 or float64, which is the type it is computed in.
    targets
        Of the N rows; each class that is named has a row, each label a yes and a no.
    settings
        Default: `FitSettings`.
    groups
        Integers ``(N,)``: rows of one group share a fold. Default: each row is its own.
    valid
        Features and targets for search and calibration instead of folds; the head is fitted on
        the N rows alone.

    Raises
    ------
    UsageError
        Settings that are not known or do not fit the task.
    InputError
        Rows that do not fit each other, too few of them or of their groups, one class only, or
        numbers that are not finite.

    Examples
    --------
    >>> import numpy as np
    >>> from protclip_core import FitSettings, Targets, fit_head
    >>> vectors = np.random.default_rng(0).normal(size=(40, 8)).astype(np.float32)
    >>> names = ["left" if x < 0 else "right" for x in vectors[:, 0]]
    >>> fitted = fit_head(vectors, Targets.of_classes(names), FitSettings(search=False))
    >>> fitted.answer(vectors).shape
    (40, 2)
    """
    from threadpoolctl import threadpool_limits

    settings = settings or FitSettings()
    check_settings(settings)
    kind = resolve_kind(settings.kind, targets.task)
    check_rows(features, targets)
    if valid is not None:
        check_rows(valid[0], valid[1], fitted_on=features, names=targets.names)
    fitting = _Fitting(kind, features, targets, settings, groups, valid)
    with threadpool_limits(settings.threads):
        return fitting.run()


#: What was said of held-out rows, their targets, which they are, and parts that they fall into.
_HeldOut = tuple[np.ndarray, Targets, np.ndarray, np.ndarray]


class _Fitting:
    """One call of `fit_head`."""

    def __init__(
        self,
        kind: str,
        features: npt.NDArray[np.floating],
        targets: Targets,
        settings: FitSettings,
        groups: npt.NDArray[np.integer] | None,
        valid: tuple[npt.NDArray[np.floating], Targets] | None,
    ) -> None:
        self.kind, self.features, self.targets = kind, features, targets
        self.settings, self.valid = settings, valid
        self.balanced = _is_balanced(targets, settings.class_weight)
        self.folds = np.zeros(len(targets), np.int64)
        if valid is None:
            own = np.arange(len(targets)) if groups is None else np.asarray(groups)
            self.folds = _folds(own, targets, settings)

    def run(self) -> FittedHead:
        parameters, searched, found = self._search()
        wants_calibration = self.settings.calibrate and self.targets.task != VALUES
        fit: dict[str, Any] = {
            "kind": self.kind,
            "parameters": parameters,
            "searched": searched,
            "class_weight": "balanced" if self.balanced else "none",
            "rows": len(self.targets),
            "folds": 0 if self.valid is not None else int(self.folds.max()) + 1,
            "seed": self.settings.seed,
        }
        held_out, calibration = np.full(self._answer_shape(), np.nan), None
        if wants_calibration or found is not None:
            if found is None:
                found = self._held_out(parameters, self._calibrated_on())
            said, truth, rows, parts = found
            if wants_calibration:
                calibration = fit_calibration(said, truth)
                fit["calibrated_on"] = len(truth)
                fit["prevalence"] = (truth.yes().mean(0)).tolist()
                fit["ece_before"] = expected_error(said, truth)
                said = cross_fitted(said, truth, parts)
                fit["ece"] = expected_error(said, truth)
                if len(truth.names) == 2 and truth.task == CLASSES:
                    found_at = thresholds(truth.table == 1, said[:, 1])
                    fit["thresholds"] = [one._asdict() for one in found_at]
            if self.valid is None:
                held_out[rows] = said
        estimator = self._fit(parameters, slice(None))
        _warn_of_steps(estimator)
        return FittedHead(
            estimator=estimator,
            calibration=calibration,
            targets=self.targets,
            fit=fit,
            held_out=held_out,
        )

    def _search(self) -> tuple[dict[str, Any], int, _HeldOut | None]:
        """Give the best parameters, how many were tried, and what they said if of all rows."""
        tried = candidates(self.kind)
        if not self.settings.search:
            return dict(tried[0]), 0, None
        rows = np.arange(len(self.targets))
        is_whole = len(rows) <= self.settings.search_rows
        if not is_whole:
            drawn = np.random.default_rng(self.settings.seed).permutation(len(rows))
            rows = np.sort(drawn[: self.settings.search_rows])
        best, least, kept = tried[0], np.inf, None
        for parameters in tried:
            found = self._held_out(parameters, range(self._count), rows)
            loss = self._loss(found[0], found[1])
            _log.info("%s %s: held-out loss %.5f", self.kind, parameters, loss)
            if loss < least:
                best, least, kept = parameters, loss, found
        return dict(best), len(tried), kept if is_whole else None

    @property
    def _count(self) -> int:
        return int(self.folds.max()) + 1

    def _calibrated_on(self) -> Sequence[int]:
        """Give the folds of the calibration: beyond some rows, one is many enough."""
        return range(self._count if len(self.targets) <= self.settings.search_rows else 1)

    def _loss(self, said: np.ndarray, truth: Targets) -> float:
        if truth.task == VALUES:
            return float(((said - truth.table) ** 2).mean())
        if self.settings.calibrate:
            # Few numbers against many rows: what they fit by chance is the same for all.
            said = fit_calibration(said, truth).apply(said, multilabel=truth.task == LABELS)
        return log_loss(said, truth)

    def _held_out(
        self, parameters: dict[str, Any], folds: Sequence[int], among: np.ndarray | None = None
    ) -> _HeldOut:
        """Fit without each fold, or on all rows where some are for validation."""
        rows = np.arange(len(self.targets)) if among is None else among
        if self.valid is not None:
            features, truth = self.valid
            said = _ask(self._fit(parameters, rows), features, self.targets)
            return said, truth, np.arange(len(truth)), np.arange(len(truth)) % 2
        answers, held, parts = list[np.ndarray](), list[np.ndarray](), list[np.ndarray]()
        for fold in folds:
            own = rows[self.folds[rows] == fold]
            others = rows[self.folds[rows] != fold]
            if not len(own) or not len(others):
                continue
            fitted = self._fit(parameters, others)
            answers.append(_ask(fitted, self.features[own], self.targets))
            held.append(own)
            # Where one fold is all there is, its halves calibrate each other.
            parts.append(np.full(len(own), fold) if len(folds) > 1 else np.arange(len(own)) % 2)
        where = np.concatenate(held)
        return np.concatenate(answers), self.targets.take(where), where, np.concatenate(parts)

    def _fit(self, parameters: dict[str, Any], rows: np.ndarray | slice) -> Any:
        estimator = make_estimator(
            self.kind,
            self.targets.task,
            parameters,
            balanced=self.balanced,
            seed=self.settings.seed,
            standardise=self.settings.standardise,
        )
        table = self.targets.table[rows]
        answers = table.astype(np.int64) if self.targets.task == LABELS else table
        # Of steps that did not suffice we tell in our own words, once; a label that a fold does
        # not have is no news.
        with warnings.catch_warnings(action="ignore"):
            return estimator.fit(self.features[rows], answers)

    def _answer_shape(self) -> tuple[int, ...]:
        count = len(self.targets)
        return (count,) if self.targets.task == VALUES else (count, len(self.targets.names))


def _folds(groups: np.ndarray, targets: Targets, settings: FitSettings) -> np.ndarray:
    if groups.shape != (len(targets),):
        raise UsageError(
            f"groups of shape {groups.shape} for {len(targets)} rows", code="usage.shape_mismatch"
        )
    count = min(settings.folds, len(np.unique(groups)))
    if count < 2:
        raise InputError(
            "all rows are of one group, so none can be held out",
            code="input.one_group",
            hint="give more data",
        )
    return deal(groups, [1.0] * count, settings.seed, strata(targets))


def _ask(estimator: Any, features: np.ndarray, targets: Targets) -> np.ndarray:
    """Give probabilities ``(n, C)``, 0 for a class that was not fitted on, or values."""
    if targets.task == VALUES:
        return np.asarray(estimator.predict(features), np.float64)
    said = np.asarray(estimator.predict_proba(features), np.float64)
    if targets.task == LABELS:
        return said
    found = np.zeros((len(said), len(targets.names)))
    found[:, estimator.classes_] = said
    return found


def _is_balanced(targets: Targets, class_weight: str) -> bool:
    if targets.task == VALUES or class_weight == "none":
        return False
    if class_weight == "balanced":
        return True
    # Labels are mostly rare: a weight would only be taken back by the calibration.
    counts = targets.counts()
    return targets.task == CLASSES and bool(counts.max() >= UNBALANCED * counts.min())


def _warn_of_steps(estimator: Any) -> None:
    """Tell where a logistic regression came to the end of its steps before its goal."""
    from sklearn.linear_model import LogisticRegression

    model = estimator.steps[-1][1] if hasattr(estimator, "steps") else estimator
    parts = getattr(model, "estimators_", [model])
    late = [
        part
        for part in parts
        if isinstance(part, LogisticRegression) and np.max(part.n_iter_) >= part.max_iter
    ]
    if late:
        _log.warning(
            "%d of %d linear models stopped after %d steps, short of their goal",
            len(late),
            len(parts),
            late[0].max_iter,
        )
