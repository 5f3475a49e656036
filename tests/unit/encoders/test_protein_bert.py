"""ProtBERT against transformers under its own rules for residues."""

from __future__ import annotations

import random
import re
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

import protclip_core as pc
from protclip_core.encoders.windows import window_starts
from protclip_core.engines.local import LocalEngine
from protclip_core.errors import ModelError, UsageError
from protclip_core.models.info import describe_model
from protclip_core.models.settings import resolve_settings
from protclip_core.tasks.embed.plan import plan_embedding
from protclip_core.vectors.embed_job import load_job
from protclip_core.vectors.embed_request import EmbedRequest
from protclip_core.weights.bundle import write_bundle
from tests.support.refusals import refused
from tests.unit.models.dual import rounded
from tests.unit.models.encoders import randomise

TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"LAGVESIKRDTPNQFYMHCWXUBZO"]
SHAPE = {
    "vocab_size": 30,
    "hidden_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 3,
    "intermediate_size": 48,
    "hidden_act": "gelu",
    "max_position_embeddings": 130,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
    "pad_token_id": 0,
}
HEAD = {
    "dense.weight": "cls.predictions.transform.dense.weight",
    "dense.bias": "cls.predictions.transform.dense.bias",
    "norm.weight": "cls.predictions.transform.LayerNorm.weight",
    "norm.bias": "cls.predictions.transform.LayerNorm.bias",
    "bias": "cls.predictions.bias",
}


@pytest.fixture(scope="module")
def reference():
    from transformers import BertConfig, BertForMaskedLM

    model = BertForMaskedLM(BertConfig(**SHAPE)).eval()
    randomise(model, 3)
    return rounded(model)


def write(reference, folder, *, lm_head=True, config=None, change=None):
    state = reference.state_dict()
    tensors = {f"protein_encoder.{n}": v for n, v in reference.bert.state_dict().items()}
    if lm_head:
        tensors |= {f"protein_encoder.lm_head.{n}": state[old] for n, old in HEAD.items()}
    if change is not None:
        change(tensors)
    encoder = {"type": "bert", "lm_head": lm_head, "tokens": TOKENS, **SHAPE, **(config or {})}
    content = {
        "format": "protclip-bundle",
        "format_version": 1,
        "name": "protbert",
        "pooling": "residues",
        "protein_encoder": encoder,
    }
    write_bundle(folder, content, tensors)
    return folder


@pytest.fixture(scope="module")
def folder(reference, tmp_path_factory):
    return write(reference, tmp_path_factory.mktemp("protbert") / "m")


@pytest.fixture(scope="module")
def model(folder):
    return pc.load_model(folder, device="cpu")


def forward(reference, sequence):
    """As its authors tell: upper case, rare residues as X, one token a residue."""
    letters = re.sub("[UZOBJ]", "X", sequence.upper())
    ids = [2, *(TOKENS.index(letter) for letter in letters), 3]
    with torch.inference_mode():
        return reference(torch.tensor([ids]), output_hidden_states=True)


def proteins(number, *, seed=0, longest=60):
    rng = random.Random(seed)
    letters = "ACDEFGHIKLMNPQRSTVWY" * 4 + "BJOUXZ"
    return ["".join(rng.choices(letters, k=rng.randint(1, longest))) for _ in range(number)]


@pytest.mark.parametrize("pooling", ["residues", "tokens"])
def test_every_layer_equals_transformers(reference, model, pooling):
    sequences = [*proteins(20), "acdef", "MKT" * 10]
    states = [forward(reference, s).hidden_states for s in sequences]
    for layer in (0, 1, 3, -1):
        found = model.embed(sequences, pooling=pooling, layer=layer)
        for hidden, vector in zip(states, found, strict=True):
            rows = hidden[layer][0]
            expected = (rows[1:-1] if pooling == "residues" else rows).mean(0).numpy()
            assert np.abs(vector - expected).max() <= 1e-6 * np.linalg.norm(expected)


def test_logits_equal_transformers_and_their_columns_are_named(reference, model):
    sequences = proteins(8, seed=1)
    assert model.residue_tokens == tuple(TOKENS)
    for sequence, found in zip(sequences, model.residue_logits(sequences), strict=True):
        expected = forward(reference, sequence).logits[0].numpy()
        assert found.shape == (len(sequence) + 2, 30)
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_residues_are_read_by_its_rules(model):
    encode = model.encoder.encode
    assert encode("MX").tolist() == [2, TOKENS.index("M"), TOKENS.index("X"), 3]
    assert encode("UZOBJ").tolist() == encode("XXXXX").tolist()
    assert encode("acd").tolist() == encode("ACD").tolist()
    assert encode("").tolist() == [2, 3]


@pytest.mark.full
def test_200_random_batches_change_no_protein(model):
    rng = random.Random(5)
    pool = proteins(50, seed=2)
    alone = np.concatenate([model.embed([s]) for s in pool])
    worst = 0.0
    for _ in range(200):
        chosen = [rng.randrange(50) for _ in range(rng.randint(2, 8))]
        found = model.embed([pool[i] for i in chosen])
        worst = max(worst, float(np.abs(found - alone[chosen]).max()))
    print(f"largest deviation of 200 batches: {worst:.1e}")
    assert worst < 5e-6


