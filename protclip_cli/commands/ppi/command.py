"""``protclip ppi``: which proteins interact, and heads that say so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from protclip_cli.boundary import say
from protclip_cli.commands.ppi.output import NetworkResults, write_pairs
from protclip_cli.commands.ppi.report import (
    FIGURE_COLUMNS,
    draw_measured,
    end_failures,
    end_partial,
    figure_rows,
    tell_counts,
    tell_default,
    tell_leaks,
    tell_predicted,
)
from protclip_cli.figures import Curves, check_folder, tell_prevalence, tell_thresholds
from protclip_cli.output import Format, Results, Value, begun, write_rows
from protclip_cli.terminal import Terminal
from protclip_core.options import Opt
from protclip_core.tasks.ppi.request import (
    EvaluateRequest,
    PredictRequest,
    SplitRequest,
    TrainRequest,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from protclip_core.tasks.ppi.split_list import SplitReport


def fit(
    terminal: Terminal, request: TrainRequest, *, plot: Curves = None, format: Format = "auto"
) -> None:
    """Fit a head to pairs, and measure it."""
    from protclip_core.tasks.ppi.train import train as run

    check_folder(plot, (request.pairs, request.valid, request.test, *request.inputs))
    report = run(request, terminal.progress())
    rows = [row for part, one in report.measured.items() for row in figure_rows(one, part)]
    write_rows(rows, FIGURE_COLUMNS, format)
    for counts in report.counts.values():
        tell_counts(counts, terminal)
    drawn = sum(report.drawn.values())
    made = f", {drawn:,} negatives sampled ({request.negatives})" if drawn else ""
    sizes = ", ".join(f"{name} {size:,}" for name, (size, _) in report.parts.items())
    unused = f", unused {report.unused:,}" if report.unused else ""
    terminal.tell(f"pairs: {sizes}{unused} (split: {report.split}{made})")
    for part, leaks in report.leaks.items():
        tell_leaks(leaks, terminal, part)
    terminal.tell(f"{request.output}: {report.kind} head on features '{report.features}'")
    tell_thresholds(report.thresholds, terminal)
    if plot is not None and report.measured:
        part, measured = list(report.measured.items())[-1]
        draw_measured(plot, measured, f"{request.output.name}, {part}", terminal)
    end_partial([*report.counts.values()])


def predict(
    terminal: Terminal,
    request: PredictRequest,
    *,
    all_types: Annotated[bool, Opt("A row for each type, not only for the best one.")] = False,
    results: NetworkResults,
) -> None:
    """Predict interactions of listed pairs, of two groups, or of all proteins."""
    from protclip_core.tasks.ppi.predict import Prediction

    read = (request.pairs, *(request.bipartite or ()), *request.inputs, request.head)
    to = results.target(*read)
    prediction = Prediction(request, terminal.progress(to.screen))
    if request.head is None:
        tell_default(prediction.head, terminal)
    labels = prediction.head.card.labels if prediction.head.card.multilabel else None
    if all_types and labels is None:
        say("warning: --all-types is for heads for types; this one says whether, not how")
    with to.open() as out:
        written = write_pairs(
            begun(prediction.blocks()),
            labels,
            to.form,
            out,
            notes=request.pairs is not None,
            every_type=all_types,
            least=request.min_probability or 0.0,
        )
    tell_predicted(prediction, written, terminal)
    tell_prevalence(prediction.head, request.prevalence, terminal)
    end_failures(prediction.num_failures, prediction.first_failures)


def evaluate(
    terminal: Terminal, request: EvaluateRequest, *, plot: Curves = None, results: Results
) -> None:
    """Measure a head on pairs, and say which of them it was trained on."""
    from protclip_core.tasks.ppi.evaluate import evaluate as run

    read = (request.pairs, *request.inputs, request.head)
    check_folder(plot, read)
    to = results.target(*read)
    report = run(request, terminal.progress())
    assert report.measured is not None
    assert report.head is not None
    if request.head is None:
        tell_default(report.head, terminal)
    to.write(figure_rows(report.measured), FIGURE_COLUMNS)
    tell_counts(report.counts, terminal)
    if report.drawn:
        how = f"({request.negatives}, seed {request.seed})"
        terminal.tell(f"{report.drawn:,} negatives sampled {how}")
    if report.leaks is not None:
        tell_leaks(report.leaks, terminal)
    if plot is not None:
        name = request.head.name if request.head else "default head"
        draw_measured(plot, report.measured, f"{name}, {request.pairs}", terminal)
    end_partial([report.counts])


def split(terminal: Terminal, request: SplitRequest, results: Results) -> None:
    """Split pairs into train, valid and test, and report what these share."""
    from protclip_core.tasks.ppi.split_list import split_list

    read = (request.pairs, request.sequences)
    to = results.target(*read)
    report = split_list(request)
    found = report.pairs
    columns = ["protein_a", "protein_b"]
    columns += ["label"] if found.labels is not None else []
    columns += ["types"] if found.types is not None else []
    with to.open() as out:
        form = "tsv" if to.form == "auto" else to.form  # to be read again, also from a terminal
        write_rows(_split_rows(report), [*columns, "split"], form, out)
    tell_counts(found.counts, terminal)
    sizes = ", ".join(f"{name} {size:,}" for name, size in report.sizes.items() if size)
    how = f"(split: {request.split}, seed {request.seed}; {report.proteins:,} proteins)"
    terminal.tell(f"pairs: {sizes} {how}")
    for part, leaks in report.leaks.items():
        tell_leaks(leaks, terminal, part)
    end_partial([found.counts])


def _split_rows(report: SplitReport) -> Iterator[dict[str, Value]]:
    from protclip_core.io.pairs.lists import SPLITS

    found = report.pairs
    for row, (a, b) in enumerate(zip(found.a.tolist(), found.b.tolist(), strict=True)):
        cells: dict[str, Value] = {
            "protein_a": found.proteins[a],
            "protein_b": found.proteins[b],
            "split": SPLITS[report.splits[row]],
        }
        if found.labels is not None:
            cells["label"] = int(found.labels[row])
        if found.types is not None:
            chosen = zip(found.type_names, found.types[row], strict=True)
            cells["types"] = ";".join(name for name, has in chosen if has)
        yield cells
