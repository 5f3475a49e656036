"""Making a GO index: the text of every term through the text encoder of a model, once.

Legend: G terms of the release, P joint width.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from protclip_core.errors import UsageError
from protclip_core.ontology.ontology import Ontology
from protclip_core.progress import Progress, SilentProgress
from protclip_core.terms.index import TEMPLATES, GoIndex, quantize, text_side_sha256
from protclip_core.terms.priors import covered_share, priors_on

if TYPE_CHECKING:
    from protclip_core.models.text import TextModel

__all__ = ["build_go_index", "rebuild_go_index", "term_vectors"]

_log = logging.getLogger(__name__)

#: Texts between two reports of progress.
_CHUNK = 512
_LEAST_COVERED = 0.9
_TEXT_LOG = "protclip_core.models.text"


def build_go_index(
    model: TextModel,
    ontology: Ontology,
    *,
    template: str = "both",
    log_prior: npt.ArrayLike | None = None,
    go_scale: float = 1.0,
    progress: Progress | None = None,
) -> GoIndex:
    """Make the index of a release of GO for a model.

    Parameters
    ----------
    model
        Text side of a ProtCLIP model, see `protclip_core.models.loading.load_text_model`.
    ontology
        The release; with definitions unless the template is ``"name"``.
    template
        What stands for a term: its ``"name"``; ``"definition"``: "name: definition", the name
        alone where there is none; ``"both"``: the sum of the unit vectors of these two.
    log_prior
        Log odds of each term's share of the proteins that the model learned from, ``(G,)``; NaN
        where it is not known.
    go_scale
        By what the model multiplies cosines of terms.
    progress
        Told of the texts.

    Returns
    -------
    GoIndex
        Without calibration, see `protclip_core.terms.fit`.

    Raises
    ------
    UsageError
        An unknown template, a template that needs definitions of an ontology without, or a model
        without a joint space.
    ModelError
        The model gives no usable vector for a term.
    """
    if template not in TEMPLATES:
        raise UsageError(
            f"template {template!r} is not known",
            code="usage.unknown_value",
            hint=f"use {', '.join(TEMPLATES)}",
        )
    if template != "name" and not any(ontology.definitions):
        raise UsageError(
            f"the ontology has no definitions, which template {template!r} needs",
            code="usage.no_definitions",
            where=ontology.source,
            hint="use template name, or another file of GO",
        )
    bundle = model.info.bundle
    if bundle is None or model.info.joint_dim is None:
        raise UsageError(
            f"model {model.info.name} has no joint space",
            code="usage.no_joint_space",
            hint="use a ProtCLIP model",
        )
    prior = np.full(len(ontology), np.nan) if log_prior is None else np.asarray(log_prior)
    vectors, scales = quantize(term_vectors(model, ontology, template, progress))
    return GoIndex(
        ontology=replace(ontology, definitions=()),
        vectors=vectors,
        scales=scales,
        log_prior=prior.astype(np.float32),
        go_scale=float(go_scale),
        template=template,
        model=model.info.name,
        weights_sha256=bundle.weights_sha256,
        text_side_sha256=text_side_sha256(bundle),
    )


def rebuild_go_index(
    model: TextModel, ontology: Ontology, index: GoIndex, progress: Progress | None = None
) -> GoIndex:
    """Make an index of another release that has the same template and calibration.

    Priors follow the graph of the release, see `protclip_core.terms.priors`. Where it lacks terms
    of more than a tenth of the annotations that the priors were counted from, there are neither
    priors nor a calibration, which would not hold. Parameters and errors are those of
    `build_go_index`.
    """
    holds = covered_share(index, ontology) >= _LEAST_COVERED
    prior = priors_on(index, ontology) if holds else None
    made = build_go_index(
        model,
        ontology,
        template=index.template,
        log_prior=prior,
        go_scale=index.go_scale,
        progress=progress,
    )
    return replace(made, calibration=index.calibration if holds else None)


def term_vectors(
    model: TextModel, ontology: Ontology, template: str, progress: Progress | None = None
) -> npt.NDArray[np.float32]:
    """Return the unit vector of each term, ``(G, P)`` float32; see `build_go_index`."""
    kinds: tuple[Literal["name", "definition"], ...] = (
        ("name", "definition") if template == "both" else ("name",)
    )
    if template == "definition":
        kinds = ("definition",)
    # Of a term without a definition both texts are its name, which need not be said twice.
    rows = {
        kind: [
            term
            for term in range(len(ontology))
            if len(kinds) == 1 or kind == "name" or ontology.definitions[term]
        ]
        for kind in kinds
    }
    progress = progress or SilentProgress()
    progress.start("embedding terms", sum(map(len, rows.values())), "texts")
    total = np.zeros((len(ontology), int(model.info.joint_dim or 0)), np.float32)
    for kind in kinds:
        texts = [ontology.text(term, kind) for term in rows[kind]]
        for chosen, vectors in _embedded(model, texts, progress):
            total[[rows[kind][i] for i in chosen]] += vectors
    progress.finish()
    norm = np.linalg.norm(total, axis=1, keepdims=True)
    return np.divide(total, norm, out=np.zeros_like(total), where=norm > 0)


def _embedded(
    model: TextModel, texts: list[str], progress: Progress
) -> Iterator[tuple[list[int], np.ndarray]]:
    """Give unit vectors chunk by chunk, texts of like length together."""
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    with _one_warning(model.max_tokens):
        for start in range(0, len(order), _CHUNK):
            chosen = order[start : start + _CHUNK]
            yield chosen, model.embed([texts[i] for i in chosen], space="joint")
            progress.advance(len(chosen))


@contextmanager
def _one_warning(max_tokens: int) -> Iterator[None]:
    """Say once, not for each chunk, that long texts are cut."""
    said: list[int] = []

    def hold(record: logging.LogRecord) -> bool:
        cut = " cut to the first " in record.getMessage()
        if cut:
            said.append(1)
        return not cut

    logger = logging.getLogger(_TEXT_LOG)
    logger.addFilter(hold)
    try:
        yield
    finally:
        logger.removeFilter(hold)
    if said:
        _log.info("texts of terms beyond %d tokens were cut", max_tokens)
