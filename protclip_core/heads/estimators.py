"""scikit-learn estimators as bytes, and back without running anything in them.

The bytes are what skops writes: plain arrays and JSON in a zip, no pickle. Reading them creates
objects of an allow-list of types only: those that skops trusts by itself, and `EXTRA_TYPES`.

A type says nothing about content. scikit-learn walks its trees in compiled code without looking
at bounds, so the numbers of a tree, and of a support vector machine, are checked before they are
used: a crafted file gives an error, not a crash. Neighbour trees (KDTree, BallTree) cannot be
checked and are left out; on vectors of more than 15 numbers scikit-learn does not use them.
"""

from __future__ import annotations

import io
import json
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from protclip_core.errors import ModelError, UsageError
from protclip_core.io.zips import unpack_entries

__all__ = ["EXTRA_TYPES", "estimator_from_bytes", "estimator_to_bytes"]

#: Types beyond those that skops trusts: the inner parts of forests and boosted trees (checked
#: below), of Gaussian processes, neural networks and calibration. None has code that runs when
#: it is loaded.
EXTRA_TYPES = frozenset(
    {
        "sklearn.calibration._CalibratedClassifier",
        "sklearn.calibration._SigmoidCalibration",
        "sklearn.calibration._TemperatureScaling",
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
        "sklearn.gaussian_process.kernels.RBF",
        "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
        "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
        "sklearn.tree._tree.Tree",
        "sklearn.utils._bunch.Bunch",
    }
)

_SCHEMA = "schema.json"
_NO_HEAD = "the file is damaged or was not written by protclip"


def estimator_to_bytes(estimator: Any) -> bytes:
    """Write a fitted estimator as bytes that `estimator_from_bytes` takes.

    Raises
    ------
    UsageError
        It holds a type that would not be loaded again, which is named: a class or function of
        one's own, or a KDTree or BallTree (``algorithm="brute"`` avoids them).
    """
    import skops.io
    from skops.io.exceptions import UnsupportedTypeException

    try:
        with warnings.catch_warnings(action="ignore"):
            data = _canonical(skops.io.dumps(estimator))
            foreign = _foreign_types(data)
    except (UnsupportedTypeException, TypeError) as error:
        raise UsageError(f"a head of this kind cannot be stored ({error})") from error
    if foreign:
        raise UsageError(
            f"a head that holds {', '.join(foreign)} cannot be stored",
            hint="use parts of scikit-learn; for neighbours, algorithm='brute'",
        )
    return data


def _canonical(data: bytes) -> bytes:
    """Write what skops wrote so that equal estimators are equal bytes.

    skops names objects, and the files of arrays, by their addresses in memory, which are
    different each time. Here they are numbered in the order in which they come.
    """
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        tree = json.loads(archive.read(_SCHEMA))
        numbers: dict[Any, int] = {}
        files: dict[str, str] = {}
        waiting = [tree]
        while waiting:
            node = waiting.pop()
            if isinstance(node, list):
                waiting += reversed(node)
            elif isinstance(node, dict):
                if "__id__" in node:
                    node["__id__"] = numbers.setdefault(node["__id__"], len(numbers))
                if "__loader__" in node and isinstance(node.get("file"), str):
                    suffix = Path(node["file"]).suffix
                    node["file"] = files.setdefault(node["file"], f"{len(files)}{suffix}")
                waiting += reversed(node.values())
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as packed:
            for old, new in files.items():
                # Fixed times, for the same reason.
                packed.writestr(zipfile.ZipInfo(new), archive.read(old), zipfile.ZIP_DEFLATED, 6)
            schema = json.dumps(tree, indent=2).encode()
            packed.writestr(zipfile.ZipInfo(_SCHEMA), schema, zipfile.ZIP_DEFLATED, 6)
    return buffer.getvalue()


def estimator_from_bytes(data: bytes, where: str) -> Any:
    """Build the estimator that `estimator_to_bytes` wrote.

    Parameters
    ----------
    data
        The bytes; may come from anyone.
    where
        File for the message.

    Raises
    ------
    ModelError
        Not such bytes, too large when unpacked, a type outside the allow-list (named; nothing of
        it was run), or trees and support vectors whose numbers point outside their arrays.
    """
    import skops.io

    try:
        plain = _plain_zip(unpack_entries(data, where))
        # scikit-learn warns of other versions here: whoever loads tells that in its own words.
        with warnings.catch_warnings(action="ignore"):
            if foreign := _foreign_types(plain):
                raise ModelError(
                    f"refused: it holds {', '.join(foreign[:5])}",
                    where=where,
                    hint="a head holds parts of scikit-learn only; get it from its publisher",
                )
            estimator = skops.io.loads(plain, trusted=sorted(EXTRA_TYPES))
        for fault in _structure_faults(estimator):
            raise ModelError(f"refused: {fault}", where=where, hint=_NO_HEAD)
    except ModelError:
        raise
    # Whatever a crafted or cut file makes skops, numpy or scikit-learn raise, it is a bad file.
    except Exception as error:  # noqa: BLE001
        reason = str(error).strip().partition("\n")[0][:120] or "no reason given"
        raise ModelError(
            f"its estimator cannot be read ({type(error).__name__}: {reason})",
            where=where,
            hint=_NO_HEAD,
        ) from error
    return estimator


