"""Projections with a skip connection: numbers, what they read, and bundles that do not fit."""

from __future__ import annotations

import copy
import hashlib
import json
import random

import msgspec
import numpy as np
import pytest
import torch
import torch.nn.functional as F

import protclip_core as pc
from protclip_core.encoders.projection import (
    ProjectionForm,
    SkipProjection,
    initialise_skip,
    make_projection,
)
from protclip_core.encoders.shapes import read_shapes
from protclip_core.errors import ModelError
from protclip_core.models.from_bundle import check_bundle
from protclip_core.models.info import describe_model
from protclip_core.models.settings import resolve_settings
from protclip_core.store.reader import EmbeddingStore
from tests.support.helpers import write_fasta
from tests.unit.models.dual import JOINT, Dual
from tests.unit.models.skips import ALL, HIDDEN, INPUT, KMER, READS_INPUT, STREAM, Skips
from tests.unit.models.test_protclip import write_unchecked

FORMS = {"all": ALL, "input": READS_INPUT}
RNG = random.Random(3)
SEQUENCES = ["".join(RNG.choices("ACDEFGHIKLMNPQRSTVWYX", k=k)) for k in (1, 7, 30, 40, 93)]
TEXTS = ["zinc", "ATP-binding kinase of the membrane.", "Ubiquitin of the membrane"]


@pytest.fixture(scope="module", params=FORMS)
def reads(request):
    return request.param


@pytest.fixture(scope="module")
def skips(reads):
    return Skips(FORMS[reads])


@pytest.fixture(scope="module")
def folder(skips, tmp_path_factory):
    return skips.write(tmp_path_factory.mktemp("skips") / "skips")


@pytest.fixture(scope="module")
def model(folder):
    return pc.load_model(folder, device="cpu")


def test_both_sides_equal_plain_numpy(reads, skips, model):
    """Proteins beyond one window (40 residues) among them."""
    means = model.embed(SEQUENCES)
    assert means.shape == (5, INPUT + STREAM)
    found = model.embed_proteins(SEQUENCES)
    assert found.shape == (5, JOINT) and found.dtype == np.float32
    expected = skips.twin("protein", means, read=FORMS[reads].get("protein_dim"))
    np.testing.assert_allclose(found, expected, atol=2e-6)
    texts = skips.twin("text", model.embed_text(TEXTS, space="encoder"))
    np.testing.assert_allclose(model.embed_text(TEXTS), texts, atol=2e-6)
    apart = skips.twin("protein", means[:, ::-1], read=FORMS[reads].get("protein_dim"))
    assert np.abs(found - apart).max() > 0.1  # the twin is no constant


def test_residues_in_the_joint_space_equal_plain_numpy(reads, skips, model):
    num_layers, read = model.encoder.num_layers, FORMS[reads].get("protein_dim")
    ask = {"per_residue": True, "pooling": "tokens"}
    joint = resolve_settings(model.info, num_layers, space="joint", **ask)
    encoder = resolve_settings(model.info, num_layers, **ask)
    pairs = zip(model.embed_batch(SEQUENCES, joint), model.embed_batch(SEQUENCES, encoder))
    for sequence, (found, plain) in zip(SEQUENCES, pairs, strict=True):
        assert found.residues.shape == (len(sequence), JOINT)
        expected = skips.twin("protein", plain.residues, read=read, normalise=False)
        np.testing.assert_allclose(found.residues, expected, atol=1e-5)
        mean = skips.twin("protein", plain.vector[None], read=read)[0]
        np.testing.assert_allclose(found.vector, mean, atol=2e-6)


def test_a_vector_does_not_depend_on_the_others(model):
    rng = random.Random(7)
    alone = np.concatenate([model.embed_proteins([s]) for s in SEQUENCES])
    for _ in range(50):
        chosen = [rng.randrange(len(SEQUENCES)) for _ in range(rng.randint(2, 8))]
        found = model.embed_proteins([SEQUENCES[i] for i in chosen])
        np.testing.assert_allclose(found, alone[chosen], atol=2e-6)


def test_only_the_input_of_the_encoder_is_read(reads, skips, model, tmp_path):
    def change(tensors):
        for name, value in tensors.items():
            if name.startswith("protein_encoder.layers."):
                value.add_(0.5)

    other = pc.load_model(skips.write(tmp_path / "m", change=change), device="cpu")
    assert np.abs(other.embed(SEQUENCES) - model.embed(SEQUENCES)).max() > 0.01
    same = np.array_equal(other.embed_proteins(SEQUENCES), model.embed_proteins(SEQUENCES))
    assert same is (reads == "input")


class NoLayer(torch.nn.Module):
    def forward(self, x, batch):
        raise AssertionError("a layer was computed that nothing reads")


