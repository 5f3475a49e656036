"""The requests of ``protclip classify``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from protclip_core.options import (
    RESAMPLES,
    Command,
    Device,
    FitModel,
    HeadFile,
    HeadModel,
    HeadOutput,
    Inputs,
    Labels,
    MinProbability,
    OnError,
    Opt,
    Overwrite,
    Resamples,
    Seed,
    Sequences,
    Space,
    Threads,
    Vectors,
    Workers,
)

if TYPE_CHECKING:
    from protclip_core.heads import FitSettings

__all__ = ["EvaluateRequest", "FitRequest", "PredictRequest"]
_SEQUENCES = "Sequences of the proteins of a store, for the composition baseline and for clusters."
Proteins = Annotated[Sequences, Opt(_SEQUENCES, metavar="FASTA", panel="Input")]


@dataclass(frozen=True, kw_only=True)
class FitRequest:
    """A head to fit to labels, and how; the `Opt` of a field says what it is."""

    labels: Labels
    inputs: Vectors
    output: HeadOutput
    overwrite: Overwrite = False
    task: Annotated[
        Literal["auto", "classes", "labels", "regression"],
        Opt("auto: labels if a protein has several, else classes."),
    ] = "auto"
    kind: Annotated[
        Literal["auto", "logistic", "ridge", "mlp", "boosting"],
        Opt("auto: logistic, or ridge for a regression."),
    ] = "auto"
    split: Annotated[
        Literal["auto", "column", "cluster", "random", "none"],
        Opt(
            "Splitting scheme: the column split; clusters of similar sequences (needs mmseqs or "
            "diamond, and sequences); random; none: figures from folds. auto: the first of these "
            "that can be done."
        ),
    ] = "auto"
    test_share: Annotated[float, Opt("Share of proteins to test on, where a split is made.")] = 0.2
    min_members: Annotated[
        int, Opt("Leave out labels with fewer proteins than this to fit on.")
    ] = 5
    class_weight: Annotated[
        Literal["auto", "balanced", "none"],
        Opt("Give rare classes more weight; auto: if they are three times rarer."),
    ] = "auto"
    search: Annotated[bool, Opt("Search a small grid of parameters.", "--search/--no-search")] = (
        True
    )
    seed: Seed = 0
    threads: Threads = 1
    sequences: Proteins = None
    resamples: Resamples = RESAMPLES
    model: FitModel = None
    space: Annotated[
        Space, Opt("Vectors to make from FASTA: the encoder's, or the joint space's.")
    ] = "encoder"
    device: Device = "auto"
    workers: Workers = None
    on_error: OnError = "fail"
    command: Command = ""

    @property
    def settings(self) -> FitSettings:
        """How to fit."""
        from protclip_core.heads import FitSettings

        return FitSettings(
            kind=self.kind,
            class_weight=self.class_weight,
            search=self.search,
            seed=self.seed,
            threads=self.threads,
        )


@dataclass(frozen=True, kw_only=True)
class PredictRequest:
    """Proteins to label with a head; the `Opt` of a field says what it is."""

    inputs: Inputs
    head: HeadFile
    top_k: Annotated[
        int | None,
        Opt(
            "List at most this many labels per protein.",
            metavar="K",
            default="1, or all with --min-probability",
        ),
    ] = None
    min_probability: MinProbability = None
    model: HeadModel = None
    device: Device = "auto"
    workers: Workers = None
    on_error: OnError = "fail"


@dataclass(frozen=True, kw_only=True)
class EvaluateRequest:
    """A head to measure on labels; the `Opt` of a field says what it is."""

    labels: Labels
    inputs: Inputs
    head: HeadFile
    include_seen: Annotated[
        bool, Opt("Also measure on proteins that the head was fitted on.", "--include-seen")
    ] = False
    sequences: Proteins = None
    resamples: Resamples = RESAMPLES
    model: HeadModel = None
    device: Device = "auto"
    workers: Workers = None
    on_error: OnError = "fail"
