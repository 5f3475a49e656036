"""``protclip classify``: heads on the labels of a lab's own proteins."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from protclip_cli.boundary import say
from protclip_cli.head_options import (
    HeadOption,
    Kind,
    LabelsArgument,
    SequencesOption,
    SplitKind,
    Task,
    Weight,
)
from protclip_cli.left_out import end_partial
from protclip_cli.options import (
    RESAMPLES,
    CurvesOption,
    DeviceOption,
    EmbeddingsOption,
    FitModelOption,
    Format,
    FormatOption,
    GlobalOptions,
    HeadModelOption,
    HeadOutputOption,
    InputsArgument,
    OnError,
    OnErrorOption,
    OverwriteOption,
    ResamplesOption,
    SeedOption,
    Space,
    ThreadsOption,
    WorkersOption,
    command_line,
    inputs_or_pipe,
)
from protclip_cli.output import Value, begun, stdout, write_rows
from protclip_cli.progress import make_progress
from protclip_cli.scores import SCORE_COLUMNS, check_plot, draw, score_rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from protclip_core.tasks.classify.fit import FitReport
    from protclip_core.tasks.classify.predict import Predicting, Prediction

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Fit a classifier of proteins to labels of your own, measure it, and predict with it.",
)


@app.command(
    epilog="LABELS is divided by tabs: protein_id, label and, if wanted, split (train, valid, "
    "test). A protein with several labels has several lines, or ';' between them.\n\n"
    "Examples:\n\n"
    "  protclip classify fit labels.tsv --embeddings x.h5 -o place.head\n\n"
    "  protclip classify fit labels.tsv --embeddings x.fa -o place.head --plot curves\n\n"
    "  protclip classify fit heat.tsv --task regression --embeddings x.h5 -o heat.head"
)
def fit(
    context: typer.Context,
    labels: LabelsArgument,
    *,
    embeddings: EmbeddingsOption,
    output: HeadOutputOption,
    overwrite: OverwriteOption = False,
    task: Annotated[
        Task, typer.Option(help="auto: labels if a protein has several, else classes.")
    ] = Task.AUTO,
    kind: Annotated[
        Kind, typer.Option("--kind", help="auto: logistic, or ridge for a regression.")
    ] = Kind.AUTO,
    split: Annotated[
        SplitKind,
        typer.Option(
            help="By the column split; by clusters of similar sequences (needs mmseqs or "
            "diamond, and sequences); at random; none: figures from folds. auto: the first "
            "of these that can be done."
        ),
    ] = SplitKind.AUTO,
    test_share: Annotated[float, typer.Option(help="Share of a test that is made here.")] = 0.2,
    min_members: Annotated[
        int, typer.Option(help="Leave out labels with fewer proteins to fit on.")
    ] = 5,
    class_weight: Annotated[
        Weight,
        typer.Option(help="Let rare classes weigh more; auto: if they are three times rarer."),
    ] = Weight.AUTO,
    search: Annotated[
        bool, typer.Option("--search/--no-search", help="Look among a few parameters.")
    ] = True,
    seed: SeedOption = 0,
    threads: ThreadsOption = 1,
    sequences: SequencesOption = None,
    resamples: ResamplesOption = RESAMPLES,
    plot: CurvesOption = None,
    form: FormatOption = Format.AUTO,
    model: FitModelOption = None,
    space: Annotated[
        Space, typer.Option(help="Which vectors to make of FASTA: the encoder's, or joint.")
    ] = Space.ENCODER,
    device: DeviceOption = "auto",
    workers: WorkersOption = None,
    on_error: OnErrorOption = OnError.FAIL,
) -> None:
    """Fit a head to labels, and measure it beside baselines."""
    from protclip_core.heads import FitSettings
    from protclip_core.tasks.classify.fit import FitRequest
    from protclip_core.tasks.classify.fit import fit as run

    options: GlobalOptions = context.obj
    check_plot(
        plot, (labels, *(embeddings or ()), sequences), is_regression=task is Task.REGRESSION
    )
    request = FitRequest(
        labels=labels,
        inputs=inputs_or_pipe(embeddings),
        output=output,
        task=task.value,
        settings=FitSettings(
            kind=kind.value,
            class_weight=class_weight.value,
            search=search,
            seed=seed,
            threads=threads,
        ),
        split=split.value,
        test_share=test_share,
        min_members=min_members,
        sequences=sequences,
        resamples=resamples,
        overwrite=overwrite,
        model=model,
        space=space.value,
        device=device,
        workers=workers,
        on_error=on_error.value,
        command=command_line(),
    )
    report = run(request, make_progress(quiet=options.quiet))
    write_rows(score_rows(report.scores), SCORE_COLUMNS, form)
    if not options.quiet:
        _say_fit(report, output)
    if plot is not None:
        draw(plot, report.truth, report.said, f"{output.name}, {report.scores[0].part}", options)
    end_partial(report.num_failures, report.first_failures)


@app.command(
    epilog="Columns: protein_id label probability rank; of a regression: protein_id value.\n\n"
    "Examples:\n\n"
    "  protclip classify predict x.fa --head place.head\n\n"
    "  protclip classify predict x.h5 --head place.head --min-probability 0.5 --format jsonl"
)
def predict(
    context: typer.Context,
    inputs: InputsArgument = None,
    *,
    head: HeadOption,
    top_k: Annotated[
        int | None,
        typer.Option(
            "--top-k",
            metavar="K",
            help="Labels of a protein at most.",
            show_default="1, or all with --min-probability",
        ),
    ] = None,
    min_probability: Annotated[
        float | None,
        typer.Option(help="Least probability of what is listed.", show_default=False),
    ] = None,
    form: FormatOption = Format.AUTO,
    model: HeadModelOption = None,
    device: DeviceOption = "auto",
    workers: WorkersOption = None,
    on_error: OnErrorOption = OnError.FAIL,
) -> None:
    """Predict the labels of proteins."""
    from protclip_core.tasks.classify.predict import Predicting, PredictRequest

    options: GlobalOptions = context.obj
    request = PredictRequest(
        inputs=inputs_or_pipe(inputs),
        head=head,
        top_k=top_k,
        min_probability=min_probability,
        model=model,
        device=device,
        workers=workers,
        on_error=on_error.value,
    )
    with Predicting(request) as predicting:
        # A bar and rows on one terminal would overwrite each other.
        progress = make_progress(quiet=options.quiet or stdout().isatty())
        rows = begun(predicting.predictions(progress))
        if predicting.is_regression:
            write_rows(_value_rows(rows), ("protein_id", "value"), form)
        else:
            columns = ("protein_id", "label", "probability", "rank")
            write_rows(_prediction_rows(rows), columns, form)
    if not options.quiet:
        _say_predicted(predicting)
    end_partial(predicting.num_failures, predicting.first_failures)


@app.command(
    epilog="Proteins that the head was fitted on are left out. Where LABELS has splits, its test "
    "is measured on.\n\n"
    "Example:\n\n"
    "  protclip classify evaluate new.tsv new.fa --head place.head --plot curves"
)
def evaluate(
    context: typer.Context,
    labels: LabelsArgument,
    inputs: InputsArgument = None,
    *,
    head: HeadOption,
    include_seen: Annotated[
        bool, typer.Option("--include-seen", help="Measure on what the head was fitted on, too.")
    ] = False,
    sequences: SequencesOption = None,
    resamples: ResamplesOption = RESAMPLES,
    plot: CurvesOption = None,
    form: FormatOption = Format.AUTO,
    model: HeadModelOption = None,
    device: DeviceOption = "auto",
    workers: WorkersOption = None,
    on_error: OnErrorOption = OnError.FAIL,
) -> None:
    """Measure a head on labels that it has not seen."""
    from protclip_core.tasks.classify.evaluate import EvaluateRequest
    from protclip_core.tasks.classify.evaluate import evaluate as run

    options: GlobalOptions = context.obj
    check_plot(plot, (labels, *(inputs or ()), sequences, head))
    request = EvaluateRequest(
        labels=labels,
        inputs=inputs_or_pipe(inputs),
        head=head,
        include_seen=include_seen,
        sequences=sequences,
        resamples=resamples,
        model=model,
        device=device,
        workers=workers,
        on_error=on_error.value,
    )
    report = run(request, make_progress(quiet=options.quiet))
    write_rows(score_rows(report.scores), SCORE_COLUMNS, form)
    if plot is not None:
        draw(plot, report.truth, report.said, f"{head.name}, {labels}", options)
    end_partial(report.num_failures, report.first_failures)


def _prediction_rows(found: Iterable[Prediction]) -> Iterator[dict[str, Value]]:
    for one in found:
        yield {
            "protein_id": one.protein_id,
            "label": one.label,
            "probability": one.probability,
            "rank": one.rank,
        }


def _value_rows(found: Iterable[Prediction]) -> Iterator[dict[str, Value]]:
    for one in found:
        yield {"protein_id": one.protein_id, "value": one.probability}


def _say_fit(report: FitReport, output: Path) -> None:
    train, valid, test = report.counts
    fitted = report.card.fit
    chosen = ", ".join(f"{name} {value:g}" for name, value in fitted["parameters"].items())
    say(
        f"{train:,} proteins to fit on, {valid:,} to choose by, {test:,} to measure on "
        f"(split: {report.split.kind})"
    )
    for line in report.split.leakage:
        say(line)
    error = f"; calibration error {fitted['ece']:.3f}" if "ece" in fitted else ""
    what = "value" if report.card.regression else f"{len(report.card.labels):,} labels"
    say(f"{output}: {fitted['kind']} head of {what} ({chosen}){error}")


def _say_predicted(predicting: Predicting) -> None:
    what = "a value" if predicting.is_regression else "labels"
    say(f"{what} for {predicting.listed:,} of {predicting.proteins:,} proteins")
