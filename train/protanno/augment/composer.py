"""A term's description in other words, each a function of seed, term, epoch and view.

Nothing is drawn from a generator that is carried along: the same seed, term, epoch and view give
the same text in every run, on every rank, in any order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from protclip_core.errors import InputError
from train.protanno.augment import sentences
from train.protanno.augment.release import Release, Term

__all__ = ["ComposerOptions", "TermComposer"]

Item = TypeVar("Item")

#: First word of the seeds.
_TERM = 21
#: Share of texts whose first sentence goes on with the definition, or is made of it.
_APPOSITION, _ACT = 0.3, 0.3
#: Draws for a view before it may equal the one before it: a term may have no more to say.
_ATTEMPTS = 8


@dataclass(frozen=True)
class ComposerOptions:
    """What a text may say beside the name; each can be switched off."""

    synonyms: bool = True
    definitions: bool = True
    parents: bool = True
    wholes: bool = True
    regulates: bool = True
    #: Sentences after the first at most.
    most: int = 2


class TermComposer:
    """Says what a release knows of a term, in other words each time.

    Parameters
    ----------
    release
        The terms.
    seed
        Of the run.
    options
        What may be said.

    Examples
    --------
    >>> root = Term("GO:0008150", "biological_process", "BP")
    >>> cycle = Term("GO:0007049", "cell cycle", "BP", "A cycle.", is_a=(root.id,))
    >>> release = Release("2024-01-17", (), {term.id: term for term in (root, cycle)})
    >>> composer = TermComposer(release, seed=3)
    >>> composer.compose(cycle.id, epoch=0) == composer.compose(cycle.id, epoch=0)
    True
    """

    def __init__(
        self, release: Release, seed: int, options: ComposerOptions = ComposerOptions()
    ) -> None:
        self.release, self.seed, self.options = release, seed, options

    def __contains__(self, id: object) -> bool:
        return id in self.release.terms

    def compose(self, id: str, epoch: int, view: int = 0) -> str:
        """Return a text of a term: one to three sentences.

        Parameters
        ----------
        id
            An active term of the release.
        epoch, view
            Two views of an epoch differ where the term has more than one thing to say.

        Raises
        ------
        InputError
            The term is not active in the release.
        """
        term = self._term(id)
        earlier = {self.compose(id, epoch, other) for other in range(view)}
        text = ""
        for attempt in range(_ATTEMPTS):
            number = int(id.partition(":")[2])
            rng = np.random.default_rng((self.seed, _TERM, number, epoch, view, attempt))
            text = self._draw(term, rng)
            if text not in earlier:
                break
        return text

    def views(self, id: str, epoch: int) -> tuple[str, str]:
        """Return two wordings of one term, for a contrast of text with text.

        They differ, unless a name is all that the release knows of the term.
        """
        return self.compose(id, epoch, 0), self.compose(id, epoch, 1)

    def _term(self, id: str) -> Term:
        term = self.release.terms.get(id)
        if term is None:
            raise InputError(
                f"{id} is {self.release.status(id)} in the release {self.release.name}".rstrip(),
                code="input.unknown_term",
                where=id,
                hint="compose texts of active terms only",
            )
        return term

    def _draw(self, term: Term, rng: np.random.Generator) -> str:
        options = self.options
        labels = [term.name]
        if options.synonyms and term.exact:
            labels.insert(0, _one(term.exact, rng))
        label = labels[0] if rng.random() < 0.5 else term.name
        target = self._target(term)
        first, defined = _one(sentences.leads(term, label, target), rng), False
        if options.definitions:
            first, defined = _with_definition(term, first, label, rng)
        found = [first, *self._more(term, label, target, rng, defined=defined)]
        return " ".join(
            sentence if sentence.endswith(".") else f"{sentence}." for sentence in found
        )

    def _more(
        self, term: Term, label: str, target: Term | None, rng: np.random.Generator, *,
        defined: bool,
    ) -> list[str]:  # fmt: skip
        """Draw sentences that follow, of different kinds, in any order."""
        options, kinds = self.options, []
        if options.definitions and not defined:
            kinds.append(sentences.definitions(term))
        if options.synonyms and (others := [s for s in (term.name, *term.exact) if s != label]):
            kinds.append(sentences.synonyms(term, label, _one(others, rng)))
        if options.parents and (above := self._named(term.is_a)):
            kinds.append(sentences.parents(term, label, _one(above, rng)))
        if options.wholes and (above := self._named(term.part_of)):
            kinds.append(sentences.wholes(term, label, _one(above, rng)))
        if options.regulates and options.definitions and target is not None:
            kinds.append(sentences.regulated(target))
        kinds = [kind for kind in kinds if kind]
        number = min(len(kinds), int(rng.integers(options.most + 1)))
        return [_one(kinds[place], rng) for place in rng.permutation(len(kinds))[:number]]

    def _target(self, term: Term) -> Term | None:
        if not self.options.regulates:
            return None
        named = self._named(
            (*term.positively_regulates, *term.negatively_regulates, *term.regulates)
        )
        return named[0] if named else None

    def _named(self, ids: tuple[str, ...]) -> list[Term]:
        terms = [self.release.terms[id] for id in ids]
        return [term for term in terms if not term.is_root]


def _with_definition(
    term: Term, first: str, label: str, rng: np.random.Generator
) -> tuple[str, bool]:
    """Let the definition follow in the same sentence, or stand for it, now and then."""
    drawn = rng.random()
    found: list[str] = []
    if drawn < _APPOSITION and first.endswith(label):
        found = sentences.appositions(term, first)
    elif drawn > 1 - _ACT:
        found = sentences.acts(term)
    return (_one(found, rng), True) if found else (first, False)


def _one(items: Sequence[Item], rng: np.random.Generator) -> Item:
    return items[int(rng.integers(len(items)))]
