"""Pre-train a protein-text model, on one processor or on many devices.

    python -m train.pretrain --config train/configs/debug.toml --run-dir runs/debug
    torchrun --nproc-per-node 8 -m train.pretrain --config train/configs/official_650m.toml \
        --data protanno --run-dir runs/650m [--resume]

Loss: GC + 0.7 BSR + 0.3 MLM + PDA (ProtCLIP, AAAI 2025) and, beyond the paper, GO terms; with
structures, contrast between and within three modalities as in Align-Pro (ACL 2025); each with its
weight in the configuration (`train.config.run` explains every key). With tables [stage.one] and
[stage.two], the run has two stages (`train.config.stages`).

The run directory holds ``tokenizer.json``, ``config.json``, ``metrics.jsonl`` (one object a step
and one an evaluation), ``curve.png`` and the two newest checkpoints. ``--resume`` continues exactly
where the newest complete one stands. Ctrl-C and SIGTERM end the run after the current step, with a
checkpoint.

Exit codes: 0 done; 2 usage or configuration; 3 bad data, or a loss that is not finite; 4 a model,
data set or checkpoint that is missing or damaged; 5 disk or memory; 7 another run writes there;
8 a rank or a data process was lost; 130 and 143 Ctrl-C and SIGTERM.
"""

from __future__ import annotations

import logging
import time
from contextlib import nullcontext
from pathlib import Path

import torch

from protclip_core.io.atomic import file_lock
from train.config.run import RunConfig, load_config
from train.data.loader import feed
from train.loop import checkpoint
from train.loop.cache_proteins import cache_proteins
from train.loop.cache_texts import cache_texts
from train.loop.evaluate import evaluate
from train.loop.faults import named_faults
from train.loop.moving_average import Averages
from train.loop.optim import Progress, make_optimizer
from train.loop.parallel import clip_gradients, gradients_wait, share_work
from train.loop.prepare import Prepared, make_trainee, prepare, scale_descriptors
from train.loop.program import end, run_on_ranks, run_parser
from train.loop.ranks import Ranks
from train.loop.steps import Steps
from train.loop.trainee import Trainee
from train.towers.two_towers import MAX_LOGIT_SCALE, exp_of

__all__ = ["Pretraining", "main", "train"]

_log = logging.getLogger(__name__)


def main(argv: list[str] | None = None) -> int:
    """Parse the command line, train, and return the exit code."""
    parser = run_parser("train.pretrain", __doc__)
    parser.add_argument("--structures", type=Path, help="structures, see train.structures")
    parser.add_argument("--device", default="auto", help="cpu, cuda or auto (default)")
    args = parser.parse_args(argv)

    def work(config: RunConfig, ranks: Ranks) -> None:
        paths = {"run_dir": args.run_dir, "data_path": args.data, "go_path": args.go}
        paths["structures_path"] = args.structures
        train(config, **paths, resume=args.resume, stop_at=args.stop_at, ranks=ranks)

    return run_on_ranks(args, load_config, work)


def train(
    config: RunConfig,
    *,
    run_dir: Path,
    data_path: Path | None = None,
    go_path: Path | None = None,
    structures_path: Path | None = None,
    resume: bool = False,
    stop_at: int | None = None,
    ranks: Ranks | None = None,
) -> Trainee:
    """Run or resume a training, stage by stage, and return the model.

    The paths replace those of the configuration; the run ends after step ``stop_at``, with a
    checkpoint; without ``ranks``, this process trains alone, on its CPU.

    Raises
    ------
    ProtclipError
        Whatever ends a run early; see the exit codes above.
    """
    ranks = ranks or Ranks.alone()
    run_dir.parent.mkdir(parents=True, exist_ok=True)
    paths = {"data_path": data_path, "go_path": go_path, "structures_path": structures_path}
    with named_faults(ranks), file_lock(run_dir) if ranks.first else nullcontext():
        torch.manual_seed(config.train.seed)
        ready = prepare(config, run_dir, ranks, **paths, resume=resume)
        stages = config.stages()
        number = ranks.objects(_stage_of(run_dir) if resume and ranks.first else 0)[0]
        while True:
            model, steps = _begin(stages[number], number, run_dir, ready, ranks, resume=resume)
            steps.go(stop_at)
            number, resume = number + 1, False
            if number == len(stages) or steps.progress.step == stop_at:
                return model


def _stage_of(run_dir: Path) -> int:
    return checkpoint.read_progress(checkpoint.find(run_dir)).stage


def _begin(
    config: RunConfig, stage: int, run_dir: Path, ready: Prepared, ranks: Ranks, *, resume: bool
) -> tuple[Trainee, Pretraining]:
    """Make the model of a stage, and its steps.

    What follows another stage starts from the checkpoint that this has left, whether both are run
    in one go or not: weights and place in the data go on, the optimizer begins anew.
    """
    torch.manual_seed(config.train.seed + stage)
    model = make_trainee(config, ready.vocab_size, ready.bank, ranks.device)
    progress = Progress()
    if stage and not resume:
        found = ranks.objects(checkpoint.find(run_dir) if ranks.first else None)[0]
        checkpoint.load_model(found, model)
        progress = checkpoint.read_progress(found).next_stage()
        _log.info("stage %d begins after step %d", stage + 1, progress.step)
    elif not stage:
        scale_descriptors(config, model, ready)
    ready.data.variants = ready.data.pooled = None
    cache_texts(config, run_dir, ready, model, ranks)
    cache_proteins(config, run_dir, ready, model, ranks)
    made = Pretraining(config, run_dir, ready, model, ranks, resume=resume, progress=progress)
    return model, made


class Pretraining(Steps):
    """The steps of a run."""

    def __init__(
        self, config: RunConfig, run_dir: Path, ready: Prepared, model: Trainee, ranks: Ranks,
        *, resume: bool = False, progress: Progress | None = None,
    ) -> None:  # fmt: skip
        self.ready, self.model, self.mask_share = ready, model, config.objectives.mask_share
        self.module = share_work(model, config.train.parallel, ranks)
        averages = Averages(model, config.train.ema)
        super().__init__(
            config.name, config.train, run_dir, model, make_optimizer(model, config.train), ranks,
            averages, resume=resume, progress=progress,
        )  # fmt: skip
        self.several = config.stage is not None
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
            **({"stage": self.progress.stage + 1} if self.several else {}),
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
