"""How much annotated relatives say beside the text: the rule, its weights, and their file.

A protein and a term have the log odds ``t`` of the text (calibrated, `GoScorer`; at least
`LEAST_TEXT`) and, of each kind of evidence, the share ``s`` of the relatives that carry the term
(`protclip_core.terms.votes`) and the closeness ``c`` of the protein's best relative, both among
relatives that have a term of its aspect. Together they have the log odds::

    text * t + sum over kinds of (share * s + log_odds * ln((s + e) / (1 - s + e))
                                  + close * s * c) + offset

with e = `PAD`; a monotone step follows, as in `AspectCalibration`. No weight but the offset is
negative, so a term stays below its ancestors in its aspect. Weights are fitted for each aspect
and each set of kinds. A protein is scored in an aspect by the set of those kinds in which it has
such a relative; without any it keeps the log odds of the text.

File ``go_transfer.json`` of a bundle, format ``protclip-go-transfer``, version 1: the hash of the
model's weights, what the weights were fitted with, and the rules by the names of their kinds.

Legend: E pairs of a protein and a term.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
from msgspec import Struct

from protclip_core.errors import ModelError, UsageError
from protclip_core.io.atomic import write_atomic
from protclip_core.io.json_fields import Sha256, Text, one_line, read_as
from protclip_core.measure.calibration import LEAST_PROBABILITY, logit
from protclip_core.models.info import ModelInfo
from protclip_core.ontology.terms import ASPECTS
from protclip_core.terms.calibration import AspectCalibration
from protclip_core.weights.bundle import MANIFEST, Bundle, open_bundle

__all__ = ["KINDS", "LEAST_TEXT", "PAD", "TRANSFER_FILE", "Evidence", "KindWeights"]
__all__ += ["TransferRule", "TransferWeights", "add_transfer", "find_transfer", "sets_of"]

FORMAT, VERSION = "protclip-go-transfer", 1
TRANSFER_FILE = "go_transfer.json"
#: Kinds of evidence, in the order of rules.
KINDS = ("neighbours", "homology")
#: Log odds of a text that says nothing for a term; below it, they are not told apart.
LEAST_TEXT = logit(LEAST_PROBABILITY)
#: So that a share of nothing, or of all, has log odds.
PAD = 0.02
_MOST_BYTES = 1 << 20


class KindWeights(NamedTuple):
    """Weights of one kind of evidence; none is negative."""

    share: float
    log_odds: float
    close: float


class Evidence(NamedTuple):
    """What one kind says of pairs of a protein and a term.

    Attributes
    ----------
    shares
        0 to 1, ``(E,)``.
    closest
        Of the protein's best relative, 0 to 1, ``(E,)``: cosine, or share of identical residues.
    """

    shares: np.ndarray
    closest: np.ndarray

    def at(self, places: np.ndarray) -> Evidence:
        """Return that of some pairs."""
        return Evidence(self.shares[places], self.closest[places])

    def features(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return what the weights of `KindWeights` belong to, ``(E,)`` each."""
        odds = np.log((self.shares + PAD) / (1 - self.shares + PAD))
        return self.shares, odds, self.shares * self.closest


@dataclass(frozen=True)
class TransferRule:
    """The rule of one aspect for one set of kinds.

    Attributes
    ----------
    text
        Weight of the text's log odds.
    kinds
        Weights of each kind of the set, in the order of `KINDS`.
    offset
        Added.
    step
        Its knots are the monotone step; its proteins those that the rule was fitted on.
    """

    text: float
    kinds: tuple[KindWeights, ...]
    offset: float
    step: AspectCalibration = field(default_factory=AspectCalibration)

    def __post_init__(self) -> None:
        weights = [self.text, *(weight for kind in self.kinds for weight in kind)]
        if not all(math.isfinite(value) for value in [*weights, self.offset]):
            raise UsageError("a rule of transfer holds NaN or infinity", code="usage.bad_transfer")
        if min(weights) < 0 or not self.kinds:
            raise UsageError(
                f"a rule of transfer would not keep the order of scores: {self}",
                code="usage.bad_transfer",
            )

    def log_odds(self, text: np.ndarray, evidence: Sequence[Evidence]) -> np.ndarray:
        """Return the log odds of pairs, ``(E,)`` float64.

        Parameters
        ----------
        text
            Log odds of the text, ``(E,)``.
        evidence
            Of each kind of the set.
        """
        found = self.text * np.maximum(text, LEAST_TEXT) + self.offset
        for weights, one in zip(self.kinds, evidence, strict=True):
            for weight, feature in zip(weights, one.features()):
                found = found + weight * feature
        return self.step.correct(found)

    def to_dict(self, kinds: Sequence[str]) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "text": self.text,
            **{name: one._asdict() for name, one in zip(kinds, self.kinds, strict=True)},
            "offset": self.offset,
            "step": self.step.to_dict(),
        }


def _unfitted(kinds: Sequence[str]) -> TransferRule:
    """Return the rule of what was not fitted: shares as they are; of two kinds, both count half."""
    each = KindWeights(0.0, 1 / len(kinds), 0.0)
    return TransferRule(0.0, (each,) * len(kinds), 0.0)


