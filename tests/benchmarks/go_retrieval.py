"""How well does a model annotate GO terms by their texts? Beside baselines, in one run.

    python -m tests.benchmarks.go_retrieval --data uniprot_pairs.jsonl.gz --go go_terms.tsv.gz \
        [--model protclip-mini] [--split test] [--hits hits.m8]

Fmax per aspect (protein-centric, every score a threshold, terms propagated, roots left out) of

* how frequent a term is among the training proteins (naive),
* a two-layer network on 3-mer counts, matched against TF-IDF vectors of the terms' texts and
  trained here for ``--minutes`` of one core,
* transfer from similar training proteins, where ``--hits`` has a search of this split against the
  training split in BLAST's tabular form (MMseqs2 or DIAMOND: query, target, …, e-value, bit
  score): the 20 best hits weighted by bit score, with naive scores where there is none,
* the model: cosine of protein and text alone, and with the prior of the model's GO index.

With ``--hits``, all of it once more on the proteins without a hit.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from protclip_core.engines.memory import keep_freed_memory
from protclip_core.models.info import describe_model
from protclip_core.models.loading import load_model
from protclip_core.terms.index_file import find_go_index
from train.data.go_terms import ASPECTS, GoTerms
from train.data.proteins import Protein, read_proteins
from train.data.term_space import word_side
from train.loop.evaluate import aspect_fmax

LETTERS = 20
HITS = 20


class Split:
    """The annotated proteins of a split."""

    def __init__(self, path: Path, split: str, terms: GoTerms) -> None:
        found = read_proteins(path, split, dict(zip(terms.ids, terms.names)))
        self.proteins: list[Protein] = [p for p in found if terms.numbers(p.go)]
        self.truth = [terms.propagate(terms.numbers(p.go)) for p in self.proteins]

    def sequences(self) -> list[str]:
        """Return the sequences as letters."""
        from protclip_core.encoders.alphabet import TOKENS

        return ["".join(TOKENS[i] for i in p.residues) for p in self.proteins]


def kmer_counts(proteins: list[Protein]) -> torch.Tensor:
    """Square roots of 3-mer counts, of length 1; ``(N, 8000)``."""
    found = np.zeros((len(proteins), LETTERS**3), np.float32)
    for row, protein in enumerate(proteins):
        # Residue ids of the model's alphabet: the 20 come first, from 4.
        residues = protein.residues.astype(np.int64) - 4
        codes = residues[:-2] * 400 + residues[1:-1] * 20 + residues[2:]
        whole = (residues >= 0) & (residues < LETTERS)
        codes = codes[whole[:-2] & whole[1:-1] & whole[2:]]
        found[row] = np.sqrt(np.bincount(codes, minlength=LETTERS**3))
    return F.normalize(torch.from_numpy(found), dim=-1)


def kmer_network(
    train: Split, test: Split, terms: GoTerms, prior: np.ndarray, minutes: float
) -> np.ndarray:
    """Train the two-layer network for a while; scores ``(N, G)`` of the test proteins."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    texts = torch.from_numpy(word_side(terms, 256))
    counts = np.zeros(len(terms), np.int64)
    for own in train.truth:
        counts[own] += 1
    columns = np.flatnonzero(counts >= 5)
    place = np.full(len(terms), -1)
    place[columns] = np.arange(len(columns))
    aspects = torch.from_numpy(terms.aspects[columns].astype(np.int64))
    bank, bias = texts[columns], torch.from_numpy(prior[columns])
    net = nn.Sequential(nn.Linear(LETTERS**3, 1024), nn.GELU(), nn.Dropout(0.3))
    net.append(nn.Linear(1024, 256))
    scale = nn.Parameter(torch.tensor(3.0))
    optimizer = torch.optim.AdamW([*net.parameters(), scale], lr=2e-3, betas=(0.9, 0.98))
    inputs = kmer_counts(train.proteins)
    began = time.monotonic()
    while (share := (time.monotonic() - began) / (60 * minutes)) < 1:
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * (1 - share)
        rows = rng.choice(len(inputs), 128, replace=False)
        right = torch.zeros(len(rows), len(columns))
        known = torch.zeros(len(rows), len(ASPECTS))
        for line, row in enumerate(rows):
            own = place[train.truth[row]]
            right[line, own[own >= 0]] = 1
            known[line, aspects[own[own >= 0]]] = 1
        made = F.normalize(net(inputs[rows]), dim=-1)
        logits = scale.exp() * made @ bank.T + bias
        each = F.binary_cross_entropy_with_logits(logits, right, reduction="none")
        loss = (each * known[:, aspects]).sum(dim=1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    net.eval()
    with torch.no_grad():
        made = F.normalize(net(kmer_counts(test.proteins)), dim=-1)
        found = scale.exp() * made @ texts.T + torch.from_numpy(prior)
    return found.numpy()


def transfer(hits: Path, train: Split, test: Split, naive: np.ndarray) -> tuple[np.ndarray, ...]:
    """Scores of transfer by similarity ``(N, G)``, and whether each protein has a hit."""
    place = {p.accession: row for row, p in enumerate(train.proteins)}
    found: dict[str, list[tuple[float, int]]] = defaultdict(list)
    with hits.open() as file:
        for fields in csv.reader(file, delimiter="\t"):
            if fields[1] in place:
                found[fields[0]].append((float(fields[11]), place[fields[1]]))
    scores = np.repeat(naive[None], len(test.proteins), axis=0)
    has = np.zeros(len(test.proteins), bool)
    for row, protein in enumerate(test.proteins):
        best = sorted(found.get(protein.accession, []), reverse=True)[:HITS]
        if best:
            has[row] = True
            scores[row] = 0
            total = sum(score for score, _ in best)
            for score, other in best:
                scores[row, train.truth[other]] += score / total
    return scores, has


def main() -> None:
    """Compute the table and print it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--go", type=Path, required=True)
    parser.add_argument("--model", default="protclip-mini")
    parser.add_argument("--split", default="test")
    parser.add_argument("--hits", type=Path)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    keep_freed_memory()
    terms = GoTerms(args.go)
    train, test = (Split(args.data, split, terms) for split in ("train", args.split))
    counts = np.zeros(len(terms), np.int64)
    for own in train.truth:
        counts[own] += 1
    share = np.minimum((counts + 0.3) / len(train.proteins), 0.999)
    naive = (counts / len(train.proteins)).astype(np.float32)
    prior = np.log(share / (1 - share)).astype(np.float32)
    rows = {"frequency of the term (naive)": np.repeat(naive[None], len(test.proteins), axis=0)}
    rows["3-mer network"] = kmer_network(train, test, terms, prior, args.minutes)
    without = np.zeros(len(test.proteins), bool)
    if args.hits is not None:
        scores, has = transfer(args.hits, train, test, naive)
        rows["similar proteins, else naive"] = scores
        without = ~has
    index = find_go_index(describe_model(args.model))
    model = load_model(args.model)
    proteins = model.embed_proteins(test.sequences())
    # The index may be of another table: what it does not know is never predicted.
    own = np.array([index.ontology.index.get(id, -1) for id in terms.ids])
    cosines = proteins @ index.unit_vectors().T
    with_prior = index.go_scale * cosines + index.filled_prior
    for name, table in ((f"{args.model}, cosine", cosines), (f"{args.model}", with_prior)):
        rows[name] = np.where(own >= 0, table[:, own], -np.inf).astype(np.float32)
    columns = np.arange(len(terms))
    print(f"{len(test.proteins)} proteins of {args.split}; Fmax MF, BP, CC")
    for name, scores in rows.items():
        spread = terms.propagate_scores(scores, columns)
        every = aspect_fmax(spread, columns, test.truth, terms)
        line = f"{name:32s}" + "".join(f"  {every[a]:.3f}" for a in ASPECTS)
        if without.any():
            few = np.flatnonzero(without)
            part = aspect_fmax(spread[few], columns, [test.truth[r] for r in few], terms)
            line += f"   | {len(few)} without a hit:" + "".join(f"  {part[a]:.3f}" for a in ASPECTS)
        print(line, flush=True)


if __name__ == "__main__":
    main()
