"""How well structures find their sequences and texts, beside what needs no training on shapes.

    python -m tests.benchmarks.structure_retrieval PAIRS.jsonl STRUCTURES.h5 --model BUNDLE \
        [--split valid] [--predicted]

R@1 and R@10 in six directions among the held-out proteins of a split that have a structure, whole
chains. Rows: chance; the model; and sequence against structure where a small network (one hidden
layer, as long as is best on `valid`) on the 34-number descriptor, on length alone, or on the
composition of the structure's own residues takes the place of the structure tower, trained on the
same proteins against the same sequence vectors, with them fixed or with a network on their side.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from protclip_core.encoders.structure import describe, pack_chains
from protclip_core.models.loading import load_model, load_structure_model
from train.data.structures import StructureSet
from train.data.texts import parts_of

KS = (1, 10)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pairs", type=Path)
    parser.add_argument("structures", type=Path)
    parser.add_argument("--model", required=True)
    parser.add_argument("--split", default="valid", help="measure on this split (default valid)")
    parser.add_argument("--predicted", action="store_true", help="predicted structures alone")
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    data = read(args.pairs, StructureSet(args.structures), predicted=args.predicted)
    model = load_model(args.model, device="cpu")
    sequences = embedded(data, lambda part: model.embed_proteins([e["sequence"] for e in part]))
    inside = [n for n, e in enumerate(data) if e["split"] == args.split]
    held_out = [data[n] for n in inside]
    print(f"{len(held_out)} proteins of {args.split}; R@1 and R@10")
    show("chance", {"any": [k / len(held_out) for k in KS]})
    tower = load_structure_model(args.model, device="cpu")
    shapes = torch.from_numpy(np.asarray(tower.embed([e["chain"] for e in held_out])))
    texts, described = text_vectors(model, held_out)
    own = sequences[inside]
    found = directions("sequence", own, "structure", shapes)
    found |= directions("sequence", own[described], "text", texts)
    found |= directions("structure", shapes[described], "text", texts)
    show(f"{args.model} ({len(texts)} with text)", found)
    for name, features in baselines(data).items():
        for way in ("fixed", "learnt"):
            runs = [
                small(features, sequences, data, inside, way, seed) for seed in range(args.seeds)
            ]
            mean = {key: np.mean([run[key] for run in runs], axis=0).tolist() for key in runs[0]}
            show(f"{name}, sequence side {way}", mean)


def read(path, structures, *, predicted):
    """Entries with a structure, its chain beside; of those to train on, also experimental ones."""
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        names = [entry["accession"], *(entry.get("also") or ())]
        row = next(row for name in names for row in structures.rows(name))
        chain = structures.chain(row)
        if predicted and chain.confidence is None and entry["split"] != "train":
            continue
        found.append(entry | {"chain": chain})
    return found


def embedded(data, embed):
    parts = [embed(data[n : n + 64]) for n in range(0, len(data), 64)]
    return torch.from_numpy(np.concatenate([np.asarray(part) for part in parts])).float()


def text_vectors(model, entries):
    """Vectors of whole texts, and of which entries they are."""
    texts, rows = [], []
    for n, entry in enumerate(entries):
        parts = parts_of(entry, {})
        if parts:
            texts.append(" ".join(f"{p.tag}: {'. '.join(p.pieces)}." for p in parts))
            rows.append(n)
    return torch.from_numpy(np.asarray(model.embed_text(texts))).float(), rows


def directions(one, ones, other, others):
    found = ones @ others.T
    return {f"{one} to {other}": recalls(found), f"{other} to {one}": recalls(found.T)}


def recalls(similarity):
    """R@1 and R@10; a tie counts as ahead."""
    ahead = (similarity >= similarity.diagonal().unsqueeze(1)).sum(dim=1)
    return [float((ahead <= k).float().mean()) for k in KS]


def baselines(data):
    whole = torch.cat([describe(pack_chains([e["chain"]])) for e in data])
    letters = "ACDEFGHIKLMNPQRSTVWY"
    counts = [[e["chain"].sequence.count(letter) for letter in letters] for e in data]
    composition = torch.tensor(counts).float()
    composition /= composition.sum(dim=1, keepdim=True).clamp(min=1)
    return {"length": whole[:, 32:33], "descriptor": whole, "residue composition": composition}


def small(features, sequences, data, inside, way, seed, epochs=60):
    """Train a network on features of structures; the epoch is the best on `valid`."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    train = np.array([n for n, e in enumerate(data) if e["split"] == "train"])
    valid = [n for n, e in enumerate(data) if e["split"] == "valid"]
    middle, spread = features[train].mean(0), features[train].std(0).clamp(min=1e-3)
    features = (features - middle) / spread
    width = sequences.shape[1] if way == "fixed" else 128
    one = network(features.shape[1], width)
    other = nn.Identity() if way == "fixed" else network(sequences.shape[1], width)
    scale = nn.Parameter(torch.tensor(2.66))
    learn = [*one.parameters(), *other.parameters(), scale]
    optimizer = torch.optim.AdamW(learn, 2e-3, weight_decay=0.1)
    best, found = -1.0, {}
    for epoch in range(epochs):
        one.train(), other.train()
        for rows in np.array_split(rng.permutation(train), len(train) // 256):
            left = F.normalize(one(features[rows]), dim=-1)
            right = F.normalize(other(sequences[rows]), dim=-1)
            logits, target = scale.exp() * left @ right.T, torch.arange(len(rows))
            loss = F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if epoch % 5 == 4:
            one.eval(), other.eval()
            with torch.no_grad():
                sides = [
                    (
                        F.normalize(other(sequences[n]), dim=-1),
                        F.normalize(one(features[n]), dim=-1),
                    )
                    for n in (valid, inside)
                ]
            score = sum(recalls(a @ b.T)[1] for a, b in [sides[0], sides[0][::-1]])
            if score > best:
                best, found = score, directions("sequence", sides[1][0], "structure", sides[1][1])
    return found


def network(width, out):
    return nn.Sequential(nn.Linear(width, 256), nn.GELU(), nn.Dropout(0.3), nn.Linear(256, out))


def show(name, figures):
    cells = ", ".join(f"{k} {a:.3f} / {b:.3f}" for k, (a, b) in figures.items())
    print(f"{name}: {cells}", flush=True)


if __name__ == "__main__":
    main()
