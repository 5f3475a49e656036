"""The requests of ``protclip similarity``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from protclip_core import options as opts
from protclip_core.options import Opt

__all__ = ["EvaluateRequest", "SimilarityRequest"]


def _alone(text: str) -> tuple[str, ...]:
    return (text,)


@dataclass(frozen=True, kw_only=True)
class SimilarityRequest:
    """Proteins to compare with each other; the `Opt` of a field says what it is."""

    inputs: opts.Inputs
    against: Annotated[
        str | None,
        Opt("Compare each protein of opts.INPUT with each of these.", metavar="STORE|FASTA"),
    ] = None
    metric: Annotated[
        Literal["cosine", "manhattan"],
        Opt("manhattan: 1 - |a - b| / (|a| + |b|), with sums of absolute values."),
    ] = "cosine"
    space: Annotated[
        opts.Space | None,
        Opt(
            "The joint space with texts, or the encoder's.",
            default="joint if the model takes texts",
        ),
    ] = None
    min_similarity: Annotated[
        float | None, Opt("List only pairs with at least this similarity.", old=("--min",))
    ] = None
    top_k: Annotated[
        int | None, Opt("List the K best partners of each protein, best first.", metavar="K")
    ] = None
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
    table: Annotated[
        str | None,
        Opt(
            "Two proteins and their similarities per line; each numeric column is one reference.",
            metavar="TABLE",
            argument=True,
        ),
    ] = None
    annotations: opts.Annotations = None
    go: Annotated[str | None, Opt("GO release for the annotations.", metavar="OBO")] = None
    evidence: Annotated[
        tuple[str, ...] | None,
        Opt(
            "Evidence codes, or groups such as experimental, separated by commas.",
            default="all but ND",
            read=opts.read_list,
        ),
    ] = None
    measure: Annotated[Literal["lin", "resnik"], Opt("How two terms are compared.")] = "lin"
    pairs: Annotated[
        str | None, Opt("Compare only these pairs, two names a line.", metavar="FILE")
    ] = None
    sample: Annotated[int, Opt("Without --pairs: all pairs of this many proteins per aspect.")] = (
        400
    )
    sequences: Annotated[
        opts.Sequences, Opt("Sequences of a store, for the composition method.", metavar="FASTA")
    ] = None
    space: Annotated[
        opts.Space | None, Opt("Compare in this space only.", default="all spaces")
    ] = None
    resamples: opts.Resamples = 200
    seed: opts.Seed = 0
    model: opts.Model = None
    vectors_model: opts.VectorsModel = None
    device: opts.Device = "auto"
    workers: opts.Workers = None
    on_error: opts.PairOnError = "fail"
