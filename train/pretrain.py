"""Pre-train a protein-text model, on one processor or on many devices.

    python -m train.pretrain --config train/configs/debug.toml --run-dir runs/debug
    torchrun --nproc-per-node 8 -m train.pretrain --config train/configs/official_650m.toml \
        --data protanno --run-dir runs/650m [--resume]

Loss: GC + 0.7 BSR + 0.3 MLM + PDA (ProtCLIP, AAAI 2025) and, beside the paper, GO terms; each
by its weight in the configuration (`train.config.run` explains every key).

The run directory holds ``tokenizer.json``, ``config.json``, ``metrics.jsonl`` (one object a step
and one an evaluation), ``curve.png`` and the two newest checkpoints. ``--resume`` goes on exactly
where the newest whole one stands; lines of metrics behind it are written again. Ctrl-C and SIGTERM
end the run after the step at hand, with a checkpoint.

Exit codes: 0 done; 2 usage or configuration; 3 bad data, or a loss that is not finite (the step
is named, the checkpoints are from before it); 4 a model, data set or checkpoint that is missing
or damaged; 5 disk or memory; 7 another run writes there; 8 a rank or a data process was lost;
130 and 143 Ctrl-C and SIGTERM.
"""

from __future__ import annotations

import argparse
import logging
import math
import os
import sys
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import torch
from torch import nn

from protclip_core.engines.memory import is_out_of_memory, keep_freed_memory
from protclip_core.errors import InputError, ProtclipError, ResourceError
from protclip_core.io.atomic import file_lock
from train.config.run import RunConfig, load_config
from train.data.batches import Batch
from train.data.feeding import Place, feed, lost_worker, stop_watching
from train.loop import checkpoint
from train.loop.averages import Averages
from train.loop.bank_vectors import encode_bank
from train.loop.curves import draw
from train.loop.evaluate import evaluate
from train.loop.kept_texts import keep_texts
from train.loop.optim import Progress, learning_rate, make_optimizer, set_learning_rate, share_done
from train.loop.parallel import clip_gradients, gradients_wait, share_work
from train.loop.ranks import Ranks, join_ranks
from train.loop.run_log import Reporter
from train.loop.setup import Prepared, make_trainee, prepare
from train.loop.terminal import SIGNALS, Lines, Stopped, guarded
from train.loop.trainee import Trainee, exp_of
from train.towers.two_towers import MAX_LOGIT_SCALE

__all__ = ["main", "train"]

_log = logging.getLogger("train.pretrain")
_KEPT = "the newest checkpoint is kept, go on with --resume"


def main(argv: list[str] | None = None) -> int:
    """Parse the command line, train, and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m train.pretrain",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", required=True, type=Path, help="TOML file of the run")
    parser.add_argument("--run-dir", required=True, type=Path, help="directory of the run")
    parser.add_argument("--data", type=Path, help="pairs: JSON Lines, or a folder of ProtAnno")
    parser.add_argument("--go", type=Path, help="table of GO terms")
    parser.add_argument("--resume", action="store_true", help="go on from the newest checkpoint")
    parser.add_argument("--threads", type=int, default=1, help="processor threads (default 1)")
    parser.add_argument("--device", default="auto", help="cpu, cuda or auto (default)")
    parser.add_argument("--stop-at", type=int, help="stop after this step as if interrupted")
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    keep_freed_memory()
    met: list[Ranks] = []

    def work() -> int:
        config = load_config(args.config)
        ranks = join_ranks(config.train.timeout_seconds, device=args.device)
        met.append(ranks)
        _log_to_terminal(quiet=not ranks.first)
        try:
            train(
                config,
                data_path=args.data,
                go_path=args.go,
                run_dir=args.run_dir,
                resume=args.resume,
                stop_at=args.stop_at,
                ranks=ranks,
            )
        except RuntimeError as error:
            # Raised by a signal handler in the clean-up of a run that knows of the loss already.
            if (worker := lost_worker(error)) is not None:
                stop_watching()
                raise worker from error
            raise
        ranks.part()
        return 0

    # What all ranks have come to know, the first one says.
    return guarded(work, kept=_KEPT, tell=lambda: not met or not met[0].first_has_told())


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

    Parameters
    ----------
    config
        The run.
    run_dir
        Its directory.
    data_path, go_path
        In place of those of the configuration.
    resume
        Go on from the newest checkpoint.
    stop_at
        End after this step, with a checkpoint.
    ranks
        Who takes part; default this process alone, on its CPU.

    Raises
    ------
    ProtclipError
        Whatever ends a run early; see the exit codes above.
    """
    ranks = ranks or Ranks(0, 1, torch.device("cpu"), 60.0)
    run_dir.parent.mkdir(parents=True, exist_ok=True)
    when = ["before the first step"]
    with file_lock(run_dir) if ranks.first else nullcontext():
        try:
            return _train(config, run_dir, data_path, go_path, resume, stop_at, ranks, when)
        except RuntimeError as error:
            worker = lost_worker(error)
            if worker is not None:
                stop_watching()
                ranks.note("gone", str(worker))
                raise worker from error
            if is_out_of_memory(error):
                ranks.note("gone", "out of memory")
                hint = "lower [data] token_budget, or set recompute"
                raise ResourceError(f"memory ran out {when[0]}", hint=hint) from error
            if ranks.is_loss_of_a_rank(error):
                raise ranks.lost(when[0]) from error
            ranks.note("gone", f"{type(error).__name__}")
            raise
        except BaseException as error:
            told = isinstance(error, ProtclipError) or not isinstance(error, Exception)
            if not told and (worker := lost_worker(error)) is not None:
                stop_watching()
                ranks.note("gone", str(worker))
                raise worker from error
            ranks.note("gone", str(error) or type(error).__name__)
            raise


