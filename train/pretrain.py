"""Pre-train a protein-text model on one processor, from random weights.

    python -m train.pretrain --config train/configs/mini.toml --data uniprot_pairs.jsonl.gz \
        --go go_terms.tsv.gz --run-dir runs/mini [--resume]

Loss: GC + 0.3 MLM (ProtCLIP, AAAI 2025, without its segment objectives). To pay for one forward
pass of the protein encoder instead of two, a random half of the proteins of each batch is masked
and carries the MLM loss, while GC takes all of them, masked or whole; the masked residues are
then an augmentation for the contrast as well.

The run directory holds ``tokenizer.json``, ``config.json``, ``metrics.jsonl`` (one object a step
and one an evaluation) and the newest checkpoints. ``--resume`` goes on exactly where the newest
one stands; lines of metrics behind it are written again.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TextIO

import torch
from tokenizers import Tokenizer
from torch import Tensor

from protclip_core.engines.memory import keep_freed_memory
from protclip_core.errors import ProtclipError, UsageError
from train import checkpoint
from train.config import RunConfig, TrainConfig, load_config
from train.data import Batch, PairData, TextEncoder, read_proteins
from train.evaluate import EvaluationSet, evaluate
from train.model import MAX_LOGIT_SCALE, TwoTowers
from train.objectives.gc import contrastive_loss
from train.objectives.mlm import IGNORED, mask_residues, mlm_loss
from train.texts import read_go_names, train_tokenizer

_log = logging.getLogger("train.pretrain")


def main(argv: list[str] | None = None) -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(prog="python -m train.pretrain", description=__doc__)
    parser.add_argument("--config", required=True, type=Path, help="TOML file of the run")
    parser.add_argument("--data", required=True, type=Path, help="pairs, gzipped JSON Lines")
    parser.add_argument("--go", type=Path, help="names of GO terms, gzipped table")
    parser.add_argument("--run-dir", required=True, type=Path, help="directory of the run")
    parser.add_argument("--resume", action="store_true", help="go on from the newest checkpoint")
    parser.add_argument("--threads", type=int, default=1, help="processor threads (default 1)")
    parser.add_argument("--stop-at", type=int, help="stop after this step as if interrupted")
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(args.threads)
    keep_freed_memory()
    train(
        load_config(args.config),
        data_path=args.data,
        go_path=args.go,
        run_dir=args.run_dir,
        resume=args.resume,
        stop_at=args.stop_at,
    )


def train(
    config: RunConfig,
    *,
    data_path: Path,
    go_path: Path | None,
    run_dir: Path,
    resume: bool = False,
    stop_at: int | None = None,
) -> TwoTowers:
    """Run or resume a training and return the model."""
    settings = config.train
    torch.manual_seed(settings.seed)
    data, validation = _load_data(config, data_path, go_path, run_dir, resume=resume)
    model = TwoTowers(
        config.model,
        vocab_size=_open_tokenizer(run_dir).get_vocab_size(),
        max_text_tokens=config.data.max_text_tokens,
    )
    if not resume:
        model.initialise()
    optimizer = _make_optimizer(model, settings)
    progress = checkpoint.Progress()
    if resume:
        progress = checkpoint.load(checkpoint.latest(run_dir), model, optimizer)
    metrics_path = run_dir / "metrics.jsonl"
    _cut_metrics(metrics_path, progress.step)
    size = sum(parameter.numel() for parameter in model.parameters())
    _log.info("%d parameters, from step %d", size, progress.step)

    started = last_saved = time.monotonic()
    before = progress.seconds
    with metrics_path.open("a", encoding="utf-8") as metrics:
        for batch, generator in _batches(data, progress):
            if share_done(progress, settings) == 1.0 or progress.step == stop_at:
                break
            _write(metrics, _step(model, optimizer, batch, generator, progress, settings))
            progress.step += 1
            progress.position += 1
            progress.seconds = before + time.monotonic() - started
            if (
                progress.step % settings.evaluate_every == 0
                or share_done(progress, settings) == 1.0
            ):
                figures = evaluate(model, validation, settings.mask_share)
                _write(metrics, {"step": progress.step, "evaluation": "valid", **figures})
                _log.info("step %d: %s", progress.step, figures)
            if time.monotonic() - last_saved >= settings.checkpoint_seconds:
                checkpoint.save(run_dir, model, optimizer, progress)
                last_saved = time.monotonic()
    checkpoint.save(run_dir, model, optimizer, progress)
    return model


def _step(
    model: TwoTowers,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    generator: torch.Generator,
    progress: checkpoint.Progress,
    settings: TrainConfig,
) -> dict[str, float]:
    """Make one step and return its line of metrics."""
    started = time.monotonic()
    rate = learning_rate(progress, settings)
    step = progress.step + 1
    for group in optimizer.param_groups:
        group["lr"] = rate
    gc, mlm = _losses(model, batch, generator, settings)
    loss = gc + settings.mlm_weight * mlm
    if not math.isfinite(float(loss.detach())):
        raise ProtclipError(
            f"loss is {float(loss.detach())} at step {step}", hint="lower learning_rate"
        )
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), settings.clip_norm)
    optimizer.step()
    with torch.no_grad():
        model.logit_scale.clamp_(max=MAX_LOGIT_SCALE)
    return {
        "step": step,
        "loss": float(loss.detach()),
        "gc": float(gc.detach()),
        "mlm": float(mlm.detach()),
        "lr": rate,
        "grad_norm": float(norm),
        "tokens_per_s": round(len(batch.proteins.tokens) / (time.monotonic() - started), 1),
        "pairs": len(batch.proteins),
        "scale": float(model.logit_scale.detach().exp()),
    }


def _losses(
    model: TwoTowers, batch: Batch, generator: torch.Generator, settings: TrainConfig
) -> tuple[Tensor, Tensor]:
    """GC and MLM from one forward pass of each encoder."""
    masked, targets = mask_residues(
        batch.proteins, settings.mask_share, generator, proteins=settings.masked_proteins
    )
    hidden = model.protein_hidden(masked)
    gc = contrastive_loss(
        model.protein_embedding(hidden, masked),
        model.text_embedding(batch.text_ids, batch.text_mask),
        scale=model.logit_scale.exp(),
        same_text=batch.same_text,
    )
    chosen = targets != IGNORED
    return gc, mlm_loss(model.protein_encoder.logits(hidden[chosen]), targets[chosen])


def learning_rate(progress: checkpoint.Progress, settings: TrainConfig) -> float:
    """Linear warm-up, then half a cosine down to a hundredth of the peak."""
    if progress.step < settings.warmup_steps:
        return settings.learning_rate * (progress.step + 1) / settings.warmup_steps
    angle = math.pi * share_done(progress, settings)
    return settings.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(angle)))


def share_done(progress: checkpoint.Progress, settings: TrainConfig) -> float:
    """Return how much of the run is behind, by steps or by time, whichever is further; 0 to 1."""
    share = progress.step / settings.max_steps
    if settings.max_minutes is not None:
        share = max(share, progress.seconds / (60 * settings.max_minutes))
    return min(share, 1.0)


def _batches(
    data: PairData, progress: checkpoint.Progress
) -> Iterator[tuple[Batch, torch.Generator]]:
    """Batches without end from where the run stands; keeps epoch and position in ``progress``."""
    while True:
        plan = data.plan(progress.epoch)
        while progress.position < len(plan):
            crop, rows = plan[progress.position]
            place = (progress.epoch, progress.position)
            yield data.batch(crop, rows, *place), data.mask_generator(*place)
        progress.epoch, progress.position = progress.epoch + 1, 0


def _load_data(
    config: RunConfig, data_path: Path, go_path: Path | None, run_dir: Path, *, resume: bool
) -> tuple[PairData, EvaluationSet]:
    """Read both splits and see to the tokenizer: the one that is there, or else a new one.

    Training a tokenizer breaks ties between equally frequent pieces at random, so a run that is
    to be repeated exactly begins with the ``tokenizer.json`` of the first.
    """
    if not resume and (run_dir / "config.json").exists():
        raise UsageError("holds a run already", where=str(run_dir), hint="add --resume")
    go_names = read_go_names(go_path) if go_path else {}
    proteins = read_proteins(data_path, "train", go_names)
    held_out = read_proteins(data_path, "valid", go_names)
    run_dir.mkdir(parents=True, exist_ok=True)
    if not (run_dir / "tokenizer.json").exists():
        tokenizer = train_tokenizer((p.parts for p in proteins), config.data.vocab_size)
        tokenizer.save(str(run_dir / "tokenizer.json"))
    if not resume:
        text = json.dumps(asdict(config), indent=2) + "\n"
        (run_dir / "config.json").write_text(text, encoding="utf-8")
    tokenizer = _open_tokenizer(run_dir)
    texts = TextEncoder(tokenizer, proteins, config.data)
    held_out_texts = TextEncoder(tokenizer, held_out, config.data)
    _log.info("%d pairs to train on, %d held out", len(proteins), len(held_out))
    settings = config.train
    validation = EvaluationSet.draw(
        held_out, held_out_texts, settings.evaluate_pairs, settings.evaluate_residues
    )
    return PairData(proteins, texts, config.data, settings.seed), validation


def _open_tokenizer(run_dir: Path) -> Tokenizer:
    return Tokenizer.from_file(str(run_dir / "tokenizer.json"))


def _make_optimizer(model: TwoTowers, settings: TrainConfig) -> torch.optim.Optimizer:
    """AdamW; biases, norms and the temperature do not decay."""
    matrices = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim < 2]
    groups = [
        {"params": matrices, "weight_decay": settings.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=settings.learning_rate, betas=(0.9, 0.98), fused=True)


def _cut_metrics(path: Path, step: int) -> None:
    """Drop the lines of steps that a resumed run will make again, and a torn last line."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
        if not line.endswith("\n") or json.loads(line)["step"] > step:
            break
        kept.append(line)
    path.write_text("".join(kept), encoding="utf-8")


def _write(file: TextIO, row: Mapping[str, object]) -> None:
    file.write(json.dumps(row) + "\n")
    file.flush()


if __name__ == "__main__":
    main()
