"""Bundles of ESM-1b: the numbers of fair-esm, and what is refused."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import pytest
import torch

from protclip_core.encoders.alphabet import encode
from protclip_core.errors import ModelError, UsageError
from protclip_core.models.loading import load_model
from protclip_core.weights.bundle import write_bundle
from tests.unit.models.encoders import randomise


def esm1_parts() -> tuple[dict, dict[str, torch.Tensor], torch.nn.Module]:
    """Configuration, tensors and module of a small ESM-1b, as an importer writes them."""
    from esm.data import Alphabet
    from esm.model.esm1 import ProteinBertModel

    arguments = {
        "arch": "roberta_large",
        "layers": 2,
        "embed_dim": 32,
        "ffn_embed_dim": 64,
        "attention_heads": 4,
        "max_positions": 130,
        "token_dropout": True,
        "emb_layer_norm_before": True,
    }
    alphabet = Alphabet.from_architecture("roberta_large")
    reference = ProteinBertModel(Namespace(**arguments), alphabet).eval()
    randomise(reference, 5)
    with torch.no_grad():
        reference.embed_tokens.weight[alphabet.mask_idx].zero_()
        for parameter in reference.parameters():
            parameter.copy_(parameter.half())
    tensors = {
        f"protein_encoder.{n}": v.clone()
        for n, v in reference.state_dict().items()
        if not n.startswith("contact_head") and n != "lm_head.weight"
    }
    config = {
        "format": "protclip-bundle",
        "format_version": 1,
        "name": "esm1",
        "pooling": "residues",
        "protein_encoder": {"type": "esm1", "lm_head": True, "arguments": arguments},
    }
    return config, tensors, reference


@pytest.mark.parametrize("prefix", ["", "encoder_"])
def test_an_esm1_bundle_equals_fair_esm(tmp_path: Path, prefix: str) -> None:
    config, tensors, reference = esm1_parts()
    arguments = config["protein_encoder"]["arguments"]
    for name in ("layers", "embed_dim", "ffn_embed_dim", "attention_heads"):
        arguments[prefix + name] = arguments.pop(name)
    write_bundle(tmp_path / "m", config, tensors)
    model = load_model(tmp_path / "m", device="cpu")
    assert (model.info.num_layers, model.info.hidden_dim, model.info.max_residues) == (2, 32, 128)
    sequences = ["MKTAYIAKQR", "ACDEFGHIKLXBUZO", "J"]
    logits = model.residue_logits(sequences)
    for sequence, vector, found in zip(sequences, model.embed(sequences), logits, strict=True):
        with torch.inference_mode():
            out = reference(torch.from_numpy(encode(sequence).astype("int64"))[None], [2])
        expected = out["representations"][2][0, 1:-1].mean(0).numpy()
        assert abs(vector - expected).max() < 2e-6
        assert abs(found - out["logits"][0].numpy()).max() < 1e-5
    # More residues than positions go in windows.
    assert model.embed(["MKTAY" * 60]).shape == (1, 32)
    with pytest.raises(UsageError, match="esm1 computes in float32 only"):
        load_model(tmp_path / "m", device="cpu", dtype="bfloat16")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c, t: t.pop("protein_encoder.layers.0.fc1.bias"), "1 missing .*layers.0.fc1.bias"),
        (
            lambda c, t: t.update({"protein_encoder.contact_head.bias": torch.zeros(1)}),
            "1 unknown .protein_encoder.contact_head.bias",
        ),
        (lambda c, t: c["arguments"].pop("layers"), "arguments.layers is missing"),
        (lambda c, t: c["arguments"].update(layers="2"), "arguments.layers is '2'"),
        (lambda c, t: c["arguments"].update(arch="?"), "architecture '[?]' is not supported"),
        (lambda c, t: c.pop("arguments"), "protein_encoder.arguments is missing"),
    ],
)
def test_esm1_bundles_that_do_not_fit(tmp_path: Path, change, message: str) -> None:
    config, tensors, _reference = esm1_parts()
    change(config["protein_encoder"], tensors)
    write_bundle(tmp_path / "m", config, tensors)
    with pytest.raises(ModelError, match=message):
        load_model(tmp_path / "m", device="cpu")
