"""The program in this process, on the recipe for a first look: figures, resume, starts, export."""

import dataclasses
import json
import sys

import pytest
import torch
from safetensors.torch import load_file

from protclip_core.errors import ModelError, UsageError
from protclip_core.models.loading import load_model
from protclip_core.weights.bundle import open_bundle
from tests.train.launch import CONFIGS, DEBUG, debug_config, write_config
from train import pretrain
from train.config.run import load_config
from train.loop import curves, steps
from train.loop.evaluate import recall_at
from train.loop.optim import Progress, learning_rate, make_optimizer, share_done
from train.release import export
from train.towers.build import build_towers
from train.towers.two_towers import MAX_LOGIT_SCALE

PAIRS, GO = CONFIGS / "debug" / "pairs.jsonl", CONFIGS / "debug" / "go_terms.tsv"


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """A run of 40 steps; its directory."""
    run_dir = tmp_path_factory.mktemp("straight") / "run"
    torch.set_num_threads(1)
    pretrain.train(load_config(DEBUG), run_dir=run_dir)
    return run_dir


@pytest.fixture
def quick(monkeypatch):
    """Leave out the picture, which takes longer than a few steps."""
    monkeypatch.setattr(steps, "draw", lambda *_: None)


def metrics_of(run_dir):
    rows = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k != "tokens_per_s"} for row in rows]


def weights(run_dir, step):
    return load_file(run_dir / f"step-{step:08d}" / "model.safetensors")


def with_objectives(config, **keys):
    return dataclasses.replace(config, objectives=dataclasses.replace(config.objectives, **keys))


def test_losses_fall_and_every_step_is_reported(straight):
    rows = metrics_of(straight)
    steps = [row for row in rows if "loss" in row]
    assert [row["step"] for row in steps] == list(range(1, 41))
    for name in ("loss", "mlm", "bsr", "go"):
        before, after = (sum(row[name] for row in part) for part in (steps[:5], steps[-5:]))
        assert after < 0.95 * before, name
    wanted = {"step", "loss", "gc", "bsr", "mlm", "pda", "go", "lr", "grad_norm", "pairs", "scale"}
    assert all(row.keys() == wanted for row in steps)
    for row in steps:
        parts = 0.7 * row["bsr"] + 0.3 * row["mlm"] + row["gc"] + row["pda"] + 0.5 * row["go"]
        assert row["loss"] == pytest.approx(parts, rel=1e-5)
    evaluations = [row for row in rows if "evaluation" in row]
    assert [row["step"] for row in evaluations] == [20, 40]
    for row in evaluations:
        assert 0 <= row["p2t_r1"] <= row["p2t_r10"] <= 1
        assert all(0 < row[f"fmax_{aspect}"] <= 1 for aspect in ("mf", "bp", "cc"))
    assert evaluations[-1]["mlm_perplexity"] < 25


def test_a_picture_of_the_curves(straight, tmp_path):
    assert (straight / "curve.png").read_bytes().startswith(b"\x89PNG")
    both = tmp_path / "both.png"
    assert curves.main([str(straight), str(straight), "--out", str(both)]) == 0
    assert both.stat().st_size > 10_000
    assert curves.main([str(tmp_path)]) == 4


def test_resumed_run_equals_a_straight_one(tmp_path, straight, quick):
    run_dir = tmp_path / "run"
    pretrain.train(load_config(DEBUG), run_dir=run_dir, stop_at=17)
    torch.manual_seed(99)
    pretrain.train(load_config(DEBUG), run_dir=run_dir, resume=True)
    assert metrics_of(run_dir) == metrics_of(straight)
    one, other = weights(run_dir, 40), weights(straight, 40)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_run_is_neither_overwritten_nor_resumed_from_nothing(tmp_path, straight):
    with pytest.raises(UsageError) as caught:
        pretrain.train(load_config(DEBUG), run_dir=straight)
    assert caught.value.code == "usage.output_exists"
    with pytest.raises(ModelError) as caught:
        pretrain.train(load_config(DEBUG), run_dir=tmp_path / "new", resume=True)
    assert caught.value.code == "model.no_checkpoint"
    bare = dataclasses.replace(load_config(DEBUG).data, pairs=None)
    with pytest.raises(UsageError) as caught:
        pretrain.train(dataclasses.replace(load_config(DEBUG), data=bare), run_dir=tmp_path / "x")
    assert caught.value.code == "usage.missing_option"


def test_tensorboard_is_asked_for_and_not_there(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UsageError) as caught:
        pretrain.train(debug_config(tensorboard=True), run_dir=tmp_path / "run")
    assert caught.value.code == "usage.missing_library"


def test_recomputed_activations_change_nothing(tmp_path, straight, quick):
    pretrain.train(debug_config(recompute=True), run_dir=tmp_path / "run", stop_at=3)
    assert metrics_of(tmp_path / "run") == metrics_of(straight)[:3]


