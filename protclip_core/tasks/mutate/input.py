"""What ``protclip mutate`` is given: proteins, and rows of variants that are matched with them.

A row ends here as a variant of a known sequence that it fits, or with the reason why not.
"""

from __future__ import annotations

import json
import logging
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from protclip_core.errors import InputError
from protclip_core.io.fasta import read_fasta
from protclip_core.io.streams import open_input, source_name
from protclip_core.io.variants.columns import Role, role_of
from protclip_core.io.variants.files import Form, ProteinNames, VariantRow, read_variants
from protclip_core.records import counted
from protclip_core.variants import Change, Kind, Variant, best_offset
from protclip_core.variants.residues import LETTERS, NUM_STANDARD

__all__ = ["AskedRow", "Proteins", "carries_sequences", "match_rows", "scan_rows"]

_log = logging.getLogger(__name__)

STANDARD = LETTERS[:NUM_STANDARD]
#: Share of a protein's variants that has to fit elsewhere before an offset is suggested.
_MOST = 0.5


@dataclass(slots=True)
class AskedRow:
    """One row of the output, before it is scored.

    Attributes
    ----------
    protein_id
        Id of the FASTA file; as the row has it where none of these is meant.
    text
        The variant as it is written, else in one-letter codes.
    sequence
        Wild type; None where the row cannot be scored for want of one.
    variant
        With positions counted as in ``text``; None where there is none.
    reason
        Why it cannot be scored; empty else.
    note
        What is to be known of a row that has a score all the same.
    flags
        What else is to be known, in words.
    where
        Place in the file, for messages.
    extra
        Other columns of the file.
    """

    protein_id: str
    text: str
    sequence: str | None = None
    variant: Variant | None = None
    reason: str = ""
    note: str = ""
    flags: tuple[str, ...] = ()
    where: str = ""
    extra: Mapping[str, str] = field(default_factory=dict)

    def add(self, note: str, flag: str) -> None:
        """Note what is to be known of a row that is scored all the same."""
        self.note = f"{self.note}; {note}" if self.note else note
        self.flags += (flag,)

    @property
    def is_scorable(self) -> bool:
        """Whether a model is to be asked."""
        return self.variant is not None and not self.reason


class Proteins:
    """The proteins of FASTA files, by id.

    Parameters
    ----------
    inputs
        Paths, ``-`` for standard input; may be empty.

    Raises
    ------
    InputError
        A file that is not FASTA, a bad record, or one id with two sequences.
    """

    def __init__(self, inputs: Sequence[str]) -> None:
        self.sequences: dict[str, str] = {}
        repeated = 0
        for path in inputs:
            for record in read_fasta(path):
                earlier = self.sequences.setdefault(record.id, record.sequence)
                if earlier != record.sequence:
                    raise InputError(
                        "the same id has another sequence before",
                        code="input.duplicate_id",
                        where=record.where,
                        hint="give each protein an id of its own",
                    )
                repeated += 1
        repeated -= len(self.sequences)
        if repeated:
            what = counted(repeated, "repeated record")
            _log.warning("%s (same id, same sequence) kept once", what)
        self.names = ProteinNames(self.sequences)

    def __len__(self) -> int:
        return len(self.sequences)

    def wild_type(self, name: str | None) -> str | None:
        """Sequence of a protein by its name; None names the only one."""
        id = self.names.only() if name is None else self.names.find(name).id
        return None if id is None else self.sequences[id]


def carries_sequences(path: str) -> bool:
    """Whether the first row of a file of variants, or its header, has a wild type.

    Such a file needs no FASTA file. A pipe is not looked into, as it can be read once only.
    """
    if Path(path).exists() and not Path(path).is_file():
        return False
    with open_input(path) as stream:
        for raw in stream:
            if raw.strip():
                break
        else:
            return False
    try:
        first = json.loads(raw)
    except ValueError:
        first = re.split(r"[\t,;]", raw.decode("utf-8", "replace").lstrip("# "))
    known = [role_of(key) for key in first] if isinstance(first, dict | list) else []
    return any(found is not None and found[0] is Role.WILD_TYPE for found in known)


def match_rows(
    path: str,
    proteins: Proteins,
    *,
    offset: int = 0,
    form: Form = "auto",
    variant_column: str | None = None,
    protein_column: str | None = None,
) -> list[AskedRow]:
    """Read a file of variants and say of each row which sequence it changes, and how.

    Parameters
    ----------
    path
        The file; ``-`` for standard input.
    proteins
        What the rows may be about. A row that brings its own wild type needs none.
    offset
        See `Variant.apply`.
    form, variant_column, protein_column
        See `read_variants`.

    Raises
    ------
    InputError, UsageError
        As `read_variants`.
    """
    rows = read_variants(
        path,
        form=form,
        proteins=proteins.names,
        wild_types=proteins.wild_type,
        variant_column=variant_column,
        protein_column=protein_column,
    )
    seen: dict[tuple[str, Variant], str] = {}
    matched = []
    for row in rows:
        asked = _matched(row, proteins, offset)
        if asked.variant is not None and asked.sequence is not None and not asked.reason:
            key = (asked.sequence, asked.variant)
            earlier = seen.setdefault(key, row.where)
            if earlier != row.where:
                asked.add(f"repeats line {earlier.rpartition(' ')[2]}", "repeated")
        matched.append(asked)
    if others := sum("other-sequence" in asked.flags for asked in matched):
        _log.warning(
            "%s: %s another sequence than given in the same row; scored as written "
            "(flag other-sequence)",
            source_name(path),
            counted(others, "variant makes", "variants make"),
        )
    _suggest_offset(matched, offset)
    return matched


