"""Do other words for GO terms help? Names, + definitions, + composed sentences, at equal steps.

    python -m tests.benchmarks.augment --data uniprot_pairs.jsonl.gz --go go_terms.tsv.gz \
        --release go_release_2022-07-01.tsv.gz [--synonyms go_release_2021-12-15.tsv.gz] \
        [--rewrites own.jsonl] --out runs/augment [--seeds 1,2,3]

Each run trains a small text tower (`train.pretrain_text`) with one setting of ``[text.augment]
views``, then a small protein tower against it, frozen (`train.pretrain`), on the same sample of
training proteins that have GO terms. Steps, sizes, tokenizer and seeds are the same in all rows.
Measured on proteins of split ``valid``, which are in other clusters: the text among 1,000 by
protein and the protein by text (R@10), and Fmax of GO terms by the cosine of protein and name.
A second table asks in other words: Fmax, the mean of the three aspects, over the terms that have an
exact synonym, asked by name, by that synonym, and by the definition alone.

Finished runs are kept in OUT, and a killed one goes on from its checkpoint: give the same command
again. The table is printed and written to OUT/augment.md.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import random
import time
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer

from protclip_core.engines.memory import keep_freed_memory
from protclip_core.io.atomic import write_atomic
from protclip_core.io.streams import open_input
from train.config.run import load_config, load_saved_config
from train.config.text import load_text_config
from train.data.composer import TextComposer
from train.data.go_bank import make_bank
from train.data.go_terms import GoTerms
from train.data.pairs import open_pairs
from train.data.texts import GO_TAG, Part, parts_of, train_tokenizer
from train.loop import checkpoint
from train.loop.evaluate import EvaluationSet, evaluate
from train.loop.prepare import make_trainee
from train.loop.ranks import Ranks
from train.loop.run_log import read_metrics
from train.pretrain import train
from train.pretrain_text import train_text
from train.protanno.augment.release import read_release

ROWS = {
    "name": "name only",
    "definition": "+ definition",
    "composer": "+ composer",
    "rewritten": "+ user's file",
}
FIGURES = {
    "p2t_r10": "R@10 p→t",
    "t2p_r10": "R@10 t→p",
    "fmax_mf": "Fmax MF",
    "fmax_bp": "Fmax BP",
    "fmax_cc": "Fmax CC",
}
ASKED = ("name", "synonym", "definition")
ASKED_FIGURES = {f"by_{kind}": f"Fmax by {kind}" for kind in ASKED}
TEXT = """
name = "text"
[text]
num_layers = 1
hidden_dim = 128
num_heads = 4
max_tokens = 64
tokenizer = "{tokenizer}"
[text.augment]
{augment}
[model]
projection_dim = 256
projection_hidden = 256
[objectives]
terms = 96
wordings = 32
proteins = 24
max_tokens = 36
[train]
seed = {seed}
max_steps = {text_steps}
warmup_steps = 20
learning_rate = 2e-3
final_share = 0.02
clip_norm = 2.0
evaluate_every = {text_steps}
evaluate_pairs = 1000
checkpoint_seconds = 30
"""
PROTEIN = """
name = "protein"
[protein]
kind = "kmer"
start = "alike"
tables = ["111:20:64", "11111:6:32", "101001:20:32"]
keep_input = true
hidden_dim = 160
num_layers = 1
kernel = 3
dilations = [1]
[text]
weights = "{bundle}"
frozen = true
projection_frozen = true
cache_variants = 2
[text.augment]
{augment}
[model]
projection_dim = 256
projection = "skip"
projection_hidden = 256
protein_reads = "input"
[objectives]
gc = 1.0
bsr = 0.0
mlm = 0.0
pda = 0.0
go = 1.0
go_min_count = 10
[data]
max_pairs = 64
token_budget = 1000000
crops = [384]
crop_shares = [1.0]
equal_lengths = false
by_length = false
[train]
seed = {seed}
max_steps = {steps}
warmup_steps = 20
learning_rate = 3e-3
table_share = 4.0
final_share = 0.02
weight_decay = 0.0
clip_norm = 5.0
evaluate_every = {steps}
evaluate_pairs = 1000
evaluate_residues = 512
checkpoint_seconds = 30
"""


def sample(args: argparse.Namespace) -> tuple[Path, Path, Path]:
    """Write the sample of pairs, the GO terms that matter to it, and a tokenizer of both."""
    pairs, go = args.out / "pairs.jsonl", args.out / "go.tsv"
    tokenizer = args.out / "tokenizer.json"
    if tokenizer.exists():
        return pairs, go, tokenizer
    found: dict[str, list[bytes]] = {"train": [], "valid": []}
    with open_input(args.data) as file:
        for line in file:
            entry = json.loads(line)
            if entry.get("go") and entry.get("name") and entry["split"] in found:
                found[entry["split"]].append(line)
    random.Random(1).shuffle(found["train"])
    lines = found["train"][: args.proteins] + found["valid"]
    terms = GoTerms(args.go)
    entries = [json.loads(line) for line in lines]
    kept = {t for entry in entries for t in terms.propagate(terms.numbers(entry["go"])).tolist()}
    with open_input(args.go) as reader:
        rows = list(csv.reader(io.StringIO(reader.read().decode()), delimiter="\t"))
    roots = ("GO:0003674", "GO:0008150", "GO:0005575")
    wanted = {terms.ids[term] for term in kept} | set(roots)
    write_atomic(
        go,
        "".join(
            "\t".join(r) + "\n" for r in [rows[0], *(r for r in rows if r[0] in wanted)]
        ).encode(),
    )
    write_atomic(pairs, b"".join(lines))
    names = dict(zip(terms.ids, terms.names))
    told = [parts_of(e, names) for e in entries if e["split"] == "train"]
    told += [
        (Part(GO_TAG, (terms.names[t], *filter(None, [terms.definitions[t]]))),)
        for t in sorted(kept)
    ]
    write_atomic(tokenizer, train_tokenizer(told, 8_000).to_str().encode())
    return pairs, go, tokenizer


def augment_table(views: str, args: argparse.Namespace) -> str:
    """Return the keys of ``[text.augment]``."""
    keys = {"views": views}
    if views in ("composer", "rewritten"):
        keys["release"] = str(args.release.resolve())
        if args.synonyms:
            keys["synonyms"] = str(args.synonyms.resolve())
    if views == "rewritten":
        keys["rewrites"] = str(args.rewrites.resolve())
    return "\n".join(f'{key} = "{value}"' for key, value in keys.items())


def once(views: str, seed: int, files: tuple[Path, Path, Path], args: argparse.Namespace) -> dict:
    """Train both towers of a run, unless it is finished; return its figures."""
    pairs, go, tokenizer = files
    folder = args.out / f"{views}-{seed}"
    done = folder / "figures.json"
    if done.exists():
        return json.loads(done.read_text())
    folder.mkdir(parents=True, exist_ok=True)
    started = time.process_time()
    values = {
        "augment": augment_table(views, args),
        "seed": seed,
        "steps": args.steps,
        "text_steps": args.text_steps,
        "tokenizer": str(tokenizer.resolve()),
        "bundle": str((folder / "text" / "bundle").resolve()),
    }
    figures: dict[str, float] = {}
    if not (folder / "text" / "bundle" / "manifest.json").exists():
        (folder / "text.toml").write_text(TEXT.format(**values))
        config = load_text_config(folder / "text.toml")
        resume = any((folder / "text").glob("step-*"))
        paths = {"run_dir": folder / "text", "data_path": pairs, "go_path": go}
        if not resume:
            (folder / "text" / "config.json").unlink(missing_ok=True)
        train_text(config, **paths, resume=resume)
    (folder / "protein.toml").write_text(PROTEIN.format(**values))
    run_dir = folder / "protein"
    resume = any(run_dir.glob("step-*"))
    if not resume:
        (run_dir / "config.json").unlink(missing_ok=True)
    train(
        load_config(folder / "protein.toml"),
        run_dir=run_dir,
        data_path=pairs,
        go_path=go,
        resume=resume,
    )
    last = [row for row in read_metrics(run_dir) if "evaluation" in row][-1]
    figures |= {name: last[name] for name in (*FIGURES, "pairs") if name in last}
    text = [row for row in read_metrics(folder / "text") if "evaluation" in row][-1]
    figures |= {name: text[name] for name in ("cosine_name", "cosine_proteins", "definition_r1")}
    figures["seconds"] = time.process_time() - started
    write_atomic(done, (json.dumps(figures, indent=2) + "\n").encode())
    return figures


def reworded(
    found: dict[str, list[dict]], seeds: list[int], files: tuple[Path, Path, Path], args: Any
) -> None:
    """Add the Fmax of terms that are asked for in other words to the figures of each run."""
    pairs, go, tokenizer_path = files
    tokenizer = Tokenizer.from_file(str(tokenizer_path))
    release = read_release(args.release, scopes=args.synonyms)
    asked = {kind: GoTerms(go) for kind in ASKED}
    terms = asked["name"]
    config = load_config(next(args.out.glob("*-*/protein.toml")))
    train_pairs, valid = (
        open_pairs(pairs, split, config.data, tokenizer, terms, args.out)
        for split in ("train", "valid")
    )
    counts = train_pairs.go_counts().copy()
    for number, id in enumerate(terms.ids):
        own = release.terms.get(id)
        if own is None or not own.exact or not terms.definitions[number]:
            counts[number] = 0
            continue
        asked["synonym"].names[number] = own.exact[0]
        asked["definition"].names[number] = terms.definitions[number]
    texts = TextComposer(tokenizer, 64)
    held_out = EvaluationSet.draw(valid, texts, 1_000, 512)
    banks = {
        kind: make_bank(own, counts, texts, least=10, kind="name") for kind, own in asked.items()
    }
    for views, runs in found.items():
        for seed, figures in zip(seeds, runs):
            done = args.out / f"{views}-{seed}" / "reworded.json"
            if not done.exists():
                run_dir = args.out / f"{views}-{seed}" / "protein"
                config = load_saved_config(run_dir / "config.json")
                model = make_trainee(config, tokenizer.get_vocab_size(), banks["name"])
                checkpoint.load_model(checkpoint.find(run_dir), model)
                model.eval()
                figures_of = {"terms": float(len(banks["name"].columns))}
                for kind, bank in banks.items():
                    all_three = evaluate(model, held_out, Ranks.alone(), bank=bank)
                    values = [all_three[f"fmax_{aspect}"] for aspect in ("mf", "bp", "cc")]
                    figures_of[f"by_{kind}"] = sum(values) / 3
                write_atomic(done, (json.dumps(figures_of, indent=2) + "\n").encode())
            figures |= json.loads(done.read_text())


def table(found: dict[str, list[dict]], names: dict[str, str]) -> list[str]:
    """Return the table: mean, and range over the seeds."""
    lines = ["| texts of GO terms | " + " | ".join(names.values()) + " |"]
    lines.append("|---|" + "--:|" * len(names))
    for views, runs in found.items():
        cells = []
        for name in names:
            values = [run[name] for run in runs]
            mean = sum(values) / len(values)
            cells.append(f"{mean:.3f} ({min(values):.3f}-{max(values):.3f})")
        lines.append(f"| {ROWS[views]} | " + " | ".join(cells) + " |")
    return lines


def main() -> None:
    """Train what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--data", required=True, type=Path)
    add("--go", required=True, type=Path)
    add("--release", required=True, type=Path)
    add("--synonyms", type=Path)
    add("--rewrites", type=Path, help="a file of texts: one more row")
    add("--out", required=True, type=Path)
    add("--seeds", default="1,2,3")
    add("--proteins", type=int, default=6_000, help="training proteins (default 6000)")
    add("--text-steps", type=int, default=120)
    add("--steps", type=int, default=150)
    args = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    args.out.mkdir(parents=True, exist_ok=True)
    files = sample(args)
    rows = [views for views in ROWS if views != "rewritten" or args.rewrites]
    found: dict[str, list[dict]] = {views: [] for views in rows}
    # Seed by seed, so that all rows are there early.
    seeds = [int(seed) for seed in args.seeds.split(",")]
    for seed in seeds:
        for views in rows:
            found[views].append(once(views, seed, files, args))
            print(views, seed, json.dumps(found[views][-1]), flush=True)
    reworded(found, seeds, files, args)
    lines = [*table(found, FIGURES), "", *table(found, ASKED_FIGURES)]
    print("\n".join(lines))
    write_atomic(args.out / "augment.md", ("\n".join(lines) + "\n").encode())


if __name__ == "__main__":
    main()
