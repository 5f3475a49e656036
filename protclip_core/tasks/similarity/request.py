"""The requests of ``protclip similarity``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from protclip_core import options as opts
from protclip_core.options import Opt, opt

__all__ = ["EvaluateRequest", "SimilarityRequest"]


def _alone(text: str) -> tuple[str, ...]:
    return (text,)


@dataclass(frozen=True, kw_only=True)
class SimilarityRequest:
    """Proteins to compare with each other; the `Opt` of a field says what it is.

    Examples
    --------
    >>> from protclip_core import SimilarityRequest
    >>> SimilarityRequest(inputs=("x.h5",), against="y.h5").metric
    'cosine'
    """

    inputs: opts.Inputs
    against: str | None = opt(
        None, "Compare each protein of INPUT with each of these.", metavar="STORE|FASTA"
    )
    metric: Literal["cosine", "manhattan"] = opt(
        "cosine", "manhattan: 1 - |a - b| / (|a| + |b|), with sums of absolute values."
    )
    space: opts.Space | None = opt(
        None,
        "The joint space with texts, or the encoder's.",
        shown="joint if the model takes texts",
    )
    min_similarity: float | None = opt(
        None, "List only pairs with at least this similarity.", old=("--min",)
    )
    top_k: int | None = opt(
        None, "List the K best partners of each protein, best first.", metavar="K"
    )
    model: opts.Model = None
    vectors_model: opts.VectorsModel = None
    device: opts.Device = "auto"
    workers: opts.Workers = None
    on_error: opts.PairOnError = "fail"


@dataclass(frozen=True, kw_only=True)
class EvaluateRequest:
    """Similarities to compare with a reference; the `Opt` of a field says what it is."""

    inputs: Annotated[
        tuple[str, ...],
        Opt(
            "A store, or a FASTA file; '-': standard input.",
            metavar="INPUT",
            argument=True,
            read=_alone,
        ),
    ]
    table: str | None = opt(
        None,
        "Two proteins and their similarities per line; each numeric column is one reference.",
        metavar="TABLE",
        argument=True,
    )
    annotations: opts.Annotations = None
    go: str | None = opt(None, "GO release for the annotations.", metavar="OBO")
    evidence: opts.Evidence = None
    measure: Literal["lin", "resnik"] = opt("lin", "How two terms are compared.")
    pairs: str | None = opt(None, "Compare only these pairs, two names a line.", metavar="FILE")
    sample: int = opt(400, "Without --pairs: all pairs of this many proteins per aspect.")
    sequences: opts.Sequences = opt(
        None, "Sequences of a store, for the composition method.", metavar="FASTA"
    )
    space: opts.Space | None = opt(None, "Compare in this space only.", shown="all spaces")
    resamples: opts.Resamples = 200
    seed: opts.Seed = 0
    model: opts.Model = None
    vectors_model: opts.VectorsModel = None
    device: opts.Device = "auto"
    workers: opts.Workers = None
    on_error: opts.PairOnError = "fail"
