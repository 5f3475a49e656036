"""Our encoder against the two libraries whose weights it loads, residue by residue."""

from __future__ import annotations

import random
from argparse import Namespace

import pytest
import torch

from protclip_core.encoders.alphabet import MASK, encode
from protclip_core.encoders.esm2 import Esm2, Esm2Config
from protclip_core.encoders.esm2_inference import Esm2Inference
from protclip_core.encoders.kernels import CpuKernels, choose_cpu_kernels
from protclip_core.encoders.packing import PackedTokens, pack
from protclip_core.models.loading import load_model
from protclip_core.weights.names import fair_esm_names, transformers_names
from protclip_core.weights.tensors import fill_module
from tests.support.kernels import exact_products
from tests.unit.models.encoders import fair_esm2, randomise, save_fair_esm2, transformers_esm

#: Layers, width, heads. `tests/benchmarks/parity.py` does the published shapes.
SHAPES = [(2, 32, 4), (2, 320, 20), (1, 480, 20)]


def relative_error(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


def packed(sequences: list[str], *, mask: float = 0.0) -> PackedTokens:
    """Pack in the given order; mask a share of the residues of every second protein."""
    rng = random.Random(3)
    rows = [encode(s) for s in sequences]
    for row in rows[::2]:
        for position in range(1, len(row) - 1):
            if rng.random() < mask:
                row[position] = MASK
    return pack(rows)


def rows_of(batch: PackedTokens) -> list[torch.Tensor]:
    return list(batch.tokens.split(list(batch.lengths)))


def build(state: dict[str, torch.Tensor], layers: int, dim: int, heads: int) -> Esm2:
    model = Esm2(Esm2Config(num_layers=layers, hidden_dim=dim, num_heads=heads, ffn_dim=4 * dim))
    fill_module(model, state, "test")
    return model.eval()


@pytest.mark.parametrize("mask", [0.0, 0.3])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_residue_equals_transformers(shape, mask, mixed_sequences) -> None:
    reference = transformers_esm(*shape)
    ours = Esm2Inference(build(transformers_names(reference.state_dict()), *shape))
    batch = packed(mixed_sequences, mask=mask)
    hidden = ours.hidden(batch)[shape[0]]
    logits = ours.logits(hidden)
    start = 0
    for row in rows_of(batch):
        with torch.inference_mode():
            out = reference(
                row[None], attention_mask=torch.ones_like(row[None]), output_hidden_states=True
            )
        part = slice(start, start + len(row))
        assert relative_error(hidden[part], out.hidden_states[-1][0]) < 2e-6
        assert relative_error(logits[part], out.logits[0]) < 5e-6
        start += len(row)


@pytest.mark.parametrize("mask", [0.0, 0.3])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_residue_and_layer_equals_fair_esm(shape, mask, mixed_sequences) -> None:
    reference = fair_esm2(*shape)
    ours = Esm2Inference(build(fair_esm_names(reference.state_dict()), *shape))
    batch = packed(mixed_sequences[:12], mask=mask)
    layers = range(shape[0] + 1)
    hidden = ours.hidden(batch, layers)
    start = 0
    for row in rows_of(batch):
        with torch.inference_mode():
            out = reference(row[None], repr_layers=list(layers))
        part = slice(start, start + len(row))
        for layer in layers:
            assert relative_error(hidden[layer][part], out["representations"][layer][0]) < 2e-6
        start += len(row)


@pytest.mark.parametrize(
    "kernels",
    [
        CpuKernels("mkl", "flash"),
        pytest.param(CpuKernels("mkl", "chunked"), marks=exact_products),
        CpuKernels("onednn", "flash"),
    ],
)
def test_each_kernel_equals_the_readable_module(kernels, mixed_sequences) -> None:
    model = Esm2(Esm2Config(num_layers=3, hidden_dim=64, num_heads=4, ffn_dim=256)).eval()
    batch = packed(sorted(mixed_sequences, key=len), mask=0.2)
    fast = Esm2Inference(model, kernels=kernels)
    with torch.inference_mode():
        plain = model(batch, layers=range(4))
    found = fast.hidden(batch, range(4))
    assert found.keys() == plain.keys()
    for layer, expected in plain.items():
        assert relative_error(found[layer], expected) < 1e-6


def test_kernels_are_chosen_once_and_stay() -> None:
    assert choose_cpu_kernels() is choose_cpu_kernels()


def test_bfloat16_products_stay_near_float32(mixed_sequences) -> None:
    model = Esm2(Esm2Config(num_layers=3, hidden_dim=64, num_heads=4, ffn_dim=256)).eval()
    batch = packed(mixed_sequences)
    exact = Esm2Inference(model).hidden(batch)[3]
    rounded = Esm2Inference(model, dtype=torch.bfloat16).hidden(batch)[3]
    assert rounded.dtype == torch.float32
    assert 1e-5 < relative_error(rounded, exact) < 2e-2


def test_gradients_flow_through_the_readable_module() -> None:
    model = Esm2(Esm2Config(num_layers=2, hidden_dim=32, num_heads=4, ffn_dim=64))
    batch = packed(["MKT", "MKTAY", "MKT"], mask=0.3)
    model.logits(model(batch)[2]).square().mean().backward()
    missing = [name for name, p in model.named_parameters() if p.grad is None]
    assert missing == []


def test_a_fully_masked_protein_gives_numbers() -> None:
    """Dividing by the share of residues left would give infinity here."""
    model = Esm2(Esm2Config(num_layers=1, hidden_dim=32, num_heads=4, ffn_dim=64)).eval()
    batch = PackedTokens(torch.full((5,), MASK), (5,))
    assert torch.isfinite(Esm2Inference(model).hidden(batch)[1]).all()


def test_a_batch_does_not_change_a_protein(mixed_sequences) -> None:
    """Forty random batches: any order, any neighbours, within float32 rounding."""
    model = Esm2(Esm2Config(num_layers=3, hidden_dim=64, num_heads=4, ffn_dim=256)).eval()
    fast = Esm2Inference(model)
    alone = [fast.hidden(packed([s]))[3] for s in mixed_sequences]
    rng = random.Random(11)
    for _ in range(40):
        chosen = rng.sample(range(len(mixed_sequences)), rng.randint(2, 12))
        batch = pack(encode(mixed_sequences[i]) for i in chosen)
        together = fast.hidden(batch)[3].split(list(batch.lengths))
        for i, found in zip(chosen, together, strict=True):
            torch.testing.assert_close(found, alone[i], rtol=0, atol=1e-5)


def test_a_fair_esm_file_loads_and_agrees(tmp_path, mixed_sequences) -> None:
    path = tmp_path / "esm2_t2_test.pt"
    reference = save_fair_esm2(path, 2, 64, 4)
    model = load_model(str(path), device="cpu")
    sequence = mixed_sequences[20]
    with torch.inference_mode():
        tokens = torch.from_numpy(encode(sequence).astype("int64"))[None]
        states = reference(tokens, repr_layers=[2])["representations"][2][0]
    found = torch.from_numpy(model.embed([sequence])[0])
    assert relative_error(found, states[1:-1].mean(0)) < 2e-6


@pytest.mark.parametrize("kind", ["EsmForMaskedLM", "EsmModel"])
def test_a_transformers_directory_loads_and_agrees(kind, tmp_path, mixed_sequences) -> None:
    reference = transformers_esm(2, 64, 4)
    (reference if kind == "EsmForMaskedLM" else reference.esm).save_pretrained(tmp_path)
    model = load_model(str(tmp_path), device="cpu")
    sequence = mixed_sequences[21]
    with torch.inference_mode():
        tokens = torch.from_numpy(encode(sequence).astype("int64"))[None]
        states = reference.esm(tokens, attention_mask=torch.ones_like(tokens)).last_hidden_state[0]
    residues = torch.from_numpy(model.embed([sequence])[0])
    tokens_mean = torch.from_numpy(model.embed([sequence], pooling="tokens")[0])
    assert relative_error(residues, states[1:-1].mean(0)) < 2e-6
    assert relative_error(tokens_mean, states.mean(0)) < 2e-6


@pytest.mark.parametrize("norm_before", [True, False], ids=["ESM-1b", "ESM-1v"])
def test_an_esm1_file_loads_through_fair_esm(norm_before, tmp_path, mixed_sequences) -> None:
    from esm.data import Alphabet
    from esm.model.esm1 import ProteinBertModel

    shape = {"layers": 2, "embed_dim": 32, "ffn_embed_dim": 64, "attention_heads": 4}
    arguments = {
        "arch": "roberta_large",
        "max_positions": 1024,
        "token_dropout": True,
        "emb_layer_norm_before": norm_before,
    }
    alphabet = Alphabet.from_architecture("roberta_large")
    reference = ProteinBertModel(Namespace(**shape, **arguments), alphabet).eval()
    randomise(reference, 5)
    with torch.no_grad():
        reference.embed_tokens.weight[alphabet.mask_idx].zero_()
    weights = {
        f"encoder.{n}" if n.startswith("lm_head") else f"encoder.sentence_encoder.{n}": v
        for n, v in reference.state_dict().items()
        if not n.startswith("contact_head")
    }
    saved = {f"encoder_{name}": value for name, value in shape.items()} | arguments
    del saved["emb_layer_norm_before"]  # fair-esm finds it in the names of the weights
    path = tmp_path / "esm1_test.pt"
    torch.save({"args": Namespace(**saved), "model": weights}, path)

    model = load_model(str(path), device="cpu")
    sequences = mixed_sequences[3:9]
    found = model.embed(sequences)
    for sequence, vector in zip(sequences, found, strict=True):
        tokens = torch.from_numpy(encode(sequence).astype("int64"))[None]
        with torch.inference_mode():
            states = reference(tokens, repr_layers=[2])["representations"][2][0]
        assert relative_error(torch.from_numpy(vector), states[1:-1].mean(0)) < 2e-6
