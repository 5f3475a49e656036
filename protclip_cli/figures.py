"""Figures of heads as rows, and the curves that go with them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from protclip_cli.output import Value, defined
from protclip_cli.terminal import Terminal
from protclip_core.errors import UsageError
from protclip_core.options import OUTPUT, Opt

if TYPE_CHECKING:
    import numpy as np

    from protclip_core.heads import Targets
    from protclip_core.report.head_report import Score

__all__ = ["SCORE_COLUMNS", "Curves", "check_folder", "draw", "score_rows"]

SCORE_COLUMNS = ("predictor", "metric", "value", "low", "high", "part", "proteins")
Curves = Annotated[
    Path | None,
    Opt(
        "Folder for pictures of precision and recall, and of the calibration.",
        "--plot",
        metavar="DIR",
        panel=OUTPUT,
    ),
]


def score_rows(scores: Iterable[Score]) -> Iterator[dict[str, Value]]:
    """Give a row of `SCORE_COLUMNS` for each figure; what is not defined is empty."""
    for score in scores:
        yield {
            "predictor": score.predictor,
            "metric": score.metric,
            "value": defined(score.estimate.value),
            "low": defined(score.estimate.low),
            "high": defined(score.estimate.high),
            "part": score.part,
            "proteins": score.proteins,
        }


def check_folder(
    folder: Path | None, inputs: Iterable[str | Path | None], *, is_regression: bool = False
) -> None:
    """Refuse early what cannot be drawn or would replace an input, and make the folder."""
    if folder is None:
        return
    if is_regression:
        message = "--plot draws curves of probabilities, and a regression has none"
        raise UsageError(message, code="usage.no_plot")
    from protclip_core.io.outputs import check_outputs
    from protclip_core.report.figures import curve_paths

    check_outputs(inputs := list(inputs), (folder,))
    check_outputs(inputs, curve_paths(folder))
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        message = f"cannot create the folder: {reason}"
        raise UsageError(message, code="usage.output_unwritable", where=str(folder)) from error


def draw(
    folder: Path,
    truth: Targets,
    said: dict[str, np.ndarray],
    title: str,
    terminal: Terminal,
) -> None:
    """Draw the curves of what was said into a folder, and tell where they are."""
    from protclip_core.report.head_report import draw_curves

    for path in draw_curves(folder, truth, said, title):
        terminal.tell(f"{path}: drawn")
