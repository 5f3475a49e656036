"""The request of ``protclip annotate``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from protclip_core.errors import UsageError
from protclip_core.options import (
    INPUT,
    Annotations,
    Device,
    ExcludeSelf,
    Inputs,
    MinProbability,
    Model,
    OnError,
    Opt,
    Workers,
    read_list,
)

__all__ = ["AnnotateRequest", "TransferRequest"]
_VOCABULARIES, _RELATIVES, _SELECTION = "Vocabularies", "Annotated relatives", "Which terms to list"


def _aspects(text: str) -> tuple[str, ...]:
    return read_list(text.upper())


@dataclass(frozen=True, kw_only=True)
class TransferRequest:
    """Where annotated relatives are looked for; see the options of `AnnotateRequest`."""

    annotations: str
    neighbours: Path | None = None
    homology: str | None = None
    aligner: str = "auto"
    exclude_self: bool = False
    on_error: OnError = "fail"


@dataclass(frozen=True, kw_only=True)
class AnnotateRequest:
    """Which proteins to annotate, and with what; the `Opt` of a field says what it is.

    ``explain`` makes the task keep what `protclip_core.tasks.annotate.explain` needs.

    Examples
    --------
    >>> from protclip_core import AnnotateRequest
    >>> AnnotateRequest(inputs=("x.fasta",), go=True, min_probability=0.3).vocabularies
    ('go',)
    """

    inputs: Inputs
    go: Annotated[bool, Opt("Terms of the Gene Ontology.", "--go", panel=_VOCABULARIES)] = False
    ec: Annotated[bool, Opt("Enzyme numbers and classes.", "--ec", panel=_VOCABULARIES)] = False
    location: Annotated[bool, Opt("Subcellular locations.", "--location", panel=_VOCABULARIES)] = (
        False
    )
    keywords: Annotated[bool, Opt("UniProt keywords.", "--keywords", panel=_VOCABULARIES)] = False
    vocabulary_files: Annotated[
        tuple[str, ...],
        Opt(
            "Your own phrases, or 'id<TAB>phrase', one a line; repeatable.",
            "--vocab",
            metavar="FILE",
            panel=_VOCABULARIES,
        ),
    ] = ()
    labels: Annotated[
        tuple[str, ...], Opt("A phrase of your own; repeatable.", "--label", panel=_VOCABULARIES)
    ] = ()
    aspects: Annotated[
        tuple[str, ...] | None,
        Opt(
            "GO aspects: MF (function), BP (process), CC (component), separated by commas.",
            "--aspect",
            panel=_SELECTION,
            default="MF,BP,CC",
            read=_aspects,
        ),
    ] = None
    top_k: Annotated[
        int | None,
        Opt(
            "List at most this many terms per aspect; alone: the K best.",
            metavar="K",
            panel=_SELECTION,
        ),
    ] = None
    min_probability: Annotated[
        MinProbability,
        Opt("List only terms with at least this probability.", panel=_SELECTION, default="0.3"),
    ] = None
    fdr: Annotated[
        float | None,
        Opt(
            "Choose cutoffs so that at most this expected share of the listed terms is wrong.",
            panel=_SELECTION,
        ),
    ] = None
    propagate: Annotated[
        bool, Opt("List the ancestors of each term as well.", "--propagate", panel=_SELECTION)
    ] = False
    specific: Annotated[
        bool,
        Opt(
            "List only terms without a listed descendant of the same aspect.",
            "--specific",
            panel=_SELECTION,
        ),
    ] = False
    slim: Annotated[
        str | None,
        Opt(
            "List the closest terms of this GO slim (OBO, or ids) instead.",
            metavar="FILE",
            panel=_SELECTION,
        ),
    ] = None
    annotations: Annotated[
        Annotations,
        Opt(
            "GO terms of known proteins (GAF, or protein<TAB>term) to learn from as well.",
            metavar="FILE",
            panel=_RELATIVES,
        ),
    ] = None
    neighbours: Annotated[
        Path | None,
        Opt(
            "Learn from the nearest of these vectors, made by the same model.",
            metavar="STORE",
            panel=_RELATIVES,
        ),
    ] = None
    homology: Annotated[
        str | None,
        Opt(
            "Learn from the most similar of these sequences; needs diamond or mmseqs.",
            metavar="FASTA",
            panel=_RELATIVES,
        ),
    ] = None
    aligner: Annotated[
        str | None, Opt("diamond or mmseqs.", panel=_RELATIVES, default="whichever is installed")
    ] = None
    exclude_self: Annotated[
        ExcludeSelf,
        Opt("Learn nothing from a protein with the same id.", "--exclude-self", panel=_RELATIVES),
    ] = False
    go_index: Annotated[
        Path | None,
        Opt(
            "GO index made by protclip data go build.",
            metavar="FILE",
            panel=INPUT,
            default="the model's",
        ),
    ] = None
    model: Model = None
    device: Device = "auto"
    workers: Workers = None
    on_error: OnError = "fail"
    explain: bool = False

    @property
    def vocabularies(self) -> tuple[str, ...]:
        """Of ``go``, ``ec``, ``location`` and ``keywords``, those to annotate with."""
        names = ("go", "ec", "location", "keywords")
        return tuple(name for name in names if getattr(self, name))

    @property
    def transfer(self) -> TransferRequest | None:
        """Where annotated relatives are looked for; None where nothing is known of any.

        Raises
        ------
        UsageError
            A place to look in, and nothing that says what is known of the proteins there.
        """
        if self.annotations is None:
            for name in ("neighbours", "homology", "aligner", "exclude_self"):
                if getattr(self, name):
                    raise UsageError(
                        f"--{name.replace('_', '-')} is for learning from known proteins",
                        code="usage.missing_option",
                        hint="say what is known of them with --annotations, or drop it",
                    )
            return None
        if self.aligner is not None and self.homology is None:
            hint = "add it, or drop --aligner"
            raise UsageError("--aligner is for --homology", code="usage.missing_option", hint=hint)
        return TransferRequest(
            annotations=self.annotations,
            neighbours=self.neighbours,
            homology=self.homology,
            aligner=self.aligner or "auto",
            exclude_self=self.exclude_self,
            on_error=self.on_error,
        )
