"""Figures of heads for pairs of proteins, beside baselines, and how fast they are.

    python -m tests.benchmarks.ppi human --data ppi/human_leakage_free --work DIR
    python -m tests.benchmarks.ppi shs27k --data ppi/shs27k --work DIR
    python -m tests.benchmarks.ppi speed --store x.h5 --head ppi.head

``human``: fit on Intra1, choose and calibrate by Intra0, measure on Intra2 once (Bernett et al.,
Briefings in Bioinformatics 2024): no protein is in two parts, and none is like one of another
part. ``shs27k``: the seven types of STRING on nine splits. Each with vectors of the model, with
amino-acid composition and with shares of 3-mers in seven classes (conjoint triad; Shen et al.,
PNAS 2007), all three with the same kind of head and the same features of pairs. Vectors of
baselines are standardised over all proteins. Stores are kept in ``--work``.
"""

from __future__ import annotations

import argparse
import gzip
import json
import resource
import time
from pathlib import Path

import numpy as np

from protclip_core.heads import load_head
from protclip_core.heads.pair_features import unit_rows
from protclip_core.heads.pair_scores import PairScorer
from protclip_core.measure.composition import composition
from protclip_core.store.reader import EmbeddingStore
from protclip_core.store.writer import StoreWriter
from protclip_core.tasks.embed.task import embed_to_store
from protclip_core.tasks.ppi.request import TrainRequest
from protclip_core.tasks.ppi.train import train
from protclip_core.vectors.embed_request import EmbedRequest

TRIADS = {c: n for n, group in enumerate(("AGV", "ILFP", "YMTS", "HNQW", "RK", "DE", "C"))
          for c in group}  # fmt: skip
KINDS = ("protclip-mini", "composition", "3-mers")


def read_sequences(paths: list[Path]) -> dict[str, str]:
    """Read tables of a name and a sequence."""
    found: dict[str, str] = {}
    for path in paths:
        with gzip.open(path, "rt") as lines:
            found |= dict(line.strip().split("\t")[:2] for line in lines if line.strip())
    return found


def triads(sequences: list[str]) -> np.ndarray:
    """Give the share of each of 343 conjoint triads ``(N, 343)``."""
    found = np.zeros((len(sequences), 343), np.float32)
    for row, sequence in enumerate(sequences):
        codes = np.array([TRIADS.get(c, -1) for c in sequence])
        known = (codes[:-2] >= 0) & (codes[1:-1] >= 0) & (codes[2:] >= 0)
        numbers = (codes[:-2] * 49 + codes[1:-1] * 7 + codes[2:])[known]
        found[row] = np.bincount(numbers, minlength=343) / max(1, len(numbers))
    return found


def store_of(kind: str, sequences: dict[str, str], work: Path, name: str) -> Path:
    """Write a store, unless it is there."""
    path = work / f"{name}.{kind}.h5"
    if path.exists():
        return path
    if kind == "protclip-mini":
        fasta = work / f"{name}.fa"
        fasta.write_text("".join(f">{id}\n{s}\n" for id, s in sequences.items()))
        embed_to_store(EmbedRequest(inputs=(str(fasta),), output=path, space="joint"))
        return path
    make = composition if kind == "composition" else triads
    vectors = make(list(sequences.values()))
    vectors = (vectors - vectors.mean(0)) / (vectors.std(0) + 1e-9)
    own = {"model": kind, "weights_sha256": kind, "config_sha256": kind, "pooling": "none",
           "space": "encoder", "layer": 0}  # fmt: skip
    with StoreWriter(path, vectors.shape[1], attributes=own) as writer:
        lengths = np.array([len(s) for s in sequences.values()])
        digests = np.zeros((len(lengths), 32), np.uint8)
        writer.write(list(sequences), vectors.astype(np.float32), lengths,
                     np.zeros(len(lengths), np.uint16), digests)  # fmt: skip
    return path


