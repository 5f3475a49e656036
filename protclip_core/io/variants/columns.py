"""Which column of a table of variants holds what, told by its name and by its content.

Names are compared without case and without what is not a letter or digit: ``HGVSp``, ``hgvs_p``
and ``HGVS.p`` are one name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from enum import StrEnum

from protclip_core.io.protein_names import ProteinNames
from protclip_core.variants import Variant, read_variant

__all__ = ["Role", "find_columns", "holds_variant", "role_of"]


class Role(StrEnum):
    """What a column holds."""

    VARIANT = "variant"
    PROTEIN = "protein"
    MUTATED = "mutated sequence"
    WILD_TYPE = "wild-type sequence"


#: Names of columns by what they hold, the surest first.
_NAMES = {
    Role.VARIANT: (
        "variant proteinvariant mutant mutation mutations hgvsp hgvspro hgvsprotein hgvs"
        " aachange aminoacidchange aachanges aamutations aamutation aasubstitution aasubstitutions"
        " aavariant proteinchange substitution substitutions variants mutants mutname mutationname"
        " variantname change changes"
    ),
    Role.PROTEIN: (
        "protein proteinid proteinname proteinaccession uniprot uniprotid uniprotac"
        " uniprotaccession uniprotkb swissprot ensp ensemblprotein ensemblproteinid refseqprotein"
        " seqid sequenceid sequencename accession entry target targetid id name"
        " feature featureid transcript transcriptid gene genename genesymbol symbol"
    ),
    Role.MUTATED: (
        "mutatedsequence mutantsequence mutatedseq mutantseq mutsequence mutseq variantsequence"
    ),
    Role.WILD_TYPE: (
        "originalsequence wildtypesequence wtsequence wtseq wildtypeseq originalseq"
        " referencesequence"
    ),
}
_RANKS = {
    name: (role, rank) for role, names in _NAMES.items() for rank, name in enumerate(names.split())
}
# From here on a column of proteins is one of other things as often.
_WEAK = _RANKS["accession"][1]
_NUMBER = re.compile(r"[-+]?[0-9.]+(?:[eE][-+]?[0-9]+)?|nan|na|inf", re.IGNORECASE)
_MOST = 0.5  # share of the rows of a sample that have to agree


def role_of(name: str) -> tuple[Role, int] | None:
    """Tell what a column of this name holds, and its place from 0 in the list of such names.

    Examples
    --------
    >>> role_of("HGVS.p")
    (<Role.VARIANT: 'variant'>, 5)
    """
    return _RANKS.get(re.sub(r"[^0-9a-z]", "", name.lower()))


def holds_variant(text: str) -> bool:
    """Whether a text is a variant with a change that is told, rather than WT, ``?`` or a word."""
    found = read_variant(text)
    return isinstance(found, Variant) and any(change.first for change in found.changes)


def find_columns(
    header: Sequence[str] | None,
    rows: Sequence[Sequence[str]],
    proteins: ProteinNames | None = None,
) -> dict[Role, int]:
    """Find the columns of a table.

    Parameters
    ----------
    header
        Names of the columns; None where the table has none.
    rows
        The first rows, of any lengths.
    proteins
        Ids of the FASTA file, to tell the column of proteins by its content.

    Returns
    -------
    dict
        Column from 0 by role. A column of variants is told by its name, of several the one with
        most variants; where none of that name holds any, by holding variants in half its rows.
        One of proteins by its name, of several the one with most known ids; without a name by
        half its values being known ids, or by being the only other column and no numbers.
    """
    named: dict[Role, list[tuple[int, int]]] = {}
    for column, name in enumerate(header or ()):
        if known := role_of(name):
            named.setdefault(known[0], []).append((known[1], column))
    width = max((len(row) for row in [header or (), *rows]), default=0)
    values = [[row[column].strip() for row in rows if column < len(row)] for column in range(width)]
    found: dict[Role, int] = {}
    variants = _variants(sorted(named.get(Role.VARIANT, [])), values)
    if variants is not None:
        found[Role.VARIANT] = variants
    for role in (Role.MUTATED, Role.WILD_TYPE):
        if role in named:
            found[role] = min(named[role])[1]
    taken = set(found.values())
    prefixed = variants is not None and _share(values[variants], _names_protein) > _MOST
    candidates = [
        (rank, column)
        for rank, column in sorted(named.get(Role.PROTEIN, []))
        if column not in taken and not (prefixed and rank >= _WEAK)
    ]
    protein = _proteins(candidates, values, taken, proteins, headed=header is not None)
    if protein is not None:
        found[Role.PROTEIN] = protein
    return found


def _variants(named: list[tuple[int, int]], values: list[list[str]]) -> int | None:
    """Column of variants; of equal shares the one with the surest name, then the first."""
    shares = [_share(column, holds_variant) for column in values]
    best = max(named, key=lambda one: shares[one[1]], default=None)
    if best and shares[best[1]]:
        return best[1]
    first = max(range(len(values)), key=lambda column: shares[column], default=None)
    if first is not None and shares[first] >= _MOST:
        return first
    return best[1] if best else None


def _proteins(
    named: list[tuple[int, int]],
    values: list[list[str]],
    taken: set[int],
    proteins: ProteinNames | None,
    *,
    headed: bool,
) -> int | None:
    """Column of proteins, or None."""
    free = [column for column in range(len(values)) if column not in taken]
    if proteins is not None and len(proteins):
        shares = {column: _share(values[column], lambda text: text in proteins) for column in free}
        best = max(named, key=lambda one: shares[one[1]], default=None)
        if best and shares[best[1]]:
            return best[1]
        first = max(free, key=lambda column: shares[column], default=None)
        if first is not None and shares[first] >= _MOST:
            return first
    for rank, column in named:
        # Numbers of rows and of records are not proteins unless the FASTA file says so.
        if rank < _WEAK or not _share(values[column], _is_no_name) > _MOST:
            return column
    if not headed and len(free) == 1 and not _share(values[free[0]], _is_no_name) > _MOST:
        return free[0]
    return None


def _names_protein(text: str) -> bool:
    found = read_variant(text)
    return isinstance(found, Variant) and bool(found.protein)


def _is_no_name(text: str) -> bool:
    return _NUMBER.fullmatch(text) is not None or text.startswith("urn:")


def _share(values: Sequence[str], test: Callable[[str], bool]) -> float:
    """Share of the values that are not empty for which a test holds; 0 of none."""
    filled = [value for value in values if value]
    return sum(map(test, filled)) / len(filled) if filled else 0.0
