"""A picture of how often probabilities come true."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from protclip_core.measure.calibration import calibration_error, reliability

__all__ = ["draw_reliability"]


def draw_reliability(pairs: Mapping[str, tuple[np.ndarray, np.ndarray]], path: Path) -> None:
    """Draw a reliability diagram for each aspect, with the number of pairs of each bin below.

    Parameters
    ----------
    pairs
        Aspect to the probabilities of pairs and whether they are right, ``(E,)`` each.
    path
        Picture file; its ending says the format.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.6 * max(len(pairs), 1), 4.6), layout="constrained")
    axes = figure.subplots(2, max(len(pairs), 1), squeeze=False, sharex=True, height_ratios=(3, 1))
    for column, (name, (probabilities, right)) in enumerate(pairs.items()):
        found = reliability(probabilities, right)
        error = calibration_error(probabilities, right)
        upper, lower = axes[0][column], axes[1][column]
        upper.plot([0, 1], [0, 1], color="0.6", linewidth=1)
        upper.plot(found.said, found.true, marker="o", color="C0")
        upper.set_title(f"{name}  (ECE {error:.3f})")
        upper.set_xlim(0, 1)
        upper.set_ylim(0, 1)
        upper.set_aspect("equal")
        lower.bar(found.said, found.counts, width=0.05, color="C0")
        lower.set_yscale("log")
        lower.set_ylim(bottom=1)
        lower.set_xlabel("probability said")
    axes[0][0].set_ylabel("share that is right")
    axes[1][0].set_ylabel("pairs")
    figure.savefig(path, dpi=120)
