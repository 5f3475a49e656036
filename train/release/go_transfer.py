"""Fit how much annotated relatives add to the text, for ``protclip annotate --annotations``.

    python -m train.release.go_transfer --bundle protclip-mini --data uniprot_pairs.jsonl.gz \
        [--aligner mmseqs]

Relatives are proteins of split ``train``, the annotated ones are those of split ``valid``: for
each aspect and each kind of evidence the weights of `protclip_core.terms.transfer` are fitted
on the pairs of protein and term that come into question, by logistic regression. They are written
into the bundle, whose manifest then names them, and printed as JSON.

Legend: N proteins, P joint width, E pairs of a protein and a term, F features.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from protclip_cli.progress import make_progress
from protclip_core.engines.local import usable_cores
from protclip_core.errors import InputError, ModelError
from protclip_core.io.aligners import Aligner, Hit, align, find_aligner
from protclip_core.measure.calibration import sigmoid
from protclip_core.measure.nearest import nearest
from protclip_core.models.info import describe_model
from protclip_core.models.loading import load_model
from protclip_core.ontology.ontology import Ontology
from protclip_core.ontology.reference import Carried
from protclip_core.ontology.terms import ASPECTS
from protclip_core.progress import Progress
from protclip_core.terms.calibration import AspectCalibration
from protclip_core.terms.combine import Pairs, gather
from protclip_core.terms.fit import fit_knots
from protclip_core.terms.index_file import find_go_index
from protclip_core.terms.scores import BLOCK_PROTEINS, GoScorer
from protclip_core.terms.transfer import (
    KINDS,
    LEAST_TEXT,
    KindWeights,
    TransferRule,
    TransferWeights,
    add_transfer,
    sets_of,
)
from protclip_core.terms.votes import MOST_HOMOLOGS, MOST_NEIGHBOURS, count_votes
from protclip_core.vectors.relatives import (
    Relative,
    as_relatives,
    homolog_votes,
    neighbour_votes,
)
from protclip_core.weights.bundle import open_bundle
from train.data.annotated import read_annotated
from train.loop.terminal import guarded, start_program
from train.release.go_index import embed_unit

__all__ = ["fit_rule", "fit_transfer", "main"]

#: Pull of the weights to 0, as if by so many of a million pairs.
_PULL = 1e-4
#: Log odds from which on the monotone step is fitted.
_LEAST = -6.9


def main(argv: list[str] | None = None) -> int:
    """Parse the command line, fit, write, and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m train.release.go_transfer", description=__doc__
    )
    parser.add_argument("--bundle", required=True, type=Path, help="directory of the bundle")
    parser.add_argument("--data", required=True, type=Path, help="pairs with GO terms and splits")
    parser.add_argument("--aligner", default="auto", help="auto, diamond or mmseqs")
    parser.add_argument("--threads", type=int, help="of the aligner; default one a core")
    args = parser.parse_args(argv)
    start_program()
    return guarded(lambda: _run(args), kept="the bundle is as it was")


def _run(args: argparse.Namespace) -> None:
    weights = fit_transfer(
        args.bundle,
        args.data,
        find_aligner(args.aligner),
        threads=args.threads,
        progress=make_progress(quiet=False),
    )
    add_transfer(weights, open_bundle(args.bundle))
    print(weights.to_bytes().decode(), end="")


def fit_transfer(
    bundle_dir: Path,
    data: Path,
    aligner: Aligner,
    *,
    threads: int | None = None,
    progress: Progress | None = None,
) -> TransferWeights:
    """Fit the rules of all sets of kinds.

    Parameters
    ----------
    bundle_dir
        A bundle with a calibrated index of GO.
    data
        JSON Lines with ``sequence``, ``split`` and ``go``.
    aligner, threads
        For homology.
    progress
        Told of proteins.

    Raises
    ------
    ModelError
        A bundle without a calibrated index.
    InputError
        Data that cannot be read, or without a protein for one of the rules.
    """
    info = describe_model(str(bundle_dir))
    index = find_go_index(info)
    if index.calibration is None:
        raise ModelError(
            "has no calibration",
            code="model.no_calibration",
            where=index.source,
            hint="run train.release.go_index first",
        )
    splits = read_annotated(data, index.ontology, ("train", "valid"))
    train, valid = splits["train"], splits["valid"]
    hits = align(aligner, valid.sequences, train.sequences, threads=threads or usable_cores())
    model = load_model(str(bundle_dir), device="cpu")
    reference = embed_unit(model, train.sequences, progress)
    vectors = embed_unit(model, valid.sequences, progress)
    near = nearest(vectors, reference, MOST_NEIGHBOURS)
    votes = {
        "neighbours": neighbour_votes(near, len(train.carried)),
        "homology": _by_query(hits, len(vectors)),
    }
    scorer = GoScorer(index)
    blocks = _blocks(scorer, vectors, votes, train.carried)
    right = [_right(pairs, valid.terms, start) for start, pairs in blocks]
    rules = {}
    for kinds in sets_of(KINDS):
        rules[kinds] = tuple(
            _fit_aspect(blocks, right, valid.terms, index.ontology, kinds, aspect)
            for aspect in range(len(ASPECTS))
        )
    told = {
        "reference": f"{len(train.terms):,} proteins of split train",
        "proteins": f"{len(valid.terms):,} of split valid",
        "aligner": str(aligner),
        "go_release": index.release,
    }
    return TransferWeights(rules, open_bundle(bundle_dir).weights_sha256, told)


