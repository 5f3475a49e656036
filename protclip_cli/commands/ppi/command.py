"""``protclip ppi``: which proteins interact, and heads that say so."""

from __future__ import annotations

from typing import Annotated

import typer

from protclip_cli.boundary import say
from protclip_cli.commands.ppi.options import (
    Features,
    HeadOption,
    Kind,
    Method,
    PairsArgument,
    RatioOption,
    Rule,
    RuleOption,
    Task,
    cores,
    vectors_of,
)
from protclip_cli.commands.ppi.output import PairFormat, write_pairs
from protclip_cli.commands.ppi.report import (
    FIGURE_COLUMNS,
    draw_measured,
    end_failures,
    end_partial,
    figure_rows,
    say_counts,
    say_default,
    say_leaks,
    say_predicted,
)
from protclip_cli.options import (
    FORMAT,
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
    OnError,
    OutputOption,
    OverwriteOption,
    PairOnErrorOption,
    ResamplesOption,
    SeedOption,
    Space,
    ThreadsOption,
    WorkersOption,
    command_line,
)
from protclip_cli.output import Value, begun, stdout, write_rows, write_tsv_line
from protclip_cli.output_file import checked_output, open_output
from protclip_cli.progress import make_progress
from protclip_cli.scores import check_plot

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Predict which proteins interact; fit such a predictor to pairs of your own.",
)
_PAIRS = (
    "PAIRS: two names a line; a header names protein_a, protein_b and, where there are such, "
    "label (1 or 0), types ('binding;catalysis') and split. A table without a header has the "
    "label in its third column."
)


@app.command(
    epilog=_PAIRS + "\n\nExamples:\n\n"
    "  protclip ppi train pairs.tsv --embeddings x.h5 -o ppi.head\n\n"
    "  protclip ppi train parts.tsv --embeddings x.h5 -o ppi.head    with a column split\n\n"
    "  protclip ppi train a.tsv --valid b.tsv --test c.tsv --embeddings x.fa -o ppi.head"
)
def train(
    context: typer.Context,
    pairs: PairsArgument,
    *,
    embeddings: EmbeddingsOption,
    output: HeadOutputOption,
    overwrite: OverwriteOption = False,
    valid: Annotated[
        str | None,
        typer.Option(metavar="PAIRS", help="Pairs to choose and calibrate by.", show_default=False),
    ] = None,
    test: Annotated[
        str | None,
        typer.Option(metavar="PAIRS", help="Pairs to measure on, once.", show_default=False),
    ] = None,
    task: Annotated[
        Task, typer.Option(help="auto: types where the list has them and no labels.")
    ] = Task.AUTO,
    features: Annotated[
        Features,
        typer.Option(
            help="Sum, product and cosine of two vectors, with their absolute difference or "
            "their squares, which makes --all faster."
        ),
    ] = Features.DIFFERENCE,
    kind: Annotated[Kind, typer.Option("--kind", help="auto: logistic.")] = Kind.AUTO,
    split: Annotated[
        Method,
        typer.Option(
            help="How pairs are held out for validation where PAIRS has no split: see protclip "
            "ppi split."
        ),
    ] = Method.C2,
    valid_share: Annotated[float, typer.Option(help="Share of what is held out.")] = 0.15,
    ratio: RatioOption = 1.0,
    negatives: RuleOption = Rule.UNIFORM,
    most_pairs: Annotated[
        int, typer.Option(min=2, help="Pairs that are fitted on at most.")
    ] = 200_000,
    seed: SeedOption = 0,
    threads: ThreadsOption = 1,
    note: Annotated[str, typer.Option(help="Where the pairs are from, for the card.")] = "",
    plot: CurvesOption = None,
    form: FormatOption = Format.AUTO,
    model: FitModelOption = None,
    space: Annotated[
        Space | None,
        typer.Option(help="Which vectors to take.", show_default="joint, if the model has it"),
    ] = None,
    device: DeviceOption = "auto",
    workers: WorkersOption = None,
    on_error: PairOnErrorOption = OnError.FAIL,
) -> None:
    """Fit a head to pairs, and measure it."""
    from protclip_core.tasks.ppi.split import SplitSettings
    from protclip_core.tasks.ppi.train import TrainRequest
    from protclip_core.tasks.ppi.train import train as run

    options: GlobalOptions = context.obj
    check_plot(plot, (pairs, valid, test, *embeddings))
    request = TrainRequest(
        pairs=pairs,
        vectors=vectors_of(embeddings, model, space, device, workers, on_error),
        output=output,
        valid=valid,
        test=test,
        task=task.value,
        features=features.value,
        kind=kind.value,
        split=SplitSettings(method=split.value, valid=valid_share, test=0.0, seed=seed),
        ratio=ratio,
        rule=negatives.value,
        most_pairs=most_pairs,
        seed=seed,
        threads=threads,
        data=note,
        command=command_line(),
        overwrite=overwrite,
    )
    report = run(request, make_progress(quiet=options.quiet))
    rows = [row for part, one in report.measured.items() for row in figure_rows(one, part)]
    write_rows(rows, FIGURE_COLUMNS, form)
    if not options.quiet:
        for counts in report.counts.values():
            say_counts(counts)
        drawn = sum(report.drawn.values())
        made = f", {drawn:,} negatives drawn ({negatives.value})" if drawn else ""
        sizes = ", ".join(f"{name} {size:,}" for name, (size, _) in report.parts.items())
        unused = f", unused {report.unused:,}" if report.unused else ""
        say(f"pairs: {sizes}{unused} (split: {report.split}{made})")
        for part, leaks in report.leaks.items():
            say_leaks(leaks, part)
        say(f"{output}: {report.kind} head on features '{report.features}'")
    if plot is not None and report.measured:
        part, measured = list(report.measured.items())[-1]
        draw_measured(plot, measured, f"{output.name}, {part}", options)
    end_partial([*report.counts.values()])


