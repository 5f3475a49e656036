"""A request of ``protclip mutate``, and its rows."""

from __future__ import annotations

from dataclasses import dataclass, field

from protclip_core.errors import UsageError
from protclip_core.tasks.mutate.request import MutateRequest
from protclip_core.tasks.mutate.scores import Method, Percentile
from protclip_core.variants.substitution_prior import PRIORS

__all__ = ["MutateReport", "ScoredRow", "check_request"]


@dataclass(slots=True)
class ScoredRow:
    """The answer to one row.

    Attributes
    ----------
    protein_id, variant
        As the input has them, or as in `AskedRow`.
    score
        The higher the better for the protein; None where there is a reason. Of an ensemble the
        mean of the models' scores, each divided by the spread of the protein's single
        substitutions.
    percentile
        Share of the protein's single substitutions that score lower, 0 to 100; None for what is
        none, or where it was not wanted.
    effect
        Class by a calibrated threshold; None while no model has one.
    flags
        In words.
    reason
        Why there is no score.
    toward
        Change of the cosine to the text.
    by_model
        Score of each model of an ensemble, not standardised.
    original, mutated
        The sequences, where the row has them.
    """

    protein_id: str
    variant: str
    score: float | None = None
    percentile: float | None = None
    effect: str | None = None
    flags: tuple[str, ...] = ()
    reason: str = ""
    toward: float | None = None
    by_model: tuple[float | None, ...] = ()
    original: str | None = None
    mutated: str | None = None


@dataclass
class MutateReport:
    """The result; ``first_reasons`` holds the first five as ``where: reason``."""

    rows: int = 0
    scored: int = 0
    first_reasons: list[str] = field(default_factory=list)

    @property
    def unscored(self) -> int:
        """Rows without a score."""
        return self.rows - self.scored


def check_request(request: MutateRequest) -> None:
    """Refuse options that contradict each other.

    Raises
    ------
    UsageError
        They do; names them.
    """
    if request.scan == (request.variants is not None):
        raise UsageError(
            "--scan and --variants exclude each other" if request.scan else "nothing to score",
            code="usage.conflicting_options",
            hint="give --variants FILE, or --scan for all single substitutions",
        )
    if request.scan and not request.inputs:
        raise UsageError(
            "a scan needs proteins",
            code="usage.needs_sequences",
            hint="give a FASTA file, or pipe one in",
        )
    if request.region is not None and not request.scan:
        raise UsageError(
            "--region is for scans", code="usage.conflicting_options", hint="add --scan"
        )
    if (request.toward is not None) != (request.method == Method.SHIFT) and request.toward:
        raise UsageError(
            "--toward is for the embedding shift",
            code="usage.conflicting_options",
            hint="add --method embedding-shift",
        )
    if request.toward is not None and not request.toward.strip():
        raise UsageError(
            "--toward is empty",
            code="usage.bad_value",
            hint="give a text such as 'hydrolase activity'",
        )
    if request.prior not in PRIORS:
        raise UsageError(
            f"prior {request.prior!r} is not known",
            code="usage.unknown_value",
            hint=f"use {', '.join(PRIORS)}",
        )
    if not request.models:
        raise UsageError("no model is given", code="usage.missing_option", hint="use --model NAME")
    no_singles = request.method in (Method.SHIFT, Method.PSEUDO)
    if no_singles and request.percentile in (Percentile.SCAN, Percentile.WILD_TYPE):
        raise UsageError(
            f"--percentile is not for --method {request.method}, which has no scan to place in",
            code="usage.conflicting_options",
            hint="drop it",
        )
    if request.method == Method.SHIFT and request.prior == "blosum62":
        raise UsageError(
            "--prior is for log ratios, not for the embedding shift",
            code="usage.conflicting_options",
            hint="drop it",
        )
    if len(request.models) > 1 and no_singles:
        raise UsageError(
            f"--method {request.method} has no spread to standardise the scores of models by",
            code="usage.conflicting_options",
            hint="give one model, or use masked-marginals, wt-marginals or joint",
        )
    if len(request.models) > 1 and request.percentile == Percentile.NONE:
        raise UsageError(
            "models are standardised by what percentiles are taken among",
            code="usage.conflicting_options",
            hint="drop --percentile none",
        )
