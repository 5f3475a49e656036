"""Scored variants as table, TSV, CSV, JSON Lines, or JSON."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, TextIO

from protclip_cli.options import Format
from protclip_cli.output import Value, write_rows

if TYPE_CHECKING:
    from protclip_core.tasks.mutate.job import ScoredRow

__all__ = ["COLUMNS", "MutateFormat", "write_scores"]

COLUMNS = ("protein_id", "variant", "score", "percentile", "effect", "flags", "reason")


class MutateFormat(StrEnum):
    """Form of the result."""

    AUTO = "auto"
    TABLE = "table"
    TSV = "tsv"
    CSV = "csv"
    JSONL = "jsonl"
    JSON = "json"


def write_scores(
    rows: Iterable[ScoredRow],
    form: MutateFormat,
    out: TextIO,
    *,
    models: Sequence[str] = (),
    toward: bool = False,
) -> None:
    """Write rows.

    Parameters
    ----------
    rows
        In input order.
    form
        What to write. JSON is one array of objects with ``original_sequence``,
        ``mutated_sequence``, ``predicted_fitness_score`` and ``mutation_effect`` in place of score
        and effect.
    out
        Where to.
    models
        Of an ensemble: their names, each a column ``score_NAME`` more.
    toward
        Whether there is a column ``toward``.
    """
    columns = [*COLUMNS[:3], *(["toward"] if toward else []), *COLUMNS[3:]]
    columns += [f"score_{name}" for name in models]
    cells = _cells(rows, models)
    if form is MutateFormat.JSON:
        _write_json(cells, columns, out)
    elif form is MutateFormat.CSV:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(columns)
        for row in cells:
            writer.writerow([_text(row.get(column)) for column in columns])
    else:
        write_rows(cells, columns, Format(form.value), out)


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


def _write_json(rows: Iterable[Mapping[str, Value]], columns: Sequence[str], out: TextIO) -> None:
    named = {"score": "predicted_fitness_score", "effect": "mutation_effect"}
    keys = ["original_sequence", "mutated_sequence", "score", "effect"]
    keys += [column for column in columns if column not in keys]
    out.write("[")
    for number, row in enumerate(rows):
        cells = {named.get(key, key): row.get(key) for key in keys}
        out.write(("," if number else "") + "\n" + json.dumps(cells))
    out.write("\n]\n")


def _text(value: Value) -> str:
    if value is None:
        return ""
    return f"{value:.9g}" if isinstance(value, float) else str(value)