@app.command(
    epilog="Columns: protein_a protein_b probability, or interaction_type and confidence of a "
    "head for types; of a list also note. json is an array of protein_A, protein_B, "
    "interaction_type, confidence_score.\n\n" + _PAIRS + "\n\nExamples:\n\n"
    "  protclip ppi predict pairs.tsv --embeddings x.h5\n\n"
    "  protclip ppi predict --all --embeddings x.h5 --top-partners 5\n\n"
    "  protclip ppi predict --bipartite virus.txt host.txt --embeddings x.h5 "
    "--min-probability 0.8"
)
def predict(
    context: typer.Context,
    pairs: Annotated[
        str | None,
        typer.Argument(metavar="PAIRS", help="List of pairs; '-': stdin.", show_default=False),
    ] = None,
    *,
    embeddings: EmbeddingsOption,
    head: HeadOption = None,
    bipartite: Annotated[
        tuple[str, str] | None,
        typer.Option(
            metavar="A B",
            help="Each protein of list A with each of list B; one id a line.",
            show_default=False,
        ),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="All proteins with all others.")] = False,
    top_partners: Annotated[
        int | None,
        typer.Option(metavar="K", help="The K best partners of each protein.", show_default=False),
    ] = None,
    min_probability: Annotated[
        float | None,
        typer.Option(help="Least probability of what is listed.", show_default=False),
    ] = None,
    all_types: Annotated[
        bool, typer.Option("--all-types", help="A row for each type, not for the best one.")
    ] = False,
    form: Annotated[PairFormat, FORMAT] = PairFormat.AUTO,
    output: OutputOption = None,
    overwrite: OverwriteOption = False,
    model: HeadModelOption = None,
    device: DeviceOption = "auto",
    workers: WorkersOption = None,
    on_error: PairOnErrorOption = OnError.FAIL,
) -> None:
    """Predict interactions of listed pairs, of two groups, or of all proteins."""
    from protclip_core.tasks.ppi.predict import Prediction, PredictRequest

    options: GlobalOptions = context.obj
    inputs = [*(one for one in (pairs, *(bipartite or ())) if one is not None), *embeddings]
    inputs += [str(head)] if head is not None else []
    path = checked_output(output, overwrite=overwrite, inputs=inputs)
    request = PredictRequest(
        pairs=pairs,
        bipartite=bipartite,
        every=every,
        vectors=vectors_of(embeddings, model, None, device, workers, on_error),
        head=head,
        top_partners=top_partners,
        min_probability=min_probability,
        workers=workers or cores(),
    )
    on_terminal = path is None and stdout().isatty()
    # A bar and rows on one terminal would overwrite each other.
    prediction = Prediction(request, make_progress(quiet=options.quiet or on_terminal))
    if head is None and not options.quiet:
        say_default(prediction.head)
    labels = prediction.head.card.labels if prediction.head.card.multilabel else None
    if all_types and labels is None:
        say("warning: --all-types is for heads for types; this one says whether, not how")
    with open_output(path) as out:
        written = write_pairs(
            begun(prediction.blocks()),
            labels,
            form,
            out,
            notes=pairs is not None,
            every_type=all_types,
            least=min_probability or 0.0,
        )
    if not options.quiet:
        say_predicted(prediction, written)
    end_failures(prediction.num_failures, prediction.first_failures)


