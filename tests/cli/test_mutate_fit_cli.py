"""``protclip mutate fit`` and ``predict`` at the shell."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest

from protclip_cli.commands.mutate.heads import FIT_COLUMNS, PREDICT_COLUMNS
from tests.support.helpers import random_proteins, write_fasta
from tests.support.terminal import one_error

((_, SEQUENCE),) = random_proteins(1, seed=3, shortest=25, longest=25)


@pytest.fixture
def mutate(protclip, tiny_bundle, tmp_path):
    """``mutate(*arguments)`` beside assay.csv, wt.fa and ask.tsv."""
    rng = np.random.default_rng(0)
    site = rng.normal(size=len(SEQUENCE))
    rows = [
        f"{old}{place + 1}{new},{site[place]:.4f},x"
        for place, old in enumerate(SEQUENCE)
        for new in "ADLW"
        if new != old
    ]
    (tmp_path / "assay.csv").write_text("mutant,fitness,note\n" + "\n".join(rows) + "\n")
    write_fasta(tmp_path / "wt.fa", [("p0", SEQUENCE)])
    text = f"variant\n{SEQUENCE[3]}4C\nnonsense\n{SEQUENCE[1]}2A:{SEQUENCE[3]}4C\n"
    (tmp_path / "ask.tsv").write_text(text)

    def run(*arguments, **options):
        fixed = ["--device", "cpu", "--model", tiny_bundle]
        return protclip("-q", "mutate", *arguments, *fixed, cwd=tmp_path, **options)

    return run


def test_fit_and_predict(mutate, protclip, tmp_path):
    fit = ("fit", "assay.csv", "--fasta", "wt.fa", "-o", "x.head", "--resamples", "20")
    done = mutate(*fit)
    assert (done.rc, done.err.count("error")) == (0, 0)
    assert done.out.splitlines()[0] == "\t".join(FIT_COLUMNS)
    rows = list(csv.DictReader(io.StringIO(done.out), delimiter="\t"))
    names = [(row["split"], row["predictor"]) for row in rows]
    kinds = ("head", "one-hot", "zero-shot")
    assert names == [(split, kind) for split in ("random", "position") for kind in kinds]
    assert all(-1 <= float(row["low"]) <= float(row["high"]) <= 1 for row in rows)
    one_error(mutate(*fit), 2, "x.head", "--overwrite")

    told = mutate("predict", "ask.tsv", "--head", "x.head")
    assert told.rc == 6 and told.out.splitlines()[0] == "\t".join(PREDICT_COLUMNS)
    one, bad, both = csv.DictReader(io.StringIO(told.out), delimiter="\t")
    assert (one["protein_id"], one["variant"]) == ("p0", f"{SEQUENCE[3]}4C")
    assert one["predicted_fitness"] and both["predicted_fitness"] and not one["reason"]
    assert bad["predicted_fitness"] == "" and "nonsense" in bad["reason"]
    piped = mutate(
        *("predict", "-", "--head", "x.head", "--format", "jsonl"),
        stdin=(tmp_path / "ask.tsv").read_bytes(),
    )
    first = json.loads(piped.out.splitlines()[0])
    assert first["predicted_fitness"] == pytest.approx(float(one["predicted_fitness"]))

    other = protclip(
        *("-q", "mutate", "predict", "ask.tsv", "--head", "x.head", "--model", "protclip-mini"),
        cwd=tmp_path,
    )
    one_error(other, 4, "x.head", "protclip-mini", "leans on")


def test_refusals(mutate, tmp_path):
    one_error(mutate("fit", "assay.csv", "-o", "y.head"), 2, "--fasta")
    (tmp_path / "y.head").write_bytes(b"no head")
    one_error(mutate("predict", "ask.tsv", "--head", "y.head"), 4, "y.head")
    (tmp_path / "few.csv").write_text(f"mutant,fitness\n{SEQUENCE[0]}1C,1\n")
    few = mutate("fit", "few.csv", "--fasta", "wt.fa", "-o", "z.head")
    one_error(few, 3, "few.csv", "1 variants")
    assert not (tmp_path / "z.head").exists()
