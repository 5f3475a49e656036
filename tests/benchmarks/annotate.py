"""How well does ``protclip annotate --go`` do, run as a user runs it? Beside alternatives.

    python -m tests.benchmarks.annotate --data uniprot_pairs.jsonl.gz --work folder \
        [--model protclip-mini] [--split test] [--rows text,homology,neighbours,all]

Each row is one run of the command on the annotated proteins of the split, as FASTA, with the
training proteins as reference, a low least probability and TSV read back. Beside them, in the
same run: how frequent a term is among the training proteins (naive), and what a user could do
without a model: transfer from similar training proteins, by the aligner that is on the path (20
best hits weighted by bit score), naive where there is none.

Per aspect, roots left out, terms propagated, on the proteins with a term of the aspect: Fmax
(protein-centric, every score a threshold) and Smin, the least distance ``sqrt(ru^2 + mi^2)`` over
all thresholds, where ru and mi are the mean information content (bits, among the training
proteins) of the terms that were missed and of those that were wrong (Clark and Radivojac 2013).
Then the same on the proteins that the aligner finds nothing for. FASTA files, stores and results
stay in the folder, and are not made again where they are there.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from protclip_core.engines.local import usable_cores
from protclip_core.io.aligners import align, find_aligner
from protclip_core.io.streams import open_input
from protclip_core.measure.fmax import fmax
from protclip_core.models.info import describe_model
from protclip_core.ontology import ASPECTS, Ontology
from protclip_core.ontology.reference import Carried
from protclip_core.terms.index_file import find_go_index
from protclip_core.terms.votes import MOST_HOMOLOGS, Relatives, count_votes

LEAST = "0.01"
NEGLIGIBLE = 1e-3
ROWS = ("text", "neighbours", "homology", "all")


@dataclass
class Proteins:
    """Annotated proteins of a split."""

    ids: list[str]
    sequences: list[str]
    terms: list[np.ndarray]

    @classmethod
    def read(cls, path: Path, ontology: Ontology, split: str) -> Proteins:
        """Read those with a term of the ontology."""
        found = cls([], [], [])
        with open_input(path) as file:
            for line in file:
                entry = json.loads(line)
                if entry["split"] != split or not entry.get("go"):
                    continue
                numbers = ontology.resolve_all(entry["go"]).terms
                terms = ontology.propagate(numbers[numbers >= 0], roots=False)
                if len(terms):
                    found.ids.append(entry["accession"])
                    found.sequences.append(entry["sequence"])
                    found.terms.append(terms)
        return found

    def carried(self) -> Carried:
        """Return what they carry."""
        offsets = np.concatenate([[0], np.cumsum([len(own) for own in self.terms])])
        rows = np.arange(len(self.ids))
        return Carried(tuple(self.ids), rows, offsets, np.concatenate(self.terms))

    def write(self, folder: Path, name: str, ontology: Ontology) -> None:
        """Write FASTA and a table of annotations, unless they are there."""
        fasta, table = folder / f"{name}.fa", folder / f"{name}.tsv"
        if not fasta.exists():
            records = zip(self.ids, self.sequences)
            fasta.write_text("".join(f">{id}\n{sequence}\n" for id, sequence in records))
        if not table.exists():
            rows = zip(self.ids, self.terms)
            lines = [f"{id}\t{ontology.ids[term]}\n" for id, own in rows for term in own]
            table.write_text("".join(lines))


def smin(scores: np.ndarray, truth: np.ndarray, content: np.ndarray) -> float:
    """Return the least distance over all thresholds; ``(N, C)``, ``(N, C)`` and ``(C,)``."""
    kept = truth.any(axis=1)
    scores, truth = scores[kept], truth[kept]
    missed = float((truth * content).sum())
    values = scores.ravel()
    order = np.argsort(-values, kind="stable")
    order = order[np.isfinite(values[order])]
    right = truth.ravel()[order]
    weights = np.broadcast_to(content, scores.shape).ravel()[order]
    unknown = missed - np.cumsum(weights * right)
    wrong = np.cumsum(weights * ~right)
    last = np.append(np.diff(values[order]) != 0, True)
    both = np.hypot(np.append(unknown[last], missed), np.append(wrong[last], 0.0))
    return float(both.min() / len(scores))


class Measure:
    """Figures of tables of scores against what is annotated."""

    def __init__(self, test: Proteins, train: Proteins, ontology: Ontology) -> None:
        self.test, self.ontology = test, ontology
        counts = np.bincount(np.concatenate(train.terms), minlength=len(ontology))
        self.naive = counts / len(train.terms)
        # Information content as of `Annotations.information_content`: within an aspect.
        having = [
            sum(bool((ontology.aspects[own] == a).any()) for own in train.terms)
            for a in range(len(ASPECTS))
        ]
        total = np.array(having)[ontology.aspects]
        self.content = np.log2(total / np.maximum(counts, 1))

    def __call__(self, scores: np.ndarray, rows: np.ndarray) -> str:
        """Return Fmax and Smin of the three aspects, on some proteins."""
        figures: list[list[float]] = [[], []]
        for aspect in range(len(ASPECTS)):
            columns = np.setdiff1d(
                np.flatnonzero(self.ontology.aspects == aspect), self.ontology.roots
            )
            place = np.full(len(self.ontology), -1)
            place[columns] = np.arange(len(columns))
            truth = np.zeros((len(rows), len(columns)), dtype=bool)
            for number, row in enumerate(rows):
                own = place[self.test.terms[row]]
                truth[number, own[own >= 0]] = True
            table = scores[np.ix_(rows, columns)]
            # What is nowhere true or at all likely changes no figure, and takes memory.
            used = truth.any(axis=0) | (table.max(axis=0) > NEGLIGIBLE)
            figures[0].append(fmax(table[:, used], truth[:, used]))
            figures[1].append(smin(table[:, used], truth[:, used], self.content[columns][used]))
        shown = "  ".join(f"{value:.3f}" for value in figures[0])
        return shown + "   " + "  ".join(f"{value:5.2f}" for value in figures[1])


def by_command(folder: Path, name: str, model: str, test: Proteins, ontology: Ontology) -> tuple:
    """Run the command, unless its result is there; return its scores and its last line."""
    out, said = folder / f"{name}.out.tsv", folder / f"{name}.said"
    if not out.exists():
        command = [sys.executable, "-m", "protclip_cli", "annotate", "--go", "query.fa"]
        command += ["--model", model, "--min-probability", LEAST, "--format", "tsv", "-o", str(out)]
        if name != "text":
            command += ["--annotations", "reference.tsv"]
        if name in ("neighbours", "all"):
            command += ["--neighbours", "reference.h5"]
        if name in ("homology", "all"):
            command += ["--homology", "reference.fa"]
        began = time.monotonic()
        done = subprocess.run(command, cwd=folder, stderr=subprocess.PIPE, text=True, check=True)
        seconds = time.monotonic() - began
        said.write_text(f"{done.stderr}{' '.join(command[2:])}: {seconds:.0f} s\n")
    place = {id: row for row, id in enumerate(test.ids)}
    scores = np.full((len(test.ids), len(ontology)), -np.inf, dtype=np.float32)
    with out.open() as file:
        for row in csv.DictReader(file, delimiter="\t"):
            number = ontology.index[row["term"]]
            scores[place[row["protein_id"]], number] = float(row["probability"])
    return scores, said.read_text()


def transfer(
    test: Proteins, train: Proteins, naive: np.ndarray, folder: Path
) -> tuple[np.ndarray, np.ndarray, str]:
    """Transfer by an aligner, naive where it finds nothing; who has a hit; its name."""
    aligner, kept = find_aligner(), folder / "hits.npy"
    if not kept.exists():
        hits = align(aligner, test.sequences, train.sequences, threads=usable_cores())
        np.save(kept, np.array([(hit.query, hit.target, hit.bits) for hit in hits]))
    table = np.load(kept)
    queries = table[:, 0].astype(np.int64)
    rank = np.arange(len(queries)) - np.searchsorted(queries, queries)
    table, queries = table[rank < MOST_HOMOLOGS], queries[rank < MOST_HOMOLOGS]
    relatives = Relatives(
        queries, table[:, 1].astype(np.int64), table[:, 2], table[:, 2], np.ones(len(table))
    )
    # All relatives vote in all aspects, as in DeepGOPlus.
    one_aspect = np.zeros(len(naive), np.int64)
    votes = count_votes(relatives, train.carried(), len(test.ids), one_aspect)
    scores = np.repeat(naive[None].astype(np.float32), len(test.ids), axis=0)
    has = votes.has[:, 0]
    scores[has] = -np.inf
    scores[votes.rows, votes.terms] = votes.shares
    return scores, has, str(aligner)


def main() -> None:
    """Compute the table and print it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--model", default="protclip-mini")
    parser.add_argument("--split", default="test")
    parser.add_argument("--rows", default=",".join(ROWS))
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    ontology = find_go_index(describe_model(args.model)).ontology
    train, test = (Proteins.read(args.data, ontology, s) for s in ("train", args.split))
    train.write(args.work, "reference", ontology)
    test.write(args.work, "query", ontology)
    if not (args.work / "reference.h5").exists():
        command = [
            sys.executable,
            "-m",
            "protclip_cli",
            "embed",
            "reference.fa",
            "--space",
            "joint",
        ]
        subprocess.run([*command, "--model", args.model, "--resume"], cwd=args.work, check=True)
    measure = Measure(test, train, ontology)
    naive = np.repeat(measure.naive[None].astype(np.float32), len(test.ids), axis=0)
    scores, has, aligner = transfer(test, train, measure.naive, args.work)
    every, few = np.arange(len(has)), np.flatnonzero(~has)
    print(
        f"{len(every)} proteins of {args.split}: Fmax MF BP CC, Smin MF BP CC | {len(few)} without"
    )
    rows = [("naive", naive), (f"{aligner.split()[0]} transfer, else naive", scores)]
    for name, table in rows:
        print(f"{name:32s}{measure(table, every)}  |  {measure(table, few)}", flush=True)
    for name in args.rows.split(","):
        table, said = by_command(args.work, name, args.model, test, ontology)
        shown = f"annotate, {'text' if name in ('text', 'all') else 'text+' + name}"
        shown += "+both" if name == "all" else ""
        print(f"{shown:32s}{measure(table, every)}  |  {measure(table, few)}", flush=True)
        print("   " + said.strip().splitlines()[-1])


if __name__ == "__main__":
    main()
