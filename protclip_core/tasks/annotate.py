"""Annotate proteins with GO terms: each is compared with the texts of all of them.

Proteins stream through in blocks, whatever their number. With ``fdr`` the least probability
depends on all of them, so what was found is kept in a temporary file until all are seen.

Legend: N proteins, E pairs of a protein and a term.
"""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self, cast

import numpy as np

from protclip_core.errors import UsageError
from protclip_core.io.atomic import disk_error
from protclip_core.models.go_calibration import LEAST_PROBABILITY, logit, sigmoid
from protclip_core.models.go_index_file import find_go_index
from protclip_core.models.go_scores import BLOCK_PROTEINS, GoScorer, Scored
from protclip_core.ontology.slims import SlimMap, map_to_slim, read_slim
from protclip_core.ontology.terms import ASPECTS
from protclip_core.progress import Progress, SilentProgress
from protclip_core.records import Failure
from protclip_core.tasks.annotate_fdr import FalseDiscovery
from protclip_core.tasks.annotate_input import open_source
from protclip_core.tasks.annotate_select import PredictedTerm, ProteinTerms, Selection

__all__ = [
    "DEFAULT_PROBABILITY",
    "DEFAULT_TOP_K",
    "AnnotateReport",
    "AnnotateRequest",
    "Annotation",
    "PredictedTerm",
    "ProteinTerms",
]

_log = logging.getLogger(__name__)

#: Least probability of what is listed where nothing else is asked for.
DEFAULT_PROBABILITY = 0.3
#: Terms of each aspect where there are no probabilities.
DEFAULT_TOP_K = 10


@dataclass(frozen=True, kw_only=True)
class AnnotateRequest:
    """What ``protclip annotate --go`` was asked for.

    Attributes
    ----------
    inputs
        FASTA files, ``-``, or one store.
    model
        Name or path; None: the one that made the store, else the default model.
    go_index
        File of the index; None: the model's.
    aspects
        Names, of `ASPECTS`.
    top_k
        Terms of each aspect at most; alone: so many, whatever their probability.
    min_probability
        Least probability, 0.01 to 1; at most one of it and ``fdr``.
    fdr
        Least probability of each aspect so that at most this share of what is listed, 0 to 1, is
        expected to be wrong; see `FalseDiscovery`.
    propagate, specific
        See `Selection`.
    slim
        File of a GO slim.
    device, workers, on_error
        As in `EmbedRequest`.
    """

    inputs: tuple[str, ...]
    model: str | None = None
    go_index: Path | None = None
    aspects: tuple[str, ...] = ASPECTS
    top_k: int | None = None
    min_probability: float | None = None
    fdr: float | None = None
    propagate: bool = False
    specific: bool = False
    slim: str | None = None
    device: str = "auto"
    workers: int | None = None
    on_error: str = "fail"


@dataclass(kw_only=True)
class AnnotateReport:
    """What came of it.

    Attributes
    ----------
    proteins, with_terms, terms
        Proteins that were compared, those with a term in the list, and the terms of all.
    num_failures, first_failures
        Proteins that could not be embedded; the first five of them.
    """

    proteins: int = 0
    with_terms: int = 0
    terms: int = 0
    num_failures: int = 0
    first_failures: list[Failure] = field(default_factory=list)


