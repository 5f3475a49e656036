"""Figures of a text tower: common terms, and proteins of the held-out split."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from train.data.composer import TextComposer
from train.data.pairs import PairSource
from train.data.term_space import protein_targets
from train.data.text_views import TextViews
from train.data.texts import GO_TAG
from train.towers.text_tower import TextTower, encode_rows

__all__ = ["TextEvaluation"]

_EVALUATION = 9
_AT_ONCE = 256


class TextEvaluation:
    """A fixed random sample of terms and proteins.

    Parameters
    ----------
    views
        The corpus.
    pairs
        The held-out split.
    plain
        Composer of texts without the names of GO terms: such a text says where they lie, but
        without quoting them.
    number, seed
        Terms and proteins at most; seed of the run.
    """

    def __init__(
        self, views: TextViews, pairs: PairSource, plain: TextComposer, number: int, seed: int
    ) -> None:
        rng = np.random.default_rng((seed, _EVALUATION))
        self.views, self.pad = views, plain.pad
        self._terms = np.sort(rng.permutation(views.common)[:number])
        annotated = [row for row in range(len(pairs.lengths)) if len(pairs.go(row))]
        rows = np.sort(rng.permutation(annotated)[:number]).astype(int).tolist()
        told = [(row, [part for part in pairs.parts(row) if part[0] != GO_TAG]) for row in rows]
        told = [(row, parts) for row, parts in told if parts]
        self._proteins = [plain.whole(parts) for _, parts in told]
        own = [pairs.go(row) for row, _ in told]
        self._targets = torch.from_numpy(protein_targets(views.space, own, views.specificity))

    @torch.no_grad()
    def __call__(self, tower: TextTower) -> dict[str, float]:
        """Cosine to the space, of terms and of held-out proteins; a name's own definition first."""
        tower.eval()
        views, terms = self.views, self._terms.tolist()

        def vectors(rows: list[list[int]]) -> Tensor:
            starts = range(0, len(rows), _AT_ONCE)
            return torch.cat(
                [encode_rows(tower, rows[s : s + _AT_ONCE], self.pad)[0] for s in starts]
            )

        names = vectors([views.name(term) for term in terms])
        both = vectors([views.both(term) for term in terms])
        aims = torch.from_numpy(views.space[self._terms])
        joined = F.normalize(names + both, dim=-1)
        found = {
            "cosine_name": float((names * aims).sum(dim=1).mean()),
            "cosine_both": float((joined * aims).sum(dim=1).mean()),
        }
        defined = [place for place, term in enumerate(terms) if views.definitions[term]]
        if defined:
            told = vectors([views.texts.framed(views.definitions[terms[p]]) for p in defined])
            first = (names[defined] @ told.T).argmax(dim=1)
            found["definition_r1"] = float((first == torch.arange(len(defined))).float().mean())
        if self._proteins:
            proteins = vectors(self._proteins)
            found["cosine_proteins"] = float((proteins * self._targets).sum(dim=1).mean())
        return found
