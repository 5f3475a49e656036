"""A run against a frozen text tower: what is kept, resume, ranks, figures, export."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from protclip_core.errors import UsageError
from protclip_core.weights.bundle import open_bundle
from tests.train.faulty import program
from tests.train.frozen_text import frozen_config, gradients, make_text_bundle
from tests.train.launch import CONFIGS, Job
from train import pretrain
from train.data.batches import PairData
from train.loop import steps
from train.loop.cache_texts import cache_texts
from train.loop.evaluate import aspect_fmax, evaluate
from train.loop.prepare import make_trainee, prepare
from train.loop.ranks import Ranks
from train.release import export
from train.towers.passes import protein_pass

PAIRS = CONFIGS / "debug" / "pairs.jsonl"
ALONE = Ranks.alone()


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """One thread, and no picture, which takes longer than a few steps."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.setattr(steps, "draw", lambda *_: None)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return make_text_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="module")
def straight(tmp_path_factory, bundle):
    """A run of 8 steps with everything on; its configuration and directory."""
    folder = tmp_path_factory.mktemp("straight")
    config = frozen_config(folder, bundle, train={"max_steps": 8, "evaluate_every": 4})
    torch.set_num_threads(1)
    plain, steps.draw = steps.draw, lambda *_: None
    try:
        pretrain.train(config, run_dir=folder / "run")
    finally:
        steps.draw = plain
    return config, folder / "run"


def ready_for(config, run_dir):
    """What the steps of a run work with, and its model."""
    torch.manual_seed(config.train.seed)
    ready = prepare(config, run_dir, ALONE, data_path=None, go_path=None, resume=False)
    model = make_trainee(config, ready.vocab_size, ready.bank)
    cache_texts(config, run_dir, ready, model, ALONE)
    return ready, model


def metrics_of(run_dir):
    rows = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k != "tokens_per_s"} for row in rows]


def test_all_parts_are_reported_and_learnt(straight, bundle):
    config, run_dir = straight
    rows = metrics_of(run_dir)
    steps = [row for row in rows if "loss" in row]
    assert {"go_prior", "go_rank", "go_scale"} <= steps[0].keys()
    for row in steps:
        assert row["go"] == pytest.approx(row["go_prior"] + 0.5 * row["go_rank"], rel=1e-5)
    first, *_, last = steps
    assert first["go_scale"] == pytest.approx(12.0, rel=0.02)
    assert last["go"] < first["go"]
    figures = [row for row in rows if "evaluation" in row]
    for row in figures:
        for aspect in ("mf", "bp", "cc"):
            assert 0 < row[f"fmax_{aspect}"] <= 1
            assert 0 < row[f"fmax_prior_{aspect}"] <= 1
    # The text side is that of the bundle, to the bit.
    state = load_file(run_dir / "step-00000008" / "model.safetensors")
    for name, value in open_bundle(bundle).tensors("text_").items():
        assert torch.equal(state[f"towers.text_{name}"], value.float()), name


def test_resumed_run_equals_a_straight_one(tmp_path, straight):
    config, other = straight
    pretrain.train(config, run_dir=tmp_path / "run", stop_at=3)
    torch.manual_seed(99)
    pretrain.train(config, run_dir=tmp_path / "run", resume=True)
    assert metrics_of(tmp_path / "run") == metrics_of(other)
    for file in ("model.safetensors", "steps.safetensors"):
        one, two = (load_file(d / "step-00000008" / file) for d in (tmp_path / "run", other))
        assert one.keys() == two.keys()
        assert [name for name in one if not torch.equal(one[name], two[name])] == []


def test_checkpoints_hold_averages_and_what_the_steps_left(straight):
    _, run_dir = straight
    averages, steps = (
        load_file(run_dir / "step-00000008" / f"{n}.safetensors") for n in ("model", "steps")
    )
    apart = {name for name in steps if not torch.equal(averages[name], steps[name])}
    assert "towers.protein_encoder.tables.0.weight" in apart
    assert not [name for name in apart if name.startswith("towers.text_")]


