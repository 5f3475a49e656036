"""GO slims: small sets of broad terms, and the way from any term to the nearest of them.

Legend: G terms, S terms of the slim, M pairs of a term and one of its slim terms.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from protclip_core.errors import InputError
from protclip_core.io.streams import open_input, source_name
from protclip_core.ontology import graph
from protclip_core.ontology.assemble import GO_ID
from protclip_core.ontology.lines import text_lines
from protclip_core.ontology.ontology import Ontology
from protclip_core.records import counted, printable

__all__ = ["SlimMap", "map_to_slim", "read_slim"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class SlimMap:
    """Each term's closest terms of a slim.

    Attributes
    ----------
    slim
        Terms of the slim, sorted, ``(S,)`` int64.
    offsets, targets
        Of term ``t``: ``targets[offsets[t]:offsets[t + 1]]``, sorted; ``(G + 1,)`` and ``(M,)``.
    """

    slim: np.ndarray
    offsets: np.ndarray
    targets: np.ndarray

    def of(self, terms: npt.ArrayLike) -> np.ndarray:
        """Return the slim terms of one or more terms; sorted, each once, int64; may be none."""
        found = graph.expand((self.offsets, self.targets), graph.as_numbers(terms))[1]
        return np.unique(found).astype(np.int64)


def map_to_slim(ontology: Ontology, slim: npt.ArrayLike) -> SlimMap:
    """Map each term of an ontology to its closest terms of a slim.

    A term of the slim maps to itself. Any other maps to those of its ancestors in the slim that
    have no descendant among them; a term below none of the slim maps to nothing.

    Parameters
    ----------
    ontology
        Its edges say what an ancestor is: is_a and part_of, or what `with_relations` left.
    slim
        Numbers of the terms of the slim.
    """
    size = len(ontology)
    chosen = np.unique(graph.as_numbers(slim))
    inside = np.zeros(size, dtype=bool)
    inside[chosen] = True
    offsets, above = ontology.closure
    below = np.repeat(np.arange(size), np.diff(offsets))
    kept = inside[above]
    terms = np.concatenate([below[kept], chosen])
    found = np.concatenate([above[kept], chosen])
    # What is above another found term of the same term is not closest. Few are found per term.
    slim_rows = graph.compress(below[kept], above[kept], size)
    places, farther = graph.expand(slim_rows, found)
    far = np.unique(terms[places] * size + farther)
    nearest = ~np.isin(terms * size + found, far)
    sources, targets = graph.unique_pairs(terms[nearest], found[nearest], size)
    return SlimMap(chosen, *graph.compress(sources, targets, size))


def read_slim(path: str | Path, ontology: Ontology) -> np.ndarray:
    """Read the terms of a slim from a file.

    Parameters
    ----------
    path
        An OBO file (``goslim_generic.obo``), whose active terms are taken, or a list with a GO id
        at the start of each line; ``#`` and ``!`` start comments. Compressed or not; ``-``.
    ontology
        The release that the terms are looked up in.

    Returns
    -------
    numpy.ndarray
        Numbers in ``ontology``, sorted, each once, int64. Alternative and replaced ids count as
        the terms they stand for; obsolete and unknown ones are left out with a warning.

    Raises
    ------
    InputError
        A line that does not begin with a GO id, or nothing that this release has.
    """
    name = source_name(path)
    with open_input(path) as stream:
        ids = list(_slim_ids(text_lines(stream, name), name))
    if not ids:
        raise InputError(
            "has no GO terms",
            code="input.empty",
            where=name,
            hint="give an OBO file, or one GO id per line",
        )
    return _found(ids, ontology, name)


def _slim_ids(lines: Iterator[tuple[int, str]], name: str) -> Iterator[str]:
    """Give the ids of a list, or of the active terms of an OBO file."""
    is_obo, is_list, stanza, id = False, False, "", ""
    for number, line in lines:
        text = line.strip()
        tag, colon, value = text.partition(":")
        if not text or text[0] in "#!":
            continue
        if text.startswith("["):
            if id:
                yield id
            stanza, id = text, ""
        elif stanza:
            words = value.split()
            if stanza == "[Term]" and tag == "id" and words and GO_ID.fullmatch(words[0]):
                id = words[0]
            elif tag == "is_obsolete" and words[:1] == ["true"]:
                id = ""
        elif match := GO_ID.match(text):
            is_list = True
            yield match[0]
        elif colon and re.fullmatch(r"[\w-]+", tag) and not is_list:
            is_obo = True  # the header of an OBO file
        else:
            raise InputError(
                f"{printable(text)!r} does not begin with a GO id",
                code="input.bad_line",
                where=f"{name}:line {number}",
                hint="give an OBO file, or one GO id per line",
            )
    if id:
        yield id
    if is_obo and is_list:
        raise InputError(
            "is neither an OBO file nor a list of GO ids", code="input.other_format", where=name
        )


def _found(ids: list[str], ontology: Ontology, name: str) -> np.ndarray:
    """Look up the ids of a slim."""
    found = ontology.resolve_all(ids)
    lost = [id for id, one in found.listed.items() if one.term is None]
    numbers = np.unique(found.terms[found.terms >= 0]).astype(np.int64)
    release = ontology.release or "unknown"
    if not len(numbers):
        raise InputError(
            f"none of its {len(ids):,} terms is in the ontology (release {release})",
            code="input.other_release",
            where=name,
        )
    if lost:
        _log.warning(
            "%s: %d of %s obsolete or unknown in release %s: %s%s",
            name,
            len(lost),
            counted(len(ids), "term"),
            release,
            ", ".join(lost[:5]),
            " …" if len(lost) > 5 else "",
        )
    return numbers
