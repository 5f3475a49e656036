"""The catalog is data: complete, consistent, and read without a network or a heavy library."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

from protclip_core.errors import ModelError
from protclip_core.fetch.cache import check_name
from protclip_core.fetch.catalog import CATALOG, check_against_entry, find_entry, suggest
from protclip_core.fetch.sources import HubSource, ZenodoSource, parse_source
from protclip_core.models.importers.configs import bert_encoder, esm2_encoder
from protclip_core.models.info import BUNDLED


@pytest.mark.parametrize("entry", CATALOG.values(), ids=CATALOG)
def test_entries_are_complete_and_pinned(entry):
    assert CATALOG[entry.name] is entry
    assert check_name(entry.name) == entry.name.lower()
    assert entry.kind in ("protein", "text", "protein and text")
    assert entry.parameters > 1_000_000
    assert entry.summary
    assert entry.license
    assert entry.license_notes
    assert bool(entry.sources) != (BUNDLED / entry.name).exists()
    for source in entry.sources:
        assert parse_source(source.text).text == source.text
        if isinstance(source, HubSource):
            assert re.fullmatch(r"[0-9a-f]{40}", source.revision), "a branch can move"
        else:
            assert isinstance(source, ZenodoSource)
            assert source.names
        assert all(re.fullmatch(r"[0-9a-f]{64}", value) for value in source.sha256.values())


def test_pinned_weights_hold_the_stated_number_of_parameters():
    """In float32, four bytes a parameter, and less than a hundredth of names and of heads."""
    checked = 0
    for entry in CATALOG.values():
        if entry.download_bytes is not None:
            assert 1 <= entry.download_bytes / (4 * entry.parameters) < 1.05, entry.name
            checked += 1
    assert checked == 4


@pytest.mark.parametrize("entry", CATALOG.values(), ids=CATALOG)
def test_expected_shape_has_the_stated_number_of_parameters(entry):
    """A layer of width D has 12 D^2 weights; the rest is vocabulary, heads and biases."""
    expected = dict(entry.expected)
    sides = {"protein": ("num_layers", "hidden_dim"), "text": ("num_hidden_layers", "hidden_size")}
    assert {s for s, keys in sides.items() if keys[0] in expected} == set(entry.kind.split(" and "))
    layers = 0
    for side, (depth, width) in sides.items():
        if side in entry.kind:
            layers += 12 * expected[depth] * expected[width] ** 2
            layers += 30_522 * expected[width] if side == "text" and entry.sources else 0
    if expected.get("type") == "bert":
        layers += 40_000 * expected["hidden_dim"]  # it has a vector for as many positions
    if entry.sources:
        assert 0.94 < layers / entry.parameters < 1.01
    else:
        config = json.loads((BUNDLED / entry.name / "config.json").read_text())
        check_against_entry(entry, config, "config.json")


def esm2_config(layers, width):
    config = dict(CATALOG["protclip-650m"].config["protein_model_config"])
    config |= {"num_hidden_layers": layers, "hidden_size": width, "intermediate_size": 4 * width}
    return esm2_encoder(config | {"num_attention_heads": 20}, "x")


def bert_config(**changes):
    return bert_encoder(CATALOG["protclip-650m"].config["text_model_config"] | changes, "x")


def test_model_of_the_expected_shape_is_taken():
    for name, layers, width in (("esm2-8m", 6, 320), ("esm2-35m", 12, 480)):
        check_against_entry(CATALOG[name], {"protein_encoder": esm2_config(layers, width)}, "x")
    text = {**bert_config(), "max_tokens": 512}
    check_against_entry(CATALOG["pubmedbert"], {"text_encoder": text}, "x")
    both = {"protein_encoder": esm2_config(33, 1280), "text_encoder": text, "projection_dim": 512}
    check_against_entry(CATALOG["protclip-650m"], both, "x")
    both["projection_dim"] = 256
    with pytest.raises(ModelError, match=r"has projection_dim 256; protclip-650m has .* 512"):
        check_against_entry(CATALOG["protclip-650m"], both, "x")


def test_model_of_another_shape_or_kind_is_refused_with_both_named():
    entry = CATALOG["esm2-35m"]
    with pytest.raises(ModelError) as caught:
        check_against_entry(entry, {"protein_encoder": esm2_config(3, 320)}, "some/config.json")
    assert caught.value.where == "some/config.json"
    assert caught.value.message == (
        "is not esm2-35m: it has num_layers 3, hidden_dim 320; "
        "esm2-35m has num_layers 12, hidden_dim 480"
    )
    text = {**bert_config(), "max_tokens": 512}
    with pytest.raises(ModelError, match="has encoders text, type none, num_layers none"):
        check_against_entry(entry, {"text_encoder": text}, "x")
    both = {"protein_encoder": esm2_config(12, 480), "text_encoder": text}
    with pytest.raises(ModelError, match="encoders protein and text; esm2-35m has encoders prot"):
        check_against_entry(entry, both, "x")
    with pytest.raises(ModelError, match="neither a protein_encoder nor"):
        check_against_entry(entry, {}, "x")


def test_official_model_brings_its_configuration():
    entry = CATALOG["protclip-650m"]
    assert entry.config["model_type"] == "FST"
    assert entry.config["projection_dim"] == entry.config["proto_dim"] == 512
    protein, text = entry.config["protein_model_config"], entry.config["text_model_config"]
    assert (protein["num_hidden_layers"], protein["hidden_size"]) == (33, 1280)
    assert (text["num_hidden_layers"], text["hidden_size"], text["vocab_size"]) == (12, 768, 30_522)
    assert [source.names for source in entry.sources] == [("model.safetensors",), ("vocab.txt",)]


def test_names_are_found_in_any_case_and_near_misses_suggested():
    assert find_entry(" ESM2-650M ") is CATALOG["esm2-650m"]
    assert find_entry("esm2") is None
    assert suggest("esm2_650m") == "did you mean esm2-650m?"
    assert suggest("gpt") == f"there are {', '.join(CATALOG)}"


def test_catalog_is_light():
    code = (
        "import sys, protclip_core.fetch.catalog\n"
        "heavy = {'torch', 'requests', 'huggingface_hub', 'pooch', 'numpy'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
