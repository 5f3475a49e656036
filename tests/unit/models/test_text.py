"""The text encoder against plain BertModel, one text at a time; and texts of all kinds."""

from __future__ import annotations

import base64
import json
import random
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import msgspec
import numpy as np
import pytest
import torch

from protclip_core.encoders.bert import bert_shapes, build_bert
from protclip_core.encoders.shapes import TextShape
from protclip_core.errors import InputError, ModelError, UsageError
from protclip_core.models.loading import load_model, load_text_model
from protclip_core.models.text import _groups
from protclip_core.weights.tokenizer_file import read_tokenizer, tokenizer_errors
from tests.support.environment import patient
from tests.unit.models.dual import (
    TEXT,
    TEXT_ONLY,
    Dual,
    bert,
    random_texts,
    text_only,
    tokenizer_of_words,
)


@pytest.fixture(scope="module")
def dual():
    return Dual()


@pytest.fixture(scope="module")
def folder(dual, tmp_path_factory):
    return dual.write(tmp_path_factory.mktemp("dual") / "dual")


@pytest.fixture(scope="module")
def words(dual, tmp_path_factory):
    """A bundle of the text encoder alone."""
    path = tmp_path_factory.mktemp("words") / "words"
    return dual.write(path, change=text_only, config=TEXT_ONLY)


@pytest.fixture(scope="module")
def model(folder):
    return load_text_model(folder, device="cpu")


def text_shape(fields):
    return msgspec.convert({"type": "bert", "max_tokens": 40, **fields}, TextShape)


def plain(dual, ids, *, joint=False):
    """Mean of the last layer over one text's tokens, by transformers alone."""
    with torch.inference_mode():
        mean = dual.text(torch.tensor([ids])).last_hidden_state[0].mean(0)
        if joint:
            mean = dual.text_projection(mean)
            mean = mean / mean.norm()
    return mean.numpy()


def furthest(found, expected):
    """Largest difference of a row, relative to the row's length."""
    return float((np.abs(found - expected).max(axis=-1) / np.linalg.norm(expected, axis=-1)).max())


@pytest.mark.parametrize("joint", [False, True])
def test_every_text_equals_a_plain_forward(dual, model, joint):
    texts = random_texts(random.Random(1), 60, words=9)
    tokenizer = tokenizer_of_words()
    expected = np.stack([plain(dual, tokenizer.encode(t).ids, joint=joint) for t in texts])
    found = model.embed(texts, space="joint" if joint else "encoder")
    assert found.dtype == np.float32
    assert found.shape == expected.shape
    assert furthest(found, expected) < 1e-6
    if joint:
        np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)


@pytest.mark.full
@pytest.mark.parametrize("padded", [False, True], ids=["equal lengths", "masked padding"])
def test_200_random_batches_change_no_text(model, words, padded):
    """The second way is that of a GPU."""
    batched = load_text_model(words, device="cpu")
    batched._equal_lengths = not padded
    rng = random.Random(2)
    texts = random_texts(rng, 80)
    alone = np.concatenate([model.embed([text]) for text in texts])
    worst = 0.0
    for _ in range(200):
        chosen = [rng.randrange(len(texts)) for _ in range(rng.randint(2, 12))]
        found = batched.embed(
            [texts[i] for i in chosen], batch_tokens=rng.choice([1, 60, 300, 4096])
        )
        worst = max(worst, furthest(found, alone[chosen]))
    print(f"largest deviation of 200 batches: {worst:.1e}")
    assert worst < 1e-6


def test_the_names_and_shapes_of_bert_are_those_of_transformers():
    shape = {**TEXT, "vocab_size": 11, "type_vocab_size": 3, "num_hidden_layers": 3}
    assert bert_shapes(text_shape(shape)) == {
        n: tuple(v.shape) for n, v in bert(shape).state_dict().items()
    }


def test_a_built_bert_holds_nothing_undefined(dual):
    """Buffers too: those of a module that was built from nothing are what transformers makes."""
    built = build_bert(text_shape(TEXT), dual.text.state_dict(), "here")
    assert built.config._attn_implementation == "sdpa"
    assert not built.training
    for kind in ("named_parameters", "named_buffers"):
        own, theirs = dict(getattr(built, kind)()), dict(getattr(dual.text, kind)())
        assert own.keys() == theirs.keys()
        assert all(torch.equal(own[name], theirs[name]) for name in own)


