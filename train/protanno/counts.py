"""The table of entries before and after sampling per (C, R), as rows and as a picture."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import astuple, dataclass

import numpy as np

from train.protanno.sampling import Sampling

__all__ = ["ClusterRow", "cluster_rows", "draw_counts", "format_rows"]


@dataclass(frozen=True)
class ClusterRow:
    """One cluster: existence level (``?`` unknown), properties, entries, and what was kept.

    ``share`` is that of the entries that were kept, ``probability`` what it was drawn with.
    """

    existence: str
    properties: str
    entries: int
    kept: int
    share: float
    probability: float


def cluster_rows(before: np.ndarray, after: np.ndarray, sampling: Sampling) -> Iterator[ClusterRow]:
    """Give a row for each cluster that has entries, and the sum.

    Parameters
    ----------
    before, after
        Counts, (6, 5).
    sampling
        What was drawn with.
    """
    probabilities = sampling.keep_probabilities(before)
    for level in (1, 2, 3, 4, 5, 0):
        for properties in reversed(range(before.shape[1])):
            entries, kept = int(before[level, properties]), int(after[level, properties])
            if entries:
                yield ClusterRow(
                    str(level or "?"),
                    str(properties),
                    entries,
                    kept,
                    kept / entries,
                    float(probabilities[level, properties]),
                )
    entries, kept = int(before.sum()), int(after.sum())
    mean = float((before * probabilities).sum()) / max(entries, 1)
    yield ClusterRow("all", "all", entries, kept, kept / max(entries, 1), mean)


def format_rows(rows: Iterator[ClusterRow]) -> list[str]:
    """Return the lines of a tab-separated table with a header."""
    lines = ["existence\tproperties\tentries\tkept\tshare\tprobability"]
    for row in rows:
        *whole, share, probability = astuple(row)
        lines.append("\t".join((*map(str, whole), f"{share:.4f}", f"{probability:.4f}")))
    return lines


def draw_counts(before: np.ndarray, after: np.ndarray, title: str) -> bytes:
    """Draw both counts side by side, with the figures in the cells, and what share was kept.

    Parameters
    ----------
    before, after
        Counts, (6, 5).
    title
        Above the picture.

    Returns
    -------
    bytes
        A PNG.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.colors import LogNorm
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.6), layout="constrained")
    FigureCanvasAgg(figure)
    norm = LogNorm(1, max(2, int(before.max())))
    rows = [1, 2, 3, 4, 5, 0]
    panels = figure.subplots(1, 2, sharey=True)
    for axes, (name, counts) in zip(panels, (("before", before), ("after", after))):
        shown = counts[rows]
        table = np.ma.masked_equal(shown, 0)
        # A mesh, because its cells have edges.
        image = axes.pcolormesh(table, norm=norm, cmap="viridis", edgecolors="white", linewidth=2)
        middle = np.sqrt(norm.vmax or 1)
        for (row, column), value in np.ndenumerate(shown):
            colour = "black" if value > middle else "white" if value else "grey"
            text = f"{value:,}"
            if name == "after" and value:
                text += f"\n{value / before[rows][row, column]:.0%}"
            place = (column + 0.5, row + 0.5)
            axes.annotate(text, place, ha="center", va="center", color=colour, size=9)
        axes.set_title(f"{name}: {int(counts.sum()):,} entries")
        axes.set_xticks(np.arange(5) + 0.5, labels=[f"{value}/4" for value in range(5)])
        axes.set_yticks(np.arange(6) + 0.5, labels=[*"12345", "unknown"])
        axes.set_xlabel("coverage R")
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
    panels[0].invert_yaxis()
    panels[0].set_ylabel("existence level C")
    figure.colorbar(image, ax=panels, label="entries", pad=0.01)
    figure.suptitle(title)
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=120, metadata={"Software": None})
    return data.getvalue()