def _train(  # noqa: PLR0913
    config: RunConfig,
    run_dir: Path,
    data_path: Path | None,
    go_path: Path | None,
    resume: bool,  # noqa: FBT001
    stop_at: int | None,
    ranks: Ranks,
    when: list[str],
) -> Trainee:
    settings = config.train
    torch.manual_seed(settings.seed)
    ready = prepare(config, run_dir, ranks, data_path=data_path, go_path=go_path, resume=resume)
    bf16 = settings.precision == "bf16" or (
        settings.precision == "auto" and ranks.device.type == "cuda"
    )
    model = make_trainee(config, ready.vocab_size, ready.bank, bf16=bf16).to(ranks.device)
    keep_texts(config, run_dir, ready, model, ranks)
    module = share_work(model, settings.parallel, ranks)
    optimizer = make_optimizer(model, settings)
    averages = Averages(model, settings.ema)
    progress = Progress()
    if resume:
        found = ranks.objects(checkpoint.find(run_dir) if ranks.first else None)[0]
        progress = checkpoint.restore(found, model, optimizer, ranks, averages)
    size = sum(p.numel() for p in model.parameters())
    learning = sum(p.numel() for p in model.parameters() if p.requires_grad)
    _log.info(
        "%s: %s parameters, %s of them learning, from step %d, %d rank(s) on %s",
        config.name, f"{size:,}", f"{learning:,}", progress.step, ranks.world, ranks.device.type,
    )  # fmt: skip
    run = _Run(config, run_dir, ready, model, module, optimizer, averages, progress, ranks)
    with SIGNALS:
        run.go(stop_at, when)
    return model


