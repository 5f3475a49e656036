"""The kinds of heads: which estimator, and which few parameters are tried.

Linear models and neural networks standardise their input, inside the pipeline, so that what is
standardised by is part of the head. Trees need none of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from protclip_core.errors import UsageError
from protclip_core.heads.targets import CLASSES, LABELS, VALUES

__all__ = ["AUTO", "KINDS", "candidates", "make_estimator", "resolve_kind"]

AUTO = "auto"
LOGISTIC, RIDGE, MLP, BOOSTING, GP = KINDS = ("logistic", "ridge", "mlp", "boosting", "gp")

#: What each kind is searched over; the first is taken where there is no search.
_GRIDS: Mapping[str, tuple[dict[str, Any], ...]] = {
    LOGISTIC: tuple({"C": c} for c in (0.01, 0.0003, 0.001, 0.003, 0.03, 0.1, 1.0)),
    RIDGE: tuple({"alpha": a} for a in (100.0, 1.0, 10.0, 1e3, 1e4, 1e5)),
    MLP: tuple({"alpha": a} for a in (1.0, 0.01, 0.1, 10.0)),
    BOOSTING: tuple(
        {"max_iter": count, "max_leaf_nodes": leaves}
        for count, leaves in ((100, 7), (100, 31), (300, 7))
    ),
    # Lengths for vectors whose distances are about 5, as those of variants are.
    GP: tuple(
        {"length_scale": length, "noise": noise}
        for length, noise in (
            (6.0, 0.3),
            (6.0, 0.1),
            (6.0, 1.0),
            (3.0, 0.1),
            (3.0, 0.3),
            (3.0, 1.0),
            (12.0, 0.03),
            (12.0, 0.1),
            (12.0, 0.3),
        )
    ),
}
_MLP_STEPS, _LOGISTIC_STEPS = 60, 2000
#: Share of the numbers of a vector that a split of a tree looks at; they tell much the same.
_TREE_FEATURES = 0.3


def resolve_kind(kind: str, task: str) -> str:
    """Give the kind for a task; ``"auto"`` is the linear one.

    Raises
    ------
    UsageError
        No such kind, or one that cannot do the task.
    """
    linear, other = (RIDGE, LOGISTIC) if task == VALUES else (LOGISTIC, RIDGE)
    if kind == AUTO:
        return linear
    if kind not in KINDS:
        raise UsageError(
            f"head {kind!r} is not known",
            code="usage.unknown_value",
            hint=f"use {', '.join(KINDS)}",
        )
    if kind == other:
        what = "values" if task == VALUES else "classes"
        raise UsageError(
            f"a {kind} head does not predict {what}", code="usage.head_kind", hint=f"use {linear}"
        )
    if kind == GP and task != VALUES:
        raise UsageError(
            "a gp head does not predict classes", code="usage.head_kind", hint=f"use {linear}"
        )
    return kind


def candidates(kind: str) -> tuple[dict[str, Any], ...]:
    """Give the parameters that are tried, the usual ones first."""
    return _GRIDS[kind]


def make_estimator(
    kind: str,
    task: str,
    parameters: Mapping[str, Any],
    *,
    balanced: bool,
    seed: int,
    standardise: bool = True,
) -> Any:
    """Make an estimator that is not fitted yet.

    Parameters
    ----------
    kind, task
        Of `KINDS` and `protclip_core.heads.targets.TASKS`.
    parameters
        One of `candidates`.
    balanced
        Whether rare classes weigh more; a neural network ignores it.
    seed
        Random seed.
    standardise
        Whether columns are standardised first; trees never ask for it.
    """
    from sklearn.multiclass import OneVsRestClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    weight = "balanced" if balanced and task != VALUES else None
    model = _model(kind, task, dict(parameters), weight, seed)
    if task == LABELS and kind != MLP:  # which learns all labels at once
        model = OneVsRestClassifier(model)
    if kind == BOOSTING or not standardise:
        return model
    return make_pipeline(StandardScaler(), model)


def _model(kind: str, task: str, parameters: dict[str, Any], weight: str | None, seed: int) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    if kind == LOGISTIC:
        return LogisticRegression(
            **parameters, class_weight=weight, max_iter=_LOGISTIC_STEPS, random_state=seed
        )
    if kind == RIDGE:
        return Ridge(**parameters, random_state=seed)
    if kind == GP:
        from sklearn.gaussian_process import GaussianProcessRegressor
        from sklearn.gaussian_process.kernels import RBF

        # No optimizer: parameters are those of the search, which looks at rows held out by group.
        return GaussianProcessRegressor(
            kernel=RBF(parameters["length_scale"], "fixed"),
            alpha=parameters["noise"],
            normalize_y=True,
            optimizer=None,
            random_state=seed,
        )
    if kind == MLP:
        network = MLPRegressor if task == VALUES else MLPClassifier
        return network(
            hidden_layer_sizes=(64,), max_iter=_MLP_STEPS, random_state=seed, **parameters
        )
    # No early stopping: it would hold out rows of its own drawing, blind to groups.
    fixed = {"early_stopping": False, "max_features": _TREE_FEATURES, "random_state": seed}
    common = {**parameters, **fixed}
    if task in (CLASSES, LABELS):
        return HistGradientBoostingClassifier(**common, class_weight=weight)
    return HistGradientBoostingRegressor(**common)