def _by_query(hits: Sequence[Hit], queries: int) -> list[list[Relative]]:
    """Sort hits by query, the best few of each."""
    found: list[list[Hit]] = [[] for _ in range(queries)]
    for hit in hits:
        found[hit.query].append(hit)
    return [homolog_votes(own[:MOST_HOMOLOGS]) for own in found]


def _blocks(
    scorer: GoScorer,
    vectors: np.ndarray,
    votes: dict[str, list[list[Relative]]],
    carried: Carried,
) -> list[tuple[int, Pairs]]:
    """Return the pairs that come into question, block by block, with the first protein of each."""
    found = []
    aspects = scorer.ontology.aspects
    for start in range(0, len(vectors), BLOCK_PROTEINS):
        part = vectors[start : start + BLOCK_PROTEINS]
        counted = {}
        for kind, lists in votes.items():
            own = lists[start : start + len(part)]
            relatives = as_relatives([one for each in own for one in each], [len(o) for o in own])
            counted[kind] = count_votes(relatives, carried, len(part), aspects)
        text = scorer.above(part, LEAST_TEXT)
        found.append((start, gather(text, counted, aspects)))
    return found


def _right(pairs: Pairs, annotations: Sequence[np.ndarray], start: int) -> np.ndarray:
    """Tell which pairs are annotated, ``(E,)`` bool."""
    found = np.zeros(len(pairs.rows), dtype=bool)
    bounds = np.searchsorted(pairs.rows, np.arange(pairs.rows.max(initial=-1) + 2)).tolist()
    for row, (first, last) in enumerate(zip(bounds, bounds[1:])):
        found[first:last] = np.isin(pairs.terms[first:last], annotations[start + row])
    return found


def _fit_aspect(
    blocks: Sequence[tuple[int, Pairs]],
    right: Sequence[np.ndarray],
    annotations: Sequence[np.ndarray],
    ontology: Ontology,
    kinds: tuple[str, ...],
    aspect: int,
) -> TransferRule:
    """Fit on the proteins with a term of the aspect and such a relative of each kind."""
    annotated = np.array([bool((ontology.aspects[own] == aspect).any()) for own in annotations])
    columns: list[np.ndarray] = []
    truth, proteins = [], 0
    for (start, pairs), own in zip(blocks, right):
        usable = np.logical_and.reduce([pairs.trust[kind][:, aspect] > 0 for kind in kinds])
        usable &= annotated[start : start + len(usable)]
        proteins += int(usable.sum())
        here = np.flatnonzero(usable[pairs.rows] & (ontology.aspects[pairs.terms] == aspect))
        parts = [pairs.evidence[kind].at(here).features() for kind in kinds]
        text = np.maximum(pairs.text[here], LEAST_TEXT)
        columns.append(np.stack([text, *(one for part in parts for one in part)]))
        truth.append(own[here])
    features, correct = np.concatenate(columns, axis=1), np.concatenate(truth)
    if not correct.any():
        raise InputError(
            f"no protein of split valid has a relative and a term of aspect {ASPECTS[aspect]}",
            code="input.nothing_to_fit",
            hint="give more annotated proteins",
        )
    weights = fit_rule(features, correct)
    odds = weights[:-1] @ features + weights[-1]
    likely = odds >= _LEAST
    knots = fit_knots(odds[likely], correct[likely])
    each = [KindWeights(*weights[1 + 3 * n : 4 + 3 * n]) for n in range(len(kinds))]
    step = AspectCalibration(knots=knots, proteins=proteins)
    return TransferRule(weights[0], tuple(each), weights[-1], step)


def fit_rule(features: np.ndarray, right: np.ndarray) -> list[float]:
    """Fit a logistic regression whose weights are not negative.

    Parameters
    ----------
    features
        Of each pair, ``(F, E)``.
    right
        Whether it is annotated, ``(E,)``.

    Returns
    -------
    list of float
        Weights of the features and the offset, ``F + 1``.
    """
    from scipy.optimize import minimize

    table = np.concatenate([features, np.ones((1, len(right)))])
    # Features of one size make the search short.
    sizes = np.append(np.maximum(features.std(axis=1), 1e-3), 1.0)
    table /= sizes[:, None]
    target = right.astype(np.float64)
    pull = np.append(np.full(len(features), _PULL), 0.0)

    def loss(values: np.ndarray) -> tuple[float, np.ndarray]:
        odds = values @ table
        each = np.logaddexp(0.0, odds) - target * odds
        slope = table @ (sigmoid(odds) - target) / len(target) + 2 * pull * values
        return float(each.mean() + pull @ values**2), slope

    bounds = [(0.0, None)] * len(features) + [(None, None)]
    options = {"maxiter": 1000, "ftol": 1e-13, "gtol": 1e-8}
    start = np.zeros(len(table))
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    weights: list[float] = (found.x / sizes).tolist()
    return weights


if __name__ == "__main__":
    sys.exit(main())
