"""Are proteins that a model finds alike also alike by what GO says of them?

    python -m tests.benchmarks.similarity --folder similarity/ --go go.obo \
        [--uniprot uniprot_pairs.jsonl.gz] [--model protclip-mini] [--resamples 200]

This stands in for the semantic similarity part of PROBE (Unsal et al. 2022), whose own matrices
are not public in a form that can be fetched: other proteins, other annotations, the same question
and the same measures (Spearman's rho with cosine and Manhattan similarities). Its figures are not
to be set beside those of PROBE.

* ``MF_HS3.csv.gz``, ``MF_EC3.csv.gz`` of the folder: pairs of human and of E. coli proteins with
  best-match averages over all aspects by two information contents, graph measures, and similarity
  by families and by sequence (kgsim-benchmark).
* ``goa_yeast.gaf.gz``: yeast, Lin with best-match average, computed here for each aspect; all
  pairs of ``--sample`` proteins. With ``--uniprot``, the same for the human and E. coli proteins,
  from the terms in there, and everything once more on proteins that no model trained on its
  split ``train`` has seen ("unseen").

Beside the model the cosine of residue shares, and how little lengths differ. In brackets 95 %
intervals over proteins.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import tempfile
from collections import defaultdict
from pathlib import Path

from protclip_core.io.fasta import read_fasta
from protclip_core.tasks.embed.task import embed_to_store
from protclip_core.tasks.similarity.evaluate import EvaluateReport, evaluate
from protclip_core.tasks.similarity.request import EvaluateRequest
from protclip_core.vectors.embed_request import EmbedRequest

SPECIES = {"human": "MF_HS3.csv.gz", "E. coli": "MF_EC3.csv.gz"}


def read_table(path: Path) -> list[list[str]]:
    """Header and rows of a table of pairs."""
    with gzip.open(path, "rt") as file:
        return list(csv.reader(file, delimiter=";"))


def read_uniprot(path: Path) -> tuple[dict[str, list[str]], set[str]]:
    """GO terms of each accession, and the accessions of the split ``train``."""
    terms: dict[str, list[str]] = {}
    seen: set[str] = set()
    with gzip.open(path, "rt") as file:
        for line in file:
            record = json.loads(line)
            own = [record["accession"], *(record.get("also") or [])]
            for accession in own:
                terms[accession] = record.get("go") or []
            if record["split"] == "train":
                seen.update(own)
    return terms, seen


class Bench:
    """A folder of what is compared, and the table that grows."""

    def __init__(self, args: argparse.Namespace, work: Path) -> None:
        self.args, self.work = args, work
        self.sequences = {
            record.id: record.sequence for record in read_fasta(args.folder / "sequences.fasta.gz")
        }

    def embed(self, name: str, ids: set[str]) -> dict[str, str]:
        """Embed proteins once; returns what `evaluate` needs to find them."""
        fasta = self.work / f"{name}.fa"
        found = sorted(id for id in ids if id in self.sequences)
        fasta.write_text("".join(f">{id}\n{self.sequences[id]}\n" for id in found))
        store = self.work / f"{name}.h5"
        request = EmbedRequest(inputs=(str(fasta),), output=store, model=self.args.model)
        embed_to_store(request)
        print(f"\n{name}: {len(found)} proteins with a sequence of {len(ids)}", flush=True)
        return {"store": str(store), "sequences": str(fasta)}

    def run(self, title: str, place: dict[str, str], **reference: object) -> None:
        """Print a line for each reference and aspect."""
        request = EvaluateRequest(
            inputs=(place["store"],),
            sequences=place["sequences"],
            model=self.args.model,
            resamples=self.args.resamples,
            **reference,  # type: ignore[arg-type]
        )
        rows = defaultdict(list)
        for one in evaluate(request, EvaluateReport()):
            rows[one.reference, one.aspect].append(one)
        for (name, aspect), found in rows.items():
            first = found[0]
            print(f"{title}; {name} {aspect}: {first.pairs} pairs, {first.proteins} proteins")
            for one in found:
                print(
                    f"    {one.method:18s} {one.spearman:6.3f} [{one.low:.3f}, {one.high:.3f}]",
                    flush=True,
                )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--go", required=True)
    parser.add_argument("--uniprot", type=Path)
    parser.add_argument("--model", default="protclip-mini")
    parser.add_argument("--resamples", type=int, default=200)
    parser.add_argument("--sample", type=int, default=400)
    args = parser.parse_args()
    terms, seen = read_uniprot(args.uniprot) if args.uniprot else ({}, set())
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(args, Path(folder))
        for species, file in SPECIES.items():
            header, *rows = read_table(args.folder / file)
            place = bench.embed(species, {id for row in rows for id in row[:2]})
            for subset, unseen in (("all", False), ("unseen", True)) if seen else (("all", False),):
                kept = [row for row in rows if not (unseen and seen & set(row[:2]))]
                table = Path(folder) / "table.csv"
                table.write_text("".join(";".join(row) + "\n" for row in [header, *kept]))
                bench.run(f"{species}, {subset}", place, table=str(table))
                known = {id for row in kept for id in row[:2] if terms.get(id)}
                if known:
                    by_go(bench, f"{species}, {subset}", place, known, terms)
        annotated = read_yeast(args.folder / "goa_yeast.gaf.gz")
        place = bench.embed("yeast", set(annotated))
        bench.run(
            "yeast, all",
            place,
            annotations=str(args.folder / "goa_yeast.gaf.gz"),
            go=args.go,
            sample=args.sample,
        )
        if seen:
            unseen = {id for id in annotated if id not in seen}
            by_go(bench, "yeast, unseen", place, unseen, annotated)


def read_yeast(path: Path) -> dict[str, list[str]]:
    """GO terms of each protein of a GAF, without those that it does not have."""
    found: dict[str, list[str]] = defaultdict(list)
    with gzip.open(path, "rt") as file:
        for line in file:
            fields = line.split("\t")
            if not line.startswith("!") and "NOT" not in fields[3] and fields[6] != "ND":
                found[fields[1]].append(fields[4])
    return found


def by_go(
    bench: Bench, title: str, place: dict[str, str], ids: set[str], terms: dict[str, list[str]]
) -> None:
    """Compare with the terms of some proteins; information contents are those of them all."""
    path = bench.work / "terms.tsv"
    path.write_text("".join(f"{id}\t{term}\n" for id in sorted(ids) for term in terms[id]))
    bench.run(title, place, annotations=str(path), go=bench.args.go, sample=bench.args.sample)


if __name__ == "__main__":
    main()
