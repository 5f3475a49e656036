"""Heads on measured variants: Spearman on held-out ones, beside one-hot and the zero-shot score.

    python -m tests.benchmarks.mutate_fit --assay A.csv.gz A.fasta --assay B.csv B.fasta

Each assay is what ``protclip mutate fit ASSAY --fasta WT`` takes; the splits and intervals are
those that the command prints. Heads go to a temporary folder and are not kept. ``--kind`` gives
the same with a ridge or a Gaussian process where the command would choose the other.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from protclip_core.models.info import DEFAULT_MODEL
from protclip_core.tasks.mutate.fit import fit
from protclip_core.tasks.mutate.request import FitRequest


def main() -> None:
    """Print a row for each assay, split and predictor."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--assay", nargs=2, action="append", required=True, metavar="FILE")
    parser.add_argument("--kind", default="auto")
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--embeddings", help="a store of the mutants of the only assay")
    parser.add_argument("--max-rows", type=int, default=5000)
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    print("assay\tkind\tsplit\tpredictor\tspearman\tlow\thigh\ttrain\ttest\tseconds")
    for table, fasta in options.assay:
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            report = fit(
                FitRequest(
                    assay=table,
                    fasta=fasta,
                    output=Path(folder, "x.head"),
                    kind=options.kind,
                    model=options.model,
                    embeddings=options.embeddings,
                    max_rows=options.max_rows,
                    workers=options.workers,
                )
            )
            seconds = time.perf_counter() - start
        name = Path(table).name.partition(".")[0]
        for one in report.scores:
            found = one.spearman
            print(
                f"{name}\t{report.card.fit['kind']}\t{one.split}\t{one.predictor}\t"
                f"{found.value:.3f}\t{found.low:.3f}\t{found.high:.3f}\t{one.train}\t{one.test}\t"
                f"{seconds:.0f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