def test_loading_and_embedding_leave_torchs_generator_alone(folder):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    load_model(folder, device="cpu").embed_text(["kinase"])
    assert torch.equal(torch.get_rng_state(), before)


def test_transformers_waits_for_the_first_text(folder):
    code = (
        "import sys; from protclip_core.models.loading import load_model\n"
        f"model = load_model({str(folder)!r}, device='cpu'); model.embed_proteins(['MKT'])\n"
        "assert 'transformers' not in sys.modules and 'tokenizers' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=patient(60))


def test_long_texts_are_cut_and_counted(dual, model, caplog):
    long = ["the kinase " * 30, "zinc", "atp " * 39]
    found = model.embed(long)
    (warning,) = caplog.messages
    assert warning == "2 texts cut to the first 40 tokens, the longest of 62"
    ids = tokenizer_of_words().encode(long[0]).ids
    np.testing.assert_allclose(found[0], plain(dual, [*ids[:39], 3]), rtol=1e-5, atol=1e-6)
    assert model.tokenize(long)[0] == [*ids[:39], 3]
    caplog.clear()
    model.embed(["atp " * 38])
    assert caplog.messages == []
    model.embed(["atp " * 39])
    assert caplog.messages == ["1 text cut to the first 40 tokens of 41"]


@pytest.mark.parametrize("blank", ["", " ", "\t\n\u00a0\u3000", "\x00\x01", "\ud800"])
def test_texts_without_a_word_are_named(model, blank):
    with pytest.raises(InputError, match="text 2: has no words"):
        model.embed(["kinase", blank])


@pytest.mark.parametrize(
    ("odd", "same"),
    [
        ("ki\x00nase\x07", "kinase"),
        ("zinc\ud800", "zinc\ufffd"),
        ("zinc \ud83d\ude00", "zinc \U0001f600"),
        ("the [SEP] zinc", "the [SEP] zinc"),
        ("ZINC\u00a0Kinase", "zinc kinase"),
    ],
)
def test_odd_characters_do_no_harm(model, odd, same):
    np.testing.assert_array_equal(model.embed([odd]), model.embed([same]))


def test_what_is_no_list_of_texts_is_refused(model, words):
    with pytest.raises(UsageError, match="one string was given"):
        model.embed("kinase")
    with pytest.raises(UsageError, match="text 2 is a int, not a string"):
        model.embed(["kinase", 3])
    with pytest.raises(UsageError, match="space 'moon' is not known"):
        model.embed(["kinase"], space="moon")
    with pytest.raises(UsageError, match="model words has no joint space"):
        load_text_model(words, device="cpu").embed(["kinase"], space="joint")
    assert model.embed([]).shape == (0, TEXT["hidden_size"])


def test_threads_share_a_model_from_its_first_text(folder):
    model = load_model(folder, device="cpu")
    texts = random_texts(random.Random(3), 24)
    made, make = [], model._make_text_model
    model._make_text_model = lambda: made.append(1) or make()
    together = threading.Barrier(4)

    def work(number):
        together.wait(30)
        return [model.embed_text(texts[number::4]) for _ in range(5)]

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(work, range(4)))
    expected = model.embed_text(texts)
    assert made == [1]
    for number, rounds in enumerate(results):
        for found in rounds:
            np.testing.assert_allclose(found, expected[number::4], atol=1e-6)


def test_groups_hold_the_budget_and_lose_nothing():
    rng = random.Random(4)
    for _ in range(100):
        lengths = [rng.randint(1, 40) for _ in range(rng.randint(0, 30))]
        equal = rng.random() < 0.5
        groups = list(_groups(lengths, 100, equal=equal))
        assert sorted(i for g in groups for i in g) == list(range(len(lengths)))
        for group in groups:
            inside = [lengths[i] for i in group]
            assert len(group) == 1 or len(group) * max(inside) <= 100
            assert not equal or len(set(inside)) == 1


