"""Do a model's vectors know more than which residues a protein is made of?

    python tests/benchmarks/probe.py --train train.tsv.gz --test test.tsv.gz --model protclip-mini

The tables have the columns ``sequence`` and ``localization`` (PEER's form of DeepLoc: binary is
membrane-bound or soluble). Logistic regression on the vectors, beside the same on three baselines
that any model has to beat: the most frequent label, the shares of the 20 residues, and the vectors
of the same network with random weights. Prints accuracy with its standard error.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import math
import random
from pathlib import Path

import numpy as np
import torch

from protclip_core.encoders.esm2 import Esm2, Esm2Config
from protclip_core.encoders.esm2_inference import Esm2Inference
from protclip_core.engines.local import LocalEngine
from protclip_core.models.info import ModelInfo, describe_model
from protclip_core.models.loading import load_model
from protclip_core.models.protein import ProteinModel
from protclip_core.models.settings import resolve_settings

RESIDUES = "LAGVSERTIDPKQNFYMHWC"


def read(path: Path, count: int, seed: int) -> tuple[list[str], np.ndarray]:
    """Read a seeded sample of a table: sequences and labels."""
    with gzip.open(path, "rt") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    rows = random.Random(seed).sample(rows, min(count, len(rows)))
    return [row["sequence"] for row in rows], np.array([row["localization"] for row in rows])


def vectors(model: ProteinModel, sequences: list[str], space: str) -> np.ndarray:
    """Embed, on all cores."""
    settings = resolve_settings(model.info, model.encoder.num_layers, space=space)
    found = np.empty((len(sequences), model.dim(settings)), np.float32)
    with LocalEngine(model) as engine:
        for index, result in engine.run(sequences, settings):
            if isinstance(result, str):
                raise SystemExit(f"sequence {index}: {result}")
            found[index] = result.vector
    return found


def untrained(info: ModelInfo) -> ProteinModel:
    """Build the same network with PyTorch's random weights."""
    torch.manual_seed(0)
    assert isinstance(info.encoder, Esm2Config)
    return ProteinModel(info, Esm2Inference(Esm2(info.encoder)), "0" * 64)


def shares(sequences: list[str]) -> np.ndarray:
    """Shares of the 20 residues, ``(N, 20)``."""
    return np.array([[s.count(r) / len(s) for r in RESIDUES] for s in sequences])


def main() -> None:
    """Print the table."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--train", type=Path, required=True)
    parser.add_argument("--test", type=Path, required=True)
    parser.add_argument("--model", default="protclip-mini")
    parser.add_argument("--count", type=int, default=2000, help="proteins of each table at most")
    arguments = parser.parse_args()
    (train, y_train), (test, y_test) = (
        read(path, arguments.count, seed=1) for path in (arguments.train, arguments.test)
    )
    model = load_model(arguments.model)
    features = {"residue shares": (shares(train), shares(test))}
    random_model = untrained(describe_model(arguments.model))
    features["random weights"] = tuple(vectors(random_model, s, "encoder") for s in (train, test))
    features["encoder"] = tuple(vectors(model, s, "encoder") for s in (train, test))
    if model.info.joint_dim:
        features["joint space"] = tuple(vectors(model, s, "joint") for s in (train, test))

    labels, counts = np.unique(y_train, return_counts=True)
    frequent = float((y_test == labels[counts.argmax()]).mean())
    print(f"{len(train)} training and {len(test)} test proteins, {len(labels)} labels")
    print(f"{'most frequent label':<22}{frequent:.3f}")
    for name, (x_train, x_test) in features.items():
        probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=300))
        accuracy = float((probe.fit(x_train, y_train).predict(x_test) == y_test).mean())
        error = math.sqrt(accuracy * (1 - accuracy) / len(test))
        print(f"{name:<22}{accuracy:.3f} +- {error:.3f}")


if __name__ == "__main__":
    main()
