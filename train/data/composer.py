"""Texts of proteins, put together from the tokens of their properties.

Legend: B rows, S text tokens (padded to the longest).
"""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from protclip_core.errors import ModelError
from train.data.pairs import TokenPart
from train.data.texts import GO_TAG, TAGS

__all__ = ["PROPERTY_TAGS", "TextComposer", "hash_texts"]

#: The properties that PDA tells apart: the four of the paper.
PROPERTY_TAGS = tuple(TAGS)


class TextComposer:
    """Makes the token ids of a text.

    Parameters
    ----------
    tokenizer
        Of the text encoder.
    max_tokens
        Special tokens counted; what is beyond is cut.
    tag_dropout, max_go_names
        See `DataConfig`.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        max_tokens: int,
        *,
        tag_dropout: float = 0.0,
        max_go_names: int = 4,
    ) -> None:
        self.max_tokens, self.max_go_names = max_tokens, max_go_names
        self._tag_dropout, self._tokenizer = tag_dropout, tokenizer

        def ids(text: str) -> list[int]:
            found: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
            return found

        self._tags = {tag: ids(f"{tag}:") for tag in (*TAGS, GO_TAG)}
        self._stop, self._semicolon = ids("."), ids(";")
        named = []
        for token in ("[CLS]", "[SEP]", "[PAD]"):
            id = tokenizer.token_to_id(token)
            if id is None:
                raise ModelError(
                    f"the tokenizer has no {token}",
                    code="model.bad_tokenizer",
                    hint="give a BERT tokenizer",
                )
            named.append(int(id))
        self._first, self._last, self.pad = named

    def text(self, text: str) -> list[int]:
        """Tokens of a text as it stands."""
        return self.framed(self.tokens(text))

    def tokens(self, text: str) -> list[int]:
        """Tokens of a text without the special ones, however many."""
        found: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return found

    def whole(self, parts: list[TokenPart]) -> list[int]:
        """Tokens of all properties in order; the first few GO names."""
        limit = self.max_go_names
        chosen = [(t, p[:limit] if t == GO_TAG else p) for t, p in parts]
        return self._join(chosen, tagged=True)

    def sample(
        self, parts: list[TokenPart], rng: np.random.Generator, accession: str = ""
    ) -> list[int]:
        """Tokens of a random selection of the properties, in their order.

        A function's text begins at a random sentence half of the time, and of the GO names a
        few are drawn, so that the text tower meets all of them in spite of the cut. Whose text
        it is does not matter here; see `train.data.protein_texts`.
        """
        if not parts:
            return self.whole(parts)
        count = int(rng.integers(1, len(parts) + 1))
        chosen = np.sort(rng.choice(len(parts), count, replace=False))
        taken = []
        for tag, pieces in (parts[place] for place in chosen):
            kept = pieces
            if tag == GO_TAG:
                take = min(len(pieces), int(rng.integers(1, self.max_go_names + 1)))
                kept = [pieces[i] for i in np.sort(rng.choice(len(pieces), take, replace=False))]
            else:
                kept = self._sentences(pieces, rng)
            taken.append((tag, kept))
        return self._join(taken, tagged=self._with_tags(rng))

    def views(
        self, parts: list[TokenPart], rng: np.random.Generator, accession: str = ""
    ) -> tuple[list[int], list[int]]:
        """Tokens of two samples of one protein's text, for a contrast of text with text."""
        return self.sample(parts, rng, accession), self.sample(parts, rng, accession)

    @staticmethod
    def _sentences(pieces: list[list[int]], rng: np.random.Generator) -> list[list[int]]:
        """Let a text begin at a random sentence half of the time."""
        several = len(pieces) > 1 and rng.random() < 0.5
        return pieces[int(rng.integers(len(pieces))) :] if several else pieces

    def _with_tags(self, rng: np.random.Generator) -> bool:
        return bool(rng.random() >= self._tag_dropout)

    def properties(self, parts: list[TokenPart]) -> list[list[int] | None]:
        """Tokens of each of `PROPERTY_TAGS` by itself, its tag before it; ``None`` for absent."""
        there = dict(parts)
        return [
            self._join([(tag, there[tag])], tagged=True) if tag in there else None
            for tag in PROPERTY_TAGS
        ]

    def pad_rows(self, rows: list[list[int]]) -> tuple[Tensor, Tensor]:
        """Ids and mask, each ``(B, S)`` int64."""
        longest = max(map(len, rows), default=0)
        ids = np.full((len(rows), longest), self.pad, dtype=np.int64)
        mask = np.zeros_like(ids)
        for place, row in enumerate(rows):
            ids[place, : len(row)] = row
            mask[place, : len(row)] = 1
        return torch.from_numpy(ids), torch.from_numpy(mask)

    def _join(self, parts: list[TokenPart], *, tagged: bool) -> list[int]:
        tokens: list[int] = []
        for tag, pieces in parts:
            tokens += self._tags[tag] if tagged else []
            between = self._semicolon if tag == GO_TAG else self._stop
            for number, piece in enumerate(pieces):
                tokens += [*(between if number else []), *piece]
            tokens += self._stop
        return self.framed(tokens)

    def framed(self, tokens: list[int]) -> list[int]:
        """Put the special tokens around a row, and cut what is beyond the limit."""
        return [self._first, *tokens[: self.max_tokens - 2], self._last]


def hash_texts(ids: Tensor, mask: Tensor) -> Tensor:
    """Return a number for each text that only identical texts share.

    Parameters
    ----------
    ids, mask
        Token ids and mask, shape ``(B, S)``, on the CPU. Padding does not count, so that texts
        of batches that are padded to different lengths compare.

    Returns
    -------
    Tensor
        Hashes of 64 bits, shape ``(B,)``, int64. Two of a million different texts share one with
        a probability of 3e-8.
    """
    digests = [
        hashlib.blake2b(row[real].long().numpy().tobytes(), digest_size=8).digest()
        for row, real in zip(ids, mask.bool())
    ]
    numbers = [int.from_bytes(digest, "little", signed=True) for digest in digests]
    return torch.tensor(numbers, dtype=torch.int64)
