"""``protclip similarity evaluate``: how similarities of vectors agree with those by GO."""

from __future__ import annotations

from typing import TYPE_CHECKING

from protclip_cli.boundary import EXIT_PARTIAL, say
from protclip_cli.output import Format, Output, Value, begun, defined, target, write_rows
from protclip_cli.terminal import Terminal
from protclip_core.options import Overwrite
from protclip_core.tasks.similarity.request import EvaluateRequest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from protclip_core.tasks.similarity.evaluate import Agreement

COLUMNS = ("reference", "aspect", "method", "pairs", "proteins", "spearman", "low", "high")
EPILOG = """\
Columns: reference aspect method pairs proteins spearman low high; the last two are a 95 %
interval over proteins, which is wider than one over pairs. Methods that need no model:
composition (cosine of the shares of residues), length (how little lengths differ).

Examples:
  protclip similarity evaluate x.fa --annotations goa.gaf --go go-basic.obo
  protclip similarity evaluate x.h5 --sequences x.fa --annotations goa.gaf --go go.obo \\
    --evidence experimental
  protclip similarity evaluate x.fa similarities.csv
    reference  aspect  method        pairs  proteins  spearman  low    high
    lin                joint cosine  4,950  100       0.412     0.301  0.507"""


def evaluate(
    terminal: Terminal,
    request: EvaluateRequest,
    *,
    format: Format = "auto",
    output: Output = None,
    overwrite: Overwrite = False,
) -> None:
    """Correlate similarities with those of a table, or with those that GO gives."""
    from protclip_core.tasks.similarity.evaluate import EvaluateReport
    from protclip_core.tasks.similarity.evaluate import evaluate as run

    side = (request.table, request.annotations, request.go, request.pairs, request.sequences)
    to = target(output, format, overwrite=overwrite, inputs=(*request.inputs, *side))
    report = EvaluateReport()
    found = begun(run(request, report, terminal.progress()))
    with to.open() as out:
        write_rows(_rows(found), COLUMNS, to.form, out)
    if report.num_failures:
        for line in report.first_failures:
            say(f"warning: {line}")
        count = report.num_failures
        say(f"warning: {count:,} pair{'s' if count > 1 else ''} or proteins left out")
        raise SystemExit(EXIT_PARTIAL)


def _rows(found: Iterable[Agreement]) -> Iterator[dict[str, Value]]:
    for one in found:
        yield {
            "reference": one.reference,
            "aspect": one.aspect,
            "method": one.method,
            "pairs": one.pairs,
            "proteins": one.proteins,
            "spearman": defined(one.spearman),
            "low": defined(one.low),
            "high": defined(one.high),
        }
