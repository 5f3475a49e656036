"""Rows to standard output: a table for people, TSV or JSON Lines for programs."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import TextIO, TypeVar

from protclip_cli.options import Format
from protclip_core.errors import ResourceError
from protclip_core.records import printable

__all__ = ["Value", "begun", "defined", "one_cell", "stdout", "write_rows", "write_tsv_line"]

Value = str | int | float | None
_Row = TypeVar("_Row")
_BREAKS = re.compile(r"[\t\r\n\v\f\x85\u2028\u2029]")


def stdout() -> TextIO:
    """Return standard output.

    Raises
    ------
    ResourceError
        It was closed before the program began (``>&-``).
    """
    if sys.stdout is None:
        raise ResourceError("standard output is closed", hint="redirect it to a file or a pipe")
    return sys.stdout


def begun(rows: Iterable[_Row]) -> Iterator[_Row]:
    """Wait for the first row: an error before it shall not leave a header behind."""
    rows = iter(rows)
    first = list(islice(rows, 1))
    return chain(first, rows)


def defined(value: float) -> float | None:
    """Return nothing for NaN, which JSON has no word for."""
    return value if value == value else None  # noqa: PLR0124 (NaN alone is not itself)


def write_rows(
    rows: Iterable[Mapping[str, Value]],
    columns: Sequence[str],
    form: Format,
    out: TextIO | None = None,
) -> None:
    """Write rows; ``auto`` is a table on a terminal and TSV elsewhere.

    Parameters
    ----------
    rows
        Column name to value; a column that a row does not have is empty.
    columns
        Columns in order; the TSV header.
    form
        What to write. Numbers have full precision in TSV and JSON Lines, 4 digits in a table.
    out
        Where to; default standard output.
    """
    out = out or stdout()
    if form is Format.AUTO:
        form = Format.TABLE if out.isatty() else Format.TSV
    if form is Format.JSONL:
        # JSON leaves C1 control characters as they are, which a terminal would obey.
        for row in rows:
            cells = {c: row.get(c) for c in columns}
            out.write(json.dumps(cells, ensure_ascii=out.isatty()) + "\n")
    elif form is Format.TSV:
        out.write("\t".join(columns) + "\n")
        for row in rows:
            write_tsv_line(out, [row.get(c) for c in columns])
    else:
        _write_table(rows, columns, out)


def write_tsv_line(out: TextIO, values: Sequence[Value]) -> None:
    """Write one TSV line; escape codes in ids are made harmless if a terminal would read them.

    A tab or line break within a value becomes a blank: it would begin a cell or a row.
    """
    safe = (lambda text: printable(text, 200)) if out.isatty() else one_cell
    cells = ["" if v is None else safe(v) if isinstance(v, str) else _number(v) for v in values]
    out.write("\t".join(cells) + "\n")


def one_cell(text: str) -> str:
    """Return text without tabs and line breaks, which would begin a cell or a row."""
    return _BREAKS.sub(" ", text)


def _number(value: int | float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.9g}"


def _write_table(rows: Iterable[Mapping[str, Value]], columns: Sequence[str], out: TextIO) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    rows = list(rows)
    for column in columns:
        right = all(isinstance(row.get(column), int | float | None) for row in rows)
        table.add_column(column, justify="right" if right else "left", overflow="fold")
    for row in rows:
        table.add_row(*[_cell(row.get(column)) for column in columns])
    Console(file=out, highlight=False, markup=False).print(table)


def _cell(value: Value) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else printable(value, 200)