def test_layers_that_nothing_reads_are_not_computed(tmp_path):
    model = pc.load_model(Skips(READS_INPUT).write(tmp_path / "m"), device="cpu")
    expected = model.embed_proteins(SEQUENCES)
    model.encoder.module.layers = torch.nn.ModuleList([NoLayer(), NoLayer()])
    np.testing.assert_array_equal(model.embed_proteins(SEQUENCES), expected)
    with pytest.raises(AssertionError, match="nothing reads"):
        model.embed(SEQUENCES)


def test_the_program_embeds_into_the_joint_space(model, folder, protclip, tmp_path):
    write_fasta(tmp_path / "x.fa", [(f"p{i}", s) for i, s in enumerate(SEQUENCES)])
    outcome = protclip(
        "embed", "x.fa", "--model", str(folder), "--space", "joint", "-o", "x.h5", cwd=tmp_path
    )
    assert outcome.rc == 0, outcome.err
    with EmbeddingStore.open(tmp_path / "x.h5") as store:
        for row, vector in enumerate(model.embed_proteins(SEQUENCES)):
            np.testing.assert_allclose(store.get(f"p{row}"), vector, atol=2e-6)


def test_what_models_info_says(reads, folder, protclip, tmp_path):
    words = f"skip connection past a hidden layer of {HIDDEN}"
    if reads == "input":
        words += f"; reads the encoder's input of {INPUT}"
    outcome = protclip("models", "info", str(folder), "--format", "tsv", cwd=tmp_path)
    assert [line for line in outcome.out.splitlines() if line.startswith("projection")] == [
        f"projection\t{words}"
    ]
    outcome = protclip("models", "verify", str(folder), cwd=tmp_path)
    assert outcome.rc == 0, outcome.err


def test_the_plain_form_is_as_ever(tmp_path):
    dual = Dual()
    model = pc.load_model(dual.write(tmp_path / "m"), device="cpu")
    assert model.info.projection is None
    assert "projection" not in dict(model.info.facts())
    content = json.dumps(
        [model.info.bundle.config["protein_encoder"], JOINT], sort_keys=True
    ).encode()
    assert model.info.config_sha256 == hashlib.sha256(content).hexdigest()
    (w1, b1, w2, b2) = dual.protein_projection.state_dict().values()
    for sequence in SEQUENCES:
        pooled = torch.from_numpy(model.embed([sequence]))
        made = F.linear(F.relu(F.linear(pooled, w1, b1)), w2, b2)
        expected = F.normalize(made, dim=-1).numpy()
        np.testing.assert_array_equal(model.embed_proteins([sequence]), expected)


def test_forms_differ_in_the_hash_of_the_configuration(tmp_path):
    hashes = set()
    for name, form in FORMS.items():
        hashes.add(describe_model(Skips(form).write(tmp_path / name)).config_sha256)
    assert len(hashes) == 2


NAMES = [f"{side}_projection.{layer}.{kind}"
         for side in ("protein", "text")
         for layer, kind in (("norm", "weight"), ("hidden", "bias"), ("output", "weight"),
                             ("skip", "weight"))]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("fault", ["missing", "shape", "nan"])
def test_a_damaged_tensor_is_named(tmp_path, name, fault):
    def change(tensors):
        if fault == "missing":
            del tensors[name]
        elif fault == "shape":
            tensors[name] = tensors[name][:-1]
        else:
            tensors[name].fill_(float("nan"))

    skips = Skips(READS_INPUT)
    if fault == "nan":
        write_unchecked(skips, tmp_path / "m", change)
    else:
        skips.write(tmp_path / "m", change=change)
    said = {
        "missing": rf"1 missing \({name}\)",
        "shape": rf"1 of wrong shape \({name} is",
        "nan": f"tensor {name} holds NaN or infinity",
    }
    for look in (
        lambda: check_bundle(describe_model(tmp_path / "m")),
        lambda: pc.load_model(tmp_path / "m", device="cpu").embed_text(["zinc"]),
    ):
        with pytest.raises(ModelError, match=said[fault]):
            look()


def test_tensors_of_the_other_form_are_refused(tmp_path):
    path = Skips(ALL).write(tmp_path / "skip", config={"projection": None})
    with pytest.raises(ModelError, match=r"4 missing \(protein_projection\.0\.bias.*7 unknown"):
        pc.load_model(path, device="cpu")
    path = Dual().write(tmp_path / "plain", config={"projection": ALL})
    with pytest.raises(ModelError, match=r"7 missing \(protein_projection\.hidden\.bias.*4 unk"):
        pc.load_model(path, device="cpu")


def test_a_tensor_that_the_form_does_not_have_is_named(tmp_path):
    extra = {"text_projection.skip.bias": torch.zeros(JOINT)}
    path = Skips(ALL).write(tmp_path / "m", change=lambda tensors: tensors.update(extra))
    with pytest.raises(ModelError, match=r"1 unknown \(text_projection\.skip\.bias\)"):
        pc.load_text_model(path, device="cpu")


