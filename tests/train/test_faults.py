"""What ends a run early; the numbers are those of the list of faults."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import signal

import pytest
import torch
from safetensors.torch import load_file, save_file

from protclip_core.errors import ModelError
from tests.train import killed
from tests.train.faulty import fill, numbers
from tests.train.killed import ALONE, kill_saves
from tests.train.launch import write_config
from train import pretrain
from train.config.run import load_config
from train.loop import checkpoint, steps
from train.loop.optim import Progress

SMALL = {
    "train": {"max_steps": 8, "evaluate_every": 8, "evaluate_pairs": 8, "timeout_seconds": 4.0},
    "objectives": {"go": 0.0},
}


def start(folder, *extra, changes=SMALL, **options):
    return killed.start(folder, *extra, changes=changes, **options)


def changed(**train_keys):
    return {**SMALL, "train": SMALL["train"] | train_keys}


def steps_of(run_dir):
    return [row for row in killed.metrics_of(run_dir) if "loss" in row]


def weights(run_dir, step):
    return load_file(run_dir / f"step-{step:08d}" / "model.safetensors")


def error_of(ended):
    """The one line that says what happened; no traceback."""
    lines = ended.err.splitlines()
    assert "Traceback" not in ended.err, ended.err
    (line,) = [line for line in lines if line.startswith("error: ")]
    return line


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """Folders of runs of 8 steps without a fault, of one and of two ranks."""
    found = {}
    for ranks in (1, 2):
        folder = tmp_path_factory.mktemp(f"straight{ranks}")
        ended = start(folder, ranks=ranks).wait()
        assert [e.code for e in ended] == [0] * ranks, ended
        found[ranks] = folder / "run"
    return found


@pytest.mark.full(but="1")
@pytest.mark.parametrize("ranks", [1, 2])
def test_killed_and_resumed_equals_straight(tmp_path, straight, ranks):
    """Faults 12 and 55: kill -9 behind a checkpoint; the steps since are made again."""
    changes = changed(checkpoint_seconds=0.0)
    ended = start(tmp_path, ranks=ranks, changes=changes, fault=("kill", 6, ranks - 1)).wait()
    assert ended[-1].code == -signal.SIGKILL
    if ranks == 2:
        assert ended[0].code == 8
        assert "rank 1 was lost in step 6; start again with --resume" in error_of(ended[0])
    run_dir = tmp_path / "run"
    # As if it had been killed later than it was: lines that no checkpoint holds, and half a line.
    shutil.rmtree(run_dir / "step-00000005")
    with (run_dir / "metrics.jsonl").open("a") as file:
        file.write('{"step": 6, "loss": 0.0}\n{"step": 7, "lo')
    ended = start(tmp_path, "--resume", ranks=ranks, changes=changes).wait()
    assert [e.code for e in ended] == [0] * ranks, ended
    assert [row["step"] for row in steps_of(run_dir)] == list(range(1, 9))
    one, other = weights(run_dir, 8), weights(straight[ranks], 8)
    assert one.keys() == other.keys()
    if ranks == 1:
        assert steps_of(run_dir) == steps_of(straight[1])
        assert all(torch.equal(one[name], other[name]) for name in one)
    else:
        for name in one:
            torch.testing.assert_close(one[name], other[name], rtol=1e-6, atol=1e-6)


@pytest.mark.full
def test_a_rank_that_hangs_is_named_after_the_timeout(tmp_path):
    """Fault 56: 8 at the time that is set."""
    job = start(tmp_path, ranks=2, fault=("hang", 3, 1))
    job.processes[0].join(60)
    assert job.processes[0].exitcode == 8
    job.processes[1].kill()
    first, _ = job.wait()
    assert error_of(first).endswith("[worker.lost_rank]")
    assert "rank 1 " in error_of(first) and "4 seconds in step 3" in error_of(first)


@pytest.mark.full
def test_a_loss_that_is_not_finite_on_one_rank_stops_all_at_the_same_step(tmp_path):
    """Fault 56: the step is named, and so is the rank; nothing of it is saved."""
    ended = start(tmp_path, ranks=2, fault=("nan", 4, 1), changes=changed(checkpoint_seconds=0.0))
    first, second = ended.wait()
    assert (first.code, second.code) == (3, 3)
    assert "loss is nan at step 4 (pda on rank 1)" in error_of(first)
    # Where the first rank's store closes before it can be asked, the other repeats what it knows.
    ours = [line for line in second.err.splitlines() if line.startswith(("error:", "warning:"))]
    assert all("loss is nan at step 4 (pda on rank 1)" in line for line in ours)
    assert "Traceback" not in second.err
    found = checkpoint.find(tmp_path / "run")
    assert found.name == "step-00000003"
    assert all(value.isfinite().all() for value in weights(tmp_path / "run", 3).values())


@pytest.mark.full
def test_uneven_data_run_out_evenly(tmp_path):
    """Fault 56: a number of pairs that two ranks cannot share alike, to the end of the epoch."""
    changes = {**changed(max_steps=100, max_epochs=1.0), "data": {"max_pairs": 7}}
    ended = start(tmp_path, ranks=2, changes=changes).wait()
    assert [e.code for e in ended] == [0, 0], ended
    pairs = [row["pairs"] for row in steps_of(tmp_path / "run")]
    assert sum(pairs) > 115
    assert any(number % 2 for number in pairs)


def test_a_process_that_puts_batches_together_is_killed(tmp_path):
    """Fault 57: 8, no hang; with such processes the batches are the same."""
    changes = {**SMALL, "data": {"workers": 2}}
    (ended,) = start(tmp_path, changes=changes, fault=("worker", 3, 0)).wait()
    assert ended.code == 8
    assert error_of(ended).endswith("[worker.lost_process]")


@pytest.mark.full
def test_batches_of_workers_are_the_same(tmp_path, straight):
    (ended,) = start(tmp_path, changes={**SMALL, "data": {"workers": 2}}).wait()
    assert ended.code == 0, ended
    assert steps_of(tmp_path / "run") == steps_of(straight[1])


@pytest.mark.full(but="term-143")
@pytest.mark.parametrize(("fault", "code"), [("term", 143), ("interrupt", 130)])
def test_signals_end_the_run_with_a_checkpoint(tmp_path, fault, code):
    ranks = 2 if fault == "term" else 1
    ended = start(tmp_path, ranks=ranks, fault=(fault, 3, ranks - 1)).wait()
    assert [e.code for e in ended] == [code] * ranks, ended
    assert "continue with --resume" in error_of(ended[0])
    assert checkpoint.find(tmp_path / "run").name == "step-00000003"


def test_a_full_disk_keeps_the_last_good_checkpoint(tmp_path):
    """Fault 15: 5; the checkpoint before it is as it was, and after room is made the run ends."""
    assert start(tmp_path, "--stop-at", 2).wait()[0].code == 0
    run_dir = tmp_path / "run"
    before = weights(run_dir, 2)
    size = (run_dir / "step-00000002" / "optimizer.pt").stat().st_size
    (ended,) = start(tmp_path, "--resume", limit=size - 1000).wait()
    assert ended.code == 5
    line = error_of(ended)
    assert "step-00000008: " in line and "[resource." in line
    assert checkpoint.find(run_dir).name == "step-00000002"
    assert all(torch.equal(before[k], v) for k, v in weights(run_dir, 2).items())
    assert not list(run_dir.glob(".step*"))
    assert start(tmp_path, "--resume").wait()[0].code == 0


@pytest.mark.full
def test_thirty_kills_while_checkpoints_are_written(tmp_path):
    """Fault 12: each time one that is whole is there, and no older than the last but one."""
    loadable, interrupted = kill_saves(tmp_path, 30)
    assert loadable == 30
    assert interrupted > 5


def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path, caplog):
    model, optimizer = numbers(8)
    for step in (1, 2, 3):
        fill(model, optimizer, step)
        checkpoint.save(tmp_path, model, optimizer, Progress(step=step), ALONE)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-00000002", "step-00000003"]
    path = tmp_path / "step-00000003" / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
    assert checkpoint.find(tmp_path).name == "step-00000002"
    assert re.search(r"step-00000003: model.safetensors is damaged", caplog.text)
    (tmp_path / "step-00000002" / "optimizer.pt").write_bytes(b"")
    with pytest.raises(ModelError) as caught:
        checkpoint.find(tmp_path)
    assert caught.value.code == "model.damaged"
    assert "optimizer.pt has 0 bytes" in caplog.text
    with pytest.raises(ModelError) as caught:
        checkpoint.find(tmp_path / "nothing")
    assert caught.value.code == "model.no_checkpoint"


def test_a_checkpoint_of_protclip_0_1_goes_on_as_one_of_today(tmp_path, monkeypatch):
    """There the scale and bias of GO stood beside the towers; they belong to their objective."""
    changes = {"objectives": {"go": 0.5, "go_form": '"sigmoid"'}, "train": SMALL["train"]}
    config = load_config(write_config(tmp_path / "c.toml", changes))
    monkeypatch.setattr(steps, "draw", lambda *_: None)
    pretrain.train(config, run_dir=tmp_path / "run", stop_at=4)
    shutil.copytree(tmp_path / "run", tmp_path / "old")
    folder = tmp_path / "old" / "step-00000004"
    before = {"objectives.go.logit_scale": "go_logit_scale", "objectives.go.bias": "go_bias"}
    tensors = load_file(folder / "model.safetensors")
    assert before.keys() < tensors.keys()
    save_file({before.get(n, n): v for n, v in tensors.items()}, folder / "model.safetensors")
    states = torch.load(folder / "optimizer.pt", weights_only=True)
    states["state"] = {before.get(n, n): state for n, state in states["state"].items()}
    for group in states["param_groups"]:
        group["params"] = [before.get(name, name) for name in group["params"]]
    assert before.keys().isdisjoint(states["state"])
    torch.save(states, folder / "optimizer.pt")
    listing = json.loads((folder / "manifest.json").read_text())
    for name in ("model.safetensors", "optimizer.pt"):
        data = (folder / name).read_bytes()
        listing[name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (folder / "manifest.json").write_text(json.dumps(listing))
    for run in ("run", "old"):
        pretrain.train(config, run_dir=tmp_path / run, resume=True)
    one, two = weights(tmp_path / "run", 8), weights(tmp_path / "old", 8)
    assert one.keys() == two.keys() == tensors.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert killed.metrics_of(tmp_path / "run") == killed.metrics_of(tmp_path / "old")