GOOD = tokenizer_of_words().to_str()
DAMAGED = {
    "empty": b"",
    "page": b"<html>not found</html>",
    "torso": GOOD[: len(GOOD) // 2].encode(),
    "list": b"[]",
    "null": b"null",
    "no model": b'{"model": {}}',
    "not text": b"\xff\xfe\x00",
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED.keys())
def test_a_damaged_tokenizer_is_named(dual, tmp_path, content):
    dual.write(tmp_path / "m", files={"tokenizer.json": content})
    model = load_model(tmp_path / "m", device="cpu")  # its proteins do not need it
    for embed in (model.embed_text, load_text_model):
        with pytest.raises(ModelError, match="is not a readable tokenizer") as caught:
            embed(["kinase"] if embed == model.embed_text else tmp_path / "m")
        assert str(tmp_path / "m" / "tokenizer.json") in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_tokenizer_of_another_vocabulary_is_refused(dual, tmp_path):
    tokenizer = tokenizer_of_words()
    tokenizer.add_tokens(["ubiquitin"])
    dual.write(tmp_path / "m", files={"tokenizer.json": tokenizer.to_str().encode()})
    with pytest.raises(ModelError, match="its 75 tokens do not fit the 74 of the text encoder"):
        load_text_model(tmp_path / "m", device="cpu")


def test_a_tokenizer_that_changed_or_went_is_found(dual, tmp_path):
    path = dual.write(tmp_path / "m") / "tokenizer.json"
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(ModelError, match="sha256 mismatch"):
        load_model(tmp_path / "m", device="cpu")
    path.unlink()
    with pytest.raises(ModelError, match="file of the model is missing"):
        load_text_model(tmp_path / "m", device="cpu")
    dual.write(tmp_path / "n", files={})
    for load in (load_model, load_text_model):
        with pytest.raises(ModelError, match=r"has a text encoder but no tokenizer\.json"):
            load(tmp_path / "n", device="cpu")


def test_padding_and_cutting_of_the_tokenizer_file_are_ignored(dual, model, tmp_path):
    tokenizer = tokenizer_of_words()
    tokenizer.enable_padding(length=38)
    tokenizer.enable_truncation(4)
    content = tokenizer.to_str()
    assert json.loads(content)["padding"]
    dual.write(tmp_path / "m", files={"tokenizer.json": content.encode()})
    texts = ["zinc binding of the kinase", "atp"]
    other = load_text_model(tmp_path / "m", device="cpu")
    assert other.tokenize(texts) == model.tokenize(texts)
    np.testing.assert_array_equal(other.embed(texts), model.embed(texts))


def edited(change):
    content = json.loads(GOOD)
    change(content)
    return json.dumps(content).encode()


def sequence(kind, *parts):
    inner = "normalizers" if kind == "normalizer" else "pretokenizers"
    return lambda content: content.update({kind: {"type": "Sequence", inner: list(parts)}})


def template(change):
    """A template as transformers writes it, with a change."""
    special = {n: {"id": n, "ids": [i], "tokens": [n]} for n, i in (("[CLS]", 2), ("[SEP]", 3))}
    words = [{"SpecialToken": {"id": n, "type_id": 0}} for n in ("[CLS]", "[SEP]")]
    text = {"Sequence": {"id": "A", "type_id": 0}}
    whole = {
        "type": "TemplateProcessing",
        "single": [words[0], text, words[1]],
        "pair": [words[0], text, words[1], {"Sequence": {"id": "B", "type_id": 1}}, words[1]],
        "special_tokens": special,
    }
    change(whole)
    return lambda content: content.update(post_processor=whole)


def ids_of_cls(ids):
    def change(whole):
        whole["special_tokens"]["[CLS]"].update(ids=ids, tokens=["[CLS]"] * len(ids))

    return template(change)


LONGER = {"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 1000}
CHARSMAP = {"type": "Precompiled", "precompiled_charsmap": "CAAAAP////8BAAAA"}
PATTERN = {"type": "Replace", "pattern": {"Regex": "(a|aa|aaa)*\\1?b$"}, "content": "x"}
CRAFTED = {
    "panic": (lambda c: c.update(normalizer=CHARSMAP), "normalizer is 'Precompiled'"),
    "pattern": (lambda c: c.update(normalizer=PATTERN), "normalizer is 'Replace'"),
    "explosion": (sequence("normalizer", *[LONGER] * 4), "normalizer is 'Replace'"),
    "many": (sequence("normalizer", *[{"type": "NFC"}] * 17), "more than 16 normalizers"),
    "nested": (
        sequence("normalizer", {"type": "Sequence", "normalizers": []}),
        "normalizer is 'Sequence'",
    ),
    "split": (
        lambda c: c.update(pre_tokenizer={"type": "Split", "pattern": {"Regex": ""}}),
        "pre_tokenizer is 'Split'",
    ),
    "decoder": (lambda c: c.update(decoder={"type": "ByteLevel"}), "decoder is 'ByteLevel'"),
    "model": (lambda c: c.update(model={"type": "BPE", "vocab": {}}), "model is 'BPE'"),
    "unknown": (lambda c: c["model"].update(unk_token="[NOPE]"), "lacks the unknown token"),
    "letters": (
        lambda c: c["model"].update(max_input_chars_per_word=10**9),
        "max_input_chars_per_word is 1000000000",
    ),
    "prefix": (lambda c: c["model"].update(continuing_subword_prefix="#" * 99), "subword_prefix"),
    "bert ids": (
        lambda c: c["post_processor"].update(cls=["[CLS]", 74]),
        "post_processor adds token 74 of 74",
    ),
    "template ids": (ids_of_cls([999999]), "adds token 999999 of 74"),
    "ids in plenty": (ids_of_cls([2] * 100), "more than 16 special tokens"),
    "no text": (template(lambda w: w["single"].pop(1)), "puts 0 texts in place of one"),
    "no such token": (template(lambda w: w["special_tokens"].clear()), "laid out otherwise"),
    "roberta": (
        lambda c: c.update(post_processor={"type": "RobertaProcessing"}),
        "post_processor is 'RobertaProcessing'",
    ),
    "added": (lambda c: c["added_tokens"].append({"content": ""}), "an added token without text"),
    "negative id": (lambda c: c["model"]["vocab"].update(x=-1), "expected u32"),
}


@pytest.mark.parametrize("case", CRAFTED)
def test_a_tokenizer_with_parts_that_a_bert_does_not_need_is_refused(case):
    """Some of them end the process, or never end, once the library has them."""
    change, message = CRAFTED[case]
    with pytest.raises(ModelError, match=message) as caught:
        read_tokenizer(edited(change), *LIMITS, "tokenizer.json")
    assert str(caught.value).startswith("tokenizer.json: is not a readable tokenizer (")
    assert "\n" not in str(caught.value)


LIMITS = (TEXT["vocab_size"], 40)
PARTS = [
    sequence("normalizer", {"type": "NFKC"}, {"type": "Lowercase"}, {"type": "StripAccents"}),
    sequence("pre_tokenizer", {"type": "WhitespaceSplit"}, {"type": "BertPreTokenizer"}),
    template(lambda whole: None),
    lambda content: content.update(decoder={"type": "WordPiece", "prefix": "##", "cleanup": True}),
    lambda content: content.update(normalizer=None, post_processor=None),
]


@pytest.mark.parametrize("change", PARTS)
def test_parts_of_a_bert_are_read(change):
    found = read_tokenizer(edited(change), *LIMITS, "here").encode("zinc kinase").ids
    plain = tokenizer_of_words().encode("zinc kinase").ids
    assert found in (plain, plain[1:-1])


def test_a_nested_or_endless_tokenizer_is_refused():
    with pytest.raises(ModelError, match="too many brackets"):
        read_tokenizer(b"[" * 200_000, *LIMITS, "here")
    with pytest.raises(ModelError, match="more than 50 MB"):
        read_tokenizer(b" " * 50_000_001, *LIMITS, "here")


def test_what_the_library_panics_on_is_a_model_error():
    """The class of a panic is no Exception; Ctrl-C is none either, and passes."""
    from tokenizers import normalizers

    charsmap = base64.b64decode(CHARSMAP["precompiled_charsmap"])
    normalizer = normalizers.Precompiled(charsmap)
    with (
        pytest.raises(ModelError, match=r"^here: cannot split \("),
        tokenizer_errors("cannot split", "here"),
    ):
        normalizer.normalize_str("zinc")
    with pytest.raises(KeyboardInterrupt), tokenizer_errors("cannot split", "here"):
        raise KeyboardInterrupt
