"""Dual encoders: proteins and texts in one space, residue heads, and bundles that do not fit."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from safetensors import safe_open

import protclip_core as pc
from protclip_core.encoders.alphabet import TOKENS, encode
from protclip_core.encoders.packing import pack_sequences
from protclip_core.encoders.windows import window_starts
from protclip_core.errors import ModelError, UsageError
from protclip_core.io.fasta import read_fasta
from protclip_core.models.info import BUNDLED, DEFAULT_MODEL, describe_model
from protclip_core.tasks.embed.plan import plan_embedding
from protclip_core.vectors.embed_request import EmbedRequest
from protclip_core.weights.bundle import open_bundle
from protclip_core.weights.names import transformers_names
from tests.unit.models.dual import (
    JOINT,
    PROTEIN,
    TEXT,
    TEXT_ONLY,
    Dual,
    rounded,
    text_only,
    tokenizer_of_words,
)
from tests.unit.models.encoders import randomise, transformers_esm

HOUSE_FIELDS = ("type", "max_tokens")
HEADS = {"mlm": True, "segments": True, "prototypes": 5}
SEQUENCES = ["MKTAYIAKQR", "ACDEFGHIKLMNPQRSTVWY" * 3, "M"]


@pytest.fixture(scope="module")
def dual():
    """As the official checkpoint: all heads on residues, none of ESM-2's own."""
    return Dual(lm_head=False, heads=HEADS)


@pytest.fixture(scope="module")
def folder(dual, tmp_path_factory):
    return dual.write(tmp_path_factory.mktemp("dual") / "dual")


@pytest.fixture(scope="module")
def model(folder):
    return pc.load_model(folder, device="cpu")


def unit(vector):
    return vector / vector.norm()


def naive(dual, sequence):
    """Mean of all tokens, projected, by the readable module alone."""
    with torch.inference_mode():
        hidden = dual.protein(pack_sequences([sequence]))[PROTEIN["num_layers"]]
        return hidden, unit(dual.protein_projection(hidden.mean(0)))


