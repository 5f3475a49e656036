"""Tokenizers of foreign text encoders: those of transformers, and what is refused."""

from __future__ import annotations

import json

import pytest

from protclip_core.errors import ModelError, UsageError
from protclip_core.models.importers import import_model
from tests.support.checkpoints import text_vocabulary, write_official, write_pubmedbert, write_vocab
from tests.support.refusals import refused


def do_import(source, tmp_path, **options):
    return import_model(source, tmp_path / "bundle", name="mini", **options)


TRICKY = [
    "",
    "Protein KINASE, ATP-binding (EC 2.7.11.1)",
    "naïve café Ångström β-lactamase",
    "[MASK] of [CLS] and [sep] [ PAD ] [UNK]",
    "蛋白 membrane 蛋unknown",
    "a\u00a0b\tc\nd\u200be\ufffd\x00f\u0301",
    "x" * 101 + " zinc",
    "phosphorylase's 3'-5' (alpha/beta) 100%+",
    "##ing ing##",
    "\u1e9eSTRASSE İstanbul ﬁnger",
]


@pytest.mark.parametrize(
    "options", [None, {"do_lower_case": False}, {"do_lower_case": True, "strip_accents": False}]
)
def test_the_tokenizer_is_that_of_transformers(tmp_path, options) -> None:
    from tokenizers import Tokenizer
    from transformers import BertTokenizer

    folder = tmp_path / "bert"
    write_pubmedbert(folder)
    (folder / "tokenizer_config.json").unlink()
    if options is not None:
        (folder / "tokenizer_config.json").write_text(json.dumps(options))
    done = do_import(folder, tmp_path)
    ours = Tokenizer.from_file(str(done.bundle.path / "tokenizer.json"))
    theirs = BertTokenizer.from_pretrained(folder, **(options or {}))
    different = 0
    for text in TRICKY:
        assert ours.encode(text).ids == theirs(text)["input_ids"], text
        different += ours.encode(text).ids != ours.encode(text.upper()).ids
    assert different or (options or {}).get("do_lower_case", True)


def test_a_tokenizer_of_another_size_is_refused(tmp_path) -> None:
    write_pubmedbert(tmp_path / "bert")
    short = write_vocab(tmp_path / "short.txt", text_vocabulary()[:-3])
    number = len(text_vocabulary())
    with pytest.raises(ModelError, match=f"tokenizer has {number - 3} tokens, .* {number};"):
        do_import(tmp_path / "bert", tmp_path, tokenizer=short)
    with pytest.raises(UsageError, match="no such file"):
        do_import(tmp_path / "bert", tmp_path, tokenizer=tmp_path / "none.txt")
    short.write_text("one\ntwo\n")
    with pytest.raises(ModelError, match=r"lacks \[PAD\], \[UNK\], \[CLS\]"):
        do_import(tmp_path / "bert", tmp_path, tokenizer=short)
    short.write_bytes(b"\xff\xfe\x00")
    with refused("model.bad_vocabulary", "short.txt"):
        do_import(tmp_path / "bert", tmp_path, tokenizer=short)
    first = do_import(tmp_path / "bert", tmp_path).bundle
    again = import_model(
        tmp_path / "bert", tmp_path / "two", name="two", tokenizer=first.path / "tokenizer.json"
    )
    assert again.bundle.files["tokenizer.json"] == first.files["tokenizer.json"]


@pytest.mark.parametrize("value", ["false", 3, []])
def test_options_of_a_tokenizer_are_true_or_false(tmp_path, value) -> None:
    write_pubmedbert(tmp_path / "bert")
    for name in ("do_lower_case", "strip_accents", "tokenize_chinese_chars"):
        (tmp_path / "bert" / "tokenizer_config.json").write_text(json.dumps({name: value}))
        with pytest.raises(ModelError, match=f"{name} is .*, not true or false"):
            do_import(tmp_path / "bert", tmp_path)


def test_the_vocabulary_of_the_release_is_on_trust(tmp_path, caplog) -> None:
    folder = tmp_path / "official"
    write_official(folder)
    done = do_import(folder, tmp_path)
    assert "must be PubMedBERT's" in done.notes[0]
    assert "must be PubMedBERT's" in (done.bundle.path / "MODEL_CARD.md").read_text()
    assert not caplog.messages
    tokens = text_vocabulary()
    # As bert-base-uncased: [PAD] first, then words that are not used, the special ones from 100.
    special, others = tokens[1:5], tokens[5:]
    write_vocab(folder / "vocab.txt", ["[PAD]", *others[:99], *special, *others[99:]])
    import_model(folder, tmp_path / "two", name="two")
    assert any("where bert-base-uncased has them" in message for message in caplog.messages)
    write_vocab(folder / "vocab.txt", [tokens[1], tokens[0], *tokens[2:]])
    with pytest.raises(ModelError, match=r"\[PAD\] is token 1, that of the text encoder 0"):
        import_model(folder, tmp_path / "three", name="three")
