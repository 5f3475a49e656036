"""What runs on a GPU only, as far as a CPU can tell: the same code with the kernel replaced."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from protclip_core.encoders.esm2 import Esm2, Esm2Config
from protclip_core.encoders.esm2_inference import Esm2Inference
from protclip_core.encoders.packing import pack_sequences


def varlen_twin(query, key, value, bounds, bounds_k, longest, longest_k, *, scale, num_splits=None):
    """Plain attention protein by protein, with the arguments of torch's varlen_attn."""
    assert bounds.dtype == torch.int32
    assert torch.equal(bounds, bounds_k)
    assert longest == longest_k == int(bounds.diff().max())
    out = torch.empty_like(query)
    for start, end in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        q, k, v = (t[start:end].transpose(0, 1) for t in (query, key, value))
        out[start:end] = F.softmax(q @ k.transpose(1, 2) * scale, -1).matmul(v).transpose(0, 1)
    return out


@pytest.fixture
def model() -> Esm2:
    torch.manual_seed(0)
    return Esm2(Esm2Config(num_layers=2, hidden_dim=32, num_heads=4, ffn_dim=64)).eval()


def test_rotation_in_real_numbers_and_varlen_attention(model: Esm2, monkeypatch) -> None:
    import torch.nn.attention.varlen

    monkeypatch.setattr(torch.nn.attention.varlen, "varlen_attn", varlen_twin)
    batch = pack_sequences(["MKTAYI", "MK", "MKTAYIAKQR", "AA"])
    expected = Esm2Inference(model).hidden(batch, [1, 2])
    gpu_like = Esm2Inference(model)
    gpu_like.on_cpu, gpu_like._use_varlen = False, True
    for layer in gpu_like._layers:
        layer.in_place = False
    for layer, found in gpu_like.hidden(batch, [1, 2]).items():
        torch.testing.assert_close(found, expected[layer], rtol=0, atol=2e-6)


def test_varlen_without_the_option_for_splits(model: Esm2, monkeypatch) -> None:
    """PyTorch 2.10 has the function but not ``num_splits``."""
    import torch.nn.attention.varlen

    def older(*arguments, scale):
        return varlen_twin(*arguments, scale=scale)

    monkeypatch.setattr(torch.nn.attention.varlen, "varlen_attn", older)
    batch = pack_sequences(["MKTAYI", "MK"])
    gpu_like = Esm2Inference(model)
    gpu_like._use_varlen = True
    expected = Esm2Inference(model).hidden(batch)[2]
    torch.testing.assert_close(gpu_like.hidden(batch)[2], expected, rtol=0, atol=2e-6)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_cuda_equals_the_cpu(model: Esm2, dtype: torch.dtype) -> None:
    batch = pack_sequences(["MKTAYI", "MK", "MKTAYIAKQR" * 30, "AA"])
    expected = Esm2Inference(model).hidden(batch)[2]
    found = Esm2Inference(model, device="cuda", dtype=dtype).hidden(batch)[2].cpu()
    tolerance = 2e-5 if dtype == torch.float32 else 5e-2
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)
