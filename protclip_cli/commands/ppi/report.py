"""What commands for pairs tell: figures on standard output, the rest on standard error."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from protclip_cli.boundary import EXIT_PARTIAL, say
from protclip_cli.figures import draw
from protclip_cli.output import Value, defined
from protclip_cli.terminal import Terminal
from protclip_core.records import printable

if TYPE_CHECKING:
    from protclip_core.heads import Head
    from protclip_core.records import Failure
    from protclip_core.tasks.ppi.evaluate import Measured
    from protclip_core.tasks.ppi.leaks import LeakReport
    from protclip_core.tasks.ppi.pairs import PairCounts
    from protclip_core.tasks.ppi.predict import Prediction

FIGURE_COLUMNS = ("part", "pairs", "interacting", "metric", "value", "low", "high")


def figure_rows(measured: Measured, part: str = "") -> Iterator[dict[str, Value]]:
    """Give a row of `FIGURE_COLUMNS` for each figure; what is not defined is empty."""
    for name, figures in measured.figures.items():
        for metric, one in figures.items():
            numbers = (one.value, one.low, one.high)
            value, low, high = map(defined, numbers)
            yield {
                "part": " ".join(filter(None, (part, name))),
                "pairs": measured.pairs[name],
                "interacting": measured.positives[name],
                "metric": metric,
                "value": value,
                "low": low,
                "high": high,
            }


def draw_measured(folder: Path, measured: Measured, title: str, terminal: Terminal) -> None:
    """Draw the curves of what was measured."""
    import numpy as np

    from protclip_core.heads import Targets
    from protclip_core.tasks.ppi.pairs import INTERACTION

    said = measured.said.astype(np.float64)
    if said.ndim == 1:
        truth = Targets("classes", INTERACTION, measured.truth.astype(np.int64))
        said = np.stack([1 - said, said], axis=1)
    else:
        truth = Targets.of_table(measured.truth, [str(n) for n in range(said.shape[1])])
    draw(folder, truth, {"head": said}, title, terminal)


def tell_default(head: Head, terminal: Terminal) -> None:
    """Tell that the head that comes with the default model is used."""
    terminal.tell(f"no --head given: ppi.head of {head.card.input.model} ({head.card.task})")


def tell_counts(counts: PairCounts, terminal: Terminal) -> None:
    """Tell what is odd about a list."""
    told = [
        f"{number:,} {what}"
        for number, what in (
            (counts.repeated, "repeated"),
            (counts.reversed, "in the other order"),
            (counts.self_pairs, "of a protein with itself"),
            (counts.contradictory, "contradictory, left out"),
        )
        if number
    ]
    if told:
        terminal.tell(f"of {counts.rows:,} lines: {', '.join(told)}")


def tell_leaks(leaks: LeakReport, terminal: Terminal, part: str = "test") -> None:
    """Tell what training has seen of a part."""
    for line in leaks.lines(part):
        terminal.tell(line)


def tell_predicted(prediction: Prediction, written: int, terminal: Terminal) -> None:
    """Tell how many pairs were answered."""
    told = f"{prediction.answered:,} of {prediction.rows:,} pairs answered, {written:,} rows"
    for number, what in (
        (prediction.self_pairs, "of a protein with itself"),
        (prediction.repeated, "repeated"),
        (prediction.trained, "in the training of the head"),
    ):
        told += f"; {number:,} {what}" if number else ""
    terminal.tell(told)


def end_partial(counted: Sequence[PairCounts]) -> None:
    """Name lines that were left out of lists, if any, and end with the code for it."""
    failures = [failure for counts in counted for failure in counts.first_failures]
    end_failures(sum(counts.num_failures for counts in counted), failures)


def end_failures(count: int, failures: Sequence[Failure]) -> None:
    """Name what has no answer, if anything, and end with the code for it."""
    if not count:
        return
    for failure in failures[:5]:
        what = "record" if failure.id else "line"
        place = f"{failure.source}:{what} {failure.number}"
        shown = f" ({printable(failure.id)})" if failure.id else ""
        say(f"warning: {place}{shown}: {failure.reason}")
    say(f"warning: {count:,} line{'s' if count > 1 else ''} left out")
    raise SystemExit(EXIT_PARTIAL)