@pytest.mark.full(but="ddp")
@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_two_ranks_equal_one_process(tmp_path, bundle, parallel):
    frozen_config(tmp_path, bundle, objectives={"go_negatives": 0}, data={"max_pairs": 11})
    path = tmp_path / "frozen.toml"
    for ranks in (1, 2):
        ended = Job(tmp_path, gradients, tmp_path, path, parallel, ranks=ranks).wait()
        assert [e.code for e in ended] == [0] * ranks, ended
    one, two = (torch.load(tmp_path / f"{parallel}-{ranks}.pt") for ranks in (1, 2))
    assert one["losses"].keys() > {"gc", "bsr", "mlm", "pda", "go", "go_prior", "go_rank"}
    assert two["losses"] == pytest.approx(one["losses"], rel=1e-5)
    assert one["gradients"].keys() == two["gradients"].keys()
    for name, gradient in one["gradients"].items():
        error = float((two["gradients"][name] - gradient).abs().max())
        assert error <= 2e-5 * float(gradient.abs().max()) + 1e-6, name
    assert two["figures"] == pytest.approx(one["figures"], rel=1e-4)


def test_cache_texts_are_those_that_the_tower_says(tmp_path, bundle):
    config = frozen_config(tmp_path, bundle)
    ready, model = ready_for(config, tmp_path / "run")
    variants, source, texts = ready.data.variants, ready.data.source, ready.data.texts
    assert variants.vectors.shape == (len(source), 3, 16)
    whole = [texts.whole(source.parts(row)) for row in range(len(source))]
    ids, mask = texts.pad_rows(whole)
    expected = model.embed_texts(ids, mask)
    kept = torch.from_numpy(variants.vectors[:, 0].astype(np.float32))
    torch.testing.assert_close(kept, expected, atol=1e-3, rtol=0)
    assert len(np.unique(variants.keys)) > len(np.unique(variants.keys[:, 0]))
    batch = ready.data.batch(0, 0)
    rows = ready.data.plan(0)[0][0]
    for number, row in enumerate(rows):
        place = variants.keys[row].tolist().index(int(batch.text_keys[number]))
        kept = variants.vectors[row, place].astype(np.float32)
        assert np.array_equal(batch.text_vectors[number].numpy(), kept)
    # Terms of two texts: the sum of both unit vectors.
    every = ready.every
    assert len(every.columns) > len(ready.bank.columns)
    inside = np.searchsorted(every.columns, ready.bank.columns)
    assert torch.equal(model.go.vectors, model.every_vectors[inside])
    term = next(t for t in every.columns if every.terms.definitions[t])
    said = [texts.text(every.terms.text(int(term), kind)) for kind in ("name", "definition")]
    both = model.embed_texts(*texts.pad_rows(said)).sum(dim=0)
    place = every.columns.tolist().index(term)
    torch.testing.assert_close(model.every_vectors[place], F.normalize(both, dim=0))


def test_cache_texts_of_something_else_are_made_anew(tmp_path, bundle):
    config = frozen_config(tmp_path, bundle)
    ready, model = ready_for(config, tmp_path / "run")
    before = ready.data.variants.vectors.copy(), model.every_vectors.clone()
    times = [(tmp_path / "run" / n).stat().st_mtime_ns for n in ("text_vectors.npy",)]
    cache_texts(config, tmp_path / "run", ready, model, ALONE)
    assert [(tmp_path / "run" / "text_vectors.npy").stat().st_mtime_ns] == times
    with torch.no_grad():
        for parameter in model.towers.text_projection.parameters():
            parameter.mul_(-1.5)
    cache_texts(config, tmp_path / "run", ready, model, ALONE)
    assert not np.array_equal(ready.data.variants.vectors, before[0])
    torch.testing.assert_close(model.every_vectors, model.unit_bank(ready.every))
    assert not torch.allclose(model.every_vectors, before[1])


def test_a_text_tower_that_learns_cannot_be_kept(tmp_path, bundle):
    config = frozen_config(tmp_path, bundle, text={"frozen": "false"})
    with pytest.raises(UsageError) as caught:
        pretrain.train(config, run_dir=tmp_path / "run")
    assert caught.value.code == "usage.not_frozen"


