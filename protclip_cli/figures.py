"""Figures of heads as rows, and the curves that go with them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from protclip_cli.output import Value, defined
from protclip_cli.terminal import Terminal
from protclip_core.errors import UsageError
from protclip_core.options import OUTPUT, Opt
from protclip_core.records import printable

if TYPE_CHECKING:
    import numpy as np

    from protclip_core.heads import Head, Targets
    from protclip_core.report.head_report import Score

__all__ = [
    "CLASS_COLUMNS",
    "SCORE_COLUMNS",
    "Curves",
    "PerClass",
    "check_folder",
    "class_rows",
    "draw",
    "score_rows",
    "tell_prevalence",
    "tell_thresholds",
]

SCORE_COLUMNS = ("predictor", "metric", "value", "low", "high", "part", "proteins")
#: With figures of each class.
CLASS_COLUMNS = (*SCORE_COLUMNS, "label", "predicted")
PerClass = Annotated[
    bool,
    Opt(
        "Also give precision, recall, F1 and support of each class, and the confusion matrix.",
        "--per-class",
        panel=OUTPUT,
    ),
]
Curves = Annotated[
    Path | None,
    Opt(
        "Folder for pictures of precision and recall, of the calibration, and of the confusion of "
        "classes.",
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


def class_rows(truth: Targets, said: np.ndarray, part: str) -> Iterator[dict[str, Value]]:
    """Give a row of `CLASS_COLUMNS` for each figure of a class; a regression has none."""
    from protclip_core.report.per_class import figures_per_class

    if truth.task == "values":
        return
    for one in figures_per_class(truth, said):
        yield {
            "predictor": "head",
            "metric": one.metric,
            "value": defined(one.value),
            "part": part,
            "proteins": len(truth),
            "label": one.label,
            "predicted": one.predicted,
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
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        message = f"cannot create the folder: {reason}"
        raise UsageError(message, code="usage.output_unwritable", where=str(folder)) from error
    check_outputs(inputs, curve_paths(folder))


def tell_thresholds(found: Iterable[Mapping[str, float]], terminal: Terminal) -> None:
    """Tell from which probability on what is listed has a precision, on held-out rows."""
    for one in found:
        terminal.tell(
            f"probability {one['threshold']:.3f} or more: precision {one['precision']:g}, "
            f"recall {one['recall']:.2f}"
        )


def tell_prevalence(head: Head, wanted: Sequence[float] | None, terminal: Terminal) -> None:
    """Tell for which shares of its classes the probabilities of a head are."""
    shares = head.card.fit.get("prevalence")
    if not isinstance(shares, list) or len(shares) != len(head.card.labels):
        terminal.tell("the head does not say for which prevalence it was calibrated")
        return
    names = head.card.labels
    if len(names) == 2 and not head.card.multilabel:
        names, shares = names[1:], shares[1:]
    shown = ", ".join(f"{printable(n)} {s:.3g}" for n, s in zip(names, shares, strict=True))
    told = f"calibrated for a prevalence of {shown}"
    if wanted is None:
        terminal.tell(f"{told}; --prevalence corrects probabilities to another")
    else:
        terminal.tell(f"{told}; corrected to {', '.join(f'{share:g}' for share in wanted)}")


def draw(
    folder: Path, truth: Targets, said: dict[str, np.ndarray], title: str, terminal: Terminal
) -> None:
    """Draw the curves of what was said into a folder, and tell where they are."""
    from protclip_core.report.head_report import draw_curves

    for path in draw_curves(folder, truth, said, title):
        terminal.tell(f"{path}: drawn")
