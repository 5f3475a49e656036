"""Texts of proteins in which GO terms are spoken of in sentences, other ones each time."""

from __future__ import annotations

import numpy as np
from tokenizers import Tokenizer

from train.data.composer import TextComposer
from train.data.pairs import TokenPart
from train.data.texts import GO_TAG
from train.protanno.augment.evidence import Evidence
from train.protanno.augment.wordings import Wordings

__all__ = ["SentenceTexts"]

#: Numbers of epochs that a wording is drawn from.
_EPOCHS = 1 << 31
#: Of a term that all proteins have: it is said now and then.
_LEAST_CONTENT = 0.05


class SentenceTexts(TextComposer):
    """Composes a text from a protein's properties and from wordings of its GO terms.

    A sample has a random selection of the properties in any order. Of the GO terms a few are
    drawn, those that say much rather than those that many proteins have, and those that are well
    known rather than guesses; each is worded anew.

    Parameters
    ----------
    tokenizer, max_tokens, options
        As for `TextComposer`.
    wordings
        Of the terms; of a protein, terms are told by the tokens of their names.
    content
        Information content of each term of the table, ``(G,)``, for instance `specificity`.
    evidence
        How well it is known; by default all is known alike.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        max_tokens: int,
        wordings: Wordings,
        content: np.ndarray,
        evidence: Evidence | None = None,
        *,
        tag_dropout: float = 0.0,
        max_go_names: int = 4,
    ) -> None:
        super().__init__(tokenizer, max_tokens, tag_dropout=tag_dropout, max_go_names=max_go_names)
        self._wordings, self._content, self._evidence = wordings, content, evidence
        self._numbers = {
            tuple(self.tokens(name)): number for number, name in enumerate(wordings.terms.names)
        }

    def sample(
        self, parts: list[TokenPart], rng: np.random.Generator, accession: str = ""
    ) -> list[int]:
        """Tokens of a random selection of the properties, in any order; see the class."""
        if not parts:
            return self.whole(parts)
        count = int(rng.integers(1, len(parts) + 1))
        taken: list[TokenPart] = []
        for place in rng.permutation(len(parts))[:count]:
            tag, pieces = parts[place]
            kept = (
                self._spoken(pieces, rng, accession)
                if tag == GO_TAG
                else self._sentences(pieces, rng)
            )
            if kept:
                taken.append((tag, kept))
        return self._join(taken, tagged=self._with_tags(rng))

    def _spoken(
        self, names: list[list[int]], rng: np.random.Generator, accession: str
    ) -> list[list[int]]:
        """Return one piece: wordings of some terms, in any order; none where none is left."""
        terms = [self._numbers.get(tuple(name), -1) for name in names]
        known = np.array([term for term in terms if term >= 0], dtype=np.int64)
        belief = np.ones(len(known))
        if self._evidence is not None:
            belief = self._evidence.weights(accession, known.tolist())
        known, belief = known[belief > 0], belief[belief > 0]
        if not len(known) or not self.max_go_names:
            return []
        weight = belief * np.maximum(self._content[known], _LEAST_CONTENT)
        number = min(len(known), int(rng.integers(1, self.max_go_names + 1)))
        chosen = rng.choice(known, number, replace=False, p=weight / weight.sum())
        texts = [self._wordings.text(int(term), int(rng.integers(_EPOCHS))) for term in chosen]
        return [self.tokens(" ".join(texts).rstrip("."))]
