"""What an annotation has come to."""

from __future__ import annotations

from dataclasses import dataclass, field

from protclip_core.records import Failure

__all__ = ["AnnotateReport"]


@dataclass(kw_only=True)
class AnnotateReport:
    """The result.

    Attributes
    ----------
    proteins, with_terms, terms
        Proteins that were compared, those with a term in the list, and the terms of all.
    num_failures, first_failures
        Proteins that could not be embedded; the first five of them.
    outside, first_outside
        Proteins for which no probability holds (`protclip_core.terms.domain`); the first one, and
        why.
    impossible, with_impossible
        Terms that are not listed, as the organism does not have such a component; proteins of
        these.
    """

    proteins: int = 0
    with_terms: int = 0
    terms: int = 0
    num_failures: int = 0
    first_failures: list[Failure] = field(default_factory=list)
    outside: int = 0
    first_outside: str = ""
    impossible: int = 0
    with_impossible: int = 0
