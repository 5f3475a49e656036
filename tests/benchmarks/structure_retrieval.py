"""Do structures find their sequences and texts? Six directions, beside what needs no learning.

    python -m tests.benchmarks.structure_retrieval --pairs pairs.jsonl --structures structures.h5 \
        --model BUNDLE [--model WITH_RESIDUE_TYPES] [--split valid] [--seeds 3] [--crop 256]

Candidates are the proteins of a split, one for each cluster, of which none is in another split.
Printed are R@1 and R@10, and R@1 among the 20 candidates nearest in length, for

* chance; length, composition and 34 numbers of the chain (`describe`), also of its middle
  ``--crop`` residues: a small network is fitted between each of them and the sequence vectors of
  the first model, by the contrast of the training proteins (mean over seeds),
* the structure encoder's vectors before its projection, fitted in the same way,
* each model's own joint space, as it is.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from protclip_core.encoders.structure import crop_chain, describe, pack_chains
from protclip_core.models.loading import load_model
from tests.benchmarks.structure_data import composition, open_text, read_chains, recall

MATCHED = 20


class Part:
    """Proteins of a split that have a structure, one for each cluster."""

    def __init__(self, pairs, chains, split):
        self.entries, seen = [], set()
        for entry in pairs:
            cluster = entry.get("cluster", entry["accession"])
            if entry["split"] == split and entry["accession"] in chains and cluster not in seen:
                seen.add(cluster)
                self.entries.append(entry)
        self.chains = [chains[entry["accession"]] for entry in self.entries]
        self.sequences = [entry["sequence"] for entry in self.entries]
        self.lengths = np.array([len(chain) for chain in self.chains])

    def described(self, crop=None):
        cut = self.chains
        if crop is not None:
            cut = [crop_chain(c, max(0, (len(c) - crop) // 2), crop) for c in cut]
        # Contacts cost a search in space for each chain: few of them at a time.
        parts = [describe(pack_chains(cut[i : i + 64])) for i in range(0, len(cut), 64)]
        return torch.cat(parts).numpy()

    def texts(self):
        """Rows that have a text, and the texts."""
        found = [
            (row, f"{entry['name']}. {entry['function']}")
            for row, entry in enumerate(self.entries)
            if entry.get("name") and entry.get("function")
        ]
        return [row for row, _ in found], [text for _, text in found]


def network(width, dropout):
    return nn.Sequential(nn.Linear(width, 256), nn.GELU(), nn.Dropout(dropout), nn.Linear(256, 128))


def fit(ours, theirs, held, seed, *, epochs=40, size=256, dropout=0.3):
    """Unit vectors of the held-out rows of both sides, after a contrast of the others."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    sides = []
    for train, test in zip((ours, theirs), held):
        mean, scale = train.mean(0), train.std(0) + 1e-3
        sides.append([torch.tensor((x - mean) / scale).float() for x in (train, test)])
    nets = nn.ModuleList(network(train.shape[1], dropout) for train, _ in sides)
    scale = nn.Parameter(torch.tensor(2.7))
    optimizer = torch.optim.AdamW([*nets.parameters(), scale], 2e-3, weight_decay=0.1)
    for _ in range(epochs):
        for rows in np.array_split(rng.permutation(len(ours)), max(1, len(ours) // size)):
            one, other = (
                F.normalize(net(train[rows]), dim=-1) for net, (train, _) in zip(nets, sides)
            )
            logits, own = scale.exp() * one @ other.T, torch.arange(len(rows))
            loss = F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    nets.eval()
    with torch.no_grad():
        return [F.normalize(net(test), dim=-1).numpy() for net, (_, test) in zip(nets, sides)]


def matched(queries, targets, lengths):
    """R@1 among the candidates nearest in length, itself one of them."""
    apart = np.abs(np.log(lengths)[:, None] - np.log(lengths)[None])
    apart[np.diag_indices(len(lengths))] = -1
    near = np.argsort(apart, axis=1, kind="stable")[:, :MATCHED]
    scores = np.take_along_axis(queries @ targets.T, near, axis=1)
    above = (scores[:, 1:] > scores[:, :1]).sum(1)
    equal = (scores[:, 1:] == scores[:, :1]).sum(1)
    return float(np.where(above > 0, 0.0, 1 / (1 + equal)).mean())


def row(name, found):
    """Print a row of means, from pairs of sequence and structure vectors with lengths."""
    figures = np.mean(
        [[*recall(s, t), *recall(t, s), matched(s, t, n), matched(t, s, n)] for s, t, n in found],
        axis=0,
    )
    print(f"| {name} | " + " | ".join(f"{value:.3f}" for value in figures) + " |", flush=True)


def baselines(train, test, model, args):
    """Print rows of what is fitted to sequence vectors."""
    sequence = [model.embed(part.sequences) for part in (train, test)]
    features = {
        "length": [np.log(part.lengths)[:, None] for part in (train, test)],
        "composition": [np.array([composition(s) for s in p.sequences]) for p in (train, test)],
        "34 numbers, whole": [part.described() for part in (train, test)],
        f"34 numbers, {args.crop} residues": [p.described(args.crop) for p in (train, test)],
    }
    if model.info.structure_encoder is not None:
        features["structure encoder, fitted"] = [
            model.embed_structures(part.chains, space="encoder") for part in (train, test)
        ]
    for name, (known, held) in features.items():
        found = [
            (*fit(sequence[0], known, (sequence[1], held), seed), test.lengths)
            for seed in range(args.seeds)
        ]
        row(name, found)


def six_ways(model, part):
    """Print R@1 and R@10 between each two modalities of a model, over proteins with a text."""
    rows, texts = part.texts()
    vectors = {
        "sequence": model.embed_proteins([part.sequences[i] for i in rows]),
        "structure": model.embed_structures([part.chains[i] for i in rows]),
        "text": model.embed_text(texts),
    }
    print(f"\n{model.info.path}, {len(rows)} proteins with a text; chance {10 / len(rows):.3f}\n")
    print("| from | to | R@1 | R@10 |\n|---|---|--:|--:|")
    for one in vectors:
        for other in vectors:
            if one != other:
                first, tenth = recall(vectors[one], vectors[other])
                print(f"| {one} | {other} | {first:.3f} | {tenth:.3f} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=Path, required=True)
    parser.add_argument("--structures", type=Path, required=True)
    parser.add_argument("--model", action="append", required=True)
    parser.add_argument("--split", default="valid")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--crop", type=int, default=256)
    args = parser.parse_args()
    with open_text(args.pairs) as file:
        pairs = [json.loads(line) for line in file]
    chains = {chain.id: chain for chain in read_chains(args.structures)}
    train, test = (Part(pairs, chains, split) for split in ("train", args.split))
    print(f"{len(train.chains)} proteins to fit to, {len(test.chains)} of {args.split}\n")
    print("| structures by | s→x R@1 | R@10 | x→s R@1 | R@10 | s→x R@1 of 20 | x→s R@1 of 20 |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    count = len(test.chains)
    print(
        f"| chance | {1 / count:.3f} | {10 / count:.3f} | {1 / count:.3f} | {10 / count:.3f} | ",
        end="",
    )
    print("0.050 | 0.050 |")
    models = [load_model(name, device="cpu") for name in args.model]
    baselines(train, test, models[0], args)
    models = [model for model in models if model.info.structure_encoder is not None]
    for model in models:
        vectors = model.embed_proteins(test.sequences), model.embed_structures(test.chains)
        row(f"joint space of {model.info.path.name}", [(*vectors, test.lengths)])
    for model in models:
        six_ways(model, test)


if __name__ == "__main__":
    main()
