"""A scan as a picture: positions by residues, the wild type marked, a row for each 100 positions.

Legend: L residues of the protein.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from protclip_core.errors import UsageError
from protclip_core.report.figures import drawing, new_figure, rendered
from protclip_core.variants.residues import LETTERS, NUM_STANDARD

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["heat_map"]

#: Positions of one row of the picture.
_ROW = 100
#: Residues from top to bottom, alike ones beside each other.
_ORDER = "GAVLIMFYWHKRQNEDSTPC"
_INCH = 0.16  # of one position


def heat_map(
    title: str,
    sequence: str,
    scores: np.ndarray,
    *,
    offset: int = 0,
    region: tuple[int, int] | None = None,
    form: str = "png",
) -> bytes:
    """Draw the scores of all single substitutions of a protein.

    Parameters
    ----------
    title
        Stands above; protein and method.
    sequence
        Wild type, ``L`` residues.
    scores
        ``(L, 20)`` in the order of `LETTERS`; what is not finite is left grey.
    offset
        Added to positions of the sequence.
    region
        First and last position to draw, counted with the offset; None: all.
    form
        One of `protclip_core.report.figures.FORMS`.

    Returns
    -------
    bytes
        The file. Colours run from the lowest to the highest score, white at 0 where that is
        between; the extreme 1 % at either end share the last colour.

    Raises
    ------
    UsageError
        More positions than a picture of 65,000 points takes, 20,000.
    """
    first, last = region or (1 + offset, len(sequence) + offset)
    places = range(first - 1 - offset, last - offset)
    starts = range(places.start, places.stop, _ROW)
    if len(places) > 20_000:
        raise UsageError(
            f"{len(places):,} positions do not go into one picture", hint="choose a --region"
        )
    from matplotlib import colormaps

    with drawing():
        width = min(_ROW, len(places))
        height = len(starts) * (len(_ORDER) * _INCH + 0.75) + 0.6
        figure = new_figure((max(5.0, width * _INCH + 2.2), height))
        rows: list[Axes] = figure.subplots(len(starts), 1, squeeze=False)[:, 0].tolist()
        order = [LETTERS.index(letter) for letter in _ORDER]
        assert len(order) == NUM_STANDARD
        norm = _colours(scores[places.start : places.stop])
        palette = colormaps["RdBu"].with_extremes(bad="0.85")
        drawn: Any = None
        for axes, start in zip(rows, starts, strict=True):
            stop = min(start + _ROW, places.stop)
            part = np.ma.masked_invalid(scores[start:stop, order].T)
            drawn = axes.pcolormesh(
                np.arange(start, stop + 1) + 0.5 + offset, np.arange(21) - 0.5, part,
                cmap=palette, norm=norm,
            )  # fmt: skip
            _label(axes, sequence, start, stop, offset, start + width + offset)
        bottom, top, left = 0.5 / height, 1 - 0.55 / height, 0.45 / figure.get_figwidth()
        figure.subplots_adjust(left, bottom, 1 - 1.25 / figure.get_figwidth(), top, hspace=0.22)
        figure.suptitle(title, x=left, y=1 - 0.12 / height, ha="left", va="top", fontsize=10)
        scale = figure.add_axes(
            (1 - 0.95 / figure.get_figwidth(), top - 2.6 / height, 0.16 / figure.get_figwidth(),
             2.6 / height)
        )  # fmt: skip
        figure.colorbar(drawn, cax=scale, extend="both").set_label(
            "score (low: harmful)", fontsize=8
        )
        scale.tick_params(labelsize=7)
        return rendered(figure, form)


def _colours(scores: np.ndarray) -> Any:
    """Scale from scores to colours."""
    from matplotlib.colors import Normalize, TwoSlopeNorm

    known = scores[np.isfinite(scores)]
    low, high = np.quantile(known, [0.01, 0.99]) if len(known) else (0.0, 1.0)
    if low < 0 < high:
        return TwoSlopeNorm(0.0, low, high)
    # All of one sign: the middle of the colours is of no meaning then.
    return Normalize(low, high if high > low else low + 1.0)


def _label(axes: Axes, sequence: str, start: int, stop: int, offset: int, right: int) -> None:
    """Mark the wild type, and write letters and numbers at the edges."""
    own = sequence[start:stop]
    positions = range(start + 1 + offset, stop + 1 + offset)
    known = [(p, _ORDER.index(letter)) for p, letter in zip(positions, own) if letter in _ORDER]
    across, down = [p for p, _ in known], [row for _, row in known]
    axes.scatter(across, down, s=7, c="black", marker="o", linewidths=0)
    axes.set_yticks(range(len(_ORDER)), list(_ORDER), fontsize=7, family="monospace")
    axes.set_xlim(start + 0.5 + offset, right + 0.5)
    axes.set_ylim(len(_ORDER) - 0.5, -0.5)
    axes.tick_params(length=2, pad=2)
    tens = [p for p in positions if p % 10 == 0 or p == positions[0]]
    axes.set_xticks(tens, [str(p) for p in tens], fontsize=7)
    for position, letter in zip(positions, own):
        axes.text(position, -0.75, letter, fontsize=6, ha="center", family="monospace")
    for side in ("top", "right", "bottom", "left"):
        axes.spines[side].set_visible(False)
