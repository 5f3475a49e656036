"""The GO terms that proteins are compared with: which, what they say, and their text vectors.

Legend: N terms of the bank, S text tokens (padded), D width of the text encoder.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from protclip_core.errors import InputError
from train.composer import TextComposer
from train.go_terms import GoTerms
from train.losses import Trainee

__all__ = ["GoBank", "encode_bank", "make_bank"]

_TOKENS_OF_A_BATCH = 8_192


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
        Rows of the bank that go through the text encoder together, with ids and mask ``(., S)``.
    """

    terms: GoTerms
    columns: np.ndarray
    batches: tuple[tuple[Tensor, Tensor, Tensor], ...]

    @property
    def aspects(self) -> np.ndarray:
        """Aspect of each term, ``(N,)``."""
        found: np.ndarray = self.terms.aspects[self.columns]
        return found


def make_bank(
    terms: GoTerms, counts: np.ndarray, texts: TextComposer, *, least: int, kind: str
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
        ``"name"`` or ``"definition"``.

    Raises
    ------
    InputError
        No term has so many.
    """
    columns = np.flatnonzero(counts >= least)
    if not len(columns):
        raise InputError(
            f"no GO term annotates {least} training proteins",
            hint="lower [objectives] go_min_count, or give pairs with GO terms",
        )
    rows = [texts.text(terms.text(int(term), kind)) for term in columns]
    order = sorted(range(len(rows)), key=lambda row: len(rows[row]))
    batches, start = [], 0
    while start < len(order):
        stop = start + 1
        while (
            stop < len(order) and (stop + 1 - start) * len(rows[order[stop]]) <= _TOKENS_OF_A_BATCH
        ):
            stop += 1
        ids, mask = texts.pad_rows([rows[row] for row in order[start:stop]])
        batches.append((torch.tensor(order[start:stop]), ids, mask))
        start = stop
    return GoBank(terms, columns, tuple(batches))


def encode_bank(model: Trainee, bank: GoBank) -> Tensor:
    """Return the pooled text vectors of the bank, ``(N, D)``, without gradient."""
    device = model.towers.logit_scale.device
    parts = [
        model("encode_texts", ids.to(device), mask.to(device)) for _, ids, mask in bank.batches
    ]
    rows = torch.cat([rows for rows, _, _ in bank.batches]).to(device)
    vectors = torch.cat(parts)
    return torch.empty_like(vectors).index_copy(0, rows, vectors)
