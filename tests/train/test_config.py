"""Configurations: what ships is valid, and what is wrong is named with its table and key."""

import json

import pytest

from protclip_core.errors import UsageError
from tests.train.launch import CONFIGS, DEBUG, write_config
from train.config.run import changed_keys, load_config, load_saved_config


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.toml")), ids=lambda path: path.stem)
def test_recipes_are_whole_and_survive_being_saved(tmp_path, path):
    config = load_config(path)
    saved = tmp_path / "config.json"
    saved.write_text(json.dumps(config.to_dict()))
    assert load_saved_config(saved) == config
    assert changed_keys(config, load_saved_config(saved)) == []


def test_official_recipe_is_the_papers():
    config = load_config(CONFIGS / "official_650m.toml")
    assert config.objectives.weights == {"gc": 1.0, "bsr": 0.7, "mlm": 0.3, "pda": 1.0, "go": 0.0}
    assert (config.train.learning_rate, config.train.weight_decay) == (1e-5, 0.0)
    assert (config.data.max_pairs, config.train.warmup_share, config.train.max_epochs) == (
        2048, 0.03, 35.0,
    )  # fmt: skip
    assert config.text.stays and not config.objectives.shared_pass


@pytest.mark.parametrize(
    ("table", "key", "value", "said"),
    [
        ("train", "learning_rates", "1", r"\[train\]: unknown key .*; did you mean 'learn"),
        ("protein", "layers", "3", r"\[protein\]: unknown key 'layers'"),
        ("protein", "num_layers", '"two"', r"\[protein\] num_layers: must be a whole number"),
        ("protein", "kind", '"cnn"', r"\[protein\] kind: must be one of 'esm2', 'kmer'"),
        ("protein", "weights", '"esm2-8m"', r"\[protein\]: give either weights or a shape"),
        ("protein", "kind", '"kmer"', r"\[protein\]: protein_encoder has unknown 'ffn_dim'"),
        ("train", "precision", '"fp16"', r"\[train\] precision: must be one of 'auto', 'float32'"),
        ("train", "seed", "true", r"\[train\] seed: must be a whole number, got True"),
        ("train", "max_steps", "0", r"\[train\]: give max_steps, max_epochs or max_minutes"),
        ("train", "accumulate", "0", r"\[train\] accumulate: must be above 0, got 0"),
        ("data", "crop_shares", "[0.5, 0.6]", r"\[data\] crop_shares: must give each of crops"),
        ("data", "crops", "24", r"\[data\] crops: must be a list, got 24"),
        ("objectives", "gc", "-1.0", r"\[objectives\] gc: must be 0 or more, got -1.0"),
        ("objectives", "theta", "1.5", r"\[objectives\] theta: must be between 0 and 1, got 1.5"),
        ("text", "weights", '"pubmedbert"', r"\[text\]: give either weights or num_layers"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(tmp_path, table, key, value, said):
    path = write_config(tmp_path / "c.toml", {table: {key: value}})
    with pytest.raises(UsageError, match=said):
        load_config(path)


def test_missing_keys_tables_and_files(tmp_path):
    path, text = tmp_path / "c.toml", DEBUG.read_text()
    path.write_text(text.replace("seed = 1\n", ""))
    with pytest.raises(UsageError, match=r"\[train\]: key 'seed' is missing"):
        load_config(path)
    path.write_text(text.partition("[train]")[0])
    with pytest.raises(UsageError, match=r"table \[train\] is missing"):
        load_config(path)
    path.write_text("name = \n")
    with pytest.raises(UsageError, match="is not TOML"):
        load_config(path)
    with pytest.raises(UsageError, match="no such file"):
        load_config(tmp_path / "other.toml")


def test_changes_are_told(tmp_path):
    one = load_config(DEBUG)
    other = load_config(write_config(tmp_path / "c.toml", {"train": {"max_steps": 80}}))
    assert changed_keys(one, other) == ["[train] max_steps: 40 -> 80"]
