"""How to fit a head, and what it cannot be fitted on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from protclip_core.errors import InputError, UsageError
from protclip_core.heads.kinds import AUTO
from protclip_core.heads.targets import CLASSES, VALUES, Targets

__all__ = ["UNBALANCED", "WEIGHTS", "FitSettings", "check_rows", "check_settings"]

#: Classes weigh by their rarity where the largest is at least this many times the smallest.
UNBALANCED = 3.0
WEIGHTS = (AUTO, "balanced", "none")


@dataclass(frozen=True, kw_only=True)
class FitSettings:
    """How to fit.

    Attributes
    ----------
    kind
        Of `protclip_core.heads.kinds.KINDS`; ``"auto"``: the linear one.
    class_weight
        ``"balanced"``: rare classes weigh more; ``"none"``; ``"auto"``: balanced if the largest
        class is `UNBALANCED` times the smallest. The calibration takes the shift back.
    folds
        Of the search and the calibration, at least 2; unused where there are rows for validation.
    search
        Whether to search parameters; else the usual ones are taken.
    search_rows
        Search on at most this many rows, sampled at random; with more rows the calibration uses one
        fold.
    calibrate
        Whether to calibrate; a regression never is.
    seed
        Random seed, of folds and of estimators.
    threads
        At most this many compute threads; another number may change the last digits.
    standardise
        Whether columns are standardised; not where their scales say what they weigh.

    Examples
    --------
    >>> from protclip_core import FitSettings
    >>> FitSettings(kind="mlp", seed=1).folds
    5
    """

    kind: str = AUTO
    class_weight: str = AUTO
    folds: int = 5
    search: bool = True
    search_rows: int = 20_000
    calibrate: bool = True
    seed: int = 0
    threads: int = 1
    standardise: bool = True


def check_settings(settings: FitSettings) -> None:
    """Refuse settings that are not known or out of range.

    Raises
    ------
    UsageError
        Names the first of them.
    """
    if settings.class_weight not in WEIGHTS:
        raise UsageError(
            f"class weight {settings.class_weight!r} is not known",
            code="usage.unknown_value",
            hint=f"use {', '.join(WEIGHTS)}",
        )
    for name, least in (("folds", 2), ("search_rows", 1), ("threads", 1)):
        if (value := getattr(settings, name)) < least:
            raise UsageError(
                f"{name} {value} is too few", code="usage.bad_value", hint=f"use {least} or more"
            )


def check_rows(
    features: np.ndarray,
    targets: Targets,
    *,
    fitted_on: np.ndarray | None = None,
    names: tuple[str, ...] | None = None,
) -> None:
    """Refuse what cannot be fitted on.

    Parameters
    ----------
    features, targets
        As in `protclip_core.heads.fit_head`.
    fitted_on, names
        For rows for validation: features and names of the rows that are fitted on, which they
        have to fit; they may have one class only.

    Raises
    ------
    UsageError, InputError
        As `protclip_core.heads.fit_head`.
    """
    if features.ndim != 2 or len(features) != len(targets):
        raise UsageError(
            f"features of shape {features.shape} for {len(targets)} answers",
            code="usage.shape_mismatch",
        )
    if not len(features):
        raise InputError("no rows to fit or validate a head on", code="input.nothing_to_fit")
    if not np.isfinite(features).all():
        bad = int((~np.isfinite(features)).any(1).argmax()) + 1
        raise InputError(
            f"vector {bad} holds NaN or infinity", code="input.not_finite", hint="embed it again"
        )
    if fitted_on is not None:
        if features.shape[1] != fitted_on.shape[1] or targets.names != names:
            raise UsageError(
                "rows for validation have other features or classes", code="usage.shape_mismatch"
            )
        return
    if targets.task == VALUES:
        if len(targets) < 2 or np.ptp(targets.table) == 0:
            raise InputError(
                "all values are the same, so there is nothing to learn", code="input.nothing_to_fit"
            )
        return
    counts = targets.counts()
    if len(targets.names) < 2 or (targets.task == CLASSES and (counts > 0).sum() < 2):
        only = targets.names[int(counts.argmax())] if len(counts) else "none"
        what = "class" if targets.task == CLASSES else "label"
        raise InputError(
            f"the only {what} is {only!r}",
            code="input.one_class",
            hint="a head tells two or more apart",
        )
    same = (counts == 0) | (counts == len(targets))
    if same.any():
        name = targets.names[int(same.argmax())]
        share = "none" if counts[int(same.argmax())] == 0 else "all"
        raise InputError(
            f"{share} of {len(targets):,} rows are {name!r}",
            code="input.one_class",
            hint="leave it out",
        )
