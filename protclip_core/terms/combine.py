"""Text and annotated relatives together: the pairs of a block that are above a threshold.

Legend: N proteins of a block, E pairs of a protein and a term, T terms, A aspects, k terms asked
for.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from protclip_core.ontology import graph
from protclip_core.terms.scores import GoScorer, Scored
from protclip_core.terms.transfer import KINDS, LEAST_TEXT, Evidence, TransferWeights
from protclip_core.terms.votes import Votes

__all__ = ["TEXT", "Pairs", "Supported", "best_with_votes", "gather", "with_votes"]

#: Bit of `Supported.support` that stands for the text; those of `KINDS` follow.
TEXT = 1


@dataclass(frozen=True, eq=False)
class Supported(Scored):
    """Pairs with what speaks for each; log odds are those of all evidence together.

    Attributes
    ----------
    support
        Bits, ``(E,)`` uint8: `TEXT` where the text alone would do, ``2 << n`` where a relative
        of kind ``n`` of `KINDS` carries the term. Never 0.
    sources
        For each kind the best relative that carries the term, as in `Votes`, ``(E, kinds)``
        int64; -1 for none.
    identity
        Share of identical residues of that of homology, ``(E,)``; NaN where there is none.
    """

    support: np.ndarray
    sources: np.ndarray
    identity: np.ndarray


def with_votes(
    scorer: GoScorer,
    vectors: np.ndarray,
    votes: Mapping[str, Votes],
    weights: TransferWeights,
    least: float,
) -> Supported:
    """Return the pairs whose log odds are at least ``least``; roots are left out.

    Parameters
    ----------
    scorer
        Of an index with a calibration.
    vectors
        Unit vectors of the proteins, ``(N, P)``.
    votes
        Of at least one of `KINDS`.
    weights
        Rules for all sets of them.
    least
        Log odds, at least `LEAST_TEXT`.

    Returns
    -------
    Supported
        All ``chosen``. The log odds of no term are above those of an ancestor.
    """
    text = scorer.above(vectors, LEAST_TEXT)
    return _join(scorer, vectors, text, votes, weights, least, least)


def best_with_votes(
    scorer: GoScorer,
    vectors: np.ndarray,
    votes: Mapping[str, Votes],
    weights: TransferWeights,
    k: int,
    aspects: Sequence[int],
) -> Supported:
    """Return the k best terms of each aspect, by the log odds of all evidence together.

    Parameters are those of `with_votes` and `GoScorer.best`.
    """
    far = scorer.best(vectors, k, aspects)
    text = _union(scorer.above(vectors, LEAST_TEXT), far, len(scorer.index))
    found = _join(scorer, vectors, text, votes, weights, -np.inf, LEAST_TEXT)
    return replace(found, chosen=scorer.first(found, found.log_odds, k, aspects))


def _union(one: Scored, other: Scored, terms: int) -> Scored:
    """Return the pairs of both, each once; what both have is the same."""
    keys = np.concatenate([part.rows * terms + part.terms for part in (one, other)])
    _, places = np.unique(keys, return_index=True)
    names = ("rows", "terms", "cosines", "log_odds", "chosen")
    return Scored(*(np.concatenate([getattr(one, n), getattr(other, n)])[places] for n in names))


@dataclass(frozen=True, eq=False)
class Pairs:
    """Candidates of a block: what the text finds likely enough, or a relative carries.

    Attributes
    ----------
    rows, terms
        By protein, then by number of the term, each once, with all ancestors but the roots;
        ``(E,)`` int64.
    text
        Log odds of the text, ``(E,)``; `LEAST_TEXT` where it does not find the pair likely.
    evidence
        Of each kind that was asked, `Evidence` of ``(E,)``.
    trust
        Of each kind, how far a protein has a relative in an aspect, ``(N, A)``, 0 to 1.
    """

    rows: np.ndarray
    terms: np.ndarray
    text: np.ndarray
    evidence: dict[str, Evidence]
    trust: dict[str, np.ndarray]


def gather(text: Scored, votes: Mapping[str, Votes], aspects: np.ndarray) -> Pairs:
    """Join the pairs of the text with those that relatives carry.

    Parameters
    ----------
    text
        Of `GoScorer.above`, from `LEAST_TEXT` on.
    votes
        By kind.
    aspects
        Of the terms of the ontology, ``(T,)``.
    """
    terms = len(aspects)
    own = text.rows * terms + text.terms
    voted = {kind: one.rows * terms + one.terms for kind, one in votes.items()}
    keys = np.unique(np.concatenate([own, *voted.values()]))
    rows, numbers = np.divmod(keys, terms)
    odds = np.full(len(keys), LEAST_TEXT)
    odds[np.searchsorted(keys, own)] = text.log_odds
    evidence = {}
    for kind, one in votes.items():
        shares = np.zeros(len(keys))
        shares[np.searchsorted(keys, voted[kind])] = one.shares
        evidence[kind] = Evidence(shares, one.closest[rows, aspects[numbers]])
    return Pairs(rows, numbers, odds, evidence, {kind: one.trust for kind, one in votes.items()})


def _join(
    scorer: GoScorer,
    vectors: np.ndarray,
    text: Scored,
    votes: Mapping[str, Votes],
    weights: TransferWeights,
    least: float,
    least_support: float,
) -> Supported:
    aspects = scorer.ontology.aspects
    pairs = gather(text, votes, aspects)
    odds = _apply(pairs, aspects, weights)
    odds = _lift(scorer, pairs.rows * len(scorer.index) + pairs.terms, odds, least)
    kept = odds >= least
    rows, terms = pairs.rows[kept], pairs.terms[kept]
    keys = rows * len(scorer.index) + terms
    support = np.where(pairs.text[kept] >= least_support, TEXT, 0).astype(np.uint8)
    sources = np.full((len(keys), len(KINDS)), -1, dtype=np.int64)
    identity = np.full(len(keys), np.nan)
    for kind, one in votes.items():
        number = KINDS.index(kind)
        voted = one.rows * len(scorer.index) + one.terms
        _, here, there = np.intersect1d(keys, voted, assume_unique=True, return_indices=True)
        support[here] |= TEXT << (number + 1)
        sources[here, number] = one.sources[there]
        if kind == "homology":
            identity[here] = one.closeness[there]
    support[support == 0] = TEXT
    cosines = scorer.pair_cosines(vectors, rows, terms)
    chosen = np.ones(len(rows), dtype=bool)
    return Supported(rows, terms, cosines, odds[kept], chosen, support, sources, identity)


def _apply(pairs: Pairs, aspects: np.ndarray, weights: TransferWeights) -> np.ndarray:
    """Apply to each protein, in each aspect, the rule of the kinds in which it has a relative.

    Where a relative is trusted in part, the rules with and without its kind are mixed: each set
    of kinds counts by the product of the trust in its kinds and of the doubt in the others.
    """
    own = aspects[pairs.terms]
    trust = {kind: one[pairs.rows, own] for kind, one in pairs.trust.items()}
    found = pairs.text * math.prod(1 - one for one in trust.values())
    for kinds, rules in weights.rules.items():
        if not all(kind in pairs.evidence for kind in kinds):
            continue
        counts = math.prod(one if kind in kinds else 1 - one for kind, one in trust.items())
        for aspect, rule in enumerate(rules):
            here = np.flatnonzero((counts > 0) & (own == aspect))
            parts = [pairs.evidence[kind].at(here) for kind in kinds]
            found[here] += counts[here] * rule.log_odds(pairs.text[here], parts)
    return found


def _lift(scorer: GoScorer, keys: np.ndarray, odds: np.ndarray, least: float) -> np.ndarray:
    """Give each pair the highest log odds of any below it, where an edge leaves an aspect.

    Within an aspect a rule keeps the order; the rules of two aspects may cross.
    """
    size = len(scorer.index)
    high = np.flatnonzero(odds >= least)
    places, above = graph.expand(scorer.ontology.closure, keys[high] % size)
    higher = keys[high][places] // size * size + above
    targets = np.minimum(np.searchsorted(keys, higher), len(keys) - 1)
    inside = keys[targets] == higher  # roots are no pairs
    lifted = odds.copy()
    np.maximum.at(lifted, targets[inside], odds[high][places][inside])
    return lifted
