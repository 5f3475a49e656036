"""The recipe of k-mer tables against a frozen text tower, as small as it gets."""

from __future__ import annotations

import dataclasses

import torch

from tests.train.launch import CONFIGS, DEBUG
from train import pretrain
from train.config.run import load_config
from train.loop import steps
from train.loop.cache_texts import cache_texts
from train.loop.evaluate import evaluate
from train.loop.moving_average import Averages
from train.loop.parallel import share_work
from train.loop.prepare import make_trainee, prepare
from train.loop.ranks import join_ranks
from train.release import export

MODEL = """[model]
projection_dim = 16
prototypes = 16
projection = "skip"
projection_hidden = 24
"""
PROTEIN = """[protein]
kind = "kmer"
tables = ["3:6:12", "101:4:12"]
hidden_dim = 40
num_layers = 1
keep_input = true
final_norm = false
"""
TABLES = {
    "objectives": {
        "go": 1.0,
        "go_form": '"prior"',
        "go_text": '"both"',
        "go_scale": 12.0,
        "go_negatives": 4,
        "go_min_count": 12,
    },
    "data": {
        "by_length": "false",
        "residue_pairs": 4,
        "residue_crop": 20,
        "mutate": 0.2,
    },
    "train": {"table_share": 3.0, "ema": 0.9},
}


def make_text_bundle(folder):
    """Train both towers for a step, and write them as a bundle; its path."""
    text = DEBUG.read_text().replace('"debug/', f'"{CONFIGS}/debug/')
    head, _, rest = text.partition("[model]")
    path = folder / "text.toml"
    path.write_text(head + MODEL + "\n" + rest[rest.index("[objectives]") :])
    plain, steps.draw = steps.draw, lambda *_: None
    try:
        pretrain.train(load_config(path), run_dir=folder / "text-run", stop_at=1)
    finally:
        steps.draw = plain
    export.export(folder / "text-run", folder / "text-bundle")
    return folder / "text-bundle"


def frozen_config(folder, bundle, **changes):
    """The recipe; ``changes`` are keys by table, in place of or beside those above."""
    text = DEBUG.read_text().replace('"debug/', f'"{CONFIGS}/debug/')
    tables = {}
    for part in text[text.index("[objectives]") :].split("\n["):
        name, _, lines = part.lstrip("[").partition("]\n")
        keys = (line.partition(" = ") for line in lines.splitlines() if " = " in line)
        tables[name] = {key: value for key, _, value in keys}
    for source in (TABLES, changes):
        for name, keys in source.items():
            tables.setdefault(name, {}).update(keys)
    model = {"protein_reads": '"input"', **tables.pop("model", {})}
    words = {"weights": f'"{bundle}"', "cache_variants": 3, **tables.pop("text", {})}
    head = 'name = "frozen"\n\n' + PROTEIN + "\n" + _table("text", words) + MODEL
    head += "".join(f"{key} = {value}\n" for key, value in model.items()) + "\n"
    lines = (CONFIGS / "debug" / "go_terms.tsv").read_text().splitlines()
    # Every other term has a definition.
    told = [line + ("Whatever a cell binds." if n % 2 else "") for n, line in enumerate(lines)]
    (folder / "go.tsv").write_text("\n".join([lines[0], *told[1:]]) + "\n")
    tables["data"]["go"] = '"go.tsv"'
    path = folder / "frozen.toml"
    path.write_text(head + "".join(_table(name, keys) for name, keys in tables.items()))
    return load_config(path)


def _table(name, keys):
    return f"[{name}]\n" + "".join(f"{key} = {value}\n" for key, value in keys.items()) + "\n"


def gradients(folder, path, parallel):
    """Losses and gradients of the first batches, and averages after them, of ranks together."""
    torch.set_num_threads(1)
    config = load_config(path)
    config = dataclasses.replace(
        config, objectives=dataclasses.replace(config.objectives, gumbel=False)
    )
    ranks = join_ranks(60.0, device="cpu")
    torch.manual_seed(0)
    run_dir = folder / f"{parallel}{ranks.world}"
    ready = prepare(config, run_dir, ranks, data_path=None, go_path=None, resume=False)
    model = make_trainee(config, ready.vocab_size, ready.bank)
    cache_texts(config, run_dir, ready, model, ranks)
    module = share_work(model, parallel, ranks)
    averages = Averages(model, 0.5)
    losses = module(ready.data.batch(0, 1), ranks.group)
    losses["loss"].backward()
    found = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        gradient = parameter.grad
        assert gradient is not None, name
        found[name] = gradient.full_tensor() if hasattr(gradient, "full_tensor") else gradient
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    averages.update(100)
    with averages.applied():
        figures = evaluate(model, ready.validation, ranks, bank=ready.bank, every=ready.every)
    table = ranks.table([float(loss.detach()) for loss in losses.values()])
    if ranks.first:
        means = {name: sum(column) / len(table) for name, column in zip(losses, zip(*table))}
        content = {"losses": means, "gradients": found, "figures": figures}
        torch.save(content, folder / f"{parallel}-{ranks.world}.pt")
    ranks.part()
