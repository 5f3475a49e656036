"""``protclip classify``: heads on the labels of a lab's own proteins."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING

from protclip_cli.figures import (
    CLASS_COLUMNS,
    SCORE_COLUMNS,
    Curves,
    PerClass,
    check_folder,
    class_rows,
    draw,
    score_rows,
    tell_prevalence,
    tell_thresholds,
)
from protclip_cli.groups import Entry, new_group
from protclip_cli.output import Format, Results, Value, begun, write_rows
from protclip_cli.terminal import Terminal, end_partial
from protclip_core.records import counted
from protclip_core.tasks.classify.request import EvaluateRequest, FitRequest, PredictRequest

if TYPE_CHECKING:
    from pathlib import Path

    from protclip_core.tasks.classify.evaluate import EvaluateReport
    from protclip_core.tasks.classify.fit import FitReport


def fit(
    terminal: Terminal,
    request: FitRequest,
    *,
    per_class: PerClass = False,
    plot: Curves = None,
    format: Format = "auto",
) -> None:
    """Fit a head to labels, and measure it next to baselines."""
    from protclip_core.tasks.classify.fit import fit as run

    read = (request.labels, *request.inputs, request.sequences)
    check_folder(plot, read, is_regression=request.task == "regression")
    report = run(request, terminal.progress())
    write_rows(*_figures(report, per_class=per_class), format)
    _tell_fit(report, request.output, terminal)
    if plot is not None:
        title = f"{request.output.name}, {report.scores[0].part}"
        draw(plot, report.truth, report.said, title, terminal)
    end_partial(report.num_failures, report.first_failures)


def predict(terminal: Terminal, request: PredictRequest, results: Results) -> None:
    """Predict the labels of proteins."""
    from protclip_core.tasks.classify.predict import Predicting

    read = (*request.inputs, str(request.head))
    to = results.target(*read)
    with Predicting(request) as predicting:
        rows = begun(predicting.predictions(terminal.progress(to.screen)))
        if predicting.is_regression:
            to.write(rows, ("protein_id", "value", "note"), value="probability")
        else:
            to.write(rows, ("protein_id", "label", "probability", "rank", "note"))
    what = "a value" if predicting.is_regression else "labels"
    terminal.tell(f"{what} for {predicting.listed:,} of {counted(predicting.proteins, 'protein')}")
    if request.prevalence:
        tell_prevalence(predicting.head, request.prevalence, terminal)
    end_partial(predicting.num_failures, predicting.first_failures)


def evaluate(
    terminal: Terminal,
    request: EvaluateRequest,
    *,
    per_class: PerClass = False,
    plot: Curves = None,
    results: Results,
) -> None:
    """Measure a head on labels that it has not seen."""
    from protclip_core.tasks.classify.evaluate import evaluate as run

    read = (request.labels, *request.inputs, request.head, request.sequences)
    check_folder(plot, read)
    to = results.target(*read)
    report = run(request, terminal.progress())
    to.write(*_figures(report, per_class=per_class))
    if plot is not None:
        title = f"{request.head.name}, {request.labels}"
        draw(plot, report.truth, report.said, title, terminal)
    end_partial(report.num_failures, report.first_failures)


def _figures(
    report: FitReport | EvaluateReport, *, per_class: bool
) -> tuple[Iterator[dict[str, Value]], tuple[str, ...]]:
    """Give rows of figures and their columns."""
    rows = score_rows(report.scores)
    if not per_class:
        return rows, SCORE_COLUMNS
    of_classes = class_rows(report.truth, report.said["head"], report.scores[0].part)
    return chain(rows, of_classes), CLASS_COLUMNS


def _tell_fit(report: FitReport, output: Path, terminal: Terminal) -> None:
    train, valid, test = report.counts
    terminal.tell(f"task: {report.truth.task} ({report.reason})")
    fitted = report.card.fit
    chosen = ", ".join(f"{name} {value:g}" for name, value in fitted["parameters"].items())
    terminal.tell(
        f"{counted(train, 'protein')} to fit on, {valid:,} to choose by, {test:,} to measure on "
        f"(split: {report.split.kind})"
    )
    for line in report.split.leakage:
        terminal.tell(line)
    error = f"; calibration error {fitted['ece']:.3f}" if "ece" in fitted else ""
    what = "value" if report.card.regression else f"{len(report.card.labels):,} labels"
    terminal.tell(f"{output}: {fitted['kind']} head of {what} ({chosen}){error}")
    tell_thresholds(fitted.get("thresholds", []), terminal)


classify_group = new_group(
    "Fit a protein classifier to your own labels, measure it, and predict with it.",
    {
        "fit": Entry(
            fit,
            """\
LABELS has the columns protein_id, label and, optionally, split (train, valid, test)
and group, divided by tabs or commas. A protein with several labels has several lines,
or ';' between them; or each label has a column of 0 and 1.

Examples:
  protclip classify fit labels.tsv --embeddings x.fa -o place.head --plot curves
  protclip classify fit heat.tsv --task regression --embeddings x.h5 -o heat.head
  protclip classify fit labels.tsv --embeddings x.h5 -o place.head
    predictor    metric    value  low    high   part  proteins
    head         accuracy  0.812  0.764  0.858  test  250
    composition  accuracy  0.644  0.584  0.700  test  250""",
        ),
        "predict": Entry(
            predict,
            """\
Columns: protein_id label probability rank note; of a regression: protein_id value note.

Examples:
  protclip classify predict x.h5 --head place.head --min-probability 0.5 -o x.csv
  protclip classify predict x.fa --head place.head
    protein_id  label    probability  rank
    P69905      cytosol  0.913        1""",
        ),
        "evaluate": Entry(
            evaluate,
            """\
Proteins that the head was fitted on are left out. If LABELS has splits, the head is
measured on its test.

Example:
  protclip classify evaluate new.tsv new.fa --head place.head --plot curves
    predictor  metric    value  low    high   part  proteins
    head       accuracy  0.790  0.731  0.846  test  180""",
        ),
    },
)
