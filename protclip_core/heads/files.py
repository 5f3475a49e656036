"""Heads as files, without pickle: what is saved is what is loaded.

A head file (`protclip_core.heads.head_file`) holds the estimator and a card that says what it is
and was made of (`HeadCard`), with a few input vectors and the probabilities, or values, that the
head gave for them. Nothing in the file is trusted: see `protclip_core.heads.estimators`. On every
load the stored vectors go through the head; one that gives other numbers, under another
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
from protclip_core.heads.card import HeadCard, HeadInput, card_from, check_input
from protclip_core.heads.estimators import estimator_from_bytes, estimator_to_bytes
from protclip_core.heads.head import TOLERANCE, Head
from protclip_core.heads.head_file import CARD, pack_head, read_head_file, unpack_head
from protclip_core.io.atomic import write_atomic

__all__ = ["load_head", "save_head"]

_log = logging.getLogger(__name__)

_TESTED, _SEED = 8, 0
_FETCH_AGAIN = "fetch or train the head again"


def save_head(path: str | Path, estimator: Any, card: HeadCard, examples: np.ndarray) -> Head:
    """Write a fitted estimator as a head file, whole or not at all.

    Parameters
    ----------
    path
        Target, replaced if it is there.
    estimator
        Fitted classifier or pipeline of scikit-learn that has ``predict_proba``; for a card of a
        regression, one that has ``predict``.
    card
        What to write beside it; ``versions`` are filled in.
    examples
        Real vectors, shape ``(N, F)``, such as those of training. Eight are drawn with a fixed
        seed and stored with what the head gives for them, by which a later load is measured.

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
    if not (card.regression or hasattr(estimator, "predict_proba")):
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
    given = _answer(Head(card, estimator, "", str(path)), inputs)
    data = estimator_to_bytes(estimator)
    content = asdict(card)
    content["test"] = {"inputs": inputs.tolist(), _answers(card): given.tolist()}
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
        given = np.array(content["test"][_answers(card)], np.float64)
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
    _check_answers(head, inputs, given, where)
    return head


def _answers(card: HeadCard) -> str:
    """Name what a head gives."""
    return "values" if card.regression else "probabilities"


def _answer(head: Head, inputs: np.ndarray) -> np.ndarray:
    return head.predict(inputs) if head.card.regression else head.predict_proba(inputs)


def _check_answers(head: Head, inputs: np.ndarray, given: np.ndarray, where: str) -> None:
    """Let the stored vectors through the head; another scikit-learn may compute other numbers."""
    saved, here = head.card.versions.get("scikit-learn", "unknown"), version("scikit-learn")
    try:
        found = _answer(head, inputs)
    except ModelError as error:
        reason, found = f" ({error.message})", np.full(1, np.nan)
    else:
        reason = ""
    # Values have a scale of their own, probabilities are about 1.
    allowed = TOLERANCE * np.maximum(1, np.abs(given))
    if found.shape == given.shape and (np.abs(found - given) <= allowed).all():
        return
    what = _answers(head.card)
    if saved == here:
        raise ModelError(
            f"the head does not give the {what} stored with it{reason}",
            where=where,
            hint=_FETCH_AGAIN,
        )
    raise ModelError(
        f"under scikit-learn {here} the head does not give the {what} that it gave under "
        f"{saved}, with which it was saved{reason}",
        where=where,
        hint=f"install scikit-learn {saved}, or train the head again",
    )
