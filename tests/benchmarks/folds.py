"""Which fold does a domain have? Three hold-outs, by sequence, by structure, and by both.

    python -m tests.benchmarks.folds --domains scop2_uniprot_domains.tsv.gz --pairs pairs.jsonl.gz \
        [--structures backbones.jsonl.gz --model BUNDLE] [--model protclip-mini] [--seed 0]

Domains are those of SCOP (MRC LMB) with a region of a UniProt sequence; a domain is cut out and
embedded alone. Held out, and never trained on, are

* ``superfamily``: a superfamily of each of some folds that have others,
* ``family``: a family of each of some superfamilies that have others,
* ``within``: a cluster of proteins of each of some families that have others.

A fold is told by a linear probe (ridge regression on folds, its strength chosen on a part of the
training domains) and by the nearest training domain (cosine of standardised vectors). Accuracies
are micro (each domain counts the same) and macro (each fold does). Beside them: composition,
length, ESM-2 of random weights; of structures 34 numbers and the encoder at its random start.
The second table is of the domains that have a structure, with all that reads either.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from protclip_core.encoders.esm2 import Esm2, Esm2Config
from protclip_core.encoders.packing import pack_sequences, pool
from protclip_core.encoders.structure import StructureEncoder, describe, pack_chains
from protclip_core.models.loading import load_model
from tests.benchmarks.structure_data import composition, open_text, read_chains

LEVELS = ("superfamily", "family", "within")
STRENGTHS = (0.1, 1.0, 10.0, 100.0, 1000.0)


class Domain:
    """A row of the table: its labels, and the residues that it has."""

    def __init__(self, row, sequence):
        self.accession, self.cluster = row["pairs_accession"], row["cluster"]
        self.fold, self.superfamily, self.family = (
            row[name] for name in ("fold", "superfamily", "family")
        )
        parts = [part.split("-") for part in row["uniprot_region"].split(",")]
        self.places = [i for first, last in parts for i in range(int(first) - 1, int(last))]
        self.sequence = "".join(sequence[i] for i in self.places)

    def cut(self, chain):
        """The domain of a model of the whole protein; pieces do not follow each other."""
        places = np.array(self.places)
        starts = chain.starts[places] | (np.diff(places, prepend=-2) != 1)
        confidence = None if chain.confidence is None else chain.confidence[places]
        return replace(
            chain,
            sequence=self.sequence,
            backbone=chain.backbone[places],
            starts=starts,
            confidence=confidence,
        )


def read_domains(path, sequences):
    """Globular domains whose region lies inside a known sequence; copies once."""
    with open_text(path) as file:
        rows = csv.DictReader((x for x in file if not x.startswith("#")), delimiter="\t")
        found = [
            Domain(row, sequences[row["pairs_accession"]])
            for row in rows
            if row["type"] == "1"
            and row["region_ok"] == "1"
            and row["pairs_accession"] in sequences
        ]
    return list({(d.accession, d.sequence, d.fold): d for d in found if d.sequence}.values())


def hold_out(domains, seed, share=0.4):
    """Level of each domain, or ``train``."""
    rng = np.random.default_rng(seed)
    level = np.array(["train"] * len(domains), object)
    kinds = (
        ("superfamily", lambda d: d.fold, lambda d: d.superfamily),
        ("family", lambda d: d.superfamily, lambda d: d.family),
        ("within", lambda d: d.family, lambda d: d.cluster),
    )
    for name, group_of, part_of in kinds:
        groups = defaultdict(lambda: defaultdict(list))
        for number, domain in enumerate(domains):
            if level[number] == "train":
                groups[group_of(domain)][part_of(domain)].append(number)
        for parts in groups.values():
            if len(parts) > 1 and rng.random() < share:
                by_size = sorted(parts.values(), key=len)
                level[by_size[rng.integers(len(by_size) - 1)]] = name  # the largest stays
    # Nothing is asked whose fold is not there to be learnt.
    known = {d.fold for d, own in zip(domains, level) if own == "train"}
    level[[d.fold not in known for d in domains]] = "none"
    return level


def standardised(blocks, train):
    """Blocks side by side, each of mean 0 and the same total variance over the training rows."""
    parts = []
    for block in blocks:
        block = np.asarray(block, np.float64)
        block = (block - block[train].mean(0)) / (block[train].std(0) + 1e-6)
        parts.append(block.clip(-10, 10) / np.sqrt(block.shape[1]))
    return np.concatenate(parts, 1)


def ridge(x, y, strength):
    """Weights of a ridge regression on one column for each fold, offset in the last row."""
    x = np.concatenate([x, np.ones((len(x), 1))], 1)
    # Each fold weighs by the root of its size: between each domain alike and each fold alike.
    weight = 1 / np.sqrt(y.sum(0)[y.argmax(1)])
    left = (x * weight[:, None]).T
    return np.linalg.solve(left @ x + strength * np.eye(x.shape[1]) / x.shape[1], left @ y)


def probe(x, folds, train, seed):
    """Fold of each domain by a linear probe."""
    names, codes = np.unique(folds[train], return_inverse=True)
    y = np.eye(len(names))[codes]
    known = x[train]
    check = np.random.default_rng(seed).random(len(known)) < 0.15
    best = max(
        STRENGTHS,
        key=lambda s: (
            score(known[check], ridge(known[~check], y[~check], s)) == codes[check]
        ).mean(),
    )
    return names[score(x, ridge(known, y, best))]


def score(x, weights):
    return (x @ weights[:-1] + weights[-1]).argmax(1)


def nearest(x, folds, train):
    """Fold of the nearest training domain."""
    unit = (x / (np.linalg.norm(x, axis=1, keepdims=True) + 1e-12)).astype(np.float32)
    known = unit[train]
    found = [int(i) for rows in np.array_split(unit, 64) for i in (rows @ known.T).argmax(1)]
    return folds[train][found]


def table(title, features, domains, level, seed):
    """Print micro and macro accuracies of all levels."""
    folds = np.array([d.fold for d in domains])
    train = level == "train"
    sizes = ", ".join(f"{name} {(level == name).sum()}" for name in ("train", *LEVELS))
    print(f"\n{title}: {sizes}; {len(set(folds[train]))} folds\n")
    print("| vectors | by | " + " | ".join(f"{n} micro | macro" for n in LEVELS) + " |")
    print("|---|---|" + "--:|--:|" * len(LEVELS))
    common = Counter(folds[train]).most_common(1)[0][0]
    show("most frequent fold", "", np.array([common] * len(folds)), folds, level)
    for name, blocks in features.items():
        x = standardised(blocks, train)
        show(name, "probe", probe(x, folds, train, seed), folds, level)
        show(name, "nearest", nearest(x, folds, train), folds, level)


def show(name, by, found, folds, level):
    cells = []
    for one in LEVELS:
        right = found[level == one] == folds[level == one]
        own = folds[level == one]
        macro = np.mean([right[own == fold].mean() for fold in set(own)]) if len(own) else np.nan
        cells.append(f"{right.mean():.3f} | {macro:.3f}")
    print(f"| {name} | {by} | " + " | ".join(cells) + " |", flush=True)


@torch.inference_mode()
def random_esm2(sequences, seed, layers, width):
    """Mean vectors of an ESM-2 that has learned nothing."""
    torch.manual_seed(seed)
    shape = Esm2Config(
        num_layers=layers, hidden_dim=width, num_heads=width // 16, ffn_dim=4 * width
    )
    encoder = Esm2(shape, lm_head=False).eval()
    order = sorted(range(len(sequences)), key=lambda i: len(sequences[i]))
    found = np.empty((len(sequences), width), np.float32)
    for rows in np.array_split(order, max(1, len(order) // 16)):
        batch = pack_sequences([sequences[i] for i in rows])
        (hidden,) = encoder(batch).values()
        found[rows] = pool(hidden, batch, "residues").numpy()
    return found


@torch.inference_mode()
def untrained(shape, chains, seed):
    """Vectors of a structure encoder at its start."""
    torch.manual_seed(seed)
    encoder = StructureEncoder(shape).eval()
    return np.concatenate([encoder(pack_chains([chain])).numpy() for chain in chains])


def of_sequences(domains, model, args):
    """Name to blocks of vectors of what reads sequences."""
    sequences = [d.sequence for d in domains]
    random = random_esm2(sequences, args.seed, args.random_layers, args.random_width)
    return {
        "length": [np.log([[len(s)] for s in sequences])],
        "composition": [[composition(s) for s in sequences]],
        "ESM-2 of random weights": [random],
        "sequence": [model.embed(sequences)],
    }


def of_structures(chains, sequences, models, seed):
    """Name to blocks of vectors of what reads structures, alone and with sequences."""
    numbers = np.concatenate([describe(pack_chains([chain])).numpy() for chain in chains])
    found = {"34 numbers": [numbers], "34 numbers + sequence": [numbers, *sequences]}
    for model in models:
        shape = model.info.structure_encoder
        name = f"structure ({model.info.path.name})"
        vectors = model.embed_structures(chains, space="encoder")
        if shape.__struct_config__.tag == "gvp":
            plain = np.asarray(untrained(replace_descriptor(shape), chains, seed))
            found[f"{name}, random weights"] = [plain]
        found[name] = [vectors]
        found[f"{name} + sequence"] = [vectors, *sequences]
        found[f"{name}, joint space"] = [model.embed_structures(chains)]
    return found


def replace_descriptor(shape):
    """The shape without the numbers beside: what the graph alone gives."""
    plain = shape.to_dict() | {"descriptor": "none"}
    return type(shape)(**plain)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--domains", type=Path, required=True)
    parser.add_argument("--pairs", type=Path, required=True)
    parser.add_argument("--structures", type=Path, help="models of whole proteins, by accession")
    parser.add_argument("--model", action="append", help="default protclip-mini")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--random-layers", type=int, default=6)
    parser.add_argument("--random-width", type=int, default=320)
    args = parser.parse_args()
    with open_text(args.domains) as file:
        rows = csv.DictReader((x for x in file if not x.startswith("#")), delimiter="\t")
        wanted = {row["pairs_accession"] for row in rows}
    with open_text(args.pairs) as file:
        pairs = (json.loads(line) for line in file)
        sequences = {p["accession"]: p["sequence"] for p in pairs if p["accession"] in wanted}
    domains = read_domains(args.domains, sequences)
    models = [load_model(name, device="cpu") for name in args.model or ["protclip-mini"]]
    features = of_sequences(domains, models[0], args)
    table("all domains", features, domains, hold_out(domains, args.seed), args.seed)
    if args.structures is None:
        return
    chains = {c.id: c for c in read_chains(args.structures)}
    rows = [
        i
        for i, d in enumerate(domains)
        if d.accession in chains and chains[d.accession].sequence == sequences[d.accession]
    ]
    some = [domains[i] for i in rows]
    cut = [domain.cut(chains[domain.accession]) for domain in some]
    features = {name: [np.asarray(b)[rows] for b in blocks] for name, blocks in features.items()}
    towers = [model for model in models if model.info.structure_encoder is not None]
    features |= of_structures(cut, features["sequence"], towers, args.seed)
    table("domains with a structure", features, some, hold_out(some, args.seed, 0.5), args.seed)


if __name__ == "__main__":
    main()
