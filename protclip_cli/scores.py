"""Figures of heads on standard output, and the pictures that go with them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from protclip_cli.boundary import say
from protclip_cli.options import GlobalOptions
from protclip_cli.output import Value, defined
from protclip_core.errors import UsageError

if TYPE_CHECKING:
    import numpy as np

    from protclip_core.heads import Targets
    from protclip_core.report.head_report import Score

__all__ = ["SCORE_COLUMNS", "check_plot", "draw", "score_rows"]

SCORE_COLUMNS = ("predictor", "metric", "value", "low", "high", "part", "proteins")


def score_rows(scores: Iterable[Score]) -> Iterator[dict[str, Value]]:
    """Give a row of `SCORE_COLUMNS` for each figure; what is not defined is empty."""
    for score in scores:
        numbers = (score.estimate.value, score.estimate.low, score.estimate.high)
        value, low, high = map(defined, numbers)
        yield {
            "predictor": score.predictor,
            "metric": score.metric,
            "value": value,
            "low": low,
            "high": high,
            "part": score.part,
            "proteins": score.proteins,
        }


def check_plot(
    folder: Path | None,
    inputs: Iterable[str | Path | None],
    *,
    is_regression: bool = False,
) -> None:
    """Refuse early what cannot be drawn or would replace an input, and make the folder."""
    if folder is None:
        return
    if is_regression:
        raise UsageError("--plot draws curves of probabilities, and a regression has none")
    from protclip_core.io.outputs import check_outputs
    from protclip_core.report.figures import curve_paths

    check_outputs(inputs := list(inputs), (folder,))
    check_outputs(inputs, curve_paths(folder))
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UsageError(f"cannot be made a folder: {reason}", where=str(folder)) from error


def draw(
    folder: Path,
    truth: Targets,
    said: dict[str, np.ndarray],
    title: str,
    options: GlobalOptions,
) -> None:
    """Draw the curves of what was said into a folder, and tell where they are."""
    from protclip_core.report.head_report import draw_curves

    for path in draw_curves(folder, truth, said, title):
        if not options.quiet:
            say(f"{path}: drawn")
