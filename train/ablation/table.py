"""What the runs of an ablation found: means, ranges over seeds, and which differences are noise.

A difference between two rows is called *apart* where the ranges of their seeds do not overlap, and
*clear* where it is also at least three standard errors, the deviation between seeds being pooled
over all rows: with two seeds, ranges are apart by chance alone in one case of three.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["FIGURES", "Found", "content", "differences", "markdown"]

#: Key of a figure (of ``metrics.jsonl``, but for the last) to its heading and decimal places.
FIGURES = {
    "p2t_r1": ("R@1 p→t", 3),
    "p2t_r10": ("R@10 p→t", 3),
    "t2p_r1": ("R@1 t→p", 3),
    "t2p_r10": ("R@10 t→p", 3),
    "p2s_r10": ("R@10 p→s", 3),
    "s2p_r10": ("R@10 s→p", 3),
    "s2t_r10": ("R@10 s→t", 3),
    "t2s_r10": ("R@10 t→s", 3),
    "fmax_mf": ("Fmax MF", 3),
    "fmax_bp": ("Fmax BP", 3),
    "fmax_cc": ("Fmax CC", 3),
    "mlm_perplexity": ("MLM perplexity", 2),
    "seconds": ("seconds", 0),
}
_ASIDE = ("seconds",)
_CLEAR = 3.0


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a row found.

    Attributes
    ----------
    name, title
        Of the row.
    against
        Name of the row that it is compared with; ``None`` for such a row itself.
    entries
        Pairs to train on, of each seed.
    runs
        Seed to figures.
    """

    name: str
    title: str
    against: str | None
    entries: Mapping[int, int]
    runs: Mapping[int, Mapping[str, float]]

    def values(self, figure: str) -> list[float]:
        """Return a figure of all seeds, as far as they have it."""
        return [run[figure] for run in self.runs.values() if figure in run]

    def mean(self, figure: str) -> float:
        """Return the mean over the seeds; NaN without any."""
        values = self.values(figure)
        return sum(values) / len(values) if values else math.nan


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How a figure of a row differs from that of the row it is compared with.

    ``errors`` is the difference in standard errors; infinite where the seeds never differ.
    """

    row: str
    against: str
    figure: str
    difference: float
    apart: bool
    errors: float

    @property
    def clear(self) -> bool:
        """Whether it is beyond what seeds explain."""
        return self.apart and abs(self.errors) >= _CLEAR


def differences(rows: Sequence[Found]) -> list[Difference]:
    """Compare each row with its reference, figure by figure; seconds are left out."""
    by_name = {row.name: row for row in rows}
    found = []
    for figure in FIGURES:
        if figure in _ASIDE:
            continue
        deviation = _pooled([row.values(figure) for row in rows])
        for row in rows:
            other = by_name.get(row.against or "")
            if other is None or not row.values(figure) or not other.values(figure):
                continue
            one, two = row.values(figure), other.values(figure)
            change = row.mean(figure) - other.mean(figure)
            error = deviation * math.sqrt(1 / len(one) + 1 / len(two))
            found.append(
                Difference(
                    row=row.name,
                    against=other.name,
                    figure=figure,
                    difference=change,
                    apart=min(one) > max(two) or max(one) < min(two),
                    errors=change / error if error else math.copysign(math.inf, change),
                )
            )
    return found


def markdown(rows: Sequence[Found], heading: str) -> list[str]:
    """Return the lines of the table, and of what it says.

    Parameters
    ----------
    rows
        In the order of the table.
    heading
        One line above it.
    """
    shown = [name for name in FIGURES if any(row.values(name) for row in rows)]
    lines = [heading, ""]
    lines.append("| row | pairs | " + " | ".join(FIGURES[name][0] for name in shown) + " |")
    lines.append("|---|--:|" + "--:|" * len(shown))
    for row in rows:
        cells = [_cell(row.values(name), FIGURES[name][1]) for name in shown]
        entries = _cell([float(number) for number in row.entries.values()], 0)
        lines.append(f"| {row.title} | {entries} | " + " | ".join(cells) + " |")
    return [*lines, "", *_verdicts(rows)]


def content(rows: Sequence[Found], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return every figure as JSON takes it."""
    listed = []
    for row in rows:
        shown = [name for name in FIGURES if row.values(name)]
        listed.append(
            {
                "name": row.name,
                "title": row.title,
                "against": row.against,
                "entries": {str(seed): number for seed, number in row.entries.items()},
                "mean": {name: row.mean(name) for name in shown},
                "range": {name: [min(row.values(name)), max(row.values(name))] for name in shown},
                "runs": {str(seed): dict(run) for seed, run in row.runs.items()},
            }
        )
    compared = [
        {
            "row": item.row,
            "against": item.against,
            "figure": item.figure,
            "difference": item.difference,
            "apart": item.apart,
            "clear": item.clear,
            "standard_errors": item.errors if math.isfinite(item.errors) else None,
        }
        for item in differences(rows)
    ]
    return {**settings, "rows": listed, "differences": compared}


def _verdicts(rows: Sequence[Found]) -> Iterator[str]:
    """Say of each row what differs from the one it is compared with."""
    found = differences(rows)
    titles = {row.name: row.title for row in rows}
    sizes = {len(row.runs) for row in rows}
    if len(sizes) != 1 or min(sizes) < 2:
        yield "One seed alone says nothing about noise: no difference is judged."
        return
    seeds = sizes.pop()
    chance = 2 / math.comb(2 * seeds, seeds)
    yield (
        f"Mean over {seeds} seeds, and their range. Noise: ranges of seeds overlap. Apart: they do "
        f"not, which chance alone does in {chance:.0%} of the cases. Clear: apart, and at least "
        f"{_CLEAR:.0f} standard errors (seeds pooled over all rows)."
    )
    yield ""
    for row in rows:
        own = [item for item in found if item.row == row.name]
        if not own:
            continue
        kinds = {
            "clear": [item for item in own if item.clear],
            "apart": [item for item in own if item.apart and not item.clear],
            "within the noise": [item for item in own if not item.apart],
        }
        parts = [f"{kind}: {_listed(items)}" for kind, items in kinds.items() if items]
        yield f"- {row.title} against {titles[own[0].against]}: " + "; ".join(parts) + "."


def _listed(items: Sequence[Difference]) -> str:
    return ", ".join(
        f"{FIGURES[item.figure][0]} {item.difference:+.{FIGURES[item.figure][1]}f}"
        for item in items
    )


def _cell(values: Sequence[float], places: int) -> str:
    if not values:
        return "-"
    mean = f"{sum(values) / len(values):,.{places}f}"
    least, most = (f"{value:,.{places}f}" for value in (min(values), max(values)))
    return mean if least == most else f"{mean} ({least}-{most})"


def _pooled(groups: Sequence[Sequence[float]]) -> float:
    """Return the standard deviation within groups, over all of them; 0 where none has two."""
    squares, freedom = 0.0, 0
    for values in groups:
        if len(values) > 1:
            mean = sum(values) / len(values)
            squares += sum((value - mean) ** 2 for value in values)
            freedom += len(values) - 1
    return math.sqrt(squares / freedom) if freedom else 0.0
