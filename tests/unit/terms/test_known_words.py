"""Texts of which a model knows no word, and words that it does not heed."""

from __future__ import annotations

import logging

import pytest

from protclip_core.models.loading import load_text_model
from protclip_core.terms.known_words import tell_unknown_words, texts_without_known_words


@pytest.fixture(scope="module")
def model():
    return load_text_model(device="cpu")


@pytest.mark.parametrize("text", ["xxxxqqq zzz", "banana", "42", "?!"])
def test_strange_texts(model, text):
    assert texts_without_known_words(model, [text, "kinase"]) == [text]


@pytest.mark.parametrize(
    "text", ["kinase", "KINASE", "haemoglobin", "opsin", "CFTR", "p53", "xxxxqqq kinase", "ATP"]
)
def test_known_texts(model, text):
    assert texts_without_known_words(model, [text]) == []


def test_pieces_are_those_of_words(model):
    assert model.pieces("Kinase, zzz")[0] == ("Kinase", ["kinase"])
    word, tokens = model.pieces("haemoglobin")[0]
    assert word == "haemoglobin"
    assert "".join(token.removeprefix("##") for token in tokens) == word and len(tokens) > 1


@pytest.mark.parametrize(
    ("texts", "warnings"),
    [
        (["kinase", "zinc transport"], 0),
        (["qqqzzz", "kinase"], 1),
        (["not a kinase"], 1),
        (["protein without zinc", "notochord", "NOT x"], 1),
        (["non-membrane-bounded organelle", "nitric oxide"], 0),
        (["not qqq"], 1),
    ],
)
def test_what_is_said(model, texts, warnings, caplog):
    with caplog.at_level(logging.WARNING):
        tell_unknown_words(model, texts)
    assert len(caplog.records) == warnings
