"""The loop of a run: steps, and what comes between them."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from protclip_cli.boundary import Stopped
from protclip_core.errors import InputError
from train.config.run import TrainConfig
from train.loop import checkpoint
from train.loop.curves import draw
from train.loop.moving_average import Averages
from train.loop.optim import Progress, learning_rate, set_learning_rate, share_done
from train.loop.ranks import Ranks
from train.loop.run_log import Reporter
from train.loop.terminal import DeferredSignals

__all__ = ["Steps"]

_log = logging.getLogger(__name__)
_NORM = "gradient norm"


class Steps:
    """A run that makes steps until it is done, or has to stop; programs add `step`, `evaluate`.

    Parameters
    ----------
    name
        Of the run.
    settings
        Limits, rates, evaluation and checkpoints.
    run_dir
        Its folder.
    model, optimizer
        What learns.
    ranks
        Who takes part.
    averages
        Of the parameters, where some are taken.
    resume
        Go on from the newest whole checkpoint.
    progress
        Where it begins, if it is not resumed.
    """

    def __init__(
        self,
        name: str,
        settings: TrainConfig,
        run_dir: Path,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        ranks: Ranks,
        averages: Averages | None = None,
        *,
        resume: bool = False,
        progress: Progress | None = None,
    ) -> None:
        self.settings, self.run_dir, self.ranks = settings, run_dir, ranks
        self.optimizer, self.averages = optimizer, averages or Averages(model, 0.0)
        self._whole, self.progress = model, progress or Progress()
        if resume:
            found = ranks.objects(checkpoint.find(run_dir) if ranks.first else None)[0]
            self.progress = checkpoint.restore(found, model, optimizer, ranks, self.averages)
        sizes = [p.numel() for p in model.parameters()]
        learning = sum(p.numel() for p in model.parameters() if p.requires_grad)
        _log.info(
            "%s: %s parameters, %s of them learning, from step %d, %d rank(s) on %s",
            name, f"{sum(sizes):,}", f"{learning:,}", self.progress.step, ranks.world,
            ranks.device.type,
        )  # fmt: skip

    def step(self) -> dict[str, float]:
        """Make one step and return its line of metrics."""
        raise NotImplementedError

    def evaluate(self) -> dict[str, float]:
        """Measure the model on held-out pairs."""
        raise NotImplementedError

    def go(self, stop_at: int | None = None) -> None:
        """Make steps until the run is done, has to stop, or has made step ``stop_at``.

        Raises
        ------
        Stopped
            A signal asked for it; a checkpoint is written first.
        """
        progress, settings, ranks = self.progress, self.settings, self.ranks
        reporter = Reporter(
            self.run_dir, progress.step, active=ranks.first, tensorboard=settings.tensorboard
        )
        started = saved = time.monotonic()
        before, signal = progress.seconds, 0
        with DeferredSignals() as signals:
            try:
                while share_done(progress, settings) < 1 and progress.step != stop_at:
                    ranks.doing = f"in step {progress.step + 1}"
                    row = self.step()
                    # Clocks differ, and a signal may reach one rank alone: all do what all know.
                    now = time.monotonic()
                    due = now - saved >= settings.checkpoint_seconds
                    told = ranks.table([before + now - started, due, signals.asked])
                    progress.seconds, signal = told[0][0], int(max(other[2] for other in told))
                    done = share_done(progress, settings)
                    reporter.step(row, done)
                    if signal:
                        break
                    if progress.step % settings.evaluate_every == 0 or done == 1:
                        ranks.doing = f"in the evaluation after step {progress.step}"
                        reporter.evaluation(progress.step, self.evaluate())
                    if told[0][1]:
                        self.save()
                        saved = time.monotonic()
                self.save()
            finally:
                reporter.close()
            if ranks.first and reporter.written:
                draw([self.run_dir], self.run_dir / "curve.png")
        if signal:
            raise Stopped(signal)

    def save(self) -> None:
        """Write a checkpoint."""
        self.ranks.doing = f"while saving step {self.progress.step}"
        checkpoint.save(
            self.run_dir, self._whole, self.optimizer, self.progress, self.ranks, self.averages
        )

    def set_rate(self) -> float:
        """Give the optimizer the learning rate of this step, drop old gradients, and return it."""
        rate = learning_rate(self.progress, self.settings)
        set_learning_rate(self.optimizer, rate)
        self.optimizer.zero_grad(set_to_none=True)
        return rate

    def means(self, figures: Mapping[str, float], norm: float) -> dict[str, float]:
        """Return the means over the ranks; stop all ranks where anything on any is not finite.

        Parameters
        ----------
        figures
            ``loss`` and its parts on this rank.
        norm
            Of the gradients of all ranks.

        Raises
        ------
        InputError
            The message names the step, the parts and, where it is not all of them, the rank.
        """
        table = self.ranks.table([*figures.values(), norm])
        wrong = {
            (rank, name): value
            for rank, row in enumerate(table)
            for name, value in zip([*figures, _NORM], row)
            if not math.isfinite(value)
        }
        if not wrong:
            return {name: sum(row) / len(row) for name, row in zip(figures, zip(*table))}
        # The norm is that of all ranks; the figures are each rank's own.
        where = {rank for rank, name in wrong if name != _NORM}
        shown = ", ".join(dict.fromkeys(n for _, n in wrong if n not in ("loss", _NORM)))
        name = "loss" if any(name == "loss" for _, name in wrong) else _NORM
        value = next(value for (_, key), value in wrong.items() if key == name)
        if 0 < len(where) < len(table):
            shown += f" on rank {min(where)}"
        raise InputError(
            f"{name} is {value} at step {self.progress.step + 1}"
            + (f" ({shown})" if shown else ""),
            code="input.not_finite",
            where=str(self.run_dir),
            hint="check the data, or lower learning_rate; --resume starts before this step",
        )
