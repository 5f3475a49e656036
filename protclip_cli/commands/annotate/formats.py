"""Predicted terms as rows, and those of GO in the forms that other tools of GO read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, TextIO

from protclip_cli.output import Value, write_tsv_line

if TYPE_CHECKING:
    from protclip_core.ontology import GafRow, Ontology
    from protclip_core.tasks.annotate.task import Annotation, ProteinTerms
    from protclip_core.tasks.annotate.transfer import Support

__all__ = [
    "COLUMNS",
    "TRANSFER_COLUMNS",
    "term_rows",
    "write_cafa",
    "write_gaf_rows",
    "write_topgo",
]

COLUMNS = ("protein_id", "term", "name", "aspect", "cosine", "probability", "rank", "go_release")
#: Further ones where annotated relatives are asked as well.
TRANSFER_COLUMNS = ("evidence", "source", "identity", "coverage", "evalue")
#: CAFA wants a score of up to three digits, above 0.
_CAFA_LEAST = 0.0005


def term_rows(
    proteins: Iterable[ProteinTerms], ontologies: Sequence[Ontology]
) -> Iterator[dict[str, Value]]:
    """Give a row for each term of each protein; columns are `COLUMNS` and `TRANSFER_COLUMNS`.

    Parameters
    ----------
    proteins
        Their terms, by vocabulary.
    ontologies
        Of each vocabulary; only GO has a release.
    """
    for protein in proteins:
        ontology = ontologies[protein.vocabulary]
        release = (ontology.release or "unknown") if ontology.is_go else None
        for one in protein.terms:
            row: dict[str, Value] = {
                "protein_id": protein.protein_id,
                "term": ontology.ids[one.term],
                "name": ontology.names[one.term],
                "aspect": ontology.aspect_names[ontology.aspects[one.term]],
                "cosine": one.cosine,
                "probability": one.probability,
                "rank": one.rank,
                "go_release": release,
            }
            if one.reliability is not None:
                row["reliability"] = one.reliability
            if one.support is not None:
                row["evidence"] = "+".join(one.support.evidence)
                row["source"] = one.support.source
                row["identity"] = one.support.identity
                row["coverage"] = one.support.coverage
                row["evalue"] = one.support.evalue
            yield row


def write_gaf_rows(proteins: Iterable[ProteinTerms], annotation: Annotation, out: TextIO) -> None:
    """Write GAF 2.2; the header names model, release and what is listed."""
    from protclip_core.ontology import GafRow, GafStyle, write_gaf

    info = annotation.info
    weights = info.bundle.weights_sha256 if info.bundle is not None else "unknown"
    style = GafStyle(
        comments=(
            f"model: {info.name}, weights sha256 {weights}",
            f"listed: {annotation.rule}",
            *(() if annotation.transfer is None else annotation.transfer.provenance),
        )
    )

    def rows() -> Iterator[GafRow]:
        for protein in proteins:
            for one in protein.terms:
                yield GafRow(
                    protein.protein_id,
                    one.term,
                    with_from=_with_from(one.support),
                    taxon=protein.organism.taxon,
                )

    write_gaf(out, rows(), annotation.index.ontology, style)


def _with_from(support: Support | None) -> str:
    """Return whom a term was transferred from: a homologous protein of UniProt.

    GAF asks for an id of a known database there, and no rule of GO knows neighbours in a space.
    """
    if support is None or support.source is None or "homology" not in support.evidence:
        return ""
    from protclip_core.ontology.gaf_write import uniprot_id

    return uniprot_id(support.source) or ""


def write_cafa(
    proteins: Iterable[ProteinTerms], ontology: Ontology, out: TextIO, *, calibrated: bool
) -> None:
    """Write what CAFA takes: protein, term and a score above 0, tab-separated.

    The score is the probability, or the cosine of a model that is not ``calibrated``: one file
    holds one kind of score. A pair without it, or with 0, is left out.
    """
    out.write("AUTHOR protclip\nMODEL 1\n")
    out.write("KEYWORDS machine learning, natural language processing.\n")
    for protein in proteins:
        for one in protein.terms:
            score = one.probability if calibrated else one.cosine
            if score is not None and score >= _CAFA_LEAST:
                shown = f"{min(score, 1.0):.3f}"
                write_tsv_line(out, [protein.protein_id, ontology.ids[one.term], shown])
    out.write("END\n")


def write_topgo(proteins: Iterable[ProteinTerms], ontology: Ontology, out: TextIO) -> None:
    """Write a line a protein for topGO's ``readMappings``; those without a term are left out."""
    for protein in proteins:
        if protein.terms:
            terms = ", ".join(ontology.ids[one.term] for one in protein.terms)
            write_tsv_line(out, [protein.protein_id, terms])
