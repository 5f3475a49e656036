"""Heads: light scikit-learn classifiers on embeddings, stored without pickle.

A head file (`protclip_core.io.head_file`) holds the estimator and a card that says what it is and
was made of (`HeadCard`), with a few input vectors and the probabilities that the head gave for
them. Nothing in the file is trusted: see `protclip_core.models.estimators`. On every load the
stored vectors go through the head; one that gives other probabilities, under another
scikit-learn for instance, is refused.

Legend: N vectors, F numbers of a vector, C classes or labels.
"""

from __future__ import annotations

import logging
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from protclip_core._version import __version__
from protclip_core.errors import ModelError, UsageError
from protclip_core.io.atomic import write_atomic
from protclip_core.io.head_file import CARD, pack_head, read_head_file, unpack_head
from protclip_core.models.estimators import estimator_from_bytes, estimator_to_bytes
from protclip_core.models.head_card import HeadCard, HeadInput, card_from, check_input

__all__ = ["Head", "HeadCard", "HeadInput", "load_head", "save_head"]

_log = logging.getLogger(__name__)

#: How far the probabilities of a loaded head may be from those stored with it.
TOLERANCE = 1e-6
_TESTED, _SEED = 8, 0
_FETCH_AGAIN = "fetch or train the head again"


class Head:
    """A fitted head; get one from `load_head` or `save_head`."""

    def __init__(self, card: HeadCard, estimator: Any, estimator_sha256: str, where: str) -> None:
        self.card = card
        self.estimator = estimator
        #: Identity of the head in outputs.
        self.estimator_sha256 = estimator_sha256
        self._where = where

    def predict_proba(self, vectors: np.ndarray) -> np.ndarray:
        """Give the probability of each class or label.

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
        ModelError
            Another width, NaN, infinity, numbers beyond float32 or a vector of zeros, named by
            its place from 1: some estimators would answer with a number. Or an estimator whose
            answer is no probability.
        """
        checked = self._checked(vectors)
        count = len(self.card.labels)
        if not len(checked):
            return np.empty((0, count))
        found = self._ask(self.estimator.predict_proba, checked)
        if isinstance(found, list):  # one table of (no, yes) for each label
            columns = zip(found, self.estimator.classes_, strict=True)
            found = np.stack([_yes(table, classes) for table, classes in columns], axis=1)
        result = np.asarray(found, np.float64)
        # Whatever is not within bounds, NaN included, fails the comparison.
        within = result.shape == (len(checked), count) and bool(
            ((result >= -TOLERANCE) & (result <= 1 + TOLERANCE)).all()
        )
        if not within or not (
            self.card.multilabel or np.allclose(result.sum(1), 1, rtol=0, atol=1e-3)
        ):
            raise ModelError(
                f"the head does not give probabilities of {count} labels", where=self._where
            )
        return result

    def predict(self, vectors: np.ndarray) -> np.ndarray:
        """Give the class of each vector, or whether it has each label.

        Returns
        -------
        numpy.ndarray
            Names of classes, shape ``(N,)``; for several labels bool, shape ``(N, C)``.

        Raises
        ------
        ModelError
            As `predict_proba`.
        """
        checked = self._checked(vectors)
        names = np.array(self.card.labels)
        if not len(checked):
            return np.empty((0, len(names)), bool) if self.card.multilabel else names[:0]
        found = self._ask(self.estimator.predict, checked)
        if self.card.multilabel:
            return np.asarray(found.toarray() if hasattr(found, "toarray") else found).astype(bool)
        classes = list(self.estimator.classes_)
        return names[[classes.index(value) for value in found]]

    def _checked(self, vectors: np.ndarray) -> np.ndarray:
        table, width = np.asarray(vectors), self.card.input.width
        if table.ndim != 2 or table.dtype.kind not in "fiu":
            raise ModelError(f"the head takes a table of numbers, not shape {table.shape}")
        if table.shape[1] != width:
            raise ModelError(
                f"vectors are {table.shape[1]} wide, the head takes {self.card.input}",
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
                    hint="embed it again; no prediction is made from it",
                )
        return result

    def _ask(self, method: Any, vectors: np.ndarray) -> Any:
        try:
            return method(vectors)
        except (ValueError, TypeError, AttributeError, IndexError, KeyError) as error:
            reason = str(error).partition("\n")[0][:120]
            raise ModelError(
                f"the head cannot predict ({type(error).__name__}: {reason})", where=self._where
            ) from error


