"""``protclip mutate fit`` and ``protclip mutate predict``: heads on measured variants."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from protclip_cli.commands.mutate.score import end_unanswered
from protclip_cli.output import Format, Results, Value, defined, write_rows
from protclip_cli.terminal import Terminal
from protclip_core.records import counted
from protclip_core.tasks.mutate.request import FitRequest, PredictRequest

if TYPE_CHECKING:
    from protclip_core.tasks.mutate.fit import FitReport, SplitScore

FIT_COLUMNS = ("split", "predictor", "spearman", "low", "high", "train", "test")
PREDICT_COLUMNS = ("protein_id", "variant", "predicted_fitness", "flags", "reason")

FIT_EPILOG = """\
ASSAY is a table with a column of variants (mutant, variant, ...) and one of measured
values (DMS_score, fitness, score, ...). Rows printed: Spearman with its 95 % interval on
held-out variants for the head, a ridge on one-hot substitutions, and the zero-shot score,
in splits at random, by position, and from few mutations to many. The head that is written
is fitted on all variants.

Examples:
  protclip mutate fit assay.csv --sequences wt.fa --embeddings mutants.h5 -o fitness.head
  protclip mutate fit assay.csv --sequences wt.fa -o fitness.head
    split   predictor  spearman  low    high   train  test
    random  head       0.684     0.642  0.721  1,200  300"""
PREDICT_EPILOG = """\
Columns: protein_id variant predicted_fitness flags reason, one row for each row of
VARIANTS, in its order. Flags: new-position: no variant there was measured; zero-shot: for
those the zero-shot score ranked better when the head was fitted, so it is given, in the
assay's units.

Example:
  protclip mutate predict variants.tsv --head fitness.head
    protein_id  variant  predicted_fitness  flags         reason
    wt          A42G     0.318              new-position"""


def fit(terminal: Terminal, request: FitRequest, *, format: Format = "auto") -> None:
    """Fit a head to measured variants of one protein, and measure it."""
    from protclip_core.tasks.mutate.fit import fit as run

    report = run(request, terminal.progress())
    write_rows(_score_rows(report.scores), FIT_COLUMNS, format)
    _tell_fit(report, request.output, terminal)
    if report.left_out:
        end_unanswered(report.left_out, report.first_reasons, "left out")


def predict(terminal: Terminal, request: PredictRequest, results: Results) -> None:
    """Predict the effects of variants with a fitted head."""
    from protclip_core.tasks.mutate.predict import Fitness

    read = (request.variants, request.head, request.fasta, request.embeddings)
    to = results.target(*read)
    fitness = Fitness(request)
    rows = fitness.predictions(terminal.progress(to.screen))
    to.write(rows, PREDICT_COLUMNS, predicted_fitness="fitness")
    done = fitness.rows - fitness.unpredicted
    terminal.tell(f"{done:,} of {counted(fitness.rows, 'variant')} predicted")
    if fitness.unpredicted:
        what = "not predicted, see column reason"
        end_unanswered(fitness.unpredicted, fitness.first_reasons, what)


def _score_rows(scores: Iterable[SplitScore]) -> Iterator[dict[str, Value]]:
    for score in scores:
        yield {
            "split": score.split,
            "predictor": score.predictor,
            "spearman": defined(score.spearman.value),
            "low": defined(score.spearman.low),
            "high": defined(score.spearman.high),
            "train": score.train,
            "test": score.test,
        }


def _tell_fit(report: FitReport, output: Path, terminal: Terminal) -> None:
    fitted = report.card.fit
    chosen = ", ".join(f"{name} {value:g}" for name, value in fitted["parameters"].items())
    terminal.tell(f"{output}: {fitted['kind']} head of {report.variants:,} variants ({chosen})")
    if fitted["new_positions"] == "line":
        terminal.tell(
            "at positions that were not measured the zero-shot score ranks better than the head: "
            "predictions there are that score, in units of the assay"
        )
