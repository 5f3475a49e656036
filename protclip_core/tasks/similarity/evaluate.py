"""Whether proteins that are alike by their vectors do alike things, as GO says.

Similarities of vectors are correlated with a table of similarities, or with what
`protclip_core.ontology.semantic` makes of annotations; so are two baselines that need no
model, on the same pairs: the cosine of the shares of the twenty residues, and how little lengths
differ.

Legend: N proteins, M pairs.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from protclip_core.errors import InputError, UsageError
from protclip_core.io.fasta import read_fasta
from protclip_core.measure.composition import RESIDUES, composition
from protclip_core.measure.pairwise import METRICS, Block, pair_scores
from protclip_core.progress import Progress, SilentProgress
from protclip_core.tasks.similarity.correlation import rank_correlations
from protclip_core.tasks.similarity.references import (
    FEWEST,
    EvaluateReport,
    GoReference,
    Reference,
    TableReference,
)
from protclip_core.tasks.similarity.request import EvaluateRequest
from protclip_core.tasks.similarity.vectors import Proteins, VectorRows
from protclip_core.vectors.source import open_vectors

__all__ = ["Agreement", "EvaluateReport", "evaluate"]

_log = logging.getLogger(__name__)

_PAIRS = 4096

Rows = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Agreement:
    """How well one method agrees with one reference.

    Attributes
    ----------
    reference
        Column of the table, or measure of terms.
    aspect
        Of GO; empty for a table.
    method
        Space and metric (``joint cosine``), ``composition`` or ``length``.
    pairs, proteins
        That were compared.
    spearman, low, high
        See `protclip_core.tasks.similarity.correlation`: 95 % interval over proteins.
    """

    reference: str
    aspect: str
    method: str
    pairs: int
    proteins: int
    spearman: float
    low: float
    high: float


def evaluate(
    request: EvaluateRequest, report: EvaluateReport, progress: Progress | None = None
) -> Iterator[Agreement]:
    """Compare similarities of vectors with those of a reference.

    Parameters
    ----------
    request
        What with what.
    report
        Is told what is left out.
    progress
        Told of the embedding.

    Yields
    ------
    Agreement
        For each reference (column or aspect) one of each method.

    Raises
    ------
    UsageError
        Neither a table nor annotations, or both.
    InputError
        Fewer than ten pairs that can be compared; a bad table, GAF or ontology.
    ModelError, ResourceError
        As `open_vectors` and `Proteins.vectors`.
    """
    progress = progress or SilentProgress()
    _check(request)
    references: Reference
    if request.table is not None:
        references = TableReference(request.table)
    else:
        references = GoReference(
            str(request.annotations),
            str(request.go),
            evidence=request.evidence,
            measure=request.measure,
            pairs=request.pairs,
            sample=request.sample,
            seed=request.seed,
        )
    source = open_vectors(
        request.inputs,
        model=request.model,
        vectors_model=request.vectors_model,
        device=request.device,
        workers=request.workers,
        on_error=request.on_error,
        unusable="keep",
        several=True,
    )
    with Proteins(source) as proteins:
        spaces = _spaces(proteins, request, progress)
        for failure in proteins.first_failures:
            report.add(f"{failure.where}: {failure.reason}")
        report.num_failures = proteins.num_failures
        usable = np.logical_and.reduce([vectors.usable for vectors in spaces])
        shares = _shares(proteins, request.sequences)
        found = False
        for reference, aspect, rows, values in references.pairs(proteins, usable, report):
            methods = _methods(proteins, spaces, shares, rows)
            results = rank_correlations(values, methods, rows, resamples=request.resamples)
            for method, one in results.items():
                found = True
                yield Agreement(
                    reference=reference,
                    aspect=aspect,
                    method=method,
                    pairs=len(rows),
                    proteins=len(np.unique(rows)),
                    spearman=one.value,
                    low=one.low,
                    high=one.high,
                )
        if not found:
            raise InputError(
                f"fewer than {FEWEST} of its pairs can be compared with {proteins.name}",
                code="input.too_few_pairs",
                where=references.name,
                hint="are these the same proteins, under the same names?",
            )


def _check(request: EvaluateRequest) -> None:
    """Refuse what needs no input to be seen as wrong."""
    if (request.table is None) == (request.annotations is None):
        raise UsageError(
            "exactly one reference is needed",
            code="usage.missing_option",
            hint="give a table of similarities, or --annotations and --go",
        )
    if request.annotations is not None and request.go is None:
        raise UsageError(
            "--annotations needs a release of GO",
            code="usage.missing_option",
            hint="give it with --go",
        )
    if request.annotations is None and (request.go or request.pairs or request.evidence):
        raise UsageError(
            "--go, --pairs and --evidence are for --annotations",
            code="usage.conflicting_options",
            hint="drop them",
        )
    if request.sample < 5:
        raise UsageError(
            f"--sample {request.sample} is too few", code="usage.bad_value", hint="use 5 or more"
        )
    if request.resamples < 0:
        raise UsageError(
            f"--resamples {request.resamples} is below 0",
            code="usage.bad_value",
            hint="use 0 or more",
        )


def _spaces(proteins: Proteins, request: EvaluateRequest, progress: Progress) -> list[VectorRows]:
    """Return the vectors in the space of the request, or in all that there are."""
    first = proteins.vectors(request.space, progress)
    if request.space is not None or first.space == "encoder":
        return [first]
    try:
        return [first, proteins.vectors("encoder", progress)]
    except UsageError:
        return [first]  # a store of the joint space


def _shares(proteins: Proteins, sequences: str | None) -> Floats | None:
    """Return the shares of residues ``(N, 20)``; NaN where no sequence is known, None if nowhere.

    Of a store they come from the FASTA file that is given.
    """
    if sequences is None:
        if proteins.shares is None:
            _log.warning(
                "%s keeps no sequences: give them with --sequences for the baseline of residues",
                proteins.name,
            )
        return proteins.shares
    found = np.full((len(proteins), len(RESIDUES)), np.nan, np.float32)
    for record in read_fasta(sequences):
        row = proteins.find(record.id)
        if isinstance(row, int):
            found[row] = composition([record.sequence])[0, : len(RESIDUES)]
    missing = int(np.isnan(found[:, 0]).sum())
    if missing:
        raise InputError(
            f"lacks the sequences of {missing:,} of the {len(proteins):,} proteins of "
            f"{proteins.name}",
            code="input.no_sequence",
            where=sequences,
            hint="give the file that was embedded",
        )
    return found


def _methods(
    proteins: Proteins, spaces: list[VectorRows], shares: Floats | None, rows: Rows
) -> dict[str, npt.NDArray[np.floating]]:
    """Return what each method says of the pairs, ``(M,)`` each."""
    found: dict[str, npt.NDArray[np.floating]] = {}
    for vectors in spaces:
        for metric in METRICS:
            scores = np.empty(len(rows), np.float32)
            for start in range(0, len(rows), _PAIRS):
                one, other = rows[start : start + _PAIRS].T
                scores[start : start + _PAIRS] = pair_scores(
                    Block.of(vectors.read(one), metric),
                    Block.of(vectors.read(other), metric),
                    metric,
                )
            found[f"{vectors.space} {metric}"] = scores
    one, other = rows.T
    if shares is not None:
        lengths = np.linalg.norm(shares, axis=1, keepdims=True)
        # A sequence of unusual residues alone has none of the twenty.
        unit = shares / np.where(lengths > 0, lengths, 1)
        found["composition"] = np.einsum("ij,ij->i", unit[one], unit[other])
    if proteins.lengths.any():
        found["length"] = -np.abs(proteins.lengths[one] - proteins.lengths[other]).astype(float)
    return found
