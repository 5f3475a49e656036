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

from protclip_core.errors import ModelError
from protclip_core.models.alphabet import TOKENS
from protclip_core.models.packing import PackedTokens
from protclip_core.models.weights import fill_module

__all__ = ["Esm1Inference", "build_esm1"]


class Esm1Inference:
    """A fair-esm ``ProteinBertModel`` with the methods of `Esm2Inference`.

    Parameters
    ----------
    module
        The module with its weights, in evaluation mode.
    device
        Where it runs. Products are float32: the type of these models' published weights.
    """

    max_residues = 1022

    def __init__(self, module: nn.Module, *, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        self.module = module.to(self.device).eval()
        self.dtype = torch.float32
        self.num_layers = int(cast(int, module.num_layers))
        self.hidden_dim = cast(nn.Embedding, module.embed_tokens).embedding_dim
        self.has_lm_head = True

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
    from esm.data import Alphabet
    from esm.model.esm1 import ProteinBertModel

    arguments = vars(content["args"])
    if arguments.get("arch") != "roberta_large":
        raise ModelError(
            f"architecture {arguments.get('arch')!r} is not supported",
            where=where,
            hint="ESM-2, ESM-1b and ESM-1v are",
        )
    alphabet = Alphabet.from_architecture("roberta_large")
    if tuple(alphabet.all_toks) != TOKENS:
        raise ModelError("fair-esm's alphabet is not the one we know", where=where)
    # The training arguments name the encoder's shape with a prefix that the module does not know.
    plain = {name.removeprefix("encoder_"): value for name, value in arguments.items()}
    tensors = {
        re.sub(r"^(?:encoder\.sentence_encoder\.|encoder\.)", "", name): value
        for name, value in content["model"].items()
    }
    plain["emb_layer_norm_before"] = any(n.startswith("emb_layer_norm_before") for n in tensors)
    module = ProteinBertModel(Namespace(**plain), alphabet)
    # The contact head is not used, and its weights come in a file of their own.
    tensors = {n: v for n, v in tensors.items() if not n.startswith(("contact_head.", "embed_out"))}
    own = module.state_dict()
    tensors.update({n: v for n, v in own.items() if n.startswith("contact_head.")})
    tensors.setdefault("lm_head.weight", tensors["embed_tokens.weight"])
    fill_module(module, tensors, where)
    with torch.no_grad():
        module.embed_tokens.weight[alphabet.mask_idx].zero_()  # as fair-esm does, for token dropout
    return module.eval()
