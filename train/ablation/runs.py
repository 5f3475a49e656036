"""The runs of an ablation: each trained once, whatever kills it on the way."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

from protclip_core.errors import UsageError
from train import pretrain
from train.ablation.table import FIGURES
from train.config.run import RunConfig, changed_keys, load_saved_config
from train.loop import checkpoint
from train.loop.run_log import read_metrics
from train.loop.setup import CONFIG

__all__ = ["run_once"]


def run_once(config: RunConfig, out: Path) -> dict[str, float]:
    """Train a run to its end, unless it is there, and return what it found.

    Parameters
    ----------
    config
        The run; its name is that of its folder.
    out
        Folder of all runs.

    Returns
    -------
    dict
        `train.ablation.table.FIGURES` as far as it has them, and ``pairs`` held out.

    Raises
    ------
    UsageError
        It was begun with other settings.
    ProtclipError
        Whatever ends a training early.
    """
    run_dir = out / config.name
    saved = run_dir / CONFIG
    if saved.exists():
        changes = changed_keys(load_saved_config(saved), config)
        if changes:
            raise UsageError(
                f"was begun with other settings ({changes[0]})",
                where=str(run_dir),
                hint="give those again, or another --out",
            )
    found = _finished(config, run_dir)
    if found is None:
        resume = _newest(run_dir) is not None
        if not resume:
            # Killed before its first checkpoint: begun anew, but for the texts that it has kept.
            saved.unlink(missing_ok=True)
            _share_texts(config, out)
        pretrain.train(config, run_dir=run_dir, resume=resume)
        found = _finished(config, run_dir)
        assert found is not None
    return found


def _finished(config: RunConfig, run_dir: Path) -> dict[str, float] | None:
    """Return the figures of a finished run; ``None`` where it is not."""
    newest, last = _newest(run_dir), config.train.max_steps
    if newest is None:
        return None
    progress = checkpoint.read_progress(newest)
    rows = [row for row in read_metrics(run_dir) if "evaluation" in row and row["step"] == last]
    if progress.step != last or not rows:
        return None
    figures = {name: rows[-1][name] for name in FIGURES if name in rows[-1]}
    return {**figures, "pairs": rows[-1]["pairs"], "seconds": progress.seconds}


def _newest(run_dir: Path) -> Path | None:
    if not (run_dir / CONFIG).exists() or not any(run_dir.glob("step-*")):
        return None
    return checkpoint.find(run_dir)


def _share_texts(config: RunConfig, out: Path) -> None:
    """Take over what runs of the same sample and seed have kept; this one looks whether it fits."""
    run_dir = out / config.name
    for other in sorted(out.glob(f"*/{CONFIG}")):
        with suppress(UsageError):
            theirs = load_saved_config(other)
            if other.parent == run_dir or (theirs.data.pairs, theirs.train.seed) != (
                config.data.pairs,
                config.train.seed,
            ):
                continue
            for table in sorted(other.parent.glob("*.npy")):
                facts = table.with_suffix(".json")
                # They are written last, and taken over last.
                if facts.exists():
                    run_dir.mkdir(exist_ok=True)
                    _link(table, run_dir / table.name)
                    _link(facts, run_dir / facts.name)


def _link(source: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
