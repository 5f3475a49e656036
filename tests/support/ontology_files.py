"""What tests of the ontology share: the small file, random graphs, naive twins."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np

from protclip_core.ontology.assemble import TermList, assemble, go_id, go_number
from protclip_core.ontology.obo import read_obo

SMALL = Path(__file__).parents[1] / "data/ontology/small.obo"


def small():
    return read_obo(SMALL)


def number(ontology, id):
    """Number of ``GO:0000005``, given as 5."""
    return ontology.index[go_id(id)]


def random_ontology(size=120, *, seed=0, release="2024-01-17"):
    """A graph without cycles, in a random order of its terms; a tenth are without parents."""
    rng = random.Random(seed)
    terms = TermList()
    order = rng.sample(range(1, 10 * size), size)
    for place, id in enumerate(order):
        above = order[:place]
        if above and rng.random() > 0.1:
            for parent in rng.sample(above, min(len(above), rng.randint(1, 4))):
                terms.edges.add(id, parent, rng.randint(0, 1), 1)
    for id in rng.sample(order, size):
        terms.ids.append(go_id(id))
        terms.names.append(f"term {id}")
        terms.definitions.append("")
        terms.aspects.append(rng.randint(0, 2))
    return assemble(terms, "random", data_version=release)


def naive_parents(ontology):
    """Set of parents of each number."""
    split = np.split(ontology.parents, ontology.parent_offsets[1:-1])
    return [set(part.tolist()) for part in split]


def naive_ancestors(parents, term):
    """All ancestors of a term, by recursion."""
    found = set()
    for parent in parents[term]:
        found |= {parent} | naive_ancestors(parents, parent)
    return found


def stanzas(path=SMALL):
    """Text of the file, split into header and stanzas."""
    return Path(path).read_text("utf-8").split("\n\n")


__all__ = [
    "SMALL",
    "go_id",
    "go_number",
    "naive_ancestors",
    "naive_parents",
    "number",
    "random_ontology",
    "small",
    "stanzas",
]
