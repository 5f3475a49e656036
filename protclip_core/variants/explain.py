"""Why a text is not a variant, in words that say how to write it."""

from __future__ import annotations

import re

__all__ = ["explain"]

_SITE = r"(?:[A-Z]{3}|[A-Z*])-?[0-9]+"

# Tried in this order on the whole text; each reason is a predicate of it.
_REASONS = tuple(
    (re.compile(pattern, re.IGNORECASE | re.ASCII), reason)
    for pattern, reason in (
        (
            r"(?:\S+:)?[cgnmr]\.|.*:[cgnmr]\.",
            "describes DNA or RNA; give the change of the protein, as in p.Ala42Gly",
        ),
        (r"rs[0-9]+$", "is a dbSNP id; give the change of the protein, as in A42G"),
        (r".*\]\s*;\s*\[", "stands on two alleles; give each allele a row"),
        (r".*\(;\)", "leaves open whether its changes are on one molecule; give each a row"),
        (r".*(?:=|\w)//?(?:=|[A-Z]{3}$)", "is a mosaic or chimera; give the change alone"),
        (r".*\^", "gives alternatives; give each a row"),
        (r".*\[.*,", "holds proteins of one allele; give each a row"),
        (
            r".*\)?\[[0-9]",
            "is a repeat or a counted insertion; write the residues out with ins, dup or del",
        ),
        (
            r".*ins\(?[0-9?]|.*ins\(",
            "inserts residues that are not given; write them out, as in K23_L24insRS",
        ),
        (r".*ins$", "inserts nothing; write the residues, as in K23_L24insRS"),
        (rf"(?:.*[:;,/+\s(.])?{_SITE}-$", "ends in '-'; write A42del for a deletion"),
        (
            rf"(?:.*[:;,/+\s(.])?{_SITE}\)?$",
            "names no new residue; write A42G, A42= for synonymous or A42del",
        ),
        (rf"(?:.*[:;,/+\s(.])?{_SITE}_{_SITE}\)?$", "says nothing of its range; write del or dup"),
        (r"-?[0-9]+[A-Z]{1,3}$", "names no wild-type residue; write A42G, not 42G"),
        (r"-?[0-9]+$", "is a number; write A42G"),
        (
            rf"(?:.*[:;,/+\s(.])?{_SITE}[A-Z]{{2,}}\)?$",
            "puts something that is not a residue; write A42G or Ala42Gly, and delins for several",
        ),
        (
            r"(?:.*[:;,/+\s(.])?[A-Z]{2,}-?[0-9]+[A-Z]",
            "has a site that is not a residue in one or three letters",
        ),
    )
)


def explain(text: str) -> str:
    """Say why a text cannot be read, as a predicate with the way out.

    Examples
    --------
    >>> explain("42G")
    'names no wild-type residue; write A42G, not 42G'
    """
    return next(
        (reason for pattern, reason in _REASONS if pattern.match(text[:1000])),
        "is not a variant; write A42G, p.Ala42Gly, K23del or A42G:L50P",
    )
