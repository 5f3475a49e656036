"""The vocabularies of an annotation: which, in which order, and what of each is listed."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from protclip_core.errors import UsageError
from protclip_core.io.phrases import Phrase, read_phrases
from protclip_core.io.text_rows import is_decoded, made_visible
from protclip_core.measure.calibration import logit
from protclip_core.models.info import ModelInfo
from protclip_core.ontology.slims import SlimMap, map_to_slim, read_slim
from protclip_core.records import counted, printable
from protclip_core.tasks.annotate.request import AnnotateRequest
from protclip_core.terms.index import GoIndex
from protclip_core.terms.index_file import find_go_index
from protclip_core.terms.vocabularies import (
    SHIPPED,
    TextSide,
    find_vocabulary,
    index_of_phrases,
)

__all__ = ["DEFAULT_PROBABILITY", "DEFAULT_TOP_K", "VOCABULARY_NAMES", "Vocabulary"]
__all__ += ["choose_vocabularies"]

_log = logging.getLogger(__name__)

#: Default least probability.
DEFAULT_PROBABILITY = 0.3
#: Terms of each aspect where there are no probabilities.
DEFAULT_TOP_K = 10
#: Vocabularies by name, in the order of results.
VOCABULARY_NAMES = ("go", *SHIPPED)
_LABEL = "LABEL"


@dataclass(frozen=True, eq=False, kw_only=True)
class Vocabulary:
    """A vocabulary that proteins are compared with, and what of it is listed.

    Attributes
    ----------
    name
        For people: ``GO``, or its aspect.
    index
        Its terms.
    aspects
        Places in ``index.ontology.aspect_names`` of the aspects to list.
    least
        Least probability; None with a number of best terms or a false discovery rate.
    top_k
        Terms of each aspect at most; None for all.
    slim
        For GO: slim to map to.
    """

    name: str
    index: GoIndex
    aspects: tuple[int, ...]
    least: float | None
    top_k: int | None
    slim: SlimMap | None = None

    @property
    def is_calibrated(self) -> bool:
        """Whether its terms have probabilities."""
        return self.index.calibration is not None

    @property
    def limits(self) -> np.ndarray | None:
        """Least log odds of each aspect; None where there is no least probability."""
        if self.least is None:
            return None
        return np.full(len(self.index.ontology.aspect_names), logit(self.least))


def choose_vocabularies(
    request: AnnotateRequest, info: ModelInfo, *, of_structures: bool = False
) -> tuple[Vocabulary, ...]:
    """Find or make all that a request asks for.

    Parameters
    ----------
    request
        What to annotate with.
    info
        The model.
    of_structures
        Whether structures are annotated: calibrations were fitted on sequences, so there are no
        probabilities then.

    Returns
    -------
    tuple of Vocabulary
        GO, enzyme numbers, locations, keywords, the files in their order, the labels.

    Raises
    ------
    UsageError
        Options that need a calibration that one of them does not have; labels that are blank.
    ModelError
        No index that fits the model, or a model that takes no texts.
    InputError
        A slim or a file of phrases that cannot be used.
    """
    texts = TextSide(info, request.device)
    indexes: list[tuple[str, GoIndex]] = []
    if "go" in request.vocabularies:
        indexes.append(("GO", find_go_index(info, request.go_index)))
    for name, shipped in SHIPPED.items():
        if name in request.vocabularies:
            indexes.append((shipped.aspect, find_vocabulary(texts, name)))
    for path in request.vocabulary_files:
        aspect = _aspect_of(path)
        indexes.append((aspect, index_of_phrases(texts, read_phrases(path), aspect, path)))
    if request.labels:
        phrases = _phrases_of(request.labels)
        indexes.append((_LABEL, index_of_phrases(texts, phrases, _LABEL, "--label")))
    if of_structures:
        indexes = [(name, replace(index, calibration=None)) for name, index in indexes]
    who = "structures" if of_structures else f"model {info.name}"
    _refuse_uncalibrated(request, who, [index for _, index in indexes])
    return tuple(_asked(request, name, index) for name, index in indexes)


def _asked(request: AnnotateRequest, name: str, index: GoIndex) -> Vocabulary:
    calibrated = index.calibration is not None
    least, top_k = request.min_probability, request.top_k
    if least is None and top_k is None and request.fdr is None:
        least, top_k = (DEFAULT_PROBABILITY, None) if calibrated else (None, DEFAULT_TOP_K)
    ontology, slim, asked = index.ontology, None, None
    if ontology.is_go:
        asked = request.aspects
        if request.slim is not None:
            slim = map_to_slim(ontology, read_slim(request.slim, ontology))
    aspects = tuple(
        place for place, one in enumerate(ontology.aspect_names) if asked is None or one in asked
    )
    return Vocabulary(name=name, index=index, aspects=aspects, least=least, top_k=top_k, slim=slim)


def _aspect_of(path: str) -> str:
    """Return the name of a file without folder and endings: what its rows say as aspect."""
    return "stdin" if path == "-" else printable(Path(path).name.split(".")[0]) or _LABEL


def _phrases_of(labels: Sequence[str]) -> list[Phrase]:
    found = dict.fromkeys(" ".join(label.split()) for label in labels)
    if "" in found:
        raise UsageError("a label is blank", code="usage.bad_value", hint="give --label a phrase")
    for label in found:
        if not is_decoded(label):
            shown = printable(made_visible(label))
            raise UsageError(
                f"the label '{shown}' is not UTF-8",
                code="usage.bad_value",
                hint="use a UTF-8 locale",
            )
    if len(found) < len(labels):
        _log.warning("%s kept once", counted(len(labels) - len(found), "repeated label"))
    return [Phrase(label, label) for label in found]


def _refuse_uncalibrated(request: AnnotateRequest, who: str, indexes: Sequence[GoIndex]) -> None:
    """Say that there are no probabilities, or refuse what cannot do without."""
    without = [index for index in indexes if index.calibration is None]
    if not without:
        return
    what = "GO index" if without[0].ontology.is_go else "vocabulary"
    for value, name in ((request.min_probability, "--min-probability"), (request.fdr, "--fdr")):
        if value is not None:
            raise UsageError(
                f"{name} needs probabilities, and the {what} has no calibration for {who}",
                code="usage.no_calibration",
                where=without[0].source,
                hint="ask for the best of each aspect with --top-k",
            )
    _log.warning(
        "no calibration of %s for %s, so no probabilities: the best %s of each aspect%s",
        " and ".join(index.source for index in without),
        who,
        counted(request.top_k or DEFAULT_TOP_K, "term"),
        "; the sequences of the chains have them: --modality sequence" * (who == "structures"),
    )
