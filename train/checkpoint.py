"""Checkpoints of a run: written beside, then renamed, so that a kill never leaves half of one.

A checkpoint is a directory ``step-00001234`` with ``model.safetensors``, ``optimizer.pt`` (read
with ``weights_only=True``) and ``state.json`` (see `Progress`).
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from protclip_core.errors import ModelError

__all__ = ["Progress", "latest", "load", "read_progress", "save"]

_KEPT = 2


@dataclass
class Progress:
    """Where a run stands: steps done, the place of the next batch, and the time it took."""

    step: int = 0
    epoch: int = 0
    position: int = 0
    seconds: float = 0.0


def save(
    run_dir: Path, model: nn.Module, optimizer: torch.optim.Optimizer, progress: Progress
) -> Path:
    """Write a checkpoint atomically and remove all but the two newest.

    The random numbers of a run come from its seed and its progress (see `train.data`); torch's
    own generator is stored as well, for a model that draws from it.
    """
    final = run_dir / f"step-{progress.step:08d}"
    temporary = run_dir / f".{final.name}.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    save_file(
        {name: value.detach().clone() for name, value in model.state_dict().items()},
        temporary / "model.safetensors",
    )
    state = {"optimizer": optimizer.state_dict(), "torch_rng": torch.get_rng_state()}
    torch.save(state, temporary / "optimizer.pt")
    (temporary / "state.json").write_text(json.dumps(asdict(progress)) + "\n", encoding="utf-8")
    for path in temporary.iterdir():
        _sync(path)
    _sync(temporary)
    if final.exists():
        # The same step of the same run: nothing to gain from replacing it.
        shutil.rmtree(temporary)
        return final
    temporary.rename(final)
    _sync(run_dir)
    for old in _all(run_dir)[:-_KEPT]:
        shutil.rmtree(old, ignore_errors=True)
    return final


def load(
    directory: Path, model: nn.Module, optimizer: torch.optim.Optimizer | None = None
) -> Progress:
    """Restore model, optimizer and torch's generator; return the progress."""
    model.load_state_dict(load_file(directory / "model.safetensors"))
    if optimizer is not None:
        state = torch.load(directory / "optimizer.pt", weights_only=True)
        optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["torch_rng"])
    return read_progress(directory)


def read_progress(directory: Path) -> Progress:
    """Return where the run stood at a checkpoint."""
    return Progress(**json.loads((directory / "state.json").read_text(encoding="utf-8")))


def latest(run_dir: Path) -> Path:
    """Return the newest checkpoint.

    Raises
    ------
    ModelError
        The directory holds none.
    """
    found = _all(run_dir)
    if not found:
        raise ModelError("no checkpoint to resume from", where=str(run_dir))
    return found[-1]


def _all(run_dir: Path) -> list[Path]:
    return sorted(run_dir.glob("step-*"))


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
