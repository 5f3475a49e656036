"""The GO terms that proteins are compared with: which, what they say, and their text vectors.

Legend: N terms of the bank, M texts of them, S text tokens (padded), D width of the text encoder,
P joint width.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from protclip_core.errors import InputError
from train.data.composer import TextComposer
from train.data.go_terms import GoTerms
from train.data.text_variants import length_batches
from train.protanno.augment.wordings import Wordings

__all__ = ["GoBank", "log_odds", "make_bank", "vectors_of_terms"]


#: Added to a count: half a protein; for terms that are not trained on, a little less.
_ADDED, _ADDED_BEYOND = 0.5, 0.3
#: No term is certain, though all proteins of a small set may have it.
_MOST = 0.999
#: Wordings of a term in the bank.
_VIEWS = ("first wording", "second wording")


@dataclass(frozen=True, eq=False)
class GoBank:
    """Terms with the tokens of their texts.

    Attributes
    ----------
    terms
        The table of GO.
    columns
        Numbers of the terms in it, rising, ``(N,)``.
    batches
        Texts that go through the text encoder together: which, with ids and mask ``(., S)``.
    counts
        Training proteins of each term, propagated, ``(N,)``.
    annotated
        Training proteins that have any term.
    owner
        Term of each text, ``(M,)``, where a term may have two; ``None``: one each, in order.
    """

    terms: GoTerms
    columns: np.ndarray
    batches: tuple[tuple[Tensor, Tensor, Tensor], ...]
    counts: np.ndarray
    annotated: int
    owner: np.ndarray | None = None

    @property
    def aspects(self) -> np.ndarray:
        """Aspect of each term, ``(N,)``."""
        found: np.ndarray = self.terms.aspects[self.columns]
        return found

    def log_prior(self, least: int = 0) -> np.ndarray:
        """Return the log odds of each term, ``(N,)``; with ``least`` proteins it is trained on."""
        return log_odds(self.counts, self.annotated, trained=self.counts >= least)


def make_bank(
    terms: GoTerms,
    counts: np.ndarray,
    texts: TextComposer,
    *,
    least: int,
    kind: str,
    annotated: int = 0,
    wordings: Wordings | None = None,
) -> GoBank:
    """Take the terms that annotate enough proteins.

    Parameters
    ----------
    terms
        The table of GO.
    counts
        Proteins of each term, propagated.
    texts
        Makes tokens of them.
    least
        Proteins that a term must have.
    kind
        ``"name"``, ``"definition"``, ``"both"``: two texts where a term has a definition, or
        ``"wordings"``: its name and two of its wordings.
    annotated
        Training proteins that have any term.
    wordings
        Of the terms.

    Raises
    ------
    InputError
        No term has that many.
    """
    columns = np.flatnonzero(counts >= least)
    if not len(columns):
        raise InputError(
            f"no GO term annotates {least} training proteins",
            code="input.too_few_proteins",
            hint="lower [objectives] go_min_count, or give pairs with GO terms",
        )
    several = {"both": ("name", "definition"), "wordings": ("name", *_VIEWS)}
    kinds = several.get(kind, (kind,))
    owner = [
        (number, own)
        for own in kinds
        for number, term in enumerate(columns)
        if own != "definition" or len(kinds) == 1 or terms.definitions[term]
    ]

    def text(term: int, own: str) -> str:
        if wordings is not None and own in _VIEWS:
            return wordings.text(term, 0, _VIEWS.index(own))
        return terms.text(term, "name" if own in _VIEWS else own)

    rows = [texts.text(text(int(columns[number]), own)) for number, own in owner]
    return GoBank(
        terms,
        columns,
        tuple(length_batches(rows, texts)),
        counts[columns],
        annotated,
        np.array([number for number, _ in owner]) if kind in several else None,
    )


def vectors_of_terms(texts: Tensor, owner: Tensor | None, number: int) -> Tensor:
    """From projected texts to unit vectors of terms.

    Parameters
    ----------
    texts
        Shape ``(M, P)``.
    owner
        Term of each text, ``(M,)``; ``None``: one each.
    number
        N.

    Returns
    -------
    Tensor
        Shape ``(N, P)``; of a term with several texts the sum of their unit vectors, normalised.
    """
    unit = F.normalize(texts, dim=-1)
    if owner is None:
        return unit
    return F.normalize(unit.new_zeros(number, unit.shape[1]).index_add(0, owner, unit), dim=-1)


def log_odds(
    counts: np.ndarray, annotated: int, *, trained: np.ndarray | None = None
) -> np.ndarray:
    """Return the logarithm of the odds that a protein has a term, nothing else being known.

    Parameters
    ----------
    counts
        Training proteins of each term, ``(N,)``.
    annotated
        Training proteins that have any term.
    trained
        ``(N,)`` bool, whether a term is in the bank; default: all are.

    Returns
    -------
    numpy.ndarray
        Shape ``(N,)``, float32: of ``(count + 0.5) / annotated``, and of ``(count + 0.3) /
        annotated`` for a term that is not in the bank; a share is 0.999 at most.
    """
    added = _ADDED if trained is None else np.where(trained, _ADDED, _ADDED_BEYOND)
    share = np.minimum((counts + added) / max(annotated, 1), _MOST)
    found: np.ndarray = np.log(share / (1 - share)).astype(np.float32)
    return found
