"""Variants from a VCF file that VEP or SnpEff annotated.

Each record gives, for each of its alternatives, one row for each transcript with a protein
change, the same change of the same protein once. Which transcripts:

``known``
    those whose protein is in the FASTA file, by the names that the annotation has for it: that
    of HGVSp, ENSP, UNIPROT_ISOFORM, SWISSPROT, the transcript;
``canonical``
    those flagged CANONICAL or MANE, and all where none is;
``all``
    all of them;
``auto``
    ``known`` where a FASTA file is given, else ``canonical``.

An alternative that gives no row by this has one with the reason: so no record is without answer.
The change is that of HGVSp (``HGVS.p`` of SnpEff), else it is made of Protein_position and
Amino_acids.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Literal

from protclip_core.errors import InputError
from protclip_core.io.protein_names import ProteinNames
from protclip_core.io.text_rows import Line, made_visible
from protclip_core.io.variants.rows import RowParts
from protclip_core.io.variants.vcf_annotations import Allele, Annotation, Annotations
from protclip_core.records import printable

__all__ = ["Transcripts", "vcf_parts"]

_log = logging.getLogger(__name__)

Transcripts = Literal["auto", "known", "canonical", "all"]

_SHOWN = 3  # proteins or consequences named in a reason


def vcf_parts(
    lines: Iterable[Line],
    source: str,
    name: str,
    *,
    proteins: ProteinNames | None = None,
    transcripts: Transcripts = "auto",
) -> Iterator[RowParts]:
    """Give the parts of the rows of each record; see the module for which.

    ``extra`` holds ``chrom``, ``pos``, ``id``, ``ref``, ``alt``, ``gene``, ``transcript`` and
    ``consequence``.

    Raises
    ------
    InputError
        The header declares neither CSQ nor ANN, or no record follows.
    """
    if transcripts == "auto":
        transcripts = "canonical" if proteins is None else "known"
    annotations = Annotations()
    number = 0
    for line, text in lines:
        if text.startswith("#"):
            annotations.declare(text)
            continue
        if not number:
            if not annotations:
                raise InputError(
                    "declares no protein changes: neither CSQ of VEP nor ANN of SnpEff",
                    code="input.not_annotated",
                    where=name,
                    hint="annotate it first, with VEP: --vcf --hgvs --protein --canonical",
                )
            _log.info("%s: annotated VCF, transcripts: %s", name, transcripts)
        number += 1
        yield from _record(RowParts(number, line, source), text, annotations, proteins, transcripts)
    if not number:
        raise InputError(
            "is a VCF without records", code="input.empty", where=name, hint="check what wrote it"
        )


def _record(
    row: RowParts,
    text: str,
    annotations: Annotations,
    proteins: ProteinNames | None,
    transcripts: Transcripts,
) -> Iterator[RowParts]:
    """Give the parts of the rows of one record; at least one."""
    fields = text.split("\t")
    if len(fields) < 8:
        shown = printable(made_visible(text), 40)
        fault = f"'{shown}' has {len(fields)} columns, a VCF record at least 8"
        yield replace(row, text=text[:200], fault=fault)
        return
    chrom, pos, known, ref, alt = fields[:5]
    alleles = Allele.of_record(ref, alt.split(","))
    for allele in alleles:
        extra = {"chrom": chrom, "pos": pos, "id": known, "ref": ref, "alt": allele.alternative}
        found = annotations.of(fields[7], allele, alone=len(alleles) == 1)
        chosen, fault = _chosen(found, proteins, transcripts)
        place = f"{chrom}:{pos} {printable(ref, 20)}>{printable(allele.alternative, 20)}"
        if fault:
            yield replace(row, extra=extra, fault=f"{made_visible(place)} {fault}")
        for protein, one in chosen:
            facts = {
                "gene": one.gene,
                "transcript": one.transcript,
                "consequence": one.consequence,
            }
            yield replace(row, protein=protein, text=one.change, extra=extra | facts)


def _chosen(
    found: list[Annotation], proteins: ProteinNames | None, transcripts: Transcripts
) -> tuple[list[tuple[str, Annotation]], str]:
    """Choose the annotations that give rows, each with its protein; or say why none does."""
    if not found:
        return [], "is not annotated"
    changed = [one for one in found if one.change]
    if not changed:
        seen = dict.fromkeys(one.consequence or "no consequence" for one in found)
        return [], f"has no protein change: {_listed(seen)}"
    if transcripts == "known" and proteins is not None:
        pairs = [
            (protein, one)
            for one in changed
            if (protein := next((name for name in one.proteins if name in proteins), ""))
        ]
        if not pairs:
            seen = dict.fromkeys(name for one in changed for name in one.proteins[:1])
            return [], f"changes no protein of the FASTA file: {_listed(seen)}"
        keys = [(proteins.find(protein).id, one.change) for protein, one in pairs]
    else:
        if transcripts == "canonical":
            changed = [one for one in changed if one.canonical] or changed
        pairs = [(one.proteins[0] if one.proteins else "", one) for one in changed]
        keys = [(protein, one.change) for protein, one in pairs]
    first: dict[tuple[str | None, str], tuple[str, Annotation]] = {}
    for key, pair in zip(keys, pairs):
        first.setdefault(key, pair)
    return list(first.values()), ""


def _listed(names: Iterable[str]) -> str:
    every = list(names)
    more = f" and {len(every) - _SHOWN} more" if len(every) > _SHOWN else ""
    return ", ".join(printable(made_visible(name), 60) for name in every[:_SHOWN]) + more
