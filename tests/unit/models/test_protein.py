"""Packing, pooling and windows against plain loops."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch

from protclip_core.encoders.alphabet import BOS, EOS, TOKENS, encode
from protclip_core.encoders.esm2 import Esm2, Esm2Config
from protclip_core.encoders.esm2_inference import Esm2Inference
from protclip_core.encoders.kernels import onednn_products
from protclip_core.encoders.packing import PackedTokens, pack_sequences, pool
from protclip_core.encoders.windows import token_batches, window_starts
from protclip_core.errors import InputError, UsageError
from protclip_core.models.info import ModelInfo
from protclip_core.models.protein import ProteinModel
from protclip_core.models.settings import EmbedSettings

RESIDUES = "LAGVSERTIDPKQNFYMHWC"


@pytest.fixture(scope="module")
def model() -> ProteinModel:
    torch.manual_seed(0)
    encoder = Esm2(Esm2Config(num_layers=2, hidden_dim=32, num_heads=4, ffn_dim=64))
    info = ModelInfo(name="test", kind="bundle", path=Path())
    return ProteinModel(info, Esm2Inference(encoder), "0" * 64)


def test_every_letter_has_its_token() -> None:
    assert [TOKENS[t] for t in encode("XBUZOLA")[1:-1]] == list("XBUZOLA")
    assert encode("J")[1] == encode("X")[1]
    assert encode("").tolist() == [BOS, EOS]


def test_lengths_must_add_up() -> None:
    with pytest.raises(ValueError, match="lengths add up to 5, but there are 4 tokens"):
        PackedTokens(torch.zeros(4, dtype=torch.long), (3, 2))


@pytest.mark.parametrize("pooling", ["residues", "tokens"])
def test_pooling_equals_a_loop(pooling: str) -> None:
    batch = pack_sequences(["MKT", "A", "MKT", "CC"])
    hidden = torch.randn(batch.tokens.shape[0], 5)
    expected = []
    for start, length in zip(batch.starts, batch.lengths, strict=True):
        rows = range(start + 1, start + length - 1) if pooling == "residues" else None
        rows = rows or range(start, start + length)
        expected.append(sum(hidden[i] for i in rows) / len(rows))
    torch.testing.assert_close(pool(hidden, batch, pooling), torch.stack(expected))


def test_windows_cover_every_residue_and_overlap_enough() -> None:
    rng = random.Random(1)
    for _ in range(500):
        width = rng.randint(4, 60)
        overlap = rng.randint(0, width // 2)
        length = rng.randint(1, 700)
        starts = window_starts(length, width, overlap)
        covered = {i for s in starts for i in range(s, min(s + width, length))}
        assert covered == set(range(length))
        assert starts[-1] + width == length or len(starts) == 1
        assert all(b - a <= width - overlap for a, b in zip(starts, starts[1:], strict=False))
        if len(starts) > 1:  # one window fewer would not do
            assert (len(starts) - 2) * (width - overlap) + width < length


@pytest.mark.parametrize("pooling", ["residues", "tokens"])
@pytest.mark.parametrize("batch_tokens", [1, 70, 10_000])
def test_long_proteins_average_their_windows(
    model: ProteinModel, pooling: str, batch_tokens: int
) -> None:
    rng = random.Random(2)
    sequence = "".join(rng.choices(RESIDUES, k=157))
    width, overlap = 40, 10
    settings = EmbedSettings(
        pooling=pooling,
        space="encoder",
        layer=2,
        per_residue=True,
        max_residues=width,
        overlap=overlap,
    )
    starts = window_starts(len(sequence), width, overlap)
    windows = [model.encoder.hidden(pack_sequences([sequence[s : s + width]]))[2] for s in starts]
    residues = []
    for i in range(len(sequence)):
        values = [w[1 + i - s] for s, w in zip(starts, windows, strict=True) if s <= i < s + width]
        residues.append(sum(values) / len(values))
    expected = torch.stack(residues)
    ends = [windows[0][0], windows[-1][-1]] if pooling == "tokens" else []
    mean = torch.stack([*expected, *ends]).mean(0)

    (found,) = model.embed_batch([sequence], settings, batch_tokens)
    assert found.residues is not None
    np.testing.assert_allclose(found.residues, expected.numpy(), atol=2e-6)
    np.testing.assert_allclose(found.vector, mean.numpy(), atol=2e-6)


def test_a_protein_of_one_window_is_not_windowed(model: ProteinModel) -> None:
    rng = random.Random(3)
    sequence = "".join(rng.choices(RESIDUES, k=40))
    plain = EmbedSettings(pooling="residues", space="encoder", layer=2)
    tight = EmbedSettings(pooling="residues", space="encoder", layer=2, max_residues=40, overlap=10)
    (a,), (b,) = (model.embed_batch([sequence], s) for s in (plain, tight))
    np.testing.assert_array_equal(a.vector, b.vector)


def test_embed_keeps_the_order_of_its_input(model: ProteinModel) -> None:
    rng = random.Random(4)
    sequences = ["".join(rng.choices(RESIDUES, k=rng.randint(1, 200))) for _ in range(40)]
    together = model.embed(sequences)
    for sequence, row in zip(sequences, together, strict=True):
        np.testing.assert_allclose(model.embed([sequence])[0], row, atol=2e-6)
    assert model.embed([]).shape == (0, 32)


def test_token_batches_hold_the_budget_and_lose_nothing() -> None:
    lengths = [500, 300, 900, 5, 5, 2000, 1]
    groups = list(token_batches(lengths, 1024))
    assert [i for group in groups for i in group] == list(range(len(lengths)))
    assert all(len(g) == 1 or sum(lengths[i] + 2 for i in g) <= 1024 for g in groups)


def test_sequences_are_read_by_the_rules_of_fasta(model: ProteinModel) -> None:
    clean = model.embed(["MKTAY", "MKTAY"])
    loose = model.embed(["mktay", " MKTAY*\n"])
    np.testing.assert_array_equal(clean, loose)
    with pytest.raises(InputError, match="sequence 2: '-' at position 3 is not a residue"):
        model.embed(["MKT", "MK-T"])
    with pytest.raises(InputError, match="sequence 1: has no residues"):
        model.embed(["*"])
    with pytest.raises(UsageError, match="one string was given"):
        model.embed("MKTAY")
    with pytest.raises(UsageError, match="sequence 2 is None, not a string"):
        model.embed(["MKTAY", None])  # type: ignore[list-item]


def test_onednn_products_end_with_the_last_block(monkeypatch) -> None:
    monkeypatch.setattr("protclip_core.encoders.kernels._medium_precision_is_exact", lambda: True)
    before = torch.get_float32_matmul_precision()
    with onednn_products():
        with onednn_products():
            assert torch.get_float32_matmul_precision() == "medium"
        assert torch.get_float32_matmul_precision() == "medium"
    assert torch.get_float32_matmul_precision() == before


def test_onednn_products_change_nothing_where_they_are_not_exact(monkeypatch) -> None:
    monkeypatch.setattr("protclip_core.encoders.kernels._medium_precision_is_exact", lambda: False)
    before = torch.get_float32_matmul_precision()
    with onednn_products():
        assert torch.get_float32_matmul_precision() == before
