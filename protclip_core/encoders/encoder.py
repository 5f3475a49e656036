"""What protein encoders have in common, and what a model makes of one protein.

Legend: L residues, D encoder width, P joint width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from protclip_core.encoders.packing import PackedTokens

__all__ = ["Embedded", "Encoder"]


class Encoder(Protocol):
    """What `Esm2Inference`, `KmerInference` and the encoders of other libraries have in common."""

    device: torch.device
    dtype: torch.dtype
    #: Token of each id; also the columns of the logits.
    tokens: tuple[str, ...]

    @property
    def num_layers(self) -> int:
        """Number of layers; also the number of the last one."""

    @property
    def hidden_dim(self) -> int:
        """Width of a token vector."""

    @property
    def has_lm_head(self) -> bool:
        """Whether `logits` can be asked for."""

    def encode(self, sequence: str) -> np.ndarray:
        """Token ids ``(L + 2,)`` of upper-case residues, with a token before and one behind."""

    def hidden(self, batch: PackedTokens, layers: Sequence[int] | None = None) -> dict[int, Tensor]:
        """Token vectors by layer."""

    def logits(self, hidden: Tensor) -> Tensor:
        """Masked-LM logits of last-layer vectors."""


@dataclass(frozen=True, eq=False)
class Embedded:
    """Result for one protein.

    Attributes
    ----------
    vector
        Shape ``(D,)`` or, in the joint space, unit-length ``(P,)``; float32.
    residues
        Shape ``(L, D)`` or ``(L, P)``, float32, or ``None`` if not asked for.
    """

    vector: np.ndarray
    residues: np.ndarray | None = None
