"""Annotate proteins with terms of GO and other vocabularies: each is compared with their texts.

Proteins stream through in blocks, whatever their number. With ``fdr`` the least probability
depends on all of them, so what was found is kept in a temporary file until all are seen. A
protein is embedded once, however many vocabularies there are.

Legend: N proteins, E pairs of a protein and a term.
"""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import BinaryIO, Self, cast

import numpy as np
import numpy.typing as npt

from protclip_core.errors import UsageError
from protclip_core.io.atomic import disk_error
from protclip_core.io.standard_input import rereadable
from protclip_core.measure.calibration import LEAST_PROBABILITY, logit, sigmoid
from protclip_core.measure.false_discovery import FalseDiscovery
from protclip_core.ontology.terms import ASPECTS
from protclip_core.progress import Progress, SilentProgress
from protclip_core.records import counted, printable
from protclip_core.tasks.annotate.organisms import Organisms
from protclip_core.tasks.annotate.report import AnnotateReport
from protclip_core.tasks.annotate.request import AnnotateRequest
from protclip_core.tasks.annotate.selection import (
    PredictedTerm,
    ProteinTerms,
    Selection,
    likeliest_below,
)
from protclip_core.tasks.annotate.transfer import Transfer
from protclip_core.tasks.annotate.vocabularies import (
    DEFAULT_PROBABILITY,
    DEFAULT_TOP_K,
    VOCABULARY_NAMES,
    Vocabulary,
    choose_vocabularies,
)
from protclip_core.terms.combine import Supported
from protclip_core.terms.domain import why_outside
from protclip_core.terms.reliability import Reliability, find_reliability
from protclip_core.terms.scores import BLOCK_PROTEINS, GoScorer, Scored
from protclip_core.vectors.block import VectorBlock
from protclip_core.vectors.sequence_queue import SequenceQueue
from protclip_core.vectors.source import FastaSource, is_store, open_vectors

__all__ = [
    "DEFAULT_PROBABILITY",
    "DEFAULT_TOP_K",
    "AnnotateReport",
    "Annotation",
    "PredictedTerm",
    "ProteinTerms",
    "Vocabulary",
]

_log = logging.getLogger(__name__)


