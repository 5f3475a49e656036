"""Make what tells how sure a term of GO is for a protein, and put it into a bundle.

    python -m train.release.go_reliability --data uniprot_pairs.jsonl.gz --bundle protclip-mini

Centres are those of the vectors of split ``train``; the rest is fitted on split ``valid`` and
measured on split ``test``, over terms of probability 0.3 or more, by quarters of the proteins from
far to near. Figures are printed as JSON.

Legend: N proteins, P joint width, E pairs.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from protclip_cli.progress import make_progress
from protclip_core.io.atomic import write_atomic
from protclip_core.io.streams import open_input
from protclip_core.measure.calibration import logit, sigmoid
from protclip_core.models.info import describe_model
from protclip_core.models.loading import load_model
from protclip_core.terms.domain import LEAST_RESIDUES
from protclip_core.terms.index import GoIndex
from protclip_core.terms.index_file import find_go_index
from protclip_core.terms.reliability import RELIABILITY_FILE, Reliability, reliability_bytes
from protclip_core.terms.scores import BLOCK_PROTEINS, GoScorer
from protclip_core.weights.bundle import MANIFEST, open_bundle
from train.loop.terminal import guarded, start_program
from train.release.go_index import embed_unit

__all__ = ["Listed", "fit_reliability", "main", "measure_reliability"]

_CENTRES, _LEAST = 256, 0.3


@dataclass(frozen=True, eq=False)
class Listed:
    """Terms that are listed for proteins with a term of the aspect, ``(E,)`` each.

    Attributes
    ----------
    rows, aspects, log_odds, right
        Place of the protein, aspect of the term, its log odds, and whether the protein has it.
    """

    rows: np.ndarray
    aspects: np.ndarray
    log_odds: np.ndarray
    right: np.ndarray

    @classmethod
    def of(cls, index: GoIndex, vectors: np.ndarray, annotations: Sequence[np.ndarray]) -> Listed:
        """List those of unit vectors ``(N, P)``, whose terms are propagated."""
        scorer, parts = GoScorer(index), []
        for start in range(0, len(vectors), BLOCK_PROTEINS):
            found = scorer.above(vectors[start : start + BLOCK_PROTEINS], logit(_LEAST))
            parts.append((found.rows + start, found.terms, found.log_odds))
        rows, terms, odds = (np.concatenate(part) for part in zip(*parts))
        aspects = index.ontology.aspects[terms].astype(np.int64)
        size, part_of = len(index), index.ontology.aspects.astype(np.int64)
        own = [np.asarray(some, dtype=np.int64) for some in annotations]
        keys = np.concatenate([row * size + some for row, some in enumerate(own)])
        known = np.concatenate([row * 3 + part_of[some] for row, some in enumerate(own)])
        kept = np.isin(rows * 3 + aspects, known)
        right = np.isin(rows * size + terms, keys)
        return cls(rows[kept], aspects[kept], odds[kept], right[kept])


def fit_reliability(
    train: np.ndarray, index: GoIndex, vectors: np.ndarray, annotations: Sequence[np.ndarray]
) -> Reliability:
    """Fit it.

    Parameters
    ----------
    train
        Unit vectors of proteins that the model learned from, ``(N, P)``.
    index
        The terms.
    vectors, annotations
        Unit vectors of proteins that it has not seen, and their terms, propagated, no roots.
    """
    from sklearn.cluster import MiniBatchKMeans
    from sklearn.linear_model import LogisticRegression

    number = min(_CENTRES, len(train))
    groups = MiniBatchKMeans(number, random_state=0, batch_size=4096, n_init=1).fit(train)
    centres = groups.cluster_centers_.astype(np.float32)
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    found = Reliability(centres, np.zeros((3, 4)), index.weights_sha256)
    near, listed = found.nearness(vectors), Listed.of(index, vectors, annotations)
    for aspect in range(3):
        here = listed.aspects == aspect
        x, n = listed.log_odds[here], near[listed.rows[here]]
        middle, spread = n.mean(), n.std() or 1.0
        away = (n - middle) / spread
        fitted = LogisticRegression().fit(np.stack([x, away, x * away], 1), listed.right[here])
        b, c, d = fitted.coef_[0]
        c, d = c / spread, d / spread
        found.weights[aspect] = fitted.intercept_[0] - c * middle, b - d * middle, c, d
    return found


def measure_reliability(
    one: Reliability, index: GoIndex, vectors: np.ndarray, annotations: Sequence[np.ndarray]
) -> list[dict[str, float]]:
    """Return, by quarters of the proteins from far to near, what is said and what is right."""
    near, listed = one.nearness(vectors), Listed.of(index, vectors, annotations)
    said = one.of(listed.log_odds, listed.aspects, near[listed.rows])
    edges = np.quantile(near, [0, 0.25, 0.5, 0.75, 1])
    quarter = np.clip(np.searchsorted(edges, near, side="right") - 1, 0, 3)[listed.rows]
    return [
        {
            "terms": int((quarter == q).sum()),
            "probability": float(sigmoid(listed.log_odds[quarter == q]).mean()),
            "reliability": float(said[quarter == q].mean()),
            "right": float(listed.right[quarter == q].mean()),
        }
        for q in range(4)
    ]


def main(argv: list[str] | None = None) -> int:
    """Parse the command line, fit, measure, and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m train.release.go_reliability", description=__doc__
    )
    parser.add_argument("--data", required=True, type=Path, help="pairs with terms and splits")
    parser.add_argument("--bundle", required=True, type=Path, help="directory of the bundle")
    args = parser.parse_args(argv)
    start_program()
    return guarded(lambda: _run(args), kept="the bundle is as it was")


def _run(args: argparse.Namespace) -> None:
    index = find_go_index(describe_model(args.bundle))
    model, progress = load_model(str(args.bundle), device="cpu"), make_progress(quiet=False)
    vectors, terms = {}, {}
    for split, records in _read(args.data).items():
        vectors[split] = embed_unit(model, [one["sequence"] for one in records], progress)
        own = [index.ontology.resolve_all(one["go"]).terms for one in records]
        terms[split] = [index.ontology.propagate(t[t >= 0], roots=False) for t in own]
    one = fit_reliability(vectors["train"], index, vectors["valid"], terms["valid"])
    figures = {
        split: measure_reliability(one, index, vectors[split], terms[split])
        for split in ("valid", "test")
    }
    _add(one, args.bundle)
    print(json.dumps(figures, indent=2))


def _read(path: Path) -> dict[str, list[dict[str, Any]]]:
    """Read the proteins with terms of GO that are in the domain of probabilities."""
    found: dict[str, list[dict[str, Any]]] = {"train": [], "valid": [], "test": []}
    with open_input(path) as file:
        for line in file:
            entry = json.loads(line)
            usable = entry.get("go") and len(entry["sequence"]) >= LEAST_RESIDUES
            if entry["split"] in found and usable:
                found[entry["split"]].append({n: entry[n] for n in ("sequence", "go")})
    return found


def _add(one: Reliability, folder: Path) -> None:
    """Put the file into the bundle; its manifest is written last."""
    path, data = open_bundle(folder).path, reliability_bytes(one)
    content = json.loads((path / MANIFEST).read_bytes())
    write_atomic(path / RELIABILITY_FILE, data)
    told = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    content["files"] = dict(sorted((content["files"] | {RELIABILITY_FILE: told}).items()))
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    write_atomic(path / MANIFEST, text.encode())


if __name__ == "__main__":
    sys.exit(main())
