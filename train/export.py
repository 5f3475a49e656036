"""Turn a checkpoint into a bundle, and measure what was written.

    python -m train.export --run-dir runs/mini --out protclip-mini --data uniprot_pairs.jsonl.gz \
        --go go_terms.tsv.gz --figures figures.json [--card MODEL_CARD.md]

The figures are those of the bundle's own weights, rounded to float16 and read back, on fixed
samples of ``valid`` and ``test``; they are what a model card may quote.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer

from protclip_core.engines.memory import keep_freed_memory
from protclip_core.models.bundle import Bundle, open_bundle, write_bundle
from train import checkpoint
from train.config import RunConfig, load_saved_config
from train.data import TextEncoder, read_proteins
from train.evaluate import EvaluationSet, evaluate
from train.model import TwoTowers, bundle_config
from train.texts import read_go_names

__all__ = ["export", "measure"]


def main(argv: list[str] | None = None) -> None:
    """Parse the command line, export and measure."""
    parser = argparse.ArgumentParser(prog="python -m train.export", description=__doc__)
    parser.add_argument("--run-dir", required=True, type=Path, help="directory of the run")
    parser.add_argument("--out", required=True, type=Path, help="directory of the bundle")
    parser.add_argument("--card", type=Path, help="MODEL_CARD.md to put in")
    parser.add_argument("--data", type=Path, help="pairs to measure on")
    parser.add_argument("--go", type=Path, help="names of GO terms, as in training")
    parser.add_argument("--figures", type=Path, help="JSON file for the figures")
    parser.add_argument("--pairs", type=int, default=500, help="pairs of each sample (default 500)")
    args = parser.parse_args(argv)
    if (args.data is None) != (args.figures is None):
        parser.error("--data and --figures belong together")
    torch.set_num_threads(1)
    keep_freed_memory()
    bundle = export(args.run_dir, args.out, args.card)
    print(f"{bundle.path}: weights sha256 {bundle.weights_sha256}")
    if args.figures:
        figures = measure(bundle.path, args.run_dir, args.data, args.go, args.pairs)
        args.figures.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
        print(json.dumps(figures, indent=2))


def export(run_dir: Path, out: Path, card: Path | None = None) -> Bundle:
    """Write the newest checkpoint of a run as a bundle."""
    config = load_saved_config(run_dir / "config.json")
    model = _build(config, run_dir / "tokenizer.json")
    checkpoint.load(checkpoint.latest(run_dir), model)
    files = {"tokenizer.json": (run_dir / "tokenizer.json").read_bytes()}
    if card is not None:
        files["MODEL_CARD.md"] = card.read_bytes()
    return write_bundle(out, bundle_config(model, config.name), model.state_dict(), files)


def measure(
    bundle_dir: Path, run_dir: Path, data_path: Path, go_path: Path | None, pairs: int
) -> dict[str, Any]:
    """Evaluate a bundle's weights on samples of the held-out splits.

    Returns
    -------
    dict
        ``valid`` and ``test`` to the figures of `train.evaluate.evaluate`, with ``chance_r10``
        for comparison; ``step`` and ``seconds`` of the checkpoint; ``weights_sha256``.
    """
    config = load_saved_config(run_dir / "config.json")
    bundle = open_bundle(bundle_dir)
    model = _build(config, bundle.path / "tokenizer.json")
    # Arithmetic stays float32: only the rounding of the weights is part of the model.
    model.load_state_dict({name: value.float() for name, value in bundle.tensors().items()})
    tokenizer = Tokenizer.from_file(str(bundle.path / "tokenizer.json"))
    go_names = read_go_names(go_path) if go_path else {}
    progress = checkpoint.read_progress(checkpoint.latest(run_dir))
    figures: dict[str, Any] = {"step": progress.step, "seconds": round(progress.seconds)}
    figures["weights_sha256"] = bundle.weights_sha256
    for split in ("valid", "test"):
        proteins = read_proteins(data_path, split, go_names)
        texts = TextEncoder(tokenizer, proteins, config.data)
        sample = EvaluationSet.draw(proteins, texts, pairs, config.train.evaluate_residues)
        found = evaluate(model, sample, config.train.mask_share)
        figures[split] = {**found, "chance_r10": min(1.0, 10 / found["pairs"])}
    return figures


def _build(config: RunConfig, tokenizer_path: Path) -> TwoTowers:
    vocab_size = Tokenizer.from_file(str(tokenizer_path)).get_vocab_size()
    longest = config.data.max_text_tokens
    return TwoTowers(config.model, vocab_size=vocab_size, max_text_tokens=longest).eval()


if __name__ == "__main__":
    main()