def test_both_sides_equal_plain_modules(dual, model):
    assert isinstance(model, pc.ProtclipModel)
    assert model.logit_scale == 2.5
    proteins = model.embed_proteins(SEQUENCES)
    assert proteins.shape == (3, JOINT) and proteins.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(proteins, axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(proteins, model.embed(SEQUENCES, space="joint"))
    for sequence, found in zip(SEQUENCES, proteins, strict=True):
        np.testing.assert_allclose(found, naive(dual, sequence)[1].numpy(), atol=2e-6)
    texts = ["zinc binding", "ATP-binding kinase of the membrane."]
    found = model.embed_text(texts)
    np.testing.assert_array_equal(found, model.embed_text(texts))
    np.testing.assert_array_equal(found, model.text_model.embed(texts, space="joint"))
    assert model.embed_text(texts, space="encoder").shape == (2, TEXT["hidden_size"])
    for text, row in zip(texts, found, strict=True):
        with torch.inference_mode():
            ids = torch.tensor([tokenizer_of_words().encode(text).ids])
            mean = dual.text(ids).last_hidden_state[0].mean(0)
            np.testing.assert_allclose(row, unit(dual.text_projection(mean)).numpy(), atol=2e-6)


def test_a_model_as_published_equals_transformers(tmp_path):
    """EsmModel and BertModel of transformers, batch of one, mean of all tokens, projected."""
    dual = Dual(lm_head=False)
    reference = rounded(transformers_esm(2, 32, 4).esm)
    names = transformers_names(reference.state_dict())
    dual.config["protein_encoder"] |= {"ffn_dim": 128, "token_dropout": True}

    def official(tensors):
        for name in [n for n in tensors if n.startswith("protein_encoder.")]:
            del tensors[name]
        tensors |= {f"protein_encoder.{n}": v.clone() for n, v in names.items()}

    model = pc.load_model(dual.write(tmp_path / "m", change=official), device="cpu")
    for sequence, found in zip(SEQUENCES, model.embed_proteins(SEQUENCES), strict=True):
        ids = torch.from_numpy(encode(sequence).astype("int64"))[None]
        with torch.inference_mode():
            states = reference(ids, attention_mask=torch.ones_like(ids)).last_hidden_state[0]
            expected = unit(dual.protein_projection(states.mean(0)))
        np.testing.assert_allclose(found, expected.numpy(), atol=2e-6)


def test_the_bundled_model_takes_both():
    model = pc.load_model(device="cpu")
    records = list(read_fasta(BUNDLED / "example.fasta"))
    assert len(records) == 12
    names = [record.description for record in records]
    proteins = model.embed_proteins([record.sequence for record in records])
    texts = model.embed_text(names)
    assert proteins.shape == texts.shape == (12, model.info.joint_dim)
    for vectors in (proteins, texts):
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(texts, model.embed_text(names))
    with safe_open(BUNDLED / DEFAULT_MODEL / "model.safetensors", framework="numpy") as stored:
        assert model.logit_scale == float(stored.get_tensor("logit_scale"))
    np.testing.assert_allclose(texts, plain_texts(names), atol=2e-6)
    text_model = pc.load_text_model(DEFAULT_MODEL, device="cpu")
    assert isinstance(text_model, pc.TextModel)
    np.testing.assert_array_equal(text_model.embed(names, space="joint"), texts)


def plain_texts(texts):
    """Texts in the joint space of the bundled model, by transformers and tokenizers alone."""
    from tokenizers import Tokenizer
    from transformers import BertConfig, BertModel

    bundle = open_bundle(BUNDLED / DEFAULT_MODEL)
    shape = {n: v for n, v in bundle.config["text_encoder"].items() if n not in HOUSE_FIELDS}
    module = BertModel(BertConfig(**shape), add_pooling_layer=False).eval()
    module.load_state_dict({n: v.float() for n, v in bundle.tensors("text_encoder.").items()})
    p = {n: v.float() for n, v in bundle.tensors("text_projection.").items()}
    tokenizer = Tokenizer.from_file(str(bundle.path / "tokenizer.json"))
    rows = []
    for text in texts:
        with torch.inference_mode():
            mean = module(torch.tensor([tokenizer.encode(text).ids])).last_hidden_state[0].mean(0)
            read = (mean - mean.mean()) / (mean.var(unbiased=False) + 1e-5).sqrt()
            read = read * p["norm.weight"] + p["norm.bias"]
            inner = p["hidden.weight"] @ read + p["hidden.bias"]
            inner = inner * (1 + torch.erf(inner / 2**0.5)) / 2
            output = p["output.weight"] @ inner + p["output.bias"]
            rows.append(unit(output + p["skip.weight"] @ read))
    return torch.stack(rows).numpy()


def test_residue_logits_come_from_the_heads_of_the_checkpoint(dual, model):
    assert model.residue_tokens == TOKENS
    found = model.residue_logits(SEQUENCES)
    assert [f.shape for f in found] == [(len(s) + 2, 33) for s in SEQUENCES]
    for sequence, logits in zip(SEQUENCES, found, strict=True):
        with torch.inference_mode():
            expected = dual.heads.mlm(naive(dual, sequence)[0])
        assert logits.dtype == np.float32
        np.testing.assert_allclose(logits, expected.numpy(), atol=1e-5)


def test_residue_logits_prefer_the_encoders_own_head(tmp_path):
    dual = Dual(lm_head=True, heads={"mlm": True})
    model = pc.load_model(dual.write(tmp_path / "m"), device="cpu")
    (found,) = model.residue_logits(["MKTAY"])
    with torch.inference_mode():
        expected = dual.protein.logits(naive(dual, "MKTAY")[0])
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-5)


def test_residue_logits_of_long_proteins_see_averaged_windows(tmp_path):
    dual = Dual(lm_head=False, heads={"mlm": True})
    shape = {**dual.config["protein_encoder"], "max_residues": 40}
    path = dual.write(tmp_path / "m", config={"protein_encoder": shape})
    model = pc.load_model(path, device="cpu")
    sequence = "".join(random.Random(6).choices("ACDEFGHIKLMNPQRSTVWY", k=93))
    starts = window_starts(93, 40, 10)
    assert len(starts) == 3
    windows = [naive(dual, sequence[s : s + 40])[0] for s in starts]
    vectors = [windows[0][0]]
    for i in range(93):
        seen = [w[1 + i - s] for s, w in zip(starts, windows, strict=True) if s <= i < s + 40]
        vectors.append(sum(seen) / len(seen))
    vectors.append(windows[-1][-1])
    with torch.inference_mode():
        expected = dual.heads.mlm(torch.stack(vectors))
    (found,) = model.residue_logits([sequence])
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-5)


