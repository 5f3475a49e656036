"""Many proteins in one row of tokens, without padding.

Legend: B proteins in the batch, T tokens of all of them together (BOS and EOS counted),
L residues of one protein.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from protclip_core.encoders.alphabet import encode

__all__ = ["PackedTokens", "pack", "pack_sequences", "pool"]


@dataclass(frozen=True, eq=False)
class PackedTokens:
    """Token ids of ``B`` proteins, one behind the other.

    Attributes
    ----------
    tokens
        Ids, shape ``(T,)``, int64.
    lengths
        Tokens of each protein, BOS and EOS counted; their sum is ``T``.
    runs
        Neighbours of equal length as ``(start, count, length)``: such proteins form a dense
        ``(count, length)`` block, so that attention can take them in one call. Proteins sorted
        by length give the fewest runs.
    """

    tokens: Tensor
    lengths: tuple[int, ...]
    runs: tuple[tuple[int, int, int], ...] = field(init=False)

    def __post_init__(self) -> None:
        runs: list[tuple[int, int, int]] = []
        start = 0
        for length in self.lengths:
            if runs and runs[-1][2] == length:
                runs[-1] = (runs[-1][0], runs[-1][1] + 1, length)
            else:
                runs.append((start, 1, length))
            start += length
        if start != self.tokens.shape[0]:
            msg = f"lengths add up to {start}, but there are {self.tokens.shape[0]} tokens"
            raise ValueError(msg)
        object.__setattr__(self, "runs", tuple(runs))

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def starts(self) -> list[int]:
        """First token of each protein, shape ``(B,)``."""
        return np.concatenate([[0], np.cumsum(self.lengths[:-1], dtype=np.int64)]).tolist()

    def positions(self) -> Tensor:
        """Place of each token within its protein from 0, shape ``(T,)``, int64."""
        device = self.tokens.device
        parts = [
            torch.arange(length, device=device).repeat(count) for _, count, length in self.runs
        ]
        return torch.cat(parts) if parts else self.tokens.new_empty(0)

    def to(self, device: torch.device | str) -> PackedTokens:
        """Return the same batch on another device."""
        return PackedTokens(self.tokens.to(device, non_blocking=True), self.lengths)


def pack(token_rows: Iterable[np.ndarray]) -> PackedTokens:
    """Pack rows of token ids (each with its BOS and EOS) in the given order."""
    rows = list(token_rows)
    joined = np.concatenate(rows) if rows else np.empty(0, dtype=np.uint8)
    return PackedTokens(torch.from_numpy(joined.astype(np.int64)), tuple(len(r) for r in rows))


def pack_sequences(sequences: Sequence[str]) -> PackedTokens:
    """Encode and pack residue sequences in the given order.

    Examples
    --------
    >>> batch = pack_sequences(["MK", "AC", "M"])
    >>> batch.lengths, batch.runs
    ((4, 4, 3), ((0, 2, 4), (8, 1, 3)))
    """
    return pack(encode(sequence) for sequence in sequences)


def pool(hidden: Tensor, batch: PackedTokens, pooling: str) -> Tensor:
    """Average the token vectors of each protein.

    Parameters
    ----------
    hidden
        Token vectors, shape ``(T, D)``, any float type.
    batch
        The batch they belong to.
    pooling
        ``"residues"``: BOS and EOS left out; ``"tokens"``: both counted.

    Returns
    -------
    Tensor
        Mean vectors, shape ``(B, D)``, float32. A protein without residues gives NaN with
        ``"residues"``; the readers refuse such records.
    """
    skip = 1 if pooling == "residues" else 0
    means = []
    # One split for all runs, since the gradient of a slice fills a tensor of the whole size.
    parts = hidden.split([count * length for _, count, length in batch.runs])
    for part, (_, count, length) in zip(parts, batch.runs):
        block = part.unflatten(0, (count, length))
        means.append(block[:, skip : length - skip].float().mean(dim=1))
    return torch.cat(means) if means else hidden.new_empty(0, hidden.shape[-1])
