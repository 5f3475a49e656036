"""Two stages in one run: what each trains, and that stops and kills change nothing."""

import dataclasses
import json
import signal

import pytest
import torch
from safetensors.torch import load_file

from protclip_core.errors import UsageError
from tests.train.faulty import program
from tests.train.launch import Job
from tests.train.with_structures import make_structures, write_staged
from train import pretrain
from train.config.run import load_config, load_saved_config
from train.loop import checkpoint, steps
from train.loop.optim import Progress, learning_rate, share_done

TRAIN = {"max_steps": 99, "evaluate_every": 20, "evaluate_pairs": 8, "ema": 0.5}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """One thread, and no picture, which takes longer than a few steps."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.setattr(steps, "draw", lambda *_: None)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def config_path(tmp_path_factory):
    folder = tmp_path_factory.mktemp("staged")
    return write_staged(folder / "c.toml", make_structures(folder / "s.h5"), train=TRAIN)


@pytest.fixture(scope="module")
def straight(tmp_path_factory, config_path):
    """A run of both stages, and the checkpoint between them."""
    run_dir = tmp_path_factory.mktemp("straight") / "run"
    torch.set_num_threads(1)
    plain, steps.draw = steps.draw, lambda *_: None
    try:
        pretrain.train(load_config(config_path), run_dir=run_dir)
    finally:
        steps.draw = plain
    return run_dir


def metrics_of(run_dir):
    rows = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k != "tokens_per_s"} for row in rows]


def weights(run_dir, step, name="model"):
    return load_file(run_dir / f"step-{step:08d}" / f"{name}.safetensors")


def moved(straight, part, first, last):
    one, other = weights(straight, first), weights(straight, last)
    return any(not torch.equal(one[n], other[n]) for n in one if n.startswith(f"towers.{part}."))


def test_each_stage_has_its_own_rates_and_what_stays_in_it_stays(tmp_path, straight, config_path):
    rows = [row for row in metrics_of(straight) if "loss" in row]
    assert [row["stage"] for row in rows] == [1] * 5 + [2] * 6
    assert [row["step"] for row in rows] == list(range(1, 12))
    peak = 2e-3
    assert [row["lr"] for row in rows[:2]] == pytest.approx([peak / 2, peak])
    assert [row["lr"] for row in rows[5:8]] == pytest.approx([1e-3 / 3, 2e-3 / 3, 1e-3])
    for name in ("sequence_structure", "sequence_text", "structure_text", "intra_sequence"):
        assert all(row[name] > 0 for row in rows), name
    for name in ("intra_structure", "intra_text", "design"):
        assert all(row[name] > 0 for row in rows), name
    # The newest two are kept: the end of stage one, and that of stage two.
    assert sorted(p.name for p in straight.glob("step-*")) == ["step-00000005", "step-00000011"]
    fresh = tmp_path / "fresh"
    pretrain.train(load_config(config_path), run_dir=fresh, stop_at=1)
    start = weights(fresh, 1)
    border = weights(straight, 5)
    for part, learns in (
        ("protein_encoder", False), ("text_encoder", False), ("structure_encoder", True),
        ("protein_projection", True), ("text_projection", True), ("structure_projection", True),
    ):  # fmt: skip
        names = [name for name in start if name.startswith(f"towers.{part}.")]
        same = all(torch.equal(start[name], border[name]) for name in names)
        assert same != learns, part
        assert moved(straight, part, 5, 11), part
    pairs = ("sequence_structure", "sequence_text", "structure_text")
    scales = [f"objectives.{name}.logit_scale" for name in pairs]
    # Temperatures go on from where they were.
    for name in scales:
        assert abs(float(border[name] - weights(straight, 11)[name])) < 0.05


@pytest.mark.full(but="5")
@pytest.mark.parametrize("stop", [3, 5, 8])
def test_stopped_and_resumed_equals_straight(tmp_path, straight, config_path, stop):
    config, run_dir = load_config(config_path), tmp_path / "run"
    pretrain.train(config, run_dir=run_dir, stop_at=stop)
    torch.manual_seed(99)
    pretrain.train(config, run_dir=run_dir, resume=True)
    assert metrics_of(run_dir) == metrics_of(straight)
    for name in ("model", "steps"):
        one, other = weights(run_dir, 11, name), weights(straight, 11, name)
        assert one.keys() == other.keys()
        assert [key for key in one if not torch.equal(one[key], other[key])] == []


@pytest.mark.full
@pytest.mark.parametrize("at", [4, 6, 9])
def test_killed_in_either_stage_and_resumed_equals_straight(tmp_path, straight, config_path, at):
    arguments = ["--config", config_path, "--run-dir", tmp_path / "run"]
    often = tmp_path / "often.toml"
    often.write_text(
        config_path.read_text().replace("[train]", "[train]\ncheckpoint_seconds = 0.0")
    )
    arguments[1] = often
    (ended,) = Job(tmp_path, program, arguments, "kill", at).wait()
    assert ended.code == -signal.SIGKILL
    assert checkpoint.read_progress(checkpoint.find(tmp_path / "run")).step == at - 1
    (ended,) = Job(tmp_path, program, [*arguments, "--resume"]).wait()
    assert ended.code == 0, ended.err
    rows = [row for row in metrics_of(tmp_path / "run") if "loss" in row]
    assert rows == [row for row in metrics_of(straight) if "loss" in row]
    one, other = weights(tmp_path / "run", 11), weights(straight, 11)
    assert [key for key in one if not torch.equal(one[key], other[key])] == []


def test_kept_vectors_are_those_of_the_encoders(tmp_path, config_path, straight):
    """A stage one without kept vectors takes the same steps, but for the rounding to float16."""
    config = load_config(config_path)
    config = dataclasses.replace(
        config, protein=dataclasses.replace(config.protein, cache=False)
    )  # fmt: skip
    long = dataclasses.replace(
        config,
        data=dataclasses.replace(
            config.data, crops=(400,), crop_shares=(1.0,), by_length=False, equal_lengths=False
        ),
    )
    kept = dataclasses.replace(long, protein=dataclasses.replace(config.protein, cache=True))
    for name, own in (("plain", long), ("kept", kept)):
        pretrain.train(own, run_dir=tmp_path / name, stop_at=2)
    one, other = (metrics_of(tmp_path / name) for name in ("plain", "kept"))
    for row, same in zip(one, other, strict=True):
        for key in ("sequence_structure", "sequence_text", "structure_text", "intra_sequence"):
            assert same[key] == pytest.approx(row[key], rel=2e-3), key
    assert (tmp_path / "kept" / "protein_vectors.npy").exists()
    assert not (tmp_path / "plain" / "protein_vectors.npy").exists()


def test_limits_and_warm_up_are_counted_from_the_beginning_of_a_stage(config_path):
    one, two = load_config(config_path).stages()
    assert (one.train.max_steps, two.train.max_steps) == (5, 6)
    assert (one.train.encoder_share, two.train.encoder_share) == (1.0, 0.1)
    progress = Progress(step=5, epoch=1, position=0, batches=9, seconds=60.0)
    assert share_done(progress, one.train) == 1.0
    after = progress.next_stage()
    assert (after.stage, after.began) == (1, (5, 1.0, 60.0))
    assert share_done(after, two.train) == 0.0
    assert learning_rate(after, two.train) == pytest.approx(1e-3 / 3)
    minutes = dataclasses.replace(two.train, max_steps=None, max_minutes=2.0)
    after.seconds = 120.0
    assert share_done(after, minutes) == pytest.approx(0.5)


def test_tables_of_stages(tmp_path, config_path):
    saved = load_config(config_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(saved.to_dict()))
    assert load_saved_config(path) == saved
    text = config_path.read_text()
    for wrong, code in (
        ('frozen = ["proteins"]', "usage.bad_value"),
        ("rate = 1.0", "usage.unknown_key"),
    ):
        path = tmp_path / "c.toml"
        path.write_text(text.replace("[stage.one]", f"[stage.one]\n{wrong}"))
        with pytest.raises(UsageError) as caught:
            load_config(path)
        assert caught.value.code == code
    path.write_text(text.replace("scalar_dim = 8", "scalar_dims = 8"))
    with pytest.raises(UsageError) as caught:
        load_config(path)
    assert caught.value.code == "usage.bad_value"
    path.write_text(text[: text.index("[structure]")])
    with pytest.raises(UsageError) as caught:
        load_config(path)
    assert caught.value.code == "usage.bad_value"
    # Encoders that learn cannot have their vectors kept.
    path.write_text(text.replace("[stage.one]", "[stage.one]\nfrozen = []"))
    one, _ = load_config(path).stages()
    assert (one.protein.cache, one.text.cache_variants) == (False, 0)
