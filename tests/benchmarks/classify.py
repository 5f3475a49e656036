"""Where proteins are, told by light heads: embeddings beside amino-acid composition.

Run by hand: ``python tests/benchmarks/classify.py FOLDER [--model MODEL] [--kind KIND]``, where
FOLDER holds the localisation tables of DeepLoc 1.0 in PEER's division, two classes (membrane-bound
or soluble) and ten. They are for measuring only: heads fitted here are thrown away.

Everything is what ``protclip classify fit`` does. Sequences that stand in two parts stay in the one
that is measured on. The training part of the ten classes is a reconstruction; see the table's name.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import logging
import sys
import tempfile
import time
from pathlib import Path

from protclip_core.tasks.classify.fit import fit
from protclip_core.tasks.classify.request import FitRequest

TEN = (
    "Cell.membrane",
    "Cytoplasm",
    "Endoplasmic.reticulum",
    "Golgi.apparatus",
    "Lysosome/Vacuole",
    "Mitochondrion",
    "Nucleus",
    "Peroxisome",
    "Plastid",
    "Extracellular",
)
TWO = ("membrane", "soluble")


def rows(path, **wanted):
    """Rows of a table as dictionaries, those with the wanted cells."""
    csv.field_size_limit(1 << 24)
    with gzip.open(path, "rt", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            if all(row[name] == value for name, value in wanted.items()):
                yield row


def two_classes(folder):
    for part in ("train", "valid", "test"):
        for row in rows(folder / f"subcellular_localization_2_{part}.tsv.gz"):
            yield part, TWO[int(float(row["localization"]))], row["sequence"]


def ten_classes(folder):
    for row in rows(folder / "deeploc1_reconstructed.tsv.gz", peer_split="train"):
        if row["label"] in TEN and row["sequence"]:
            yield "train", row["label"], row["sequence"]
    for part in ("valid", "test"):
        for row in rows(folder / f"subcellular_localization_{part}.tsv.gz"):
            yield part, TEN[int(float(row["localization"]))], row["sequence"]


def write(proteins, folder):
    """Write FASTA and labels."""
    with (folder / "x.fa").open("w") as fasta, (folder / "l.tsv").open("w") as table:
        table.write("protein_id\tlabel\tsplit\n")
        for number, (part, label, sequence) in enumerate(proteins):
            fasta.write(f">{part}_{number}\n{sequence.strip().upper()}\n")
            table.write(f"{part}_{number}\t{label}\t{part}\n")


def run(name, proteins, options):
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write(proteins, folder)
        started = time.perf_counter()
        report = fit(
            FitRequest(
                labels=str(folder / "l.tsv"),
                inputs=(str(folder / "x.fa"),),
                output=folder / "x.head",
                model=options.model,
                split="column",
                kind=options.kind,
                threads=options.threads,
            )
        )
    seconds = time.perf_counter() - started
    card = report.card
    train, valid, test = report.counts
    print(f"\n{name}: {train:,} train, {valid:,} valid, {test:,} test; {seconds:.0f} s")
    print(f"{card.input}; {card.fit['kind']} {card.fit['parameters']}")
    print("; ".join(report.split.leakage))
    metrics = list(dict.fromkeys(score.metric for score in report.scores))
    for predictor in dict.fromkeys(score.predictor for score in report.scores):
        cells = []
        for metric in metrics:
            (one,) = [
                s.estimate for s in report.scores if (s.predictor, s.metric) == (predictor, metric)
            ]
            interval = "" if one.low != one.low else f" [{one.low:.3f}, {one.high:.3f}]"
            cells.append(f"{metric} {one.value:.3f}{interval}")
        print(f"{predictor:12} {'  '.join(cells)}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="protclip-mini")
    parser.add_argument("--kind", default="auto")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", choices=["two", "ten"])
    options = parser.parse_args()
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(message)s")
    if options.only != "ten":
        run("membrane-bound or soluble", two_classes(options.folder), options)
    if options.only != "two":
        run("ten classes", ten_classes(options.folder), options)


if __name__ == "__main__":
    main()
