"""Pairs of proteins and texts: reading, the plan of an epoch, and batches.

Everything random is drawn from a generator that is derived from the seed, the epoch and the
place in it, never carried along: a resumed run sees the batch that it would have seen anyway,
with nothing to store but those numbers.

Legend: B pairs of a batch, S text tokens (padded to the longest of the batch).
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from protclip_core.errors import InputError
from protclip_core.models.alphabet import BOS, EOS, encode
from protclip_core.models.packing import PackedTokens, pack
from train.config import DataConfig
from train.texts import GO_TAG, SPECIAL_TOKENS, TAGS, Part, parts_of

__all__ = ["Batch", "PairData", "Protein", "TextEncoder", "full_batch", "read_proteins"]

# First words of the seeds, so that no two uses share a stream of random numbers.
_PLAN, _BATCH, _MASK = 1, 2, 3
# Proteins of a batch are cropped to the shortest, which may be this much shorter than any.
_STRETCH = 1.25


@dataclass(frozen=True, eq=False)
class Protein:
    """One entry: residues as token ids without BOS and EOS, ``(L,)`` uint8, and its texts."""

    accession: str
    residues: np.ndarray
    parts: tuple[Part, ...]


@dataclass(frozen=True, eq=False)
class Batch:
    """``B`` pairs.

    Attributes
    ----------
    proteins
        Packed protein tokens.
    text_ids, text_mask
        Shape ``(B, S)``, int64; the mask is 1 at real tokens.
    same_text
        Shape ``(B, B)``, bool: texts ``i`` and ``j`` have the same tokens.
    """

    proteins: PackedTokens
    text_ids: Tensor
    text_mask: Tensor
    same_text: Tensor


def read_proteins(path: str | Path, split: str, go_names: Mapping[str, str]) -> list[Protein]:
    """Read the entries of one split that have a text.

    Parameters
    ----------
    path
        JSON Lines, gzipped; an object has ``accession``, ``sequence``, ``split`` and optionally
        ``name``, ``function``, ``location``, ``similarity`` and ``go``.
    split
        Only entries whose ``split`` is exactly this.
    go_names
        Names of the GO terms; empty for no GO texts.

    Raises
    ------
    InputError
        A line that cannot be read, by its number, or a split without entries.
    """
    found = []
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            try:
                entry = json.loads(line)
                if entry["split"] != split:
                    continue
                residues = encode(entry["sequence"])[1:-1].copy()
                accession = str(entry["accession"])
            except (ValueError, KeyError, TypeError) as error:
                raise InputError(f"cannot be read ({error!r})", where=f"{path}:{number}") from error
            parts = parts_of(entry, go_names)
            if parts and len(residues):
                found.append(Protein(accession, residues, parts))
    if not found:
        raise InputError(f"no entry of split {split!r} has a text", where=str(path))
    return found


class TextEncoder:
    """Token ids of proteins' texts, computed once and put together anew at every step.

    Parameters
    ----------
    tokenizer
        The trained tokenizer.
    proteins
        Proteins; row ``i`` of the methods is protein ``i``.
    config
        Lengths and shares.
    """

    def __init__(
        self, tokenizer: Tokenizer, proteins: Sequence[Protein], config: DataConfig
    ) -> None:
        self.config = config

        def ids(texts: list[str]) -> list[list[int]]:
            return [found.ids for found in tokenizer.encode_batch(texts, add_special_tokens=False)]

        self._tags = {tag: ids([f"{tag}:"])[0] for tag in (*TAGS, GO_TAG)}
        self._stop, self._semicolon = ids(["."])[0], ids([";"])[0]
        self._first, self._last, self.pad = map(SPECIAL_TOKENS.index, ("[CLS]", "[SEP]", "[PAD]"))
        flat = ids([piece for p in proteins for part in p.parts for piece in part.pieces])
        pieces = iter(flat)
        self._parts = [
            [(part.tag, [next(pieces) for _ in part.pieces]) for part in p.parts] for p in proteins
        ]

    def whole(self, index: int) -> list[int]:
        """Tokens of all properties in order, cut at the limit; the first few GO names."""
        limit = self.config.max_go_names
        parts = [(t, p[:limit] if t == GO_TAG else p) for t, p in self._parts[index]]
        return self._join(parts, tagged=True)

    def sample(self, index: int, rng: np.random.Generator) -> list[int]:
        """Tokens of a random selection of the properties, in their order.

        A function's text begins at a random sentence half of the time, and of the GO names a
        few are drawn, so that the text tower meets all of them in spite of the cut.
        """
        available = self._parts[index]
        count = int(rng.integers(1, len(available) + 1))
        chosen = np.sort(rng.choice(len(available), count, replace=False))
        parts = []
        for tag, pieces in (available[place] for place in chosen):
            kept = pieces
            if tag == GO_TAG:
                take = min(len(pieces), int(rng.integers(1, self.config.max_go_names + 1)))
                kept = [pieces[i] for i in np.sort(rng.choice(len(pieces), take, replace=False))]
            elif len(pieces) > 1 and rng.random() < 0.5:
                kept = pieces[int(rng.integers(len(pieces))) :]
            parts.append((tag, kept))
        return self._join(parts, tagged=bool(rng.random() >= self.config.tag_dropout))

    def pad_rows(self, rows: list[list[int]]) -> tuple[Tensor, Tensor]:
        """Ids and mask, each ``(B, S)`` int64."""
        ids = torch.full((len(rows), max(map(len, rows))), self.pad)
        mask = torch.zeros_like(ids)
        for place, row in enumerate(rows):
            ids[place, : len(row)] = torch.tensor(row)
            mask[place, : len(row)] = 1
        return ids, mask

    def _join(self, parts: list[tuple[str, list[list[int]]]], *, tagged: bool) -> list[int]:
        tokens: list[int] = []
        for tag, pieces in parts:
            tokens += self._tags[tag] if tagged else []
            between = self._semicolon if tag == GO_TAG else self._stop
            for number, piece in enumerate(pieces):
                tokens += [*(between if number else []), *piece]
            tokens += self._stop
        return [self._first, *tokens[: self.config.max_text_tokens - 2], self._last]


class PairData:
    """Batches of a split, each a function of the seed and of its place in the run.

    Proteins of one batch are cropped to the same length, so that their attention is one dense
    product: each draws a crop length, and falls to the largest that it can fill.
    """

    def __init__(
        self, proteins: Sequence[Protein], texts: TextEncoder, config: DataConfig, seed: int
    ) -> None:
        self.proteins, self.texts, self.config, self.seed = proteins, texts, config, seed
        self._lengths = np.array([len(p.residues) for p in proteins])

    def plan(self, epoch: int) -> list[tuple[int, np.ndarray]]:
        """Crop length and rows of the proteins of each batch of an epoch, in training order.

        Every protein comes once, except for one that would be alone in its batch: a contrast
        needs two.
        """
        rng = np.random.default_rng((self.seed, _PLAN, epoch))
        wanted = rng.choice(self.config.crops, size=len(self.proteins), p=self.config.crop_shares)
        length = np.minimum(self._lengths, wanted)
        order = rng.permutation(len(self.proteins))
        # By length; the stable sort leaves those of equal length shuffled.
        order = order[np.argsort(length[order], kind="stable")]
        batches, start = [], 0
        while start < len(order):
            crop = int(length[order[start]])
            most = min(self.config.max_pairs, self.config.token_budget // (crop + 2))
            rows = order[start : start + max(2, most)]
            rows = rows[length[rows] <= _STRETCH * crop]
            if len(rows) > 1:
                batches.append((crop, rows))
            start += len(rows)
        return [batches[place] for place in rng.permutation(len(batches))]

    def batch(self, crop: int, rows: np.ndarray, epoch: int, position: int) -> Batch:
        """Crop, pack and put together the pairs of one batch of the plan."""
        rng = np.random.default_rng((self.seed, _BATCH, epoch, position))
        windows = [self._window(self.proteins[row].residues, crop, rng) for row in rows]
        text_rows = [self.texts.sample(int(row), rng) for row in rows]
        return _make_batch(windows, text_rows, self.texts)

    def mask_generator(self, epoch: int, position: int) -> torch.Generator:
        """Random numbers for masking the residues of one batch."""
        seed = np.random.SeedSequence((self.seed, _MASK, epoch, position)).generate_state(1)
        return torch.Generator().manual_seed(int(seed[0]))

    def _window(self, residues: np.ndarray, crop: int, rng: np.random.Generator) -> np.ndarray:
        start = int(rng.integers(len(residues) - crop + 1))
        if rng.random() < self.config.n_terminal_share:
            start = 0
        return residues[start : start + crop]


def full_batch(
    proteins: Sequence[Protein], rows: Sequence[int], texts: TextEncoder, max_residues: int
) -> Batch:
    """Pairs for evaluation: whole texts, and proteins from residue 1 to the limit."""
    windows = [proteins[row].residues[:max_residues] for row in rows]
    return _make_batch(windows, [texts.whole(row) for row in rows], texts)


def _make_batch(windows: list[np.ndarray], text_rows: list[list[int]], texts: TextEncoder) -> Batch:
    packed = pack(np.concatenate(([BOS], w, [EOS])) for w in windows)
    ids, mask = texts.pad_rows(text_rows)
    same = (ids.unsqueeze(0) == ids.unsqueeze(1)).all(dim=-1)
    return Batch(packed, ids, mask, same)
