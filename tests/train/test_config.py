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
    assert changed_keys(config.to_dict(), load_saved_config(saved).to_dict()) == []


def test_official_recipe_is_the_papers():
    config = load_config(CONFIGS / "official_650m.toml")
    on = {name: weight for name, weight in config.objectives.weights.items() if weight}
    assert on == {"gc": 1.0, "bsr": 0.7, "mlm": 0.3, "pda": 1.0}
    assert (config.train.learning_rate, config.train.weight_decay) == (1e-5, 0.0)
    assert (config.data.max_pairs, config.train.warmup_share, config.train.max_epochs) == (
        2048, 0.03, 35.0,
    )  # fmt: skip
    assert config.text.stays and not config.objectives.shared_pass


@pytest.mark.parametrize(
    ("table", "key", "value", "code", "shown"),
    [
        ("train", "learning_rates", "1", "unknown_key", ("'learning_rates'", "'learning_rate'")),
        ("train", "max_step", "1", "unknown_key", ("'max_step'", "'max_steps'")),
        ("protein", "layers", "3", "unknown_key", ("'layers'", "'num_layers'")),
        ("protein", "num_layers", '"two"', "bad_value", ("num_layers", "'two'", "int")),
        ("protein", "kind", '"cnn"', "bad_value", ("kind", "'cnn'", "'esm2', 'kmer'")),
        ("protein", "weights", '"esm2-8m"', "bad_value", ("weights", "shape")),
        ("protein", "kind", '"kmer"', "bad_value", ("'num_heads'",)),
        ("train", "precision", '"fp16"', "bad_value", ("precision", "'fp16'", "'float32'")),
        ("train", "seed", "true", "bad_value", ("seed", "True")),
        ("train", "max_steps", "0", "bad_value", ("max_steps", "0")),
        ("train", "accumulate", "0", "bad_value", ("accumulate", "0")),
        ("train", "betas", "[0.9]", "bad_value", ("betas", "[0.9]", "2")),
        ("train", "learning_rate", "inf", "bad_value", ("learning_rate", "inf")),
        ("data", "crop_shares", "[0.5, 0.6]", "bad_value", ("crop_shares",)),
        ("data", "crops", "24", "bad_value", ("crops", "24")),
        ("data", "crops", "[]", "bad_value", ("crops",)),
        ("data", "crops", "[24, 0]", "bad_value", ("crops[1]", "0")),
        ("objectives", "gc", "-1.0", "bad_value", ("gc", "-1.0")),
        ("objectives", "gc", "nan", "bad_value", ("gc", "nan")),
        ("objectives", "theta", "1.5", "bad_value", ("theta", "1.5")),
        ("text", "weights", '"pubmedbert"', "bad_value", ("weights", "num_layers")),
    ],
)
def test_what_is_wrong_is_named(tmp_path, table, key, value, code, shown):
    path = write_config(tmp_path / "c.toml", {table: {key: value}})
    with pytest.raises(UsageError) as caught:
        load_config(path)
    assert caught.value.code == f"usage.{code}"
    for part in (str(path), table, *shown):
        assert part in str(caught.value)


def test_missing_keys_tables_and_files(tmp_path):
    path, text = tmp_path / "c.toml", DEBUG.read_text()
    path.write_text(text.replace("seed = 1\n", ""))
    with pytest.raises(UsageError, match=r"train\.seed is missing"):
        load_config(path)
    path.write_text(text.partition("[train]")[0])
    with pytest.raises(UsageError, match=r"train is missing"):
        load_config(path)
    path.write_text("name = \n")
    with pytest.raises(UsageError) as caught:
        load_config(path)
    assert caught.value.code == "usage.not_toml"
    with pytest.raises(UsageError) as caught:
        load_config(tmp_path / "other.toml")
    assert caught.value.code == "usage.no_such_file"


def test_changes_are_told(tmp_path):
    one = load_config(DEBUG)
    other = load_config(write_config(tmp_path / "c.toml", {"train": {"max_steps": 80}}))
    assert changed_keys(one.to_dict(), other.to_dict()) == ["[train] max_steps: 40 -> 80"]
