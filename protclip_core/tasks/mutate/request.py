"""The requests of ``protclip mutate``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from protclip_core import options as opts
from protclip_core.models.info import DEFAULT_MODEL
from protclip_core.options import Opt, opt

__all__ = ["FitRequest", "MutateRequest", "PredictRequest"]

Offset = Annotated[
    int, Opt("Position in the variants minus position in the sequence.", panel=opts.INPUT)
]
MutantVectors = Annotated[
    str | None,
    Opt("Vectors of the mutants; their ids are the variants.", "--embeddings", metavar="STORE"),
]
ZeroShot = Literal["masked-marginals", "wt-marginals"]


@dataclass(frozen=True, kw_only=True)
class MutateRequest:
    """Variants to score, and how; the `Opt` of a field says what it is.

    Examples
    --------
    >>> from protclip_core import MutateRequest
    >>> MutateRequest(inputs=("wild.fasta",), scan=True).models
    ('protclip-mini',)
    """

    inputs: tuple[str, ...] = opt(
        (),
        "FASTA files, plain or compressed; '-', or nothing and a pipe: standard input. Not "
        "needed if the variants come with their wild type.",
        metavar="PROTEINS",
        argument=True,
    )
    variants: str | None = opt(None, "Variants to score; '-': standard input.", metavar="FILE")
    scan: bool = opt(False, "Score all single substitutions instead.")
    region: tuple[int, int] | None = opt(
        None, "First and last position of a scan.", metavar="A-B", read=opts.read_range
    )
    method: Literal["masked-marginals", "wt-marginals", "pll", "joint", "embedding-shift"] = opt(
        "masked-marginals",
        "masked-marginals: one forward pass per position. wt-marginals: one per protein. "
        "joint: positions of a variant masked together. pll: for insertions and deletions "
        "too, one pass per residue. embedding-shift: how far the protein's vector moves.",
    )
    toward: str | None = opt(
        None,
        "With embedding-shift: also how much closer the protein moves to this text.",
        metavar="TEXT",
    )
    models: tuple[str, ...] = opt(
        (DEFAULT_MODEL,),
        "Name or path of a model; repeated: each model's scores and the mean of their "
        "standardised scores.",
        "--model",
        panel=opts.COMPUTE,
        shown=DEFAULT_MODEL,
    )
    prior: Literal["auto", "blosum62", "none"] = opt(
        "auto",
        "Add BLOSUM62 and hydropathy to each substitution; auto: for k-mer models, whose own "
        "probabilities are weak.",
    )
    percentile: Literal["auto", "scan", "wt", "none"] = opt(
        "auto",
        "auto: among a scan of the protein where that is cheap, else among its wild-type "
        "marginals (flag wt-percentile).",
    )
    offset: Offset = 0
    variant_column: opts.VariantColumn = None
    protein_column: str | None = opt(
        None, "Column with the proteins.", metavar="NAME", shown="detected"
    )
    on_error: str = opt(
        "skip",
        "Variants that cannot be scored: stop without results, or give the reason in their row "
        "and exit with 6.",
        panel=opts.INPUT,
        choices=("fail", "skip"),
        old=("--strict=fail",),
    )
    device: opts.Device = "auto"
    workers: opts.Workers = None


@dataclass(frozen=True, kw_only=True)
class FitRequest:
    """A head to fit to an assay; the `Opt` of a field says what it is."""

    assay: Annotated[
        str, Opt("Table of measured variants; '-': standard input.", metavar="ASSAY", argument=True)
    ]
    output: opts.HeadOutput
    fasta: str | None = opt(
        None,
        "The wild type. Without it the head gets no zero-shot score as input.",
        "--sequences",
        metavar="FASTA",
        old=("--fasta",),
    )
    embeddings: MutantVectors = None
    kind: Literal["auto", "ridge", "gp"] = opt(
        "auto", "auto: a Gaussian process up to 1,500 variants, ridge beyond."
    )
    score_column: str | None = opt(
        None, "Column with the measured values.", metavar="NAME", shown="detected"
    )
    variant_column: opts.VariantColumn = None
    offset: Offset = 0
    max_rows: int = opt(5000, "Fit on at most this many variants, sampled at random.")
    model: str = opt(DEFAULT_MODEL, "Model of the zero-shot score.", panel=opts.COMPUTE)
    method: ZeroShot = opt("masked-marginals", "How the zero-shot score is computed.")
    seed: opts.Seed = 0
    threads: opts.Threads = 1
    resamples: opts.Resamples = opts.RESAMPLES
    overwrite: opts.Overwrite = False
    device: opts.Device = "auto"
    workers: opts.Workers = None
    command: opts.Command = ""


@dataclass(frozen=True, kw_only=True)
class PredictRequest:
    """Variants whose effects a head predicts; the `Opt` of a field says what it is."""

    variants: Annotated[
        str, Opt("Variants, in any form; '-': standard input.", metavar="VARIANTS", argument=True)
    ]
    head: opts.HeadFile
    fasta: str | None = opt(
        None,
        "The wild type, to name it and to check that it is the head's.",
        "--sequences",
        metavar="FASTA",
        old=("--fasta",),
    )
    embeddings: MutantVectors = None
    offset: int | None = opt(
        None,
        "Position in the variants minus position in the sequence.",
        panel=opts.INPUT,
        shown="the head's",
    )
    model: str | None = opt(
        None, "Name or path of the head's model.", panel=opts.COMPUTE, shown="the name in the head"
    )
    variant_column: opts.VariantColumn = None
    device: opts.Device = "auto"
    workers: opts.Workers = None
