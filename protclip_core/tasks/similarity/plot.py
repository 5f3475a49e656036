"""A picture of similarities: a heat map in the order of a clustering.

Legend: n rows and m columns, which are proteins.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from protclip_core.errors import UsageError
from protclip_core.io.atomic import write_atomic
from protclip_core.records import printable
from protclip_core.report.figures import drawing, new_figure, plot_form, rendered

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "MOST_DRAWN",
    "MOST_LABELS",
    "Order",
    "check_drawable",
    "cluster",
    "draw_heat_map",
    "save_heat_map",
]

#: Proteins of a side of a picture.
MOST_DRAWN = 2000
#: Proteins of a side whose names can still be read.
MOST_LABELS = 60
_LONGEST_LABEL = 24
#: Inches: of a row with a label, of the map at least and at most, of a dendrogram.
_CELL, _LEAST, _MOST, _TREE = 0.17, 3.2, 10.2, 0.75
_GREY = "#6f6f6f"

Floats = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True, eq=False)
class Order:
    """In which order proteins are drawn.

    Attributes
    ----------
    rows
        Their numbers, ``(n,)``.
    tree
        The clustering ``(n - 1, 4)`` as scipy has it; None of fewer than two.
    """

    rows: npt.NDArray[np.int64]
    tree: Floats | None


def cluster(scores: Floats, *, symmetric: bool) -> tuple[Order, Order]:
    """Order rows and columns by average linkage.

    Parameters
    ----------
    scores
        Similarities ``(n, m)``. A pair of which nothing is known (NaN) counts as the least
        similar one.
    symmetric
        Rows and columns are the same proteins, whose distance is 1 less their similarity. Else
        rows are apart by the Euclidean distance of their scores, and columns likewise.

    Returns
    -------
    tuple of Order
        Of the rows and of the columns; neighbours in it are as close as the tree allows.
    """
    known = np.isfinite(scores)
    filled = np.where(known, scores, scores[known].min() if known.any() else 0.0)
    if symmetric:
        distances = np.maximum(0.0, 1.0 - (filled + filled.T).astype(np.float64) / 2)
        rows, columns = np.triu_indices(len(distances), 1)
        order = _order(distances[rows, columns], len(distances))
        return order, order
    from scipy.spatial.distance import pdist

    return tuple(_order(pdist(side), len(side)) for side in (filled, filled.T))  # type: ignore[return-value]


def _order(distances: Floats, count: int) -> Order:
    from scipy.cluster.hierarchy import leaves_list, linkage

    if count < 2:
        return Order(np.arange(count), None)
    tree = linkage(distances, "average", optimal_ordering=count <= 200)
    return Order(leaves_list(tree).astype(np.int64), tree)


def save_heat_map(
    path: Path,
    scores: Floats,
    ids: tuple[Sequence[str], Sequence[str]],
    *,
    metric: str,
    symmetric: bool,
    caption: str = "",
) -> None:
    """Draw similarities into a file that appears when it is complete.

    Parameters
    ----------
    path
        Ends with ``.png``, ``.svg`` or ``.pdf``.
    scores, symmetric
        As `cluster` takes them.
    ids
        Of the rows and of the columns.
    metric
        What the scores are.
    caption
        A line of small print.

    Raises
    ------
    UsageError
        Another ending, or more than `MOST_DRAWN` proteins on a side.
    ResourceError
        The disk is full.
    """
    form = plot_form(path)
    check_drawable(max(scores.shape), path)
    data = draw_heat_map(
        scores, ids, metric=metric, symmetric=symmetric, caption=caption, form=form
    )
    write_atomic(path, data)


def check_drawable(count: int, path: Path) -> None:
    """Refuse a picture of more than `MOST_DRAWN` proteins on a side."""
    if count > MOST_DRAWN:
        raise UsageError(
            f"{count:,} proteins are too many for a picture of at most {MOST_DRAWN:,}",
            code="usage.too_many",
            where=str(path),
            hint="draw some of them",
        )


def draw_heat_map(
    scores: Floats,
    ids: tuple[Sequence[str], Sequence[str]],
    *,
    metric: str,
    symmetric: bool,
    caption: str = "",
    form: str = "png",
) -> bytes:
    """Draw similarities; parameters are those of `save_heat_map`, errors none.

    Returns
    -------
    bytes
        The file; equal for equal arguments. Names are shown for up to `MOST_LABELS` proteins.
    """
    rows, columns = cluster(scores, symmetric=symmetric)
    labels = tuple(
        [_label(side[row]) for row in order.rows] if len(side) <= MOST_LABELS else []
        for side, order in zip(ids, (rows, columns), strict=True)
    )
    with drawing():
        figure = new_figure()
        places = _lay_out(figure, scores.shape, labels)
        image = scores[np.ix_(rows.rows, columns.rows)]
        _draw_map(figure, places, image, labels, metric)
        _draw_tree(figure.add_axes(places["left"]), rows, upright=False)
        _draw_tree(figure.add_axes(places["top"]), columns, upright=True)
        _draw_caption(figure, scores.shape, caption, symmetric=symmetric)
        return rendered(figure, form)


_Places = dict[str, tuple[float, float, float, float]]


def _label(id: str) -> str:
    """Return what is written for an id: of ``sp|P69905|HBA_HUMAN`` its last part."""
    parts = [part for part in id.split("|") if part]
    shown = parts[-1] if len(parts) > 2 else id
    return printable(shown, _LONGEST_LABEL)


def _lay_out(figure: Figure, shape: tuple[int, ...], labels: tuple[list[str], ...]) -> _Places:
    """Choose the size of the picture, and where its parts are, as shares of it."""
    rows, columns = (min(_MOST, max(_LEAST, _CELL * count)) for count in shape)
    beside, below = (0.25 + 0.064 * max((len(s) for s in side), default=0) for side in labels)
    left, bottom = 0.15 + _TREE, 0.1 + below
    width, height = left + columns + beside + 1.1, bottom + rows + _TREE + 0.5
    figure.set_size_inches(width, height)

    def share(x: float, y: float, w: float, h: float) -> tuple[float, float, float, float]:
        return x / width, y / height, w / width, h / height

    return {
        "map": share(left, bottom, columns, rows),
        "left": share(0.15, bottom, _TREE - 0.04, rows),
        "top": share(left, bottom + rows + 0.04, columns, _TREE - 0.04),
        "scale": share(left + columns + beside + 0.1, bottom, 0.16, min(rows, 2.4)),
    }


def _draw_map(
    figure: Figure, places: _Places, image: Floats, labels: tuple[list[str], ...], metric: str
) -> None:
    axes = figure.add_axes(places["map"])
    known = image[np.isfinite(image)]
    # The range of what is there, without the ones of proteins with themselves.
    others = known[known < 1 - 1e-6]
    least = float(others.min()) if len(others) else 0.0
    axes.set_facecolor("#d0d0d0")
    shown = axes.imshow(
        image, cmap="viridis", vmin=least, vmax=1.0, aspect="auto", interpolation="nearest"
    )
    axes.tick_params(length=0, labelsize=8, pad=3)
    axes.yaxis.tick_right()
    axes.set_yticks(range(len(labels[0])), labels=labels[0])
    axes.set_xticks(range(len(labels[1])), labels=labels[1], rotation=90)
    axes.spines[:].set_visible(False)
    scale = figure.colorbar(shown, cax=figure.add_axes(places["scale"]))
    scale.ax.set_title(f"{metric}\nsimilarity", fontsize=8, loc="left", pad=6)
    scale.ax.tick_params(labelsize=8, length=2, color=_GREY)
    scale.outline.set_visible(False)


def _draw_tree(axes: Axes, order: Order, *, upright: bool) -> None:
    """Draw the tree of a clustering beside the map; its leaves are where the rows are."""
    axes.axis("off")
    if order.tree is None:
        return
    from matplotlib.collections import LineCollection

    count = len(order.rows)
    place = np.empty(2 * count - 1)
    place[order.rows] = np.arange(count)
    high = np.zeros(2 * count - 1)
    lines = []
    for number, (one, other, distance, _) in enumerate(order.tree, count):
        one, other = int(one), int(other)
        along = [place[one], place[one], place[other], place[other]]
        up = [high[one], distance, distance, high[other]]
        lines.append(list(zip(along, up) if upright else zip(up, along)))
        place[number], high[number] = (place[one] + place[other]) / 2, distance
    axes.add_collection(LineCollection(lines, colors=_GREY, linewidths=0.8))
    top = max(float(high.max()) * 1.03, 1e-9)
    ends = (-0.5, count - 0.5)
    if upright:
        axes.set(xlim=ends, ylim=(0, top))
    else:
        axes.set(ylim=ends[::-1], xlim=(top, 0))


def _draw_caption(figure: Figure, shape: tuple[int, ...], caption: str, *, symmetric: bool) -> None:
    counts = f"{shape[0]:,} proteins" if symmetric else f"{shape[0]:,} x {shape[1]:,} proteins"
    height = figure.get_size_inches()[1]
    text = f"{counts}, ordered by average linkage" + (f"; {caption}" if caption else "")
    figure.text(0.15 / figure.get_size_inches()[0], 1 - 0.15 / height, text, va="top", fontsize=8)