class Annotation:
    """An annotation that is ready to run; a context manager.

    Parameters
    ----------
    request
        What to do.

    Attributes
    ----------
    index
        Terms, with the release of GO.
    rule
        In words, what is listed.
    report
        Complete when `proteins` has ended.

    Raises
    ------
    UsageError
        Options that contradict each other, or need a calibration that the model does not have.
    ModelError
        No such model, or no index that fits it.
    InputError
        A slim that cannot be used.
    """

    def __init__(self, request: AnnotateRequest) -> None:
        _check(request)
        self.request = request
        self.report = AnnotateReport()
        with ExitStack() as stack:
            self._source = stack.enter_context(
                open_source(
                    request.inputs,
                    model=request.model,
                    device=request.device,
                    workers=request.workers,
                    on_error=request.on_error,
                )
            )
            self.info = self._source.info
            self.index = find_go_index(self.info, request.go_index)
            self.is_calibrated = self.index.calibration is not None
            self._refuse_uncalibrated()
            self._slim = self._read_slim()
            self._stack = stack.pop_all()
        self._aspects = tuple(a for a, name in enumerate(ASPECTS) if name in request.aspects)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: object, _trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def rule(self) -> str:
        """What is listed, in words."""
        parts = []
        if self.request.fdr is not None:
            parts.append(f"expected share of wrong terms at most {self.request.fdr:g}")
        elif (least := self._least_probability) is not None:
            parts.append(f"probability at least {least:g}")
        if self._top_k is not None:
            parts.append(f"at most {self._top_k} of each aspect")
        return ", ".join(parts)

    def proteins(self, progress: Progress | None = None) -> Iterator[ProteinTerms]:
        """Yield all proteins in input order with their terms; once.

        Raises
        ------
        InputError, ModelError, ResourceError
            As `protclip_core.tasks.embed.embed_rows` and `EmbeddingStore`.
        """
        scorer = GoScorer(self.index)
        blocks = self._scored(scorer, progress or SilentProgress())
        least = None if self._least_probability is None else logit(self._least_probability)
        with ExitStack() as stack:
            if self.request.fdr is None:
                limits = None if least is None else np.full(len(ASPECTS), least)
            else:
                file = stack.enter_context(tempfile.TemporaryFile(prefix="protclip-"))
                limits = self._gather(blocks, self.request.fdr, cast(BinaryIO, file))
                blocks = _read_blocks(cast(BinaryIO, file))
            selection = Selection(
                ontology=self.index.ontology,
                aspects=self._aspects,
                least=limits,
                top_k=self._top_k,
                propagate=self.request.propagate,
                specific=self.request.specific,
                slim=self._slim,
            )
            for ids, scored in blocks:
                for found in selection.of(ids, scored):
                    self.report.proteins += 1
                    self.report.with_terms += bool(found.terms)
                    self.report.terms += len(found.terms)
                    yield found
        self.report.num_failures = self._source.num_failures
        self.report.first_failures = self._source.first_failures

    @property
    def _least_probability(self) -> float | None:
        if self.request.min_probability is not None:
            return self.request.min_probability
        asked = self.request.top_k is not None or self.request.fdr is not None
        return None if asked or not self.is_calibrated else DEFAULT_PROBABILITY

    @property
    def _top_k(self) -> int | None:
        if self.request.top_k is None and not self.is_calibrated:
            return DEFAULT_TOP_K
        return self.request.top_k

    def _scored(self, scorer: GoScorer, progress: Progress) -> Iterator[tuple[list[str], Scored]]:
        """Compare block by block."""
        least = self._least_probability
        if self.request.fdr is not None:
            least = LEAST_PROBABILITY
        for ids, vectors in self._source.blocks(progress):
            for start in range(0, len(ids), BLOCK_PROTEINS):
                part = vectors[start : start + BLOCK_PROTEINS]
                if least is None:
                    assert self._top_k is not None
                    scored = scorer.best(part, self._top_k, self._aspects)
                else:
                    scored = scorer.above(part, logit(least))
                yield ids[start : start + BLOCK_PROTEINS], scored

    def _gather(
        self, blocks: Iterator[tuple[list[str], Scored]], share: float, file: BinaryIO
    ) -> np.ndarray:
        """Keep what was found in a file; return the least log odds of each aspect."""
        lists = [FalseDiscovery() for _ in ASPECTS]
        try:
            for ids, scored in blocks:
                chances = sigmoid(scored.log_odds)
                aspect = self.index.ontology.aspects[scored.terms]
                for number, one in enumerate(lists):
                    one.add(chances[aspect == number])
                _write_block(file, ids, scored)
        except OSError as error:
            raise disk_error(error, tempfile.gettempdir()) from error
        file.seek(0)
        limits = np.full(len(ASPECTS), np.inf)
        for number in self._aspects:
            found = lists[number].threshold(share)
            if found is not None:
                limits[number] = logit(max(found, LEAST_PROBABILITY))
                _log.info("%s: least probability %.4f", ASPECTS[number], found)
            else:
                _log.warning(
                    "%s: no term is sure enough for an expected share of %g wrong",
                    ASPECTS[number],
                    share,
                )
        return limits

    def _refuse_uncalibrated(self) -> None:
        """Say that there are no probabilities, or refuse what cannot do without."""
        if self.is_calibrated:
            return
        for value, name in (
            (self.request.min_probability, "--min-probability"),
            (self.request.fdr, "--fdr"),
        ):
            if value is not None:
                raise UsageError(
                    f"{name} needs probabilities, and the GO index has no calibration for model "
                    f"{self.info.name}",
                    where=self.index.source,
                    hint="ask for the best of each aspect with --top-k",
                )
        shown = DEFAULT_TOP_K if self.request.top_k is None else self.request.top_k
        _log.warning(
            "%s has no calibration for model %s: no probabilities, the %d terms of the highest "
            "cosine in each aspect are listed",
            self.index.source,
            self.info.name,
            shown,
        )

    def _read_slim(self) -> SlimMap | None:
        if self.request.slim is None:
            return None
        ontology = self.index.ontology
        return map_to_slim(ontology, read_slim(self.request.slim, ontology))


def _check(request: AnnotateRequest) -> None:
    """Refuse options that contradict each other, or are out of range."""
    if unknown := [name for name in request.aspects if name not in ASPECTS]:
        raise UsageError(f"aspect {unknown[0]!r} is not known", hint=f"use {', '.join(ASPECTS)}")
    if not request.aspects:
        raise UsageError("no aspect is asked for", hint=f"use {', '.join(ASPECTS)}")
    if request.min_probability is not None and request.fdr is not None:
        raise UsageError("--min-probability and --fdr contradict each other", hint="drop one")
    if request.top_k is not None and request.top_k < 1:
        raise UsageError(f"--top-k {request.top_k} lists nothing", hint="use 1 or more")
    value = request.min_probability
    if value is not None and not LEAST_PROBABILITY <= value <= 1:
        raise UsageError(
            f"--min-probability {value:g} is out of range",
            hint=f"use {LEAST_PROBABILITY:g} to 1; --top-k lists less likely terms",
        )
    if request.fdr is not None and not 0 < request.fdr < 1:
        raise UsageError(f"--fdr {request.fdr:g} is out of range", hint="use more than 0, below 1")
    if request.propagate + request.specific + (request.slim is not None) > 1:
        raise UsageError("--propagate, --specific and --slim exclude each other", hint="keep one")


_ARRAYS = ("rows", "terms", "cosines", "log_odds", "chosen")


def _write_block(file: BinaryIO, ids: list[str], scored: Scored) -> None:
    """Append a block to a file of plain arrays."""
    names = np.frombuffer(json.dumps(ids).encode(), np.uint8)
    for array in (names, *(getattr(scored, name) for name in _ARRAYS)):
        np.save(file, array, allow_pickle=False)


def _read_blocks(file: BinaryIO) -> Iterator[tuple[list[str], Scored]]:
    """Give back what `_write_block` has written."""
    while True:
        try:
            names = np.load(file, allow_pickle=False)
        except EOFError:
            return
        arrays = [np.load(file, allow_pickle=False) for _ in _ARRAYS]
        yield json.loads(names.tobytes()), Scored(*arrays)
