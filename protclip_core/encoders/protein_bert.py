"""ProtBERT behind our encoder interface: a BertModel whose words are residues.

It was trained (Elnaggar et al. 2022, ProtTrans) on residues in upper case with ``U``, ``Z``,
``O`` and ``B`` read as ``X``, between ``[CLS]`` and ``[SEP]``. Proteins of equal length go
through together, so no padding is computed.

In a bundle the tensors are those of BertModel and, with ``"lm_head": true``, those of
`ResidueLmHead` under ``lm_head.``.

Legend: T tokens of the batch, D width, V vocabulary (as ``tokens`` of the configuration says).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from protclip_core.encoders.bert import bert_shapes, build_bert
from protclip_core.encoders.packing import PackedTokens
from protclip_core.encoders.shapes import BertShape, ProtBertShape
from protclip_core.errors import ModelError
from protclip_core.weights.tensors import check_tensors, make_filled

__all__ = ["ProtBertInference", "ResidueLmHead", "build_protein_bert", "check_protein_bert"]

_STANDARD = "ACDEFGHIKLMNPQRSTVWY"
_ACTIVATIONS = {
    "gelu": F.gelu,
    "gelu_new": lambda x: F.gelu(x, approximate="tanh"),
    "relu": F.relu,
    "silu": F.silu,
}


class ResidueLmHead(nn.Module):
    """Dense, activation, LayerNorm, then the transposed embedding with a bias of its own.

    Tensors: ``dense.{weight,bias}``, ``norm.{weight,bias}``, ``bias``.
    """

    def __init__(self, config: BertShape) -> None:
        super().__init__()
        width = config.hidden_size
        self.dense = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))
        self._activation = _ACTIVATIONS[config.hidden_act]

    def forward(self, hidden: Tensor, embedding: Tensor) -> Tensor:
        """Map ``(T, D)`` to logits ``(T, V)``; ``embedding`` has shape ``(V, D)``."""
        return F.linear(self.norm(self._activation(self.dense(hidden))), embedding, self.bias)


class ProtBertInference:
    """A BertModel over residues with the methods of `Esm2Inference`.

    Parameters
    ----------
    module
        BertModel without pooling layer, float32, in evaluation mode.
    tokens
        Token of each id.
    lm_head
        Its head, if there is one.
    device
        Where it runs; products are float32.

    Raises
    ------
    ModelError
        A vocabulary that lacks a token which proteins need.
    """

    def __init__(
        self,
        module: nn.Module,
        tokens: Sequence[str],
        *,
        lm_head: ResidueLmHead | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        self.device = torch.device(device)
        self.module = module.to(self.device).eval()
        self.dtype = torch.float32
        self.tokens = tuple(tokens)
        shape = cast(Any, module).config
        self.num_layers = int(shape.num_hidden_layers)
        self.hidden_dim = int(shape.hidden_size)
        # Positions are learned: there are none beyond these.
        self.max_residues = int(shape.max_position_embeddings) - 2
        self._lm_head = None if lm_head is None else lm_head.to(self.device).eval()
        self._codes, self._ends = _codes(self.tokens)

    @property
    def has_lm_head(self) -> bool:
        """Whether `logits` can be asked for."""
        return self._lm_head is not None

    def encode(self, sequence: str) -> np.ndarray:
        """Token ids ``(L + 2,)``: ``[CLS]``, residues, ``[SEP]``.

        Lower case is read as upper case; B, J, O, U, Z and whatever is no residue as X.
        """
        row = np.empty(len(sequence) + 2, dtype=np.int64)
        row[0], row[-1] = self._ends
        letters = np.frombuffer(sequence.encode("latin-1", "replace"), dtype=np.uint8)
        row[1:-1] = self._codes[letters]
        return row

    @torch.inference_mode()
    def hidden(self, batch: PackedTokens, layers: Sequence[int] | None = None) -> dict[int, Tensor]:
        """Encode a packed batch; arguments and result as `Esm2Inference.hidden`."""
        wanted = [self.num_layers] if layers is None else sorted(set(layers))
        inner = wanted != [self.num_layers]
        found: dict[int, list[Tensor]] = {layer: [] for layer in wanted}
        tokens = batch.tokens.to(self.device)
        for start, count, length in batch.runs:
            block = tokens[start : start + count * length].view(count, length)
            out = self.module(input_ids=block, output_hidden_states=inner)
            for layer in wanted:
                last = layer == self.num_layers
                states = out.last_hidden_state if last else out.hidden_states[layer]
                found[layer].append(states.flatten(0, 1))
        return {layer: torch.cat(parts) for layer, parts in found.items()}

    @torch.inference_mode()
    def logits(self, hidden: Tensor) -> Tensor:
        """Masked-LM logits ``(T, V)`` from vectors of the last layer."""
        if self._lm_head is None:
            msg = "this encoder has no masked-LM head"
            raise ValueError(msg)
        embedding = self.module.get_parameter("embeddings.word_embeddings.weight")
        result: Tensor = self._lm_head(hidden, embedding)
        return result


def build_protein_bert(
    config: ProtBertShape,
    tensors: Mapping[str, Tensor],
    where: str,
    *,
    prefix: str = "",
    device: torch.device | str = "cpu",
) -> ProtBertInference:
    """Build the encoder from ``protein_encoder`` of a bundle and its tensors.

    Raises
    ------
    ModelError
        Tensors or a vocabulary that do not fit.
    """
    own, lm_head = check_protein_bert(config, tensors, where, prefix=prefix)
    module = build_bert(config, own, where, prefix)
    return ProtBertInference(module, config.tokens, lm_head=lm_head, device=device)


def check_protein_bert(
    config: ProtBertShape, tensors: Mapping[str, Tensor], where: str, *, prefix: str = ""
) -> tuple[dict[str, Tensor], ResidueLmHead | None]:
    """Check vocabulary and tensors as `build_protein_bert` does, without transformers.

    Returns
    -------
    tuple
        The tensors of the BertModel, and the head with its weights, if there is one.

    Raises
    ------
    ModelError
        Tensors or a vocabulary that do not fit.
    """
    _codes(config.tokens, where)
    own = {n: v for n, v in tensors.items() if not n.startswith("lm_head.")}
    head = {n.removeprefix("lm_head."): v for n, v in tensors.items() if n not in own}
    lm_head = None
    if config.lm_head or head:
        lm_head = make_filled(lambda: ResidueLmHead(config), head, where, f"{prefix}lm_head.")
    check_tensors(bert_shapes(config), own, where, prefix)
    return own, lm_head


def _codes(tokens: Sequence[str], where: str = "vocabulary") -> tuple[np.ndarray, tuple[int, int]]:
    """Return the id of each byte, shape ``(256,)``, and those of ``[CLS]`` and ``[SEP]``."""
    places = {token: number for number, token in enumerate(tokens)}
    lacking = [token for token in ("[CLS]", "[SEP]", "X", *_STANDARD) if token not in places]
    if lacking:
        raise ModelError(
            f"vocabulary lacks {', '.join(lacking[:5])}",
            code="model.bad_vocabulary",
            where=where,
            hint="it is not one of residues",
        )
    # The model was never shown B, J, O, U and Z by their own letters, whatever its vocabulary has.
    codes = np.full(256, places["X"], dtype=np.int64)
    for letter in _STANDARD:
        codes[ord(letter)] = codes[ord(letter.lower())] = places[letter]
    return codes, (places["[CLS]"], places["[SEP]"])
