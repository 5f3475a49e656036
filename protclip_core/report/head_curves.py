"""Pictures of how well a head does: precision and recall, calibration, and what is confused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from protclip_core.io.atomic import write_atomic
from protclip_core.measure.calibration import calibration_error, reliability
from protclip_core.records import printable
from protclip_core.report.figures import GREY, drawing, new_figure, quiet, rendered

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot_calibration", "plot_confusion", "plot_precision_recall"]

_COLOURS = ("#0b6e99", "#d1762c", "#6f6f6f", "#5d8a3a")
_SIZE, _DPI = (5.2, 4.6), 150
_MOST_POINTS = 2000
#: Classes of which counts and names are written, the width of a cell in inches and the least of
#: the map, and the letters of a name that are shown.
_MOST_COUNTED, _MOST_NAMED, _CELL, _LEAST_MAP, _LETTERS = 30, 120, 0.36, 1.8, 30


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


@drawing()
def plot_confusion(path: Path, counts: np.ndarray, names: Sequence[str], title: str) -> None:
    """Draw which classes are taken for which, shaded by the share of each true class.

    Parameters
    ----------
    path, title
        As in `plot_precision_recall`.
    counts
        Rows of each class, by the class that is predicted along a line ``(C, C)``.
    names
        Of the C classes. Beyond 120 they are left out, and beyond 30 the counts.
    """
    number = len(names)
    cell = _CELL if number <= _MOST_COUNTED else _CELL / 3
    cell = cell if number <= _MOST_NAMED else _CELL * _MOST_NAMED / 3 / number
    side = max(_LEAST_MAP, cell * number)
    shown = [_short(name) for name in names] if number <= _MOST_NAMED else []
    room = 0.45 + 0.066 * max(map(len, shown), default=0)
    width, height = side + room + 0.9, side + room + 0.7
    figure = new_figure((width, height))
    axes = figure.add_axes((room / width, room / height, side / width, side / height))
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    drawn = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
    axes.set_title(title, loc="left", fontsize=10)
    small = 8 if number <= _MOST_COUNTED else 4
    axes.set_xticks(range(len(shown)), labels=shown, rotation=90, fontsize=small)
    axes.set_yticks(range(len(shown)), labels=shown, fontsize=small)
    axes.tick_params(length=0)
    axes.set(xlabel="predicted class", ylabel="true class")
    axes.spines[:].set_color(GREY)
    if number <= _MOST_COUNTED:
        for row, column in np.argwhere(counts).tolist():
            colour = "white" if shares[row, column] > 0.55 else "black"
            text = f"{counts[row, column]:,}"
            axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=7)
    place = ((room + side + 0.12) / width, room / height, 0.14 / width, side / height)
    scale = figure.colorbar(drawn, cax=figure.add_axes(place))
    scale.ax.set_ylabel("share of the true class", fontsize=8)
    scale.ax.tick_params(labelsize=7, length=2)
    scale.outline.set_visible(False)
    write_atomic(path, rendered(figure, dpi=_DPI))


def _short(name: str) -> str:
    shown = printable(name)
    return shown if len(shown) <= _LETTERS else shown[: _LETTERS - 1] + "…"


def _figure(title: str) -> tuple[Figure, Axes]:
    figure = new_figure(_SIZE)
    axes = figure.subplots()
    axes.set_title(title, loc="left", fontsize=10)
    quiet(axes)
    return figure, axes