def test_texts_are_kept_before_a_projection_that_learns(tmp_path, bundle):
    losses, on = [], {"go": 0, "bsr": 0, "pda": 0, "mlm": 0}
    for variants in (1, 0):
        folder = tmp_path / str(variants)
        folder.mkdir()
        text = {"cache_variants": variants, "projection_frozen": "false"}
        config = frozen_config(folder, bundle, text=text, objectives=on, data={"texts": '"whole"'})
        ready, model = ready_for(config, folder / "run")
        if variants:
            assert ready.data.variants.pooled
            assert (
                ready.data.variants.vectors.shape[-1]
                == model.towers.text_encoder.config.hidden_size
            )
        found = model(ready.data.batch(0, 0))
        found["loss"].backward()
        gradient = next(model.towers.text_projection.parameters()).grad
        losses.append([float(found["gc"].detach()), float(gradient.norm())])
    assert losses[0] == pytest.approx(losses[1], rel=5e-3)


@pytest.mark.parametrize("negatives", [0, 3])
def test_a_projection_that_learns_sees_the_same_bank(tmp_path, bundle, negatives):
    """Frozen and learning text sides take different ways to the same loss."""
    losses, on = [], {"go_negatives": negatives, "bsr": 0, "pda": 0}
    for number, frozen in enumerate(("true", "false")):
        folder = tmp_path / frozen
        folder.mkdir()
        text = {"cache_variants": 0, "projection_frozen": frozen}
        config = frozen_config(folder, bundle, text=text, objectives=on)
        ready, model = ready_for(config, folder / "run")
        assert model.towers.text_frozen == (number == 0)
        if not model.towers.text_frozen:
            model.refresh(0)
            for parameter in model.towers.text_projection.parameters():
                assert parameter.requires_grad
        found = model(ready.data.batch(0, 0), None, torch.Generator().manual_seed(1))
        losses.append({name: float(loss.detach()) for name, loss in found.items()})
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_only_masked_proteins_go_through_the_layers(tmp_path, bundle):
    """What objectives read is the same as if all did."""
    config = frozen_config(tmp_path, bundle, data={"residue_pairs": 0})
    ready, model = ready_for(config, tmp_path / "run")
    batch, towers = ready.data.batch(0, 0), model.towers
    towers.eval()
    close, width = batch.close, towers.protein_encoder.config.input_dim
    whole, residues, segments = close.split(towers.protein_hidden(close.passes()))
    long = towers.protein_embedding(whole, batch.proteins)
    seen = []
    towers.protein_encoder.layers[0].register_forward_hook(lambda *given: seen.append(given[2]))
    outputs = protein_pass(towers, batch, model.reads)
    found = [outputs[name] for name in ("proteins", "whole", "residues", "segments")]
    assert [len(vectors) for vectors in seen] == [len(close.residues.tokens)]
    for one, other in zip(found, (long, whole[:, :width], residues, segments[:, :width])):
        torch.testing.assert_close(one, other)
    torch.testing.assert_close(towers.protein_vectors(batch.proteins), long)


def test_layers_that_nothing_goes_through_do_not_learn(tmp_path, bundle):
    config = frozen_config(tmp_path, bundle, objectives={"mlm": 0})
    ready, model = ready_for(config, tmp_path / "run")
    model(ready.data.batch(0, 0), None, torch.Generator())["loss"].backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name
    assert not model.towers.protein_encoder.layers[0].up.weight.requires_grad


