"""What the annotated relatives of a protein say of its terms.

Each relative votes, with its weight, for the terms that it carries and for all of their ancestors.
The share of a term is the weight of those that carry it over the weight of all, as in BLAST-KNN
(You et al. 2018, GOLabeler) and DiamondScore (Kulmanov and Hoehndorf 2020, DeepGOPlus), but counted
for each aspect by itself: a relative without a term of an aspect, of whose place in the cell nobody
has written, say, is no vote against that place. As annotations are propagated, no share is above
that of an ancestor in its aspect.

Legend: N proteins of a block, H relatives of all of them, E pairs of a protein and a term, T terms,
A aspects.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from protclip_core.ontology import graph
from protclip_core.ontology.reference import Carried

__all__ = ["MOST_HOMOLOGS", "MOST_NEIGHBOURS", "NEIGHBOUR_STEEPNESS"]
__all__ += ["Relatives", "Votes", "count_votes"]

#: The best so many of a protein vote.
MOST_HOMOLOGS, MOST_NEIGHBOURS = 20, 50
#: A neighbour that is less near than the nearest, by d in cosine, weighs ``exp(-20 d)``.
NEIGHBOUR_STEEPNESS = 20.0


@dataclass(frozen=True, eq=False)
class Relatives:
    """Annotated proteins that resemble those of a block, by protein, the best first.

    Attributes
    ----------
    rows
        Protein of the block, ``(H,)`` int64.
    places
        Annotated protein, its place in `Carried`, ``(H,)`` int64.
    weights
        Of its vote, above 0, ``(H,)`` float64; falling within a protein.
    closeness
        Cosine, or share of identical residues; ``(H,)`` float64.
    """

    rows: np.ndarray
    places: np.ndarray
    weights: np.ndarray
    closeness: np.ndarray

    def of(self, start: int, stop: int) -> Relatives:
        """Return those of some proteins, which are then counted from 0."""
        first, last = np.searchsorted(self.rows, [start, stop])
        part = slice(first, last)
        return Relatives(
            self.rows[part] - start, self.places[part], self.weights[part], self.closeness[part]
        )


@dataclass(frozen=True, eq=False)
class Votes:
    """Pairs of a protein and a term that some relative carries, by protein, then by term.

    Attributes
    ----------
    rows, terms
        Place of the protein in its block and number of the term, ``(E,)`` int64.
    shares
        Above 0, at most 1; ``(E,)`` float64.
    sources, closeness
        The best relative that carries the term, its place in `Carried`, and how close it is;
        ``(E,)``.
    has
        Whether a protein has a relative with a term of an aspect, ``(N, A)`` bool.
    closest
        How close the closest of these is, ``(N, A)`` float64; 0 where there is none.
    """

    rows: np.ndarray
    terms: np.ndarray
    shares: np.ndarray
    sources: np.ndarray
    closeness: np.ndarray
    has: np.ndarray
    closest: np.ndarray


def count_votes(
    relatives: Relatives, carried: Carried, proteins: int, aspects: np.ndarray
) -> Votes:
    """Count the votes for a block of proteins.

    Parameters
    ----------
    relatives
        Of the proteins; there may be none.
    carried
        What they carry.
    proteins
        N.
    aspects
        Number of the aspect of each term of the ontology, ``(T,)``; all 0 makes them one.
    """
    terms, width = len(aspects), int(aspects.max(initial=0)) + 1
    voters, found = graph.expand((carried.offsets, carried.terms), relatives.places)
    keys = relatives.rows[voters] * terms + found
    # The best relative comes first, so the first voter of a pair is its source.
    distinct, first, place = np.unique(keys, return_index=True, return_inverse=True)
    weights = relatives.weights[voters]
    # Each relative once for each aspect that it has a term of.
    heard, of = np.divmod(np.unique(voters * width + aspects[found]), width)
    cells = relatives.rows[heard] * width + of
    total = np.bincount(cells, relatives.weights[heard], minlength=proteins * width)
    closest = np.zeros(proteins * width)
    np.maximum.at(closest, cells, relatives.closeness[heard])
    rows, numbers = np.divmod(distinct, terms)
    best = voters[first]
    having = np.bincount(place, weights, minlength=len(distinct)).astype(np.float64)
    shares = having / total[rows * width + aspects[numbers]]
    return Votes(
        rows=rows,
        terms=numbers,
        shares=np.minimum(shares, 1.0),
        sources=relatives.places[best],
        closeness=relatives.closeness[best],
        has=(total > 0).reshape(proteins, width),
        closest=closest.reshape(proteins, width),
    )
