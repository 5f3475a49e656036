"""Encoders with random weights, made by the libraries that they belong to."""

from __future__ import annotations

from pathlib import Path

import torch


def transformers_esm(num_layers: int, dim: int, heads: int, *, seed: int = 0):
    """An EsmForMaskedLM with weights large enough that every layer matters."""
    from transformers import EsmConfig, EsmForMaskedLM

    torch.manual_seed(seed)
    config = EsmConfig(
        vocab_size=33,
        hidden_size=dim,
        num_hidden_layers=num_layers,
        num_attention_heads=heads,
        intermediate_size=4 * dim,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        max_position_embeddings=1026,
        layer_norm_eps=1e-5,
        position_embedding_type="rotary",
        token_dropout=True,
        emb_layer_norm_before=False,
        pad_token_id=1,
        mask_token_id=32,
    )
    model = EsmForMaskedLM(config).eval()
    randomise(model, seed)
    return model


def randomise(model: torch.nn.Module, seed: int) -> None:
    """Give matrices unit gain and biases and norms some size: default inits hide errors."""
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "embed" in name:
                parameter.normal_(0, 1, generator=generator)
            elif parameter.ndim == 2:
                parameter.normal_(0, parameter.shape[1] ** -0.5, generator=generator)
            elif name.endswith("bias"):
                parameter.normal_(0, 0.1, generator=generator)
            else:
                parameter.normal_(1, 0.1, generator=generator)


def fair_esm2(num_layers: int, dim: int, heads: int, *, seed: int = 0):
    """A fair-esm ESM-2 module with random weights."""
    from esm.model.esm2 import ESM2

    torch.manual_seed(seed)
    model = ESM2(num_layers=num_layers, embed_dim=dim, attention_heads=heads).eval()
    randomise(model, seed)
    return model


def save_fair_esm2(path: Path, num_layers: int, dim: int, heads: int, *, seed: int = 0):
    """Write a file as fair-esm's ESM-2 releases are laid out; return the module."""
    from argparse import Namespace

    model = fair_esm2(num_layers, dim, heads, seed=seed)
    weights = {
        f"encoder.{name}" if name.startswith("lm_head") else f"encoder.sentence_encoder.{name}": v
        for name, v in model.state_dict().items()
        if not name.startswith("contact_head")
    }
    arguments = Namespace(
        encoder_layers=num_layers,
        encoder_embed_dim=dim,
        encoder_attention_heads=heads,
        token_dropout=True,
    )
    torch.save({"cfg": {"model": arguments}, "model": weights}, path)
    return model