def _matched(row: VariantRow, proteins: Proteins, offset: int) -> AskedRow:
    asked = AskedRow(row.protein or "", row.text, where=row.where, extra=row.extra)
    asked.sequence = row.wild_type
    if row.wild_type is None:
        if row.protein is None:
            only = proteins.names.only()
            if only is None and not row.reason:
                asked.reason = f"names no protein, and there are {len(proteins):,}"
            asked.protein_id = only or ""
        else:
            match = proteins.names.find(row.protein)
            asked.protein_id = match.id or row.protein
            if match.id is None and not row.reason:
                asked.reason = match.reason
            if match.version_differs:
                asked.flags += ("other-version",)
        asked.sequence = proteins.sequences.get(asked.protein_id)
    asked.variant = row.variant
    if row.variant is None:
        asked.reason = row.reason
        return asked
    asked.text = asked.text if row.text and row.text != row.mutated else str(row.variant)
    if not asked.reason and asked.sequence is not None:
        _check_fit(asked, row.variant, asked.sequence, offset)
        if row.mutated is not None and not asked.reason:
            made = row.variant.apply(asked.sequence, offset)
            if made != row.mutated:
                asked.add(_difference(made, row.mutated), "other-sequence")
    return asked


def _difference(made: str, given: str) -> str:
    """Say where the sequence that a variant makes and the one of its row part."""
    if len(made) != len(given):
        return f"makes {len(made):,} residues, its mutated sequence has {len(given):,}"
    at = next(i for i, (one, other) in enumerate(zip(made, given)) if one != other)
    return f"makes {made[at]} at residue {at + 1}, its mutated sequence has {given[at]} there"


def _check_fit(asked: AskedRow, variant: Variant, sequence: str, offset: int) -> None:
    """Give the reason of a variant that does not fit, cuts the protein short or changes nothing."""
    if reason := variant.fault(sequence, offset):
        asked.reason = reason
    elif any("*" in change.inserted for change in variant.changes):
        left = len(variant.apply(sequence, offset))
        asked.reason = f"cuts the protein to {left:,} of {len(sequence):,} residues: not scored"
    elif variant.is_wild_type:
        asked.add("changes nothing: 0 by definition", "synonymous")


def _suggest_offset(rows: Iterable[AskedRow], offset: int) -> None:
    """Say at which offset most variants of a protein would fit, where they do not at this one."""
    changes: dict[str, list[tuple[Change, ...]]] = defaultdict(list)
    faults: Counter[str] = Counter()
    names: dict[str, str] = {}
    for row in rows:
        if row.variant is not None and row.sequence is not None:
            changes[row.sequence].append(row.variant.changes)
            names.setdefault(row.sequence, row.protein_id)
            faults[row.sequence] += bool(row.variant.fault(row.sequence, offset))
    for sequence, misfits in faults.items():
        if misfits < 2 or misfits <= _MOST * len(changes[sequence]):
            continue
        best = best_offset(changes[sequence], sequence, offset)
        if best is not None and best.offset != offset and best.fits > _MOST * best.total:
            _log.warning(
                "%s: %d of %d variants do not fit; with --offset %d %d of %d would",
                names[sequence] or "protein",
                misfits,
                len(changes[sequence]),
                best.offset,
                best.fits,
                best.total,
            )


def scan_rows(
    proteins: Proteins, region: tuple[int, int] | None, offset: int = 0
) -> Iterator[AskedRow]:
    """Give all single substitutions of all proteins: by position, then by letter.

    Parameters
    ----------
    proteins
        In their order.
    region
        First and last position, counted as the output counts them; None: all.
    offset
        Added to positions of the sequence.

    Raises
    ------
    InputError
        A region that a protein does not have.
    """
    for id, sequence in proteins.sequences.items():
        first, last = region or (1 + offset, len(sequence) + offset)
        if first < 1 + offset or last > len(sequence) + offset:
            raise InputError(
                f"region {first}-{last} is outside its positions "
                f"{1 + offset} to {len(sequence) + offset}",
                code="input.bad_region",
                where=id,
                hint="give another --region, or --offset where the numbering differs",
            )
        unknown = 0
        for position in range(first, last + 1):
            old = sequence[position - 1 - offset]
            if old == "X":
                unknown += 1
                continue
            for new in STANDARD:
                if new != old:
                    change = Change(Kind.SUBSTITUTION, position, position, old, old, new)
                    yield AskedRow(id, str(change), sequence, Variant((change,)))
        if unknown:
            _log.warning("%s: %d positions hold X, they are left out of the scan", id, unknown)