class Annotation:
    """An annotation that is ready to run; a context manager.

    Parameters
    ----------
    request
        What to do.

    Attributes
    ----------
    vocabularies
        The vocabularies of the request, in the order of the request's fields; GO is the first.
    index
        Terms of the first vocabulary, with the release of GO.
    rule
        In words, what is listed.
    report
        Complete when `proteins` has ended.
    transfer
        Transfer of the request, ready; None without it.
    reliability
        How sure terms are for a protein; None where that is not asked for.
    organisms
        What is known of the organisms of the proteins, by id.
    sequences
        With ``explain``, those of the proteins, each ready before its protein is yielded.

    Raises
    ------
    UsageError
        Options that contradict each other, or need a calibration that the model does not have.
    ModelError
        A model that is not installed, or does not have an index.
    InputError
        A slim that cannot be used.

    Examples
    --------
    >>> from importlib.resources import files
    >>> from protclip_core import AnnotateRequest, Annotation
    >>> path = str(files("protclip_core") / "bundled/example.fasta")
    >>> with Annotation(AnnotateRequest(inputs=(path,), go=True, top_k=1)) as annotation:
    ...     proteins = list(annotation.proteins())
    >>> len(proteins), proteins[0].protein_id
    (12, 'sp|P69905|HBA_HUMAN')
    """

    def __init__(self, request: AnnotateRequest) -> None:
        _check(request)
        self.request = request
        self.report = AnnotateReport()
        with ExitStack() as stack:
            homology = request.transfer is not None and request.transfer.homology is not None
            if homology or request.go:
                stack.enter_context(rereadable(request.inputs))
            self.sequences = stack.enter_context(SequenceQueue()) if request.explain else None
            self._source = stack.enter_context(
                open_vectors(
                    request.inputs,
                    space="joint",
                    model=request.model,
                    device=request.device,
                    workers=request.workers,
                    on_error=request.on_error,
                    modality=request.modality,
                )
            )
            self._refuse_for_structures()
            self.info = self._source.info
            self.vocabularies = choose_vocabularies(
                request, self.info, of_structures=self._source.spec.of_structures
            )
            self.organisms = Organisms(request.inputs if request.go else (), request.taxon)
            self.transfer = self._prepare_transfer()
            self.reliability = self._prepare_reliability()
            self._stack = stack.pop_all()
        self.index = self.vocabularies[0].index

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def _refuse_for_structures(self) -> None:
        if self._source.spec.of_structures and self.request.explain:
            raise UsageError(
                "--explain is for sequences",
                code="usage.conflicting_options",
                where=self._source.name,
                hint="drop it, or give --modality sequence",
            )

    @property
    def rule(self) -> str:
        """What is listed, in words."""
        rules = [self._rule_of(vocabulary) for vocabulary in self.vocabularies]
        if len(set(rules)) == 1:
            return rules[0]
        # GO may have probabilities where a list of phrases has none.
        return "; ".join(f"{v.name}: {rule}" for v, rule in zip(self.vocabularies, rules))

    def _rule_of(self, vocabulary: Vocabulary) -> str:
        parts = []
        if self.request.fdr is not None:
            parts.append(f"expected share of wrong terms at most {self.request.fdr:g}")
        elif vocabulary.least is not None:
            parts.append(f"probability at least {vocabulary.least:g}")
        if vocabulary.top_k is not None:
            parts.append(f"at most {vocabulary.top_k} of each aspect")
        return ", ".join(parts)

    def proteins(self, progress: Progress | None = None) -> Iterator[ProteinTerms]:
        """Yield all proteins in input order with their terms; once.

        With several vocabularies each protein comes as many times, in the order of
        ``vocabularies``.

        Raises
        ------
        InputError, ModelError, ResourceError
            As `protclip_core.vectors.embed_rows.embed_rows` and `EmbeddingStore`.
        """
        scorers = [GoScorer(vocabulary.index) for vocabulary in self.vocabularies]
        blocks = self._scored(scorers, progress or SilentProgress())
        with ExitStack() as stack:
            limits = [vocabulary.limits for vocabulary in self.vocabularies]
            if self.request.fdr is not None:
                file = stack.enter_context(tempfile.TemporaryFile(prefix="protclip-"))
                limits = self._gather(blocks, self.request.fdr, cast(BinaryIO, file))
                blocks = _read_blocks(cast(BinaryIO, file), len(self.vocabularies))
            selections = [
                Selection(
                    ontology=vocabulary.index.ontology,
                    aspects=vocabulary.aspects,
                    least=limits[place],
                    top_k=vocabulary.top_k,
                    propagate=self.request.propagate,
                    specific=self.request.specific,
                    slim=vocabulary.slim,
                    vocabulary=place,
                    transfer=self.transfer if vocabulary.index.ontology.is_go else None,
                    organisms=self.organisms,
                    reliability=self.reliability if vocabulary.index.ontology.is_go else None,
                    report=self.report,
                )
                for place, vocabulary in enumerate(self.vocabularies)
            ]
            for ids, parts, near in blocks:
                lists = [one.of(ids, scored, near) for one, scored in zip(selections, parts)]
                for found in zip(*lists):
                    count = sum(len(one.terms) for one in found)
                    self.report.proteins += 1
                    self.report.with_terms += count > 0
                    self.report.terms += count
                    yield from found
        if self.transfer is not None:
            self.transfer.tell()
        self._tell_outside()
        self._tell_impossible()
        self.report.num_failures = self._source.num_failures
        self.report.first_failures = self._source.first_failures

    def _scored(self, scorers: Sequence[GoScorer], progress: Progress) -> Iterator[_Block]:
        """Compare block by block."""
        source = self._source
        for block in source.blocks(progress):
            if self.sequences is not None and isinstance(source, FastaSource):
                self.sequences.put(source.job, block.sequences or ())
            ids, vectors = block.ids, _unit(block.vectors)
            outside = self._outside_domain(block)
            for start in range(0, len(ids), BLOCK_PROTEINS):
                part = vectors[start : start + BLOCK_PROTEINS]
                some = ids[start : start + BLOCK_PROTEINS]
                found = [
                    self._compare(v, s, some, part) for v, s in zip(self.vocabularies, scorers)
                ]
                for scored in found:
                    scored.log_odds[outside[start + scored.rows]] = np.nan
                near = np.full(len(some), np.nan)
                if self.reliability is not None:
                    near = self.reliability.nearness(part)
                yield some, found, near

    def _outside_domain(self, block: VectorBlock) -> npt.NDArray[np.bool_]:
        """Tell for which proteins no probability holds; they are counted in the report."""
        lengths = block.columns()[0].tolist()
        sequences: Sequence[str | None] = block.sequences or [None] * len(lengths)
        reasons = [
            # A store of other tools may not say how long its proteins are: 0.
            why_outside(length, sequence) if length else None
            for length, sequence in zip(lengths, sequences)
        ]
        for id, reason in zip(block.ids, reasons):
            if reason is not None:
                self.report.outside += 1
                self.report.first_outside = self.report.first_outside or f"{id}: {reason}"
        return np.array([reason is not None for reason in reasons], dtype=bool)

    def _tell_outside(self) -> None:
        """Say once which proteins have no probabilities."""
        if self.report.outside and any(v.index.calibration for v in self.vocabularies):
            _log.warning(
                "%s no probability: unlike the proteins that probabilities were fitted on (%s)",
                counted(self.report.outside, "protein has", "proteins have"),
                printable(self.report.first_outside, 120),
            )

    def _tell_impossible(self) -> None:
        """Say once how many terms are not listed because of the organism."""
        if self.report.impossible:
            _log.warning(
                "%s of %s not listed: their organisms do not have such a thing",
                counted(self.report.impossible, "term"),
                counted(self.report.with_impossible, "protein"),
            )

    def _prepare_reliability(self) -> Reliability | None:
        """Find what tells how sure a term is, where that is asked for."""
        if not self.request.reliability:
            return None
        found = find_reliability(self.info)
        if found is None or self.vocabularies[0].index.calibration is None:
            raise UsageError(
                f"--reliability was not fitted for model {self.info.name}, or its GO index",
                code="usage.no_calibration",
                where=self.vocabularies[0].index.source,
                hint="drop it",
            )
        if self.transfer is not None:
            raise UsageError(
                "--reliability was fitted for the text alone",
                code="usage.conflicting_options",
                hint="drop it, or --annotations",
            )
        return found

    def _prepare_transfer(self) -> Transfer | None:
        """Find the relatives that the request needs."""
        if self.request.transfer is None:
            return None
        index = self.vocabularies[0].index  # GO is the first
        if index.calibration is None:
            raise UsageError(
                "transfer needs probabilities, and the GO index has no calibration for "
                + ("structures" if self._source.spec.of_structures else f"model {self.info.name}"),
                code="usage.no_calibration",
                where=index.source,
                hint="drop --annotations, or use a model that has one",
            )
        return Transfer(
            self.request.transfer,
            self.request.inputs,
            self.info,
            index.ontology,
            device=self.request.device,
            workers=self.request.workers,
        )

    def _compare(
        self, vocabulary: Vocabulary, scorer: GoScorer, ids: Sequence[str], vectors: np.ndarray
    ) -> Scored:
        """Compare some proteins with one vocabulary."""
        least = vocabulary.least if self.request.fdr is None else LEAST_PROBABILITY
        is_go, most = vocabulary.index.ontology.is_go, vocabulary.top_k or 0
        if is_go:
            self.organisms.look(ids)
            most += _FURTHER if any(self.organisms[id].kingdom for id in ids) else 0
        if self.transfer is not None and is_go:
            if least is not None:
                return self.transfer.above(scorer, ids, vectors, logit(least))
            return self.transfer.best(scorer, ids, vectors, most, vocabulary.aspects)
        if least is not None:
            return scorer.above(vectors, logit(least))
        return scorer.best(vectors, most, vocabulary.aspects)

    def _gather(
        self, blocks: Iterator[_Block], share: float, file: BinaryIO
    ) -> list[np.ndarray | None]:
        """Keep what was found in a file; return the least log odds by vocabulary and aspect."""
        ontologies = [vocabulary.index.ontology for vocabulary in self.vocabularies]
        lists = [[FalseDiscovery() for _ in ontology.aspect_names] for ontology in ontologies]
        try:
            for ids, parts, near in blocks:
                for scored, ontology, own in zip(parts, ontologies, lists):
                    chances, aspect = sigmoid(scored.log_odds), ontology.aspects[scored.terms]
                    hidden = None
                    if self.request.specific:
                        hidden = likeliest_below(ontology, scored, np.nan_to_num(chances))
                    for number, one in enumerate(own):
                        here = (aspect == number) & ~np.isnan(chances)
                        one.add(chances[here], None if hidden is None else hidden[here])
                _write_block(file, ids, parts, near)
        except OSError as error:
            raise disk_error(error, tempfile.gettempdir()) from error
        file.seek(0)
        return [
            _least_odds(vocabulary, own, share) for vocabulary, own in zip(self.vocabularies, lists)
        ]


