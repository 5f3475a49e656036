"""Give a bundle the index of GO that ``protclip annotate --go`` needs, calibrated.

    python -m train.release.go_index --bundle protclip-mini --data uniprot_pairs.jsonl.gz \
        --go go_terms.tsv.gz --run-dir runs/mini [--diagram reliability.png]

Priors are the shares of the training proteins that carry a term; probabilities are fitted on split
``valid`` and measured on both held-out splits. Figures are printed as JSON, and the index is
written into the bundle, whose manifest then names it.

Legend: N proteins, G terms, P joint width.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from protclip_cli.progress import make_progress
from protclip_core.engines.local import LocalEngine
from protclip_core.errors import ModelError
from protclip_core.measure.calibration import calibration_error, sigmoid
from protclip_core.measure.false_discovery import FalseDiscovery
from protclip_core.measure.fmax import fmax
from protclip_core.models.loading import load_model, load_text_model
from protclip_core.models.protein import ProteinModel
from protclip_core.models.settings import resolve_settings
from protclip_core.progress import Progress
from protclip_core.terms.build import build_go_index
from protclip_core.terms.fit import fit_calibration
from protclip_core.terms.index import TEMPLATES, GoIndex
from protclip_core.terms.index_file import add_to_bundle
from protclip_core.terms.releases import read_go
from protclip_core.terms.scores import GoScorer
from protclip_core.weights.bundle import open_bundle
from train.config.run import load_saved_config
from train.data.annotated import Annotated, read_annotated
from train.data.go_bank import log_odds
from train.loop import checkpoint
from train.loop.terminal import guarded, start_program
from train.release.reliability import draw_reliability

__all__ = ["add_index", "embed_unit", "main", "measure"]

#: Columns without a probability above this, and without a true protein, do not change Fmax.
_NEGLIGIBLE = 1e-3
_FDR = 0.1


def main(argv: list[str] | None = None) -> int:
    """Parse the command line, make the index, measure, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m train.release.go_index", description=__doc__)
    parser.add_argument("--bundle", required=True, type=Path, help="directory of the bundle")
    parser.add_argument("--data", required=True, type=Path, help="pairs with GO terms and splits")
    parser.add_argument("--go", required=True, type=Path, help="table of GO, or an OBO file")
    parser.add_argument("--run-dir", type=Path, help="run that made the bundle, for its scale")
    parser.add_argument("--template", choices=TEMPLATES, help="default: as the run, else both")
    parser.add_argument("--diagram", type=Path, help="picture of the reliability on test")
    args = parser.parse_args(argv)
    start_program()
    return guarded(lambda: _run(args), kept="the bundle is as it was")


def _run(args: argparse.Namespace) -> None:
    figures = add_index(
        args.bundle,
        args.data,
        args.go,
        run_dir=args.run_dir,
        template=args.template,
        diagram=args.diagram,
        progress=make_progress(quiet=False),
    )
    print(json.dumps(figures, indent=2))


