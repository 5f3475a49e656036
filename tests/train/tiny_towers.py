"""A real model of two towers with all heads, as small as it gets, and pairs for it."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from protclip_core.encoders.alphabet import TOKENS
from protclip_core.encoders.esm2 import Esm2, Esm2Config
from protclip_core.encoders.packing import PackedTokens, pack_sequences
from protclip_core.encoders.residue_heads import ResidueHeads
from train.towers.two_towers import (
    TwoTowers,
    initialise_bert,
    initialise_esm2,
    initialise_projection,
    make_bert,
)

VOCABULARY, TEXT_TOKENS, PROPERTIES = 30, 12, 4
SEQUENCES = ("MKTAYIAKQRWLE", "ACDEFGHIKL", "MLLAVLYCLAVFALSSRAG", "WYVTSRQPNMLK")
SEQUENCES += ("MKV", "GGSGGSGGSGGSGGSGGSGGS")


@dataclass(frozen=True, eq=False)
class Examples:
    """Pairs with the texts of their properties."""

    proteins: PackedTokens
    text_ids: torch.Tensor  # (B, S)
    text_mask: torch.Tensor
    property_ids: torch.Tensor  # (B, K, S)
    property_mask: torch.Tensor
    present: torch.Tensor  # (B, K)


def examples(first=0, last=6):
    """The pairs from ``first`` up to ``last``; a pair is the same whatever its neighbours are."""
    rows = [_texts(number) for number in range(first, last)]
    ids, mask, property_ids, property_mask, present = (torch.stack(part) for part in zip(*rows))
    proteins = pack_sequences(SEQUENCES[first:last])
    return Examples(proteins, ids, mask, property_ids, property_mask, present)


def _texts(number):
    draw = torch.Generator().manual_seed(number)
    # Pairs 1 and 4 have the same text.
    kind = 1 if number == 4 else number
    text = torch.Generator().manual_seed(100 + kind)
    ids, mask = _ids(text, (TEXT_TOKENS,)), torch.arange(TEXT_TOKENS) < 5 + kind % 4
    lengths = torch.randint(2, TEXT_TOKENS, (PROPERTIES, 1), generator=draw)
    property_ids = _ids(draw, (PROPERTIES, TEXT_TOKENS))
    property_mask = torch.arange(TEXT_TOKENS) < lengths
    present = torch.rand(PROPERTIES, generator=draw) < (0.1 if number == 2 else 0.8)
    return ids, mask.long(), property_ids, property_mask.long(), present


def _ids(generator, shape):
    return torch.randint(5, VOCABULARY, shape, generator=generator)


class TinyTowers(nn.Module):
    """Two towers and residue heads in float64, fresh but always the same."""

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            shape = Esm2Config(num_layers=2, hidden_dim=16, num_heads=2, ffn_dim=64)
            text = {"vocab_size": VOCABULARY, "max_tokens": TEXT_TOKENS}
            bert = make_bert(hidden_dim=16, num_layers=1, num_heads=2, **text)
            self.towers = TwoTowers(Esm2(shape), bert, 12)
            initialise_esm2(self.towers.protein_encoder, 2)
            initialise_bert(bert)
            initialise_projection(self.towers.protein_projection)
            initialise_projection(self.towers.text_projection)
            self.heads = ResidueHeads(16, 12, len(TOKENS), mlm=True, segments=True, prototypes=5)
        # In place of the head of the checkpoint, the encoder has one of its own.
        self.towers.protein_encoder.lm_head.requires_grad_(requires_grad=False)
        self.double()

    def forward(self, job, *arguments):
        """Call another method by its name: one entry for DistributedDataParallel."""
        return getattr(self, job)(*arguments)

    def embeddings(self, pairs):
        """Unit vectors of proteins and texts, and the scale."""
        hidden = self.towers.protein_hidden(pairs.proteins)
        parts = hidden.split(pairs.proteins.lengths)
        pooled = torch.stack([part[1:-1].mean(dim=0) for part in parts])
        protein = F.normalize(self.towers.protein_projection(pooled), dim=-1)
        text = self.towers.text_embedding(pairs.text_ids, pairs.text_mask)
        return protein, text, self.towers.logit_scale.exp()

    def residues(self, batch, chosen=slice(None)):
        """Projected token vectors of a packed batch, ``(T, P)``, or of the chosen ones."""
        return self.towers.protein_projection(self.towers.protein_hidden(batch)[chosen])

    def text_tokens(self, pairs):
        """Projected token vectors of the texts, ``(B, S, P)``."""
        found = self.towers.text_encoder(input_ids=pairs.text_ids, attention_mask=pairs.text_mask)
        return self.towers.text_projection(found.last_hidden_state)

    def properties(self, pairs):
        """Projected mean vectors of the properties' texts, ``(B, K, P)``."""
        pooled = self.towers.text_pooled(
            pairs.property_ids.flatten(0, 1), pairs.property_mask.flatten(0, 1)
        )
        return self.towers.text_projection(pooled).unflatten(0, pairs.present.shape)


def gradient_of(module, part):
    """Largest absolute gradient of the parameters whose names begin with ``part``; 0 for none."""
    found = [
        float(parameter.grad.abs().max())
        for name, parameter in module.named_parameters()
        if name.startswith(part) and parameter.grad is not None
    ]
    return max(found, default=0.0)