def human(data: Path, work: Path, features: str, kinds: list[str]) -> None:
    """Print the figures of the leakage-free human set."""
    sequences = read_sequences([data / f"Intra{n}_dictionary.tsv.gz" for n in range(3)])
    lists = {n: str(data / f"Intra{n}_interaction.tsv.gz") for n in range(3)}
    print("vectors\tfeatures\tpart\tpairs\tmetric\tvalue\tlow\thigh", flush=True)
    for kind in kinds:
        store = store_of(kind, sequences, work, "human")
        report = train(
            TrainRequest(
                pairs=lists[1],
                valid=lists[0],
                test=lists[2],
                inputs=(str(store),),
                output=work / f"human.{kind}.{features}.head",
                features=features,
                overwrite=True,
            )
        )
        for part, measured in report.measured.items():
            for metric in ("auroc", "aupr", "accuracy"):
                one = measured.figures["all"][metric]
                print(kind, features, part, measured.pairs["all"], metric, f"{one.value:.4f}",
                      f"{one.low:.4f}", f"{one.high:.4f}", sep="\t", flush=True)  # fmt: skip


def shs27k(data: Path, work: Path, features: str, kinds: list[str]) -> None:
    """Print micro-F1 on the nine splits; a seventh of each training is for validation."""
    sequences = read_sequences([data / "protein.SHS27k.sequences.dictionary.tsv.gz"])
    with gzip.open(data / "derived.SHS27k.pairs_multilabel.tsv.gz", "rt") as lines:
        header, *pairs = [line.rstrip("\r\n") for line in lines]
    with gzip.open(data / "derived.SHS27k.splits.json.gz", "rt") as file:
        splits = json.load(file)
    print("vectors\tfeatures\tsplit\tpairs\tboth\tone\tnone\tmicro_f1\tlow\thigh", flush=True)
    for kind in kinds:
        store = store_of(kind, sequences, work, "shs27k")
        for name, split in splits.items():
            drawn = np.random.default_rng(0).permutation(split["train_index"])
            part = dict.fromkeys(split["valid_index"], "test")
            part |= dict.fromkeys(drawn[: len(drawn) // 7].tolist(), "valid")
            table = work / f"shs27k.{name}.tsv"
            rows = [f"{pair}\t{part.get(number, 'train')}" for number, pair in enumerate(pairs)]
            table.write_text("\n".join([f"{header}\tsplit", *rows, ""]))
            report = train(
                TrainRequest(
                    pairs=str(table),
                    inputs=(str(store),),
                    output=work / "shs27k.head",
                    features=features,
                    overwrite=True,
                )
            )
            one = report.measured["test"].figures["all"]["micro_f1"]
            print(kind, features, name, report.parts["test"][0],
                  *report.leaks["test"].classes.values(), f"{one.value:.4f}", f"{one.low:.4f}",
                  f"{one.high:.4f}", sep="\t", flush=True)  # fmt: skip


def speed(store: Path, head: Path, count: int) -> None:
    """Time all against all, and listed pairs, in this process alone: no input or output."""
    with EmbeddingStore.open(store) as opened:
        vectors = unit_rows(opened.read(slice(0, count)))
    scorer = PairScorer(load_head(head))
    start = time.perf_counter()
    for row in range(0, len(vectors), 256):
        scorer.block(vectors[row : row + 256], vectors[row:])
    seconds = time.perf_counter() - start
    pairs = len(vectors) * (len(vectors) - 1) // 2
    print(f"all against all of {len(vectors):,}: {pairs:,} pairs in {seconds:.1f} s")
    scorer.keep(vectors)
    a, b = np.random.default_rng(0).integers(0, len(vectors), (2, 400_000))
    start = time.perf_counter()
    for row in range(0, len(a), 8192):
        scorer.listed(vectors, a[row : row + 8192], b[row : row + 8192])
    seconds = time.perf_counter() - start
    print(f"listed: {len(a):,} pairs in {seconds:.1f} s, {len(a) / seconds:,.0f} per second")
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"one thread of Python; peak memory {most:.2f} GB; linear: {scorer.is_linear}")


def main() -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("human", "shs27k", "speed"))
    parser.add_argument("--data", type=Path)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--features", default="squares")
    parser.add_argument("--vectors", nargs="*", default=list(KINDS), choices=KINDS)
    parser.add_argument("--store", type=Path)
    parser.add_argument("--head", type=Path)
    parser.add_argument("--proteins", type=int, default=6000)
    given = parser.parse_args()
    if given.what == "speed":
        speed(given.store, given.head, given.proteins)
        return
    given.work.mkdir(parents=True, exist_ok=True)
    run = human if given.what == "human" else shs27k
    run(given.data, given.work, given.features, given.vectors)


if __name__ == "__main__":
    main()
