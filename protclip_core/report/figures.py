"""All pictures in one style: fonts, colours, forms of files, equal bytes for equal pictures."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from protclip_core.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "FORMS",
    "GREY",
    "TEXT_GREY",
    "curve_paths",
    "drawing",
    "new_figure",
    "plot_form",
    "quiet",
    "rendered",
]

#: Endings of files, without the dot; also the names that matplotlib gives them.
FORMS = ("png", "svg", "pdf")
#: Of lines and marks, and of small print.
GREY, TEXT_GREY = "#8a8a8a", "#444444"
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "protclip",
    "pdf.fonttype": 42,
    "font.family": "DejaVu Sans",
    "text.parse_math": False,  # a $ of an id is a dollar
}
#: Without a date or version, equal pictures are equal files.
_METADATA: dict[str, dict[str, Any]] = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": "protclip"},
    "pdf": {"CreationDate": None, "Producer": "protclip", "Creator": "protclip"},
}


def plot_form(path: Path) -> str:
    """Return the form that the ending of a file asks for.

    Raises
    ------
    UsageError
        An ending that is not one of `FORMS`.
    """
    form = path.suffix.lower().removeprefix(".")
    if form not in FORMS:
        raise UsageError(
            f"a picture cannot be written as {path.suffix or 'a file without an ending'}",
            code="usage.output_suffix",
            where=str(path),
            hint=f"end the name with {', '.join('.' + form for form in FORMS)}",
        )
    return form


def curve_paths(folder: Path) -> tuple[Path, Path, Path]:
    """Return the pictures that `head_report.draw_curves` writes; the last one for classes."""
    curves, calibration = folder / "precision_recall.png", folder / "calibration.png"
    return curves, calibration, folder / "confusion.png"


@contextmanager
def drawing() -> Iterator[None]:
    """Draw in the style of all pictures, from `new_figure` to `rendered`."""
    import matplotlib as mpl

    with mpl.rc_context(_STYLE), warnings.catch_warnings():
        # A letter of an id that the font lacks is drawn as a box; that is not a reason to fail.
        warnings.filterwarnings("ignore", message=r".*[Gg]lyph.*")
        yield


def new_figure(size: tuple[float, float] | None = None) -> Figure:
    """Return an empty figure of a size in inches; no window belongs to it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size)
    FigureCanvasAgg(figure)
    return figure


def quiet(axes: Axes) -> None:
    """Leave out the frame above and to the right."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)


def rendered(figure: Figure, form: str = "png", *, dpi: int = 130) -> bytes:
    """Return the file of a figure in one of `FORMS`; equal for equal figures."""
    data = io.BytesIO()
    figure.savefig(data, format=form, dpi=dpi, metadata=_METADATA[form])
    return data.getvalue()
