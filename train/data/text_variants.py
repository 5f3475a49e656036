"""Vectors of a protein's texts, computed once by a frozen text tower: several for each protein.

Legend: N pairs, K variants of each text, S text tokens (padded), P joint width.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from train.data.cached_tables import keep, open_kept
from train.data.composer import TextComposer, hash_texts
from train.data.pairs import PairSource

__all__ = ["TextVariants", "length_batches", "open_variants", "write_variants"]

_log = logging.getLogger(__name__)
VECTORS, KEYS = "text_vectors.npy", "text_keys.npy"
#: Tokens that go through the text encoder together.
_TOKENS_OF_A_BATCH = 8_192
#: Texts that are sorted by length together.
_TEXTS_OF_A_BLOCK = 16_384
#: First word of the seed of a variant; those of `train.data.batches` are below.
_VARIANT = 11


class TextVariants:
    """The vectors, and numbers that tell which texts are the same.

    Parameters
    ----------
    vectors
        Unit vectors, ``(N, K, P)`` float16, or the encoder's own.
    keys
        See `hash_texts`, ``(N, K)`` int64.
    pooled
        Whether they are the encoder's own, because the projection learns.
    """

    def __init__(self, vectors: np.ndarray, keys: np.ndarray, *, pooled: bool = False) -> None:
        self.vectors, self.keys, self.pooled = vectors, keys, pooled

    def choose(self, rng: np.random.Generator, *, other: int | None = None) -> int:
        """Draw one of the variants; with ``other``, one that is not it, where there are several."""
        number = self.keys.shape[1]
        if other is None or number == 1:
            return int(rng.integers(number))
        return (other + 1 + int(rng.integers(number - 1))) % number


def open_variants(run_dir: Path, facts: Mapping[str, Any]) -> TextVariants | None:
    """Open what the folder of a run keeps; ``None`` where nothing of these facts is there."""
    vectors, keys = (open_kept(run_dir / name, facts) for name in (VECTORS, KEYS))
    if vectors is None or keys is None:
        return None
    return TextVariants(vectors, np.array(keys), pooled=bool(facts.get("pooled")))


def write_variants(
    run_dir: Path,
    facts: Mapping[str, Any],
    source: PairSource,
    texts: TextComposer,
    encode: Callable[[Tensor, Tensor], Tensor],
    *,
    number: int,
    width: int,
    seed: int,
    whole: bool = False,
) -> None:
    """Compose the texts, encode them, and keep the vectors.

    Parameters
    ----------
    run_dir
        Folder of the run.
    facts
        What the vectors depend on.
    source, texts
        The pairs, and what makes texts of them.
    encode
        From ids and mask ``(., S)`` to vectors ``(., P)``.
    number
        K: the first variant is the whole text, the others are sampled, each with a generator of
        the seed, the row and the variant.
    width
        P.
    seed
        Of the run.
    whole
        All variants are the whole text.

    Raises
    ------
    ResourceError, UsageError
        The files cannot be written.
    """
    pairs = len(source.lengths)
    rows = max(1, _TEXTS_OF_A_BLOCK // number)
    with (
        keep(run_dir / KEYS, facts, (pairs, number), np.int64) as add_keys,
        keep(run_dir / VECTORS, facts, (pairs, number, width), np.float16) as add_vectors,
    ):
        for first in range(0, pairs, rows):
            last = min(first + rows, pairs)
            found = []
            for row in range(first, last):
                parts, accession = source.parts(row), source.accession(row)
                found.append(texts.whole(parts))
                for variant in range(1, number):
                    rng = np.random.default_rng((seed, _VARIANT, row, variant))
                    own = texts.whole(parts) if whole else texts.sample(parts, rng, accession)
                    found.append(own)
            vectors = np.empty((len(found), width), dtype=np.float16)
            keys = np.empty(len(found), dtype=np.int64)
            for batch, ids, mask in length_batches(found, texts):
                # As an array: numpy takes a tensor of one element for a number.
                places = batch.numpy()
                vectors[places] = encode(ids, mask).cpu().numpy()
                keys[places] = hash_texts(ids, mask).numpy()
            add_vectors(vectors)
            add_keys(keys)
            _log.info("texts of %d of %d pairs are encoded", last, pairs)


def length_batches(
    rows: list[list[int]], texts: TextComposer
) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Put texts of similar length together, about 8,000 tokens in a batch.

    Returns
    -------
    list of tuple
        Which rows they are, and their ids and mask ``(., S)``.
    """
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
    return batches
