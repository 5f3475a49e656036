"""ESM-1b and ESM-1v through fair-esm's own module, behind our encoder interface.

Their positions are learned (1,024 of them) and ESM-1b normalises its input, so they do not fit
`Esm2`. Proteins of equal length go through together, so no padding is computed here either.
"""

from __future__ import annotations

import re
from argparse import Namespace
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from protclip_core.encoders.alphabet import TOKENS, encode
from protclip_core.encoders.packing import PackedTokens
from protclip_core.encoders.shapes import read_shape
from protclip_core.errors import ModelError
from protclip_core.weights.tensors import make_filled

__all__ = ["Esm1Inference", "build_esm1", "build_esm1_module"]


class Esm1Inference:
    """A fair-esm ``ProteinBertModel`` with the methods of `Esm2Inference`.

    Parameters
    ----------
    module
        The module with its weights, in evaluation mode.
    device
        Where it runs. Products are float32: the type of these models' published weights.
    """

    tokens = TOKENS
    encode = staticmethod(encode)
    has_lm_head = True

    def __init__(self, module: nn.Module, *, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        self.module = module.to(self.device).eval()
        self.dtype = torch.float32
        self.num_layers = int(cast(int, module.num_layers))
        self.hidden_dim = cast(nn.Embedding, module.embed_tokens).embedding_dim
        # Positions are learned: there are none beyond these.
        self.max_residues = cast(Any, module).embed_positions.max_positions - 2

    @torch.inference_mode()
    def hidden(self, batch: PackedTokens, layers: Sequence[int] | None = None) -> dict[int, Tensor]:
        """Encode a packed batch; arguments and result as `Esm2Inference.hidden`."""
        wanted = [self.num_layers] if layers is None else sorted(set(layers))
        found: dict[int, list[Tensor]] = {layer: [] for layer in wanted}
        tokens = batch.tokens.to(self.device)
        for start, count, length in batch.runs:
            block = tokens[start : start + count * length].view(count, length)
            states = self.module(block, repr_layers=wanted)["representations"]
            for layer in wanted:
                found[layer].append(states[layer].flatten(0, 1))
        return {layer: torch.cat(parts) for layer, parts in found.items()}

    @torch.inference_mode()
    def logits(self, hidden: Tensor) -> Tensor:
        """Masked-LM logits ``(T, V)`` from vectors of the last layer."""
        result: Tensor = self.module.lm_head(hidden)  # type: ignore[operator]
        return result


def build_esm1(content: Mapping[str, Any], where: str) -> nn.Module:
    """Build fair-esm's module from the content of a ``.pt`` file of ESM-1b or ESM-1v.

    Raises
    ------
    ModelError
        Another architecture (MSA transformer, inverse folding), or tensors that do not fit.
    """
    arguments = vars(content["args"])
    _check_architecture(arguments, where)
    tensors = {
        re.sub(r"^(?:encoder\.sentence_encoder\.|encoder\.)", "", name): value
        for name, value in content["model"].items()
    }
    # The contact head is not used, and its weights come in a file of their own.
    tensors = {n: v for n, v in tensors.items() if not n.startswith(("contact_head.", "embed_out"))}
    return build_esm1_module(arguments, tensors, where)


def build_esm1_module(
    arguments: Mapping[str, Any], tensors: Mapping[str, Tensor], where: str, prefix: str = ""
) -> nn.Module:
    """Build fair-esm's module from training arguments and tensors of its own names.

    Parameters
    ----------
    arguments
        As plain data, with or without ``encoder_`` before the names.
    tensors
        Names as in ProteinBertModel, without its contact head; ``lm_head.weight`` may be left
        out, since it is ``embed_tokens.weight``.
    where, prefix
        File, and what stands before the names in it, for messages.

    Raises
    ------
    ModelError
        Arguments or tensors that do not fit.
    """
    _check_architecture(arguments, where)
    read_shape({"type": "esm1", "arguments": dict(arguments)}, where)
    from esm.data import Alphabet
    from esm.model.esm1 import ProteinBertModel

    alphabet = Alphabet.from_architecture("roberta_large")
    if tuple(alphabet.all_toks) != TOKENS:
        raise ModelError(
            "fair-esm's alphabet is not the one we know", code="model.bad_vocabulary", where=where
        )
    # The training arguments name the encoder's shape with a prefix that the module does not know.
    plain = {name.removeprefix("encoder_"): value for name, value in arguments.items()}
    plain["emb_layer_norm_before"] = any(n.startswith("emb_layer_norm_before") for n in tensors)
    if plain["layers"] > len(tensors):
        raise ModelError(
            f"has {len(tensors)} tensors, too few for {plain['layers']} layers",
            code="model.tensors_differ",
            where=where,
        )
    values = dict(tensors)
    if "embed_tokens.weight" in values:
        values.setdefault("lm_head.weight", values["embed_tokens.weight"])

    def make() -> Any:
        module = ProteinBertModel(Namespace(**plain), alphabet)
        del module.contact_head
        return module

    try:
        module = make_filled(make, values, where, prefix)
    except (AttributeError, TypeError, ValueError, AssertionError, RuntimeError) as error:
        raise ModelError(
            f"encoder cannot be built ({error})", code="model.bad_field", where=where
        ) from error
    # A copy: the row of the mask becomes 0, as fair-esm makes it for token dropout, and the
    # tensors that were given are not to change. The head shares it.
    embedding = module.embed_tokens.weight.clone()
    embedding[alphabet.mask_idx] = 0
    module.embed_tokens.weight = nn.Parameter(embedding, requires_grad=False)
    module.lm_head.weight = module.embed_tokens.weight
    result: nn.Module = module
    return result


def _check_architecture(arguments: Mapping[str, Any], where: str) -> None:
    if arguments.get("arch") != "roberta_large":
        raise ModelError(
            f"architecture {arguments.get('arch')!r} is not supported",
            code="model.unsupported_architecture",
            where=where,
            hint="ESM-2, ESM-1b and ESM-1v are",
        )