def test_a_model_without_any_head_says_so(tmp_path):
    model = pc.load_model(Dual(lm_head=False).write(tmp_path / "m"), device="cpu")
    assert model.residue_heads is None
    with pytest.raises(UsageError, match="model dual has no head for residues"):
        model.residue_logits(["MKT"])
    with pytest.raises(UsageError, match="one string was given"):
        model.residue_logits("MKT")


def test_all_heads_are_filled_by_name(dual, model):
    own, theirs = model.residue_heads.state_dict(), dual.heads.state_dict()
    assert own.keys() == theirs.keys()
    assert all(torch.equal(own[name], theirs[name]) for name in own)


TENSORS = [
    "protein_encoder.layers.1.key.weight",
    "text_encoder.encoder.layer.1.output.dense.bias",
    "protein_projection.0.weight",
    "text_projection.2.bias",
    "logit_scale",
    "residue_heads.mlm.2.weight",
    "residue_heads.segment_decoder.value.bias",
    "residue_heads.prototypes.weight",
    "residue_heads.segment_logit_scale",
]


@pytest.mark.parametrize("name", TENSORS)
@pytest.mark.parametrize("fault", ["missing", "shape", "nan"])
def test_every_part_is_checked_when_the_model_is_loaded(dual, tmp_path, name, fault):
    def change(tensors):
        if fault == "missing":
            del tensors[name]
        elif fault == "shape":
            tensors[name] = tensors[name].unsqueeze(-1)
        else:
            tensors[name] = torch.full_like(tensors[name], float("nan"))

    path = tmp_path / "m"
    if fault == "nan":
        with pytest.raises(ModelError, match=f"tensor {name}: holds NaN"):
            dual.write(path, change=change, half=False)
        write_unchecked(dual, path, change)
    else:
        dual.write(path, change=change)
    with pytest.raises(ModelError) as caught:
        pc.load_model(path, device="cpu")
    said = {
        "missing": f"1 missing ({name})",
        "shape": f"of wrong shape ({name} is",
        "nan": f"tensor {name} holds NaN or infinity",
    }
    assert said[fault] in str(caught.value)
    assert str(path) in str(caught.value)


def write_unchecked(dual, path, change):
    """Write a bundle whose tensors `write_bundle` would refuse."""
    import json

    from safetensors.torch import save_file

    from protclip_core.weights.bundle import sha256_of

    dual.write(path)
    tensors = dual.tensors()
    change(tensors)
    save_file({n: v.half().clone() for n, v in tensors.items()}, path / "model.safetensors")
    manifest = json.loads((path / "manifest.json").read_text())
    for name, entry in manifest["files"].items():
        entry["sha256"] = sha256_of(path / name)
    (path / "manifest.json").write_text(json.dumps(manifest))


FOR_NOBODY = ["residue_heads", "logit_scale.weight", "structure_encoder.weight", "logit_bias"]
FOR_TEXTS = ["text_encoder.pooler.dense.weight", "text_projection.4.weight", *FOR_NOBODY]
FOR_PROTEINS = ["protein_encoder.layers.1.extra.weight", "residue_heads.predictor.0.weight"]


@pytest.mark.parametrize(
    ("load", "name"),
    [
        *((pc.load_model, name) for name in FOR_PROTEINS + FOR_TEXTS),
        *((pc.load_text_model, name) for name in FOR_TEXTS),
    ],
)
def test_a_tensor_that_nothing_uses_is_named(dual, tmp_path, name, load):
    dual.write(tmp_path / "m", change=lambda tensors: tensors.update({name: torch.zeros(3)}))
    with pytest.raises(ModelError, match="unknown|does not ask for") as caught:
        load(tmp_path / "m", device="cpu")
    assert f"({name})" in str(caught.value)


def test_a_part_that_the_configuration_does_not_name_is_refused(dual, tmp_path):
    path = dual.write(tmp_path / "m", config={"residue_heads": None})
    with pytest.raises(ModelError, match=r"\d+ tensors that the configuration does not ask for"):
        pc.load_model(path, device="cpu")
    path = dual.write(tmp_path / "n", config={"text_encoder": None})
    with pytest.raises(ModelError, match=r"not ask for \(text_encoder\.embeddings"):
        pc.load_model(path, device="cpu")


