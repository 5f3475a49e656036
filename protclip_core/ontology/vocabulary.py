"""Vocabularies other than GO: flat lists of terms, and the tree of the enzyme numbers.

Legend: G terms.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from protclip_core.errors import InputError
from protclip_core.io.phrases import Phrase
from protclip_core.ontology import graph
from protclip_core.ontology.ontology import Ontology
from protclip_core.records import printable

__all__ = ["class_of", "ec_numbers", "flat_vocabulary", "tree_of_ec"]


def flat_vocabulary(
    phrases: Sequence[Phrase],
    aspect: str,
    source: str,
    implied: Sequence[tuple[str, str]] = (),
) -> Ontology:
    """Make an ontology of terms that know nothing of each other, but for what is told.

    Parameters
    ----------
    phrases
        Ids and names, at least one.
    aspect
        Name of its one aspect.
    source
        Where they are from, for messages.
    implied
        Ids of terms, each with that of a term which a protein that has the first has as well.
        Pairs of unknown ids are passed over.

    Raises
    ------
    InputError
        An id that occurs twice, or a term that implies itself over others.
    """
    known = {phrase.id: place for place, phrase in enumerate(phrases)}
    pairs = [(known[a], known[b]) for a, b in implied if a in known and b in known]
    return _vocabulary(phrases, aspect, source, pairs)


def tree_of_ec(phrases: Sequence[Phrase], aspect: str, source: str) -> Ontology:
    """Make an ontology of enzyme numbers, each under the closest class of it that is there.

    The class of ``1.1.1.1`` is ``1.1.1.-``, that of ``1.1.1.-`` is ``1.1.-.-``, and so on, see
    `class_of`. Parameters and errors are those of `flat_vocabulary`.
    """
    known = {phrase.id: place for place, phrase in enumerate(phrases)}
    above = []
    for phrase in phrases:
        higher = class_of(phrase.id)
        while higher is not None and higher not in known:
            higher = class_of(higher)
        if higher is not None:
            above.append((known[phrase.id], known[higher]))
    return _vocabulary(phrases, aspect, source, above)


def class_of(number: str) -> str | None:
    """Return the class that an enzyme number is in: ``1.1.-.-`` of ``1.1.1.-``; None at the top."""
    fields = number.split(".")
    told = [field for field in fields if field != "-"]
    if len(told) < 2:
        return None
    return ".".join(told[:-1] + ["-"] * (len(fields) - len(told) + 1))


def ec_numbers(values: object) -> list[str]:
    """Return the enzyme numbers in what a record says of them, sorted, each once.

    Numbers that are whole (``1.1.1.1``) or classes (``1.1.1.-``) count; preliminary ones
    (``1.1.1.n2``), which the enzyme commission has not given, and anything else do not.

    Parameters
    ----------
    values
        A list of texts, or one text with ``;`` between.
    """
    listed = values.split(";") if isinstance(values, str) else values
    if not isinstance(listed, list):
        return []
    return sorted({text for value in listed if _is_number(text := str(value).strip())})


def _is_number(text: str) -> bool:
    fields = text.split(".")
    told = [field for field in fields if field != "-"]
    is_cut = fields[: len(told)] != told  # a dash stands before a number
    return len(fields) == 4 and bool(told) and not is_cut and all(f.isdecimal() for f in told)


def _vocabulary(
    phrases: Sequence[Phrase], aspect: str, source: str, above: Sequence[tuple[int, int]]
) -> Ontology:
    counts = Counter(phrase.id for phrase in phrases)
    if twice := [id for id, count in counts.items() if count > 1]:
        more = f" (and {len(twice) - 1:,} more)" if len(twice) > 1 else ""
        raise InputError(
            f"{printable(twice[0])!r} occurs twice{more}",
            code="input.duplicate_id",
            where=source,
            hint="remove one of the two lines, or give each term an id of its own, and a tab "
            "after it",
        )
    edges = np.array(sorted(set(above)), dtype=np.int64).reshape(-1, 2)
    children, parents = edges.T
    offsets, targets = graph.compress(children, parents, len(phrases))
    return Ontology(
        ids=tuple(phrase.id for phrase in phrases),
        names=tuple(phrase.text for phrase in phrases),
        aspects=np.zeros(len(phrases), dtype=np.int8),
        parent_offsets=offsets,
        parents=targets,
        parent_kinds=np.zeros(len(targets), dtype=np.int8),
        source=source,
        aspect_names=(aspect,),
    )
