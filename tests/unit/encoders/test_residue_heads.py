"""Heads on residues against explicit loops."""

from __future__ import annotations

import math

import pytest
import torch

from protclip_core.encoders.residue_heads import (
    PrototypeBank,
    ResidueHead,
    ResidueHeads,
    SegmentDecoder,
)
from tests.unit.models.encoders import randomise


def made(module, seed=0):
    randomise(module, seed)
    return module


def numbers(tensor):
    return tensor.detach().tolist()


def dot(row, vector):
    return sum(a * b for a, b in zip(row, vector, strict=True))


def linear(layer, vector):
    rows = zip(numbers(layer.weight), numbers(layer.bias), strict=True)
    return [dot(row, vector) + bias for row, bias in rows]


def softmax(values):
    powers = [math.exp(v - max(values)) for v in values]
    return [p / sum(powers) for p in powers]


def test_a_head_is_linear_gelu_norm_linear():
    head = made(ResidueHead(6, 5, 4))
    assert {name.partition(".")[0] for name in head.state_dict()} == {"0", "2", "3"}
    vector = torch.randn(2, 3, 6)[1, 2].tolist()
    inner = [v * 0.5 * (1 + math.erf(v / math.sqrt(2))) for v in linear(head[0], vector)]
    mean = sum(inner) / 5
    spread = math.sqrt(sum((v - mean) ** 2 for v in inner) / 5 + 1e-5)
    scaled = zip(inner, numbers(head[2].weight), numbers(head[2].bias), strict=True)
    normed = [(v - mean) / spread * w + b for v, w, b in scaled]
    found = head(torch.tensor(vector))
    torch.testing.assert_close(found, torch.tensor(linear(head[3], normed)), rtol=0, atol=1e-5)


def test_residues_look_at_real_text_tokens_only():
    decoder = made(SegmentDecoder(4), 1)
    generator = torch.Generator().manual_seed(1)
    residues = torch.randn(3, 5, 4, generator=generator)
    text = torch.randn(3, 6, 4, generator=generator)
    real = [6, 2, 4]
    mask = torch.arange(6) < torch.tensor(real).unsqueeze(1)
    found = decoder(residues, text, mask)
    for pair in range(3):
        values = [linear(decoder.value, text[pair, s].tolist()) for s in range(real[pair])]
        keys = [linear(decoder.key, text[pair, s].tolist()) for s in range(real[pair])]
        for r in range(5):
            query = linear(decoder.query, residues[pair, r].tolist())
            weights = softmax([dot(query, key) / math.sqrt(4) for key in keys])
            expected = [
                sum(w * v[d] for w, v in zip(weights, values, strict=True)) for d in range(4)
            ]
            torch.testing.assert_close(found[pair, r], torch.tensor(expected), rtol=0, atol=1e-5)
    # Whatever stands in the padding has no part, and without a mask all tokens are real.
    text[1, 2:] = float("nan")
    torch.testing.assert_close(decoder(residues, text, mask), found)
    torch.testing.assert_close(decoder(residues[:1], text[:1]), found[:1])


def test_a_text_of_padding_alone_gives_zeros_and_finite_gradients():
    decoder = made(SegmentDecoder(4))
    mask = torch.tensor([[True, False], [False, False]])
    found = decoder(torch.randn(2, 3, 4), torch.randn(2, 2, 4), mask)
    assert torch.equal(found[1], torch.zeros(3, 4))
    found.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in decoder.parameters())


@pytest.mark.parametrize("temperature", [0.9, 0.2])
def test_soft_choice_of_a_prototype(temperature):
    bank = PrototypeBank(5, 4)
    vectors = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(2))
    shares = bank.assign(vectors, temperature=temperature)
    mixed = bank(vectors)
    for i in range(2):
        for j in range(3):
            similar = [dot(row, vectors[i, j].tolist()) for row in numbers(bank.weight)]
            torch.testing.assert_close(
                bank.similarities(vectors)[i, j], torch.tensor(similar), rtol=0, atol=1e-6
            )
            expected = softmax([s / temperature for s in similar])
            torch.testing.assert_close(shares[i, j], torch.tensor(expected), rtol=0, atol=1e-6)
            assert int(bank.nearest(vectors)[i, j]) == similar.index(max(similar))
    torch.testing.assert_close(mixed, bank.assign(vectors) @ bank.weight)


def test_gumbel_noise_draws_each_prototype_as_often_as_its_share():
    """Hard choices under Gumbel noise follow the softmax of the similarities."""
    bank = PrototypeBank(3, 3)
    with torch.no_grad():
        bank.weight.copy_(torch.eye(3))
    wanted = torch.tensor([0.5, 0.3, 0.2])
    generator = torch.Generator().manual_seed(3)
    many = wanted.log().expand(20_000, 3)
    drawn = bank.assign(many, gumbel=True, generator=generator)
    torch.testing.assert_close(drawn.sum(-1), torch.ones(20_000))
    counts = torch.bincount(drawn.argmax(-1), minlength=3) / 20_000
    torch.testing.assert_close(counts, wanted, rtol=0, atol=0.015)
    again = bank.assign(many, gumbel=True, generator=torch.Generator().manual_seed(3))
    assert torch.equal(drawn, again)


def test_the_first_of_equal_prototypes_is_nearest():
    bank = PrototypeBank(4, 2)
    with torch.no_grad():
        bank.weight.copy_(torch.tensor([[0.0, 1.0], [1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]]))
    assert bank.nearest(torch.tensor([[2.0, 0.0], [0.0, 0.0]])).tolist() == [1, 0]


def test_only_the_heads_that_were_asked_for_are_there():
    heads = ResidueHeads(8, 6, 33, mlm=True)
    assert heads.segment_head is heads.segment_decoder is heads.prototypes is None
    assert set(heads.state_dict()) == {f"mlm.{i}.{k}" for i in "023" for k in ("weight", "bias")}
    full = ResidueHeads(8, 6, 33, mlm=True, segments=True, prototypes=7)
    shapes = {name: tuple(value.shape) for name, value in full.state_dict().items()}
    assert shapes["mlm.0.weight"] == (6, 8)
    assert shapes["segment_head.0.weight"] == (6, 6)
    assert shapes["segment_head.3.weight"] == (33, 6)
    assert shapes["segment_decoder.query.bias"] == (6,)
    assert shapes["prototypes.weight"] == (7, 6)
    assert shapes["segment_logit_scale"] == (2,)
    assert full.segment_logit_scale.exp().tolist() == pytest.approx([10, 10])
