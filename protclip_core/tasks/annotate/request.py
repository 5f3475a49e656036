"""Requests of ``protclip annotate``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["AnnotateRequest", "TransferRequest"]


@dataclass(frozen=True, kw_only=True)
class TransferRequest:
    """Where annotated relatives are looked for.

    Attributes
    ----------
    annotations
        GAF, or a table of protein and term.
    neighbours
        Store of annotated proteins, embedded by the same model; None to look for none.
    homology
        FASTA file of annotated proteins for an aligner; None to look for none.
    aligner
        ``auto``, ``diamond`` or ``mmseqs``.
    exclude_self
        Whether a protein learns nothing from one of the same id.
    """

    annotations: str
    neighbours: Path | None = None
    homology: str | None = None
    aligner: str = "auto"
    exclude_self: bool = False


@dataclass(frozen=True, kw_only=True)
class AnnotateRequest:
    """What ``protclip annotate`` was asked for.

    Attributes
    ----------
    inputs
        FASTA files, ``-``, or one store.
    model
        Name or path; None: the one that made the store, else the default model.
    go_index
        File of the index; None: the model's.
    vocabularies
        Of ``go``, ``ec``, ``location`` and ``keywords``, in any order.
    vocabulary_files, labels
        Files of phrases, see `protclip_core.io.phrases`, and phrases to compare with as well.
    aspects
        Of GO, names of `ASPECTS`; None for all.
    top_k
        Terms of each aspect at most; alone: this many, whatever their probability.
    min_probability
        Least probability, 0.01 to 1; at most one of it and ``fdr``.
    fdr
        Least probability of each aspect so that at most this share of what is listed, 0 to 1, is
        expected to be wrong; see `FalseDiscovery`.
    propagate, specific
        See `Selection`.
    slim
        File of a GO slim; like ``aspects`` and ``go_index`` for GO alone.
    transfer
        Where annotated relatives are looked for, for GO alone; None for the text alone.
    explain
        Whether sequences are kept, for `protclip_core.tasks.annotate.explain`; not of a store.
    device, workers, on_error
        As in `EmbedRequest`.
    """

    inputs: tuple[str, ...]
    model: str | None = None
    go_index: Path | None = None
    vocabularies: tuple[str, ...] = ("go",)
    vocabulary_files: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    aspects: tuple[str, ...] | None = None
    top_k: int | None = None
    min_probability: float | None = None
    fdr: float | None = None
    propagate: bool = False
    specific: bool = False
    slim: str | None = None
    transfer: TransferRequest | None = None
    explain: bool = False
    device: str = "auto"
    workers: int | None = None
    on_error: str = "fail"
