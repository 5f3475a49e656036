"""``protclip mutate``: what variants do to proteins; every row gets an answer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

from protclip_cli.boundary import EXIT_PARTIAL, say
from protclip_cli.output import Results, Value, check_picture, write_json, write_rows
from protclip_cli.terminal import Terminal, inputs_or_pipe
from protclip_core.errors import UsageError
from protclip_core.options import OUTPUT, Opt
from protclip_core.records import counted
from protclip_core.report.figures import plot_form
from protclip_core.tasks.mutate.request import MutateRequest

if TYPE_CHECKING:
    from protclip_core.tasks.mutate.job import ScoredRow
    from protclip_core.tasks.mutate.task import Mutation

COLUMNS = ("protein_id", "variant", "score", "percentile", "effect", "flags", "reason")
EPILOG = """\
Columns: protein_id variant score percentile effect flags reason. A low score is harmful.
It is a sum of log ratios: below 0 the model finds the variant less likely than the wild
type; with a prior, which is added to it, 0 has no meaning. The percentile is among all
single substitutions of the protein. effect is empty until a model has a calibration.

Variants: A42G, p.Ala42Gly, A42G:L50P, NP_000537.3:p.Arg175His, deletions, insertions; as
TSV or CSV (columns protein_id variant), a list, JSON Lines, or a VCF of VEP or SnpEff.

Examples:
  protclip mutate --variants v.tsv < wt.fasta
  protclip mutate wt.fa --scan --region 100-180 --plot heat.png
  protclip mutate wt.fa --variants v.tsv --model esm2-8m --model esm2-35m
  protclip mutate wt.fa --variants variants.tsv
    protein_id  variant  score   percentile  effect  flags  reason
    HBB_HUMAN   E7V      -2.914  31.2"""


def mutate(
    terminal: Terminal,
    request: MutateRequest,
    *,
    plot: Annotated[
        Path | None, Opt("Heat map of a scan of one protein.", metavar="FILE", panel=OUTPUT)
    ] = None,
    results: Results,
) -> None:
    """Score protein variants with a language model, or scan a protein."""
    from protclip_core.tasks.mutate.task import Mutation

    read = (*(request.inputs or ("-",)), request.variants, *request.models)
    to = results.target(*read)
    if plot is not None:
        _check_plot(plot, request, read, to.path, overwrite=results.overwrite)
    request = replace(request, inputs=_inputs(request.inputs, request.variants))
    mutation = Mutation(request)
    if plot is not None and len(mutation.proteins) != 1:
        raise UsageError(
            f"--plot draws one protein, there are {len(mutation.proteins):,}",
            code="usage.several_proteins",
            hint="give a FASTA file with one protein",
        )
    rows = list(mutation.scored(terminal.progress(), None if terminal.quiet else say))
    if plot is not None:  # before the rows, whose reader may go away
        _draw(mutation, plot)
    names = mutation.models if len(mutation.models) > 1 else []
    with to.open() as out:
        write_scores(rows, to.form, out, models=names, toward=request.toward is not None)
    _end(mutation, terminal)


def _inputs(inputs: tuple[str, ...], variants: str | None) -> tuple[str, ...]:
    """Return the FASTA files; standard input where there are none and they are needed."""
    if "-" in inputs and variants == "-":
        message, hint = "standard input (-) can be read only once", "give one as a file"
        raise UsageError(message, code="usage.stdin_twice", hint=hint)
    if inputs or variants is None:
        return inputs_or_pipe(inputs)
    if variants == "-":
        return ()
    from protclip_core.tasks.mutate.input import carries_sequences

    return () if carries_sequences(variants) else inputs_or_pipe(None)


def _check_plot(
    path: Path,
    request: MutateRequest,
    read: tuple[str | None, ...],
    results: Path | None,
    *,
    overwrite: bool,
) -> None:
    if not request.scan:
        message = "--plot is for scans"
        raise UsageError(message, code="usage.missing_option", hint="add --scan")
    if request.method in ("pll", "embedding-shift"):  # before hours of passes, not after
        _refuse_method(request.method)
    plot_form(path)
    check_picture(path, overwrite=overwrite, inputs=read, other=results)


def _refuse_method(method: str) -> None:
    message, hint = f"--method {method} draws no heat map", "use masked-marginals"
    raise UsageError(message, code="usage.no_plot", hint=hint)


def _draw(mutation: Mutation, path: Path) -> None:
    from protclip_core.io.atomic import open_atomic
    from protclip_core.tasks.mutate.plot import heat_map

    request = mutation.request
    (id,) = mutation.proteins.sequences
    if id not in mutation.scans:
        _refuse_method(request.method)
    title = f"{id}: {request.method}, {' + '.join(mutation.models)}{mutation.prior_words}"
    picture = heat_map(
        title,
        mutation.proteins.sequences[id],
        mutation.scans[id],
        offset=request.offset,
        region=request.region,
        form=plot_form(path),
    )
    with open_atomic(path) as file:
        file.write(picture)


def write_scores(
    rows: Iterable[ScoredRow],
    form: str,
    out: TextIO,
    *,
    models: Sequence[str] = (),
    toward: bool = False,
) -> None:
    """Write rows, in input order.

    JSON is one array of objects with ``original_sequence``, ``mutated_sequence``,
    ``predicted_fitness_score`` and ``mutation_effect`` in place of score and effect.

    Parameters
    ----------
    rows
        The answers.
    form
        One of `Format`.
    out
        Where to.
    models
        Of an ensemble: their names; each has a column ``score_NAME``.
    toward
        Whether there is a column ``toward``.
    """
    columns = [*COLUMNS[:3], *(["toward"] if toward else []), *COLUMNS[3:]]
    columns += [f"score_{name}" for name in models]
    cells = _cells(rows, models)
    if form == "json":
        named = {"score": "predicted_fitness_score", "effect": "mutation_effect"}
        keys = ["original_sequence", "mutated_sequence", "score", "effect"]
        keys += [column for column in columns if column not in keys]
        write_json(({named.get(key, key): row.get(key) for key in keys} for row in cells), out)
    else:
        write_rows(cells, columns, form, out)


def _cells(rows: Iterable[ScoredRow], models: Sequence[str]) -> Iterator[dict[str, Value]]:
    for row in rows:
        cells: dict[str, Value] = {
            "protein_id": row.protein_id,
            "variant": row.variant,
            "score": row.score,
            "toward": row.toward,
            "percentile": row.percentile,
            "effect": row.effect,
            "flags": ",".join(row.flags),
            "reason": row.reason,
            "original_sequence": row.original,
            "mutated_sequence": row.mutated,
        }
        cells |= {f"score_{name}": value for name, value in zip(models, row.by_model)}
        yield cells


def _end(mutation: Mutation, terminal: Terminal) -> None:
    """Sum up, and end with the code for rows without a score."""
    report = mutation.report
    terminal.tell(
        f"{report.scored:,} of {counted(report.rows, 'variant')} scored by "
        f"{mutation.request.method} of {' + '.join(mutation.models)}; "
        "no effect classes: no calibration"
    )
    if report.unscored:
        end_unanswered(report.unscored, report.first_reasons, "not scored, see column reason")


def end_unanswered(count: int, reasons: Iterable[str], what: str) -> None:
    """Name rows without an answer, and end with the code for it."""
    for reason in reasons:
        say(f"warning: {reason}")
    say(f"warning: {counted(count, 'variant')} {what}")
    raise SystemExit(EXIT_PARTIAL)
