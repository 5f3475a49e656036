"""The requests of ``protclip similarity``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from protclip_core.options import (
    INPUT,
    Annotations,
    Device,
    Inputs,
    Model,
    Opt,
    PairOnError,
    Resamples,
    Seed,
    Sequences,
    Space,
    Workers,
    read_list,
)

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

    inputs: Inputs
    against: Annotated[
        str | None,
        Opt(
            "Compare each protein of INPUT with each of these.",
            metavar="STORE|FASTA",
            panel=INPUT,
        ),
    ] = None
    metric: Annotated[
        Literal["cosine", "manhattan"],
        Opt("manhattan: 1 - |a - b| / (|a| + |b|), with sums of absolute values."),
    ] = "cosine"
    space: Annotated[
        Space | None,
        Opt(
            "The joint space with texts, or the encoder's.",
            default="joint if the model takes texts",
        ),
    ] = None
    min_similarity: Annotated[
        float | None, Opt("List only pairs with at least this similarity.", old=("--min",))
    ] = None
    top_k: Annotated[
        int | None,
        Opt("List the K best partners of each protein, best first.", metavar="K"),
    ] = None
    model: Model = None
    device: Device = "auto"
    workers: Workers = None
    on_error: PairOnError = "fail"


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
    table: Annotated[
        str | None,
        Opt(
            "Two proteins and their similarities per line; each numeric column is one reference.",
            metavar="TABLE",
            argument=True,
        ),
    ] = None
    annotations: Annotations = None
    go: Annotated[
        str | None, Opt("GO release for the annotations.", metavar="OBO", panel=INPUT)
    ] = None
    evidence: Annotated[
        tuple[str, ...] | None,
        Opt(
            "Evidence codes, or groups such as experimental, separated by commas.",
            default="all but ND",
            read=read_list,
        ),
    ] = None
    measure: Annotated[Literal["lin", "resnik"], Opt("How two terms are compared.")] = "lin"
    pairs: Annotated[
        str | None,
        Opt("Compare only these pairs, two names a line.", metavar="FILE", panel=INPUT),
    ] = None
    sample: Annotated[int, Opt("Without --pairs: all pairs of this many proteins per aspect.")] = (
        400
    )
    sequences: Annotated[
        Sequences,
        Opt("Sequences of a store, for the composition method.", metavar="FASTA", panel=INPUT),
    ] = None
    space: Annotated[Space | None, Opt("Compare in this space only.", default="all spaces")] = None
    resamples: Resamples = 200
    seed: Seed = 0
    model: Model = None
    device: Device = "auto"
    workers: Workers = None
    on_error: PairOnError = "fail"