def test_bf16_is_near_float32(tmp_path, straight, quick):
    pretrain.train(debug_config(precision="bf16"), run_dir=tmp_path / "run", stop_at=1)
    (row,), plain = metrics_of(tmp_path / "run"), metrics_of(straight)[0]
    names = ("gc", "bsr", "mlm", "pda", "go")
    assert [row[n] for n in names] == pytest.approx([plain[n] for n in names], rel=0.03)
    assert row["mlm"] != plain["mlm"]


def test_a_step_may_take_several_batches(tmp_path, quick):
    still = {"learning_rate": 1e-12, "warmup_steps": 0}
    pretrain.train(debug_config(**still), run_dir=tmp_path / "one", stop_at=2)
    pretrain.train(debug_config(**still, accumulate=2), run_dir=tmp_path / "two", stop_at=1)
    (both,), (first, second) = metrics_of(tmp_path / "two"), metrics_of(tmp_path / "one")
    assert both["pairs"] == first["pairs"] + second["pairs"]
    for name in ("loss", "gc", "bsr", "mlm", "pda", "go"):
        assert both[name] == pytest.approx((first[name] + second[name]) / 2, rel=1e-5)


@pytest.mark.parametrize("shared", [False, True])
def test_objectives_that_are_off_are_not_built(tmp_path, quick, shared):
    off = {"bsr": 0.0, "pda": 0.0, "go": 0.0, "shared_pass": shared}
    config = with_objectives(load_config(DEBUG), **off)
    model = pretrain.train(config, run_dir=tmp_path / "run", stop_at=1)
    assert model.towers.residue_heads is None
    assert model.go is None
    assert {"gc", "mlm"} == metrics_of(tmp_path / "run")[0].keys() & {
        "gc",
        "mlm",
        "bsr",
        "pda",
        "go",
    }
    without = build_towers(with_objectives(config, mlm=0.0), 250)
    assert without.protein_encoder.lm_head is None
    separate = dataclasses.replace(
        config, model=dataclasses.replace(config.model, mlm_head="separate")
    )
    towers = build_towers(separate, 250)
    assert towers.protein_encoder.lm_head is None
    assert towers.residue_heads.mlm is not None and towers.residue_heads.prototypes is None


def test_all_objectives_on_one_pass(tmp_path, quick):
    config = with_objectives(load_config(DEBUG), shared_pass=True, segmented_proteins=1.0)
    pretrain.train(config, run_dir=tmp_path / "run", stop_at=2)
    rows = metrics_of(tmp_path / "run")
    missing = [name for name in ("bsr", "mlm", "pda") if min(row[name] for row in rows) <= 0]
    assert missing == []


def test_sigmoid_form_and_definitions_of_go(tmp_path, quick):
    config = with_objectives(load_config(DEBUG), go_form="sigmoid", go_text="definition")
    model = pretrain.train(config, run_dir=tmp_path / "run", stop_at=2)
    assert float(model.go.bias.detach()) != -6.0


def test_kmer_encoder_trains_and_ships(tmp_path, quick):
    text = DEBUG.read_text().replace('"debug/', f'"{CONFIGS}/debug/')
    start = text.index("[protein]")
    shape = 'kind = "kmer"\ntables = ["3:6:16"]\nhidden_dim = 24\nnum_layers = 1\n\n'
    path = tmp_path / "c.toml"
    path.write_text(text[:start] + "[protein]\n" + shape + text[text.index("[text]") :])
    pretrain.train(load_config(path), run_dir=tmp_path / "run", stop_at=12)
    first, *_, last = metrics_of(tmp_path / "run")
    assert last["mlm"] < first["mlm"]
    bundle = export.export(tmp_path / "run", tmp_path / "bundle")
    assert bundle.config["protein_encoder"]["type"] == "kmer"
    assert load_model(tmp_path / "bundle", device="cpu").embed_proteins(["MKV"]).shape == (1, 16)


def test_a_run_starts_from_a_model_that_is_there(tmp_path, straight, quick):
    """Both encoders, and the projections as both are of one model; the text encoder stays."""
    export.export(straight, tmp_path / "bundle")
    text = DEBUG.read_text().replace('"debug/', f'"{CONFIGS}/debug/')
    head, _, rest = text.partition("[protein]")
    tables = (
        f'[protein]\nweights = "{tmp_path}/bundle"\n\n[text]\nweights = "{tmp_path}/bundle"\n\n'
    )
    path = tmp_path / "c.toml"
    path.write_text(head + tables + rest[rest.index("[model]") :])
    config = load_config(path)
    slow = dataclasses.replace(config.train, encoder_share=0.1)
    config = dataclasses.replace(config, train=slow)
    model = pretrain.train(config, run_dir=tmp_path / "run", stop_at=2)
    before, after = open_bundle(tmp_path / "bundle").tensors(), model.towers.state_dict()
    moved = {
        name: float((after[name].reshape(value.shape) - value.float()).abs().max())
        for name, value in before.items()
    }
    for name, change in moved.items():
        room = name.partition(".")[0]
        assert (change == 0) == (room == "text_encoder"), name
        assert change < 0.02
    rates = {group["share"]: 0 for group in make_optimizer(model, config.train).param_groups}
    assert rates.keys() == {0.1, 1.0}
    assert metrics_of(tmp_path / "run")[0]["loss"] < 0.9 * metrics_of(straight)[0]["loss"]