def save_head(path: str | Path, estimator: Any, card: HeadCard, examples: np.ndarray) -> Head:
    """Write a fitted classifier as a head file, whole or not at all.

    Parameters
    ----------
    path
        Target, replaced if it is there.
    estimator
        Fitted classifier or pipeline of scikit-learn that has ``predict_proba``.
    card
        What to write beside it; ``versions`` are filled in.
    examples
        Real vectors, shape ``(N, F)``, such as those of training. Eight are drawn with a fixed
        seed and stored with their probabilities; they are what a later load is measured by.

    Returns
    -------
    Head
        The head as it will be loaded.

    Raises
    ------
    UsageError
        No ``predict_proba``, a type that would not load again, or no examples.
    ModelError
        Labels, width or examples that do not fit the estimator; an estimator that is not fitted.
    ResourceError
        The disk is full; an old file is untouched.
    """
    if not hasattr(estimator, "predict_proba"):
        raise UsageError(
            f"{type(estimator).__name__} gives no probabilities",
            hint="wrap it in CalibratedClassifierCV",
        )
    if len(examples) == 0:
        raise UsageError("a head is stored with examples, and there are none")
    versions = {name: version(name) for name in ("scikit-learn", "skops")}
    card = HeadCard(**{**vars(card), "versions": {"protclip": __version__, **versions}})
    chosen = np.sort(np.random.default_rng(_SEED).permutation(len(examples))[:_TESTED])
    inputs = np.asarray(examples)[chosen].astype(np.float32)
    given = Head(card, estimator, "", str(path)).predict_proba(inputs)
    data = estimator_to_bytes(estimator)
    content = asdict(card)
    content["test"] = {"inputs": inputs.tolist(), "probabilities": given.tolist()}
    packed = pack_head(content, data)
    # Read before it is written: what cannot be loaded must not replace an old file.
    head = _read(packed, str(path))
    write_atomic(path, packed)
    return head


def load_head(path: str | Path, *, model: HeadInput | None = None) -> Head:
    """Load a head; no code of the file runs.

    Parameters
    ----------
    path
        A file that `save_head` wrote, here or elsewhere.
    model
        The vectors that it is to be used on; ``None`` leaves that check to the caller.

    Raises
    ------
    ModelError
        Missing, damaged or untrusted file, one of a newer format, a head for other vectors (both
        are named), or one that gives other probabilities than when it was saved (both versions
        of scikit-learn are named).
    """
    where = str(path)
    return _read(read_head_file(path), where, model)


def _read(data: bytes, where: str, model: HeadInput | None = None) -> Head:
    content, packed = unpack_head(data, where)
    try:
        card = card_from(content)
        inputs = np.array(content["test"]["inputs"], np.float64)
        given = np.array(content["test"]["probabilities"], np.float64)
        if inputs.shape != (len(inputs), card.input.width) or not len(inputs):
            raise ValueError(f"test inputs of shape {inputs.shape}")
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise ModelError(
            f"{CARD} lacks or misstates something ({error})", where=where, hint=_FETCH_AGAIN
        ) from error
    if model is not None:
        check_input(card.input, model, where)
    saved, here = card.versions.get("scikit-learn", "unknown"), version("scikit-learn")
    if saved != here:
        _log.warning("%s: saved with scikit-learn %s, loaded with %s", where, saved, here)
    try:
        estimator = estimator_from_bytes(packed, where)
    except ModelError as error:
        if saved == here:
            raise
        # The inner types of boosted trees, for one, have changed their names.
        told = f"{error.message} (saved with scikit-learn {saved}, this is {here})"
        raise ModelError(told, where=where, hint=error.hint) from error
    head = Head(card, estimator, content["estimator_sha256"], where)
    _check_probabilities(head, inputs, given, where)
    return head


def _check_probabilities(head: Head, inputs: np.ndarray, given: np.ndarray, where: str) -> None:
    """Let the stored vectors through the head; another scikit-learn may compute other numbers."""
    saved, here = head.card.versions.get("scikit-learn", "unknown"), version("scikit-learn")
    try:
        found = head.predict_proba(inputs)
    except ModelError as error:
        reason, found = f" ({error.message})", np.full(1, np.nan)
    else:
        reason = ""
    if found.shape == given.shape and np.abs(found - given).max() <= TOLERANCE:
        return
    if saved == here:
        raise ModelError(
            f"the head does not give the probabilities stored with it{reason}",
            where=where,
            hint=_FETCH_AGAIN,
        )
    raise ModelError(
        f"under scikit-learn {here} the head does not give the probabilities that it gave under "
        f"{saved}, with which it was saved{reason}",
        where=where,
        hint=f"install scikit-learn {saved}, or train the head again",
    )


def _yes(table: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Probability of 1, where training may have seen only 0 or only 1."""
    found = list(classes)
    return table[:, found.index(1)] if 1 in found else np.zeros(len(table))
