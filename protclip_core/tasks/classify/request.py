"""The requests of ``protclip classify``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from protclip_core import options as opts
from protclip_core.options import Opt

if TYPE_CHECKING:
    from protclip_core.heads import FitSettings

__all__ = ["EvaluateRequest", "FitRequest", "PredictRequest"]
_SEQUENCES = "Sequences of the proteins of a store, for the composition baseline and for clusters."
Proteins = Annotated[opts.Sequences, Opt(_SEQUENCES, metavar="FASTA")]


@dataclass(frozen=True, kw_only=True)
class FitRequest:
    """A head to fit to labels, and how; the `Opt` of a field says what it is."""

    labels: opts.Labels
    inputs: opts.Vectors
    output: opts.HeadOutput
    overwrite: opts.Overwrite = False
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
    seed: opts.Seed = 0
    threads: opts.Threads = 1
    sequences: Proteins = None
    resamples: opts.Resamples = opts.RESAMPLES
    model: opts.FitModel = None
    vectors_model: opts.VectorsModel = None
    space: Annotated[
        opts.Space, Opt("Vectors to make from FASTA: the encoder's, or the joint space's.")
    ] = "encoder"
    device: opts.Device = "auto"
    workers: opts.Workers = None
    on_error: opts.OnError = "fail"
    command: opts.Command = ""

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

    inputs: opts.Inputs
    head: opts.HeadFile
    top_k: Annotated[
        int | None,
        Opt(
            "List at most this many labels per protein.",
            metavar="K",
            default="1, or all with --min-probability",
        ),
    ] = None
    min_probability: opts.MinProbability = None
    model: opts.HeadModel = None
    vectors_model: opts.VectorsModel = None
    device: opts.Device = "auto"
    workers: opts.Workers = None
    on_error: opts.OnError = "fail"


@dataclass(frozen=True, kw_only=True)
class EvaluateRequest:
    """A head to measure on labels; the `Opt` of a field says what it is."""

    labels: opts.Labels
    inputs: opts.Inputs
    head: opts.HeadFile
    include_seen: Annotated[bool, Opt("Also measure on proteins that the head was fitted on.")] = (
        False
    )
    sequences: Proteins = None
    resamples: opts.Resamples = opts.RESAMPLES
    model: opts.HeadModel = None
    vectors_model: opts.VectorsModel = None
    device: opts.Device = "auto"
    workers: opts.Workers = None
    on_error: opts.OnError = "fail"
