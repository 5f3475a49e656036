"""The ablations on invented pairs: rows, samples, resume, and what the table says."""

import dataclasses
import json
import math
import shutil
from pathlib import Path

import pytest
import torch

from protclip_core.errors import InputError
from tests.train.frozen_text import make_text_bundle
from tests.train.launch import CONFIGS
from tests.train.with_structures import make_structures
from train import ablate, pretrain
from train.ablation.samples import Samples, cut, draw_sample
from train.ablation.table import FIGURES, Found, differences, markdown
from train.config.run import DataConfig, load_config, load_saved_config
from train.data.proteins import read_proteins
from train.loop import steps
from train.loop.prepare import prepare
from train.loop.ranks import Ranks
from train.protanno.sampling import Sampling

GO = CONFIGS / "debug" / "go_terms.tsv"
ALONE = Ranks.alone()
NAMES = ["gc", "gc+bsr", "gc+pda", "gc+mlm", "all", "uniform", "release", "paper"]
RECIPE = """name = "ablation"
[protein]
kind = "kmer"
tables = ["3:6:12"]
hidden_dim = 16
num_layers = 1
[text]
weights = "nowhere"
cache_variants = 2
[model]
projection_dim = 512
prototypes = 8
[objectives]
go_min_count = 5
[data]
max_pairs = 8
token_budget = 100000
crops = [24]
crop_shares = [1.0]
equal_lengths = false
by_length = false
residue_pairs = 4
residue_crop = 20
[train]
seed = 5
max_steps = 2
learning_rate = 3e-3
evaluate_every = 1
evaluate_pairs = 20
"""


THREE = ("sequence_structure", "sequence_text", "structure_text")
THREE += ("intra_sequence", "intra_structure", "intra_text")


@pytest.fixture(scope="module", autouse=True)
def quick():
    """One thread, and no picture, which takes longer than a few steps."""
    threads, plain = torch.get_num_threads(), steps.draw
    torch.set_num_threads(1)
    steps.draw = lambda *_: None
    yield
    torch.set_num_threads(threads)
    steps.draw = plain


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """Arguments for pairs with existence levels, a table of GO, a text tower and a recipe."""
    folder = tmp_path_factory.mktemp("inputs")
    lines = (CONFIGS / "debug" / "pairs.jsonl").read_text().splitlines()
    entries = [json.loads(line) | {"pe": 1 + number % 4} for number, line in enumerate(lines)]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    (folder / "recipe.toml").write_text(RECIPE)
    found = {"--data": folder / "pairs.jsonl", "--go": GO, "--config": folder / "recipe.toml"}
    return found | {"--text": make_text_bundle(folder)}


def run(inputs, out, **changes):
    """Run the program in this process; its exit code."""
    given = inputs | {"--out": out, "--entries": 60} | {f"--{k}": v for k, v in changes.items()}
    return ablate.main([str(part) for pair in given.items() for part in pair])


@pytest.fixture(scope="module")
def done(inputs, tmp_path_factory):
    """The folder of all rows with two seeds."""
    out = tmp_path_factory.mktemp("done") / "runs"
    assert run(inputs, out) == 0
    return out


def last_evaluation(run_dir):
    rows = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "loss" in row] == [1, 2]
    return [row for row in rows if "evaluation" in row][-1]


STRUCTURE = """
[structure]
scalar_dim = 8
vector_dim = 2
edge_dim = 4
num_layers = 1
neighbours = 4
"""


