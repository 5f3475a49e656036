"""Heads as files: plain arrays and a card, nothing that could run.

Format ``protclip-head``, version 2, ``NAME.head``: one safetensors file. Its metadata has one
entry, ``head``: the card (`HeadCard`) as JSON, with the format, its version, kind and link of the
form, and a sha256. Its tensors are the arrays of the form (``form.weights``, ...), of the domain
(``domain.center``, ...), and a few input vectors with what the head said of them
(``test.inputs``, ``test.answers``), which go through the head again whenever it is loaded.

The sha256 is that of the whole file with zeros in its own place: a changed byte is found. This
does not keep out who means harm: nothing that is read here is trusted.

Heads of version 1 (protclip before 0.2) are read by `protclip_core.heads.old_files`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from protclip_core._version import __version__
from protclip_core.errors import ModelError, UsageError
from protclip_core.heads.card import HeadCard, HeadInput, card_from, check_input
from protclip_core.heads.convert import form_of
from protclip_core.heads.domain import HeadDomain
from protclip_core.heads.form import HeadForm
from protclip_core.heads.head import TOLERANCE, Head
from protclip_core.heads.old_files import is_old, read_old
from protclip_core.io.atomic import write_atomic

__all__ = ["FORMAT", "FORMAT_VERSION", "load_head", "save_head"]

FORMAT, FORMAT_VERSION = "protclip-head", 2
#: Bytes of a head file at most.
LIMIT_BYTES = 1 << 30
_TESTED, _SEED = 8, 0
_NO_SUM = "0" * 64


def save_head(
    path: str | Path,
    estimator: Any,
    card: HeadCard,
    examples: np.ndarray,
    domain: HeadDomain | None = None,
) -> Head:
    """Write a fitted head, whole or not at all.

    Parameters
    ----------
    path
        Target, replaced if it exists.
    estimator
        A fitted estimator of a kind that `protclip_core.heads.convert.form_of` takes, or a
        `HeadForm`.
    card
        What to write with it; ``versions`` are filled in.
    examples
        Real vectors, shape ``(N, F)``, such as those of training. Eight are drawn with a fixed
        seed and stored with what the head says of them.
    domain
        What the head was fitted on, if it is to tell inputs that are unlike it.

    Returns
    -------
    Head
        The head as it will be loaded.

    Raises
    ------
    UsageError
        An estimator of another kind, or no examples.
    ModelError
        Labels, width or examples that do not fit the estimator.
    ResourceError
        The disk is full; an old file is untouched.
    """
    if len(examples) == 0:
        raise UsageError(
            "a head is stored with examples, and none are given", code="usage.no_examples"
        )  # fmt: skip
    form = estimator if isinstance(estimator, HeadForm) else form_of(estimator)
    versions = {"protclip": __version__, "scikit-learn": version("scikit-learn")}
    card = HeadCard(**{**vars(card), "versions": versions})
    chosen = np.sort(np.random.default_rng(_SEED).permutation(len(examples))[:_TESTED])
    inputs = np.asarray(examples)[chosen].astype(np.float32)
    answers = _answer(Head(card, form, domain=domain, where=str(path)), inputs)
    packed = _pack(card, form, domain, {"test.inputs": inputs, "test.answers": answers})
    # Read before it is written: what cannot be loaded must not replace an old file.
    head = _read(packed, str(path))
    write_atomic(path, packed)
    return head


def load_head(path: str | Path, *, model: HeadInput | None = None) -> Head:
    """Load a head; no code of the file runs, and scikit-learn is not needed.

    Parameters
    ----------
    path
        A file that `save_head` wrote, here or elsewhere.
    model
        The vectors that it is to be used on; ``None`` leaves that check to the caller.

    Raises
    ------
    ModelError
        A missing, damaged or untrusted file, a newer format, a head for other vectors (both are
        named), or one that does not say what it said when it was saved.

    Examples
    --------
    >>> from importlib.resources import files
    >>> from protclip_core import load_head
    >>> head = load_head(str(files("protclip_core") / "bundled/protclip-mini/ppi.head"))
    >>> head.card.input.space
    'joint'
    """
    where, file = str(path), Path(path)
    try:
        if not file.is_file():
            raise ModelError("no such head file", code="model.not_found", where=where)
        if (size := file.stat().st_size) > LIMIT_BYTES:
            raise ModelError(
                f"{size:,} bytes are too many for a head", code="model.too_large", where=where
            )
        data = file.read_bytes()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ModelError(
            f"cannot be read ({reason})", code="model.unreadable", where=where
        ) from error
    return _read(data, where, model)


def _pack(
    card: HeadCard, form: HeadForm, domain: HeadDomain | None, tensors: dict[str, np.ndarray]
) -> bytes:
    from safetensors.numpy import save

    head = {"format": FORMAT, "format_version": FORMAT_VERSION, "sha256": _NO_SUM, **asdict(card)}
    head["form"] = {"kind": form.kind, "link": form.link}
    tensors = {**tensors, **{f"form.{name}": array for name, array in form.arrays.items()}}
    if domain is not None:
        tensors |= {f"domain.{name}": array for name, array in domain.arrays().items()}
    tensors = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    text = json.dumps(head, ensure_ascii=False, allow_nan=False)
    packed = save(tensors, {"head": text})
    return packed.replace(_NO_SUM.encode(), hashlib.sha256(packed).hexdigest().encode(), 1)


def _unpack(data: bytes, where: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Give card and tensors of a whole, unchanged head file; what they say is not checked."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        size = int.from_bytes(data[:8], "little")
        content = json.loads(json.loads(data[8 : 8 + size])["__metadata__"]["head"])
        if content["format"] != FORMAT:
            raise ValueError(f"format {content['format']!r}")
        own, found = str(content["sha256"]), content["format_version"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        what = "a pickled file, which is never loaded" if data[:1] == b"\x80" else _short(error)
        raise _bad(f"not a head file ({what})", "model.not_head", where) from error
    if found != FORMAT_VERSION:
        raise ModelError(
            f"head format version {found!r}, this protclip reads {FORMAT_VERSION}",
            code="model.newer_version",
            where=where,
            hint="install a newer protclip",
        )
    zeroed = data.replace(own.encode("utf-8", "replace"), _NO_SUM.encode(), 1)
    if hashlib.sha256(zeroed).hexdigest() != own:
        what = "the file was cut or changed (its checksum does not match)"
        raise _bad(what, "model.hash_mismatch", where)
    try:
        return content, load(data)
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
        what = f"its arrays cannot be read ({_short(error)})"
        raise _bad(what, "model.bad_head", where) from error


def _read(data: bytes, where: str, model: HeadInput | None = None) -> Head:
    content, tensors = (read_old if is_old(data) else _unpack)(data, where)
    try:
        card, form = card_from(content), content["form"]
        arrays = _named("form.", tensors)
        own = HeadForm(str(form["kind"]), str(form["link"]), card.input.width, arrays)
        domain = HeadDomain.of_arrays(_named("domain.", tensors))
        inputs, answers = tensors["test.inputs"], tensors["test.answers"]
        if inputs.shape != (len(inputs), card.input.width) or not len(inputs):
            raise ValueError(f"test inputs of shape {inputs.shape}")
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        what = f"its card or arrays are not right ({_short(error)})"
        raise _bad(what, "model.bad_head", where) from error
    if model is not None:
        check_input(card.input, model, where)
    head = Head(card, own, domain=domain, sha256=hashlib.sha256(data).hexdigest(), where=where)
    _check_answers(head, inputs, answers, where)
    return head


def _named(start: str, tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {n.removeprefix(start): a for n, a in tensors.items() if n.startswith(start)}


def _bad(what: str, code: str, where: str) -> ModelError:
    return ModelError(what, code=code, where=where, hint="fetch or fit the head again")


def _short(error: Exception) -> str:
    text = str(error).strip().partition("\n")[0][:120]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _answer(head: Head, inputs: np.ndarray) -> np.ndarray:
    return head.predict(inputs) if head.card.regression else head.predict_proba(inputs)


def _check_answers(head: Head, inputs: np.ndarray, given: np.ndarray, where: str) -> None:
    """Let the stored vectors through the head."""
    found, reason = np.full(1, np.nan), ""
    try:
        found = _answer(head, inputs)
    except ModelError as error:
        reason = f" ({error.message})"
    # Values have a scale of their own, probabilities are about 1.
    allowed = TOLERANCE * np.maximum(1, np.abs(given))
    if found.shape != given.shape or not (np.abs(found - given) <= allowed).all():
        what = f"the head does not give the answers stored with it{reason}"
        raise _bad(what, "model.head_answers", where)
