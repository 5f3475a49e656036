"""Pre-train a protein-text model, on one processor or on many devices.

    python -m train.pretrain --config train/configs/debug.toml --run-dir runs/debug
    torchrun --nproc-per-node 8 -m train.pretrain --config train/configs/official_650m.toml \
        --data protanno --run-dir runs/650m [--resume]

Loss: GC + 0.7 BSR + 0.3 MLM + PDA (ProtCLIP, AAAI 2025) and, beyond the paper, GO terms; each
with its weight in the configuration (`train.config.run` explains every key).

The run directory holds ``tokenizer.json``, ``config.json``, ``metrics.jsonl`` (one object a step
and one an evaluation), ``curve.png`` and the two newest checkpoints. ``--resume`` continues exactly
where the newest complete one stands. Ctrl-C and SIGTERM end the run after the current step, with a
checkpoint.

Exit codes: 0 done; 2 usage or configuration; 3 bad data, or a loss that is not finite; 4 a model,
data set or checkpoint that is missing or damaged; 5 disk or memory; 7 another run writes there;
8 a rank or a data process was lost; 130 and 143 Ctrl-C and SIGTERM.
"""

from __future__ import annotations

import time
from contextlib import nullcontext
from pathlib import Path

import torch

from protclip_core.io.atomic import file_lock
from train.config.run import RunConfig, load_config
from train.data.loader import feed
from train.loop.cache_texts import cache_texts
from train.loop.evaluate import evaluate
from train.loop.faults import named_faults
from train.loop.moving_average import Averages
from train.loop.optim import make_optimizer
from train.loop.parallel import clip_gradients, gradients_wait, share_work
from train.loop.prepare import Prepared, make_trainee, prepare
from train.loop.program import end, run_on_ranks, run_parser
from train.loop.ranks import Ranks
from train.loop.steps import Steps
from train.loop.trainee import Trainee
from train.towers.two_towers import MAX_LOGIT_SCALE, exp_of

__all__ = ["Pretraining", "main", "train"]


def main(argv: list[str] | None = None) -> int:
    """Parse the command line, train, and return the exit code."""
    parser = run_parser("train.pretrain", __doc__)
    parser.add_argument("--device", default="auto", help="cpu, cuda or auto (default)")
    args = parser.parse_args(argv)

    def work(config: RunConfig, ranks: Ranks) -> None:
        paths = {"run_dir": args.run_dir, "data_path": args.data, "go_path": args.go}
        train(config, **paths, resume=args.resume, stop_at=args.stop_at, ranks=ranks)

    return run_on_ranks(args, load_config, work)


def train(
    config: RunConfig,
    *,
    run_dir: Path,
    data_path: Path | None = None,
    go_path: Path | None = None,
    resume: bool = False,
    stop_at: int | None = None,
    ranks: Ranks | None = None,
) -> Trainee:
    """Run or resume a training and return the model.

    ``data_path`` and ``go_path`` replace those of the configuration; the run ends after step
    ``stop_at``, with a checkpoint; without ``ranks``, this process trains alone, on its CPU.

    Raises
    ------
    ProtclipError
        Whatever ends a run early; see the exit codes above.
    """
    ranks = ranks or Ranks.alone()
    run_dir.parent.mkdir(parents=True, exist_ok=True)
    with named_faults(ranks), file_lock(run_dir) if ranks.first else nullcontext():
        torch.manual_seed(config.train.seed)
        ready = prepare(config, run_dir, ranks, data_path=data_path, go_path=go_path, resume=resume)
        model = make_trainee(config, ready.vocab_size, ready.bank, ranks.device)
        cache_texts(config, run_dir, ready, model, ranks)
        Pretraining(config, run_dir, ready, model, ranks, resume=resume).go(stop_at)
    return model


class Pretraining(Steps):
    """The steps of a run."""

    def __init__(
        self, config: RunConfig, run_dir: Path, ready: Prepared, model: Trainee, ranks: Ranks,
        *, resume: bool = False,
    ) -> None:  # fmt: skip
        self.ready, self.model, self.mask_share = ready, model, config.objectives.mask_share
        self.module = share_work(model, config.train.parallel, ranks)
        averages = Averages(model, config.train.ema)
        super().__init__(
            config.name, config.train, run_dir, model, make_optimizer(model, config.train), ranks,
            averages, resume=resume,
        )  # fmt: skip
        self.batches = feed(ready.data, self.progress, config.data.workers)

    def step(self) -> dict[str, float]:
        """Make one step and return its line of metrics."""
        started, several = time.monotonic(), self.settings.accumulate
        self.model.refresh(self.progress.step)
        rate = self.set_rate()
        sums, tokens, pairs = torch.zeros(()), 0, 0
        for number in range(several):
            place, batch = next(self.batches)
            noise = place.noise(self.settings.seed, self.ranks.rank, self.ranks.device)
            with gradients_wait(self.module, wait=number + 1 < several):
                losses = self.module(batch.to(self.ranks.device), self.ranks.group, noise)
                (losses["loss"] / several).backward()
            sums = sums + torch.stack([value.detach() for value in losses.values()]).float().cpu()
            tokens, pairs = tokens + batch.tokens, pairs + batch.pairs
            place.passed(self.progress)
        norm = float(clip_gradients(self.module, self.settings.clip_norm))
        means = self.means(dict(zip(losses, (sums / several).tolist())), norm)
        self.optimizer.step()
        self.model.towers.logit_scale.data.clamp_(max=MAX_LOGIT_SCALE)
        self.progress.step += 1
        self.averages.update(self.progress.step)
        return {
            "step": self.progress.step,
            **means,
            "lr": rate,
            "grad_norm": norm,
            "tokens_per_s": round(tokens / (time.monotonic() - started), 1),
            "pairs": pairs,
            "scale": exp_of(self.model.towers.logit_scale),
            **self.model.figures(),
        }

    def evaluate(self) -> dict[str, float]:
        """Measure the model on held-out pairs."""
        with self.averages.applied():
            return evaluate(
                self.model, self.ready.validation, self.ranks,
                mask_share=self.mask_share, bank=self.ready.bank, every=self.ready.every,
            )  # fmt: skip


if __name__ == "__main__":
    end(main())