@app.command(
    epilog=_PAIRS + " Of a list with splits the test is measured on.\n\nExample:\n\n"
    "  protclip ppi evaluate pairs.tsv --embeddings x.h5 --head ppi.head --plot curves"
)
def evaluate(
    context: typer.Context,
    pairs: PairsArgument,
    *,
    embeddings: EmbeddingsOption,
    head: HeadOption = None,
    ratio: RatioOption = 1.0,
    negatives: RuleOption = Rule.UNIFORM,
    seed: SeedOption = 0,
    resamples: ResamplesOption = RESAMPLES,
    plot: CurvesOption = None,
    form: FormatOption = Format.AUTO,
    model: HeadModelOption = None,
    device: DeviceOption = "auto",
    workers: WorkersOption = None,
    on_error: PairOnErrorOption = OnError.FAIL,
) -> None:
    """Measure a head on pairs, and say what of them it was trained on."""
    from protclip_core.tasks.ppi.evaluate import EvaluateRequest
    from protclip_core.tasks.ppi.evaluate import evaluate as run

    options: GlobalOptions = context.obj
    check_plot(plot, (pairs, *embeddings, head))
    request = EvaluateRequest(
        pairs=pairs,
        vectors=vectors_of(embeddings, model, None, device, workers, on_error),
        head=head,
        ratio=ratio,
        rule=negatives.value,
        seed=seed,
        resamples=resamples,
    )
    report = run(request, make_progress(quiet=options.quiet))
    assert report.measured is not None
    assert report.head is not None
    if head is None and not options.quiet:
        say_default(report.head)
    write_rows(figure_rows(report.measured), FIGURE_COLUMNS, form)
    if not options.quiet:
        say_counts(report.counts)
        if report.drawn:
            say(f"{report.drawn:,} negatives drawn ({negatives.value}, seed {seed})")
        if report.leaks is not None:
            say_leaks(report.leaks)
    if plot is not None:
        draw_measured(
            plot, report.measured, f"{head.name if head else 'default head'}, {pairs}", options
        )
    end_partial([report.counts])


@app.command(
    epilog="random: pairs are drawn. c1, c2, c3: of a test pair, both proteins, one, or none are "
    "in training pairs. bfs, dfs: a neighbourhood of the graph is held out. cluster: as c3, with "
    "clusters of similar sequences (needs --sequences, and mmseqs or diamond). Shares are of "
    "pairs; of c2, c3 and cluster, of proteins.\n\nExample:\n\n"
    "  protclip ppi split pairs.tsv --method c3 --sequences x.fa -o parts.tsv"
)
def split(
    context: typer.Context,
    pairs: PairsArgument,
    *,
    method: Annotated[Method, typer.Option(help="How.")] = Method.C3,
    valid: Annotated[float, typer.Option(help="Share for validation.")] = 0.1,
    test: Annotated[float, typer.Option(help="Share for test.")] = 0.2,
    sequences: Annotated[
        str | None,
        typer.Option(
            metavar="FASTA",
            help="Sequences of the proteins: the same ones under two names count as one.",
            show_default=False,
        ),
    ] = None,
    seed: SeedOption = 0,
    output: OutputOption = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Split pairs into train, valid and test, and say what these share."""
    from protclip_core.io.pairs.lists import SPLITS
    from protclip_core.tasks.ppi.split import SplitSettings
    from protclip_core.tasks.ppi.split_list import SplitRequest, split_list

    options: GlobalOptions = context.obj
    inputs = [pairs, *([sequences] if sequences is not None else [])]
    path = checked_output(output, overwrite=overwrite, inputs=inputs)
    settings = SplitSettings(method=method.value, valid=valid, test=test, seed=seed)
    report = split_list(SplitRequest(pairs=pairs, settings=settings, sequences=sequences))
    found = report.pairs
    with open_output(path) as out:
        columns = ["protein_a", "protein_b"]
        columns += ["label"] if found.labels is not None else []
        columns += ["types"] if found.types is not None else []
        write_tsv_line(out, [*columns, "split"])
        for row, (a, b) in enumerate(zip(found.a.tolist(), found.b.tolist(), strict=True)):
            cells: list[Value] = [found.proteins[a], found.proteins[b]]
            if found.labels is not None:
                cells.append(int(found.labels[row]))
            if found.types is not None:
                chosen = zip(found.type_names, found.types[row], strict=True)
                cells.append(";".join(name for name, has in chosen if has))
            write_tsv_line(out, [*cells, SPLITS[report.splits[row]]])
    if not options.quiet:
        say_counts(found.counts)
        sizes = ", ".join(f"{name} {size:,}" for name, size in report.sizes.items() if size)
        say(f"pairs: {sizes} (split: {method.value}, seed {seed}; {report.proteins:,} proteins)")
        for part, leaks in report.leaks.items():
            say_leaks(leaks, part)
    end_partial([found.counts])
