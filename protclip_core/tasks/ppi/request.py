"""The requests of ``protclip ppi``."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from protclip_core import options as opts
from protclip_core.options import Opt, opt

if TYPE_CHECKING:
    from protclip_core.tasks.ppi.split import SplitSettings
    from protclip_core.tasks.ppi.vectors import VectorOptions

__all__ = ["EvaluateRequest", "PredictRequest", "SplitRequest", "TrainRequest"]

Head = Annotated[
    Path | None, Opt("Head to use.", "--head", metavar="HEAD", shown="protclip-mini's own")
]
Scheme = Literal["random", "c1", "c2", "c3", "bfs", "dfs", "cluster"]


@dataclass(frozen=True, kw_only=True)
class _Embedded:
    """Where the vectors of the proteins come from."""

    inputs: opts.Vectors
    model: opts.HeadModel = None
    vectors_model: opts.VectorsModel = None
    device: opts.Device = "auto"
    workers: opts.Workers = None
    on_error: opts.PairOnError = "fail"

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
            vectors_model=self.vectors_model,
        )


@dataclass(frozen=True, kw_only=True)
class TrainRequest(_Embedded):
    """A head to fit to pairs; the `Opt` of a field says what it is."""

    pairs: opts.Pairs
    output: opts.HeadOutput
    overwrite: opts.Overwrite = False
    valid: str | None = opt(
        None, "Validation pairs (model selection, calibration).", metavar="PAIRS"
    )
    test: str | None = opt(None, "Test pairs.", metavar="PAIRS")
    task: Literal["auto", "interaction", "types"] = opt(
        "auto", "auto: types if the list has types and no labels."
    )
    features: Literal["difference", "squares"] = opt(
        "difference",
        "Sum, product and cosine of two vectors, with their absolute difference or their "
        "squares, which makes --all faster.",
    )
    kind: Literal["auto", "logistic", "mlp", "boosting"] = opt("auto", "auto: logistic.")
    split: Scheme = opt(
        "c2", "Splitting scheme for validation if PAIRS has no split; see protclip ppi split."
    )
    valid_share: float = opt(0.15, "Share of pairs to hold out for validation.")
    min_score: opts.MinScore = None
    ratio: opts.Ratio = 1.0
    negatives: opts.Negatives = "uniform"
    max_pairs: int = opt(
        200_000, "Fit on at most this many pairs, sampled at random.", min=2, old=("--most-pairs",)
    )
    seed: opts.Seed = 0
    threads: opts.Threads = 1
    note: str = opt("", "Where the pairs are from, for the model card.")
    model: opts.FitModel = None
    space: opts.Space | None = opt(None, "Which vectors to use.", shown="joint if the model has it")
    command: opts.Command = ""

    @property
    def split_settings(self) -> SplitSettings:
        """How to split a list that has no split."""
        from protclip_core.tasks.ppi.split import SplitSettings

        return SplitSettings(method=self.split, valid=self.valid_share, test=0.0, seed=self.seed)


@dataclass(frozen=True, kw_only=True)
class PredictRequest(_Embedded):
    """Pairs to predict: a list, two groups, or all; the `Opt` of a field says what it is."""

    pairs: str | None = opt(
        None, "List of pairs; '-': standard input.", metavar="PAIRS", argument=True
    )
    head: Head = None
    inputs: opts.Vectors = opt(
        (),
        "Stores and FASTA files (repeatable), or '-'.",
        "--embeddings",
        metavar="STORE|FASTA",
        shown="the files of --bipartite",
    )
    bipartite: tuple[str, str] | None = opt(
        None,
        "Each protein of A with each of B: stores, FASTA files, or lists with one id a line.",
        metavar="A B",
    )
    every: bool = opt(False, "Each protein with each other protein.", "--all", panel=opts.INPUT)
    top_k: int | None = opt(
        None, "List the K best partners of each protein.", metavar="K", old=("--top-partners",)
    )
    min_probability: opts.MinProbability = None
    min_score: opts.MinScore = None
    prevalence: opts.Prevalence = None

    @property
    def vectors(self) -> VectorOptions:
        """Where the vectors come from."""
        found = super().vectors
        return (
            found
            if found.inputs
            else replace(found, inputs=(*dict.fromkeys(self.bipartite or ()),))
        )

    @property
    def blocks(self) -> int:
        """Blocks to compute at a time: the workers, else one for each core of this process."""
        if hasattr(os, "sched_getaffinity"):
            return self.workers or len(os.sched_getaffinity(0))
        return self.workers or 1


@dataclass(frozen=True, kw_only=True)
class EvaluateRequest(_Embedded):
    """Pairs to measure a head on; the `Opt` of a field says what it is."""

    pairs: opts.Pairs
    head: Head = None
    min_score: opts.MinScore = None
    ratio: opts.Ratio = 1.0
    negatives: opts.Negatives = "uniform"
    seed: opts.Seed = 0
    resamples: opts.Resamples = opts.RESAMPLES


@dataclass(frozen=True, kw_only=True)
class SplitRequest:
    """Pairs to split into train, valid and test; the `Opt` of a field says what it is."""

    pairs: opts.Pairs
    split: Scheme = opt("c3", "Splitting scheme, see below.", old=("--method",))
    valid_share: float = opt(0.1, "Share for validation.", old=("--valid",))
    test_share: float = opt(0.2, "Share for the test.", old=("--test",))
    sequences: opts.Sequences = opt(
        None,
        "Sequences of the proteins: identical ones under two names count as one.",
        metavar="FASTA",
    )
    min_score: opts.MinScore = None
    seed: opts.Seed = 0

    @property
    def settings(self) -> SplitSettings:
        """How to split."""
        from protclip_core.tasks.ppi.split import SplitSettings

        return SplitSettings(
            method=self.split, valid=self.valid_share, test=self.test_share, seed=self.seed
        )