def test_few_pairs_are_the_first_ones_cropped(tmp_path, bundle):
    config = frozen_config(tmp_path, bundle, data={"mutate": 0.0})
    ready, _ = ready_for(config, tmp_path / "run")
    batch = ready.data.batch(0, 0)
    assert len(batch.few.whole) == 4 < len(batch.proteins)
    assert len(batch.text_ids) == len(batch.present) == 4
    wholes, starts = batch.proteins.tokens.split(batch.proteins.lengths), []
    for part, whole in zip(batch.few.whole.tokens.split(batch.few.whole.lengths), wholes):
        assert len(part) == min(len(whole), 22)
        letters, inside = part[1:-1].tolist(), whole[1:-1].tolist()
        assert any(inside[n : n + len(letters)] == letters for n in range(len(inside)))
        starts.append(inside[0] != letters[0])
    assert any(starts), "some windows begin further in"
    assert len(batch.few.residue_targets) == len(batch.few.whole.tokens)
    assert batch.masked.residue_targets is None
    with pytest.raises(UsageError) as caught:
        PairData(ready.data.source, ready.data.texts, config.data, config.objectives, 1, ranks=5)
    assert caught.value.code == "usage.bad_value"


def test_figures_with_the_prior_are_those_of_their_definition(tmp_path, bundle):
    config = frozen_config(tmp_path, bundle)
    ready, model = ready_for(config, tmp_path / "run")
    found = evaluate(model, ready.validation, ALONE, bank=ready.bank, every=ready.every)
    source, every = ready.data.source, ready.every
    own = [source.go(row) for row in range(len(source))]
    number = sum(len(terms) > 0 for terms in own)
    counts = np.array([sum(term in terms for terms in own) for term in every.columns])
    assert 1 <= counts.min() < config.objectives.go_min_count
    share = (counts + np.where(counts >= config.objectives.go_min_count, 0.5, 0.3)) / number
    proteins = torch.cat([model.embed(batch)[0] for batch in ready.validation.batches])
    cosines = (proteins @ model.unit_bank(every).T).numpy()
    scores = (12 * cosines + np.log(share / (1 - share))).astype(np.float32)
    scores = every.terms.propagate_scores(scores, every.columns)
    expected = aspect_fmax(scores, every.columns, list(ready.validation.annotations), every.terms)
    for aspect, value in expected.items():
        assert found[f"fmax_prior_{aspect.lower()}"] == pytest.approx(value, abs=1e-6)


def test_export_takes_the_averages_and_measures_with_the_prior(tmp_path, straight):
    config, run_dir = straight
    out = export.export(run_dir, tmp_path / "bundle")
    averages = load_file(run_dir / "step-00000008" / "model.safetensors")
    name = "protein_encoder.tables.0.weight"
    assert torch.equal(out.tensors()[name], averages[f"towers.{name}"].half())
    data = tmp_path / "pairs.jsonl"
    lines = PAIRS.read_text().splitlines()
    data.write_text("\n".join(lines + [line.replace('"valid"', '"test"') for line in lines]))
    figures = export.measure(out.path, run_dir, data, Path(config.data.go), 32)
    last = [row for row in metrics_of(run_dir) if "evaluation" in row][-1]
    for aspect in ("mf", "bp", "cc"):
        assert figures["valid"][f"fmax_prior_{aspect}"] == pytest.approx(
            last[f"fmax_prior_{aspect}"], abs=0.02
        )


@pytest.mark.full
def test_sharded_run_with_averages_goes_on_exactly(tmp_path, bundle):
    """Two ranks, an evaluation with the averages between the steps, and a resume behind it."""
    limits = {"parallel": '"fsdp"', "max_steps": 4, "evaluate_every": 2}
    frozen_config(tmp_path, bundle, train=limits)
    for name, stops in (("straight", (4,)), ("halves", (2, 4))):
        for number, stop in enumerate(stops):
            words = ["--config", tmp_path / "frozen.toml", "--run-dir", tmp_path / name]
            words += ["--device", "cpu", "--stop-at", stop, *(["--resume"] if number else [])]
            ended = Job(tmp_path, program, words, ranks=2).wait()
            assert [e.code for e in ended] == [0, 0], ended
    one, two = tmp_path / "straight", tmp_path / "halves"
    assert metrics_of(one) == metrics_of(two)
    for file in ("model.safetensors", "steps.safetensors"):
        both = [load_file(d / "step-00000004" / file) for d in (one, two)]
        assert [n for n in both[0] if not torch.equal(both[0][n], both[1][n])] == []
