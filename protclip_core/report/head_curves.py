"""Pictures of how well a head does: precision against recall, and said against come true."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from protclip_core.io.atomic import write_atomic
from protclip_core.measure.calibration import calibration_error, reliability
from protclip_core.report.figures import drawing, new_figure, quiet, rendered

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot_calibration", "plot_precision_recall"]

_COLOURS = ("#0b6e99", "#d1762c", "#6f6f6f", "#5d8a3a")
_SIZE, _DPI = (5.2, 4.6), 150
_MOST_POINTS = 2000


@drawing()
def plot_precision_recall(
    path: Path, curves: Mapping[str, tuple[np.ndarray, np.ndarray]], title: str
) -> None:
    """Draw a curve for each predictor.

    Parameters
    ----------
    path
        PNG file, written whole or not at all.
    curves
        Predictor to what is right, bool, and what was said, both ``(N,)``; the first is drawn
        the strongest.
    title
        Above the picture.

    Raises
    ------
    UsageError, ResourceError
        The file cannot be written.
    """
    from sklearn.metrics import average_precision_score, precision_recall_curve

    figure, axes = _figure(title)
    for number, (name, (yes, said)) in enumerate(curves.items()):
        precision, recall, _ = precision_recall_curve(yes, said)
        # Below the last row that is right precision only falls; the very end is made up.
        start = int(np.flatnonzero(recall == recall[0])[-1])
        precision, recall = precision[start:-1], recall[start:-1]
        kept = np.unique(np.linspace(0, len(recall) - 1, _MOST_POINTS).astype(int))
        axes.plot(
            recall[kept],
            precision[kept],
            drawstyle="steps-post",
            marker="o" if len(kept) == 1 else None,
            color=_COLOURS[number % len(_COLOURS)],
            linewidth=2.2 if number == 0 else 1.4,
            label=f"{name} ({average_precision_score(yes, said):.3f})",
            zorder=len(curves) - number + 2,
        )
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1.01), ylim=(0, 1.02))
    axes.legend(frameon=False, loc="best", title="average precision", alignment="left")
    write_atomic(path, rendered(figure, dpi=_DPI))


@drawing()
def plot_calibration(path: Path, said: np.ndarray, right: np.ndarray, title: str) -> None:
    """Draw how often came true what was said, bin by bin, and how much was said in each.

    Parameters
    ----------
    path, title
        As in `plot_precision_recall`.
    said, right
        Probabilities and whether they came true, ``(N,)``.
    """
    error = calibration_error(said, right, least=0.0)
    figure, axes = _figure(f"{title}\nexpected calibration error {error:.3f}")
    found = reliability(said, right, least=0.0)
    axes.plot([0, 1], [0, 1], color="#b5b5b5", linewidth=1, linestyle=(0, (4, 3)))
    # Half an interval of 95 %, by the normal approximation, with a row of either kind added.
    share = (found.true * found.counts + 1) / (found.counts + 2)
    half = 1.96 * np.sqrt(share * (1 - share) / (found.counts + 2))
    axes.errorbar(
        found.said,
        found.true,
        yerr=half,
        color=_COLOURS[0],
        marker="o",
        markersize=4,
        linewidth=1.6,
    )
    axes.set(ylabel="share that came true", xlim=(0, 1), ylim=(0, 1.02))
    axes.tick_params(labelbottom=False, bottom=False)
    below = axes.inset_axes((0, -0.24, 1, 0.2))
    below.hist(said, bins=15, range=(0, 1), color=_COLOURS[0], alpha=0.55)
    below.set(xlabel="probability", ylabel="count", xlim=(0, 1))
    quiet(below)
    figure.subplots_adjust(bottom=0.3)
    write_atomic(path, rendered(figure, dpi=_DPI))


def _figure(title: str) -> tuple[Figure, Axes]:
    figure = new_figure(_SIZE)
    axes = figure.subplots()
    axes.set_title(title, loc="left", fontsize=10)
    quiet(axes)
    return figure, axes
