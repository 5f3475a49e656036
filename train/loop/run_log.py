"""The record of a run: ``metrics.jsonl``, a log for TensorBoard, and a line now and then."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from protclip_core.errors import UsageError
from protclip_core.io.atomic import disk_error, write_atomic

__all__ = ["METRICS", "Reporter", "read_metrics"]

_log = logging.getLogger(__name__)
METRICS = "metrics.jsonl"
_LINE_SECONDS = 15.0


class Reporter:
    """Writes the figures of a run; on other ranks than the first it does nothing.

    Parameters
    ----------
    run_dir
        Folder of the run.
    step
        Steps done: lines of later ones, that a resumed run will make again, are dropped, and so
        is a torn last line.
    active
        Whether this is the first rank.
    tensorboard
        Whether to write a log for TensorBoard as well.

    Raises
    ------
    UsageError
        TensorBoard is switched on but not installed.
    """

    def __init__(self, run_dir: Path, step: int, *, active: bool, tensorboard: bool) -> None:
        self._file: Any = None
        self._board: Any = None
        self._told = float("-inf")
        if not active:
            return
        if tensorboard:
            self._board = _tensorboard(run_dir, step)
        path = run_dir / METRICS
        kept = [json.dumps(row) + "\n" for row in read_metrics(run_dir) if row["step"] <= step]
        if path.exists():
            write_atomic(path, "".join(kept).encode())
        self._path = path
        self._file = path.open("a", encoding="utf-8")

    @property
    def written(self) -> bool:
        """Whether there is a line of metrics at all."""
        return self._file is not None and self._path.stat().st_size > 0

    def step(self, row: Mapping[str, float], share: float) -> None:
        """Write the figures of a step; ``share`` is how much of the run is done."""
        self._write(row)
        now = time.monotonic()
        if self._file is not None and now - self._told >= _LINE_SECONDS:
            self._told = now
            shown = "  ".join(
                f"{name} {row[name]:.4g}" for name in row if name not in ("step", "pairs")
            )
            _log.info("step %d (%.0f %%): %s", row["step"], 100 * share, shown)

    def evaluation(self, step: int, figures: Mapping[str, float]) -> None:
        """Write the figures of an evaluation."""
        self._write({"step": step, "evaluation": "valid", **figures})
        if self._file is not None:
            shown = "  ".join(f"{name} {value:.4g}" for name, value in figures.items())
            _log.info("step %d, valid: %s", step, shown)

    def close(self) -> None:
        """Close the files."""
        for file in (self._file, self._board):
            if file is not None:
                # What it could not write has been said, or is no reason to lose the model.
                with suppress(OSError):
                    file.close()

    def _write(self, row: Mapping[str, object]) -> None:
        if self._file is None:
            return
        try:
            self._file.write(json.dumps(row) + "\n")
            self._file.flush()
        except OSError as error:
            raise disk_error(error, self._path) from error
        if self._board is not None:
            prefix = "valid" if "evaluation" in row else "train"
            for name, value in row.items():
                if isinstance(value, int | float) and name != "step":
                    self._board.add_scalar(f"{prefix}/{name}", value, row["step"])


def read_metrics(run_dir: Path) -> list[dict[str, Any]]:
    """Read the whole lines of a run's metrics; empty where there are none."""
    path = run_dir / METRICS
    if not path.exists():
        return []
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
        try:
            row = json.loads(line) if line.endswith("\n") else None
        except ValueError:
            row = None
        if not isinstance(row, dict) or "step" not in row:
            break
        rows.append(row)
    return rows


def _tensorboard(run_dir: Path, step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise UsageError(
            "tensorboard is not installed",
            code="usage.missing_library",
            where="[train] tensorboard",
            hint="pip install tensorboard, or set it to false",
        ) from error
    return SummaryWriter(str(run_dir / "tensorboard"), purge_step=step + 1)