def test_without_projections_there_is_no_joint_space(dual, tmp_path):
    def change(tensors):
        for name in [n for n in tensors if not n.split(".")[0].endswith("_encoder")]:
            del tensors[name]

    config = {"projection_dim": None, "residue_heads": None}
    path = dual.write(tmp_path / "m", change=change, config=config)
    model = pc.load_model(path, device="cpu")
    assert type(model) is pc.ProteinModel
    with pytest.raises(UsageError, match="model dual has no joint space.*load_text_model"):
        model.embed_text(["kinase"])
    with pytest.raises(UsageError, match="has no joint space"):
        model.embed(["MKT"], space="joint")
    assert pc.load_text_model(path, device="cpu").embed(["kinase"]).shape == (1, 24)


def test_a_text_encoder_alone(dual, tmp_path):
    path = dual.write(tmp_path / "m", change=text_only, config=TEXT_ONLY | {"residue_heads": None})
    info = describe_model(path)
    assert (info.contents, info.encoder, info.joint_dim) == ("text", None, None)
    message = "model words is a text encoder and takes no proteins; use a protein model"
    with pytest.raises(UsageError, match=message):
        pc.load_model(path, device="cpu")
    (tmp_path / "x.fa").write_text(">a\nMKT\n")
    request = EmbedRequest(inputs=(str(tmp_path / "x.fa"),), model=str(path), device="cpu")
    with pytest.raises(UsageError, match=message):
        plan_embedding(request)


def test_embed_refuses_a_text_model_in_one_line(dual, protclip, tmp_path):
    dual.write(tmp_path / "m", change=text_only, config=TEXT_ONLY | {"residue_heads": None})
    (tmp_path / "x.fa").write_text(">a\nMKT\n")
    for extra in ([], ["--dry-run"]):
        outcome = protclip("embed", "x.fa", "--model", "./m", *extra, cwd=tmp_path)
        assert outcome.rc == 2
        assert outcome.err.count("\n") == 1
        assert "error: model words is a text encoder and takes no proteins" in outcome.err
    assert {p.name for p in tmp_path.iterdir()} <= {"m", "x.fa"}


def test_a_protein_model_takes_no_texts(tiny_bundle, tiny_model):
    with pytest.raises(UsageError, match="model tiny is a protein encoder and takes no texts"):
        tiny_model.embed_text(["kinase"])
    with pytest.raises(UsageError, match="model tiny is a protein encoder and takes no texts"):
        pc.load_text_model(tiny_bundle)


def test_bfloat16_leaves_texts_in_float32(folder, model):
    rounded = pc.load_model(folder, device="cpu", dtype="bfloat16")
    texts = ["zinc binding", "kinase"]
    np.testing.assert_array_equal(rounded.embed_text(texts), model.embed_text(texts))
    difference = np.abs(rounded.embed_proteins(SEQUENCES) - model.embed_proteins(SEQUENCES)).max()
    assert 1e-6 < difference < 0.1


@pytest.mark.full
def test_200_random_batches_of_proteins(model):
    rng = random.Random(7)
    pool = ["".join(rng.choices("ACDEFGHIKLMNPQRSTVWY", k=rng.randint(1, 60))) for _ in range(40)]
    alone = np.concatenate([model.embed_proteins([s]) for s in pool])
    worst = 0.0
    for _ in range(200):
        chosen = [rng.randrange(40) for _ in range(rng.randint(2, 8))]
        found = model.embed_proteins([pool[i] for i in chosen])
        worst = max(worst, float(np.abs(found - alone[chosen]).max()))
    print(f"largest deviation of 200 batches: {worst:.1e}")
    assert worst < 2e-6


def test_modules_are_not_trained_by_accident(model):
    modules = [model.residue_heads, model.text_model._module, model.text_model._projection]
    for module in modules:
        assert not module.training
        assert not any(p.requires_grad for p in module.parameters())
    randomise(Dual().text, 0)  # a model that was loaded shares nothing with one that was not
    assert np.isfinite(model.embed_text(["zinc"])).all()
