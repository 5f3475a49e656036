"""What the text tower is shown in a step: terms and proteins, each in two wordings.

Legend: G terms, N proteins, P joint width.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from train.data.composer import TextComposer
from train.data.go_terms import GoTerms
from train.data.pairs import MemoryPairs, ShardPairs
from train.data.term_space import protein_targets, specificity, term_space
from train.protanno.augment.wordings import Wordings

__all__ = ["TextViews", "Views"]

#: Share of the terms of a step that annotate at least `_COMMON` training proteins.
_COMMON_SHARE, _COMMON = 0.6, 3
_VIEWS = 7
#: Share of the first texts of terms that are their names, where wordings are composed.
_NAMED_SHARE = 0.5


@dataclass(frozen=True, eq=False)
class Views:
    """The texts of a step: names of terms, second wordings of some, two of each protein.

    Attributes
    ----------
    rows
        Token ids of ``T + W + 2 R`` texts.
    terms
        Numbers of the ``T`` terms.
    again
        Places of the ``W`` terms that have a second wording among them.
    proteins
        Rows of the ``R`` proteins.
    """

    rows: list[list[int]]
    terms: np.ndarray
    again: np.ndarray
    proteins: np.ndarray


class TextViews:
    """The corpus of the text tower, and where its texts shall lie.

    Parameters
    ----------
    terms
        The table of GO.
    pairs
        The training split.
    texts
        Composer of the tokenizer.
    width
        P, even: half for words, half for annotation; see `term_space`.
    seed
        Of the run.
    wordings
        What is said of terms; by default their names and the definitions of the table.

    Attributes
    ----------
    space
        Where terms shall lie, ``(G, P)`` float32.
    targets
        Where proteins' texts shall lie, ``(N, P)``; zeros for those without GO terms.
    common
        Terms that annotate enough training proteins, rising.
    """

    def __init__(
        self,
        terms: GoTerms,
        pairs: MemoryPairs | ShardPairs,
        texts: TextComposer,
        width: int,
        seed: int,
        wordings: Wordings | None = None,
    ) -> None:
        self.terms, self.pairs, self.texts, self.seed = terms, pairs, texts, seed
        annotations = [pairs.go(row) for row in range(len(pairs))]
        self.counts = np.zeros(len(terms), dtype=np.int64)
        for own in annotations:
            self.counts[own] += 1
        self.specificity = specificity(self.counts, sum(len(own) > 0 for own in annotations))
        self.space = term_space(terms, annotations, width // 2)
        self.targets = protein_targets(self.space, annotations, self.specificity)
        self.common = np.flatnonzero(self.counts >= _COMMON)
        self.names = [texts.tokens(name) for name in terms.names]
        self.definitions = [texts.tokens(text) for text in terms.definitions]
        self.wordings = wordings or Wordings(terms, seed, definitions=True)
        self._paired = np.array([row for row in range(len(pairs)) if len(pairs.parts(row)) > 1])

    def draw(
        self, step: int, num_terms: int, num_wordings: int, num_proteins: int, max_tokens: int
    ) -> Views:
        """Put the texts of a step together: a function of the seed and the step alone.

        Names are short and definitions long, so only some terms come with a second wording: the
        definition, or name and definition. Where wordings are composed, half of the first ones
        are not the name but one of these, and the second is another. A protein's two are random
        selections of its properties.
        """
        rng = np.random.default_rng((self.seed, _VIEWS, step))
        often = rng.random(num_terms) < _COMMON_SHARE
        drawn = np.where(
            often, rng.choice(self.common, num_terms), rng.integers(len(self.terms), size=num_terms)
        )
        chosen = np.unique(drawn)
        told = self._composed if self.wordings.composed else self._told
        first, again, second = told(chosen, step, num_wordings, max_tokens, rng)
        count = min(num_proteins, len(self._paired))
        proteins = np.sort(rng.choice(self._paired, count, replace=False))
        views: list[list[list[int]]] = [[], []]
        for row in proteins.tolist():
            parts = self.pairs.parts(row)
            for own in views:
                sampled = self.texts.sample(parts, rng, self.pairs.accession(row))
                own.append(self._fit(sampled, max_tokens))
        return Views([*first, *second, *views[0], *views[1]], chosen, again, proteins)

    def _told(
        self, chosen: np.ndarray, step: int, number: int, most: int, rng: np.random.Generator
    ) -> tuple[list[list[int]], np.ndarray, list[list[int]]]:
        """Return names, which terms have a second wording, and these: definitions, if any."""
        names = [self._fit(self.name(term), most) for term in chosen]
        has = [self.wordings.defines(term) for term in chosen.tolist()]
        again = np.sort(rng.permutation(np.flatnonzero(has))[:number])
        return names, again, [self._second(term, most, rng) for term in chosen[again]]

    def _composed(
        self, chosen: np.ndarray, step: int, number: int, most: int, rng: np.random.Generator
    ) -> tuple[list[list[int]], np.ndarray, list[list[int]]]:
        """Return the same of composed wordings, of which any term has a second one."""

        def row(term: int, view: int) -> list[int]:
            return self._fit(self.texts.text(self.wordings.text(term, step, view)), most)

        named = rng.random(len(chosen)) < _NAMED_SHARE
        first = [
            self._fit(self.name(term), most) if plain else row(term, 0)
            for term, plain in zip(chosen.tolist(), named)
        ]
        again = np.sort(rng.permutation(len(chosen))[:number])
        return first, again, [row(term, 1) for term in chosen[again].tolist()]

    def name(self, term: int) -> list[int]:
        """Token ids of a term's name."""
        return self.texts.framed(self.names[term])

    def both(self, term: int) -> list[int]:
        """Token ids of a term's name and definition, as they stand in the text of a term."""
        return self.texts.text(self.terms.text(term, "definition"))

    def documents(self) -> list[list[int]]:
        """Token ids of all texts, for the start of the word vectors."""
        found = [[*name, *text] for name, text in zip(self.names, self.definitions)]
        for row in range(len(self.pairs)):
            found.append([t for _, pieces in self.pairs.parts(row) for p in pieces for t in p])
        return [document for document in found if document]

    def _second(self, term: int, max_tokens: int, rng: np.random.Generator) -> list[int]:
        definition = self.definitions[term]
        if rng.random() < 0.5:
            return self._fit(self.both(term), max_tokens)
        room = max_tokens - 2
        start = 0
        if len(definition) > room and rng.random() < 0.5:
            start = int(rng.integers(len(definition) - room + 1))
        return self.texts.framed(definition[start : start + room])

    @staticmethod
    def _fit(row: list[int], max_tokens: int) -> list[int]:
        """Cut a framed row; the last token stays the last."""
        return row if len(row) <= max_tokens else [*row[: max_tokens - 1], row[-1]]
