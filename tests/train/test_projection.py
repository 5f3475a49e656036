"""The form of the projections in training: built as configured, and the same in a bundle."""

from dataclasses import replace

import msgspec
import numpy as np
import pytest
import torch

import protclip_core as pc
from protclip_core.encoders.kmer import KmerEncoder
from protclip_core.encoders.kmer_config import KmerConfig
from protclip_core.encoders.packing import pack_sequences
from protclip_core.encoders.projection import ProjectionForm, SkipProjection
from protclip_core.errors import UsageError
from protclip_core.weights.bundle import write_bundle
from tests.train.launch import DEBUG, write_config
from tests.train.tiny_towers import SEQUENCES
from tests.unit.models.dual import tokenizer_of_words
from tests.unit.models.skips import HIDDEN, INPUT, JOINT, KMER, STREAM
from train.config.run import ModelConfig, ProteinConfig, changed_keys, load_config
from train.towers.build import build_towers
from train.towers.two_towers import (
    TwoTowers,
    bundle_config,
    initialise_bert,
    initialise_projection,
    make_bert,
)

SKIP = ProjectionForm(form="skip", hidden_dim=HIDDEN)
READS_INPUT = ProjectionForm(form="skip", hidden_dim=HIDDEN, protein_dim=INPUT)
FORMS = {"plain": None, "skip": SKIP, "input": READS_INPUT}
TEXTS = ["zinc", "ATP-binding kinase of the membrane."]


def towers_of(form, **options):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        protein = KmerEncoder(KmerConfig.from_dict(KMER), lm_head=False)
        bert = make_bert(vocab_size=74, hidden_dim=24, num_layers=1, num_heads=2, max_tokens=40)
        initialise_bert(bert)
        towers = TwoTowers(protein, bert, JOINT, projection=form, **options)
        for projection in (towers.protein_projection, towers.text_projection):
            initialise_projection(projection)
    return towers.eval()


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_a_bundle_of_the_towers_gives_their_vectors(tmp_path, form):
    towers, tokenizer = towers_of(form), tokenizer_of_words()
    config = bundle_config(towers, "trained", "kmer", 40)
    assert config["projection_dim"] == JOINT
    assert config.get("projection") == (form and form.to_dict())
    files = {"tokenizer.json": tokenizer.to_str().encode()}
    with torch.no_grad():
        batch = pack_sequences(SEQUENCES)
        proteins = towers.protein_embedding(towers.protein_hidden(batch), batch).numpy()
        ids = [torch.tensor([tokenizer.encode(text).ids]) for text in TEXTS]
        texts = np.concatenate([towers.text_embedding(i, torch.ones_like(i)) for i in ids])
    assert np.linalg.matrix_rank(proteins) > 4
    for half, atol in ((False, 2e-6), (True, 5e-3)):
        folder = tmp_path / f"half {half}"
        write_bundle(folder, config, towers.bundle_tensors(), files, half=half)
        model = pc.load_model(folder, device="cpu")
        assert model.info.projection == form
        np.testing.assert_allclose(model.embed_proteins(SEQUENCES), proteins, atol=atol)
        np.testing.assert_allclose(model.embed_text(TEXTS), texts, atol=atol)


def test_the_input_alone_is_enough_where_the_projection_reads_no_more():
    towers, batch = towers_of(READS_INPUT), pack_sequences(SEQUENCES)
    assert towers.reads_input
    assert not towers_of(SKIP).reads_input and not towers_of(None).reads_input
    hidden, inputs = towers.protein_hidden(batch), towers.protein_encoder.embed(batch)
    assert (hidden.shape[1], inputs.shape[1]) == (INPUT + STREAM, INPUT)
    found = towers.protein_embedding(inputs, batch)
    torch.testing.assert_close(found, towers.protein_embedding(hidden, batch), rtol=0, atol=1e-6)
    found[:, 0].sum().backward()
    assert bool(towers.protein_encoder.tables[0].weight.grad.any())


@pytest.mark.parametrize("protein_dim", [INPUT - 8, INPUT + STREAM])
def test_another_width_than_that_of_the_input_is_refused(protein_dim):
    form = msgspec.structs.replace(READS_INPUT, protein_dim=protein_dim)
    with pytest.raises(ValueError, match=f"protein_dim {protein_dim} "):
        towers_of(form)


def test_dropout_is_switched_for_projections_that_learn():
    towers = towers_of(SKIP, projection_dropout=0.5)
    both = (towers.protein_projection, towers.text_projection)
    assert [p.dropout.p for p in both] == [0.5, 0.5]
    towers.text_projection.requires_grad_(requires_grad=False)
    towers.switch_dropout(learning=True)
    assert [p.training for p in both] == [True, False]
    assert [p.dropout.training for p in both] == [True, False]
    assert towers.protein_encoder.training and not towers.text_encoder.training
    towers.switch_dropout(learning=False)
    assert not any(p.training for p in (*both, towers.protein_encoder))


def debug_with(model, *, kmer=True):
    config = load_config(DEBUG)
    if kmer:
        config = replace(config, protein=ProteinConfig(kind="kmer", shape=KMER))
    return replace(config, model=replace(config.model, **model))


def test_a_run_has_the_form_of_its_configuration():
    options = {"projection": "skip", "projection_hidden": 40, "projection_dropout": 0.25}
    config = debug_with({**options, "protein_reads": "input"})
    towers = build_towers(config, 74)
    assert towers.projection_form == ProjectionForm(form="skip", hidden_dim=40, protein_dim=INPUT)
    for projection in (towers.protein_projection, towers.text_projection):
        assert isinstance(projection, SkipProjection)
        assert projection.dropout.p == 0.25 and not projection.training
        assert not bool(projection.hidden.bias.any())
        assert all(p.requires_grad for p in projection.parameters())
    assert build_towers(debug_with(options, kmer=False), 74).projection_form == ProjectionForm(
        form="skip", hidden_dim=40
    )
    assert build_towers(debug_with({}), 74).projection_form is None


def test_an_encoder_without_an_input_of_its_own_cannot_be_read_so():
    config = debug_with({"projection": "skip", "protein_reads": "input"}, kmer=False)
    with pytest.raises(UsageError) as caught:
        build_towers(config, 74)
    assert (caught.value.code, caught.value.where) == ("usage.bad_value", "[model] protein_reads")


@pytest.mark.parametrize(
    ("keys", "key", "value"),
    [
        ({"projection": '"deep"'}, "projection", "'deep'"),
        ({"projection": '"skip"', "projection_hidden": 0}, "projection_hidden", "0"),
        ({"projection": '"skip"', "projection_dropout": 1.0}, "projection_dropout", "1.0"),
        ({"projection": '"skip"', "projection_dropout": "nan"}, "projection_dropout", "nan"),
        ({"projection_dropout": 0.1}, "projection_dropout", "'skip'"),
        ({"protein_reads": '"input"'}, "protein_reads", "'skip'"),
        ({"protein_reads": '"stream"'}, "protein_reads", "'all', 'input'"),
    ],
)
def test_a_form_of_no_use_is_named(tmp_path, keys, key, value):
    path = write_config(tmp_path / "c.toml", {"model": keys})
    with pytest.raises(UsageError) as caught:
        load_config(path)
    assert caught.value.code == "usage.bad_value"
    assert all(part in str(caught.value) for part in ("model", key, value))


def test_a_change_of_form_is_told():
    plain = debug_with({})
    assert plain.model == ModelConfig(projection_dim=16, prototypes=16)
    assert changed_keys(plain.to_dict(), debug_with({"projection": "skip"}).to_dict()) == [
        "[model] projection: plain -> skip"
    ]