def _foreign_types(data: bytes) -> list[str]:
    import skops.io

    return [t for t in skops.io.get_untrusted_types(data=data) if t not in EXTRA_TYPES]


def _plain_zip(entries: dict[str, bytes]) -> bytes:
    """Pack entries again, uncompressed: skops unpacks without a limit."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def _structure_faults(estimator: Any) -> Iterator[str]:
    """Walk through all parts and tell what compiled code would stumble over."""
    from sklearn.ensemble._forest import BaseForest
    from sklearn.ensemble._gb import BaseGradientBoosting
    from sklearn.ensemble._hist_gradient_boosting.gradient_boosting import BaseHistGradientBoosting
    from sklearn.ensemble._hist_gradient_boosting.predictor import TreePredictor
    from sklearn.svm._base import BaseLibSVM
    from sklearn.tree._tree import Tree

    # These check the width of their input once and hand it unchecked to all their trees.
    ensembles = (BaseForest, BaseGradientBoosting, BaseHistGradientBoosting)
    waiting: list[tuple[Any, float]] = [(estimator, np.inf)]
    seen: dict[tuple[int, float], Any] = {}
    while waiting:
        part, width = waiting.pop()
        # One object may stand in several places, which may give it inputs of different width.
        if (id(part), width) in seen:
            continue
        seen[id(part), width] = part
        fields = getattr(part, "__dict__", {})
        if isinstance(part, Tree):
            yield from _tree_faults(part, width)
        elif isinstance(part, TreePredictor):
            yield from _predictor_faults(part, width)
        elif isinstance(part, BaseLibSVM) and "support_vectors_" in fields:
            yield from _svm_faults(part)
        elif isinstance(part, BaseGradientBoosting) and "estimators_" in fields:
            columns = part.estimators_.shape[1]
            if columns != part.n_trees_per_iteration_:
                yield f"{columns} boosted trees an iteration, not {part.n_trees_per_iteration_}"
        # Without its width a fitted part would take any input, so there a missing one is an error.
        if "tree_" in fields or (isinstance(part, ensembles) and fields.keys() & _FITTED):
            width = min(width, fields["n_features_in_"])
        children: list[Any] = [] if isinstance(part, TreePredictor) else list(fields.values())
        if isinstance(part, dict):
            children += part.values()
        elif isinstance(part, list | tuple | set):
            children += part
        elif isinstance(part, np.ndarray) and part.dtype == object:
            children += part.ravel().tolist()
        waiting += [(child, width) for child in children]


_FITTED = {"estimators_", "_predictors"}


def _tree_faults(tree: Any, width: float) -> Iterator[str]:
    """Children must come after their parent and exist, tested features be there."""
    if tree.node_count < 1:
        yield "a decision tree without nodes"
        return
    left, right = tree.children_left, tree.children_right
    yield from _node_faults(left, right, left == -1, tree.feature, min(width, tree.n_features))


def _predictor_faults(predictor: Any, width: float) -> Iterator[str]:
    nodes = predictor.nodes
    names = {"left", "right", "is_leaf", "feature_idx", "is_categorical"}
    if not len(nodes) or not names <= set(nodes.dtype.names or ()):
        yield "a boosted tree without nodes"
        return
    leaf = nodes["is_leaf"].astype(bool)
    left, right = nodes["left"].astype(np.int64), nodes["right"].astype(np.int64)
    yield from _node_faults(left, right, leaf, nodes["feature_idx"].astype(np.int64), width)
    if nodes["is_categorical"][~leaf].any():
        yield "a boosted tree asks for categories, which vectors do not have"


def _node_faults(
    left: np.ndarray, right: np.ndarray, leaf: np.ndarray, feature: np.ndarray, width: float
) -> Iterator[str]:
    own = np.arange(len(leaf))
    for child in (left, right):
        if ((child <= own) | (child >= len(leaf)))[~leaf].any():
            yield "a decision tree points to nodes that it does not have"
    if ((feature < 0) | (feature >= width))[~leaf].any():
        yield "a decision tree asks for features beyond the width of its input"


def _svm_faults(svm: Any) -> Iterator[str]:
    """Tell whether the arrays of a support vector machine have the sizes that libsvm takes."""
    vectors, counts, weights = svm.support_vectors_, svm._n_support, svm._dual_coef_  # noqa: SLF001
    classes = len(counts) if hasattr(svm, "classes_") else 2
    pairs = classes * (classes - 1) // 2
    fits = (
        vectors.ndim == 2
        and vectors.shape[1] == svm.n_features_in_
        and len(svm.support_) == len(vectors)
        and (counts >= 0).all()
        and weights.shape == (classes - 1, len(vectors))
        and len(svm._intercept_) == pairs  # noqa: SLF001
        and len(svm._probA) in (0, pairs)  # noqa: SLF001
        and len(svm._probB) == len(svm._probA)  # noqa: SLF001
    )
    if hasattr(svm, "classes_"):
        fits = fits and counts.sum() == len(vectors) and len(svm.classes_) == classes
    if not fits:
        yield "the arrays of a support vector machine do not fit each other"