def test_the_engine_and_its_threads(model):
    pool = [*proteins(40, seed=3), "MKTAY" * 60]
    settings = resolve_settings(model.info, 3, layer=2, per_residue=True)
    expected = model.embed(pool, layer=2)
    with LocalEngine(model, workers=4, batch_tokens=100) as engine:
        results = dict(engine.run(pool, settings))
    for number, sequence in enumerate(pool):
        np.testing.assert_allclose(results[number].vector, expected[number], atol=5e-6)
        assert results[number].residues.shape == (len(sequence), 24)


def test_many_callers_at_once_get_what_one_gets(model):
    pool = proteins(12, seed=4)
    expected = model.embed(pool, layer=1)
    with ThreadPoolExecutor(4) as workers:
        for found in workers.map(lambda _: model.embed(pool, layer=1), range(12)):
            np.testing.assert_array_equal(found, expected)


def test_long_proteins_go_in_windows_of_its_positions(reference, model):
    assert model.info.max_residues == 128
    sequence = "".join(proteins(12, seed=6))
    width, starts = 128, window_starts(len(sequence), 128, 32)
    windows = [forward(reference, sequence[s : s + width]).hidden_states[-1][0] for s in starts]
    rows = []
    for i in range(len(sequence)):
        seen = [w[1 + i - s] for s, w in zip(starts, windows, strict=True) if s <= i < s + width]
        rows.append(sum(seen) / len(seen))
    np.testing.assert_allclose(model.embed([sequence])[0], torch.stack(rows).mean(0), atol=5e-6)


def test_windows_may_not_exceed_its_positions(folder, reference, tmp_path):
    (tmp_path / "x.fa").write_text(">a\nMKT\n")
    request = EmbedRequest(
        inputs=(str(tmp_path / "x.fa"),), model=str(folder), device="cpu", max_residues=129
    )
    with refused("usage.bad_value", "--max-length 129", 128):
        load_job(request, describe_model(folder))
    narrow = write(reference, tmp_path / "n", config={"max_residues": 50})
    assert pc.load_model(narrow, device="cpu").info.max_residues == 50
    wide = write(reference, tmp_path / "w", config={"max_residues": 129})
    with pytest.raises(ModelError, match="max_residues 129 exceeds its positions"):
        describe_model(wide)


def test_a_plan_knows_its_shape_without_weights(folder, tmp_path):
    (tmp_path / "x.fa").write_text(">a\nMKTAY\n>b\nMK\n")
    request = EmbedRequest(inputs=(str(tmp_path / "x.fa"),), model=str(folder), device="cpu")
    plan = plan_embedding(request)
    assert (plan.dim, plan.distinct, plan.windows_of) == (24, 2, 128)
    assert plan.gigaflops > 0


def test_without_its_head_it_gives_vectors_but_no_logits(reference, folder, tmp_path):
    model = pc.load_model(write(reference, tmp_path / "m", lm_head=False), device="cpu")
    np.testing.assert_array_equal(
        model.embed(["MKT"]), pc.load_model(folder, device="cpu").embed(["MKT"])
    )
    with pytest.raises(UsageError, match="model protbert has no head for residues"):
        model.residue_logits(["MKT"])


def test_bfloat16_is_refused(folder):
    with pytest.raises(UsageError, match="protbert computes in float32 only; drop --dtype"):
        pc.load_model(folder, device="cpu", dtype="bfloat16")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("protein_encoder.lm_head.norm.bias"), "1 missing .*lm_head.norm.bias"),
        (lambda t: t.pop("protein_encoder.embeddings.LayerNorm.bias"), "1 missing .protein_enc"),
        (
            lambda t: t.update({"protein_encoder.pooler.dense.bias": torch.zeros(24)}),
            r"1 unknown \(protein_encoder\.pooler\.dense\.bias\)",
        ),
    ],
)
def test_tensors_that_do_not_fit_are_named(reference, tmp_path, change, message):
    with pytest.raises(ModelError, match=message):
        pc.load_model(write(reference, tmp_path / "m", change=change), device="cpu")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"tokens": [f"t{i}" for i in range(30)]}, r"vocabulary lacks \[CLS\], \[SEP\], X"),
        ({"tokens": TOKENS[:-1]}, "tokens (are not 30 distinct ones|is None)"),
        ({"tokens": [*TOKENS[:-1], "L"]}, "tokens (are not 30 distinct ones|is None)"),
        ({"tokens": None}, "tokens (are not 30 distinct ones|is None)"),
        ({"hidden_act": "exec"}, "hidden_act is 'exec'"),
        ({"hidden_size": "24"}, "hidden_size is '24'"),
        ({"num_attention_heads": 5}, "hidden_size 24 is not a multiple of num_attention_heads 5"),
        ({"layer_norm_eps": None}, "layer_norm_eps is None"),
    ],
)
def test_configurations_that_make_no_model(reference, tmp_path, config, message):
    with pytest.raises(ModelError, match=message):
        pc.load_model(write(reference, tmp_path / "m", config=config), device="cpu")
