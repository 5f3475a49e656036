"""Scores of the variants of one protein by one model, from masked probabilities of residues.

Masked marginals
    Sum over the substitutions of log p(new) - log p(old), that place alone masked.
Wild-type marginals
    The same from one pass over the protein as it is.
Joint
    All places of a variant masked together.
Pseudo-likelihood ratio
    Sum over all residues of log p(residue), that place alone masked: mutated less wild type. For
    insertions and deletions as well, and the only one that sees how substitutions act together.

(Meier et al. 2021, NeurIPS 34, for the marginals; Brandes et al. 2023, Nature Genetics 55, for the
ratio.) A score above 0 says that the model finds the variant the likelier protein.

Legend: L residues, A letters of `LETTERS`, S single substitutions of a protein.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np

from protclip_core.engines.masked import MaskedEngine
from protclip_core.variants import Variant
from protclip_core.variants.residues import LETTERS, NUM_STANDARD
from protclip_core.variants.substitution_prior import prior_table

__all__ = ["MarginalScorer", "Method", "Percentile", "ProteinAsked", "ProteinScores", "percentiles"]

_INDEX = {letter: i for i, letter in enumerate(LETTERS)}

#: Operations of a scan that are spent on percentiles alone; more, and wild-type marginals serve.
SCAN_FLOPS = 5e11

Advance = Callable[[int], None]


class Method(StrEnum):
    """How variants are scored."""

    MASKED = "masked-marginals"
    WILD_TYPE = "wt-marginals"
    PSEUDO = "pll"
    JOINT = "joint"
    SHIFT = "embedding-shift"


class Percentile(StrEnum):
    """Among what a score is placed."""

    AUTO = "auto"
    SCAN = "scan"
    WILD_TYPE = "wt"
    NONE = "none"


@dataclass(frozen=True)
class ProteinAsked:
    """What is asked about one protein.

    Attributes
    ----------
    sequence
        Wild type.
    variants
        Distinct, that fit the sequence.
    offset
        See `Variant.apply`.
    reference
        Whether single substitutions of the whole protein are to be scored for comparison.
    """

    sequence: str
    variants: tuple[Variant, ...]
    offset: int = 0
    reference: Percentile = Percentile.AUTO


@dataclass
class ProteinScores:
    """The result.

    Attributes
    ----------
    scores
        One for each variant, float64; NaN where there is a reason.
    reasons
        Index of the variant to the reason why it has no score.
    singles
        Scores of all single substitutions by the 20 residues, ``(L, 20)``; NaN for the wild type
        and where it is none of the 20. None where they were not computed.
    placed
        For each variant the score to be placed among ``singles``: its own, or its wild-type
        marginal where those are such; NaN for what is no single substitution.
    by_wild_type
        Whether ``singles`` are wild-type marginals although scores are not.
    """

    scores: np.ndarray
    reasons: dict[int, str] = field(default_factory=dict)
    singles: np.ndarray | None = None
    placed: np.ndarray = field(default_factory=lambda: np.empty(0))
    by_wild_type: bool = False


def percentiles(placed: np.ndarray, singles: np.ndarray | None) -> np.ndarray:
    """Share of a protein's single substitutions that score lower, in percent; ties count half.

    Parameters
    ----------
    placed
        Scores to place, ``(V,)``; NaN stays NaN.
    singles
        Scores of the single substitutions, ``(L, 20)``; what is not finite does not count.
    """
    found = np.full(len(placed), np.nan)
    if singles is None:
        return found
    reference = np.sort(singles[np.isfinite(singles)])
    known = np.isfinite(placed)
    if len(reference):
        below = np.searchsorted(reference, placed[known], "left")
        within = np.searchsorted(reference, placed[known], "right")
        found[known] = 100.0 * (below + within) / 2 / len(reference)
    return found


class MarginalScorer:
    """Scores the variants of proteins with one model.

    Parameters
    ----------
    engine
        Entered, of the model.
    method
        Any but `Method.SHIFT`.
    prior
        Whether `prior_table` is added for each substitution.
    """

    def __init__(self, engine: MaskedEngine, method: Method, *, prior: bool = False) -> None:
        self.engine, self.method, self.prior = engine, method, prior
        self._reader = engine.reader
        self._prior = prior_table() if prior else np.zeros((len(LETTERS), len(LETTERS)))

    def num_passes(self, asked: ProteinAsked) -> int:
        """Forward passes that `score` makes at most; equal ones are then made once."""
        length, reader = len(asked.sequence), self._reader
        if self.method is Method.WILD_TYPE:
            return 1
        if self.method is Method.PSEUDO:
            changed = sum(len(v.apply(asked.sequence, asked.offset)) for v in asked.variants)
            return length + changed
        passes = len(self._places(asked))
        if self.method is Method.JOINT:
            several = [v for v in asked.variants if len(v.substitutions) > 1]
            whole = length <= reader.window
            passes += sum(1 if whole else len(v.substitutions) for v in several)
        return passes

    def score(self, asked: ProteinAsked, advance: Advance | None = None) -> ProteinScores:
        """Score all variants of one protein.

        Parameters
        ----------
        asked
            The protein.
        advance
            Called with passes done.

        Returns
        -------
        ProteinScores
            What a variant gets depends on it and the protein alone; the order and number of the
            variants change no more than the last digits.
        """
        result = ProteinScores(np.full(len(asked.variants), np.nan))
        result.placed = np.full(len(asked.variants), np.nan)
        reference = self._reference(asked)
        if self.method is Method.PSEUDO:
            self._pseudo(asked, result, advance)
            return result
        if self.method is Method.WILD_TYPE:
            table = self._ratios(asked.sequence, self._reader.read_unmasked(asked.sequence))
        else:
            table = self._masked_table(asked, advance)
        for index, variant in enumerate(asked.variants):
            if reason := self._unscored(variant):
                result.reasons[index] = reason
            else:
                result.scores[index] = _sum(table, variant, asked.offset)
        if self.method is Method.JOINT:
            self._joint(asked, result, advance)
        if reference is Percentile.WILD_TYPE and self.method is not Method.WILD_TYPE:
            result.by_wild_type = True
            table = self._ratios(asked.sequence, self._reader.read_unmasked(asked.sequence))
        if reference is not Percentile.NONE:
            result.singles = _singles(asked.sequence, table)
            for index, variant in enumerate(asked.variants):
                if index in result.reasons or len(variant.substitutions) != 1:
                    continue
                # The scan is of the 20 residues, so others have no place in it.
                old, _, new = variant.substitutions[0]
                if max(_INDEX[old], _INDEX[new]) < NUM_STANDARD:
                    result.placed[index] = _sum(table, variant, asked.offset)
        return result

    def _reference(self, asked: ProteinAsked) -> Percentile:
        """Choose what percentiles are taken among; by the protein and the model, never by time."""
        if asked.reference is not Percentile.AUTO or self.method is Method.WILD_TYPE:
            return asked.reference
        length = len(asked.sequence)
        cost = length * self._reader.flops(length)
        return Percentile.SCAN if cost <= SCAN_FLOPS else Percentile.WILD_TYPE

    def _places(self, asked: ProteinAsked) -> list[int]:
        """Places from 0 that are masked one at a time."""
        if self._reference(asked) is Percentile.SCAN:
            return list(range(len(asked.sequence)))
        return sorted(
            {
                position - 1 - asked.offset
                for variant in asked.variants
                if self._unscored(variant) == ""
                and (self.method is Method.MASKED or len(variant.substitutions) == 1)
                for _, position, _ in variant.substitutions
            }
        )

    def _masked_table(self, asked: ProteinAsked, advance: Advance | None) -> np.ndarray:
        """Ratios ``(L, A)``, NaN at places that nobody asks for."""
        sequence = asked.sequence
        places = self._places(asked)
        jobs = [self._reader.jobs(sequence, (place,))[0] for place in places]
        logs = np.full((len(sequence), len(LETTERS)), np.nan)
        for place, values in zip(places, self.engine.run(jobs, advance), strict=True):
            logs[place] = values[0]
        return self._ratios(sequence, logs)

    def _ratios(self, sequence: str, logs: np.ndarray) -> np.ndarray:
        """Score of each letter at each place ``(L, A)`` from log probabilities."""
        # J has no token: models read X, and a ratio with that says nothing.
        own = np.array([_INDEX.get(letter, -1) for letter in sequence])
        old = np.where(own < 0, np.nan, logs[np.arange(len(sequence)), own])
        return logs - old[:, None] + np.where((own < 0)[:, None], 0.0, self._prior[own])

    def _joint(self, asked: ProteinAsked, result: ProteinScores, advance: Advance | None) -> None:
        """Score the variants of several substitutions, all of them in one run."""
        several = [
            index
            for index, variant in enumerate(asked.variants)
            if len(variant.substitutions) > 1 and index not in result.reasons
        ]
        # Changes of a variant are sorted, so places ascend.
        places = [
            [position - 1 - asked.offset for _, position, _ in asked.variants[index].substitutions]
            for index in several
        ]
        jobs = [self._reader.jobs(asked.sequence, own) for own in places]
        found = iter(self.engine.run([job for own in jobs for job in own], advance))
        for index, own in zip(several, jobs, strict=True):
            logs = np.concatenate([next(found) for _ in own])
            result.scores[index] = sum(
                row[_INDEX[new]] - row[_INDEX[old]] + self._prior[_INDEX[old], _INDEX[new]]
                for row, (old, _, new) in zip(
                    logs, asked.variants[index].substitutions, strict=True
                )
            )

    def _pseudo(self, asked: ProteinAsked, result: ProteinScores, advance: Advance | None) -> None:
        """Score by pseudo-likelihoods, which are compared at one length.

        Every residue costs likelihood, so the sum of a protein that lost some would be the higher
        one. Residues that are lost or added count as average ones of the wild type.
        """
        wild_type, residues = self._pseudo_likelihood(asked.sequence, advance)
        for index, variant in enumerate(asked.variants):
            if reason := self._unscored(variant):
                result.reasons[index] = reason
                continue
            if variant.is_wild_type:
                result.scores[index] = 0.0
                continue
            mutated = variant.apply(asked.sequence, asked.offset)
            found, left = self._pseudo_likelihood(mutated, advance)
            ratio = found - wild_type * (left / max(residues, 1))
            added = (self._prior[_INDEX[a], _INDEX[b]] for a, _, b in variant.substitutions)
            result.scores[index] = ratio + sum(added)

    def _pseudo_likelihood(self, sequence: str, advance: Advance | None) -> tuple[float, int]:
        """Sum over residues of the logarithm of their masked probability, and their number.

        X and J are passed.
        """
        places = [p for p, letter in enumerate(sequence) if _INDEX.get(letter, -1) >= 0]
        places = [p for p in places if sequence[p] != "X"]
        jobs = [self._reader.jobs(sequence, (place,))[0] for place in places]
        found = self.engine.run(jobs, advance)
        logs = (v[0, _INDEX[sequence[p]]] for p, v in zip(places, found, strict=True))
        return float(sum(logs)), len(places)

    def _unscored(self, variant: Variant) -> str:
        """Why this method gives a variant no score; empty where it does."""
        for old, _, new in variant.substitutions:
            if unknown := [letter for letter in (old, new) if letter not in _INDEX]:
                return f"{variant} holds {unknown[0]}, which models have no token for"
            rare = [letter for letter in (old, new) if _INDEX[letter] >= NUM_STANDARD]
            if rare and self.prior:
                return (
                    f"{variant} holds {rare[0]}, none of the 20 residues that the prior is of; "
                    "--prior none scores it"
                )
        if self.method is Method.PSEUDO or variant.is_wild_type or variant.only_substitutions:
            return ""
        other = next(c for c in variant.changes if str(c.kind) not in _SAME_LENGTH)
        article = "an" if str(other.kind)[0] in "aeiou" else "a"
        return (
            f"{other} is {article} {other.kind}, and {self.method} is for substitutions; "
            "use --method pll"
        )


_SAME_LENGTH = ("substitution", "synonymous")


def _sum(table: np.ndarray, variant: Variant, offset: int) -> float:
    return float(
        sum(table[position - 1 - offset, _INDEX[new]] for _, position, new in variant.substitutions)
    )


def _singles(sequence: str, table: np.ndarray) -> np.ndarray:
    """Scores of the single substitutions among the 20 residues ``(L, 20)``."""
    own = np.array([_INDEX.get(letter, NUM_STANDARD) for letter in sequence])
    found = table[:, :NUM_STANDARD].copy()
    found[own >= NUM_STANDARD] = np.nan
    usual = np.flatnonzero(own < NUM_STANDARD)
    found[usual, own[usual]] = np.nan
    return found
