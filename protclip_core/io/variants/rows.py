"""One row of a file of variants, and how a row is answered."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from protclip_core.errors import InputError
from protclip_core.io.fasta import read_sequence
from protclip_core.io.streams import source_name
from protclip_core.io.text_rows import is_decoded, made_visible
from protclip_core.records import printable
from protclip_core.variants import ParseFailure, Variant, read_variant, variant_between

__all__ = ["RowParts", "VariantRow", "WildTypes", "answered"]

#: Gives the sequence of a protein by its name in the file (None: it names none), or None.
WildTypes = Callable[[str | None], str | None]


@dataclass(frozen=True, slots=True)
class VariantRow:
    """One row as read, with its variant or the reason why there is none.

    Attributes
    ----------
    number
        Of the row or record among those of its file, from 1: header, comments and blank lines
        do not count. A VCF record that stands for several variants gives them all its number.
    line
        Of the file, from 1.
    protein
        Name of the protein as the file has it; None where it names none.
    text
        The variant as the file has it, with bytes that are not UTF-8 made visible.
    variant
        None exactly where there is a ``reason``.
    reason
        One clause; empty where there is a variant.
    source
        Path of the file, ``-`` for standard input.
    wild_type, mutated
        Sequences that the row itself gives, else None.
    extra
        All other columns, in file order.
    """

    number: int
    line: int
    protein: str | None
    text: str
    variant: Variant | None
    reason: str = ""
    source: str = ""
    wild_type: str | None = None
    mutated: str | None = None
    extra: Mapping[str, str] = field(default_factory=dict)

    @property
    def where(self) -> str:
        """Place of the row for a message: ``x.tsv:line 3``."""
        return f"{source_name(self.source)}:line {self.line}"


@dataclass(frozen=True, slots=True)
class RowParts:
    """What a reader found in one row, as it stands there; empty where there is nothing."""

    number: int
    line: int
    source: str
    protein: str = ""
    text: str = ""
    wild_type: str = ""
    mutated: str = ""
    extra: Mapping[str, str] = field(default_factory=dict)
    fault: str = ""  # what is wrong with the row as a whole


def answered(parts: RowParts, wild_types: WildTypes | None = None) -> VariantRow:
    """Make the row of its parts.

    The variant is read from the text. Where there is none, or where it is the mutated sequence
    itself, it is found by comparing that with the wild type: of the row, else of ``wild_types``.
    A protein column goes before a protein named in the text.
    """
    variant, reason, protein = None, parts.fault, parts.protein.strip()
    if not reason and not all(map(is_decoded, (parts.protein, parts.text))):
        reason = f"'{printable(made_visible(parts.text or parts.protein))}' is not UTF-8"
    try:
        wild_type = _sequence(parts.wild_type, "the wild-type sequence", reason)
        mutated = _sequence(parts.mutated, "the mutated sequence", reason)
    except InputError as error:
        wild_type = mutated = None
        reason = reason or f"{error.where} {error.message}"
    if not reason:
        bare = parts.text.strip()
        if mutated is not None and bare.rstrip("*").upper() in ("", mutated):
            if wild_type is None and wild_types is not None:
                wild_type = wild_types(protein or None)
                variant, reason = _compared(wild_type, mutated)
                wild_type = None  # not of the row
            else:
                variant, reason = _compared(wild_type, mutated)
        else:
            found = read_variant(parts.text)
            if isinstance(found, ParseFailure):
                reason = found.reason
            else:
                variant, protein = found, protein or found.protein
    return VariantRow(
        number=parts.number,
        line=parts.line,
        protein=made_visible(protein) or None,
        text=made_visible(parts.text.strip()),
        variant=variant,
        reason=reason,
        source=parts.source,
        wild_type=wild_type,
        mutated=mutated,
        extra={made_visible(key): made_visible(value) for key, value in parts.extra.items()},
    )


def _sequence(text: str, name: str, reason: str) -> str | None:
    return read_sequence(text, name) if text.strip() and not reason else None


def _compared(wild_type: str | None, mutated: str) -> tuple[Variant | None, str]:
    if wild_type is None:
        return None, "gives a mutated sequence and no wild type to compare it with"
    return variant_between(wild_type, mutated), ""