def add_index(
    bundle_dir: Path,
    data: Path,
    go: Path,
    *,
    run_dir: Path | None = None,
    template: str | None = None,
    diagram: Path | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Make an index with priors and a calibration, write it into a bundle, and measure it.

    Parameters
    ----------
    bundle_dir
        The bundle; gets the index.
    data
        JSON Lines with ``sequence``, ``split`` and ``go``.
    go
        Release of GO, with definitions unless the template is ``"name"``.
    run_dir
        Run that made the bundle: its checkpoint has the scale of GO; without it, the bundle's
        own scale is taken.
    template
        Text of a term; default that of the run, else ``"both"``.
    diagram
        Picture file for the reliability on split test.
    progress
        Told of texts and proteins.

    Returns
    -------
    dict
        Release, terms, scale, calibration, and the figures of ``valid`` and ``test``.

    Raises
    ------
    InputError, ModelError
        Data, a bundle or a run that cannot be used, or that do not belong together.
    """
    bundle = open_bundle(bundle_dir)
    ontology = read_go(go)
    chosen, scale = _of_run(run_dir)
    splits = read_annotated(data, ontology, ("train", "valid", "test"), bare=("train",))
    model = load_model(str(bundle_dir), device="cpu")
    if scale is None:
        scale = math.exp(float(getattr(model, "logit_scale", 0.0)))
    index = build_go_index(
        load_text_model(str(bundle_dir), device="cpu"),
        ontology,
        template=template or chosen or "both",
        log_prior=_log_prior(splits["train"], len(ontology)),
        go_scale=scale,
        progress=progress,
    )
    held = {name: embed_unit(model, splits[name].sequences, progress) for name in ("valid", "test")}
    index = replace(index, calibration=fit_calibration(index, held["valid"], splits["valid"].terms))
    figures: dict[str, Any] = {
        "release": index.release,
        "terms": len(index),
        "template": index.template,
        "go_scale": scale,
        "train_proteins": len(splits["train"].terms),
    }
    assert index.calibration is not None
    for name, one in zip(index.ontology.aspect_names, index.calibration.aspects):
        figures[f"calibration_{name.lower()}"] = one.to_dict()
    for name, vectors in held.items():
        figures[name], pairs = measure(index, vectors, splits[name].terms)
        if name == "test" and diagram is not None:
            draw_reliability(pairs, diagram)
    add_to_bundle(index, bundle)
    return figures


def _of_run(run_dir: Path | None) -> tuple[str | None, float | None]:
    """Return the text of terms and the scale that a run was trained with."""
    if run_dir is None:
        return None, None
    config = load_saved_config(run_dir / "config.json")
    tensors = checkpoint.read_tensors(checkpoint.find(run_dir) / "model.safetensors")
    scale = tensors.get("objectives.go.logit_scale")
    if scale is None:
        raise ModelError(
            "was trained without GO, so it has no scale for it",
            code="model.no_scale",
            where=str(run_dir),
        )
    return config.objectives.go_text, float(scale.float().exp())


def _log_prior(proteins: Annotated, terms: int) -> np.ndarray:
    """Return the log odds of ``(count + 0.3) / proteins`` of each term, ``(G,)``."""
    counts = np.bincount(np.concatenate(proteins.terms), minlength=terms)
    never = np.zeros(terms, dtype=bool)
    return log_odds(counts, len(proteins.terms), trained=never)


def embed_unit(model: ProteinModel, sequences: list[str], progress: Progress | None) -> np.ndarray:
    """Return unit vectors of proteins in the joint space, ``(N, P)`` float32."""
    settings = resolve_settings(model.info, model.encoder.num_layers, space="joint")
    found = np.empty((len(sequences), model.dim(settings)), np.float32)
    if progress is not None:
        progress.start("embedding proteins", len(sequences), "proteins")
    with LocalEngine(model) as engine:
        for row, result in engine.run(sequences, settings):
            if isinstance(result, str):
                raise ModelError(
                    f"protein {row + 1}: {result}",
                    code="model.bad_vector",
                    where=str(model.info.path),
                )
            found[row] = result.vector
            if progress is not None:
                progress.advance(1)
    if progress is not None:
        progress.finish()
    return found


def measure(
    index: GoIndex, vectors: np.ndarray, annotations: list[np.ndarray], *, bare: bool = False
) -> tuple[dict[str, float], dict[str, tuple[np.ndarray, np.ndarray]]]:
    """Return figures of an index by aspect, and the pairs that they are of (probability, right).

    ``fmax``; ``ece`` over pairs of 0.01 or more, in 15 bins of equal width; ``fdr``: the share of
    wrong pairs where 0.1 is asked for, and ``fdr_pairs``, how many pairs that lists. Proteins
    without a term of an aspect take no part in it; with ``bare`` they do, but in Fmax.
    """
    scorer = GoScorer(index)
    odds = np.concatenate(
        [scorer.all_log_odds(vectors[s : s + 64]) for s in range(0, len(vectors), 64)]
    )
    figures: dict[str, float] = {"proteins": len(vectors)}
    pairs = {}
    roots = index.ontology.roots
    for aspect, name in enumerate(index.ontology.aspect_names):
        columns = np.setdiff1d(np.flatnonzero(index.ontology.aspects == aspect), roots)
        place = np.full(len(index), -1)
        place[columns] = np.arange(len(columns))
        own = [place[terms][place[terms] >= 0] for terms in annotations]
        rows = [row for row, places in enumerate(own) if bare or len(places)]
        some = np.array([len(own[row]) > 0 for row in rows], dtype=bool)
        if not some.any():
            continue
        right = np.zeros((len(rows), len(columns)), dtype=bool)
        for number, row in enumerate(rows):
            right[number, own[row]] = True
        found = sigmoid(odds[rows][:, columns]).astype(np.float32)
        short = name.lower()
        kept = _of_weight(found[some], right[some])
        figures[f"fmax_{short}"] = fmax(found[some][:, kept], right[some][:, kept])
        figures[f"ece_{short}"] = calibration_error(found.ravel(), right.ravel())
        list_of = FalseDiscovery()
        listed = found >= 0.01
        list_of.add(found[listed].astype(np.float64))
        least = list_of.threshold(_FDR)
        chosen = found >= (2.0 if least is None else least)
        figures[f"fdr_{short}"] = float(1 - right[chosen].mean()) if chosen.any() else math.nan
        figures[f"fdr_pairs_{short}"] = int(chosen.sum())
        pairs[name] = (found[listed], right[listed])
    return {key: value for key, value in figures.items() if value == value}, pairs


def _of_weight(probabilities: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Tell which terms are somewhere true or at all likely; the others only take memory."""
    kept: np.ndarray = right.any(axis=0) | (probabilities.max(axis=0) > _NEGLIGIBLE)
    return kept


if __name__ == "__main__":
    sys.exit(main())