@pytest.mark.full
def test_rows_of_three_modalities(inputs, tmp_path, capsys):
    text = RECIPE.replace("[objectives]", "[objectives]\n" + "".join(f"{n} = 0.5\n" for n in THREE))
    (tmp_path / "recipe.toml").write_text(text + STRUCTURE)
    given = inputs | {"--config": tmp_path / "recipe.toml"}
    rows = ("three", "three-function", "three-structure", "three-augmentation", "three-intra")
    found = {"only": ",".join(rows), "seeds": 1}
    assert run(given, tmp_path / "x", **found) == 2
    assert "[usage.missing_option]" in capsys.readouterr().err
    structures = make_structures(tmp_path / "s.h5")
    assert run(given, tmp_path / "runs", structures=structures, **found) == 0
    content = json.loads((tmp_path / "runs" / "ablation.json").read_text())
    assert [row["name"] for row in content["rows"]] == list(rows)
    for row in content["rows"]:
        assert ("p2s_r10" in row["mean"]) == (row["name"] != "three-structure")
    on = {}
    for row in rows:
        run_dir = tmp_path / "runs" / f"{row}-seed1"
        config = json.loads((run_dir / "config.json").read_text())
        on[row] = {name for name in THREE if config["objectives"][name]}
        assert config["data"]["texts"] == ("whole" if row == "three-augmentation" else "sample")
        assert config["data"]["structures_only"]
    assert on["three"] == on["three-augmentation"] == set(THREE)
    assert on["three-function"] == {name for name in THREE if "text" not in name}
    assert on["three-structure"] == {name for name in THREE if "structure" not in name}
    assert on["three-intra"] == {name for name in THREE if "intra" not in name}


@pytest.mark.full
def test_every_row_has_the_figures_of_its_metrics(done):
    table = (done / "ablation.md").read_text().splitlines()
    content = json.loads((done / "ablation.json").read_text())
    assert [row["name"] for row in content["rows"]] == NAMES
    cells = [line.split(" | ") for line in table if line.startswith("| ")]
    heads = cells[0]
    for row, shown in zip(content["rows"], cells[1:], strict=True):
        runs = {seed: last_evaluation(done / f"{row['name']}-seed{seed}") for seed in (1, 2)}
        for name in FIGURES:
            if name == "seconds":
                continue
            values = [run[name] for run in runs.values() if name in run]
            if name in ("p2s_r10", "s2p_r10", "s2t_r10", "t2s_r10"):  # no row here has structures
                assert not values and FIGURES[name][0] not in heads
                continue
            assert bool(values) == (
                name != "mlm_perplexity" or row["name"] in ("gc+mlm", *NAMES[4:])
            )
            cell = shown[heads.index(FIGURES[name][0])]
            if not values:
                assert cell == "-"
                assert name not in row["mean"]
                continue
            assert row["runs"]["1"][name] == values[0]
            assert row["runs"]["2"][name] == values[1]
            assert row["mean"][name] == pytest.approx(sum(values) / 2)
            assert row["range"][name] == [min(values), max(values)]
            assert float(cell.split(" (")[0]) == pytest.approx(sum(values) / 2, abs=6e-3)
        assert all(run["seconds"] > 0 for run in row["runs"].values())


def test_rows_differ_in_objectives_and_samples_alone(done):
    found = {name: load_saved_config(done / f"{name}-seed1" / "config.json") for name in NAMES}
    first = found["gc"]
    for name, config in found.items():
        on = {key for key, weight in config.objectives.weights.items() if weight}
        assert on == (
            set(name.split("+")) if name.startswith("gc") else {"gc", "bsr", "mlm", "pda"}
        )
        assert config.train == first.train
        assert config.protein == first.protein
        assert config.model == first.model
        assert dataclasses.replace(config.data, pairs=None) == dataclasses.replace(
            first.data, pairs=None
        )
        if name in NAMES[:5]:
            assert config.data.pairs == first.data.pairs
    assert first.text.stays
    assert (first.model.projection, first.model.projection_dim) == ("skip", 16)
    other = load_saved_config(done / "gc-seed2" / "config.json")
    assert (first.train.seed, other.train.seed) == (1, 2)


def test_rows_of_objectives_see_the_same_proteins(done, tmp_path):
    batches = []
    for name in ("gc", "all"):
        config = load_saved_config(done / f"{name}-seed1" / "config.json")
        ready = prepare(config, tmp_path / name, ALONE, data_path=None, go_path=None, resume=False)
        batches.append([ready.data.batch(0, position) for position in range(3)])
    for one, two in zip(*batches, strict=True):
        assert torch.equal(one.proteins.tokens, two.proteins.tokens)
        assert one.pairs == two.pairs == 8