#: Of the best terms, so many more are looked at where some may be impossible for the organism.
_FURTHER = 100
#: Ids of some proteins, what was found for them in each vocabulary, and how near they are.
_Block = tuple[list[str], list[Scored], np.ndarray]


def _least_odds(
    vocabulary: Vocabulary, lists: Sequence[FalseDiscovery], share: float
) -> np.ndarray:
    """Return the least log odds of each aspect; infinity for aspects outside the request."""
    limits = np.full(len(lists), np.inf)
    for number in vocabulary.aspects:
        name = vocabulary.index.ontology.aspect_names[number]
        found = lists[number].threshold(share)
        if found is not None:
            limits[number] = logit(max(found, LEAST_PROBABILITY))
            _log.info("%s: least probability %.4f", name, found)
        else:
            _log.warning(
                "%s: no term is sure enough for an expected share of %g wrong", name, share
            )
    return limits


def _unit(vectors: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
    """Make rows as long as 1: float16 stores, and rounding, leave them a little off."""
    norm = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    unit: npt.NDArray[np.float32] = (vectors / norm).astype(np.float32)
    return unit


def _check(request: AnnotateRequest) -> None:
    """Refuse options that contradict each other, or are out of range."""
    if not (request.vocabularies or request.vocabulary_files or request.labels):
        raise UsageError(
            "no vocabulary is given",
            code="usage.no_vocabulary",
            hint=f"use {', '.join(VOCABULARY_NAMES)}",
        )
    if (*request.inputs, *request.vocabulary_files).count("-") > 1:
        hint = "give one of them as a file"
        raise UsageError(
            "standard input (-) can be read once only", code="usage.stdin_twice", hint=hint
        )
    if request.explain and (stores := [path for path in request.inputs if is_store(path)]):
        raise UsageError(
            "is a store: it does not hold the sequences, and only they say which residues matter",
            code="usage.needs_sequences",
            where=stores[0],
            hint="give the FASTA file that it was made from",
        )
    _check_go(request)
    if request.min_probability is not None and request.fdr is not None:
        raise UsageError(
            "--min-probability and --fdr contradict each other",
            code="usage.conflicting_options",
            hint="drop one",
        )
    if request.top_k is not None and request.top_k < 1:
        raise UsageError(
            f"--top-k {request.top_k} lists nothing", code="usage.bad_value", hint="use 1 or more"
        )
    value = request.min_probability
    if value is not None and not LEAST_PROBABILITY <= value <= 1:
        raise UsageError(
            f"--min-probability {value:g} is out of range",
            code="usage.bad_value",
            hint=f"use {LEAST_PROBABILITY:g} to 1; --top-k lists less likely terms",
        )
    if request.taxon is not None and request.taxon < 1:
        raise UsageError(
            f"--taxon {request.taxon} is not a taxon of NCBI",
            code="usage.bad_value",
            hint="give its number, such as 83333 for Escherichia coli K-12",
        )
    if request.fdr is not None and not 0 < request.fdr < 1:
        raise UsageError(
            f"--fdr {request.fdr:g} is out of range",
            code="usage.bad_value",
            hint="use more than 0, below 1",
        )
    if request.propagate + request.specific + (request.slim is not None) > 1:
        raise UsageError(
            "--propagate, --specific and --slim contradict each other",
            code="usage.conflicting_options",
            hint="keep one",
        )


def _check_go(request: AnnotateRequest) -> None:
    """Refuse options for GO without GO, and unknown aspects."""
    known = ", ".join(ASPECTS)
    if unknown := [name for name in request.aspects or () if name not in ASPECTS]:
        raise UsageError(
            f"aspect {unknown[0]!r} is not known", code="usage.unknown_value", hint=f"use {known}"
        )
    if request.aspects == ():
        raise UsageError("no aspect is given", code="usage.missing_option", hint=f"use {known}")
    if "go" in request.vocabularies:
        return
    for value, name in (
        (request.aspects, "--aspect"),
        (request.slim, "--slim"),
        (request.go_index, "--go-index"),
        (request.taxon, "--taxon"),
        (request.reliability or None, "--reliability"),
        (request.transfer, "--annotations"),
    ):
        if value is not None:
            raise UsageError(
                f"{name} is for GO alone",
                code="usage.conflicting_options",
                hint="add --go, or drop it",
            )


_ARRAYS = ("rows", "terms", "cosines", "log_odds", "chosen")
_SUPPORT = ("support", "sources", "identity")


def _write_block(file: BinaryIO, ids: list[str], parts: Sequence[Scored], near: np.ndarray) -> None:
    """Append a block to a file of plain arrays."""
    np.save(file, np.frombuffer(json.dumps(ids).encode(), np.uint8), allow_pickle=False)
    for scored in parts:
        names = _ARRAYS + (_SUPPORT if isinstance(scored, Supported) else ())
        np.save(file, np.array(len(names)), allow_pickle=False)
        for name in names:
            np.save(file, getattr(scored, name), allow_pickle=False)
    np.save(file, near, allow_pickle=False)


def _read_blocks(file: BinaryIO, vocabularies: int) -> Iterator[_Block]:
    """Give back what `_write_block` has written."""
    while True:
        try:
            names = np.load(file, allow_pickle=False)
        except EOFError:
            return
        parts = []
        for _ in range(vocabularies):
            count = int(np.load(file, allow_pickle=False))
            arrays = [np.load(file, allow_pickle=False) for _ in range(count)]
            parts.append(Scored(*arrays) if count == len(_ARRAYS) else Supported(*arrays))
        yield json.loads(names.tobytes()), parts, np.load(file, allow_pickle=False)
