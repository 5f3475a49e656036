"""The requests of ``protclip ppi``."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from protclip_core.options import (
    INPUT,
    RESAMPLES,
    Command,
    Device,
    FitModel,
    HeadModel,
    HeadOutput,
    MinProbability,
    Negatives,
    Opt,
    Overwrite,
    PairOnError,
    Pairs,
    Ratio,
    Resamples,
    Seed,
    Sequences,
    Space,
    Threads,
    Vectors,
    Workers,
)

if TYPE_CHECKING:
    from protclip_core.tasks.ppi.split import SplitSettings
    from protclip_core.tasks.ppi.vectors import VectorOptions

__all__ = ["EvaluateRequest", "PredictRequest", "SplitRequest", "TrainRequest"]

Head = Annotated[
    Path | None, Opt("Head to use.", "--head", metavar="HEAD", default="protclip-mini's own")
]
Scheme = Literal["random", "c1", "c2", "c3", "bfs", "dfs", "cluster"]


@dataclass(frozen=True, kw_only=True)
class _Embedded:
    """Where the vectors of the proteins come from."""

    inputs: Vectors
    model: HeadModel = None
    device: Device = "auto"
    workers: Workers = None
    on_error: PairOnError = "fail"

    @property
    def vectors(self) -> VectorOptions:
        """Where the vectors come from."""
        from protclip_core.tasks.ppi.vectors import VectorOptions

        return VectorOptions(
            inputs=self.inputs,
            model=self.model,
            space=getattr(self, "space", None),
            device=self.device,
            workers=self.workers,
            on_error=self.on_error,
        )


@dataclass(frozen=True, kw_only=True)
class TrainRequest(_Embedded):
    """A head to fit to pairs; the `Opt` of a field says what it is."""

    pairs: Pairs
    output: HeadOutput
    overwrite: Overwrite = False
    valid: Annotated[
        str | None,
        Opt("Validation pairs (model selection, calibration).", metavar="PAIRS", panel=INPUT),
    ] = None
    test: Annotated[str | None, Opt("Test pairs.", metavar="PAIRS", panel=INPUT)] = None
    task: Annotated[
        Literal["auto", "interaction", "types"],
        Opt("auto: types if the list has types and no labels."),
    ] = "auto"
    features: Annotated[
        Literal["difference", "squares"],
        Opt(
            "Sum, product and cosine of two vectors, with their absolute difference or their "
            "squares, which makes --all faster."
        ),
    ] = "difference"
    kind: Annotated[Literal["auto", "logistic", "mlp", "boosting"], Opt("auto: logistic.")] = "auto"
    split: Annotated[
        Scheme,
        Opt("Splitting scheme for validation if PAIRS has no split; see protclip ppi split."),
    ] = "c2"
    valid_share: Annotated[float, Opt("Share of pairs to hold out for validation.")] = 0.15
    ratio: Ratio = 1.0
    negatives: Negatives = "uniform"
    max_pairs: Annotated[
        int, Opt("Fit on at most this many pairs, sampled at random.", min=2, old=("--most-pairs",))
    ] = 200_000
    seed: Seed = 0
    threads: Threads = 1
    note: Annotated[str, Opt("Where the pairs are from, for the model card.")] = ""
    model: FitModel = None
    space: Annotated[
        Space | None, Opt("Which vectors to use.", default="joint if the model has it")
    ] = None
    command: Command = ""

    @property
    def split_settings(self) -> SplitSettings:
        """How to split a list that has no split."""
        from protclip_core.tasks.ppi.split import SplitSettings

        return SplitSettings(method=self.split, valid=self.valid_share, test=0.0, seed=self.seed)


@dataclass(frozen=True, kw_only=True)
class PredictRequest(_Embedded):
    """Pairs to predict: a list, two groups, or all; the `Opt` of a field says what it is."""

    pairs: Annotated[
        str | None, Opt("List of pairs; '-': standard input.", metavar="PAIRS", argument=True)
    ] = None
    head: Head = None
    bipartite: Annotated[
        tuple[str, str] | None,
        Opt(
            "Each protein of list A with each of list B; one id a line.",
            metavar="A B",
            panel=INPUT,
        ),
    ] = None
    every: Annotated[bool, Opt("Each protein with each other protein.", "--all", panel=INPUT)] = (
        False
    )
    top_k: Annotated[
        int | None,
        Opt("List the K best partners of each protein.", metavar="K", old=("--top-partners",)),
    ] = None
    min_probability: MinProbability = None

    @property
    def blocks(self) -> int:
        """Blocks to compute at a time: the workers, else one for each core of this process."""
        if hasattr(os, "sched_getaffinity"):
            return self.workers or len(os.sched_getaffinity(0))
        return self.workers or 1


@dataclass(frozen=True, kw_only=True)
class EvaluateRequest(_Embedded):
    """Pairs to measure a head on; the `Opt` of a field says what it is."""

    pairs: Pairs
    head: Head = None
    ratio: Ratio = 1.0
    negatives: Negatives = "uniform"
    seed: Seed = 0
    resamples: Resamples = RESAMPLES


@dataclass(frozen=True, kw_only=True)
class SplitRequest:
    """Pairs to split into train, valid and test; the `Opt` of a field says what it is."""

    pairs: Pairs
    split: Annotated[Scheme, Opt("Splitting scheme, see below.", old=("--method",))] = "c3"
    valid_share: Annotated[float, Opt("Share for validation.", old=("--valid",))] = 0.1
    test_share: Annotated[float, Opt("Share for the test.", old=("--test",))] = 0.2
    sequences: Annotated[
        Sequences,
        Opt(
            "Sequences of the proteins: identical ones under two names count as one.",
            metavar="FASTA",
            panel=INPUT,
        ),
    ] = None
    seed: Seed = 0

    @property
    def settings(self) -> SplitSettings:
        """How to split."""
        from protclip_core.tasks.ppi.split import SplitSettings

        return SplitSettings(
            method=self.split, valid=self.valid_share, test=self.test_share, seed=self.seed
        )
