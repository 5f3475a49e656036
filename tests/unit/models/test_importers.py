"""Foreign checkpoints as bundles: the same numbers, every tensor accounted for."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from protclip_core.errors import ModelError, UsageError
from protclip_core.models.importers import import_model
from protclip_core.models.loading import load_model, load_text_model
from protclip_core.weights.bundle import open_bundle
from tests.support.checkpoints import (
    ESM_LAYERS,
    official_config,
    write_esm2,
    write_fair_esm,
    write_official,
    write_protbert,
    write_pubmedbert,
    write_vocab,
)

PROTEINS = ["M", "MKTAYIAKQRQISFVKSHFSRQ", "ACDXBZUO" * 9, "GSHMLEDP" * 30, "WWW"]
LONG_TEXT = (
    "Belongs to the receptor family. SUBCELLULAR LOCATION: Mitochondrial inner membrane; "
    "may play a role in signal transport, DNA repair and the stress response of the cell wall."
)
TEXTS = [
    "PROTEIN NAME: Serine kinase.",
    "FUNCTION: Catalyzes the hydrolysis of ATP in the nucleus.",
    "zinc",
    LONG_TEXT,
]


def do_import(source, tmp_path, **options):
    return import_model(source, tmp_path / "bundle", name="mini", **options)


def tokens_of(sequences):
    from protclip_core.encoders.alphabet import encode

    return [torch.tensor(np.asarray(encode(s)), dtype=torch.long)[None] for s in sequences]


def plain_mean(module, ids):
    with torch.inference_mode():
        out = module(input_ids=ids, attention_mask=torch.ones_like(ids))
    return out.last_hidden_state[0].mean(0)


def text_ids(texts, folder):
    from transformers import BertTokenizer

    tokenizer = BertTokenizer.from_pretrained(folder)
    return [torch.tensor(tokenizer(text)["input_ids"])[None] for text in texts]


@pytest.mark.parametrize("half", [True, False], ids=["float16", "float32"])
def test_official_embeddings_equal_a_plain_forward(tmp_path, half) -> None:
    esm, bert, heads = write_official(tmp_path / "official", half=half)
    done = do_import(tmp_path / "official", tmp_path)
    model = load_model(str(done.bundle.path), device="cpu")

    def twin(module, head, rows):
        with torch.inference_mode():
            joint = [heads[head](plain_mean(module, ids)) for ids in rows]
        return torch.stack([v / v.norm() for v in joint]).numpy()

    found = {
        "proteins": model.embed_proteins(PROTEINS),
        "texts": model.embed_text(TEXTS),
    }
    expected = {
        "proteins": twin(esm, "protein_projection", tokens_of(PROTEINS)),
        "texts": twin(bert, "text_projection", text_ids(TEXTS, tmp_path / "official")),
    }
    for what, values in found.items():
        assert values.shape == expected[what].shape
        error = float(np.abs(values - expected[what]).max())
        kind = "float16" if half else "float32"
        print(f"official mini, {kind} weights, {what}: max abs difference {error:.2e}")
        assert error < 2e-6
    # Alone or among others, near or far: the differences above are no accident of similarity.
    assert float(np.abs(expected["proteins"][0] - expected["proteins"][1]).max()) > 0.05
    assert model.logit_scale == pytest.approx(float(heads["logit_scale"]), abs=1e-7)
    vectors = torch.randn(5, 40, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(model.residue_heads.mlm(vectors), heads["mlm_head"](vectors))
    joint = vectors[:, :32]
    torch.testing.assert_close(
        model.residue_heads.segment_head(joint), heads["t2p_mlm_head"](joint)
    )
    assert torch.equal(
        model.residue_heads.prototypes.weight, heads["proto_bank"]["prototype"].weight
    )


def test_official_tensors_are_all_accounted_for(tmp_path) -> None:
    write_official(tmp_path / "official", legacy=True)
    done = do_import(tmp_path / "official", tmp_path, origin="doi:x", license="Apache-2.0")
    source = load_file(tmp_path / "official" / "model.safetensors")
    stored = done.bundle.tensors()
    gone = [name for names in done.left_out.values() for name in names]
    assert len(gone) == len(set(gone))
    assert len(stored) == done.kept == len(source) - len(gone)
    assert {t.dtype for t in stored.values()} == {torch.float16}
    # As bags of values: names change, not a bit of the rest.
    expected = sorted(t.numpy().tobytes() for n, t in source.items() if n not in gone)
    assert sorted(t.numpy().tobytes() for t in stored.values()) == expected
    needless = (
        "contact_head pooler position_ids inv_freq position_embeddings local_cross_attention "
        "predictor fusion_model mmp_protein_head mmp_text_head"
    )
    assert all(any(word in name for word in needless.split()) for name in gone)
    card = (done.bundle.path / "MODEL_CARD.md").read_text()
    source_files = done.bundle.config["source"]["files"]
    assert set(source_files) == {"model.safetensors", "vocab.txt", "config.json"}
    for needed in (*source_files.values(), *done.left_out, "doi:x", "Apache-2.0", "2412.20014"):
        assert needed in card
    done.bundle.verify()


def test_official_without_segments_keeps_what_there_is(tmp_path) -> None:
    def change(tensors):
        for name in list(tensors):
            if name.startswith(("mlm_head", "t2p_mlm_head", "decoder", "local_", "predictor")):
                del tensors[name]

    write_official(tmp_path / "official", change=change)
    path = tmp_path / "official" / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "local_contrast": 0, "t2p_mlm": 0}))
    done = do_import(tmp_path / "official", tmp_path)
    heads = {"mlm": False, "segments": False, "prototypes": 0}
    assert done.bundle.config["residue_heads"] == heads
    assert done.notes[1:] == ["has no mlm_head: it cannot score residues"]
    assert ["proto_bank.prototype.weight"] in done.left_out.values()
    assert load_model(str(done.bundle.path), device="cpu").residue_heads is None


def test_a_lone_weights_file_takes_a_configuration(tmp_path) -> None:
    from tests.support.checkpoints import FstModel

    write_official(tmp_path / "official")
    config = official_config(FstModel())
    (tmp_path / "official" / "config.json").unlink()
    weights, vocab = (tmp_path / "official" / n for n in ("model.safetensors", "vocab.txt"))
    with pytest.raises(ModelError, match=r"no config\.json"):
        do_import(weights, tmp_path)
    moved = write_vocab(tmp_path / "words.txt")
    vocab.unlink()
    with pytest.raises(ModelError, match="give PubMedBERT's vocab.txt with --tokenizer"):
        do_import(weights, tmp_path, config=config)
    done = do_import(weights, tmp_path, config=config, tokenizer=moved)
    assert load_model(str(done.bundle.path), device="cpu").embed_text(["zinc"]).shape == (1, 32)


def names_in(kind):
    """A weight of each kind of checkpoint, and how it is written."""
    return {
        "official": (write_official, "text_projection.2.weight"),
        "esm2": (write_esm2, "esm.encoder.layer.1.intermediate.dense.weight"),
        "protbert": (write_protbert, "bert.encoder.layer.0.output.dense.weight"),
        "pubmedbert": (write_pubmedbert, "bert.encoder.layer.1.attention.self.query.weight"),
    }[kind]


FAULTS = {
    "missing": (lambda t, n: t.pop(n), "1 missing ({name})"),
    "extra": (lambda t, n: t.update({"surplus.weight": torch.zeros(2)}), "1 unknown (surplus"),
    "shape": (lambda t, n: t.update({n: t[n][:-1].clone()}), "{name} is ("),
    "nan": (lambda t, n: t[n].__setitem__((0, 0), float("nan")), "tensor {name} holds NaN"),
    "packed": (lambda t, n: t.update({n: t[n].to(torch.int8)}), "{name} is of type int8"),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("kind", ["official", "esm2", "protbert", "pubmedbert"])
def test_tensors_that_do_not_fit_are_named(tmp_path, kind, fault) -> None:
    """Fault 46: refused by name, and no bundle, whole or half, is left."""
    write, name = names_in(kind)
    spoil, message = FAULTS[fault]
    write(tmp_path / "model", change=lambda tensors: spoil(tensors, name))
    with pytest.raises(ModelError) as caught:
        do_import(tmp_path / "model", tmp_path)
    assert message.format(name=name) in str(caught.value)
    assert str(tmp_path / "model") in str(caught.value)
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize("form", ["safetensors", "shards", "bin", "bin-shards"])
def test_esm2_of_transformers_in_each_form(tmp_path, form) -> None:
    reference = write_esm2(tmp_path / "esm2", form=form, half=form == "shards")
    done = do_import(tmp_path / "esm2", tmp_path)
    assert done.bundle.config["protein_encoder"]["lm_head"] is True
    kinds = {t.dtype for t in done.bundle.tensors().values()}
    assert kinds == {torch.float16 if form == "shards" else torch.float32}
    model = load_model(str(done.bundle.path), device="cpu")
    expected = [plain_mean(reference.esm, ids) for ids in tokens_of(PROTEINS)]
    found = model.embed(PROTEINS, pooling="tokens")
    np.testing.assert_allclose(found, torch.stack(expected), rtol=0, atol=5e-6)
    # The directory itself loads as well, and gives the same.
    direct = load_model(str(tmp_path / "esm2"), device="cpu")
    np.testing.assert_array_equal(direct.embed(PROTEINS), model.embed(PROTEINS))


def test_protbert_equals_transformers(tmp_path) -> None:
    reference = write_protbert(tmp_path / "protbert")
    done = do_import(tmp_path / "protbert", tmp_path)
    assert done.kind == "ProtBERT of transformers"
    model = load_model(str(done.bundle.path), device="cpu")
    letters = (tmp_path / "protbert" / "vocab.txt").read_text().split()
    for sequence, found in zip(PROTEINS, model.embed(PROTEINS), strict=True):
        known = [c if c not in "BZUO" else "X" for c in sequence]
        ids = torch.tensor([[letters.index(t) for t in ("[CLS]", *known, "[SEP]")]])
        with torch.inference_mode():
            out = reference(ids, output_hidden_states=True)
        expected = out.hidden_states[-1][0, 1:-1].mean(0)
        np.testing.assert_allclose(found, expected, rtol=0, atol=5e-6)
        logits = model.encoder.logits(out.hidden_states[-1][0])
        torch.testing.assert_close(logits, out.logits[0], rtol=0, atol=2e-5)


@pytest.mark.parametrize("old_names", [False, True])
def test_pubmedbert_equals_transformers(tmp_path, old_names) -> None:
    reference = write_pubmedbert(tmp_path / "bert", old_names=old_names)
    done = do_import(tmp_path / "bert", tmp_path)
    model = load_text_model(str(done.bundle.path), device="cpu")
    rows = text_ids(TEXTS, tmp_path / "bert")
    expected = torch.stack([plain_mean(reference.bert, ids) for ids in rows])
    np.testing.assert_allclose(model.embed(TEXTS), expected, rtol=0, atol=5e-6)
    gone = {name.split(".")[1] for names in done.left_out.values() for name in names}
    assert gone == {"pooler", "embeddings", "predictions", "seq_relationship"}


@pytest.mark.parametrize(
    ("write", "name"),
    [(write_esm2, "lm_head.decoder.weight"), (write_protbert, "cls.predictions.decoder.weight")],
)
def test_a_decoder_of_its_own_is_not_dropped(tmp_path, write, name) -> None:
    write(tmp_path / "model", change=lambda tensors: tensors[name].add_(1))
    with pytest.raises(ModelError, match=f"{name} differs from"):
        do_import(tmp_path / "model", tmp_path)


@pytest.mark.parametrize("kind", ["esm2", "esm1b"])
def test_fair_esm_equals_its_own_module(tmp_path, kind) -> None:
    reference = write_fair_esm(tmp_path / "model.pt", kind=kind)
    done = do_import(tmp_path / "model.pt", tmp_path)
    assert done.bundle.config["source"]["kind"] == "fair-esm"
    model = load_model(str(done.bundle.path), device="cpu")
    for sequence, ids in zip(PROTEINS, tokens_of(PROTEINS), strict=True):
        with torch.inference_mode():
            states = reference(ids, repr_layers=[ESM_LAYERS])["representations"][ESM_LAYERS]
        expected = states[0, 1:-1].mean(0)
        np.testing.assert_allclose(model.embed([sequence])[0], expected, rtol=0, atol=5e-6)
    if kind == "esm1b":  # nothing of the machine that trained it goes along
        assert set(done.bundle.config["protein_encoder"]["arguments"]) == {
            *("arch", "layers", "embed_dim", "ffn_embed_dim", "attention_heads"),
            *("max_positions", "token_dropout"),
        }


def test_other_models_of_fair_esm_are_refused_by_name(tmp_path) -> None:
    from argparse import Namespace

    path, table = tmp_path / "model.pt", {"x": torch.zeros(1)}
    contents = {
        "MSA Transformer": {"args": Namespace(arch="msa_transformer"), "model": table},
        "inverse folding": {"args": Namespace(arch="gvp_invariant"), "model": table},
        "'cnn' is not supported": {"args": Namespace(arch="cnn"), "model": table},
        "do not say 'encoder_layers'": {"cfg": {"model": Namespace(trunk=1)}, "model": table},
        "neither 'args' nor 'cfg'": {"model": table},
        "no table 'model'": table,
        "are a list, not a table": {"args": [1], "model": table},
    }
    for message, content in contents.items():
        torch.save(content, path)
        with pytest.raises(ModelError, match=message):
            do_import(path, tmp_path)


def edit(folder, **changes):
    path = folder / "config.json"
    config = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({k: v for k, v in config.items() if v is not None}))


HUGE = "<= 1000"
REFUSED = {
    "esm2 layers": (write_esm2, {"num_hidden_layers": 10**7}, HUGE),
    "bert layers": (write_pubmedbert, {"num_hidden_layers": 2**70}, HUGE),
    "width": (write_esm2, {"hidden_size": 2**72}, "hidden_dim is 4722366482869645213696"),
    "epsilon": (write_esm2, {"layer_norm_eps": float("nan")}, "layer_norm_eps is nan"),
    "dropout": (write_esm2, {"token_dropout": "false"}, "token_dropout is 'false'"),
    "padding": (write_pubmedbert, {"pad_token_id": "x"}, "pad_token_id is 'x'"),
    "far padding": (write_protbert, {"pad_token_id": 30}, "pad_token_id 30 is not one of its 30"),
    "joint": (write_official, {"projection_dim": 2**70}, "projection_dim is 1180591620717411303"),
    "bank": (write_official, {"proto_num": 2**70}, "residue_heads.prototypes is 118059162071741"),
    "absolute": (write_esm2, {"position_embedding_type": "absolute"}, "fair-esm's .pt files"),
    "folding": (write_esm2, {"is_folding_model": True}, "ESMFold"),
    "vocabulary": (write_esm2, {"vocab_size": 446}, "446 tokens, not ESM-2's 33"),
    "no layers": (write_esm2, {"num_hidden_layers": None}, "'num_hidden_layers'"),
    "half a layer": (write_esm2, {"num_hidden_layers": 0.5}, "num_layers is 0.5"),
    "decoder": (write_pubmedbert, {"is_decoder": True}, "is a decoder"),
    "relative": (write_pubmedbert, {"position_embedding_type": "relative_key"}, "relative_key"),
    "no width": (write_pubmedbert, {"hidden_size": None}, "text_encoder.hidden_size is missing"),
    "other type": (write_pubmedbert, {"model_type": "t5"}, "model_type 't5' is not supported"),
    "no type": (write_pubmedbert, {"model_type": None}, "model_type None is not supported"),
    "no text": (write_official, {"text_model_config": None}, "'text_model_config'"),
    "no joint": (write_official, {"projection_dim": None}, "'projection_dim'"),
    "own code": (write_esm2, {"auto_map": {"AutoModel": "x--y.Z"}}, "wants its own code to be run"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_configurations_that_do_not_fit_are_refused(tmp_path, case) -> None:
    write, changes, message = REFUSED[case]
    write(tmp_path / "model")
    edit(tmp_path / "model", **changes)
    with pytest.raises(ModelError) as caught:
        do_import(tmp_path / "model", tmp_path)
    assert message in str(caught.value)


def test_directories_that_lack_something_are_refused(tmp_path) -> None:
    folder = tmp_path / "model"
    write_pubmedbert(folder)
    (folder / "vocab.txt").unlink()
    with pytest.raises(ModelError, match="a BERT without its vocabulary"):
        do_import(folder, tmp_path)
    write_vocab(folder / "vocab.txt")
    (folder / "pytorch_model.bin").unlink()
    with pytest.raises(ModelError, match="no weights"):
        do_import(folder, tmp_path)
    (folder / "tf_model.h5").write_bytes(b"\x89HDF")
    with pytest.raises(ModelError, match=r"only tf_model\.h5, which protclip does not read"):
        do_import(folder, tmp_path)
    (folder / "config.json").unlink()
    with pytest.raises(ModelError, match=r"no config\.json"):
        do_import(folder, tmp_path)
    with pytest.raises(UsageError, match="no such file"):
        do_import(tmp_path / "none", tmp_path)


def test_a_shard_that_is_missing_is_named(tmp_path) -> None:
    write_esm2(tmp_path / "esm2", form="bin-shards")
    (tmp_path / "esm2" / "pytorch_model-00002-of-00002.bin").unlink()
    with pytest.raises(ModelError, match=r"00002-of-00002\.bin: shard of the model is missing"):
        do_import(tmp_path / "esm2", tmp_path)


def test_an_own_bundle_is_copied_under_its_new_name(tmp_path, tiny_bundle) -> None:
    done = do_import(tiny_bundle, tmp_path)
    original = open_bundle(tiny_bundle)
    assert (done.kind, done.kept) == ("protclip bundle", len(original.tensors()))
    assert done.bundle.name == "mini"
    assert done.bundle.weights_sha256 == original.weights_sha256
    done.bundle.verify()
    with pytest.raises(UsageError, match="already exists"):
        do_import(tiny_bundle, tmp_path)


def test_weights_of_another_kind_beside_a_config_are_refused(tmp_path) -> None:
    write_esm2(tmp_path / "esm2")
    save_file({"a.weight": torch.zeros(2)}, tmp_path / "esm2" / "model.safetensors")
    with pytest.raises(ModelError, match=r"51 missing .*1 unknown \(a\.weight\)"):
        do_import(tmp_path / "esm2", tmp_path)


@pytest.mark.parametrize("name", ["layers", "embed_dim", "ffn_embed_dim"])
def test_an_esm1_of_huge_numbers_is_refused_before_it_is_built(tmp_path, name) -> None:
    path = tmp_path / "model.pt"
    write_fair_esm(path, kind="esm1b")
    content = torch.load(path, weights_only=False)
    most = {"layers": 1000}.get(name, 100_000)
    for number, message in (
        (most + 1, f"{name} is {most + 1}"),
        (most, "too few for 1000 layers" if name == "layers" else "of wrong shape"),
    ):
        setattr(content["args"], f"encoder_{name}", number)
        torch.save(content, path)
        for attempt in (lambda: do_import(path, tmp_path), lambda: load_model(path, device="cpu")):
            with pytest.raises(ModelError, match=message):
                attempt()


@pytest.mark.parametrize("kind", ["transformers", "fair-esm"])
def test_more_layers_than_tensors_are_refused_on_loading(tmp_path, kind) -> None:
    if kind == "transformers":
        model = tmp_path / "esm2"
        write_esm2(model)
        edit(model, num_hidden_layers=999)
    else:
        model = tmp_path / "esm2.pt"
        write_fair_esm(model)
        content = torch.load(model, weights_only=False)
        arguments = content["cfg"]["model"]
        for number in (10**7, "x"):
            arguments.encoder_layers = number
            torch.save(content, model)
            with pytest.raises(ModelError, match="num_layers is"):
                load_model(model, device="cpu")
        arguments.encoder_layers = 999
        torch.save(content, model)
    with pytest.raises(ModelError, match="too few for 999 layers"):
        load_model(model, device="cpu")


def test_importing_an_esm1_changes_no_number_of_it(tmp_path) -> None:
    """Its module sets the mask's row to 0; the bundle keeps what the file has."""
    write_fair_esm(tmp_path / "model.pt", kind="esm1b")
    content = torch.load(tmp_path / "model.pt", weights_only=False)["model"]
    name = "embed_tokens.weight"
    stored = do_import(tmp_path / "model.pt", tmp_path).bundle.tensors("protein_encoder.")[name]
    assert torch.equal(stored, content[f"encoder.sentence_encoder.{name}"])
    assert stored[32].abs().sum() > 0


