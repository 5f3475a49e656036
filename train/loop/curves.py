"""Draw the learning curves of one or several runs.

    python -m train.loop.curves runs/mini runs/other --out curves.png

A panel for each figure that a run has: losses of the objectives (smoothed), and what evaluation
found. Exit codes: 0 done, 2 usage, 4 a folder without metrics.
"""

from __future__ import annotations

import argparse
import io
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from protclip_core.errors import ModelError
from protclip_core.io.atomic import write_atomic
from train.loop.run_log import read_metrics
from train.loop.terminal import guarded

__all__ = ["draw", "main"]

_LOSSES: tuple[str, ...] = ("loss", "gc", "bsr", "mlm", "pda", "go", "go_prior", "go_rank")
#: Those of the text tower.
_LOSSES += ("words", "wording", "place")
#: Of every step as well, but as it is.
_OF_STEPS = (*_LOSSES, "go_scale")
_ASIDE = {"step", "evaluation", "pairs", "lr", "grad_norm", "tokens_per_s", "scale"}


def main(argv: list[str] | None = None) -> int:
    """Parse the command line, draw, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m train.loop.curves", description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path, help="directories of runs")
    parser.add_argument("--out", type=Path, help="picture (default: curve.png of the first run)")
    args = parser.parse_args(argv)
    return guarded(lambda: draw(args.runs, args.out or args.runs[0] / "curve.png"))


def draw(run_dirs: Sequence[Path], out: Path) -> None:
    """Write a PNG with a panel for each figure, and a line for each run.

    Raises
    ------
    ModelError
        A folder without metrics.
    ResourceError, UsageError
        The picture cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    runs = {str(path): read_metrics(path) for path in run_dirs}
    for name, rows in runs.items():
        if not rows:
            raise ModelError("does not hold metrics of a run", code="model.no_metrics", where=name)
    panels = _panels([row for rows in runs.values() for row in rows])
    columns = min(3, len(panels))
    lines = math.ceil(len(panels) / columns)
    figure = Figure(figsize=(4.2 * columns, 3.2 * lines))
    FigureCanvasAgg(figure)
    for place, name in enumerate(panels, start=1):
        axes = figure.add_subplot(lines, columns, place)
        for run, rows in runs.items():
            points = [(row["step"], row[name]) for row in rows if name in row]
            if points:
                steps, values = map(np.array, zip(*points))
                shown = _smooth(values) if name in _LOSSES else values
                mark = "" if name in _OF_STEPS else "o"
                axes.plot(steps, shown, marker=mark, markersize=3, label=Path(run).name)
        axes.set_title(name)
        axes.set_xlabel("step")
        axes.grid(visible=True, alpha=0.3)
    # By hand: an engine for the layout would draw everything twice.
    figure.subplots_adjust(left=0.06, right=0.98, bottom=0.08, top=0.95, wspace=0.25, hspace=0.5)
    if len(runs) > 1:
        figure.axes[0].legend()
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=110)
    write_atomic(out, data.getvalue())


def _panels(rows: Sequence[dict[str, Any]]) -> list[str]:
    names = dict.fromkeys(name for row in rows for name in row if name not in _ASIDE)
    losses = [name for name in _LOSSES if name in names]
    return losses + sorted(name for name in names if name not in losses)


def _smooth(values: np.ndarray) -> np.ndarray:
    """Mean over the last fiftieth of the points so far."""
    width = max(1, len(values) // 50)
    total = np.cumsum(np.concatenate([[0.0], values]))
    last = np.arange(1, len(values) + 1)
    first = np.maximum(0, last - width)
    return (total[last] - total[first]) / (last - first)


if __name__ == "__main__":
    sys.exit(main())