class _Run:
    """The loop of a run: steps, and what comes between them."""

    def __init__(
        self,
        config: RunConfig,
        run_dir: Path,
        ready: Prepared,
        model: Trainee,
        module: nn.Module,
        optimizer: torch.optim.Optimizer,
        averages: Averages,
        progress: Progress,
        ranks: Ranks,
    ) -> None:
        self.config, self.run_dir, self.ready, self.ranks = config, run_dir, ready, ranks
        self.model, self.module, self.optimizer = model, module, optimizer
        self.averages, self.progress = averages, progress
        self.settings = config.train
        on = config.objectives
        self.prior = bool(on.go) and on.go_form == "prior"
        self.names = ["loss", *(name for name, weight in on.weights.items() if weight)]
        self.names += ["go_prior", "go_rank"] if self.prior else []

    def go(self, stop_at: int | None, when: list[str]) -> None:
        """Make steps until the run is done, or has to stop."""
        progress, settings = self.progress, self.settings
        batches = feed(self.ready.data, progress, self.config.data.workers)
        reporter = Reporter(
            self.run_dir,
            progress.step,
            active=self.ranks.first,
            tensorboard=settings.tensorboard,
        )
        started = saved = time.monotonic()
        before, signal = progress.seconds, 0
        try:
            while share_done(progress, settings) < 1 and progress.step != stop_at and not signal:
                when[0] = f"in step {progress.step + 1}"
                row = self.step(batches)
                # Clocks differ, and a signal may reach one rank alone: all follow what is said.
                now = time.monotonic()
                due = now - saved >= settings.checkpoint_seconds
                told = self.ranks.table([before + now - started, due, SIGNALS.asked])
                progress.seconds, signal = told[0][0], int(max(other[2] for other in told))
                done = share_done(progress, settings)
                reporter.step(row, done)
                if not signal and (progress.step % settings.evaluate_every == 0 or done == 1):
                    when[0] = f"in the evaluation after step {progress.step}"
                    reporter.evaluation(progress.step, self.evaluate())
                if told[0][1]:
                    self.save(when)
                    saved = time.monotonic()
            self.save(when)
        finally:
            reporter.close()
        if self.ranks.first and reporter.written:
            draw([self.run_dir], self.run_dir / "curve.png")
        if signal:
            raise Stopped(signal)

    def step(self, batches: Iterator[tuple[Place, Batch]]) -> dict[str, float]:
        """Make one step and return its line of metrics."""
        started = time.monotonic()
        progress, settings = self.progress, self.settings
        self._refresh_bank()
        rate = learning_rate(progress, settings)
        set_learning_rate(self.optimizer, rate)
        self.optimizer.zero_grad(set_to_none=True)
        sums, tokens, pairs = torch.zeros(len(self.names)), 0, 0
        for number in range(settings.accumulate):
            place, batch = next(batches)
            with gradients_wait(self.module, wait=number + 1 < settings.accumulate):
                losses = self.module(
                    "losses", batch.to(self.ranks.device), self.ranks.group, self._noise(place)
                )
                (losses["loss"] / settings.accumulate).backward()
            sums += torch.stack([losses[name].detach() for name in self.names]).float().cpu()
            tokens, pairs = tokens + batch.tokens, pairs + batch.pairs
            place.passed(progress)
        norm = float(clip_gradients(self.module, settings.clip_norm))
        table = self.ranks.table([*(sums / settings.accumulate).tolist(), norm])
        self._require_finite(table)
        self.optimizer.step()
        with torch.no_grad():
            self.model.towers.logit_scale.clamp_(max=MAX_LOGIT_SCALE)
        progress.step += 1
        self.averages.update(progress.step)
        means = [sum(column) / len(table) for column in zip(*table)]
        return {
            "step": progress.step,
            **dict(zip(self.names, means)),
            "lr": rate,
            "grad_norm": norm,
            "tokens_per_s": round(tokens / (time.monotonic() - started), 1),
            "pairs": pairs,
            "scale": exp_of(self.model.towers.logit_scale),
            **({"go_scale": self.model.go_scale} if self.prior else {}),
        }

    def evaluate(self) -> dict[str, float]:
        """Measure the model on held-out pairs."""
        with self.averages.applied():
            return evaluate(
                self.model,
                self.ready.validation,
                self.ranks,
                mask_share=self.config.objectives.mask_share,
                bank=self.ready.bank,
                every=self.ready.every,
            )

    def save(self, when: list[str]) -> None:
        """Write a checkpoint."""
        when[0] = f"while saving step {self.progress.step}"
        checkpoint.save(
            self.run_dir, self.model, self.optimizer, self.progress, self.ranks, self.averages
        )

    def _refresh_bank(self) -> None:
        """Encode the texts of the GO bank, where it is time."""
        on, bank = self.config.objectives, self.ready.bank
        if not on.go or bank is None or self.model.text_frozen:
            return
        # By the step, not by what this process has done: a resumed run shall see the same.
        if not len(self.model.bank_vectors) or (
            on.go_every and not self.progress.step % on.go_every
        ):
            self.model.bank_vectors = encode_bank(self.model, bank)

    def _noise(self, place: Place) -> torch.Generator:
        """Random numbers for PDA and GO: of this batch, and of this rank's part of it."""
        seed = hash((self.settings.seed, place.epoch, place.position, self.ranks.rank))
        return torch.Generator(self.ranks.device).manual_seed(seed % (1 << 62))

    def _require_finite(self, table: list[list[float]]) -> None:
        """Stop all ranks at the same step where anything on any of them is not finite."""
        names = [*self.names, "gradient norm"]
        wrong = {
            (rank, name): value
            for rank, row in enumerate(table)
            for name, value in zip(names, row)
            if not math.isfinite(value)
        }
        if not wrong:
            return
        # The norm of the gradients is that of all ranks; the terms are each rank's own.
        where = {rank for rank, name in wrong if name != "gradient norm"}
        terms = dict.fromkeys(name for _, name in wrong if name not in ("loss", "gradient norm"))
        name = "loss" if any(name == "loss" for _, name in wrong) else "gradient norm"
        value = next(value for (_, key), value in wrong.items() if key == name)
        shown = ", ".join(terms)
        if 0 < len(where) < len(table):
            shown += f" on rank {min(where)}"
        raise InputError(
            f"{name} is {value} at step {self.progress.step + 1}"
            + (f" ({shown})" if shown else ""),
            where=str(self.run_dir),
            hint="look at the data, or lower learning_rate; --resume begins before it",
        )


def _log_to_terminal(*, quiet: bool) -> None:
    for name in ("train", "protclip_core"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [Lines()], False
        logger.setLevel(logging.ERROR if quiet else logging.INFO)


def _end(code: int) -> None:
    """End the process; without the group's own farewell where a rank was lost, for it may hang."""
    if code:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


if __name__ == "__main__":
    _end(main())