def finetuned(folder, form):
    """Weights of an ESM-2 as a classifier, and as PEFT names them after merging, or before."""
    path = folder / "model.safetensors"
    tensors = {n: v for n, v in load_file(path).items() if not n.startswith("lm_head.")}
    encoder = {n if n.startswith("esm.") else f"esm.{n}": v for n, v in tensors.items()}
    head = {"classifier.dense.weight": torch.zeros(4, 4), "classifier.out_proj.bias": torch.ones(3)}
    if form != "classifier":
        encoder = {
            f"base_model.model.{n.replace('query.', 'query.base_layer.')}": v
            for n, v in encoder.items()
        }
        head = {
            f"base_model.model.classifier.modules_to_save.default.{n}": v for n, v in head.items()
        }
    if form == "not merged":
        head["base_model.model.esm.encoder.layer.0.attention.self.query.lora_A.default.weight"] = (
            torch.zeros(2, 2)
        )
    save_file(encoder | head, path)


@pytest.mark.parametrize("form", ["classifier", "merged"])
def test_the_encoder_of_a_finetuned_model_is_used(tmp_path, form) -> None:
    write_esm2(tmp_path / "plain")
    write_esm2(tmp_path / form)
    finetuned(tmp_path / form, form)
    expected = load_model(tmp_path / "plain", device="cpu").embed(PROTEINS)
    done = do_import(tmp_path / form, tmp_path)
    assert sum(map(len, done.left_out.values())) >= 2
    assert any("classifi" in reason for reason in done.left_out)
    for model in (tmp_path / form, done.bundle.path):
        assert np.array_equal(load_model(model, device="cpu").embed(PROTEINS), expected)


def test_an_adapter_that_was_not_merged_is_refused(tmp_path) -> None:
    write_esm2(tmp_path / "lora")
    finetuned(tmp_path / "lora", "not merged")
    alone = tmp_path / "alone"
    alone.mkdir()
    (alone / "adapter_config.json").write_text("{}")
    save_file({"x": torch.zeros(1)}, alone / "adapter_model.safetensors")
    for folder in (tmp_path / "lora", alone):
        for attempt in (lambda f: do_import(f, tmp_path), lambda f: load_model(f, device="cpu")):
            with pytest.raises(ModelError) as caught:
                attempt(folder)
            assert caught.value.code == "model.adapter_not_merged"
            assert "merge_and_unload" in caught.value.hint
