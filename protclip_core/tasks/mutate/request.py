"""The requests of ``protclip mutate``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from protclip_core.models.info import DEFAULT_MODEL
from protclip_core.options import (
    COMPUTE,
    INPUT,
    RESAMPLES,
    Command,
    Device,
    HeadFile,
    HeadOutput,
    Opt,
    Overwrite,
    Resamples,
    Seed,
    Threads,
    VariantColumn,
    Workers,
    read_range,
)

__all__ = ["FitRequest", "MutateRequest", "PredictRequest"]

Offset = Annotated[
    int, Opt("Position in the variants minus position in the sequence.", panel=INPUT)
]
MutantVectors = Annotated[
    str | None,
    Opt(
        "Vectors of the mutants; their ids are the variants.",
        "--embeddings",
        metavar="STORE",
        panel=INPUT,
    ),
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

    inputs: Annotated[
        tuple[str, ...],
        Opt(
            "FASTA files, plain or compressed; '-', or nothing and a pipe: standard input. Not "
            "needed if the variants come with their wild type.",
            metavar="PROTEINS",
            argument=True,
        ),
    ] = ()
    variants: Annotated[
        str | None,
        Opt("Variants to score; '-': standard input.", metavar="FILE", panel=INPUT),
    ] = None
    scan: Annotated[bool, Opt("Score all single substitutions instead.", "--scan")] = False
    region: Annotated[
        tuple[int, int] | None,
        Opt("First and last position of a scan.", metavar="A-B", read=read_range),
    ] = None
    method: Annotated[
        Literal["masked-marginals", "wt-marginals", "pll", "joint", "embedding-shift"],
        Opt(
            "masked-marginals: one forward pass per position. wt-marginals: one per protein. "
            "joint: positions of a variant masked together. pll: for insertions and deletions "
            "too, one pass per residue. embedding-shift: how far the protein's vector moves."
        ),
    ] = "masked-marginals"
    toward: Annotated[
        str | None,
        Opt(
            "With embedding-shift: also how much closer the protein moves to this text.",
            metavar="TEXT",
        ),
    ] = None
    models: Annotated[
        tuple[str, ...],
        Opt(
            "Name or path of a model; repeated: each model's scores and the mean of their "
            "standardised scores.",
            "--model",
            panel=COMPUTE,
            default=DEFAULT_MODEL,
        ),
    ] = (DEFAULT_MODEL,)
    prior: Annotated[
        Literal["auto", "blosum62", "none"],
        Opt(
            "Add BLOSUM62 and hydropathy to each substitution; auto: for k-mer models, whose own "
            "probabilities are weak."
        ),
    ] = "auto"
    percentile: Annotated[
        Literal["auto", "scan", "wt", "none"],
        Opt(
            "auto: among a scan of the protein where that is cheap, else among its wild-type "
            "marginals (flag wt-percentile)."
        ),
    ] = "auto"
    offset: Offset = 0
    variant_column: VariantColumn = None
    protein_column: Annotated[
        str | None,
        Opt("Column with the proteins.", metavar="NAME", panel=INPUT, default="detected"),
    ] = None
    on_error: Annotated[
        str,
        Opt(
            "Variants that cannot be scored: stop without results, or give the reason in their row "
            "and exit with 6.",
            panel=INPUT,
            choices=("fail", "skip"),
            old=("--strict=fail",),
        ),
    ] = "skip"
    device: Device = "auto"
    workers: Workers = None


@dataclass(frozen=True, kw_only=True)
class FitRequest:
    """A head to fit to an assay; the `Opt` of a field says what it is."""

    assay: Annotated[
        str,
        Opt("Table of measured variants; '-': standard input.", metavar="ASSAY", argument=True),
    ]
    output: HeadOutput
    fasta: Annotated[
        str | None,
        Opt(
            "The wild type. Without it the head gets no zero-shot score as input.",
            metavar="FASTA",
            panel=INPUT,
        ),
    ] = None
    embeddings: MutantVectors = None
    kind: Annotated[
        Literal["auto", "ridge", "gp"],
        Opt("auto: a Gaussian process up to 1,500 variants, ridge beyond."),
    ] = "auto"
    score_column: Annotated[
        str | None,
        Opt("Column with the measured values.", metavar="NAME", panel=INPUT, default="detected"),
    ] = None
    variant_column: VariantColumn = None
    offset: Offset = 0
    max_rows: Annotated[int, Opt("Fit on at most this many variants, sampled at random.")] = 5000
    model: Annotated[str, Opt("Model of the zero-shot score.", panel=COMPUTE)] = DEFAULT_MODEL
    method: Annotated[ZeroShot, Opt("How the zero-shot score is computed.")] = "masked-marginals"
    seed: Seed = 0
    threads: Threads = 1
    resamples: Resamples = RESAMPLES
    overwrite: Overwrite = False
    device: Device = "auto"
    workers: Workers = None
    command: Command = ""


@dataclass(frozen=True, kw_only=True)
class PredictRequest:
    """Variants whose effects a head predicts; the `Opt` of a field says what it is."""

    variants: Annotated[
        str, Opt("Variants, in any form; '-': standard input.", metavar="VARIANTS", argument=True)
    ]
    head: HeadFile
    fasta: Annotated[
        str | None,
        Opt(
            "The wild type, to name it and to check that it is the head's.",
            metavar="FASTA",
            panel=INPUT,
        ),
    ] = None
    embeddings: MutantVectors = None
    offset: Annotated[
        int | None,
        Opt(
            "Position in the variants minus position in the sequence.",
            panel=INPUT,
            default="the head's",
        ),
    ] = None
    model: Annotated[
        str | None,
        Opt("Name or path of the head's model.", panel=COMPUTE, default="the name in the head"),
    ] = None
    variant_column: VariantColumn = None
    device: Device = "auto"
    workers: Workers = None
