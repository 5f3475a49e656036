"""Scores of variants against measured ones, and the speed of a scan against its peer.

    python -m tests.benchmarks.mutate --proteingym DIR --clinvar DIR
    python -m tests.benchmarks.mutate --speed --threads 1

``--proteingym`` holds assays of single substitutions: ``ID.csv.gz`` (``mutant``, ``DMS_score``,
higher is fitter), ``ID.fasta`` (the wild type) and ``published_spearman.csv.gz`` (a column a
model, a row an assay). ``--clinvar`` holds ``clinvar_missense.csv.gz`` and
``sequences.fasta.gz``. Both are for measuring only: nothing is fitted on them.

The mean Spearman over assays has a 95 % interval from 10,000 resamplings of the assays, and
stands beside the difference from BLOSUM62, resampled in pairs. Figures that others published for
ESM-2 are larger models, and for some assays of other releases of the data: they give a scale.

``--speed`` scans a protein of 300 residues with random weights of a published ESM-2 shape, ours
against EsmForMaskedLM of transformers (SDPA), in batches of 8 masked copies and one at a time.
Variants run interleaved, medians are compared; with one thread the clock is processor time. The
share of the peak counts the operations of whole passes, whoever makes do with fewer.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import os
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from scipy.stats import rankdata, spearmanr

from protclip_core.encoders.kernels import choose_cpu_kernels, processor_name
from protclip_core.engines.masked import MaskedEngine
from protclip_core.io.fasta import read_fasta
from protclip_core.models.loading import load_model
from protclip_core.models.masked import MaskedReader
from protclip_core.tasks.mutate.scores import MarginalScorer, Method, Percentile, ProteinAsked
from protclip_core.variants import Variant, parse_variant
from protclip_core.variants.residues import LETTERS
from protclip_core.variants.substitution_prior import blosum62, prior_table, share_ratios
from tests.benchmarks.embed_speed import SHAPES, our_model, peak_gflops
from tests.unit.models.encoders import transformers_esm

#: Rows of the published table that are called otherwise than the assays.
PUBLISHED = {
    "A0A140D2T1_ZIKV_Sourisseau_growth_2019": "A0A140D2T1_ZIKV_Sourisseau_2019",
    "A4_HUMAN_Seuma_2021": "A4_HUMAN_Seuma_2022",
    "B3VI55_LIPST_Klesmith_2015": "LGK_LIPST_Klesmith_2015",
    "CAPSD_AAV2S_Sinai_substitutions_2021": "CAPSD_AAV2S_Sinai_2021",
    "CP2C9_HUMAN_Amorosi_abundance_2021": "CP2C9_HUMAN_Amorosi_2021_abundance",
    "CP2C9_HUMAN_Amorosi_activity_2021": "CP2C9_HUMAN_Amorosi_2021_activity",
    "DYR_ECOLI_Thompson_plusLon_2019": "DYR_ECOLI_Thompson_2019",
    "GCN4_YEAST_Staller_induction_2018": "GCN4_YEAST_Staller_2018",
    "MTH3_HAEAE_Rockah-Shmuel_2015": "MTH3_HAEAE_RockahShmuel_2015",
    "NRAM_I33A0_Jiang_standard_2016": "NRAM_I33A0_Jiang_2016",
    "P53_HUMAN_Giacomelli_NULL_Etoposide_2018": "P53_HUMAN_Giacomelli_2018_Null_Etoposide",
    "P53_HUMAN_Giacomelli_WT_Nutlin_2018": "P53_HUMAN_Giacomelli_2018_WT_Nutlin",
    "RL401_YEAST_Mavor_2016": "RL40A_YEAST_Mavor_2016",
    "RL401_YEAST_Roscoe_2014": "RL40A_YEAST_Roscoe_2014",
    "SPIKE_SARS2_Starr_bind_2020": "SPIKE_SARS2_Starr_2020_binding",
    "SPIKE_SARS2_Starr_expr_2020": "SPIKE_SARS2_Starr_2020_expression",
    "SRC_HUMAN_Ahler_CD_2019": "SRC_HUMAN_Ahler_2019",
    "TPOR_HUMAN_Bridgford_S505N_2020": "TPOR_HUMAN_Bridgford_2020",
    "VKOR1_HUMAN_Chiasson_abundance_2020": "VKOR1_HUMAN_Chiasson_2020_abundance",
}
PEERS = {"ESM-2 8M": "ESM2 (8M)", "ESM-2 35M": "ESM2 (35M)", "ESM-2 650M": "ESM2 (650M)"}
INDEX = {letter: i for i, letter in enumerate(LETTERS)}


def read_csv(path: Path) -> list[dict[str, str]]:
    """Rows of a gzipped CSV."""
    with gzip.open(path, "rt", newline="") as file:
        return list(csv.DictReader(file))


def table_scores(variants: list[Variant], table: np.ndarray) -> np.ndarray:
    """Score of each variant by a table of wild type and new residue, ``(20, 20)`` or wider."""
    return np.array(
        [sum(table[INDEX[a], INDEX[b]] for a, _, b in v.substitutions) for v in variants]
    )


class Scorers:
    """The scores that are compared; masked and wild-type marginals of a sequence are kept."""

    def __init__(self, model: str, workers: int) -> None:
        self.name = model
        self.engine = MaskedEngine(MaskedReader(load_model(model, device="cpu")), workers=workers)

    def score(self, sequence: str, variants: list[Variant]) -> dict[str, np.ndarray]:
        """Scores of the variants of one protein by all that are compared."""
        asked = ProteinAsked(sequence, tuple(variants), 0, Percentile.NONE)
        found = {"BLOSUM62": table_scores(variants, blosum62())}
        prior = table_scores(variants, prior_table())
        for method in (Method.MASKED, Method.WILD_TYPE):
            raw = MarginalScorer(self.engine, method).score(asked).scores
            found[f"{self.name} {method}"] = raw
            found[f"{self.name} {method} + prior"] = raw + prior
        # The prior by itself: what was taken off for the shares of residues put back.
        found["prior alone"] = prior + table_scores(variants, share_ratios())
        return found


def interval(values: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """95 % of the means of 10,000 resamplings."""
    drawn = np.random.default_rng(seed).integers(0, len(values), (10_000, len(values)))
    low, high = np.quantile(values[drawn].mean(axis=1), [0.025, 0.975])
    return float(low), float(high)


def proteingym(folder: Path, scorers: Scorers) -> None:
    """Print the mean Spearman of each score over the assays."""
    published = {row["DMS ID"]: row for row in read_csv(folder / "published_spearman.csv.gz")}
    rows: dict[str, list[float]] = {}
    missing, number = 0, 0
    paths = sorted(p for p in folder.glob("*.csv.gz") if not p.name.startswith("published"))
    for path in paths:
        id = path.name.removesuffix(".csv.gz")
        (protein,) = read_fasta(folder / f"{id}.fasta")
        assay = read_csv(path)
        variants = [parse_variant(row["mutant"]) for row in assay]
        measured = np.array([float(row["DMS_score"]) for row in assay])
        number += len(assay)
        for name, scores in scorers.score(protein.sequence, variants).items():
            rows.setdefault(name, []).append(float(spearmanr(scores, measured)[0]))
        row = published.get(PUBLISHED.get(id, id))
        missing += row is None
        for name, column in PEERS.items():
            value = float("nan") if row is None else float(row[column])
            rows.setdefault(f"{name} (published)", []).append(value)
    print(f"{len(paths)} assays, {number:,} variants; {missing} without a published figure")
    print(f"{'score':<44}{'Spearman':>9}{'95 %':>18}{'less BLOSUM62':>15}{'95 %':>18}")
    base = np.array(rows["BLOSUM62"])
    for name, values in rows.items():
        own = np.array(values)
        known = np.isfinite(own)
        (low, high), gain = interval(own[known]), (own - base)[known]
        below, above = interval(gain)
        print(
            f"{name:<44}{own[known].mean():>9.3f}{f'{low:.3f} to {high:.3f}':>18}"
            f"{gain.mean():>+15.3f}{f'{below:+.3f} to {above:+.3f}':>18}"
        )


def auroc(scores: np.ndarray, harmful: np.ndarray) -> float:
    """Chance that a harmful variant scores lower than a harmless one; ties count half."""
    ranks = rankdata(-scores)
    positive = int(harmful.sum())
    wins = ranks[harmful].sum() - positive * (positive + 1) / 2
    return float(wins / (positive * (len(scores) - positive)))


def clinvar(folder: Path, scorers: Scorers) -> None:
    """Print the AUROC over all variants together."""
    sequences = {r.id: r.sequence for r in read_fasta(folder / "sequences.fasta.gz")}
    by_protein: dict[str, list[tuple[Variant, bool]]] = {}
    for row in read_csv(folder / "clinvar_missense.csv.gz"):
        variant = parse_variant(row["mutations"])
        by_protein.setdefault(row["protein_name"], []).append(
            (variant, float(row["ClinVar_labels"]) > 0.5)
        )
    found: dict[str, list[np.ndarray]] = {}
    labels: list[bool] = []
    for name, rows in by_protein.items():
        fitting = [(v, label) for v, label in rows if v.fault(sequences[name]) is None]
        labels += [label for _, label in fitting]
        for score, values in scorers.score(sequences[name], [v for v, _ in fitting]).items():
            found.setdefault(score, []).append(values)
    harmful = np.array(labels)
    left_out = sum(map(len, by_protein.values())) - len(harmful)
    print(
        f"ClinVar: {len(harmful):,} variants ({harmful.sum():,} pathogenic) of "
        f"{len(by_protein):,} proteins; {left_out} do not fit their sequence"
    )
    for name, parts in found.items():
        print(f"{name:<44}{auroc(np.concatenate(parts), harmful):>9.3f}")


def speed(arguments: argparse.Namespace) -> None:
    """Print seconds of a scan of 300 residues, ours and the peer's."""
    torch.set_num_threads(arguments.threads)
    clock = time.process_time if arguments.threads == 1 else time.perf_counter
    shape = SHAPES[arguments.shape]
    reference = transformers_esm(*shape)
    model = our_model(reference, shape)
    sequence = "".join(random.Random(0).choices("ACDEFGHIKLMNPQRSTVWY", k=300))
    places = range(0, 300, 300 // arguments.places)
    reader = MaskedReader(model)
    jobs = [reader.jobs(sequence, (place,))[0] for place in places]
    tokens = torch.from_numpy(np.stack([job.tokens for job in jobs]).astype(np.int64))
    where = torch.tensor([job.places[0] for job in jobs])
    columns = [model.residue_tokens.index(letter) for letter in LETTERS]

    def peer(size: int) -> Callable[[], np.ndarray]:
        @torch.inference_mode()
        def run() -> np.ndarray:
            parts = []
            for rows, own in zip(tokens.split(size), where.split(size), strict=True):
                logits = reference(input_ids=rows).logits
                parts.append(torch.log_softmax(logits[torch.arange(len(own)), own], dim=-1))
            return torch.cat(parts)[:, columns].numpy()

        return run

    def ours() -> np.ndarray:
        with MaskedEngine(reader, workers=1) as engine:
            return np.concatenate(engine.run(jobs))

    variants = {
        "transformers, batches of 8 masks": peer(8),
        "transformers, one mask at a time": peer(1),
        "protclip": ours,
    }
    expected = variants["transformers, one mask at a time"]()
    error = float(np.abs(ours() - expected).max())
    peak = peak_gflops(clock)
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for repeat in range(arguments.repeats):
        for name in list(variants) if repeat % 2 == 0 else reversed(list(variants)):
            start = clock()
            variants[name]()
            seconds[name].append(clock() - start)
    peak = max(peak, peak_gflops(clock))
    scale = 300 / len(jobs)
    work = model.encoder.config.flops(302) * len(jobs) / 1e9
    median = {name: statistics.median(times) for name, times in seconds.items()}
    print(f"{processor_name()}, {choose_cpu_kernels()}, {arguments.threads} thread(s), load "
          f"{os.getloadavg()[0]:.1f}, peak {peak:.0f} GFLOP/s")  # fmt: skip
    print(
        f"{arguments.shape}, 300 residues, {len(jobs)} of 300 places, "
        f"largest difference {error:.0e}"
    )
    print(f"{'':<36}{'full scan':>11}{'ours is':>10}{'of peak':>9}")
    for name, taken in median.items():
        ratio = f"{taken / median['protclip']:.2f}x"
        print(f"{name:<36}{taken * scale:>9.1f} s{ratio:>10}{work / taken / peak:>9.0%}")


def main() -> None:
    """Read the options and print what they ask for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--proteingym", type=Path, metavar="DIR")
    parser.add_argument("--clinvar", type=Path, metavar="DIR")
    parser.add_argument("--model", default="protclip-mini")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--speed", action="store_true")
    parser.add_argument("--shape", choices=SHAPES, default="8M")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--places", type=int, default=60, help="places of the scan that are timed")
    arguments = parser.parse_args()
    if arguments.speed:
        speed(arguments)
    if arguments.proteingym or arguments.clinvar:
        scorers = Scorers(arguments.model, arguments.workers)
        with scorers.engine:
            if arguments.proteingym:
                proteingym(arguments.proteingym, scorers)
            if arguments.clinvar:
                clinvar(arguments.clinvar, scorers)


if __name__ == "__main__":
    main()