def test_learning_rate_follows_steps_epochs_or_minutes():
    settings = load_config(DEBUG).train
    rates = [learning_rate(Progress(step=step), settings) for step in range(40)]
    peak = settings.learning_rate
    assert rates[0] == pytest.approx(peak / settings.warmup_steps)
    assert max(rates) == pytest.approx(peak, rel=0.05)
    assert rates[-1] < 0.05 * peak
    timed = dataclasses.replace(settings, max_minutes=1.0)
    half = Progress(step=10, seconds=30.0)
    assert share_done(half, timed) == 0.5
    assert share_done(half, settings) == 0.25
    passes = dataclasses.replace(
        settings, max_steps=None, max_epochs=4.0, warmup_steps=0, warmup_share=0.5
    )
    quarter = Progress(step=7, epoch=1, position=0, batches=10)
    assert share_done(quarter, passes) == 0.25
    assert learning_rate(quarter, passes) == pytest.approx(peak / 2)
    assert share_done(Progress(epoch=3, position=5, batches=10), passes) == 3.5 / 4


def test_recall_leaves_out_identical_texts():
    similarity = torch.tensor([[0.5, 0.9, 0.1], [0.2, 0.8, 0.3], [0.7, 0.1, 0.7]])
    nothing = torch.eye(3, dtype=torch.bool)
    assert recall_at(1, similarity, nothing) == pytest.approx(1 / 3)
    assert recall_at(2, similarity, nothing) == 1.0
    same = nothing.clone()
    same[0, 1] = same[1, 0] = True
    assert recall_at(1, similarity, same) == pytest.approx(2 / 3)


def test_export_writes_a_bundle_that_loads_with_its_heads(tmp_path, straight, capsys):
    out, figures_path = tmp_path / "bundle", tmp_path / "figures.json"
    card, data = tmp_path / "card.md", tmp_path / "pairs.jsonl"
    card.write_text("# debug\n")
    lines = PAIRS.read_text().splitlines()
    data.write_text("\n".join(lines + [line.replace('"valid"', '"test"') for line in lines]))
    arguments = ["--run-dir", straight, "--out", out, "--data", data, "--go", GO]
    arguments += ["--figures", figures_path, "--card", card, "--pairs", "12"]
    assert export.main([str(argument) for argument in arguments]) == 0

    bundle = open_bundle(out)
    bundle.verify()
    assert {"tokenizer.json", "MODEL_CARD.md"} <= bundle.files.keys()
    tensors = bundle.tensors()
    assert tensors["logit_scale"].shape == ()
    assert float(tensors["logit_scale"]) <= MAX_LOGIT_SCALE
    assert all(value.dtype == torch.float16 for value in tensors.values())
    assert bundle.config["residue_heads"] == {"mlm": False, "segments": True, "prototypes": 16}
    model = load_model(out, device="cpu")
    assert model.residue_heads.prototypes.weight.shape == (16, 16)
    assert model.embed_text(["kinase"]).shape == (1, 16)
    figures = json.loads(figures_path.read_text())
    assert figures["step"] == 40
    assert figures["weights_sha256"] == bundle.weights_sha256 in capsys.readouterr().out
    assert figures["test"]["pairs"] == figures["valid"]["pairs"] == 12
    assert 0 < figures["test"]["fmax_mf"] <= 1

    arguments = ["--run-dir", straight, "--out", tmp_path / "smaller", "--without-heads"]
    assert export.main([str(argument) for argument in arguments]) == 0
    assert "residue_heads" not in open_bundle(tmp_path / "smaller").config
    left_out = tensors.keys() - open_bundle(tmp_path / "smaller").tensors()
    assert left_out
    assert all(name.startswith("residue_heads.") for name in left_out)


def test_the_program_says_what_is_wrong_in_one_line(tmp_path, capsys):
    path = write_config(tmp_path / "c.toml", {"train": {"seeds": 1}})
    assert pretrain.main(["--config", str(path), "--run-dir", str(tmp_path / "run")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {path}: [train]: ") and "'seeds'" in line and "'seed'" in line
    assert line.endswith(" [usage.unknown_key]")
