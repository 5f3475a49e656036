"""Figures of a model on pairs that it was not trained on.

Legend: N pairs, P joint width, C GO terms.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from protclip_core.measure.fmax import fmax
from train.data.assemble import full_batch
from train.data.batch import Batch
from train.data.composer import TextComposer
from train.data.go_bank import GoBank
from train.data.go_terms import ASPECTS, GoTerms
from train.data.masking import IGNORED, mask_residues
from train.data.pairs import PairSource
from train.data.structure_views import StructureViews
from train.loop.ranks import Ranks
from train.loop.trainee import Trainee

__all__ = ["EvaluationSet", "Modality", "aspect_fmax", "evaluate", "recall_at", "retrieval"]

_TOKENS_OF_A_BATCH = 12_000
#: The masked forward pass is a second one; a part of the proteins says enough.
_MASKED_SHARE = 0.4


@dataclass(frozen=True, eq=False)
class EvaluationSet:
    """A fixed random sample of a split, cut into batches of similar length.

    Attributes
    ----------
    batches
        Pairs.
    annotations
        Propagated GO terms of each pair, in the order of the batches.
    """

    batches: tuple[Batch, ...]
    annotations: tuple[np.ndarray, ...]

    @classmethod
    def draw(
        cls,
        source: PairSource,
        texts: TextComposer,
        pairs: int,
        max_residues: int,
        views: StructureViews | None = None,
    ) -> EvaluationSet:
        """Take ``pairs`` proteins (all, where there are fewer) with a fixed seed."""
        rows = np.random.default_rng(0).permutation(len(source.lengths))[:pairs].tolist()
        rows.sort(key=lambda row: int(source.lengths[row]))
        groups: list[list[int]] = [[]]
        tokens = 0
        for row in rows:
            groups[-1].append(row)
            tokens += min(int(source.lengths[row]), max_residues)
            if tokens >= _TOKENS_OF_A_BATCH:
                groups.append([])
                tokens = 0
        batches = tuple(
            full_batch(source, own, texts, max_residues, views) for own in groups if own
        )
        return cls(batches, tuple(source.go(row) for own in groups for row in own))


@torch.no_grad()
def evaluate(
    model: Trainee,
    pairs: EvaluationSet,
    ranks: Ranks,
    *,
    mask_share: float = 0.15,
    bank: GoBank | None = None,
    every: GoBank | None = None,
) -> dict[str, float]:
    """Measure retrieval in both directions, masked-LM perplexity, and Fmax of GO by text.

    All ranks call it: each encodes its part of the pairs.

    Parameters
    ----------
    model
        The trainee.
    pairs
        What to measure on.
    ranks
        Those who share the work.
    mask_share
        Of residues, for the perplexity.
    bank
        GO terms to annotate with: each protein is compared with the text of each term, and a
        term takes the greatest of its own similarity and its descendants'.
    every
        Terms to score with their prior, those of the bank among them; default: the bank's.

    Returns
    -------
    dict
        ``p2t_r1``, ``p2t_r10`` (protein to text), ``t2p_r1``, ``t2p_r10``: shares in [0, 1];
        ``mlm_perplexity`` (33 where nothing is learnt), where MLM is on; ``fmax_mf``,
        ``fmax_bp``, ``fmax_cc`` where there is a bank, by cosines; ``fmax_prior_mf`` and so on
        where GO is trained with a prior, by ``scale * cosine + log prior``; ``pairs``. With
        structures, ``p2s_r1`` and so on among the proteins that have both of two modalities, for
        s (structure) in both directions with p and t, and ``structures``.
    """
    number = len(pairs.batches)
    found: dict[int, _Measured] = {}
    # All ranks make the same number of passes, as sharded ones must; what is surplus is redone.
    for start in range(0, number, ranks.world):
        place = start + ranks.rank
        result = _measure(model, pairs.batches[place % number], place % number, mask_share)
        if place < number:
            found[place] = result
    gathered: dict[int, _Measured] = {}
    for part in ranks.objects(found):
        gathered |= part
    results = [gathered[place] for place in range(number)]
    proteins = torch.cat([result.proteins for result in results])
    figures: dict[str, float] = {"pairs": len(proteins)}
    figures |= retrieval(_by_modality(results, pairs), _keys(pairs))
    if "mlm" in model.objectives:
        count = sum(result.masked for result in results)
        total = sum(result.loss * result.masked for result in results)
        figures["mlm_perplexity"] = math.exp(min(total / max(count, 1), 50.0))
    if bank is not None:
        figures |= _annotation(model, proteins, pairs, bank, every or bank)
    return {name: value for name, value in figures.items() if not math.isnan(value)}


def _annotation(
    model: Trainee, proteins: Tensor, pairs: EvaluationSet, bank: GoBank, every: GoBank
) -> dict[str, float]:
    """Fmax of each aspect, by cosines, and with the prior where there is one."""
    kept = len(model.every_vectors) == len(every.columns)
    vectors = model.every_vectors if kept else model.unit_bank(every)
    cosines = (proteins @ vectors.cpu().T).numpy()
    inside = np.searchsorted(every.columns, bank.columns)
    ways = [("fmax", cosines[:, inside], bank.columns)]
    go = model.go
    if go is not None and go.prior:
        odds = go.scale * cosines + every.log_prior(go.config.go_min_count)
        ways.append(("fmax_prior", odds, every.columns))
    figures: dict[str, float] = {}
    for way, scores, columns in ways:
        found = bank.terms.propagate_scores(scores, columns)
        by_aspect = aspect_fmax(found, columns, list(pairs.annotations), bank.terms)
        figures |= {f"{way}_{aspect.lower()}": value for aspect, value in by_aspect.items()}
    return figures


@dataclass(frozen=True, eq=False)
class _Measured:
    """Unit vectors of a batch, its MLM loss and the number of masked residues."""

    proteins: Tensor
    texts: Tensor
    structures: Tensor | None
    loss: float
    masked: int


def _measure(model: Trainee, batch: Batch, seed: int, mask_share: float) -> _Measured:
    device = model.towers.logit_scale.device
    moved = batch.to(device)
    proteins, texts = model.embed(moved)
    structures = None
    if batch.structures is not None:
        structures = model.embed_structures(moved).cpu()
    loss, count = 0.0, 0
    if "mlm" in model.objectives:
        generator = torch.Generator().manual_seed(seed)
        masked, targets = mask_residues(
            batch.proteins, mask_share, generator, proteins=_MASKED_SHARE
        )
        count = int((targets != IGNORED).sum())
        loss = float(model.restore(masked.to(device), targets.to(device)))
    return _Measured(proteins.cpu(), texts.cpu(), structures, loss, count)


def _by_modality(results: list[_Measured], pairs: EvaluationSet) -> dict[str, Modality]:
    """Return the vectors of each modality, and which pairs have it."""
    sizes = [len(result.proteins) for result in results]
    starts = np.cumsum([0, *sizes]).tolist()
    every = torch.arange(starts[-1])
    texts = [
        torch.ones(size, dtype=torch.bool) if batch.has_text is None else batch.has_text
        for size, batch in zip(sizes, pairs.batches)
    ]
    found = {
        "p": Modality(every, torch.cat([result.proteins for result in results])),
        "t": Modality(every, torch.cat([result.texts for result in results])).only(
            torch.cat(texts)
        ),
    }
    rows, vectors = [], []
    for start, result, batch in zip(starts, results, pairs.batches):
        if result.structures is not None and batch.structure_rows is not None:
            rows.append(start + batch.structure_rows)
            vectors.append(result.structures)
    if rows and sum(map(len, rows)):
        found["s"] = Modality(torch.cat(rows), torch.cat(vectors))
    return found


def _keys(pairs: EvaluationSet) -> Tensor:
    return torch.cat([batch.text_keys for batch in pairs.batches])


@dataclass(frozen=True, eq=False)
class Modality:
    """Unit vectors ``(M, P)`` of those pairs that have a modality, and which these are."""

    rows: Tensor
    vectors: Tensor

    def only(self, has: Tensor) -> Modality:
        """Leave out the rows where ``has`` is false."""
        return Modality(self.rows[has], self.vectors[has])


def retrieval(found: Mapping[str, Modality], text_keys: Tensor) -> dict[str, float]:
    """Return R@1 and R@10 of each modality to each other, among the pairs that have both.

    Parameters
    ----------
    found
        Modalities by their letter: p (protein), t (text), s (structure).
    text_keys
        Of all pairs, see `hash_texts`: equal texts are not told apart.

    Returns
    -------
    dict
        ``p2t_r1``, ``p2t_r10`` and so on; ``structures``, how many pairs have one, if any has.
    """
    figures: dict[str, float] = {}
    letters = list(found)
    for one, other in ((a, b) for a in letters for b in letters if a != b):
        both = np.intersect1d(found[one].rows.numpy(), found[other].rows.numpy())
        if not len(both):
            continue
        rows = torch.from_numpy(both)
        queries, targets = (
            found[side].vectors[torch.searchsorted(found[side].rows, rows)] for side in (one, other)
        )
        keys = text_keys[rows]
        same = keys.unsqueeze(1) == keys if "t" in (one, other) else torch.eye(len(rows)).bool()
        for k in (1, 10):
            figures[f"{one}2{other}_r{k}"] = recall_at(k, queries @ targets.T, same)
    if "s" in found:
        figures["structures"] = len(found["s"].rows)
    return figures


def recall_at(k: int, similarity: Tensor, same_text: Tensor) -> float:
    """Share of the queries whose own partner is among the first ``k`` hits.

    Parameters
    ----------
    k
        At least 1.
    similarity
        Queries by partners, ``(N, N)``; the right partner stands on the diagonal.
    same_text
        ``(N, N)`` bool, true where the texts of ``i`` and ``j`` are identical: such a hit does
        not count as ahead of the right one. A tie with any other counts as ahead.
    """
    own = similarity.diagonal().unsqueeze(1)
    itself = torch.eye(len(similarity), dtype=torch.bool)
    ahead = (similarity >= own) & ~same_text & ~itself
    return int((ahead.sum(dim=1) < k).sum()) / len(similarity)


def aspect_fmax(
    scores: np.ndarray, columns: np.ndarray, annotations: list[np.ndarray], terms: GoTerms
) -> dict[str, float]:
    """Return Fmax of each aspect, over its terms without the root.

    Parameters
    ----------
    scores
        Shape ``(N, C)``, propagated.
    columns
        Terms of the columns, ``(C,)``.
    annotations
        True terms of each protein, propagated, without roots. Those that are no column count as
        not found.

    Returns
    -------
    dict
        ``MF``, ``BP``, ``CC`` to Fmax over the proteins that are annotated there; NaN for none.
    """
    found = {}
    for aspect, name in enumerate(ASPECTS):
        own = [terms_[terms.aspects[terms_] == aspect] for terms_ in annotations]
        rows = [row for row, terms_ in enumerate(own) if len(terms_)]
        inside = columns[terms.aspects[columns] == aspect]
        beyond = np.setdiff1d(np.concatenate([own[row] for row in rows] or [inside]), inside)
        every = np.concatenate([inside, beyond])
        place = np.full(len(terms), -1)
        place[every] = np.arange(len(every))
        truth = np.zeros((len(rows), len(every)), dtype=bool)
        for number, row in enumerate(rows):
            truth[number, place[own[row]]] = True
        table = np.full(truth.shape, -np.inf, dtype=np.float32)
        table[:, : len(inside)] = scores[rows][:, terms.aspects[columns] == aspect]
        found[name] = fmax(table, truth) if rows else float("nan")
    return found
