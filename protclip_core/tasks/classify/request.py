"""The requests of ``protclip classify``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from protclip_core import options as opts
from protclip_core.options import Opt, opt

if TYPE_CHECKING:
    from protclip_core.heads import FitSettings

__all__ = ["EvaluateRequest", "FitRequest", "PredictRequest"]
_SEPARATOR = "Mark between the labels of a cell."
_SEQUENCES = "Sequences of the proteins of a store, for the composition baseline and for clusters."
Proteins = Annotated[opts.Sequences, Opt(_SEQUENCES, metavar="FASTA")]


@dataclass(frozen=True, kw_only=True)
class FitRequest:
    """A head to fit to labels, and how; the `Opt` of a field says what it is."""

    labels: opts.Labels
    inputs: opts.Vectors
    output: opts.HeadOutput
    overwrite: opts.Overwrite = False
    task: Literal["auto", "classes", "labels", "regression"] = opt(
        "auto", "auto: labels if a protein has several, else classes."
    )
    kind: Literal["auto", "logistic", "ridge", "mlp", "boosting"] = opt(
        "auto", "auto: logistic, or ridge for a regression."
    )
    split: Literal["auto", "column", "cluster", "random", "none"] = opt(
        "auto",
        "Splitting scheme: the column split; clusters of similar sequences (needs mmseqs or "
        "diamond, and sequences); random; none: figures from folds. auto: the column if there "
        "is one, else random.",
    )
    group_column: str | None = opt(
        None,
        "Column of groups of proteins, such as families: no group is in two parts or folds.",
        metavar="NAME",
        shown="group, if there is one",
    )
    label_separator: str = opt(";", _SEPARATOR, metavar="MARK")
    test_share: float = opt(0.2, "Share of proteins to test on, where a split is made.")
    min_members: int = opt(5, "Leave out labels with fewer proteins than this to fit on.")
    class_weight: Literal["auto", "balanced", "none"] = opt(
        "auto", "Give rare classes more weight; auto: if they are three times rarer."
    )
    search: bool = opt(True, "Search a small grid of parameters.", "--search/--no-search")
    seed: opts.Seed = 0
    threads: opts.Threads = 1
    sequences: Proteins = None
    resamples: opts.Resamples = opts.RESAMPLES
    model: opts.FitModel = None
    vectors_model: opts.VectorsModel = None
    space: opts.Space = opt(
        "encoder", "Vectors to make from FASTA: the encoder's, or the joint space's."
    )
    device: opts.Device = "auto"
    modality: opts.Modality = "auto"
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
    top_k: int | None = opt(
        None,
        "List at most this many labels per protein.",
        metavar="K",
        shown="1, or all with --min-probability",
    )
    min_probability: opts.MinProbability = None
    prevalence: opts.Prevalence = None
    model: opts.HeadModel = None
    vectors_model: opts.VectorsModel = None
    device: opts.Device = "auto"
    modality: opts.Modality = "auto"
    workers: opts.Workers = None
    on_error: opts.OnError = "fail"


@dataclass(frozen=True, kw_only=True)
class EvaluateRequest:
    """A head to measure on labels; the `Opt` of a field says what it is."""

    labels: opts.Labels
    inputs: opts.Inputs
    head: opts.HeadFile
    include_seen: bool = opt(False, "Also measure on proteins that the head was fitted on.")
    label_separator: str = opt(";", _SEPARATOR, metavar="MARK")
    sequences: Proteins = None
    resamples: opts.Resamples = opts.RESAMPLES
    model: opts.HeadModel = None
    vectors_model: opts.VectorsModel = None
    device: opts.Device = "auto"
    modality: opts.Modality = "auto"
    workers: opts.Workers = None
    on_error: opts.OnError = "fail"
