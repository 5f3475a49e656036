"""The request of ``protclip embed``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from protclip_core.models.info import DEFAULT_MODEL
from protclip_core.options import (
    COMPUTE,
    OUTPUT,
    Command,
    Device,
    OnError,
    Opt,
    Overwrite,
    Space,
    Workers,
    read_tokens,
)

__all__ = ["EmbedRequest"]


@dataclass(frozen=True, kw_only=True)
class EmbedRequest:
    """Which proteins to embed, how, and where to; the `Opt` of a field says what it is.

    Examples
    --------
    >>> from pathlib import Path
    >>> from protclip_core import EmbedRequest
    >>> EmbedRequest(inputs=("x.fasta",), output=Path("x.h5"), space="joint").layout
    'packed'
    """

    inputs: Annotated[
        tuple[str, ...],
        Opt(
            "FASTA files, plain or gz, bz2, zst, xz; '-', or nothing and a pipe: standard input.",
            metavar="INPUT",
            argument=True,
            pipe=True,
        ),
    ]
    output: Annotated[
        Path | None,
        Opt(
            "Store to write; '-' prints TSV instead.",
            "-o",
            "--output",
            panel=OUTPUT,
            default="the input's name with .h5",
        ),
    ] = None
    model: Annotated[
        str,
        Opt("Name of a model, a bundle, an ESM-2 folder, or a fair-esm .pt.", panel=COMPUTE),
    ] = DEFAULT_MODEL
    pooling: Annotated[
        Literal["tokens", "residues"] | None,
        Opt("Average residues, or tokens (with BOS and EOS).", default="the model's"),
    ] = None
    space: Annotated[
        Space, Opt("Encoder vectors, or vectors projected into the joint space with texts.")
    ] = "encoder"
    layer: Annotated[
        int | None, Opt("Encoder layer, 0 to the last; -1 is the last.", default="last")
    ] = None
    per_residue: Annotated[
        bool, Opt("Also store the vector of every residue.", "--per-residue", panel=OUTPUT)
    ] = False
    dtype: Annotated[
        Literal["float32", "bfloat16"],
        Opt("bfloat16: faster where the processor supports it.", panel=COMPUTE),
    ] = "float32"
    store_dtype: Annotated[
        Literal["float32", "float16"], Opt("Type of the stored vectors.", panel=OUTPUT)
    ] = "float32"
    device: Device = "auto"
    workers: Workers = None
    batch_tokens: Annotated[
        int | None,
        Opt(
            "Tokens per batch; halved when memory runs out.",
            panel=COMPUTE,
            default="auto",
            read=read_tokens,
        ),
    ] = None
    long: Annotated[
        Literal["window", "truncate", "skip", "error"],
        Opt("How to handle proteins longer than one window."),
    ] = "window"
    max_residues: Annotated[
        int | None, Opt("Residues per window.", "--max-length", default="the model's limit")
    ] = None
    on_error: OnError = "fail"
    resume: Annotated[
        bool,
        Opt("Continue an interrupted run, or add to a store.", "--resume", panel=OUTPUT),
    ] = False
    overwrite: Overwrite = False
    layout: Annotated[
        Literal["packed", "per-protein"],
        Opt("packed: one matrix; per-protein: one dataset per id.", panel=OUTPUT),
    ] = "packed"
    command: Command = ""
