"""Turn a checkpoint into a bundle, and measure what was written.

    python -m train.release.export --run-dir runs/mini --out protclip-mini \
        --data uniprot_pairs.jsonl.gz --go go_terms.tsv.gz \
        --figures figures.json [--card MODEL_CARD.md]

The figures are those of the bundle's own weights, rounded to float16 and read back, on fixed
samples of ``valid`` and ``test``; they are what a model card may quote.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from protclip_core.models.info import describe_model
from protclip_core.weights.bundle import Bundle, open_bundle, write_bundle
from train.config.run import RunConfig, load_saved_config
from train.data.composer import TextComposer
from train.data.go_bank import GoBank
from train.data.go_terms import GoTerms
from train.data.pairs import open_pairs
from train.loop import checkpoint
from train.loop.evaluate import EvaluationSet, evaluate
from train.loop.prepare import make_banks, make_trainee
from train.loop.ranks import Ranks
from train.loop.terminal import guarded, start_program
from train.loop.trainee import Trainee
from train.loop.wordings import card_section, wordings_of_run
from train.towers.build import text_limit
from train.towers.two_towers import bundle_config

__all__ = ["export", "measure"]


def main(argv: list[str] | None = None) -> int:
    """Parse the command line, export, measure, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m train.release.export", description=__doc__)
    parser.add_argument("--run-dir", required=True, type=Path, help="directory of the run")
    parser.add_argument("--out", required=True, type=Path, help="directory of the bundle")
    parser.add_argument("--card", type=Path, help="MODEL_CARD.md to put in")
    parser.add_argument(
        "--without-heads",
        action="store_true",
        help="leave out the heads of BSR and PDA, which no command of protclip needs",
    )
    parser.add_argument("--data", type=Path, help="pairs to measure on")
    parser.add_argument("--go", type=Path, help="names of GO terms, as in training")
    parser.add_argument("--figures", type=Path, help="JSON file for the figures")
    parser.add_argument("--pairs", type=int, default=500, help="pairs of each sample (default 500)")
    args = parser.parse_args(argv)
    if (args.data is None) != (args.figures is None):
        parser.error("--data and --figures belong together")
    start_program(threads=1)
    return guarded(lambda: _run(args), kept="nothing is kept")


def _run(args: argparse.Namespace) -> None:
    bundle = export(args.run_dir, args.out, args.card, heads=not args.without_heads)
    print(f"{bundle.path}: weights sha256 {bundle.weights_sha256}")
    if args.figures:
        figures = measure(bundle.path, args.run_dir, args.data, args.go, args.pairs)
        args.figures.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
        print(json.dumps(figures, indent=2))


def export(run_dir: Path, out: Path, card: Path | None = None, *, heads: bool = True) -> Bundle:
    """Write the newest whole checkpoint of a run as a bundle.

    What only training needs (the temperature of the GO bank) stays behind, and without ``heads``
    those on residues as well; a masked-LM head of the encoder's own always comes along.

    Raises
    ------
    ModelError
        No checkpoint, or weights that float16 cannot hold.
    """
    config = load_saved_config(run_dir / "config.json")
    model = _build(config, run_dir / "tokenizer.json", None)
    checkpoint.load_model(checkpoint.find(run_dir), model)
    files = {"tokenizer.json": (run_dir / "tokenizer.json").read_bytes()}
    if card is not None:
        told = f"\n{section}" if (section := card_section(run_dir)) else ""
        files["MODEL_CARD.md"] = card.read_bytes() + told.encode()
    content = bundle_config(model.towers, config.name, _kind(config), text_limit(config))
    tensors = model.towers.bundle_tensors()
    if not heads:
        content.pop("residue_heads", None)
        tensors = {n: v for n, v in tensors.items() if not n.startswith("residue_heads.")}
    return write_bundle(out, content, tensors, files)


def measure(
    bundle_dir: Path, run_dir: Path, data_path: Path, go_path: Path | None, pairs: int
) -> dict[str, Any]:
    """Evaluate a bundle's weights on samples of the held-out splits.

    Returns
    -------
    dict
        ``valid`` and ``test`` to the figures of `train.loop.evaluate.evaluate`, with ``chance_r10``
        for comparison; ``step`` and ``seconds`` of the checkpoint; ``weights_sha256``. The GO
        bank is that of the training proteins.
    """
    config = load_saved_config(run_dir / "config.json")
    bundle = open_bundle(bundle_dir)
    tokenizer = Tokenizer.from_file(str(bundle.path / "tokenizer.json"))
    texts = TextComposer(tokenizer, text_limit(config), max_go_names=config.data.max_go_names)
    terms = GoTerms(go_path) if go_path else None
    alone = Ranks.alone()
    progress = checkpoint.read_progress(checkpoint.find(run_dir))
    figures: dict[str, Any] = {"step": progress.step, "seconds": round(progress.seconds)}
    figures["weights_sha256"] = bundle.weights_sha256

    def pairs_of(split: str) -> Any:
        return open_pairs(data_path, split, config.data, tokenizer, terms, run_dir)

    bank = every = None
    if terms is not None:
        wordings = wordings_of_run(config.text.augment, terms, config.train.seed, tokenizer, None)
        train = pairs_of(config.data.train_split)
        bank, every = make_banks(config, terms, train, texts, wordings)
    model = _build(config, bundle.path / "tokenizer.json", bank)
    # For what a bundle leaves out: the scale of GO, which is scored with its prior.
    checkpoint.load_model(checkpoint.find(run_dir), model)
    # Arithmetic stays float32: only the rounding of the weights is part of the model.
    state = model.towers.state_dict()
    tensors = {n: v.float().reshape(state[n].shape) for n, v in bundle.tensors().items()}
    model.towers.load_state_dict({**state, **tensors})
    share = config.objectives.mask_share
    for split in ("valid", "test"):
        sample = EvaluationSet.draw(pairs_of(split), texts, pairs, config.train.evaluate_residues)
        found = evaluate(model, sample, alone, mask_share=share, bank=bank, every=every)
        figures[split] = {**found, "chance_r10": min(1.0, 10 / found["pairs"])}
    return figures


def _build(config: RunConfig, tokenizer_path: Path, bank: GoBank | None) -> Trainee:
    """Build the trainee, on the CPU and in float32."""
    vocab_size = Tokenizer.from_file(str(tokenizer_path)).get_vocab_size()
    config = replace(config, train=replace(config.train, precision="float32"))
    return make_trainee(config, vocab_size, bank)


def _kind(config: RunConfig) -> str:
    if config.protein.weights is None:
        return config.protein.kind
    return describe_model(config.protein.weights).architecture or "esm2"


if __name__ == "__main__":
    sys.exit(main())