KEEPS_NONE = r"protein_dim is 20, but the protein encoder keeps no input to read alone"
ESM2 = Dual(lm_head=False).config["protein_encoder"]
CASES = {
    "of an esm2": ({"protein_encoder": ESM2}, KEEPS_NONE),
    "of none": ({"protein_encoder": None}, KEEPS_NONE),
    "nothing kept": ({"protein_encoder": KMER | {"type": "kmer", "keep_input": False}}, KEEPS_NONE),
    "too narrow": ({"projection": READS_INPUT | {"protein_dim": 12}}, "is 12, not the 20 of"),
    "too wide": ({"projection": READS_INPUT | {"protein_dim": 32}}, "is 32, not the 20 of"),
    "no joint space": ({"projection_dim": None}, "projection needs a projection_dim"),
    "unknown form": ({"projection": ALL | {"form": "deep"}}, r"projection\.form is 'deep'"),
    "no form": ({"projection": {"hidden_dim": 3}}, r"projection\.form is missing"),
    "no width": ({"projection": {"form": "skip"}}, r"projection\.hidden_dim is missing"),
    "unknown key": (
        {"projection": ALL | {"text_dim": 3}},
        "projection has an unknown field .text_d",
    ),
    "no object": ({"projection": ["skip"]}, "projection is .*object"),
    "no text": ({"projection": ALL | {"form": ["skip"]}}, "form is "),
    **{
        f"{name} {str(value)[:9]}": (
            {"projection": READS_INPUT | {name: value}},
            rf"projection\.{name} is ",
        )
        for name in ("hidden_dim", "protein_dim")
        for value in (0, -1, True, 1.5, "3", [1], 10**9, 10**4000)
    },
}


@pytest.mark.parametrize("case", CASES)
def test_a_form_of_no_use_is_refused(case):
    change, said = CASES[case]
    config = copy.deepcopy(Skips(READS_INPUT).config) | change
    with pytest.raises(ModelError, match=said) as caught:
        read_shapes({n: v for n, v in config.items() if v is not None}, "here")
    message = str(caught.value)
    assert caught.value.code == "model.bad_field"
    assert message.startswith("here: ") and "projection" in message
    assert "\n" not in message and len(message) < 300


def test_a_wrong_protein_dim_is_refused_when_the_bundle_is_described(tmp_path):
    config = {"projection": READS_INPUT | {"protein_dim": 12}}
    path = Skips(READS_INPUT).write(tmp_path / "m", config=config)
    with pytest.raises(ModelError, match=r"projection\.protein_dim is 12, not the 20 of the enc"):
        describe_model(path)


@pytest.mark.parametrize("plain", FORMS.values(), ids=FORMS)
def test_a_form_survives_being_written(plain):
    form = msgspec.convert(plain, ProjectionForm)
    assert form.to_dict() == plain
    assert form.for_texts().to_dict() == ALL


def test_fresh_weights_keep_the_size_of_what_passes():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = SkipProjection(300, 200, 400)
        torch.nn.init.ones_(made.norm.bias)
        initialise_skip(made)
        vectors = 5 * torch.randn(500, 300) + 3
    made.requires_grad_(requires_grad=False)
    read = made.norm(vectors)
    assert float(made.skip(read).std()) == pytest.approx(1, rel=0.05)
    assert float(made.hidden(read).std()) == pytest.approx(1, rel=0.05)
    assert float(made.output.weight.std()) == pytest.approx(0.5 / 20, rel=0.05)
    assert all(not bool(layer.bias.any()) for layer in (made.norm, made.hidden, made.output))
    assert bool((made.norm.weight == 1).all())


def test_dropout_is_for_training_alone_and_spares_the_skip_connection():
    made = make_projection(6, 4, ProjectionForm(form="skip", hidden_dim=8), dropout=0.9)
    vectors = torch.arange(12.0).reshape(2, 6)
    made.eval().requires_grad_(requires_grad=False)
    assert torch.equal(made(vectors), made(vectors))
    made.train()
    with torch.random.fork_rng():
        torch.manual_seed(1)
        found = {float(made(vectors).sum()) for _ in range(20)}
        assert len(found) > 5
        torch.nn.init.zeros_(made.output.weight)
        assert torch.equal(made(vectors), made(vectors))
    with pytest.raises(ValueError, match="the plain form of the projection has no dropout"):
        make_projection(6, 4, None, dropout=0.1)
    with pytest.raises(ValueError, match="protein_dim 7 is more than the width 6"):
        make_projection(6, 4, ProjectionForm(form="skip", hidden_dim=8, protein_dim=7))
