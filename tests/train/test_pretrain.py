"""The program from end to end on tiny data: resume, checkpoints, export."""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from protclip_core.errors import ModelError, ProtclipError, UsageError
from protclip_core.models.bundle import open_bundle
from protclip_core.models.esm2 import Esm2, Esm2Config
from train import checkpoint, export, pretrain
from train.config import load_config
from train.evaluate import recall_at
from train.model import MAX_LOGIT_SCALE

CONFIG_PATH = Path(pretrain.__file__).parent / "configs" / "debug.toml"


@pytest.fixture(scope="module")
def straight(tmp_path_factory, pairs_path, go_path):
    """A run of 40 steps; its directory."""
    run_dir = tmp_path_factory.mktemp("straight") / "run"
    run(run_dir, pairs_path, go_path)
    return run_dir


def run(run_dir, pairs_path, go_path, **options):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    config = options.pop("config", None) or load_config(CONFIG_PATH)
    try:
        return pretrain.train(
            config, data_path=pairs_path, go_path=go_path, run_dir=run_dir, **options
        )
    finally:
        torch.set_num_threads(threads)


def metrics_of(run_dir):
    rows = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k != "tokens_per_s"} for row in rows]


def test_loss_falls_and_every_step_is_reported(straight):
    rows = metrics_of(straight)
    steps = [row for row in rows if "loss" in row]
    assert [row["step"] for row in steps] == list(range(1, 41))
    assert sum(row["mlm"] for row in steps[-5:]) < 0.95 * sum(row["mlm"] for row in steps[:5])
    assert all({"gc", "lr", "grad_norm"} <= row.keys() for row in steps)
    evaluations = [row for row in rows if "evaluation" in row]
    assert [row["step"] for row in evaluations] == [20, 40]
    assert all(0 <= row["p2t_r1"] <= row["p2t_r10"] <= 1 for row in evaluations)


def test_resumed_run_equals_a_straight_one(tmp_path, straight, pairs_path, go_path):
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    shutil.copy(straight / "tokenizer.json", run_dir)
    run(run_dir, pairs_path, go_path, stop_at=20)
    # What a killed run leaves: lines of steps that no checkpoint holds, and half a line.
    with (run_dir / "metrics.jsonl").open("a") as file:
        file.write('{"step": 21, "loss": 0.0}\n{"step": 22, "lo')
    run(run_dir, pairs_path, go_path, resume=True)
    assert metrics_of(run_dir) == metrics_of(straight)
    first, second = (
        load_file(place / "step-00000040" / "model.safetensors") for place in (straight, run_dir)
    )
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_a_run_is_not_overwritten(straight, pairs_path, go_path):
    with pytest.raises(UsageError, match="holds a run already"):
        run(straight, pairs_path, go_path)


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path, pairs_path, go_path, monkeypatch):
    def broken(*_, **__):
        return torch.tensor(float("nan"), requires_grad=True)

    monkeypatch.setattr(pretrain, "contrastive_loss", broken)
    with pytest.raises(ProtclipError, match="loss is nan at step 1"):
        run(tmp_path / "run", pairs_path, go_path)


def test_resume_needs_a_checkpoint(tmp_path):
    with pytest.raises(ModelError, match="no checkpoint"):
        checkpoint.latest(tmp_path)


def test_old_checkpoints_go_and_no_temporary_one_stays(tmp_path):
    model = torch.nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(model.parameters())
    for step in (1, 2, 3):
        checkpoint.save(tmp_path, model, optimizer, checkpoint.Progress(step=step))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-00000002", "step-00000003"]
    assert checkpoint.load(checkpoint.latest(tmp_path), model, optimizer).step == 3


def test_learning_rate_follows_steps_or_minutes():
    settings = load_config(CONFIG_PATH).train
    rates = [pretrain.learning_rate(checkpoint.Progress(step=step), settings) for step in range(40)]
    peak = settings.learning_rate
    assert rates[0] == pytest.approx(peak / settings.warmup_steps)
    assert max(rates) == pytest.approx(peak, rel=0.05)
    assert rates[-1] < 0.05 * peak
    timed = dataclasses.replace(settings, max_minutes=1.0)
    half = checkpoint.Progress(step=10, seconds=30.0)
    assert pretrain.share_done(half, timed) == 0.5
    assert pretrain.share_done(half, settings) == 0.25


def test_recall_leaves_out_identical_texts():
    similarity = torch.tensor([[0.5, 0.9, 0.1], [0.2, 0.8, 0.3], [0.7, 0.1, 0.7]])
    nothing = torch.eye(3, dtype=torch.bool)
    assert recall_at(1, similarity, nothing) == pytest.approx(1 / 3)
    assert recall_at(2, similarity, nothing) == 1.0
    same = nothing.clone()
    same[0, 1] = same[1, 0] = True
    assert recall_at(1, similarity, same) == pytest.approx(2 / 3)


def test_export_writes_a_bundle_that_the_encoder_loads(
    tmp_path, straight, pairs_path, go_path, capsys
):
    out, figures_path = tmp_path / "bundle", tmp_path / "figures.json"
    card = tmp_path / "card.md"
    card.write_text("# debug\n")
    arguments = ["--run-dir", straight, "--out", out, "--data", pairs_path, "--go", go_path]
    arguments += ["--figures", figures_path, "--card", card, "--pairs", "12"]
    threads = torch.get_num_threads()
    export.main([str(argument) for argument in arguments])
    torch.set_num_threads(threads)

    bundle = open_bundle(out)
    bundle.verify()
    assert {"tokenizer.json", "MODEL_CARD.md"} <= bundle.files.keys()
    tensors = bundle.tensors()
    rooms = {name.partition(".")[0] for name in tensors}
    assert rooms == {
        "protein_encoder", "protein_projection", "text_encoder", "text_projection", "logit_scale",
    }  # fmt: skip
    assert {f"protein_projection.{i}.{kind}" for i in (0, 2) for kind in ("weight", "bias")} == {
        name for name in tensors if name.startswith("protein_projection.")
    }
    assert float(tensors["logit_scale"]) <= MAX_LOGIT_SCALE
    assert all(value.dtype == torch.float16 for value in tensors.values())

    encoder_fields = dict(bundle.config["protein_encoder"])
    assert encoder_fields.pop("type") == "esm2"
    encoder = Esm2(
        Esm2Config(**{k: v for k, v in encoder_fields.items() if k != "lm_head"}),
        lm_head=encoder_fields["lm_head"],
    )
    encoder.load_state_dict(bundle.tensors("protein_encoder."))
    figures = json.loads(figures_path.read_text())
    assert figures["step"] == 40
    assert figures["weights_sha256"] == bundle.weights_sha256 in capsys.readouterr().out
    assert figures["test"]["pairs"] == figures["valid"]["pairs"] == 12
