"""Terms of GO as a model sees them: an ontology with the vector of each term's text.

An index is made once for a text encoder and a release of GO (`protclip_core.terms.build`),
kept in a file (`protclip_core.terms.index_file`), and compared with vectors of proteins
(`protclip_core.terms.scores`).

Legend: G terms of the release, P joint width, C chosen terms.
"""

from __future__ import annotations

import hashlib
import logging
import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from protclip_core.errors import ModelError, UsageError
from protclip_core.models.info import ModelInfo
from protclip_core.ontology.ontology import Ontology
from protclip_core.terms.calibration import Calibration
from protclip_core.weights.bundle import Bundle

__all__ = ["BUILD", "TEMPLATES", "GoIndex", "quantize", "text_side_sha256"]

_log = logging.getLogger(__name__)

#: What a term's vector is made of: its name; "name: definition"; the sum of both unit vectors.
TEMPLATES = ("name", "definition", "both")
#: Way out of an index that is missing or does not fit.
BUILD = "make one with: protclip data go build"
_TEXT_SIDE = ("text_encoder.", "text_projection.")
_TOKENIZER = "tokenizer.json"


@dataclass(frozen=True, eq=False, kw_only=True)
class GoIndex:
    """An ontology with a vector of each of its terms.

    Attributes
    ----------
    ontology
        Without definitions.
    vectors, scales
        Unit vectors: row ``g`` is ``vectors[g] * scales[g]``; ``(G, P)`` int8, ``(G,)`` float32.
    log_prior
        Log odds of a term's share of the proteins that the model learned from; NaN where that is
        not known; ``(G,)`` float32.
    go_scale
        By what the model multiplies cosines of terms.
    template
        Of `TEMPLATES`.
    model, weights_sha256
        Name and hash of the model that it was made with.
    text_side_sha256
        See `text_side_sha256`; a model of another one cannot use the vectors.
    calibration
        From scores to probabilities; None where it was not fitted.
    lines
        What terms of their own add to the calibration: a factor of the cosine, not negative, and
        an addend of the log odds; ``(2, G)`` float32. None for 1 and 0.
    gate
        Where a term says nothing of most proteins, as an enzyme number does: the unit vector of a
        protein times the first P values plus the next one are the log odds that it has any term;
        the last is a factor by which these change the log odds of a term of a protein that has
        some. ``(P + 2,)`` float32; None where all proteins that take part have a term.
    source
        File, for messages.

    Raises
    ------
    UsageError
        Arrays that do not fit each other.
    """

    ontology: Ontology
    vectors: npt.NDArray[np.int8]
    scales: npt.NDArray[np.float32]
    log_prior: npt.NDArray[np.float32]
    go_scale: float
    template: str
    model: str
    weights_sha256: str
    text_side_sha256: str
    calibration: Calibration | None = None
    lines: npt.NDArray[np.float32] | None = None
    gate: npt.NDArray[np.float32] | None = None
    source: str = "GO index"

    def __post_init__(self) -> None:
        size = len(self.ontology)
        if self.vectors.dtype != np.int8 or self.vectors.ndim != 2 or len(self.vectors) != size:
            raise UsageError(
                f"vectors of shape {self.vectors.shape}, type {self.vectors.dtype}, "
                f"do not fit {size:,} terms",
                code="usage.shape_mismatch",
            )
        for name in ("scales", "log_prior"):
            values = getattr(self, name)
            if values.shape != (size,) or values.dtype != np.float32 or np.isinf(values).any():
                raise UsageError(
                    f"{name} of shape {values.shape} does not fit {size:,} terms",
                    code="usage.shape_mismatch",
                )
        shapes = {"lines": (2, size), "gate": (self.vectors.shape[1] + 2,)}
        for name, shape in shapes.items():
            given = getattr(self, name)
            if given is not None and not (
                given.shape == shape and given.dtype == np.float32 and np.isfinite(given).all()
            ):
                raise UsageError(
                    f"{name} of shape {given.shape} do not fit {size:,} terms",
                    code="usage.shape_mismatch",
                )
        if self.lines is not None and (self.lines[0] < 0).any():
            raise UsageError("a factor of a cosine is negative", code="usage.bad_value")
        if not ((self.scales > 0) & (self.scales <= 1)).all():
            raise UsageError("scales must be above 0 and at most 1", code="usage.bad_value")
        if self.template not in TEMPLATES or not 0 < self.go_scale < math.inf:
            raise UsageError(
                f"template {self.template!r}, scale {self.go_scale} of a GO index",
                code="usage.bad_value",
            )

    def __len__(self) -> int:
        return len(self.ontology)

    @property
    def joint_dim(self) -> int:
        """P."""
        return int(self.vectors.shape[1])

    @property
    def release(self) -> str:
        """Date of the GO release; ``unknown`` where its file did not state one."""
        return self.ontology.release or "unknown"

    @property
    def filled_prior(self) -> npt.NDArray[np.float32]:
        """`log_prior` where an unknown one is the least known one; zeros where none is known."""
        known = ~np.isnan(self.log_prior)
        if not known.any():
            return np.zeros(len(self), np.float32)
        return np.where(known, self.log_prior, self.log_prior[known].min()).astype(np.float32)

    def unit_vectors(self, terms: npt.ArrayLike | None = None) -> npt.NDArray[np.float32]:
        """Return vectors ``(C, P)`` float32 of some terms, of all by default."""
        rows = slice(None) if terms is None else np.asarray(terms)
        found = self.vectors[rows].astype(np.float32)
        found *= self.scales[rows, None]
        return found

    def check_ontology(self, ontology: Ontology) -> None:
        """Refuse an ontology that is not the one of this index.

        Raises
        ------
        ModelError
            Another release, or other terms; names both.
        """
        if ontology.release != self.ontology.release:
            raise ModelError(
                f"is GO release {ontology.release or 'unknown'}, but the index {self.source} is "
                f"of release {self.release}",
                code="model.other_release",
                where=ontology.source,
                hint="use the release of the index, or make another with: protclip data go build",
            )
        if ontology.ids != self.ontology.ids:
            raise ModelError(
                f"has {len(ontology):,} terms that are not the {len(self):,} of the index "
                f"{self.source}, though both are release {self.release}",
                code="model.other_release",
                where=ontology.source,
                hint=BUILD,
            )

    def for_model(self, info: ModelInfo) -> GoIndex:
        """Return the index as a model may use it: without a calibration of another model.

        Raises
        ------
        ModelError
            The model's text side or joint width is not the one that the vectors were made with;
            names both.
        """
        bundle = info.bundle
        if bundle is None or not info.text_encoder or info.joint_dim is None:
            raise ModelError(
                f"model {info.name} takes no texts, so no GO terms",
                code="model.no_text_encoder",
                where=self.source,
            )
        # Equal weights and an equal tokenizer are an equal text side, without reading them.
        if bundle.weights_sha256 != self.weights_sha256 or info.joint_dim != self.joint_dim:
            found = text_side_sha256(bundle)
            if found != self.text_side_sha256 or info.joint_dim != self.joint_dim:
                raise ModelError(
                    f"was made with the text side {self.text_side_sha256[:16]}… of model "
                    f"{self.model}, but {info.name} has {found[:16]}…",
                    code="model.other_model",
                    where=self.source,
                    hint=BUILD,
                )
        fitted = self.calibration
        if fitted is not None and fitted.weights_sha256 != bundle.weights_sha256:
            _log.warning(
                "%s: its calibration is of a model with weights %s…, but %s has %s…: not used",
                self.source,
                fitted.weights_sha256[:16],
                info.name,
                bundle.weights_sha256[:16],
            )
            return replace(self, calibration=None)
        return self