def test_samples_hold_equal_numbers_and_the_same_held_out_pairs(done):
    sizes, valid = set(), set()
    for form in ("uniform", "release", "paper"):
        path = done / "data" / f"{form}-seed1.jsonl"
        entries = [json.loads(line) for line in path.read_text().splitlines()]
        own = [entry for entry in entries if entry["split"] == "train"]
        sizes.add(len(own))
        valid.add(tuple(entry["accession"] for entry in entries if entry["split"] == "valid"))
        if form == "release":
            # Levels up to 3 and three properties at least.
            assert all(entry["pe"] <= 3 for entry in own)
            names = ("name", "function", "location", "similarity")
            assert all(sum(key in entry for key in names) >= 3 for entry in own)
    assert len(sizes) == len(valid) == 1
    large = read_proteins(done / "data" / "large-60-seed1.jsonl", "train", {})
    assert len(large) == 60


def test_draws_are_those_of_a_build_and_differ_by_seed():
    clusters = {f"P{number}": (1 + number % 5, number // 5 % 5) for number in range(4000)}
    sampling = Sampling(form="release", seed=3)
    kept = draw_sample(sampling, clusters)
    for name, (level, properties) in clusters.items():
        share = math.sqrt(properties / 4) / level**3 if properties >= 3 and level <= 3 else 0.0
        assert (name in set(kept)) == (sampling.draw(name) < share)
    assert kept != draw_sample(Sampling(form="release", seed=4), clusters)
    assert cut(kept, 10, 1) == cut(kept, 10, 1) != cut(kept, 10, 2)
    assert set(cut(kept, 10, 1)) < set(kept)
    assert cut(kept, 10**6, 1) == kept


def test_a_finished_run_is_not_run_again_and_a_killed_one_goes_on(inputs, done, tmp_path, capsys):
    out = tmp_path / "runs"
    shutil.copytree(done, out)
    for config in out.glob("*/config.json"):
        config.write_text(config.read_text().replace(str(done), str(out)))
    before = {path: path.stat().st_mtime_ns for path in out.glob("*/metrics.jsonl")}
    # One killed behind its first checkpoint, and one before it.
    stopped, begun = out / "gc-seed1", out / "all-seed2"
    config = load_saved_config(stopped / "config.json")
    shutil.rmtree(stopped)
    pretrain.train(config, run_dir=stopped, stop_at=1)
    for path in begun.glob("step-*"):
        shutil.rmtree(path)
    assert run(inputs, out) == 0
    after = {path: path.stat().st_mtime_ns for path in out.glob("*/metrics.jsonl")}
    changed = {path.parent for path in after if after[path] != before[path]}
    assert changed == {stopped, begun}
    shown = capsys.readouterr()
    old, new = (json.loads((folder / "ablation.json").read_text()) for folder in (done, out))
    for one, two in zip(old["rows"], new["rows"], strict=True):
        for seed in ("1", "2"):
            figures = [dict(row["runs"][seed]) for row in (one, two)]
            for own in figures:
                own.pop("seconds")
            assert figures[0] == figures[1], one["name"]
    assert shown.out == (out / "ablation.md").read_text()


def test_texts_are_encoded_once_for_a_sample_and_a_seed(done):
    inodes = {name: (done / f"{name}-seed1" / "text_vectors.npy").stat().st_ino for name in NAMES}
    assert len({inodes[name] for name in NAMES[:5]}) == 1
    assert len(set(inodes.values())) == 4


def test_errors_are_one_line(inputs, done, tmp_path, capsys):
    esm2 = Path(pretrain.__file__).parents[1] / "protclip_core" / "bundled" / "example.fasta"
    for changes, code, kind, value in (
        ({"only": "gc,bsd"}, 2, "usage.unknown_value", "'bsd'"),
        ({"seeds": "1,1"}, 2, "usage.bad_value", "'1,1'"),
        ({"steps": 0}, 2, "usage.bad_value", "--steps"),
        ({"entries": 1}, 2, "usage.bad_value", "--entries"),
        ({"data": tmp_path / "none.jsonl"}, 4, "model.not_found", "none.jsonl"),
        ({"text": esm2}, 4, "", "example.fasta"),
        ({"steps": 3}, 2, "usage.other_settings", "[train] evaluate_every: 2 -> 3"),
    ):
        out = done if kind == "usage.other_settings" else tmp_path / "out"
        assert run(inputs, out, **changes) == code, changes
        lines = capsys.readouterr().err.splitlines()
        (line,) = [line for line in lines if line.startswith("error: ")]
        assert value in line and line.endswith(f"{kind}]")
        assert not [line for line in lines if "Traceback" in line]


def test_another_table_of_go_in_the_same_folder_is_refused(inputs, done, tmp_path, capsys):
    table = tmp_path / "go_terms.tsv"
    table.write_text(GO.read_text().replace("binding", "bonding"))
    before = (done / "inputs.json").read_text()
    assert run(inputs | {"--go": table}, done) == 2
    (line,) = [n for n in capsys.readouterr().err.splitlines() if n.startswith("error: ")]
    assert "--go" in line and line.endswith("[usage.other_settings]")
    assert (done / "inputs.json").read_text() == before


def test_a_form_that_keeps_nothing_is_named(inputs, tmp_path):
    text = inputs["--data"].read_text()
    lines = [json.loads(line) | {"pe": 5} for line in text.splitlines()]
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text("".join(json.dumps(line) + "\n" for line in lines))
    data: DataConfig = load_config(inputs["--config"]).data
    samples = Samples(pairs=pairs, folder=tmp_path / "data", entries=60, data=data)
    with pytest.raises(InputError) as caught:
        samples.path("uniform", 1)
    assert caught.value.code == "input.empty_sample"


def row(name, values, against="gc"):
    runs = {seed: {"p2t_r1": value, "seconds": 1.0} for seed, value in enumerate(values)}
    entries = dict.fromkeys(runs, 10)
    return Found(name=name, title=name, against=against, entries=entries, runs=runs)


def test_differences_beyond_the_noise_are_told_from_those_within():
    rows = [
        row("gc", [0.100, 0.110], None),
        row("within", [0.105, 0.131]),
        row("apart", [0.115, 0.121]),
        row("clear", [0.300, 0.310]),
        row("worse", [0.010, 0.012]),
    ]
    found = {item.row: item for item in differences(rows)}
    assert {name: (item.apart, item.clear) for name, item in found.items()} == {
        "within": (False, False),
        "apart": (True, False),
        "clear": (True, True),
        "worse": (True, True),
    }
    assert found["worse"].difference == pytest.approx(-0.094)
    # By hand: half the squared range of each pair, over five rows; two seeds on either side.
    spread = [0.010, 0.026, 0.006, 0.010, 0.002]
    deviation = math.sqrt(sum(value**2 / 2 for value in spread) / 5)
    assert found["clear"].errors == pytest.approx(0.2 / deviation)
    lines = markdown(rows, "heading")
    assert "| clear | 10 | 0.305 (0.300-0.310) | 1 |" in lines
    assert "- within against gc: within the noise: R@1 p→t +0.013." in lines
    assert "- apart against gc: apart: R@1 p→t +0.013." in lines
    assert "- clear against gc: clear: R@1 p→t +0.200." in lines
    assert any("chance alone does in 33% of the cases" in line for line in lines)


def test_one_seed_is_not_judged():
    lines = markdown([row("gc", [0.1], None), row("all", [0.3])], "heading")
    assert any("no difference is judged" in line for line in lines)
    assert not any("against" in line for line in lines)
