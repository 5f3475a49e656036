"""The catalog is data: complete, consistent, and read without a network or a heavy library."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from protclip_core.models.cache import check_name
from protclip_core.models.catalog import CATALOG, find_entry, suggest
from protclip_core.models.info import BUNDLED
from protclip_core.models.sources import HubSource, ZenodoSource, parse_source


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
        "import sys, protclip_core.models.catalog\n"
        "heavy = {'torch', 'requests', 'huggingface_hub', 'pooch', 'numpy'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
