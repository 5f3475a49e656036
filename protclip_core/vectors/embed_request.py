"""The request of ``protclip embed``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from protclip_core import options as opts
from protclip_core.models.info import DEFAULT_MODEL
from protclip_core.options import Opt, opt

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
            "FASTA or structure files (PDB, mmCIF, BinaryCIF), plain or gz, bz2, zst, xz; folders "
            "of them; tars of structures; @FILE: the paths that FILE lists, one a line; '-', or "
            "nothing and a pipe: standard input.",
            metavar="INPUT",
            argument=True,
            pipe=True,
        ),
    ]
    output: Path | None = opt(
        None,
        "Store to write; '-' prints TSV instead.",
        "-o",
        "--output",
        panel=opts.OUTPUT,
        shown="the input's name with .h5",
    )
    model: str = opt(
        DEFAULT_MODEL,
        "Name of a model, a bundle, an ESM-2 folder, or a fair-esm .pt.",
        panel=opts.COMPUTE,
    )
    pooling: Literal["tokens", "residues"] | None = opt(
        None, "Average residues, or tokens (with BOS and EOS).", shown="the model's"
    )
    space: str | None = opt(
        None,
        "Encoder vectors, or vectors projected into the joint space with texts.",
        choices=("encoder", "joint"),
        shown="encoder; joint for structures",
    )
    layer: int | None = opt(None, "Encoder layer, 0 to the last; -1 is the last.", shown="last")
    per_residue: bool = opt(False, "Also store the vector of every residue.", panel=opts.OUTPUT)
    dtype: Literal["float32", "bfloat16"] = opt(
        "float32", "bfloat16: faster where the processor supports it.", panel=opts.COMPUTE
    )
    store_dtype: Literal["float32", "float16"] = opt(
        "float32", "Type of the stored vectors.", panel=opts.OUTPUT
    )
    device: opts.Device = "auto"
    workers: opts.Workers = None
    batch_tokens: int | None = opt(
        None,
        "Tokens per batch; halved when memory runs out.",
        panel=opts.COMPUTE,
        shown="auto",
        read=opts.read_tokens,
    )
    long: Literal["window", "truncate", "skip", "error"] = opt(
        "window", "How to handle proteins longer than one window."
    )
    max_residues: int | None = opt(
        None,
        "Residues per window.",
        "--max-length",
        shown="the model's limit: 4,096 of protclip-mini, 1,022 of ESM-2",
    )
    gaps: Literal["fail", "strip"] = opt(
        "fail",
        "Gaps (- and .) of alignments: refuse the record, or take them out; inserts of .a3m stay.",
        panel=opts.INPUT,
    )
    complexes: Literal["fail", "split", "join"] = opt(
        "fail",
        "Several chains in a record (A:B, A/B, A|B): refuse it, make records ID_1, ID_2, … of "
        "them, or join them with 25 glycines.",
        panel=opts.INPUT,
    )
    on_error: opts.OnError = "fail"
    modality: opts.Modality = "auto"
    chains: opts.Chains = None
    resume: bool = opt(False, "Continue an interrupted run, or add to a store.", panel=opts.OUTPUT)
    overwrite: opts.Overwrite = False
    layout: Literal["packed", "per-protein"] = opt(
        "packed", "packed: one matrix; per-protein: one dataset per id.", panel=opts.OUTPUT
    )
    command: opts.Command = ""