def quantize(
    vectors: npt.NDArray[np.float32],
) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """Round unit vectors to 8 bits, with a scale for each row.

    The error of a cosine is about normal, with a deviation of a ``sqrt(12)``-th of the row's
    scale: 0.0003 where 512 values are about normal.

    Parameters
    ----------
    vectors
        Shape ``(G, P)``; no row of zeros.

    Returns
    -------
    tuple
        Values ``(G, P)`` int8 and scales ``(G,)`` float32.

    Raises
    ------
    ModelError
        A row that is zero or not finite.
    """
    largest = np.abs(vectors).max(axis=1, initial=0.0)
    if bad := np.flatnonzero(~(np.isfinite(largest) & (largest > 0))).tolist():
        raise ModelError(
            f"the vector of term {bad[0] + 1} is zero or not finite", code="model.bad_vector"
        )
    scales = (largest / 127).astype(np.float32)
    rounded = np.rint(vectors / scales[:, None])
    return np.clip(rounded, -127, 127).astype(np.int8), scales


def text_side_sha256(bundle: Bundle) -> str:
    """Return a hash of all that makes the vectors of texts: tensors and tokenizer.

    It does not depend on the protein side: models that share a text side share their indexes.

    Raises
    ------
    ModelError
        The weights or the tokenizer are missing or damaged.
    """
    import torch

    if _TOKENIZER not in bundle.files:
        raise ModelError(f"has no {_TOKENIZER}", code="model.missing_file", where=str(bundle.path))
    bundle.verify((_TOKENIZER,))
    digest = hashlib.sha256(bundle.files[_TOKENIZER].encode())
    for prefix in _TEXT_SIDE:
        for name, value in sorted(bundle.tensors(prefix).items()):
            digest.update(f"\n{prefix}{name} {value.dtype} {tuple(value.shape)}\n".encode())
            digest.update(value.contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
