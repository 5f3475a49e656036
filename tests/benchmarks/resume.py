"""Does a run that is killed end as one that is not? And what do kills leave of checkpoints?

    python -m tests.benchmarks.resume [--steps 40] [--kills 30]

Trains the recipe for a first look (``train/configs/debug.toml``, all objectives) straight to its
last step; and once more with a checkpoint at every step, kill -9 in the middle of the step behind
the half of them, and ``--resume``. Weights, states of the optimizer, generators and lines of
metrics (but for tokens per second) are compared bit by bit. Then a process that does nothing but
write checkpoints is killed at random moments. Ends with code 1 where anything is not equal or not
loadable. About half a minute.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from tests.train.killed import kill_saves, metrics_of, start
from train.loop import checkpoint


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--kills", type=int, default=30)
    args = parser.parse_args()
    torch.set_num_threads(1)
    half = args.steps // 2
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, name) for name in ("straight", "killed", "saves")]
        for path in paths:
            path.mkdir()
        straight, broken = (train(path, args.steps, at) for path, at in zip(paths, (0, half + 1)))
        equal = {name: compare(straight[name], broken[name]) for name in straight}
        loadable, interrupted = kill_saves(paths[2], args.kills)
    parts = [f"{same} of {number} {name}" for name, (same, number) in equal.items()]
    print(
        f"{args.steps} steps straight, and {half} steps, kill -9 in step {half + 1}, --resume: "
        f"{', '.join(parts)} equal to the bit; {args.kills} kills while checkpoints were written: "
        f"{loadable} loadable ({interrupted} left a half-written one beside it)"
    )
    return int(any(a != b for a, b in equal.values()) or loadable != args.kills)


def train(folder: Path, steps: int, kill_at: int) -> dict[str, dict[str, Any]]:
    """Train to the last step; what is there then, by kind and name."""
    # A checkpoint behind every step, where there is a kill: it is of the step before it.
    settings = {"max_steps": steps, "checkpoint_seconds": 0.0 if kill_at else 1e6}
    changes = {"train": settings}
    if kill_at:
        (ended,) = start(folder, changes=changes, fault=("kill inside", kill_at, 0)).wait()
        found = checkpoint.find(folder / "run").name
        if ended.code != -signal.SIGKILL or found != f"step-{kill_at - 1:08d}":
            sys.exit(f"not killed in step {kill_at}, but {found}, code {ended.code}: {ended.err}")
    (ended,) = start(folder, *(["--resume"] if kill_at else []), changes=changes).wait()
    if ended.code:
        sys.exit(ended.err)
    last = folder / "run" / f"step-{steps:08d}"
    states = torch.load(last / "optimizer.pt", weights_only=True)
    rest = torch.load(last / "rest.pt", weights_only=True)
    return {
        "weights": load_file(last / "model.safetensors"),
        "states of the optimizer": flat(states),
        "generators and GO vectors": flat(rest),
        "lines of metrics": dict(enumerate(metrics_of(folder / "run"))),  # type: ignore[dict-item]
    }


def flat(content: Any, name: str = "") -> dict[str, Any]:
    """Name each leaf of nested dicts and lists by its way."""
    if not isinstance(content, dict | list | tuple):
        return {name: content}
    items = content.items() if isinstance(content, dict) else enumerate(content)
    found: dict[str, Any] = {}
    for key, value in items:
        found |= flat(value, f"{name}/{key}")
    return found


def compare(one: dict[Any, Any], two: dict[Any, Any]) -> tuple[int, int]:
    """How many are equal to the bit, of how many that either has."""
    names = one.keys() | two.keys()
    both = one.keys() & two.keys()
    return sum(same(one[name], two[name]) for name in both), len(names)


def same(one: Any, two: Any) -> bool:
    if isinstance(one, torch.Tensor) and isinstance(two, torch.Tensor):
        return one.dtype == two.dtype and torch.equal(one, two)
    return type(one) is type(two) and bool(one == two)


if __name__ == "__main__":
    sys.exit(main())
