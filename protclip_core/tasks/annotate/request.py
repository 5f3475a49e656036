"""The request of ``protclip annotate``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from protclip_core import options as opts
from protclip_core.errors import UsageError
from protclip_core.io.aligners import LEAST_COVERAGE
from protclip_core.options import opt

__all__ = ["AnnotateRequest", "TransferRequest"]
_VOCABULARIES, _RELATIVES, _SELECTION = "Vocabularies", "Annotated relatives", "Which terms to list"


#: Options that mean nothing without annotations.
_OF_TRANSFER = (
    "evidence",
    "neighbours",
    "homology",
    "aligner",
    "min_coverage",
    "exclude_self",
)


def _aspects(text: str) -> tuple[str, ...]:
    return opts.read_list(text.upper())


@dataclass(frozen=True, kw_only=True)
class TransferRequest:
    """Where annotated relatives are looked for; see the options of `AnnotateRequest`."""

    annotations: str
    evidence: tuple[str, ...] | None = None
    neighbours: Path | None = None
    homology: str | None = None
    aligner: str = "auto"
    exclude_self: bool = False
    min_coverage: float = LEAST_COVERAGE
    on_error: str = "fail"


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

    inputs: opts.Inputs
    go: bool = opt(False, "Terms of the Gene Ontology.", panel=_VOCABULARIES)
    ec: bool = opt(False, "Enzyme numbers and classes.", panel=_VOCABULARIES)
    location: bool = opt(False, "Subcellular locations.", panel=_VOCABULARIES)
    keywords: bool = opt(False, "UniProt keywords.", panel=_VOCABULARIES)
    vocabulary_files: tuple[str, ...] = opt(
        (),
        "Your own phrases, or 'id<TAB>phrase', one a line; repeatable.",
        "--vocab",
        metavar="FILE",
        panel=_VOCABULARIES,
    )
    labels: tuple[str, ...] = opt(
        (), "A phrase of your own; repeatable.", "--label", panel=_VOCABULARIES
    )
    aspects: tuple[str, ...] | None = opt(
        None,
        "GO aspects: MF (function), BP (process), CC (component), separated by commas.",
        "--aspect",
        panel=_SELECTION,
        shown="MF,BP,CC",
        read=_aspects,
    )
    top_k: int | None = opt(
        None,
        "List at most this many terms per aspect; alone: the K best.",
        metavar="K",
        panel=_SELECTION,
    )
    min_probability: opts.MinProbability = opt(
        None, "List only terms with at least this probability.", panel=_SELECTION, shown="0.3"
    )
    fdr: float | None = opt(
        None,
        "Choose cutoffs so that at most this expected share of the listed terms is wrong.",
        panel=_SELECTION,
    )
    propagate: bool = opt(False, "List the ancestors of each term as well.", panel=_SELECTION)
    specific: bool = opt(
        False, "List only terms without a listed descendant of the same aspect.", panel=_SELECTION
    )
    slim: str | None = opt(
        None,
        "List the closest terms of this GO slim (OBO, or ids) instead.",
        metavar="FILE",
        panel=_SELECTION,
    )
    annotations: opts.Annotations = opt(
        None,
        "GO terms of known proteins (GAF, or protein<TAB>term) to learn from as well.",
        metavar="FILE",
        panel=_RELATIVES,
    )
    evidence: opts.Evidence = opt(
        None,
        "Of --annotations keep experimental (also of high throughput), curated (all but IEA), "
        "all, or codes such as IDA,IMP.",
        metavar="CODES",
        panel=_RELATIVES,
        shown="all but ND",
        read=opts.read_list,
    )
    neighbours: Path | None = opt(
        None,
        "Learn from the nearest of these vectors, made by the same model.",
        metavar="STORE",
        panel=_RELATIVES,
    )
    homology: str | None = opt(
        None,
        "Learn from the most similar of these sequences; needs diamond or mmseqs.",
        metavar="FASTA",
        panel=_RELATIVES,
    )
    aligner: str | None = opt(
        None, "diamond or mmseqs.", panel=_RELATIVES, shown="whichever is installed"
    )
    min_coverage: float | None = opt(
        None,
        "Ignore hits of --homology that cover less of the query, in percent.",
        metavar="PERCENT",
        panel=_RELATIVES,
        shown=f"{LEAST_COVERAGE:g}",
    )
    exclude_self: opts.ExcludeSelf = opt(
        False, "Learn nothing from a protein with the same id.", panel=_RELATIVES
    )
    taxon: int | None = opt(
        None,
        "NCBI taxon of proteins without OX= in their FASTA header: for GAF, and to leave out "
        "what its organisms do not have, such as the nucleus of a bacterium.",
        metavar="ID",
        panel=_SELECTION,
    )
    reliability: bool = opt(
        False,
        "Add a column: how often terms as likely as this were right, for proteins as close to "
        "known ones as this.",
        panel=_SELECTION,
    )
    go_index: Path | None = opt(
        None, "GO index made by protclip data go build.", metavar="FILE", shown="the model's"
    )
    model: opts.Model = None
    device: opts.Device = "auto"
    modality: opts.Modality = "auto"
    workers: opts.Workers = None
    on_error: opts.OnError = "fail"
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
            for name in _OF_TRANSFER:
                if getattr(self, name) not in (None, False):
                    raise UsageError(
                        f"--{name.replace('_', '-')} is for learning from known proteins",
                        code="usage.missing_option",
                        hint="say what is known of them with --annotations, or drop it",
                    )
            return None
        for name in ("aligner", "min_coverage"):
            if getattr(self, name) is not None and self.homology is None:
                option = f"--{name.replace('_', '-')}"
                raise UsageError(
                    f"{option} is for --homology",
                    code="usage.missing_option",
                    hint=f"add it, or drop {option}",
                )
        if self.min_coverage is not None and not 0 <= self.min_coverage <= 100:
            raise UsageError(
                f"--min-coverage {self.min_coverage:g} is out of range",
                code="usage.bad_value",
                hint="use 0 to 100, in percent of the query",
            )
        return TransferRequest(
            annotations=self.annotations,
            evidence=self.evidence,
            neighbours=self.neighbours,
            homology=self.homology,
            aligner=self.aligner or "auto",
            exclude_self=self.exclude_self,
            min_coverage=LEAST_COVERAGE if self.min_coverage is None else self.min_coverage,
            on_error=self.on_error,
        )
