"""Variants from files of any of the forms that people have: tables, lists, JSON Lines, VCF."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import Literal

from protclip_core.errors import InputError
from protclip_core.io.protein_names import NameMatch, ProteinNames
from protclip_core.io.streams import open_input, source_name
from protclip_core.io.text_rows import lines_of, refuse_foreign
from protclip_core.io.variants.json_lines import json_parts
from protclip_core.io.variants.rows import RowParts, VariantRow, WildTypes, answered
from protclip_core.io.variants.table import Wanted, table_parts
from protclip_core.io.variants.vcf import Transcripts, vcf_parts

__all__ = ["Form", "NameMatch", "ProteinNames", "VariantRow", "WildTypes", "read_variants"]

_log = logging.getLogger(__name__)

Form = Literal["auto", "table", "jsonl", "vcf"]


def read_variants(
    path: str | Path,
    *,
    form: Form = "auto",
    proteins: ProteinNames | None = None,
    wild_types: WildTypes | None = None,
    variant_column: str | None = None,
    protein_column: str | None = None,
    transcripts: Transcripts = "auto",
) -> Iterator[VariantRow]:
    """Read the rows of a file of variants, one at a time, every one of them answered.

    Parameters
    ----------
    path
        Path of a file, plain or compressed (gz, bz2, xz, zst), or ``-`` for standard input.
    form
        ``auto`` tells by the first line: ``##fileformat=VCF`` is VCF, ``{`` JSON Lines, the rest
        tables and lists. See `variant_table`, `variant_json` and `variant_vcf` for what each may
        hold.
    proteins
        Ids of the FASTA file; they help to tell the column of proteins, and choose the
        transcripts of a VCF. Rows of other proteins are given all the same.
    wild_types
        Gives the wild type of rows that have a mutated sequence and neither a variant nor a wild
        type of their own.
    variant_column, protein_column
        Name of a column of a table, or its number from 1, instead of telling them.
    transcripts
        Of a VCF, see `variant_vcf`.

    Yields
    ------
    VariantRow
        In file order; each has a variant or a reason.

    Raises
    ------
    InputError
        On iteration: the file is missing, damaged, empty, of another kind (FASTA, HTML), has no
        rows or no column of variants; can come after rows were given (a gz file that is cut).
    UsageError
        A column that is named and not there.
    """
    name, source = source_name(path), str(path)
    with open_input(path) as stream, closing(lines_of(stream, name)) as text:
        first = next(text, None)
        if first is None:
            raise InputError(
                "is empty or blank", code="input.empty", where=name, hint="give one variant a line"
            )
        if form == "auto":
            form = _form(first[1], name)
        lines = chain([first], text)
        parts: Iterator[RowParts]
        if form == "vcf":
            parts = vcf_parts(lines, source, name, proteins=proteins, transcripts=transcripts)
        elif form == "jsonl":
            _log.info("%s: JSON Lines", name)
            parts = json_parts(lines, source)
        else:
            wanted = Wanted(variant_column, protein_column)
            parts = table_parts(lines, source, name, proteins=proteins, wanted=wanted)
        for part in parts:
            yield answered(part, wild_types)


def _form(first: str, name: str) -> Form:
    """Tell the form by the first line; refuse what is plainly something else."""
    if first.startswith(("##fileformat=VCF", "#CHROM\t")):
        return "vcf"
    if first.lstrip().startswith("{"):
        return "jsonl"
    if first.lstrip().startswith("["):
        # No variant starts so without `p.`; a JSON array would be one row of one line, or many.
        raise InputError(
            "is a JSON array, not JSON Lines",
            code="input.other_format",
            where=name,
            hint="write one object a line: jq -c .[]",
        )
    refuse_foreign(first, name, "a file of variants")
    return "table"
