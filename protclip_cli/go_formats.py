"""Predicted GO terms as rows, and in the forms that other tools of GO read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, TextIO

from protclip_cli.output import Value, write_tsv_line

if TYPE_CHECKING:
    from protclip_core.ontology import GafRow, Ontology
    from protclip_core.tasks.annotate import Annotation, ProteinTerms

__all__ = ["COLUMNS", "term_rows", "write_cafa", "write_gaf_rows", "write_topgo"]

COLUMNS = (
    "protein_id",
    "term",
    "name",
    "aspect",
    "cosine",
    "probability",
    "rank",
    "go_release",
)
#: CAFA wants a score of up to three digits, above 0.
_CAFA_LEAST = 0.0005


def term_rows(proteins: Iterable[ProteinTerms], ontology: Ontology) -> Iterator[dict[str, Value]]:
    """Give a row for each term of each protein; columns are `COLUMNS`."""
    from protclip_core.ontology import ASPECTS

    release = ontology.release or "unknown"
    for protein in proteins:
        for one in protein.terms:
            yield {
                "protein_id": protein.protein_id,
                "term": ontology.ids[one.term],
                "name": ontology.names[one.term],
                "aspect": ASPECTS[ontology.aspects[one.term]],
                "cosine": one.cosine,
                "probability": one.probability,
                "rank": one.rank,
                "go_release": release,
            }


def write_gaf_rows(proteins: Iterable[ProteinTerms], annotation: Annotation, out: TextIO) -> None:
    """Write GAF 2.2; the header names model, release and what is listed."""
    from protclip_core.ontology import GafRow, GafStyle, write_gaf

    info = annotation.info
    weights = info.bundle.weights_sha256 if info.bundle is not None else "unknown"
    style = GafStyle(
        comments=(
            f"model: {info.name}, weights sha256 {weights}",
            f"listed: {annotation.rule}",
        )
    )

    def rows() -> Iterator[GafRow]:
        for protein in proteins:
            for one in protein.terms:
                yield GafRow(protein.protein_id, one.term)

    write_gaf(out, rows(), annotation.index.ontology, style)


def write_cafa(proteins: Iterable[ProteinTerms], ontology: Ontology, out: TextIO) -> None:
    """Write what CAFA takes: protein, term and a score above 0, tab-separated.

    The score is the probability, else the cosine; a pair whose score would be 0 is left out.
    """
    out.write("AUTHOR protclip\nMODEL 1\n")
    out.write("KEYWORDS machine learning, natural language processing.\n")
    for protein in proteins:
        for one in protein.terms:
            score = one.cosine if one.probability is None else one.probability
            if score >= _CAFA_LEAST:
                shown = f"{min(score, 1.0):.3f}"
                write_tsv_line(out, [protein.protein_id, ontology.ids[one.term], shown])
    out.write("END\n")


def write_topgo(proteins: Iterable[ProteinTerms], ontology: Ontology, out: TextIO) -> None:
    """Write a line a protein for topGO's ``readMappings``; those without a term are left out."""
    for protein in proteins:
        if protein.terms:
            terms = ", ".join(ontology.ids[one.term] for one in protein.terms)
            write_tsv_line(out, [protein.protein_id, terms])
