"""``protclip similarity evaluate``: how similarities of vectors agree with those by GO."""

from __future__ import annotations

from protclip_cli.boundary import EXIT_PARTIAL, say
from protclip_cli.output import Results, begun
from protclip_cli.terminal import Terminal
from protclip_core.records import counted
from protclip_core.tasks.similarity.request import EvaluateRequest

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


def evaluate(terminal: Terminal, request: EvaluateRequest, results: Results) -> None:
    """Correlate similarities with those of a table, or with those that GO gives."""
    from protclip_core.tasks.similarity.evaluate import EvaluateReport
    from protclip_core.tasks.similarity.evaluate import evaluate as run

    side = (request.table, request.annotations, request.go, request.pairs, request.sequences)
    to = results.target(*request.inputs, *side)
    report = EvaluateReport()
    found = begun(run(request, report, terminal.progress()))
    to.write(found, COLUMNS)
    if report.num_failures:
        for line in report.first_failures:
            say(f"warning: {line}")
        count = report.num_failures
        say(f"warning: {counted(count, 'pair or protein', 'pairs or proteins')} left out")
        raise SystemExit(EXIT_PARTIAL)
