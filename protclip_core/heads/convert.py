"""From a fitted estimator of scikit-learn to the arrays that predicting takes (`HeadForm`).

Only names of classes and of their attributes are looked at, so the same code reads an estimator in
memory and what `protclip_core.heads.old_files` finds of one in an old file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from protclip_core.errors import UsageError
from protclip_core.heads.form import BINARY, LABELS, SOFTMAX, VALUE, Arrays, HeadForm

__all__ = ["form_of"]

#: Log odds of a label that no row, or every row, has: 0 and 1 exactly, as probabilities.
_SURE = 1000.0
_Found = tuple[str, str, Arrays]  # kind, link, arrays


def form_of(estimator: Any) -> HeadForm:
    """Give the form of a fitted estimator.

    Parameters
    ----------
    estimator
        `LogisticRegression`, `Ridge`, `MLPClassifier`, `MLPRegressor`,
        `HistGradientBoostingClassifier`, `HistGradientBoostingRegressor` or
        `GaussianProcessRegressor` (RBF kernel), or `OneVsRestClassifier` of the first and the
        fifth for several labels; alone, or behind a `StandardScaler` in a `Pipeline`.

    Raises
    ------
    UsageError
        Another kind, which is named, or one that is not fitted.
    """
    model, arrays = estimator, dict[str, np.ndarray]()
    try:
        if _name(estimator) == "Pipeline":
            *before, model = [step for _, step in estimator.steps]
            for step in before:
                if _name(step) != "StandardScaler" or len(before) > 1:
                    raise _unknown(step, "in a pipeline ")
                arrays["mean"] = _floats(step.mean_ if step.with_mean else 0 * step.scale_)
                arrays["scale"] = _floats(step.scale_ if step.with_std else 1 + 0 * step.mean_)
        kind, link, own = _read(model)
        return HeadForm(kind, link, _width(model), {**arrays, **own})
    except (AttributeError, TypeError, ValueError, LookupError, StopIteration) as error:
        raise _unknown(model, f"({error}) ") from error


def _name(part: Any) -> str:
    return str(getattr(part, "class_name", type(part).__name__))


def _unknown(part: Any, why: str = "") -> UsageError:
    return UsageError(
        f"{_name(part)} {why}cannot be stored as a head",
        code="usage.head_kind",
        hint=f"fit {', '.join(_READERS)}, alone or behind a StandardScaler",
    )


def _width(model: Any) -> int:
    parts = [model, *(model.estimators_ if _name(model) == "OneVsRestClassifier" else ())]
    return next(int(part.n_features_in_) for part in parts if hasattr(part, "n_features_in_"))


def _floats(values: Any) -> np.ndarray:
    found = np.asarray(values)
    return found if found.dtype == np.float32 else found.astype(np.float64)


def _read(model: Any) -> _Found:
    if _name(model) not in _READERS:
        raise _unknown(model)
    return _READERS[_name(model)](model)


def _logistic(model: Any) -> _Found:
    binary = len(model.classes_) == 2
    if not binary and model.solver == "liblinear":
        raise _unknown(model, "of several classes by liblinear ")
    arrays = {"weights": _floats(model.coef_).T, "offsets": _floats(model.intercept_)}
    return "linear", BINARY if binary else SOFTMAX, arrays


def _ridge(model: Any) -> _Found:
    weights = np.atleast_2d(_floats(model.coef_)).T
    return "linear", VALUE, {"weights": weights, "offsets": _floats(model.intercept_).reshape(-1)}


def _mlp(model: Any) -> _Found:
    link = {"identity": VALUE, "softmax": SOFTMAX, "logistic": BINARY}[model.out_activation_]
    if model.activation != "relu":
        raise _unknown(model, f"with activation {model.activation!r} ")
    if _name(model) == "MLPClassifier" and _is_multilabel(model._label_binarizer):
        link = LABELS
    arrays = {f"weights{n}": _floats(table) for n, table in enumerate(model.coefs_)}
    arrays |= {f"offsets{n}": _floats(row) for n, row in enumerate(model.intercepts_)}
    return "mlp", link, arrays


def _is_multilabel(binarizer: Any) -> bool:
    return str(binarizer.y_type_).startswith("multilabel")


def _gp(model: Any) -> _Found:
    if _name(model.kernel_) != "RBF":
        raise _unknown(model, f"with kernel {_name(model.kernel_)} ")
    numbers = (model.kernel_.length_scale, model._y_train_std, model._y_train_mean)
    arrays = {
        "rows": _floats(model.X_train_),
        "weights": _floats(model.alpha_),
        "numbers": np.array([float(np.asarray(number).item()) for number in numbers]),
    }
    return "gp", VALUE, arrays


def _boosting(model: Any) -> _Found:
    losses = {"HalfBinomialLoss": BINARY, "HalfMultinomialLoss": SOFTMAX, "HalfSquaredError": VALUE}
    offsets = _floats(model._baseline_prediction).reshape(-1)
    trees = [(column, tree.nodes) for step in model._predictors for column, tree in enumerate(step)]
    return "trees", losses[_name(model._loss)], _tree_arrays(trees, offsets)


def _tree_arrays(trees: Sequence[tuple[int, np.ndarray]], offsets: np.ndarray) -> Arrays:
    """Put trees of scikit-learn, each with the score that it adds to, into one table of nodes."""
    nodes = np.concatenate([table for _column, table in trees])
    sizes = [len(table) for _column, table in trees]
    start = np.cumsum([0, *sizes])[:-1]
    first, own = np.repeat(start, sizes), np.arange(len(nodes))
    leaf = nodes["is_leaf"].astype(bool)
    if nodes["is_categorical"][~leaf].any():
        raise ValueError("a tree asks for categories, which vectors do not have")
    return {
        "start": start,
        "column": np.array([column for column, _table in trees], np.int64),
        "feature": np.where(leaf, 0, nodes["feature_idx"].astype(np.int64)),
        "threshold": np.where(leaf, 0.0, nodes["num_threshold"]),
        "left": np.where(leaf, own, nodes["left"].astype(np.int64) + first),
        "right": np.where(leaf, own, nodes["right"].astype(np.int64) + first),
        "value": nodes["value"].astype(np.float64),
        "offsets": offsets,
    }


def _one_vs_rest(model: Any) -> _Found:
    """Put the models of several labels beside each other; a constant one is an offset."""
    parts = [None if _name(p) == "_ConstantPredictor" else p for p in model.estimators_]
    found = [part if part is None else _read(part) for part in parts]
    kinds = {part[0] for part in found if part is not None} or {"linear"}
    if not _is_multilabel(model.label_binarizer_) or kinds not in ({"linear"}, {"trees"}):
        raise _unknown(model, f"of {', '.join(_name(part) for part in model.estimators_[:1])} ")
    sure = [(2 * np.asarray(getattr(p, "y_", 0)).item() - 1) * _SURE for p in model.estimators_]
    pairs = list(zip(sure, found, strict=True))
    offsets = np.array([one if own is None else own[2]["offsets"][0] for one, own in pairs])
    if kinds == {"trees"}:
        trees = [
            (column, tree.nodes)
            for column, part in enumerate(parts)
            for step in getattr(part, "_predictors", ())
            for tree in step
        ]
        return "trees", LABELS, _tree_arrays(trees, offsets)
    nothing = np.zeros((_width(model), 1))
    weights = [nothing if own is None else own[2]["weights"] for own in found]
    return "linear", LABELS, {"weights": np.concatenate(weights, axis=1), "offsets": offsets}


_READERS: dict[str, Callable[[Any], _Found]] = {
    "LogisticRegression": _logistic,
    "Ridge": _ridge,
    "MLPClassifier": _mlp,
    "MLPRegressor": _mlp,
    "HistGradientBoostingClassifier": _boosting,
    "HistGradientBoostingRegressor": _boosting,
    "GaussianProcessRegressor": _gp,
    "OneVsRestClassifier": _one_vs_rest,
}
