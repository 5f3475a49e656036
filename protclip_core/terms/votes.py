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

__all__ = ["FULL_COVERAGE", "MOST_HOMOLOGS", "MOST_NEIGHBOURS"]
__all__ += ["NEIGHBOUR_STEEPNESS", "Relatives", "Votes", "count_votes", "neighbour_trust"]

#: The best so many of a protein vote.
MOST_HOMOLOGS, MOST_NEIGHBOURS = 20, 50
#: A neighbour that is less near than the nearest, by d in cosine, weighs ``exp(-20 d)``.
NEIGHBOUR_STEEPNESS = 20.0
#: Trust in a hit grows with its coverage of the query, in percent, up to this one.
FULL_COVERAGE = 50.0
#: Proteins of the reference that the weights of `protclip-mini` were fitted with.
_FULL_REFERENCE = 44_424
#: A neighbour that is nearer than this is trusted for itself, fully at 1.
_NEAR = 0.94


def neighbour_trust(cosines: np.ndarray, size: int) -> np.ndarray:
    """Return how far neighbours are taken for relatives: by the reference's size, and by cosine.

    The rules of transfer were fitted with a large reference, where most proteins have a relative.
    In a small one the nearest protein is mostly an unrelated one, and a cosine hardly tells: in
    the joint space of `protclip-mini`, a protein of split valid and one of split train, drawn at
    random, have a cosine above 0.45 in half of all pairs, above 0.70 in 10 %, 0.85 in 1 %, 0.93
    in 0.1 % and 0.97 in 0.01 %.

    Measured with references drawn from split train, 1,168 proteins of split valid and the
    bundled weights: the share of the rule in a mixture of log odds, the rest being the text's,
    at which the log loss is least (steps of 0.25) is 0 with 1 protein, 0 with 20 (0.25 above a
    cosine of 0.9), 0.25 with 200 and 0.5 with 1,000 (0.5 to 0.75 above 0.9). Unmixed, terms that
    the rule gives 0.5 or more, 0.72 on average, were right in 28 % of cases with 1 protein and
    in 58 % with 20; those of the text alone in 70 % and 70 %. With one protein of a cosine of
    0.90 to 0.94 the best share is 0.1 (steps of 0.1, 0.25, 0.5, 0.75, 1), of 0.96 to 0.99 it is
    0.25, above 0.99 it is 0.75.

    Hence the trust ``max((ln size / ln 44424)^2, ((cosine - 0.94) / 0.06)^2)``, each within 0 to
    1: 1 for a reference as large as the one of the weights, which changes nothing there.

    Parameters
    ----------
    cosines
        ``(H,)``.
    size
        Annotated proteins of the reference, at least 1.
    """
    by_size = min(np.log(size) / np.log(_FULL_REFERENCE), 1.0) ** 2
    near = np.clip((cosines - _NEAR) / (1 - _NEAR), 0.0, 1.0) ** 2
    trust: np.ndarray = np.maximum(near, by_size)
    return trust


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
    trust
        How far it is taken for a relative at all, 0 to 1, ``(H,)`` float64.
    """

    rows: np.ndarray
    places: np.ndarray
    weights: np.ndarray
    closeness: np.ndarray
    trust: np.ndarray

    def of(self, start: int, stop: int) -> Relatives:
        """Return those of some proteins, which are then counted from 0."""
        first, last = np.searchsorted(self.rows, [start, stop])
        part = slice(first, last)
        rest = (self.places, self.weights, self.closeness, self.trust)
        return Relatives(self.rows[part] - start, *(one[part] for one in rest))


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
    trust
        The greatest trust in one of these, ``(N, A)`` float64; 0 where there is none.
    """

    rows: np.ndarray
    terms: np.ndarray
    shares: np.ndarray
    sources: np.ndarray
    closeness: np.ndarray
    has: np.ndarray
    closest: np.ndarray
    trust: np.ndarray


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
    closest, trust = np.zeros(proteins * width), np.zeros(proteins * width)
    np.maximum.at(closest, cells, relatives.closeness[heard])
    np.maximum.at(trust, cells, relatives.trust[heard])
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
        trust=trust.reshape(proteins, width),
    )
