"""The k-mer encoder behind the interface of encoders; float32.

Legend: T tokens of the batch, D width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from msgspec import UNSET
from torch import Tensor

from protclip_core.encoders.alphabet import TOKENS, encode
from protclip_core.encoders.kmer import KmerEncoder
from protclip_core.encoders.packing import PackedTokens
from protclip_core.encoders.shapes import KmerShape
from protclip_core.weights.tensors import make_filled

__all__ = ["KmerInference", "build_kmer"]


class KmerInference:
    """A `KmerEncoder` with the methods of `Esm2Inference`; safe to call from several threads.

    Parameters
    ----------
    module
        The encoder; it is taken over and put into evaluation mode.
    device
        Where it runs; products are float32.
    """

    tokens = TOKENS
    encode = staticmethod(encode)

    def __init__(self, module: KmerEncoder, *, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        self.dtype = torch.float32
        self.config = module.config
        self.module = module.to(self.device).eval()

    @property
    def num_layers(self) -> int:
        """Number of convolution blocks; may be 0."""
        return self.config.num_layers

    @property
    def hidden_dim(self) -> int:
        """Width of a token vector."""
        return self.config.hidden_dim

    @property
    def has_lm_head(self) -> bool:
        """Whether `logits` can be asked for."""
        return self.module.lm_head is not None

    @torch.inference_mode()
    def hidden(self, batch: PackedTokens, layers: Sequence[int] | None = None) -> dict[int, Tensor]:
        """Encode a packed batch; arguments and result as `KmerEncoder.forward`."""
        result: dict[int, Tensor] = self.module(batch.to(self.device), layers)
        return result

    @torch.inference_mode()
    def logits(self, hidden: Tensor) -> Tensor:
        """Masked-LM logits ``(T, V)`` from vectors ``(T, D)`` of the last layer."""
        return self.module.logits(hidden)


def build_kmer(
    shape: KmerShape,
    tensors: dict[str, Tensor],
    where: str,
    *,
    prefix: str = "",
) -> KmerEncoder:
    """Build the encoder and fill it.

    Raises
    ------
    ModelError
        Tensors that do not fit the shape.
    """
    found = any(name.startswith("lm_head.") for name in tensors)
    lm_head = found if shape.lm_head is UNSET else bool(shape.lm_head)
    return make_filled(lambda: KmerEncoder(shape, lm_head=lm_head), tensors, where, prefix)
