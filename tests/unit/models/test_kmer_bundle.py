"""Bundles of k-mer encoders: what comes back, what is refused, what the program makes of them."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import protclip_core as pc
from protclip_core.encoders.kmer_config import KmerConfig
from protclip_core.encoders.kmer_inference import KmerInference
from protclip_core.encoders.packing import pack_sequences
from protclip_core.errors import ModelError, UsageError
from protclip_core.models.info import describe_model
from protclip_core.models.protein import window_starts
from protclip_core.tasks.embed.plan import plan_embedding
from protclip_core.vectors.embed_request import EmbedRequest
from protclip_core.weights.bundle import write_bundle
from tests.support.terminal import read
from tests.unit.models.kmers import SMALL, TABLES, VARIANTS, each_variant, encoder_of, proteins


def write(folder, name="bottleneck", *, change=None, shape=None, lm_head=True):
    module = encoder_of(name, seed=9, lm_head=lm_head)
    tensors = {f"protein_encoder.{n}": v for n, v in module.state_dict().items()}
    if change is not None:
        change(tensors)
    encoder = {"type": "kmer", "lm_head": lm_head, **module.config.to_dict(), **(shape or {})}
    content = {
        "format": "protclip-bundle",
        "format_version": 1,
        "name": "words",
        "pooling": "residues",
        "protein_encoder": encoder,
    }
    write_bundle(folder, content, tensors)
    return folder


@each_variant
def test_a_bundle_gives_back_the_encoder(name, tmp_path):
    model = pc.load_model(write(tmp_path / "m", name), device="cpu")
    module = encoder_of(name, seed=9)
    assert model.encoder.config.to_dict() == module.config.to_dict()
    for stored, value in zip(
        model.encoder.module.state_dict().values(), module.state_dict().values()
    ):
        assert torch.equal(stored, value.half().float())
    texts = proteins(6)
    config, last = module.config, module.config.num_layers
    assert model.embed(texts).shape == (6, config.hidden_dim)
    fast = KmerInference(model.encoder.module)
    for text, logits in zip(texts, model.residue_logits(texts), strict=True):
        hidden = fast.hidden(pack_sequences([text]))[last]
        np.testing.assert_allclose(logits, fast.logits(hidden).numpy(), atol=1e-6)
        expected = hidden[1:-1].mean(0).numpy()
        np.testing.assert_allclose(model.embed([text])[0], expected, atol=1e-6)
        first = fast.hidden(pack_sequences([text]), [0])[0][1:-1].mean(0).numpy()
        np.testing.assert_allclose(model.embed([text], layer=0)[0], first, atol=1e-6)


def test_long_proteins_go_in_windows(tmp_path):
    model = pc.load_model(write(tmp_path / "m", shape={"max_residues": 64}), device="cpu")
    text = "".join(proteins(10, seed=11))
    starts = window_starts(len(text), 64, 16)
    windows = [model.encoder.hidden(pack_sequences([text[s : s + 64]]))[3] for s in starts]
    rows = []
    for i in range(len(text)):
        seen = [w[1 + i - s] for s, w in zip(starts, windows, strict=True) if s <= i < s + 64]
        rows.append(sum(seen) / len(seen))
    np.testing.assert_allclose(model.embed([text])[0], torch.stack(rows).mean(0), atol=5e-6)


def test_without_its_head_it_gives_vectors_but_no_logits(tmp_path):
    model = pc.load_model(write(tmp_path / "m", lm_head=False), device="cpu")
    assert model.embed(["MKT"]).shape == (1, 12)
    with pytest.raises(UsageError, match="model words has no head for residues"):
        model.residue_logits(["MKT"])


def test_bfloat16_is_refused(tmp_path):
    folder = write(tmp_path / "m")
    with pytest.raises(UsageError, match="words computes in float32 only; drop --dtype"):
        pc.load_model(folder, device="cpu", dtype="bfloat16")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("protein_encoder.tables.2.weight"), "1 missing .*tables.2.weight"),
        (
            lambda t: t.update({"protein_encoder.tables.0.weight": torch.zeros(8000, 8)}),
            r"protein_encoder.tables.0.weight is \(8000, 8\), not \(8003, 8\)",
        ),
        (
            lambda t: t.update({"protein_encoder.layers.1.conv.weight": torch.zeros(12, 12, 5)}),
            r"layers.1.conv.weight is \(12, 12, 5\), not \(12, 12, 3\)",
        ),
        (
            lambda t: t.update({"protein_encoder.gates.0.weight": torch.zeros(8003, 1)}),
            r"1 unknown \(protein_encoder.gates.0.weight\)",
        ),
    ],
)
def test_tensors_that_do_not_fit_are_named(tmp_path, change, message):
    with pytest.raises(ModelError, match=message):
        pc.load_model(write(tmp_path / "m", change=change), device="cpu")


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ({"tables": "3:20:8"}, "tables is '3:20:8'"),
        ({"tables": []}, "neither tables nor windows"),
        ({"tables": ["3:20"]}, "'3:20' is not written as PATTERN:ALPHABET:DIM"),
        ({"tables": ["3:7:8"]}, "alphabet '7' is not a partition of the 20 residues"),
        ({"tables": ["011:20:8"]}, "pattern is '011'"),
        ({"tables": ["1a1:20:8"]}, "pattern is '1a1'"),
        ({"tables": ["2:20:8:400"]}, "400 rows are enough for all 400 k-mers"),
        ({"tables": [f"{'1' * 20}:20:8:9"]}, "has too many k-mers"),
        ({"tables": [{"pattern": "11", "dim": 8}]}, r"tables\[0\]\.alphabet is missing"),
        ({"tables": [{"pattern": "11", "alphabet": 20, "dim": 8}]}, r"tables\[0\]\.alphabet is 20"),
        ({"tables": [7]}, r"tables\[0\] is 7"),
        ({"tables": [{"pattern": "1", "colour": 1}]}, r"tables\[0\] has an unknown field 'colour'"),
        (
            {"windows": [{"width": 3, "dim": 2, "activation": "tan"}]},
            r"windows\[0\]\.activation is 'tan'",
        ),
        ({"hidden_dim": 12.0}, "hidden_dim is 12.0"),
        ({"num_layers": -1}, "num_layers is -1"),
        ({"num_layers": True}, "num_layers is True"),
        ({"kernel": 4}, "kernel is 4, not odd"),
        ({"dilations": []}, "layers need dilations"),
        ({"dilations": [1, 0]}, r"dilations\[1\] is 0"),
        ({"gate": 1}, "gate is 1"),
        ({"combine": "mean"}, "combine is 'mean'"),
        ({"combine": "sum", "tables": ["1:20:8", "2:20:4"]}, r"widths \[8, 4\] cannot be added"),
        ({"block": "lstm"}, "block is 'lstm'"),
        ({"projection": False}, "inputs are 48 wide, not 12"),
        ({"keep_input": True}, "hidden_dim 12 has no room behind an input of 48"),
        ({"table_dropout": 1.0}, "table_dropout is 1.0"),
        ({"layer_norm_eps": "x"}, "layer_norm_eps is 'x'"),
        ({"residue_dim": 21}, "residue_dim is 21"),
        ({"attention": 1}, "has an unknown field 'attention'"),
    ],
)
def test_configurations_that_make_no_model(tmp_path, shape, message):
    with pytest.raises(ModelError, match=message):
        describe_model(write(tmp_path / "m", shape=shape))
    with pytest.raises(ValueError, match=message):
        KmerConfig.from_dict(SMALL | shape)


def test_a_configuration_survives_json():
    for shape in VARIANTS.values():
        config = KmerConfig.from_dict(shape)
        assert KmerConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    with pytest.raises(ValueError, match="hidden_dim is missing"):
        KmerConfig.from_dict({"tables": TABLES})


def test_a_plan_counts_its_work_and_no_more(tmp_path):
    folder = write(tmp_path / "m")
    (tmp_path / "x.fa").write_text(">a\nMKTAY\n>b\nMK\n")
    request = EmbedRequest(inputs=(str(tmp_path / "x.fa"),), model=str(folder), device="cpu")
    plan = plan_embedding(request)
    # (5 + 2) + (2 + 2) tokens; projection 48 x 12, three blocks of 12 x 12 x (1 + 3 + 1).
    assert plan.gigaflops == pytest.approx(11 * 2 * (48 * 12 + 3 * 5 * 144) / 1e9)
    assert (plan.dim, plan.distinct, plan.windows_of) == (12, 2, 4096)
    bare = write(tmp_path / "n", "no layers")
    request = EmbedRequest(inputs=(str(tmp_path / "x.fa"),), model=str(bare), device="cpu")
    assert plan_embedding(request).gigaflops == 0


def test_weights_are_counted_as_they_are():
    for name, shape in VARIANTS.items():
        config = KmerConfig.from_dict(shape)
        counted = sum(
            p.numel()
            for n, p in encoder_of(name, lm_head=False).named_parameters()
            if n.endswith("weight") and "norm" not in n
        )
        assert config.num_weights == counted


def test_the_program_embeds_and_describes_it(protclip, fasta, tmp_path):
    folder = write(tmp_path / "m", "behind")
    fasta(20)
    done = protclip("embed", "x.fa", "--model", folder, "--device", "cpu", cwd=tmp_path)
    assert (done.rc, done.out) == (0, "")
    _, vectors = read(tmp_path / "x.h5")
    assert vectors.shape == (20, 58)
    told = protclip("models", "info", folder, cwd=tmp_path).out
    assert "kmer (111 in 20 letters, 11001 in 20 letters, 11111 in 6 letters" in told
    assert "3 layers of width 58, sees 8 residues to each side" in told
    planned = protclip("embed", "x.fa", "--model", folder, "--dry-run", cwd=tmp_path)
    assert planned.rc == 0
    bare = write(tmp_path / "n", "no layers")
    assert "0 layers of width 48" in protclip("models", "info", bare, cwd=tmp_path).out
