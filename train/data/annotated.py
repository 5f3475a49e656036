"""Proteins with GO terms, from the pairs that training reads.

Legend: N proteins.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from protclip_core.errors import InputError
from protclip_core.io.streams import open_input
from protclip_core.ontology.ontology import Ontology
from protclip_core.ontology.reference import Carried

__all__ = ["Annotated", "read_annotated"]


@dataclass(frozen=True, eq=False)
class Annotated:
    """Proteins of a split that have GO terms.

    Attributes
    ----------
    sequences
        Residues; empty for the splits in ``bare``.
    terms
        Numbers of each protein's terms, propagated, without roots.
    """

    sequences: list[str] = field(default_factory=list)
    terms: list[np.ndarray] = field(default_factory=list)

    @property
    def carried(self) -> Carried:
        """What they carry; their ids are numbers."""
        offsets = np.concatenate([[0], np.cumsum([len(own) for own in self.terms])])
        ids = tuple(str(number) for number in range(len(self.terms)))
        rows = np.arange(len(ids))
        return Carried(ids, rows, offsets.astype(np.int64), np.concatenate(self.terms))


def read_annotated(
    path: Path, ontology: Ontology, splits: Sequence[str], *, bare: Sequence[str] = ()
) -> dict[str, Annotated]:
    """Read the proteins of some splits that have a term of an ontology.

    Terms are resolved (alternative and replaced ids too) and propagated.

    Parameters
    ----------
    path
        JSON Lines with ``sequence``, ``split`` and ``go``.
    ontology
        Whose terms count.
    splits
        Names of splits; other proteins are passed over.
    bare
        Splits whose sequences are not kept: of many proteins only the terms are counted.

    Raises
    ------
    InputError
        A line that cannot be read, or a split without such a protein.
    """
    found = {name: Annotated() for name in splits}
    with open_input(path) as file:
        for number, line in enumerate(file, start=1):
            try:
                entry = json.loads(line)
                own = found.get(entry.get("split"))
                if own is None or not entry.get("go"):
                    continue
                numbers, sequence = ontology.resolve_all(entry["go"]).terms, entry["sequence"]
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise InputError(
                    f"cannot be read ({error!r})", code="input.bad_line", where=f"{path}:{number}"
                ) from error
            terms = ontology.propagate(numbers[numbers >= 0], roots=False)
            if len(terms):
                own.sequences.append("" if entry["split"] in bare else sequence)
                own.terms.append(terms)
    for name, own in found.items():
        if not own.terms:
            raise InputError(
                f"no protein of split {name!r} has a GO term",
                code="input.empty_split",
                where=str(path),
            )
    return found