@dataclass(frozen=True)
class TransferWeights:
    """The rules of all sets of kinds.

    Attributes
    ----------
    rules
        By set, in the order of `sets_of`: a rule for each aspect of GO.
    weights_sha256
        Of the model whose text and neighbours they were fitted with; None where they were not.
    fitted_with
        For people: reference, aligner, release.
    """

    rules: Mapping[tuple[str, ...], tuple[TransferRule, ...]]
    weights_sha256: str | None = None
    fitted_with: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def unfitted(cls) -> TransferWeights:
        """Return rules by which the share alone is the probability."""
        return cls({kinds: (_unfitted(kinds),) * len(ASPECTS) for kinds in sets_of(KINDS)})

    @property
    def is_fitted(self) -> bool:
        """Whether the weights are those of a model."""
        return self.weights_sha256 is not None

    def to_bytes(self) -> bytes:
        """Return the content of the file."""
        rules = {
            "+".join(kinds): {name: one.to_dict(kinds) for name, one in zip(ASPECTS, own)}
            for kinds, own in self.rules.items()
        }
        content = {
            "format": FORMAT,
            "version": VERSION,
            "weights_sha256": self.weights_sha256,
            "fitted_with": dict(self.fitted_with),
            "rules": rules,
        }
        return (json.dumps(content, indent=1, allow_nan=False) + "\n").encode()

    @classmethod
    def from_bytes(cls, data: bytes, where: str) -> TransferWeights:
        """Read what `to_bytes` gave.

        Raises
        ------
        ModelError
            Anything else.
        """
        try:
            content = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise ModelError(
                "is no JSON", code="model.bad_json", where=where, hint=_AGAIN
            ) from error
        told = read_as(_Weights, content, "file of transfer weights", where)
        if told.version != VERSION:
            raise ModelError(
                f"transfer weights of version {told.version}, this protclip reads {VERSION}",
                code="model.newer_version",
                where=where,
                hint="install a newer protclip",
            )
        return cls(
            {
                kinds: tuple(
                    _rule(told.rules.get("+".join(kinds), {}).get(name), kinds, where)
                    for name in ASPECTS
                )
                for kinds in sets_of(KINDS)
            },
            told.weights_sha256,
            {one_line(name): one_line(text) for name, text in told.fitted_with.items()},
        )


class _Weights(Struct):
    format: Literal["protclip-go-transfer"]
    version: int
    rules: dict[str, dict[str, Any]]
    weights_sha256: Sha256
    fitted_with: dict[str, Text]


_AGAIN = "the file is damaged or foreign: fetch the model again"


def sets_of(kinds: Sequence[str]) -> list[tuple[str, ...]]:
    """Return all sets of at least one of two kinds, the smaller first."""
    return [(kind,) for kind in kinds] + ([tuple(kinds)] if len(kinds) > 1 else [])


def _rule(plain: Any, kinds: tuple[str, ...], where: str) -> TransferRule:
    """Read what `TransferRule.to_dict` gave."""
    try:
        return TransferRule(
            text=_number(plain["text"]),
            kinds=tuple(
                KindWeights(*(_number(plain[kind][name]) for name in KindWeights._fields))
                for kind in kinds
            ),
            offset=_number(plain["offset"]),
            step=AspectCalibration.from_dict(plain["step"], where),
        )
    except (KeyError, TypeError, ValueError, OverflowError, UsageError) as error:
        raise ModelError(
            f"holds no rule of transfer ({one_line(str(error), 80)})",
            code="model.bad_transfer",
            where=where,
            hint=_AGAIN,
        ) from error


def _number(value: Any) -> float:
    if type(value) not in (int, float):
        raise ValueError(f"{one_line(repr(value), 40)} is not a number")
    return float(value)


def add_transfer(weights: TransferWeights, bundle: Bundle) -> Bundle:
    """Put weights into a bundle, in place of those that it has; its manifest names them.

    Raises
    ------
    ModelError
        They were fitted with another model.
    UsageError, ResourceError
        The folder cannot be written, or the disk is full.
    """
    if weights.weights_sha256 != bundle.weights_sha256:
        raise ModelError(
            "the weights of transfer are of another model",
            code="model.other_model",
            where=str(bundle.path),
        )
    path, data = bundle.path / MANIFEST, weights.to_bytes()
    content = json.loads(path.read_bytes())
    write_atomic(bundle.path / TRANSFER_FILE, data)
    content["files"][TRANSFER_FILE] = {
        "sha256": hashlib.sha256(data).hexdigest(),
        "bytes": len(data),
    }
    content["files"] = dict(sorted(content["files"].items()))
    write_atomic(path, (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode())
    return open_bundle(bundle.path)


def find_transfer(info: ModelInfo) -> TransferWeights:
    """Return the weights of a model's bundle; `TransferWeights.unfitted` where it has none.

    Raises
    ------
    ModelError
        They are damaged, or of another model.
    """
    bundle = info.bundle
    if bundle is None or TRANSFER_FILE not in bundle.files:
        return TransferWeights.unfitted()
    bundle.verify((TRANSFER_FILE,))
    path = bundle.path / TRANSFER_FILE
    if path.stat().st_size > _MOST_BYTES:
        raise ModelError(
            "is too large for weights of transfer",
            code="model.too_large",
            where=str(path),
            hint=_AGAIN,
        )
    found = TransferWeights.from_bytes(path.read_bytes(), str(path))
    if found.weights_sha256 != bundle.weights_sha256:
        raise ModelError(
            f"is of a model with weights {str(found.weights_sha256)[:16]}…, but {info.name} has "
            f"{bundle.weights_sha256[:16]}…",
            code="model.other_model",
            where=str(path),
            hint=_AGAIN,
        )
    return found
